"""Every sample of a stream against its checksum, in threads; decoded where that is asked for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import CeleiroError, ChangedError
from celeiro.format.checksum import crc32c
from celeiro.packing.pipeline import Stopped, in_order

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator, Iterator

    from celeiro.care.checking.streams import Stream
    from celeiro.storage.local import File

# One read of neighbours: large enough for a disk, small enough that all threads have some.
_BLOCK = 4 << 20
_MOST_ROWS = 512

Checked = tuple[int, int, list[tuple[int, str]]]
"""How many samples, of how many bytes, and which of them are bad, with what is wrong."""


def check(
    disk: File, stream: Stream, *, decode: bool, workers: int
) -> Generator[Checked, None, None]:
    """What is wrong with the samples, some at a time, in order."""
    work = partial(_check_block, disk, stream, decode)
    return in_order(_cut(stream), work, workers=workers, window=4 * workers)


def _cut(stream: Stream) -> Iterator[range]:
    """Positions in a stream, some at a time: few samples, and few bytes."""
    ends = np.cumsum(stream.lengths, dtype=np.uint64)
    first, count = 0, len(ends)
    while first < count:
        before = ends[first - 1] if first else np.uint64(0)
        fits = int(np.searchsorted(ends, before + np.uint64(_BLOCK), side="right"))
        last = min(max(first + 1, fits), first + _MOST_ROWS, count)
        yield range(first, last)
        first = last


def _check_block(
    disk: File, stream: Stream, decode: bool, block: range, stop: threading.Event
) -> Checked:
    """What is wrong with the samples of one block."""
    numbers = stream.numbers[block.start : block.stop].tolist()
    starts = stream.starts[block.start : block.stop].tolist()
    lengths = stream.lengths[block.start : block.stop].tolist()
    together = _read_together(disk, starts, lengths)
    bad = []
    for number, start, length in zip(numbers, starts, lengths, strict=True):
        if stop.is_set():
            raise Stopped
        try:
            if together is not None:
                data: Any = together[start - starts[0] : start - starts[0] + length]
            else:
                data = disk.read(length, start) if length <= _BLOCK or decode else None
            crc = _crc_in_pieces(disk, start, length) if data is None else crc32c(data)
        except ChangedError:
            raise
        except OSError as error:  # a bad sector
            bad.append((number, f"it cannot be read: {error.strerror}"))
            continue
        problem = _problem(stream, number, crc, data if decode else None)
        if problem:
            bad.append((number, problem))
    return len(numbers), sum(lengths), bad


def _problem(stream: Stream, number: int, crc: int, data: Any) -> str | None:
    if stream.crcs is not None and crc != stream.crcs[number]:
        return "its bytes are not those of its checksum"
    if data is None or stream.decode is None:
        return None
    try:
        stream.decode(number, bytes(data))
    except CeleiroError as error:
        return f"it does not decode: {error}"
    return None


def _read_together(disk: File, starts: list[int], lengths: list[int]) -> memoryview | None:
    """The bytes of neighbours in one read; None where they are none, or are too large."""
    ends = [start + length for start, length in zip(starts, lengths, strict=True)]
    total = sum(lengths)
    if ends[:-1] != starts[1:] or total > 2 * _BLOCK:
        return None
    try:
        return memoryview(disk.read(total, starts[0]))
    except ChangedError:
        raise
    except OSError:
        return None  # one by one, to see which


def _crc_in_pieces(disk: File, start: int, length: int) -> int:
    """Of a sample that is larger than what is read at once."""
    crc = 0
    for at in range(start, start + length, _BLOCK):
        crc = crc32c(disk.read(min(_BLOCK, start + length - at), at), crc)
    return crc
