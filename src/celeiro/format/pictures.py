"""The bytes of one picture file to its pixels, upright, and nothing but `PictureError` otherwise.

OpenCV's `imdecode` is the reference: our pixels equal its own wherever it gives an answer, save
for the rows of docs/pictures.md that say otherwise. JPEG goes through libjpeg-turbo by simplejpeg,
which gives the same pixels, can decode into the caller's memory, and tells damage from soundness
where OpenCV warns on stderr and guesses.

    check (headers.py) ─> decode as stored ─> turn upright
"""

from __future__ import annotations

import importlib
import os
import struct
import zlib
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import simplejpeg

from celeiro.errors import PictureError
from celeiro.format import baseline
from celeiro.format.headers import (
    DEFAULT_MAX_PIXELS,
    EXTENSIONS,
    Header,
    check,
    jpeg_segments,
    png_chunks,
    read_header,
)

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "EXTENSIONS",
    "Color",
    "Header",
    "check",
    "decode",
    "decode_mask",
    "read_header",
]

Color = Literal["RGB", "BGR", "GRAY"]
"""The order of a decoded picture's channels; GRAY has one."""


def decode(
    data: bytes,
    *,
    color: Color = "RGB",
    max_pixels: int = DEFAULT_MAX_PIXELS,
    buffer: bytearray | memoryview | None = None,
    header: Header | None = None,
) -> npt.NDArray[np.uint8]:
    """Decode the bytes of a picture file to (H, W, 3), or (H, W, 1) for GRAY.

    The EXIF orientation is applied, more than 8 bits become 8, alpha is dropped, and of an
    animation the first frame is taken. A JPEG that fits is decoded into `buffer`, and the array
    is then a view of it; everything else is a fresh array. Who called `check` already hands its
    answer on as `header`, and `max_pixels` has then been held.
    """
    header = header or check(data, max_pixels=max_pixels)
    try:
        pixels = _decode_as_stored(data, header, color, buffer)
        return _upright(pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels, header)
    except MemoryError:
        raise _too_large(header) from None


def decode_mask(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> npt.NDArray[Any]:
    """Decode a mask to (H, W) or (H, W, C) with the values that the file holds.

    A palette PNG gives its palette's indices, which is where VOC keeps its classes; 16 bits and
    floats stay what they are. Colours stand in the file's own order: red, green, blue, alpha.
    """
    header = check(data, max_pixels=max_pixels)
    try:
        return _upright(_decode_values(data, header), header)
    except MemoryError:
        raise _too_large(header) from None


def _too_large(header: Header) -> PictureError:
    height, width = header.height, header.width
    return PictureError(f"not enough memory to decode {header.kind} of {height}x{width} pixels")


def _decode_as_stored(
    data: bytes, header: Header, color: Color, buffer: bytearray | memoryview | None
) -> npt.NDArray[np.uint8]:
    if header.kind == "jpeg":
        size = header.height * header.width * (1 if color == "GRAY" else 3)
        fits = buffer is not None and len(buffer) >= size and header.orientation == 1
        room = buffer if fits else None
        pixels = None
        if color != "BGR" and header.channels == (1 if color == "GRAY" else 3):
            shape = header.height, header.width, header.channels
            pixels = baseline.decoded(data, shape, buffer=room)
        return _decode_jpeg(data, color, room) if pixels is None else pixels
    if header.kind == "heic":
        return _decode_heic(data, color)
    if header.kind == "png":
        data = _png_core(data)
    return _decode_opencv(data, header, color)


def _decode_values(data: bytes, header: Header) -> npt.NDArray[Any]:
    if header.kind in ("jpeg", "heic"):
        pixels = _decode_as_stored(data, header, "GRAY" if header.channels == 1 else "RGB", None)
        return pixels[:, :, 0] if header.channels == 1 else pixels
    if header.kind == "png" and data[25] == 3:
        indices = bytes(index for index in range(1 << header.bits) for _ in range(3))
        return np.ascontiguousarray(_decode_opencv(_png_core(data, indices), header)[:, :, 0])
    pixels = _decode_opencv(_png_core(data) if header.kind == "png" else data, header)
    if pixels.ndim == 2 or pixels.shape[2] < 3:
        return pixels
    return np.ascontiguousarray(pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]])


# OpenCV

_TURNED_WHEN_DECODED = frozenset({"tiff", "heic"})  # by libtiff or OpenCV, and by libheif
_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}  # 5 to 8 are transposed first


@cache
def _opencv() -> Any:
    """Import OpenCV when it is first needed (100 ms), and silence it.

    It reports damaged files on stderr, line by line, for every thread and file; we raise what it
    has to say. The level is the process's: a caller who set OPENCV_LOG_LEVEL keeps their own.
    """
    import cv2

    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def _decode_opencv(data: bytes, header: Header, color: Color | None = None) -> npt.NDArray[Any]:
    """Decode as stored; without a colour, the values unchanged in OpenCV's order of channels."""
    cv2 = _opencv()
    flag = {
        "RGB": cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION,
        "BGR": cv2.IMREAD_COLOR_BGR | cv2.IMREAD_IGNORE_ORIENTATION,
        "GRAY": cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION,
        None: cv2.IMREAD_UNCHANGED,
    }[color]
    try:
        pixels: npt.NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error as error:
        raise PictureError(f"OpenCV refuses this {header.kind}: {error.err}") from None
    if pixels is not None:
        return pixels
    if header.kind == "tiff" and header.bits > 16:
        raise PictureError(
            f"a TIFF of {header.bits} bits a sample: a picture has 8 or 16."
            " Pack it as an array, or convert it first"
        )
    raise PictureError(f"damaged {header.kind}, or a variant that OpenCV cannot decode")


def _upright(pixels: npt.NDArray[Any], header: Header) -> npt.NDArray[Any]:
    if header.orientation != 1 and header.kind not in _TURNED_WHEN_DECODED:
        pixels = _turn(pixels, header.orientation)
    if pixels.shape[:2] != header.upright:
        raise PictureError(
            f"damaged {header.kind}: its header says {header.upright} pixels,"
            f" and it decodes to {pixels.shape[:2]}"
        )
    return pixels


def _turn(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    cv2 = _opencv()
    turned = cv2.transpose(pixels) if orientation >= 5 else pixels
    if orientation in _FLIPS:
        turned = cv2.flip(turned, _FLIPS[orientation])
    shape = turned.shape[:2] + pixels.shape[2:]  # OpenCV drops an axis of one channel
    return np.reshape(turned, shape)


# JPEG

_HARMLESS = ("extraneous bytes before marker", "Invalid SOS parameters for sequential JPEG")
_APP0, _APP14, _APP15, _COM = 0xE0, 0xEE, 0xEF, 0xFE


def _decode_jpeg(
    data: bytes, color: Color, buffer: bytearray | memoryview | None
) -> npt.NDArray[np.uint8]:
    """Decode; an odd header is told from damage by trying again without what is odd in it.

    libjpeg reports its first warning alone, so the second one is about the scan.
    """
    try:
        return _turbo(data, color, buffer)
    except ValueError:
        data = _jpeg_core(data)
    try:
        return _turbo(data, color, buffer)
    except ValueError as error:
        reason = str(error)
    if "subsampling" in reason:  # one that libjpeg decodes and TurboJPEG has no name for
        return _decode_opencv(data, read_header(data), color)
    if not any(harmless in reason for harmless in _HARMLESS):
        raise PictureError(f"damaged jpeg: {reason}")
    try:
        return _turbo(data, color, buffer, strict=False)
    except ValueError as error:
        raise PictureError(f"damaged jpeg: {error}") from None


def _turbo(
    data: bytes, color: Color, buffer: bytearray | memoryview | None, *, strict: bool = True
) -> npt.NDArray[np.uint8]:
    pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
        data, color, buffer=buffer, strict=strict
    )
    return pixels


def _jpeg_core(data: bytes) -> bytes:
    """Leave out what does not make pixels: comments, profiles, bytes between the segments.

    The JFIF and Adobe segments stay, for they tell the colours; JFIF's version, which libjpeg
    warns of and uses for nothing, becomes 1.1.
    """
    parts = [b"\xff\xd8"]
    scan = len(data)
    for marker, start, stop in jpeg_segments(data):
        scan = stop
        if marker == _APP0 and data[start + 4 : start + 9] == b"JFIF\0":
            parts.append(data[start : start + 9] + b"\1\1" + data[start + 11 : stop])
        elif marker == _APP14 or not (_APP0 <= marker <= _APP15 or marker == _COM):
            parts.append(data[start:stop])
    return b"".join([*parts, data[scan:]])


# PNG

_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT"})
_IEND = b"\0\0\0\0IEND\xaeB`\x82"


def _png_core(data: bytes, palette: bytes | None = None) -> bytes:
    """Leave out what does not make pixels, and check the sums of what does.

    libpng writes on stderr of a profile that it does not like or a sum that is wrong, and knows
    no way to be told not to. With `palette` in place of the file's own, entry i being (i, i, i),
    any decoder gives the indices.
    """
    parts = [data[:8]]
    for name, start, stop in png_chunks(data):
        if name not in _KEPT:
            if name[0] < 0x60 and name != b"IEND":
                raise PictureError(f"damaged png: chunk {name!r}, which no reader knows")
            continue
        if zlib.crc32(data[start - 4 : stop]) != struct.unpack_from(">I", data, stop)[0]:
            raise PictureError(f"damaged png: the checksum of its {name.decode()} does not match")
        if palette is None or name in (b"IHDR", b"IDAT"):
            parts.append(data[start - 8 : stop + 4])
        elif name == b"PLTE":
            parts.append(_png_chunk(name, palette))
    return b"".join([*parts, _IEND])


def _png_chunk(name: bytes, content: bytes) -> bytes:
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


# HEIC


def _decode_heic(data: bytes, color: Color) -> npt.NDArray[np.uint8]:
    """Decode by pillow-heif where it is installed: OpenCV reads no HEIC."""
    try:
        heif = importlib.import_module("pillow_heif")
    except ImportError:
        raise PictureError("a HEIC needs pillow-heif: pip install 'celeiro[heic]'") from None
    try:
        pixels = np.asarray(heif.open_heif(data, convert_hdr_to_8bit=True))
    except Exception as error:  # damage gives IndexError and UnicodeDecodeError, among others
        raise PictureError(f"damaged heic: {error}") from None
    if pixels.dtype != np.uint8:
        raise PictureError(f"a HEIC of {pixels.dtype} samples: convert it to 8 bits first")
    pixels = np.atleast_3d(pixels)
    if color == "GRAY":
        if pixels.shape[2] < 3:
            return np.ascontiguousarray(pixels[:, :, :1])
        cv2 = _opencv()
        gray: npt.NDArray[np.uint8] = cv2.cvtColor(pixels[:, :, :3], cv2.COLOR_RGB2GRAY)
        return gray
    order = {"RGB": [0, 1, 2], "BGR": [2, 1, 0]}[color] if pixels.shape[2] >= 3 else [0, 0, 0]
    return np.ascontiguousarray(pixels[:, :, order])
