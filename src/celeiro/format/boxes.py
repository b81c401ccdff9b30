"""Boxes of the ISO base media file format, in which AVIF and HEIC keep their pictures.

A box is a length, a name and content, which may be boxes again; of these we read a few by name:

    ftyp │ meta: pitm (which item is the picture), iprp: ipco (properties), ipma (whose) │ mdat
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from celeiro.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["primary_item", "track_pixels"]

_KNOWN = frozenset({b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip", b"uuid"})
_ALPHA = re.compile(rb":alpha\0|:auxid:1\0")


def primary_item(data: bytes) -> tuple[dict[bytes, bytes], bool, int | None]:
    """Read the properties of the item that is the picture, always with its size, `ispe`.

    Beside them: whether some item is an alpha channel, and the offset where the last box ends,
    None where there is none with pixels. Raises `struct.error` where a count promises too much.
    """
    found: dict[bytes, tuple[int, int]] = {}
    end = 0
    for name, start, stop in _boxes(data, 0, len(data)):
        if name in _KNOWN:  # anything else that runs past the file's end is junk behind it
            end = max(end, stop)
            found.setdefault(name, (start, stop))
    if b"meta" not in found or found[b"meta"][1] > len(data):
        raise PictureError("cut short, or no still picture: there is no whole meta box")
    start, stop = found[b"meta"]
    meta = _contents(data[start + 4 : stop])
    if b"iprp" not in meta or b"pitm" not in meta:
        raise PictureError("damaged: the meta box names no primary item")
    parts = _contents(meta[b"iprp"])
    ipco = parts.get(b"ipco", b"")
    properties = [(name, ipco[start:stop]) for name, start, stop in _boxes(ipco, 0, len(ipco))]
    indices = _associations(parts.get(b"ipma", b""), _item_number(meta[b"pitm"]))
    own = dict(properties[index - 1] for index in indices if 1 <= index <= len(properties))
    if b"ispe" not in own:
        raise PictureError("damaged: the primary item states no size")
    alpha = any(name == b"auxC" and _ALPHA.search(content) for name, content in properties)
    return own, alpha, end if b"mdat" in found or b"idat" in meta else None


def track_pixels(data: bytes) -> int:
    """Count the pixels of the largest track: an animation decodes at its track's size."""
    largest = 0
    for moov in _named(data, b"moov", 0, len(data)):
        for trak in _named(data, b"trak", *moov):
            for _, stop in _named(data, b"tkhd", *trak):
                width, height = struct.unpack_from(">II", data, stop - 8)  # 16.16 fixed point
                largest = max(largest, (width >> 16) * (height >> 16))
    return largest


def _named(data: bytes, wanted: bytes, at: int, stop: int) -> Iterator[tuple[int, int]]:
    for name, first, last in _boxes(data, at, stop):
        if name == wanted:
            yield first, last


def _boxes(data: bytes, at: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, start, stop) of each box's content; the last one may promise too much."""
    while at + 8 <= stop:
        size, name = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        elif size == 0:
            size = stop - at
        if at + size < start:
            return
        yield name, start, at + size
        at += size


def _contents(box: bytes) -> dict[bytes, bytes]:
    return {name: box[start:stop] for name, start, stop in _boxes(box, 0, len(box))}


def _item_number(pitm: bytes) -> int:
    return int(struct.unpack_from(">I" if pitm[0] else ">H", pitm, 4)[0])


def _associations(ipma: bytes, item: int) -> list[int]:
    """Read the numbers, from 1, of one item's properties."""
    version, flags, entries = struct.unpack_from(">B2xBI", ipma)
    entry, index = ">IB" if version else ">HB", "H" if flags & 1 else "B"
    mask = 0x7FFF if flags & 1 else 0x7F  # the bit above says that a reader must know it
    at = 8
    for _ in range(entries):
        number, count = struct.unpack_from(entry, ipma, at)
        at += struct.calcsize(entry)
        layout = f">{count}{index}"
        if number == item:
            return [value & mask for value in struct.unpack_from(layout, ipma, at)]
        at += struct.calcsize(layout)
    return []
