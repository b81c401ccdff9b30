"""MosaicML Streaming: MDS shards, pictures kept as JPEG and decoded by it with Pillow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from feed_rivals import BATCH, WORKERS, Contender, labelled
from feed_rivals.torch_loader import name_torchvision_operators

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSES = 200  # of the samples in one epoch of it, so that starting an epoch does not count


def make(photos: Path, out: Path) -> None:
    """Shards of its usual 64 MB."""
    name_torchvision_operators()
    from PIL import Image
    from streaming import MDSWriter

    with MDSWriter(out=str(out), columns={"image": "jpeg", "label": "int"}) as writer:
        for path, label in labelled(photos):
            writer.write({"image": Image.open(path), "label": label})


def feed(made: Path) -> Iterator[Any]:
    """DataLoader over its dataset, which shuffles itself."""
    name_torchvision_operators()
    import streaming
    from streaming.base.util import clean_stale_shared_memory
    from torch.utils.data import DataLoader

    class Pixels(streaming.StreamingDataset):
        def __getitem__(self, index: Any) -> Any:
            found = super().__getitem__(index)
            return np.array(found["image"]), found["label"]

    clean_stale_shared_memory()
    count = streaming.StreamingDataset(local=str(made), batch_size=BATCH).num_samples
    clean_stale_shared_memory()
    dataset = Pixels(local=str(made), shuffle=True, batch_size=BATCH, epoch_size=PASSES * count)
    while True:
        yield from DataLoader(dataset, batch_size=BATCH, num_workers=WORKERS)


UINT8 = {"streaming": Contender(feed, "streaming", make, ("mosaicml-streaming", "torch", "pillow"))}
AUGMENTED: dict[str, Contender] = {}
