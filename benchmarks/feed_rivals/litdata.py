"""LitData: chunks of its own with the JPEGs in them.

Its own decoder of JPEGs is torchvision's, which not every build has; OpenCV's is as fast.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feed_rivals import BATCH, WORKERS, Contender, labelled
from feed_rivals.lmdb import by_opencv
from feed_rivals.torch_loader import name_torchvision_operators

if TYPE_CHECKING:
    from collections.abc import Iterator


def sample_of(found: tuple[str, int]) -> Any:
    """What `optimize` keeps."""
    return Path(found[0]).read_bytes(), found[1]


def decoded(sample: Any) -> Any:
    """What a worker does with it; it starts anew (spawn), so this has a name."""
    return by_opencv(sample[0]), sample[1]


def make(photos: Path, out: Path) -> None:
    """Chunks of its usual 64 MB; classes are mixed before, for its shuffle is by chunks."""
    name_torchvision_operators()
    import litdata

    inputs = [(str(path), label) for path, label in labelled(photos)]
    random.Random(0).shuffle(inputs)
    litdata.optimize(sample_of, inputs, str(out), chunk_bytes="64MB", num_workers=1, verbose=False)


def feed(made: Path) -> Iterator[Any]:
    """Its own loader with its own shuffle, epoch after epoch; workers stay between epochs."""
    name_torchvision_operators()
    import litdata

    dataset = litdata.StreamingDataset(str(made), shuffle=True, transform=decoded)
    loader = litdata.StreamingDataLoader(
        dataset, batch_size=BATCH, num_workers=WORKERS, persistent_workers=True
    )
    while True:
        yield from loader


PACKAGES = ("litdata", "torch", "opencv-python-headless")
UINT8 = {"litdata": Contender(feed, "litdata", make, PACKAGES)}
AUGMENTED: dict[str, Contender] = {}
