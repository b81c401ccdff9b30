"""WebDataset: tar shards, decoded by its own `rgb8`, shuffled by shards and in a buffer."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from feed_rivals import BATCH, WORKERS, Contender, labelled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHARD = (
    250  # samples: sixteen or more shards in a small set, so that shuffling them means something
)


def make(photos: Path, out: Path) -> None:
    """Shards; classes are mixed before, for its shuffle is local."""
    import webdataset as wds

    out.mkdir()
    found = labelled(photos)
    random.Random(0).shuffle(found)
    with wds.ShardWriter(f"{out}/%04d.tar", maxcount=SHARD, verbose=0) as writer:
        for number, (path, label) in enumerate(found):
            writer.write({"__key__": f"{number:08}", "jpg": path.read_bytes(), "cls": label})


def feed(made: Path) -> Iterator[Any]:
    """Whole batches come from the workers; shards are repeated for ever."""
    import webdataset as wds

    dataset = (
        wds.WebDataset(sorted(map(str, made.glob("*.tar"))), resampled=True, shardshuffle=False)
        .shuffle(1000)
        .decode("rgb8")
        .to_tuple("jpg", "cls")
        .batched(BATCH)
    )
    yield from wds.WebLoader(dataset, batch_size=None, num_workers=WORKERS)


UINT8 = {"webdataset": Contender(feed, "webdataset", make, ("webdataset", "torch", "pillow"))}
AUGMENTED: dict[str, Contender] = {}
