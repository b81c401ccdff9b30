"""What one picture file says of itself: kind, size, orientation, and whether its end is there.

Pure: bytes in, values out, no pixel decoded and no image library loaded. The bytes come from
anywhere, so every length is held against the file, every scan is linear, and nothing recurses.
The kind is told by the bytes, never by the name:

    bytes ─ recognise ─> kind ─ one reader a kind ─> Header, where the picture ends ─ check
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from celeiro.errors import PictureError
from celeiro.format import boxes, tiff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "EXTENSIONS",
    "Header",
    "Kind",
    "check",
    "jpeg_segments",
    "png_chunks",
    "read_header",
]

Kind = Literal["jpeg", "png", "webp", "bmp", "gif", "tiff", "avif", "heic"]

EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .dib .gif .tif .tiff .avif .heic .heif".split()
)
"""What a file's name ends with, in lower case, for it to count as a picture."""

DEFAULT_MAX_PIXELS = 178_956_970
"""Pixels above which a picture is refused: 512 MiB as RGB, and where Pillow refuses it too."""

MAX_SIDE = 1 << 20
"""Pixels a side that OpenCV reads at most."""

MAX_SCANS = 500
"""Scans of a progressive JPEG; real ones have about ten, a bomb one for each few bytes."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture file says of itself before anything is decoded."""

    kind: Kind
    """Told by the bytes, not by the name."""
    height: int
    """Rows as stored, before the orientation is applied."""
    width: int
    """Columns as stored, before the orientation is applied."""
    channels: int
    """Samples as stored: 1 grey or palette, 2 grey and alpha, 3 colour, 4 with alpha or CMYK."""
    bits: int
    """Bits a sample as stored."""
    orientation: int
    """The EXIF orientation, 1 to 8, that decoding applies; 1 if the file says none, or nonsense."""

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width once the orientation is applied: the shape that decoding gives."""
        if self.orientation >= 5:
            return self.width, self.height
        return self.height, self.width


class _Layout(NamedTuple):
    """A header, and what it promises."""

    header: Header
    end: int | None
    """The offset one past the picture's last byte; None where the mark of its end is missing."""
    pixels: int = 0
    """How many are decoded, where that is more than the header's height and width."""


def read_header(data: bytes) -> Header:
    """Read what a picture file says of itself; its pixels may still be cut short or damaged."""
    return _read(data).header


def check(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Header:
    """Read the header, refuse a picture that is too large or cut short, and decode nothing.

    What this finds is what can be known without decoding: damage in the middle is not.
    """
    header, end, pixels = _read(data)
    height, width = header.height, header.width
    if height < 1 or width < 1:
        raise PictureError(f"a picture of {height}x{width} pixels: both sides must be at least 1")
    pixels = max(pixels, height * width)
    if pixels > max_pixels:
        raise PictureError(
            f"{pixels:,} pixels ({height}x{width}), more than the limit of {max_pixels:,};"
            " if the picture is meant to be so large, pack it with a larger --max-pixels"
        )
    if max(height, width) > MAX_SIDE:
        raise PictureError(f"{height}x{width} pixels: OpenCV reads at most {MAX_SIDE:,} a side")
    if end is None:
        raise PictureError(f"cut short: {len(data):,} bytes of {header.kind} without its end mark")
    if end > len(data):
        raise PictureError(
            f"cut short: {len(data):,} bytes, and its {header.kind} header promises {end:,}"
        )
    return header


def _read(data: bytes) -> _Layout:
    kind = _recognise(data)
    try:
        return _READERS[kind](data)
    except (struct.error, IndexError, OverflowError):  # a reader may reach for what is not there
        raise PictureError(f"cut short: its {kind} header ends at byte {len(data):,}") from None


def _recognise(data: bytes) -> Kind:
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        brands = {data[8:12], *re.findall(rb"(?s)....", data[16 : min(_u32(data, 0), 256)])}
        if brands & {b"avif", b"avis"}:
            return "avif"
        if brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}:
            return "heic"
    if not data:
        raise PictureError("empty file: it has no bytes")
    raise PictureError(
        f"not a picture: begins with {data[:16]!r};"
        " wanted JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF or HEIC"
    )


_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"BM", "bmp"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),  # BigTIFF
    (b"MM\0+", "tiff"),
)


def _u32(data: bytes, at: int) -> int:
    return int(struct.unpack_from(">I", data, at)[0])


# JPEG

_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_SOS = 0xDA
_APP1 = 0xE1
_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, stop) of each segment, the 0xFF included, up to the first scan's.

    Bytes between segments are passed over, as libjpeg does. Ends early where the file does.
    """
    at = 2
    while found := _MARKER.search(data, at):
        marker = data[found.start() + 1]
        at = found.end()
        if marker in _NO_LENGTH:
            continue
        if marker in (0xD8, 0xD9):
            return
        at += struct.unpack_from(">H", data, at)[0]
        yield marker, found.start(), at
        if marker == _SOS:
            return


def _jpeg(data: bytes) -> _Layout:
    return _plain_jpeg(data) or _any_jpeg(data)


# Segments that say nothing of size or orientation, and the two baseline frames.
_PLAIN = frozenset({0xC0, 0xC1, 0xC4, 0xDB, 0xDD, 0xE0, *range(0xE2, 0xF0), 0xFE})


def _plain_jpeg(data: bytes) -> _Layout | None:
    """The layout of a baseline JPEG without EXIF, in 4 µs where any JPEG takes 24; else None."""
    at, frame = 2, 0
    try:
        while data[at] == 0xFF and data[at + 1] in _PLAIN:
            if data[at + 1] <= 0xC1:
                frame = at + 4
            at += 2 + (data[at + 2] << 8 | data[at + 3])
        if data[at] != 0xFF or data[at + 1] != _SOS or not frame:
            return None
        scan = at + 2 + (data[at + 2] << 8 | data[at + 3])
    except IndexError:
        return None
    bits, height, width, channels = struct.unpack_from(">BHHB", data, frame)
    return _Layout(Header("jpeg", height, width, channels, bits, 1), _jpeg_end(data, scan))


def _any_jpeg(data: bytes) -> _Layout:
    frame: tuple[int, int, int, int] | None = None
    progressive = False
    orientation: int | None = None
    for marker, start, stop in jpeg_segments(data):
        if marker in _FRAMES:
            frame = struct.unpack_from(">BHHB", data, start + 4)
            progressive = marker in _PROGRESSIVE
        elif marker == _APP1 and orientation is None and data[start + 4 : start + 10] == _EXIF:
            orientation = tiff.orientation(data[start + 10 : stop])
        elif marker == _SOS and frame is not None:
            bits, height, width, channels = frame
            if progressive and data.count(b"\xff\xda", stop) > MAX_SCANS:
                raise PictureError(f"a progressive JPEG of more than {MAX_SCANS} scans")
            header = Header("jpeg", height, width, channels, bits, orientation or 1)
            return _Layout(header, _jpeg_end(data, stop))
    raise PictureError("cut short: a JPEG without a scan")


_EXIF = b"Exif\0\0"


def _jpeg_end(data: bytes, scan: int) -> int | None:
    """Find the end marker after the scan's start: a thumbnail in the EXIF block has one too."""
    at = data.rfind(b"\xff\xd9", scan)
    return None if at < 0 else at + 2


# PNG

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_PNG_BITS = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, start, stop) of each whole chunk's content, up to IEND; its CRC follows."""
    at = 8
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        start, stop = at + 8, at + 8 + length
        if stop + 4 > len(data):
            return
        yield name, start, stop
        if name == b"IEND":
            return
        at = stop + 4


def _png(data: bytes) -> _Layout:
    name, width, height, bits, colour = struct.unpack_from(">4sIIBB", data, 12)
    if name != b"IHDR" or bits not in _PNG_BITS.get(colour, ()):
        raise PictureError(
            f"damaged png: begins with chunk {name!r}, {bits} bits of colour type {colour}"
        )
    orientation: int | None = None
    end = None
    for name, start, stop in png_chunks(data):
        if name == b"IEND":
            end = stop + 4
        elif name == b"eXIf" and orientation is None:
            block = data[start:stop]
            sound = zlib.crc32(block, zlib.crc32(name)) == _u32(data, stop)
            if sound and block[:2] in (b"II", b"MM"):  # else libpng passes over it
                orientation = tiff.orientation(block)
    header = Header("png", height, width, _PNG_CHANNELS[colour], bits, orientation or 1)
    return _Layout(header, end)


# WebP


def _webp(data: bytes) -> _Layout:
    (size,) = struct.unpack_from("<I", data, 4)
    name = data[12:16]
    orientation: int | None = None
    if name == b"VP8X":
        flags = data[20]
        alpha = bool(flags & 0x10)
        width = 1 + int.from_bytes(data[24:27], "little")
        height = 1 + int.from_bytes(data[27:30], "little")
        if flags & 0x08:
            orientation = _webp_orientation(data, min(8 + size, len(data)))
    elif name == b"VP8L":
        (word,) = struct.unpack_from("<I", data, 21)
        width, height, alpha = (word & 0x3FFF) + 1, (word >> 14 & 0x3FFF) + 1, bool(word >> 28 & 1)
    elif name == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
        alpha = False
    else:
        raise PictureError(f"damaged webp: begins with chunk {name!r}")
    return _Layout(Header("webp", height, width, 3 + alpha, 8, orientation or 1), 8 + size)


def _webp_orientation(data: bytes, stop: int) -> int | None:
    at = 12
    while at + 8 <= stop:
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"EXIF":
            return tiff.orientation(data[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    return None


# BMP


def _bmp(data: bytes) -> _Layout:
    start, size = struct.unpack_from("<II", data, 10)
    if size == 12:  # OS/2's
        width, height, _, depth = struct.unpack_from("<HHHH", data, 18)
        compression = stated = 0
    elif not 36 <= size <= len(data):
        raise PictureError(f"not a picture: begins with {data[:16]!r}, a BMP's mark but no BMP")
    else:
        width, height, _, depth, compression, stated = struct.unpack_from("<iiHHII", data, 18)
    height = abs(height)  # negative: the first row is the top one
    row = (max(width, 0) * depth + 31) // 32 * 4
    content = stated if compression in (1, 2) else row * height  # 1 and 2 are run lengths
    channels, bits = (1, depth) if depth <= 8 else (max(3, depth // 8), 5 if depth == 16 else 8)
    return _Layout(Header("bmp", height, width, channels, bits, 1), start + content)


# GIF


def _gif(data: bytes) -> _Layout:
    """Walk to the trailer: a frame that leaves its canvas is refused, as by OpenCV."""
    width, height, packed = struct.unpack_from("<HHB", data, 6)
    header = Header("gif", height, width, 1, (packed & 7) + 1, 1)
    at = 13 + _gif_palette(packed)
    frames = 0
    while at < len(data):
        block = data[at]
        if block == 0x3B and frames:
            return _Layout(header, at + 1)
        if block == 0x21:
            at = _gif_skip(data, at + 2)
        elif block == 0x2C:
            left, top, wide, high, packed = struct.unpack_from("<HHHHB", data, at + 1)
            if left + wide > width or top + high > height:
                raise PictureError(
                    f"damaged gif: a frame of {high}x{wide} at ({top}, {left})"
                    f" in a canvas of {height}x{width}"
                )
            at = _gif_skip(data, at + 11 + _gif_palette(packed))
            frames += 1
        else:
            raise PictureError(f"damaged gif: block {block:#04x} at byte {at:,}")
    return _Layout(header, None)


def _gif_palette(packed: int) -> int:
    return 3 << (packed & 7) + 1 if packed & 0x80 else 0


def _gif_skip(data: bytes, at: int) -> int:
    """Pass over sub-blocks, each led by its length, up to the empty one."""
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1


# TIFF

_FAR = np.uint64(1 << 62)  # two of these still add up without wrapping


def _tiff(data: bytes) -> _Layout:
    """Read the first directory: later pages are no more decoded than later frames."""
    tags = tiff.first_directory(data, _TIFF_WANTED)
    if 256 not in tags or 257 not in tags:
        raise PictureError("damaged tiff: its first directory states no size")
    width, height, channels, bits, turn = (
        int(tags[tag].max()) if tag in tags else 1 for tag in (256, 257, 277, 258, 274)
    )
    header = Header("tiff", height, width, channels, bits, turn if 1 <= turn <= 8 else 1)
    offsets, counts = (273, 279) if 273 in tags else (324, 325)  # strips, or tiles
    if offsets not in tags:
        raise PictureError("damaged tiff: its first directory names no strips and no tiles")
    ends = np.minimum(tags[offsets], _FAR)
    if counts in tags and len(tags[counts]) == len(ends):
        ends = ends + np.minimum(tags[counts], _FAR)
    return _Layout(header, int(ends.max()))


# 320 and 347, a palette and JPEG's tables, only have to be there.
_TIFF_WANTED = frozenset({256, 257, 258, 273, 274, 277, 279, 320, 324, 325, 347})


# AVIF and HEIC

_TURNS = {0: 1, 1: 8, 2: 3, 3: 6}  # quarter turns anticlockwise -> EXIF orientation
_MIRRORED = (  # the same, then top and bottom exchanged, or left and right
    {1: 4, 8: 5, 3: 2, 6: 7},
    {1: 2, 8: 7, 3: 4, 6: 5},
)
_PIXI = b"\0\0\0\0\3\x08"  # three channels of eight bits, where a file does not say


def _heif(kind: Kind, data: bytes) -> _Layout:
    """Read the primary item's properties; its turn and mirror become one orientation."""
    item, alpha, end = boxes.primary_item(data)
    width, height = struct.unpack_from(">II", item[b"ispe"], 4)
    pixels = max(height * width, boxes.track_pixels(data))
    if kind == "heic" and b"clap" in item:  # libheif cuts the encoder's padding off, libavif not
        clap = struct.unpack_from(">4I", item[b"clap"])
        width, height = clap[0] // max(clap[1], 1), clap[2] // max(clap[3], 1)
    channels, bits = struct.unpack_from("BB", item.get(b"pixi", _PIXI), 4)
    orientation = _TURNS[item[b"irot"][0] & 3] if b"irot" in item else 1
    if b"imir" in item:
        orientation = _MIRRORED[item[b"imir"][0] & 1][orientation]
    header = Header(kind, height, width, channels + alpha, bits, orientation)
    return _Layout(header, end, pixels)


_READERS: dict[Kind, Callable[[bytes], _Layout]] = {
    "jpeg": _jpeg,
    "png": _png,
    "webp": _webp,
    "bmp": _bmp,
    "gif": _gif,
    "tiff": _tiff,
    "avif": partial(_heif, "avif"),
    "heic": partial(_heif, "heic"),
}
