"""What a packing job says when it is done: to people, and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Report:
    """The result of `celeiro.pack`."""

    path: Path
    """The finished file."""
    store: str
    """How samples stand on disk."""
    samples: int
    """How many there are."""
    shape: tuple[int, ...] | None
    """Of one sample; None where each has its own."""
    dtype: str
    """Of its values."""
    classes: dict[str, int]
    """Samples of each class, by name."""
    splits: dict[str, int]
    """Samples of each split."""
    refused: list[tuple[str, str]]
    """Name and reason of every source that was left out."""
    ignored: int
    """Files that are no pictures, or hidden, and were passed over."""
    file_bytes: int
    """Size of the finished file."""
    payload_bytes: int
    """Of that, the samples' own bytes."""
    source_bytes: int
    """Size of the sources of the samples kept; 0 where they were arrays."""
    raw_bytes: int
    """Size that the same samples would have as raw values."""
    seconds: float
    """Time of this run."""
    resumed: int
    """Tasks that an earlier, interrupted run had done."""

    @property
    def rate(self) -> float:
        """Samples a second in this run."""
        done = self.samples + len(self.refused) - self.resumed
        return done / self.seconds if self.seconds > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return asdict(self) | {"path": str(self.path), "rate": self.rate}


def count_classes(labels: npt.NDArray[Any] | None, names: Sequence[str]) -> dict[str, int]:
    """Samples of each class: by name, or by number where numbers have no names.

    Empty for no labels, for regression and for several columns that are not all 0 or 1. A sample
    with several labels counts in each.

    Examples
    --------
    >>> count_classes(np.array([0, 1, 1]), ["cat", "dog"])
    {'cat': 1, 'dog': 2}
    """
    if labels is None or labels.dtype.kind == "f":
        return {}
    if labels.ndim > 1:
        if labels.dtype != np.uint8:
            return {}
        counts = dict(enumerate(labels.astype(bool).sum(axis=0).tolist()))
    else:
        values, found = np.unique(labels, return_counts=True)
        counts = dict(zip(values.tolist(), found.tolist(), strict=True))
    known = dict(enumerate(names))
    counts = dict.fromkeys(known, 0) | counts
    return {known.get(number, str(number)): count for number, count in counts.items()}
