"""Where stored bytes come from: the file, or a copy of it in memory.

    look    bytes that are in our memory already, as they stand there
    each    pieces one after the other, in a buffer that is used again and again
    fill    pieces into the caller's memory

The invariant: what is given is what the file had when it was opened, as far as the system can tell;
`check` is called after reading and before anything is believed. What the disk must find comes last,
so that one thread keeps it busy.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from celeiro.format.checksum import crc32c
from celeiro.storage import fetch
from celeiro.storage.fetch import DAMAGED, FOUND, LATE, Pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

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


class _Scratch(threading.local):
    """One buffer a thread, for who has it; who asks meanwhile gets another one."""

    def __init__(self) -> None:
        self._buffer: npt.NDArray[np.uint8] | None = None

    def take(self, length: int) -> npt.NDArray[np.uint8]:
        """At least so many bytes, until they are given back."""
        buffer, self._buffer = self._buffer, None
        if buffer is None or len(buffer) < length:
            # Twice what is needed: lengths of JPEGs creep up.
            buffer = np.empty(max(length, min(_KEPT, 2 * length)), np.uint8)
        return buffer

    def give_back(self, buffer: npt.NDArray[np.uint8]) -> None:
        """Keep a buffer for the next one."""
        if len(buffer) <= _KEPT:
            self._buffer = buffer


_scratch = _Scratch()


def each(source: Source, pieces: Pieces) -> Iterator[tuple[int, memoryview, bool]]:
    """The number of each piece, its bytes, and whether they are those of its checksum.

    The bytes are valid until the next ones are asked for.
    """
    if type(source) is not FileSource:
        yield from _each_in_memory(source, pieces)
        return
    lengths = pieces.lengths.tolist()
    late: list[int] = []
    groups = list(_groups(lengths))
    buffer = _scratch.take(max((size for _, _, size in groups), default=0))
    try:
        view = buffer.data
        for first, last, _ in groups:
            group = pieces.part(first, last)
            ends = np.cumsum(group.lengths)
            found = fetched(source.file, group, buffer, ends - group.lengths)
            states = None if found is None else found.tolist()
            start = 0
            for at in range(first, last):
                end = start + lengths[at]
                if states is None or states[at - first] == FOUND:
                    yield at, view[start:end], True
                elif states[at - first] == LATE:
                    late.append(at)
                else:
                    yield at, view[start:end], False
                start = end
        for at in late:
            piece = view[: lengths[at]]
            source.file.read_into(piece, int(pieces.offsets[at]))
            yield at, piece, _is_sound(pieces, at, piece)
    finally:
        _scratch.give_back(buffer)


def _groups(lengths: list[int]) -> Iterator[tuple[int, int, int]]:
    """First and last of what is fetched together, and bytes of it."""
    first = size = 0
    for at, length in enumerate(lengths):
        if size and size + length > _TOGETHER:
            yield first, at, size
            first, size = at, 0
        size += length
    if lengths:
        yield first, len(lengths), size


def _each_in_memory(source: Source, pieces: Pieces) -> Iterator[tuple[int, memoryview, bool]]:
    """As `each`, where some or all is in our memory."""
    others = []
    places = zip(pieces.offsets.tolist(), pieces.lengths.tolist(), strict=True)
    for at, (offset, length) in enumerate(places):
        view = source.look(offset, length)
        if view is None:
            others.append(at)
        else:
            yield at, view, _is_sound(pieces, at, view)
    if others:
        crcs = pieces.crcs
        rest = Pieces(
            pieces.offsets[others], pieces.lengths[others], None if crcs is None else crcs[others]
        )
        for at, view, sound in each(FileSource(source.file), rest):
            yield others[at], view, sound


def fill(
    source: Source, pieces: Pieces, room: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]
) -> int | None:
    """Put each piece at its place in `room`, bytes; the first that is damaged, or None.

    Who calls knows that all of them fit.
    """
    found = fetched(source.file, pieces, room, places)
    if found is None:
        return None
    view = room.data
    for at in np.flatnonzero(found == LATE).tolist():
        start = int(places[at])
        piece = view[start : start + int(pieces.lengths[at])]
        source.file.read_into(piece, int(pieces.offsets[at]))
        if not _is_sound(pieces, at, piece):
            found[at] = DAMAGED
    damaged = np.flatnonzero(found == DAMAGED).tolist()
    return damaged[0] if damaged else None


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
    file: File, pieces: Pieces, room: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8] | None:
    """What is in the system's cache, put in its place; None where all of it was, and is sound."""
    function = fetch.compiled()
    if function is not None:
        return fetch.fetch(function, file.fd, file.mapped(), pieces, room, places)
    view = room.data
    found = np.full(len(pieces.offsets), FOUND, np.uint8)
    spans = zip(places.tolist(), pieces.lengths.tolist(), pieces.offsets.tolist(), strict=True)
    for at, (start, length, offset) in enumerate(spans):
        piece = view[start : start + length]
        if not file.try_into(piece, offset):
            found[at] = LATE
        elif not _is_sound(pieces, at, piece):
            found[at] = DAMAGED
    return found if found.any() else None


def _is_sound(pieces: Pieces, at: int, data: Any) -> bool:
    return pieces.crcs is None or crc32c(data) == pieces.crcs[at]
