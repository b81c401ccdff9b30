"""Samples one after the other, found by their own structure alone.

    Pictures   …|FF D8 FF … FF D9|FF D8 FF … FF D9|89 PNG … IEND|…
    Chunks     …|Blosc's header, its length …|…       or one zlib stream after the other

Where a picture file says itself where it ends (JPEG, PNG, GIF, WebP, BMP) that is its end; of the
others it is where the next one begins. With the checksums of all samples at hand only what has one
of them is a sample, so that a thumbnail in a damaged photograph is none.
"""

from __future__ import annotations

import re
import struct
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from celeiro.format.checksum import crc32c
from celeiro.format.headers import png_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celeiro.storage.local import File

_BEGINNING = re.compile(
    rb"(?s)\xff\xd8\xff[\xc0-\xfe]|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|II\*\0|MM\0\*"
    rb"|\0\0\0.ftyp(?:avif|avis|heic|heix|heim|heis|hevc|hevx|mif1|msf1)"
)
_LONGEST_BEGINNING = 12
_FIRST_WINDOW = 1 << 18
_LARGEST_PICTURE = 1 << 30
_STEP = 1 << 22


@dataclass(frozen=True, slots=True)
class Piece:
    """One picture file."""

    start: int
    """Byte of the file at which it begins."""
    length: int
    """Bytes."""
    number: int | None
    """Of the sample whose checksum it has; None where no checksums are known."""


class _Further(Exception):
    """The end is not among the bytes at hand."""


class Walker(Protocol):
    """What knows how samples of one kind begin and end."""

    def next(self, disk: File, at: int, stop: int) -> int | None:
        """Where the next one begins, from `at` on; None where there is no more."""
        ...

    def ends(self, disk: File, at: int, stop: int) -> Iterator[int]:
        """Where the one that begins at `at` may end, the likeliest first."""
        ...


def pieces(
    walker: Walker, disk: File, start: int, stop: int, *, crcs: Sequence[int] | None = None,
    told: Callable[[int], None] = lambda _: None,
) -> Iterator[Piece]:  # fmt: skip
    """Samples between two bytes of a file, in order; `told` of every byte that is behind.

    Parameters
    ----------
    crcs
        CRC-32C of each sample, by number; None where they are lost.
    """
    wanted: dict[int, deque[int]] = {}
    for number, crc in enumerate(crcs if crcs is not None else ()):
        wanted.setdefault(crc, deque()).append(number)
    at = start
    while (begin := walker.next(disk, at, stop)) is not None:
        at, found = begin, None
        for end in walker.ends(disk, at, stop):
            if crcs is None:
                found = Piece(at, end - at, None)
                break
            numbers = wanted.get(crc32c(disk.read(end - at, at)))
            if numbers:
                found = Piece(at, end - at, numbers.popleft())
                break
        if found is not None:
            yield found
        at += 1 if found is None else found.length
        told(at)


class Pictures:
    """Picture files."""

    def next(self, disk: File, at: int, stop: int) -> int | None:
        """Where the next one begins, from `at` on."""
        while at < stop:
            data = disk.read(min(_STEP + _LONGEST_BEGINNING, stop - at), at)
            if data[:2] == b"BM" and _ends_with_another(disk, data, at, stop):
                return at
            if found := _BEGINNING.search(data):
                return at + found.start()
            at += max(1, min(_STEP, len(data)))
        return None

    def ends(self, disk: File, at: int, stop: int) -> Iterator[int]:
        """As it says itself, and then where the next one begins."""
        end = _own_end(disk, at, stop)
        if end is not None:
            yield end
        # Bytes behind its end are its own where it was stored with them.
        following = self.next(disk, at + 4 if end is None else end, stop)
        last = stop if following is None else following
        if last != end and last - at <= _LARGEST_PICTURE:
            yield last


class BloscChunks:
    """Chunks of Blosc 1, each of `size` bytes when decoded."""

    def __init__(self, size: int) -> None:
        # Version 2, compressor's version 1, flags, bytes a value; then the size.
        self._beginning = re.compile(rb"(?s)\x02\x01.." + re.escape(struct.pack("<I", size)))

    def next(self, disk: File, at: int, stop: int) -> int | None:
        """Where the next header stands."""
        return _search(self._beginning, 16, disk, at, stop)

    def ends(self, disk: File, at: int, stop: int) -> Iterator[int]:
        """As its header says."""
        data = disk.read(min(16, stop - at), at)
        if len(data) == 16:
            length = int(struct.unpack_from("<I", data, 12)[0])
            if 16 <= length <= stop - at:
                yield at + length


class ZlibChunks:
    """Streams of zlib, each of `size` bytes when decoded."""

    _beginning = re.compile(rb"\x78[\x01\x5e\x9c\xda]")

    def __init__(self, size: int) -> None:
        self._size = size

    def next(self, disk: File, at: int, stop: int) -> int | None:
        """Where the next may begin."""
        return _search(self._beginning, 2, disk, at, stop)

    def ends(self, disk: File, at: int, stop: int) -> Iterator[int]:
        """Where the stream ends, its own checksum right."""
        import zlib

        stream, read, made = zlib.decompressobj(), at, 0
        try:
            while not stream.eof and read < stop and made <= self._size:
                data = disk.read(min(_FIRST_WINDOW, stop - read), read)
                read += len(data)
                while data and made <= self._size:
                    made += len(stream.decompress(data, self._size + 1 - made))
                    data = stream.unconsumed_tail
        except zlib.error:
            return
        if stream.eof and made == self._size:
            yield read - len(stream.unused_data)


def _search(
    beginning: re.Pattern[bytes], longest: int, disk: File, at: int, stop: int
) -> int | None:
    while at < stop:
        data = disk.read(min(_STEP + longest, stop - at), at)
        if found := beginning.search(data):
            return at + found.start()
        at += max(1, min(_STEP, len(data)))
    return None


def _ends_with_another(disk: File, data: bytes, at: int, stop: int) -> bool:
    """Whether what begins like a BMP ends where another picture begins: two letters are little."""
    if len(data) < 6:
        return False
    end = at + int(struct.unpack_from("<I", data, 2)[0])
    if end == stop:
        return True
    after = disk.read(min(_LONGEST_BEGINNING, max(0, stop - end)), end) if end < stop else b""
    return bool(_BEGINNING.match(after)) or after[:2] == b"BM"


def _own_end(disk: File, at: int, stop: int) -> int | None:
    """As the file says itself; None where it does not, or is damaged."""
    size = _FIRST_WINDOW
    while True:
        data = disk.read(min(size, stop - at), at)
        try:
            end = _end(data)
        except (_Further, IndexError, struct.error):
            if at + len(data) >= stop or size >= _LARGEST_PICTURE:
                return None
            size *= 8
            continue
        return None if end is None or at + end > stop else at + end


def _end(data: bytes) -> int | None:
    if data[:2] == b"\xff\xd8":
        return jpeg_end(data)
    if data[:4] == b"\x89PNG":
        return _png_end(data)
    if data[:4] == b"GIF8":
        return _gif_end(data)
    if data[:4] == b"RIFF":
        return 8 + int(struct.unpack_from("<I", data, 4)[0])
    if data[:2] == b"BM":
        return int(struct.unpack_from("<I", data, 2)[0])
    return None


_AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


def jpeg_end(data: bytes) -> int | None:
    """Where a JPEG ends that begins the bytes; None where its segments make no sense."""
    at = 2
    while True:
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xD9:
            return at + 2
        if marker == 0xFF:
            at += 1
            continue
        if marker in (0x00, 0xD8):
            return None
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            at += 2
            continue
        at += 2 + (data[at + 2] << 8 | data[at + 3])
        if marker == 0xDA:
            found = _AFTER_SCAN.search(data, at)
            if not found:
                raise _Further
            at = found.start()


def _png_end(data: bytes) -> int:
    for name, _, stop in png_chunks(data):
        if name == b"IEND":
            return stop + 4
    raise _Further


def _gif_end(data: bytes) -> int | None:
    at = 13 + _palette(data[10])
    while True:
        block = data[at]
        if block == 0x3B:
            return at + 1
        if block == 0x21:
            at += 2
        elif block == 0x2C:
            at += 11 + _palette(data[at + 9])
        else:
            return None
        while data[at]:
            at += data[at] + 1
        at += 1


def _palette(packed: int) -> int:
    return 3 << (packed & 7) + 1 if packed & 0x80 else 0
