"""File names by the million: one run of bytes, and where each name ends.

A name is bytes, since a file's name need not be UTF-8. A Python list of a million names of 20
bytes costs 72 MB; the same names here cost 28 MB, and are never copied to be read.

    blob     cat.0.jpgcat.1.jpgdog.0.jpg
    offsets  0        9        18       27
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from celeiro.format.ragged import gather

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

__all__ = ["Names", "NamesBuilder", "printable"]


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


def printable(name: bytes) -> str:
    r"""Give a name as text that any terminal takes; bytes that are not UTF-8 become ``\xNN``.

    Examples
    --------
    >>> printable(b"caf\xe9.jpg")
    'caf\\xe9.jpg'
    """
    return name.decode("utf-8", "backslashreplace")
