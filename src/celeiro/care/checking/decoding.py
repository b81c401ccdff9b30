"""Decode one stored sample only to see that it decodes, to what it should."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import FormatError
from celeiro.format import pictures

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.format.chunks import ChunkCodec

_local = threading.local()


def chunk(codec: ChunkCodec, _number: int, data: bytes) -> None:
    """Decode a chunk, into memory of this thread's."""
    room = getattr(_local, "room", None)
    if room is None or room.shape != codec.shape or room.dtype != codec.dtype:
        room = _local.room = np.empty(codec.shape, codec.dtype)
    codec.decode(data, room)


def picture(
    shapes: npt.NDArray[np.uint32], turns: npt.NDArray[np.uint8], number: int, data: bytes
) -> None:
    """Decode a picture file, and hold it to what stands beside it."""
    height, width, _ = shapes[number].tolist()
    header = pictures.check(data, max_pixels=max(1, height * width))
    _same(header, (height, width), int(turns[number]))
    pictures.decode(data, header=header)


def any_picture(_number: int, data: bytes) -> None:
    """Decode a picture file of which nothing else is known."""
    pictures.decode(data)


def any_mask(_number: int, data: bytes) -> None:
    """Decode a mask of which nothing else is known."""
    pictures.decode_mask(data)


def mask(
    shapes: npt.NDArray[np.uint32], turns: npt.NDArray[np.uint8], number: int, data: bytes
) -> None:
    """Decode a mask, and hold it to what stands beside it."""
    height, width, channels = shapes[number].tolist()
    most = max(1, height * width)
    _same(pictures.check(data, max_pixels=most), (height, width), int(turns[number]))
    found: npt.NDArray[Any] = pictures.decode_mask(data, max_pixels=most)
    if found.shape[:2] != (height, width) or (*found.shape[2:], 1)[0] != channels:
        raise FormatError(f"it decodes to {found.shape}, wanted {(height, width, channels)}")


def _same(header: pictures.Header, size: tuple[int, int], turn: int) -> None:
    if header.upright != size:
        raise FormatError(f"it is {header.upright} pixels, and its shape says {size}")
    if header.orientation != turn:
        raise FormatError(
            f"its EXIF orientation is {header.orientation}, and the one beside it {turn}"
        )
