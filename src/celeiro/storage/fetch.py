"""Many pieces of a file into memory, in one call without the GIL (kernels/fetch.c).

    fetch(…, table of pieces, room)  ->  what became of each: FOUND, LATE, DAMAGED

What is in the system's cache is read, or copied out of the mapped file, which is quicker for rows
of a middle size; what is not is asked for, and left for the end. A file that another program cuts
short, where looking at a mapping is a crash of the whole process, is told as LATE: reading it then
says why.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from celeiro import library

if TYPE_CHECKING:
    import numpy.typing as npt

LIBRARY = library.beside(__file__, "fetch")
"""Where the build hook puts the compiled kernel."""

FOUND, LATE, DAMAGED = range(3)
MOST = 31
"""Pieces that one call takes: what became of them is told in two bits each."""

LARGE, HUGE = 128 << 10, 1 << 20
"""Bytes of pieces that are worth copying out of a map, as fetch.c has them."""

# Of the arguments in fetch.c; raised with every change there.
_VERSION = 3
_NO_WAIT = getattr(os, "RWF_NOWAIT", 0)
# Bytes of a mapped file that count as memory of the process, at most: a quarter of the machine's.
_MOST_LOOKED_AT = 1 << 30
with contextlib.suppress(AttributeError, OSError, ValueError):
    _MOST_LOOKED_AT = max(
        _MOST_LOOKED_AT, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    )


class Pieces(NamedTuple):
    """Pieces of a file, in the order in which they are wanted."""

    offsets: npt.NDArray[np.int64]
    """Where each begins, bytes."""
    lengths: npt.NDArray[np.int64]
    """Bytes of each."""
    crcs: npt.NDArray[np.uint32] | None = None
    """CRC-32C of each; None to check nothing."""

    def table(self, places: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """(n, 4) as the kernel wants it: offset, length, place in memory, checksum or -1."""
        table = np.empty((len(self.offsets), 4), np.int64)
        table[:, 0], table[:, 1], table[:, 2] = self.offsets, self.lengths, places
        table[:, 3] = -1 if self.crcs is None else self.crcs
        return table

    def part(self, first: int, last: int) -> Pieces:
        """Those at first ≤ i < last."""
        crcs = self.crcs
        return Pieces(
            self.offsets[first:last],
            self.lengths[first:last],
            None if crcs is None else crcs[first:last],
        )


class Memory(Protocol):
    """Bytes that are copied from."""

    told: tuple[int, int, bool]
    """Address, bytes, and whether they cannot go: a file may be cut short."""


class Map:
    """A file's bytes in our address space, for `fetch` alone: nothing else may look at them."""

    def __init__(self, fd: int, size: int) -> None:
        self._looked_at = 0
        self._held = mmap.mmap(fd, size, access=mmap.ACCESS_READ)
        self.told = address_of(np.frombuffer(self._held, np.uint8)), size, False

    def note(self, size: int) -> None:
        """So many bytes more were looked at: now and then, the process lets go of all of them.

        They stay in the system's cache, and are found there again at 2 µs for 64 KB. But they count
        as memory of the process, and somebody may wonder at it.
        """
        self._looked_at += size
        if self._looked_at > _MOST_LOOKED_AT:
            self._looked_at = 0
            self._held.madvise(mmap.MADV_DONTNEED)


class Held:
    """Memory that is copied from as if it was a mapped file; who calls keeps it."""

    def __init__(self, data: npt.NDArray[np.uint8]) -> None:
        self.told = address_of(data), len(data), True


def address_of(array: npt.NDArray[Any]) -> int:
    """Where an array's first value lies in memory; takes a microsecond."""
    address: int = array.__array_interface__["data"][0]
    return address


@cache
def compiled() -> Any:
    """The kernel's function; None where it was not built, which the log says once.

    None without a word on Windows, where nothing of fetch.c is to be had and no compiler helps.
    """
    import ctypes

    if not hasattr(os, "pread"):
        return None
    found = library.function(
        LIBRARY, "celeiro_fetch", _VERSION, without="samples are read one by one, and more slowly"
    )
    if found is not None:
        number, pointer = ctypes.c_int64, ctypes.c_void_p
        found.argtypes = [
            number, number, pointer, number, number, ctypes.c_char_p, number, pointer,
        ]  # fmt: skip
        found.restype = ctypes.c_int64
    return found


def fetch(
    function: Any,
    fd: int,
    memory: Memory | None,
    table: npt.NDArray[np.int64],
    room: int,
) -> int:
    """Put each piece at its place, and check it.

    The hot path of reading: between two pictures there is as little Python as can be, for other
    threads wait for it.

    Parameters
    ----------
    function
        What `compiled` gives.
    memory
        The file's bytes, or None to read them.
    table
        (n, 4), C-contiguous: what `Pieces.table` gives, or at most `MOST` rows of it.
    room
        Address of the memory; who calls knows that all pieces fit there.

    Returns
    -------
    int
        FOUND, LATE or DAMAGED for each, two bits a piece, the first in the lowest.
    """
    found: int = function(
        fd, _NO_WAIT, *((0, 0, 0) if memory is None else memory.told), table.tobytes(), len(table),
        room,
    )  # fmt: skip
    return found


def states(found: int, count: int) -> list[int]:
    """What `fetch` tells of each of so many pieces.

    Examples
    --------
    >>> states(0b10_00_01, 3)
    [1, 0, 2]
    """
    return [found >> 2 * at & 3 for at in range(count)]
