"""Where stored bytes come from: the file, or a copy of it in memory.

    look    bytes that are in our memory already, as they stand there
    each    pieces one after the other, in a buffer that is used again and again
    fill    pieces into the caller's memory

The invariant: what is given is what the file had when it was opened, as far as the system can tell;
`check` is called after reading and before anything is believed. What the disk must find comes last,
so that one thread keeps it busy.
"""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from celeiro.format.checksum import crc32c
from celeiro.storage import fetch
from celeiro.storage.fetch import DAMAGED, FOUND, LATE, MOST, Pieces, states

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from celeiro.storage.fetch import Map
    from celeiro.storage.local import File

# Fetched together, bytes: a call costs as much as decoding one picture of a hundred, and what was
# fetched is still in the processor's cache when it is looked at.
_TOGETHER = 256 << 10
# Of one thread; what is larger is allocated for the moment.
_KEPT = 32 << 20


class Source(Protocol):
    """Bytes by their place in the file."""

    @property
    def file(self) -> File:
        """The file itself."""
        ...

    def look(self, offset: int, length: int) -> memoryview | None:
        """Bytes that are in our memory; None where they must be read."""
        ...


class FileSource:
    """Bytes that are read each time; the system's cache may have them."""

    def __init__(self, file: File) -> None:
        self.file = file

    def look(self, _offset: int, _length: int) -> None:
        """Nothing is kept."""
        return


class _Room:
    """A buffer, and what it costs time to ask of it."""

    __slots__ = ("address", "bytes", "view")

    def __init__(self, length: int) -> None:
        self.bytes = np.empty(length, np.uint8)
        self.view = self.bytes.data
        self.address = fetch.address_of(self.bytes)


class _Scratch(threading.local):
    """One buffer a thread, for who has it; who asks meanwhile gets another one."""

    def __init__(self) -> None:
        self._room: _Room | None = None

    def take(self, length: int) -> _Room:
        """At least so many bytes, until they are given back."""
        room, self._room = self._room, None
        if room is None or len(room.bytes) < length:
            # Twice what is needed: lengths of JPEGs creep up.
            room = _Room(max(length, min(_KEPT, 2 * length)))
        return room

    def give_back(self, room: _Room) -> None:
        """Keep a buffer for the next one."""
        if len(room.bytes) <= _KEPT:
            self._room = room


_scratch = _Scratch()


Piece = tuple[int, memoryview, bool]
"""The number of a piece, its bytes, and whether they are those of its checksum."""


def each(source: Source, pieces: Pieces) -> Iterator[Piece]:
    """Each piece; its bytes are valid until the next one is asked for."""
    return itertools.chain.from_iterable(together(source, pieces))


def together(source: Source, pieces: Pieces) -> Iterator[list[Piece]]:
    """Some pieces at a time; their bytes are valid until the next ones are asked for.

    For who does one thing with all of them, then the next: Python runs five times as fast as
    between two pictures, whose decoding leaves nothing of it in the processor's cache.
    """
    if type(source) is not FileSource:
        yield from _in_memory(source, pieces)
        return
    file, lengths = source.file, pieces.lengths.tolist()
    groups, starts, most = _groups(lengths)
    table = pieces.table(starts)
    room = _scratch.take(most)
    view = room.view
    late: list[int] = []
    try:
        for first, last in groups:
            found = fetched(file, None, table[first:last], room.bytes, room.address)
            told = states(found, last - first) if found else [FOUND] * (last - first)
            late += [at for at, state in enumerate(told, first) if state == LATE]
            yield [
                (at, view[starts[at] : starts[at] + lengths[at]], state == FOUND)
                for at, state in enumerate(told, first)
                if state != LATE
            ]
        for at in late:
            piece = view[: lengths[at]]
            file.read_into(piece, int(pieces.offsets[at]))
            yield [(at, piece, _is_sound(pieces, at, piece))]
    finally:
        _scratch.give_back(room)


def _groups(lengths: list[int]) -> tuple[list[tuple[int, int]], list[int], int]:
    """What is fetched together, where each piece of it then stands, and bytes at most."""
    groups, starts = [], []
    first = size = most = 0
    for at, length in enumerate(lengths):
        if at - first == MOST or (size and size + length > _TOGETHER):
            groups.append((first, at))
            first, size = at, 0
        starts.append(size)
        size += length
        most = max(most, size)
    if lengths:
        groups.append((first, len(lengths)))
    return groups, starts, most


def _in_memory(source: Source, pieces: Pieces) -> Iterator[list[Piece]]:
    """As `together`, where some or all is in our memory."""
    others: list[int] = []
    offsets, lengths = pieces.offsets.tolist(), pieces.lengths.tolist()
    for first, last in _groups(lengths)[0]:
        views = [(at, source.look(offsets[at], lengths[at])) for at in range(first, last)]
        others += [at for at, view in views if view is None]
        yield [(at, view, _is_sound(pieces, at, view)) for at, view in views if view is not None]
    if others:
        crcs = pieces.crcs
        rest = Pieces(
            pieces.offsets[others], pieces.lengths[others], None if crcs is None else crcs[others]
        )
        for some in together(FileSource(source.file), rest):
            yield [(others[at], view, sound) for at, view, sound in some]


def fill(
    source: Source, pieces: Pieces, room: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]
) -> int | None:
    """Put each piece at its place in `room`, bytes; the first that is damaged, or None.

    Who calls knows that all of them fit.
    """
    file, address, view = source.file, fetch.address_of(room), room.data
    table = pieces.table(places)
    # A map takes a descriptor, and room in the address space.
    worth = ((pieces.lengths >= fetch.LARGE) & (pieces.lengths <= fetch.HUGE)).any()
    memory = file.mapped() if worth else None
    damaged: list[int] = []
    late: list[int] = []
    for first in range(0, len(table), MOST):
        group = table[first : first + MOST]
        found = fetched(file, memory, group, room, address)
        for at, state in enumerate(states(found, len(group)) if found else [], first):
            if state == LATE:
                late.append(at)
            elif state == DAMAGED:
                damaged.append(at)
    if memory is not None:
        memory.note(int(pieces.lengths.sum()))
    for at in late:
        start = int(places[at])
        piece = view[start : start + int(pieces.lengths[at])]
        file.read_into(piece, int(pieces.offsets[at]))
        if not _is_sound(pieces, at, piece):
            damaged.append(at)
    return min(damaged, default=None)


def read_into(source: Source, view: memoryview, offset: int) -> None:
    """Fill a view from a byte offset on."""
    found = source.look(offset, len(view))
    if found is not None:
        view[:] = found
    else:
        source.file.read_into(view, offset)


def bytes_of(source: Source, offset: int, length: int) -> bytes:
    """Bytes of one place, for their own sake."""
    room = bytearray(length)
    read_into(source, memoryview(room), offset)
    return bytes(room)


def fetched(
    file: File,
    memory: Map | None,
    table: npt.NDArray[np.int64],
    room: npt.NDArray[np.uint8],
    address: int,
) -> int:
    """What is in the system's cache, put in its place; what became of each, as `fetch` tells."""
    function = fetch.compiled()
    if function is not None:
        return fetch.fetch(function, file.fd, memory, table, address)
    found = 0
    for at, (offset, length, place, crc) in enumerate(table.tolist()):
        piece = room.data[place : place + length]
        if not file.try_into(piece, offset):
            found |= LATE << 2 * at
        elif crc >= 0 and crc32c(piece) != crc:
            found |= DAMAGED << 2 * at
    return found


def _is_sound(pieces: Pieces, at: int, data: Any) -> bool:
    return pieces.crcs is None or crc32c(data) == pieces.crcs[at]
