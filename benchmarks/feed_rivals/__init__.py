"""Loaders that people use, one file a library, and ours among them: all have one shape.

A contender makes a data set of its own from a folder of photographs, `photos/CLASS/NUMBER.jpg`, and
feeds endless batches from it: shuffled, of the same pixels, by two workers or threads. Each runs in
a process of its own, so what it imports is imported within its functions.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BATCH = 256
WORKERS = 2
SIZE = 256
CROP = 224
QUALITY = 90
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Contender:
    """A way of feeding."""

    feed: Callable[[Path], Iterator[tuple[Any, Any]]]
    """From what was made to endless batches of images and labels."""
    made: str = "photos"
    """Name of the file or folder that it reads; those that name the same share it."""
    make: Callable[[Path, Path], None] | None = None
    """From the folder of photographs to that file; None reads the photographs themselves."""
    packages: tuple[str, ...] = ()
    """Whose versions are kept with the result."""

    def ready(self, photos: Path) -> Path:
        """What it reads; made beside the photographs if it is not there from another run."""
        if self.make is None:
            return photos
        return kept(photos.with_name(f"{photos.name}-{self.made}"), self.make, photos)


def kept(out: Path, make: Any, *given: Any) -> Path:
    """What `make(*given, out)` writes, if it is not there from another run."""
    if not out.exists():
        unfinished = out.with_name("unfinished-" + out.name)
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        unfinished.unlink(missing_ok=True)
        make(*given, unfinished)
        unfinished.rename(out)
    return out


def labelled(photos: Path) -> list[tuple[Path, int]]:
    """Each photograph and the number of its class."""
    classes = sorted(folder for folder in photos.iterdir() if folder.is_dir())
    return [(path, label) for label, folder in enumerate(classes)
            for path in sorted(folder.iterdir())]  # fmt: skip
