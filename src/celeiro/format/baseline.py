"""Baseline JPEGs, or parts of them, by a decoder of our own (kernels/baseline.c).

    decode(a JPEG, pixels)             True: the very pixels of libjpeg-turbo, in 2/3 of its time
    decode_all(JPEGs, pixels)          many at once, without the GIL, and nothing between two
    decode_part(a JPEG, pixels, part)  of a crop: what is around it is parsed at most
    decoded(a JPEG, shape, part)       either, into memory of its own or the caller's

False where there is no kernel for this machine, and of what is unusual or damaged: whoever calls
then asks libjpeg, which decodes it, or says what is wrong. So nothing here needs to be told apart,
and a JPEG that decodes here is sound: its codes end where its data do.
"""

from __future__ import annotations

import math
import threading
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro import library

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Bytes = bytes | bytearray | memoryview | npt.NDArray[np.uint8]

__all__ = ["LIBRARY", "compiled", "decode", "decode_all", "decode_part", "decoded"]

LIBRARY = library.beside(__file__, "baseline")
"""Where the build hook (hatch_build.py) puts the compiled kernel."""

# Of the functions and the struct `Job` in baseline.c; raised with every change there.
_VERSION = 2
_FIELDS = 12
# Memory beside the JPEG's own bytes: at most three rows of MCUs, which are no more than 16 rows of
# luma and twice 8 of colours, and two rows of colours, each for so many bytes a column.
_A_COLUMN, _AROUND = 100, 32 << 10
_MOST_SIDE = 65_500  # libjpeg's
# Of a vector, 16 bytes each: as many as the processor has, and no more than this.
_MOST_LANES = 4


@cache
def compiled() -> Any:
    """The library; None where it was not built, or where this processor lacks AVX2."""
    found = library.opened(
        LIBRARY, "celeiro_baseline", _VERSION,
        without="JPEGs are decoded by libjpeg, which takes half as long again",
    )  # fmt: skip
    if found is None or not found.celeiro_baseline_able():
        return None
    found.celeiro_baseline_tables.restype = library.INT64
    found.celeiro_baseline_lanes(_MOST_LANES)
    return found


class _Own(threading.local):
    """What a thread decodes with."""

    def __init__(self) -> None:
        # Made when it is needed: this runs on import as well, with or without a kernel.
        self.tables = np.empty(0, np.uint8)
        self.room = np.empty(0, np.uint8)

    def run(self, jobs: npt.NDArray[np.int64], width: int, longest: int) -> bool:
        """Do all jobs; whether that is done. Their last column says of each: 0, it is."""
        kernel, needed = compiled(), _A_COLUMN * (width + 256) + longest + _AROUND
        if not len(self.tables):
            self.tables = np.zeros(kernel.celeiro_baseline_tables(), np.uint8)
        if len(self.room) < needed:
            self.room = np.empty(needed + needed // 4, np.uint8)
        # Held here: a signal's handler that decodes too may put others in their place.
        tables, room = self.tables, self.room
        places = (library.POINTER(_address(each)) for each in (jobs, tables, room))
        not_done: int = kernel.celeiro_baseline(
            library.INT64(len(jobs)), *places, library.INT64(len(room))
        )
        return not not_done


_own = _Own()


def decode(data: Bytes, pixels: npt.NDArray[np.uint8]) -> bool:
    """Decode a JPEG into `pixels`, (H, W, 3) RGB or (H, W, 1) grey, C-contiguous; False if not.

    A JPEG of another size or kind than `pixels` is not decoded. What stands there afterwards is
    undefined where it was not.
    """
    height, width, _ = pixels.shape
    return decode_part(data, pixels, (0, 0, height, width))


def decode_part(
    data: Bytes, pixels: npt.NDArray[np.uint8], part: tuple[int, int, int, int]
) -> bool:
    """As `decode`, but only the pixels of a part of it: top, left, bottom, right.

    0 ≤ top < bottom ≤ H and 0 ≤ left < right ≤ W. Of the other pixels some are written to as well.
    Damage outside of the part may go unnoticed.
    """
    height, width, channels = pixels.shape
    if compiled() is None or not (_fits(height, width) and _is_room(pixels) and len(data)):
        return False
    top, left, bottom, right = part
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise ValueError(f"part {part} of a picture of {height}x{width} pixels")
    job = np.array(
        [[_address(data), len(data), pixels.ctypes.data, width * channels, height, width, channels,
          top, left, bottom, right, 0]], np.int64,
    )  # fmt: skip
    return _own.run(job, width, len(data))


def decoded(
    data: bytes,
    shape: tuple[int, int, int],
    part: tuple[int, int, int, int] | None = None,
    *,
    buffer: bytearray | memoryview | None = None,
) -> npt.NDArray[np.uint8] | None:
    """As `decode` or `decode_part`, into `buffer` where (H, W, C) fits in; None if not."""
    if compiled() is None:
        return None
    size = math.prod(shape)
    room = np.empty(size, np.uint8) if buffer is None or len(buffer) < size else buffer
    pixels = np.frombuffer(room, np.uint8, size).reshape(shape)
    done = decode(data, pixels) if part is None else decode_part(data, pixels, part)
    return pixels if done else None


def decode_all(
    data: Sequence[Bytes], shape: tuple[int, ...], pixels: Sequence[npt.NDArray[np.uint8]]
) -> list[int]:
    """As `decode` of each, all of one shape; the places of those that are not.

    Each of `pixels` holds (H, W, C) bytes in whatever shape, one after the other.
    """
    height, width, channels = shape
    size = height * width * channels
    if compiled() is None or not (
        _fits(height, width)
        and all(_is_room(room) and room.size == size for room in pixels)
        and all(map(len, data))
    ):
        return list(range(len(data)))
    jobs = np.zeros((len(data), _FIELDS), np.int64)
    jobs[:, 0] = [_address(one) for one in data]
    lengths = [len(one) for one in data]
    jobs[:, 1] = lengths
    jobs[:, 2] = [_address(room) for room in pixels]
    jobs[:, 3:] = (width * channels, height, width, channels, 0, 0, height, width, 0)
    if _own.run(jobs, width, max(lengths, default=0)):
        return []
    found: list[int] = np.flatnonzero(jobs[:, -1]).tolist()
    return found


def _fits(height: int, width: int) -> bool:
    return 0 < height <= _MOST_SIDE and 0 < width <= _MOST_SIDE


def _is_room(pixels: npt.NDArray[np.uint8]) -> bool:
    flags = pixels.flags
    return flags.c_contiguous and flags.writeable and pixels.dtype == np.uint8


def _address(data: Bytes | npt.NDArray[Any]) -> int:
    # `.ctypes.data` takes three times as long.
    array = data if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)
    place: int = array.__array_interface__["data"][0]
    return place
