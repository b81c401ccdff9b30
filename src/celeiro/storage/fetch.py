"""Many pieces of a file into memory, in one call without the GIL (kernels/fetch.c).

    fetch(file, map, pieces, room)  ->  what became of each: FOUND, LATE, DAMAGED

What is in the system's cache is copied out of the mapped file, half as quickly again as it is
read; what is not is asked for, and left for the end. A file that another program cuts short, where
looking at a mapping is a crash of the whole process, is told as LATE: reading it then says why.
"""

from __future__ import annotations

import mmap
import os
import struct
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from celeiro.storage import library

if TYPE_CHECKING:
    import ctypes

    import numpy.typing as npt

LIBRARY = library.beside(__file__, "fetch")
"""Where the build hook puts the compiled kernel."""

FOUND, LATE, DAMAGED = range(3)

# Of the struct `Job` in fetch.c; raised with every change there.
_VERSION = 2
# Bytes of a mapped file that count as memory of the process, at most.
_MOST_LOOKED_AT = 1 << 30
_JOB = struct.Struct("@qP3q6Pq")


class Pieces(NamedTuple):
    """Pieces of a file, in the order in which they are wanted."""

    offsets: npt.NDArray[np.int64]
    """Where each begins, bytes."""
    lengths: npt.NDArray[np.int64]
    """Bytes of each."""
    crcs: npt.NDArray[np.uint32] | None = None
    """CRC-32C of each; None to check nothing."""

    def part(self, first: int, last: int) -> Pieces:
        """Those at first ≤ i < last."""
        crcs = self.crcs
        return Pieces(
            self.offsets[first:last],
            self.lengths[first:last],
            None if crcs is None else crcs[first:last],
        )


class Map:
    """A file's bytes in our address space, for `fetch` alone: nothing else may look at them."""

    held = False
    """Whether it is memory that cannot go; a file may be cut short."""

    def __init__(self, fd: int, size: int) -> None:
        self.size = size
        self._looked_at = 0
        self._held = mmap.mmap(fd, size, access=mmap.ACCESS_READ)
        self.address = address_of(np.frombuffer(self._held, np.uint8))

    def note(self, size: int) -> None:
        """So many bytes more were looked at: now and then, the process lets go of all of them.

        They stay in the system's cache, and are found there again at 1 µs for 64 KB. But they count
        as memory of the process, and somebody may wonder at it.
        """
        self._looked_at += size
        if self._looked_at > _MOST_LOOKED_AT:
            self._looked_at = 0
            self._held.madvise(mmap.MADV_DONTNEED)


class Held:
    """Memory that is copied from as if it was a mapped file; who calls keeps it."""

    held = True

    def __init__(self, data: npt.NDArray[np.uint8]) -> None:
        self.size = len(data)
        self.address = address_of(data)


def address_of(array: npt.NDArray[Any]) -> int:
    """Where an array's first value lies in memory."""
    address: int = array.__array_interface__["data"][0]
    return address


@cache
def compiled() -> Any:
    """The kernel's function; None where it was not built, which the log says once."""
    import ctypes

    found = library.function(
        LIBRARY, "celeiro_fetch", _VERSION, without="samples are read one by one, and more slowly"
    )
    if found is not None:
        found.argtypes = [ctypes.c_char_p]
        found.restype = ctypes.c_int64
    return found


def fetch(
    function: ctypes._NamedFuncPointer,
    fd: int,
    memory: Map | Held | None,
    pieces: Pieces,
    room: npt.NDArray[np.uint8],
    places: npt.NDArray[np.int64],
) -> npt.NDArray[np.uint8] | None:
    """Put each piece at its place in `room`, and check it.

    Parameters
    ----------
    function
        What `compiled` gives.
    places
        Where in `room`, bytes; who calls knows that all of them fit.

    Returns
    -------
    array or None
        FOUND, LATE or DAMAGED for each; None where all are FOUND.
    """
    count = len(pieces.offsets)
    found = np.empty(count, np.uint8)
    offsets, lengths, places = (_plain(a, np.int64) for a in (*pieces[:2], places))
    crcs = None if pieces.crcs is None else _plain(pieces.crcs, np.uint32)
    job = _JOB.pack(
        fd, *((0, 0, False) if memory is None else (memory.address, memory.size, memory.held)),
        getattr(os, "RWF_NOWAIT", 0), address_of(offsets), address_of(lengths), address_of(places),
        0 if crcs is None else address_of(crcs), address_of(room), address_of(found), count,
    )  # fmt: skip
    others = function(job)
    if isinstance(memory, Map):
        memory.note(int(lengths.sum()))
    return found if others else None


def _plain(array: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """As C has it: nothing is copied where it is so already."""
    return np.ascontiguousarray(array, dtype)
