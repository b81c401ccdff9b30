"""h5py and DataLoader on contiguous pixels: the file of our own `pixels` store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feed_rivals import Contender
from feed_rivals.ours import PIXELS
from feed_rivals.torch_loader import fed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Rows:
    """A dataset that each worker opens for itself, as HDF5 wants it after a fork."""

    def __init__(self, path: Path) -> None:
        import h5py

        self.path = path
        self.file: Any = None
        with h5py.File(path) as file:
            self.count = len(file["imagens"])

    def __len__(self) -> int:
        """Samples."""
        return self.count

    def __getitem__(self, number: int) -> Any:
        """One row and its label."""
        import h5py

        if self.file is None:
            self.file = h5py.File(self.path)
            self.images, self.labels = self.file["imagens"], self.file["labels"][:]
        return self.images[number], self.labels[number]


def feed(made: Path) -> Iterator[Any]:
    """Row by row."""
    return fed(Rows(made))


UINT8 = {"h5py": Contender(feed, PIXELS[0], PIXELS[1], ("h5py", "torch"))}
AUGMENTED: dict[str, Contender] = {}
