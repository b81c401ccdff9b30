"""File names by the million: one run of bytes, and where each name ends.

A name is bytes, since a file's name need not be UTF-8. A Python list of a million names of 20
bytes costs 72 MB; the same names here cost 28 MB, and are never copied to be read.

    blob     cat.0.jpgcat.1.jpgdog.0.jpg
    offsets  0        9        18       27
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

__all__ = ["Names", "NamesBuilder", "gather", "positions", "printable"]

# Rows that `gather` moves at a time: its temporary arrays hold 16 bytes for each, so 4 MB.
_GATHER_ROWS = 262_144


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Names:
    """A compact, immutable sequence of byte strings."""

    blob: npt.NDArray[np.uint8]
    """All names, one after the other."""

    offsets: npt.NDArray[np.uint64]
    """Name i is ``blob[offsets[i]:offsets[i + 1]]``; one more than there are names."""

    def __post_init__(self) -> None:
        """Close both arrays against writing."""
        self.blob.setflags(write=False)
        self.offsets.setflags(write=False)

    @classmethod
    def of(cls, names: Iterable[bytes]) -> Names:
        """Gather names into one sequence.

        Examples
        --------
        >>> Names.of([b"cat.0.jpg", b"dog.0.jpg"])[1]
        b'dog.0.jpg'
        """
        builder = NamesBuilder()
        for name in names:
            builder.append(name)
        return builder.build()

    def __len__(self) -> int:
        """Count the names."""
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> bytes:
        """Give one name; a negative index counts from the end."""
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"name {index} of {count}")
        index %= count
        # Through memoryviews: NumPy's scalars would take 5 µs instead of 1.
        offsets = self.offsets.data
        return bytes(self.blob.data[offsets[index] : offsets[index + 1]])

    def __iter__(self) -> Iterator[bytes]:
        """Give the names one by one, without a list of them all."""
        blob = self.blob.data
        start = 0
        for end in self.offsets.data[1:]:
            yield bytes(blob[start:end])
            start = end

    def __eq__(self, other: object) -> bool:
        """Two sequences are equal when they hold the same names in the same order."""
        if not isinstance(other, Names):
            return NotImplemented
        return np.array_equal(self.offsets, other.offsets) and np.array_equal(self.blob, other.blob)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Say how many there are, and how much they weigh."""
        return f"Names({len(self)} names, {self.total_bytes} bytes)"

    @property
    def total_bytes(self) -> int:
        """The length of all names together."""
        return len(self.blob)

    @property
    def max_length(self) -> int:
        """The length of the longest name in bytes; 0 when there is none."""
        return int(np.diff(self.offsets).max(initial=0))

    def take(self, indices: npt.ArrayLike) -> Names:
        """Give the names at `indices` (any NumPy index of one axis), in that order."""
        return Names(*gather(self.blob, self.offsets, indices))

    def fixed(self) -> npt.NDArray[np.bytes_]:
        """Give the names as a NumPy array of the fixed width `max_length`, padded with zeros."""
        return np.fromiter(self, dtype=f"S{max(1, self.max_length)}", count=len(self))


class NamesBuilder:
    """Names on their way into a `Names`: only as many bytes as they have, and eight a name."""

    def __init__(self) -> None:
        """Begin with no name."""
        self._blob = bytearray()
        self._offsets = array("Q", [0])

    def __len__(self) -> int:
        """Count the names so far."""
        return len(self._offsets) - 1

    def append(self, name: bytes) -> None:
        """Add one name at the end."""
        self._blob += name
        self._offsets.append(len(self._blob))

    def build(self) -> Names:
        """Give what was gathered, without a copy; the builder must not be used afterwards."""
        return Names(
            np.frombuffer(self._blob, dtype=np.uint8),
            np.frombuffer(self._offsets, dtype=np.uint64),
        )


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


def printable(name: bytes) -> str:
    r"""Give a name as text that any terminal takes; bytes that are not UTF-8 become ``\xNN``.

    Examples
    --------
    >>> printable(b"caf\xe9.jpg")
    'caf\\xe9.jpg'
    """
    return name.decode("utf-8", "backslashreplace")
