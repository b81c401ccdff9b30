"""Rows of unequal length in one flat array: what the format calls ragged.

values   a b c d e f
offsets  0 2 2 6        ->  [a b] [] [c d e f]
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Ragged", "gather", "positions"]

# Rows that `gather` moves at a time: its temporary arrays hold 16 bytes for each, so 4 MB.
_GATHER_ROWS = 262_144


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """A column whose rows differ in length, such as the boxes of each picture."""

    values: npt.NDArray[Any]
    """All rows, one after the other: (M,) numbers, or (M, 4) boxes."""

    offsets: npt.NDArray[np.uint64]
    """Row i is ``values[offsets[i]:offsets[i + 1]]``; one more than there are rows."""

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """Give one row; a negative index counts from the end."""
        count, index = len(self), operator.index(index)
        if not -count <= index < count:
            raise IndexError(f"row {index} of {count}")
        index %= count
        return self.values[int(self.offsets[index]) : int(self.offsets[index + 1])]

    def take(self, indices: npt.ArrayLike) -> Ragged:
        """Give the rows at `indices`, in that order."""
        return Ragged(*gather(self.values, self.offsets, indices))


def gather(
    values: npt.NDArray[Any], offsets: npt.NDArray[np.uint64], indices: npt.ArrayLike
) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint64]]:
    """Take items of unequal length out of a flat array: new values, new offsets.

    Item i is ``values[offsets[i]:offsets[i + 1]]``. No Python loop runs over the items, and the
    memory beside the result does not grow with the length of the items.
    """
    wanted = positions(len(offsets) - 1, indices)
    starts = offsets[wanted].astype(np.int64)
    ends = np.zeros(len(wanted) + 1, dtype=np.int64)
    np.cumsum(offsets[wanted + 1].astype(np.int64) - starts, out=ends[1:])
    result = np.empty((int(ends[-1]), *values.shape[1:]), dtype=values.dtype)
    first = 0
    while first < len(wanted):
        reach = int(np.searchsorted(ends, ends[first] + _GATHER_ROWS, side="right")) - 1
        last = max(first + 1, reach)
        _gather_some(values, starts[first:last], ends[first : last + 1], result)
        first = last
    return result, ends.astype(np.uint64)


def positions(count: int, indices: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Turn any NumPy index of one axis (negative, mask, empty list) into 0 ≤ position < count."""
    wanted = np.asarray(indices)
    if wanted.size == 0:  # NumPy takes the empty list for one of floats
        return np.zeros(0, dtype=np.int64)
    every: npt.NDArray[np.int64] = np.arange(count, dtype=np.int64)
    chosen: npt.NDArray[np.int64] = every[wanted]
    return chosen


def _gather_some(
    values: npt.NDArray[Any],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    result: npt.NDArray[Any],
) -> None:
    """Copy consecutive items; where one lies in `result` is ``ends[j]:ends[j + 1]``."""
    begin, end = int(ends[0]), int(ends[-1])
    if len(starts) == 1:  # may be of any size, so no index of its rows is made
        source = int(starts[0])
        result[begin:end] = values[source : source + end - begin]
        return
    moved = np.repeat(starts - ends[:-1], np.diff(ends))
    moved += np.arange(begin, end, dtype=np.int64)
    result[begin:end] = values[moved]
