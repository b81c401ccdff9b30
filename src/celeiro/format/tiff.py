"""TIFF directories: those of a TIFF picture, and the EXIF block of the others, which is one.

Only the first directory is read, and only the whole numbers in it:

    byte order, 42 ─ offset ─> count, entries of (tag, type, length, value or its offset)
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    import numpy.typing as npt

__all__ = ["first_directory", "orientation"]


_TEXTS = frozenset({0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x8298})


def orientation(block: bytes) -> int | None:
    """Find the orientation in an EXIF block, as OpenCV does: tag 0x0112, of whatever type.

    A damaged block is no reason to lose a picture: it counts as one without the tag.
    """
    order = "<" if block[:2] == b"II" else ">"
    try:
        mark, directory = struct.unpack_from(order + "2xHI", block)
        if mark != 42:
            return None
        (count,) = struct.unpack_from(order + "H", block, directory)
        for at in range(directory + 2, directory + 2 + 12 * count, 12):
            (tag,) = struct.unpack_from(order + "H", block, at)
            if tag == 0x0112:
                (value,) = struct.unpack_from(order + "H", block, at + 8)
                return value if 1 <= value <= 8 else 1
            if tag in _TEXTS:  # one that leaves the block ends OpenCV's reading, and so ours
                length, offset = struct.unpack_from(order + "II", block, at + 4)
                if length > 4 and offset + length > len(block):
                    return None
    except struct.error:
        return None
    return None


_DTYPES = {1: "u1", 3: "u2", 4: "u4", 7: "u1", 16: "u8"}


def first_directory(data: bytes, wanted: AbstractSet[int]) -> dict[int, npt.NDArray[np.uint64]]:
    """Read the wanted tags that hold whole numbers, from a classic TIFF or a BigTIFF.

    Raises `struct.error` where the file ends before them. Each value has at least one number.
    """
    order = "<" if data[:2] == b"II" else ">"
    if 43 in data[2:4]:
        first, count, entry, inline, offset = "8xQ", "Q", "HHQ", 8, "Q"
    else:
        first, count, entry, inline, offset = "4xI", "H", "HHI", 4, "I"
    (at,) = struct.unpack_from(order + first, data)
    (entries,) = struct.unpack_from(order + count, data, at)
    at += struct.calcsize(order + count)
    step = struct.calcsize(order + entry) + inline
    if at + entries * step > len(data):
        raise struct.error(f"a directory of {entries} entries in {len(data)} bytes")
    tags: dict[int, npt.NDArray[np.uint64]] = {}
    for stop in range(at + step, at + (entries + 1) * step, step):
        tag, kind, length = struct.unpack_from(order + entry, data, stop - step)
        if tag not in wanted or tag in tags or kind not in _DTYPES or not length:
            continue
        dtype = np.dtype(order + _DTYPES[kind])
        value = stop - inline
        if length * dtype.itemsize > inline:
            (value,) = struct.unpack_from(order + offset, data, value)
        if value + length * dtype.itemsize > len(data):
            raise struct.error(f"tag {tag} ends beyond {len(data)} bytes")
        tags[tag] = np.frombuffer(data, dtype, length, value).astype(np.uint64)
    return tags
