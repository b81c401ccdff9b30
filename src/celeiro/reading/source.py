"""Where stored bytes come from: the file, or a copy of it in memory.

    look    bytes that are in our memory already, as they stand there
    fetch   bytes into a buffer that is used again and again

The invariant: what is given is what the file had when it was opened, as far as the system can tell;
`check` is called after reading and before anything is believed.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from celeiro.storage.local import File

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
    """One buffer a thread."""

    buffer = memoryview(bytearray())

    def of(self, length: int) -> memoryview:
        if length > _KEPT:
            return memoryview(bytearray(length))
        if length > len(self.buffer):
            # Twice what is needed: lengths of JPEGs creep up.
            self.buffer = memoryview(bytearray(min(_KEPT, 2 * length)))
        return self.buffer[:length]


_scratch = _Scratch()


def each(
    source: Source, places: Iterable[tuple[int, int, int]]
) -> Iterator[tuple[int, memoryview]]:
    """Bytes of each (number, offset, length); those that the disk must find come last.

    A view is valid until the next one is asked for.
    """
    # Bound once: what is done for every sample is held up by every other thread's Python.
    look, try_into, room = source.look, source.file.try_into, _scratch.of
    late = []
    for place in places:
        number, offset, length = place
        view = look(offset, length)
        if view is None:
            view = room(length)
            if not try_into(view, offset):
                late.append(place)
                continue
        yield number, view
    for number, offset, length in late:
        view = room(length)
        source.file.read_into(view, offset)
        yield number, view


def bytes_of(source: Source, offset: int, length: int) -> bytes:
    """Bytes of one place, for their own sake."""
    return b"".join(bytes(view) for _, view in each(source, [(0, offset, length)]))


def fill(source: Source, places: Iterable[tuple[memoryview, int]]) -> None:
    """Fill each view from its byte offset; those that the disk must find come last."""
    file = source.file
    try_into: Callable[[memoryview, int], bool] = file.try_into
    late = [place for place in places if not try_into(*place)]
    for view, offset in late:
        file.read_into(view, offset)
