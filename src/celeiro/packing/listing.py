"""What a source found: the plan's raw material, column by column.

Row i of every column speaks of the same picture. Columns are arrays (or `Names`, or `Ragged`), so
that a million pictures cost tens of megabytes. Nothing here has opened a picture.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from celeiro.format.ragged import Ragged, positions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from celeiro.format.names import Names

__all__ = ["NO_SPLIT", "Labels", "LabelsFrom", "Listing"]

NO_SPLIT = 255
"""The split code of a picture that is in no split."""

Labels: TypeAlias = "npt.NDArray[np.int64] | npt.NDArray[np.float64] | npt.NDArray[np.uint8]"
"""int64 (N,) class numbers, float64 (N,) regression targets, or uint8 (N, K) multi-hot."""

LabelsFrom = Literal["folder", "name", "none", "manifest", "dataset"]
"""Where the labels were read."""


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    """The pictures of a source, with all that is known of them before one is opened."""

    root: Path
    """The folder that keys are relative to; absolute."""

    keys: Names
    """Path of each picture relative to `root`, with ``/`` between the parts; raw bytes."""

    sizes: npt.NDArray[np.int64]
    """Size of each file in bytes; 0 where it is empty or not there."""

    mtimes: npt.NDArray[np.int64]
    """When each file was last changed, nanoseconds since 1970; 0 where it is not there."""

    labels: Labels | None = None
    """What the network shall learn; None where there is nothing of the kind."""

    label_names: tuple[str, ...] = ()
    """Class names by number, sorted; empty for regression, bare numbers and no labels."""

    splits: npt.NDArray[np.uint8] | None = None
    """Position in `split_names`; `NO_SPLIT` for a picture that is in none."""

    split_names: tuple[str, ...] = ()
    """The splits, in the order train, validation, test, then the others by name."""

    fields: Mapping[str, npt.NDArray[Any] | Ragged] = field(default_factory=dict)
    """Other columns: int64, float64 or uint8 of (N,) or (N, K), ``S`` of (N,), or `Ragged`."""

    masks: Names | None = None
    """Path of each picture's mask, like `keys`."""

    boxes: Ragged | None = None
    """Boxes of each picture: rows (x1, y1, x2, y2), pixels in the upright picture, float64."""

    ignored: int = 0
    """How many files were passed over, since they are hidden or no pictures."""

    labels_from: LabelsFrom = "none"
    """Where the labels were read."""

    def __post_init__(self) -> None:
        """Check that all columns are of one length."""
        columns = {
            "sizes": self.sizes,
            "mtimes": self.mtimes,
            "labels": self.labels,
            "splits": self.splits,
            "masks": self.masks,
            "boxes": self.boxes,
            **self.fields,
        }
        for name, column in columns.items():
            if column is not None and len(column) != len(self.keys):
                raise ValueError(f"{name} has {len(column)} rows for {len(self.keys)} pictures")

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.keys)

    def path(self, index: int) -> bytes:
        """Give the absolute path of a picture."""
        # Every picture asks, and os.path.join takes 3 µs; a manifest may name absolute paths.
        key = self.keys[index]
        return key if os.path.isabs(key) else _beginning(self.root) + key

    def mask_path(self, index: int) -> bytes:
        """Give the absolute path of a picture's mask."""
        if self.masks is None:
            raise ValueError("this source has no masks")
        return os.path.join(os.fsencode(self.root), self.masks[index])

    def take(self, indices: npt.ArrayLike) -> Listing:
        """Give the pictures at `indices`, in that order, with every column."""
        rows = positions(len(self), indices)
        return replace(
            self,
            keys=self.keys.take(rows),
            sizes=self.sizes[rows],
            mtimes=self.mtimes[rows],
            labels=None if self.labels is None else self.labels[rows],
            splits=None if self.splits is None else self.splits[rows],
            masks=None if self.masks is None else self.masks.take(rows),
            boxes=None if self.boxes is None else self.boxes.take(rows),
            fields={name: _take(column, rows) for name, column in self.fields.items()},
        )


@lru_cache(maxsize=8)
def _beginning(root: Path) -> bytes:
    return os.path.join(os.fsencode(root), b"")


def _take(column: npt.NDArray[Any] | Ragged, rows: npt.NDArray[Any]) -> npt.NDArray[Any] | Ragged:
    return column.take(rows) if isinstance(column, Ragged) else column[rows]
