"""One step of an HDF5 filter pipeline, backwards: bytes → bytes, outside HDF5 and the GIL.

    data --decode--> the first n bytes of `room`

A step writes into `room` and nowhere else, whatever the bytes claim, and takes no more memory
than a small multiple of it; how many bytes it wrote is for the caller to check. The claims that
a library below would believe, and crash or write too little silently, are checked here first;
damage is a ValueError, or what the library raises (`DAMAGE`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.format import filters

if TYPE_CHECKING:
    import numpy.typing as npt

    Room = npt.NDArray[np.uint8]
    Data = bytes | memoryview

Decode = Callable[["Data", "Room"], int]
"""Decodes bytes (one at least) into an array, and says how many it holds then."""

DAMAGE = (ValueError, RuntimeError, OSError, LookupError)
"""What steps raise on bytes that lie.

RuntimeError is imagecodecs', OSError bz2's; simplejpeg looks up what a JPEG says in a dict.
"""

MOST = 2**31 - 1 - 16
"""Bytes that Blosc, LZ4, LZF and SZIP can count."""


@cache
def _imagecodecs() -> Any:
    import imagecodecs

    return imagecodecs


@cache
def _opencv() -> Any:
    import cv2

    return cv2


def copy(data: Data, room: Room) -> int:
    """No filter: the bytes as they are."""
    plain = np.frombuffer(data, np.uint8)
    if plain.size != room.size:
        raise ValueError(f"{plain.size} bytes, wanted {room.size}")
    room[:] = plain
    return room.size


# HDF5's own filters


def deflate(data: Data, room: Room) -> int:
    """Filter 1. libdeflate needs two thirds of zlib's time; its own checksum is checked."""
    return len(_imagecodecs().deflate_decode(data, out=room))


def unshuffle(itemsize: int, data: Data, room: Room) -> int:
    """Filter 2: all first bytes of the values, then all second ones, …; then what is left over.

    OpenCV's merging of colour planes does that 3 to 5 times faster than NumPy (2 to 4 bytes) and
    as fast (8 and more); it counts in 31 bits.
    """
    shuffled = np.frombuffer(data, np.uint8)
    if shuffled.size > room.size:
        raise ValueError(f"{shuffled.size} bytes, wanted {room.size}")
    count = shuffled.size // itemsize
    whole = count * itemsize
    if 0 < count < 2**31 and itemsize <= 16:
        planes = shuffled[:whole].reshape(itemsize, 1, count)
        _opencv().merge(list(planes), room[:whole].reshape(1, count, itemsize))
    else:
        room[:whole].reshape(count, itemsize)[...] = shuffled[:whole].reshape(itemsize, count).T
    room[whole : shuffled.size] = shuffled[whole:]
    return shuffled.size


def check_fletcher32(data: Data) -> memoryview:
    """Filter 3: the bytes without the checksum behind them, which is right.

    HDF5 before 1.6.3 swapped the bytes of each half of it on little-endian machines; HDF5 still
    takes both.
    """
    view = memoryview(data)
    if len(view) <= 4:
        raise ValueError(f"{len(view)} bytes with their checksum")
    stored = int.from_bytes(view[-4:], "little")
    found = _imagecodecs().h5checksum_fletcher32(view[:-4])
    swapped = (found & 0x00FF00FF) << 8 | (found >> 8) & 0x00FF00FF
    if stored not in (found, swapped):
        raise ValueError(f"a Fletcher-32 checksum of {stored:08x}, the bytes have {found:08x}")
    return view[:-4]


def szip(options: tuple[int, ...], data: Data, room: Room) -> int:
    """Filter 4, behind four bytes that say its size. Data that were cut may go unseen, as in HDF5.

    imagecodecs would read them itself, and then take their word for what was decoded.
    """
    mask, block, bits, scanline = options
    view = memoryview(data)
    size = int.from_bytes(view[:4], "little")
    if len(view) <= 4 or not 0 < size <= room.size:
        raise ValueError(f"SZIP data of {len(view)} bytes that claim {size}, wanted {room.size}")
    found = _imagecodecs().szip_decode(view[4:], mask, block, bits, scanline, out=room[:size])
    if len(found) != size:
        raise ValueError(f"SZIP data of {len(found)} bytes that claim {size}")
    return size


# Filters that are registered with the HDF Group


def bzip2(data: Data, room: Room) -> int:
    """Filter 307, by Python's own: imagecodecs does not say whether the stream was at its end."""
    import bz2

    stream = bz2.BZ2Decompressor()
    plain = stream.decompress(data, room.size)
    # What ends with the last byte of the room is not at its end before it is asked again.
    rest = b"" if stream.eof or stream.needs_input else stream.decompress(b"", 1)
    if rest or not stream.eof:
        raise ValueError(f"a bzip2 stream that is cut, or of more than {room.size} bytes")
    room[: len(plain)] = np.frombuffer(plain, np.uint8)
    return len(plain)


def lzf(data: Data, room: Room) -> int:
    """Filter 32000, h5py's."""
    return len(_imagecodecs().lzf_decode(data, out=room))


def blosc(data: Data, room: Room) -> int:
    """Filter 32001. One thread: Blosc's own would stand in the way of the reader's.

    The decoder trusts the header: a chunk that claims to be longer than it is crashes c-blosc
    1.21. It gives its blocks memory of the size that they claim.
    """
    if len(data) < 16:
        raise ValueError(f"{len(data)} bytes are too few for a Blosc chunk")
    version, _, _, _, plain, block, stored = _BLOSC_HEADER(data)
    if version != 2 or stored != len(data) or plain > room.size or block > plain:
        raise ValueError(
            f"a Blosc header of version {version} that says {stored} bytes for {plain} in blocks "
            f"of {block}; there are {len(data)}, wanted for {room.size}"
        )
    return len(_imagecodecs().blosc_decode(data, numthreads=1, out=room))


_BLOSC_HEADER = struct.Struct("<BBBBIII").unpack_from


def lz4(data: Data, room: Room) -> int:
    """Filter 32004: size and size of a block, then each block behind its length."""
    view = memoryview(data)
    if len(view) < 12:
        raise ValueError(f"{len(view)} bytes are too few for LZ4")
    size, block = struct.unpack_from(">QI", view)
    if size > room.size or not block:
        raise ValueError(f"LZ4 data of {size} bytes in blocks of {block}, wanted {room.size}")
    decode, at = _imagecodecs().lz4_decode, 12
    for start in range(0, size, block):
        part = room[start : min(start + block, size)]
        data, at = _block(view, at)
        # What LZ4 cannot shrink stands as it is.
        found = copy(data, part) if len(data) == part.size else len(decode(data, out=part))
        if found != part.size:
            raise ValueError(f"an LZ4 block of {found} bytes, wanted {part.size}")
    return int(size)


def _block(view: memoryview, at: int) -> tuple[memoryview, int]:
    """The block that begins at `at` with its length, big-endian; and where the next one begins."""
    start = at + 4
    end = start + int.from_bytes(view[at:start])
    if not start < end <= len(view):
        raise ValueError(f"a block from byte {start} to {end} of {len(view)}")
    return view[start:end], end


def bitshuffle(options: tuple[int, ...], data: Data, room: Room) -> int:
    """Filter 32008: the bits of values transposed, block by block, each compressed or none.

    The blocks are decompressed one behind the other, and shuffled back all at once.
    """
    itemsize, block = options[2], options[3] if len(options) > 3 else 0
    compressor = options[4] if len(options) > 4 else 0
    if not compressor:
        return _bitunshuffle(np.frombuffer(data, np.uint8), itemsize, block, room)
    view = memoryview(data)
    if len(view) < 12:
        raise ValueError(f"{len(view)} bytes are too few for Bitshuffle")
    size, stride = struct.unpack_from(">QI", view)
    if not 0 < size <= room.size or not stride or stride % (8 * itemsize):
        raise ValueError(f"Bitshuffle data of {size} bytes in blocks of {stride}")
    codecs = _imagecodecs()
    decode = codecs.lz4_decode if compressor == 2 else codecs.zstd_decode
    shuffled = np.empty(size, np.uint8)
    _unblock(decode, view, shuffled, stride, 8 * itemsize)
    return _bitunshuffle(shuffled, itemsize, stride // itemsize, room)


def _unblock(decode: Any, view: memoryview, room: Room, stride: int, unit: int) -> None:
    """Decompress each block of whole units; fewer than eight values at the end stand as they are.

    Each takes five bytes of the data at least, so that there cannot be too many.
    """
    at, whole = 12, room.size - room.size % unit
    for start in range(0, whole, stride):
        part = room[start : min(start + stride, whole)]
        data, at = _block(view, at)
        found = len(decode(data, out=part))
        if found != part.size:
            raise ValueError(f"a block of {found} bytes, wanted {part.size}")
    if len(view) < at + room.size - whole:
        raise ValueError(f"{len(view) - at} bytes behind the blocks, wanted {room.size - whole}")
    room[whole:] = np.frombuffer(view[at : at + room.size - whole], np.uint8)


def _bitunshuffle(shuffled: Room, itemsize: int, block: int, room: Room) -> int:
    """Transpose the bits back; imagecodecs takes any size of values from the type of an array."""
    size = shuffled.size
    if size > room.size or size % itemsize:
        raise ValueError(f"{size} bytes of values of {itemsize}, wanted {room.size}")
    kind = f"V{itemsize}"
    _imagecodecs().bitshuffle_decode(
        shuffled.view(kind), itemsize=itemsize, blocksize=block, out=room[:size].view(kind)
    )
    return size


def zstd(data: Data, room: Room) -> int:
    """Filter 32015."""
    return len(_imagecodecs().zstd_decode(data, out=room))


def jpeg(shape: tuple[int, int, int], data: Data, room: Room) -> int:
    """Filter 32019, ours."""
    filters.decode_picture(data, shape, room.data)
    return room.size
