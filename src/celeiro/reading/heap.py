"""Texts of variable length, read past HDF5.

In a damaged file HDF5 takes memory for whatever length it finds, up to 4 GiB for each text, and
goes round for ever in a global heap with an empty piece of free space. Here both are bounded. The
heap's format is III.E of the HDF5 File Format Specification.
"""

from __future__ import annotations

import os
from typing import BinaryIO

import h5py

from celeiro.format.names import printable
from celeiro.reading import hdf5

_MOST_HEAP = 16 << 20  # bytes of the heaps that hold the texts of one data set


def variable_texts(file: h5py.File, data: h5py.Dataset) -> list[str]:
    """The texts of a contiguous data set; none where it is something else.

    Raises
    ------
    ValueError, OSError
        It is damaged, or has more than 1 MiB of text.
    """
    texts = h5py.check_string_dtype(data.dtype)
    plist = data.id.get_create_plist()
    start = data.id.get_offset()
    if texts is None or texts.length is not None or start is None:
        return []
    if plist.get_layout() != h5py.h5d.CONTIGUOUS or plist.get_external_count():
        return []
    of_address, of_length = file.id.get_create_plist().get_sizes()
    size = 4 + of_address + 4  # the text's length; address of a heap, number of the piece in it
    with open(file.filename, "rb") as raw:
        raw.seek(start)
        column = raw.read(size * len(data))
        entries = [column[at : at + size] for at in range(0, len(column), size)]
        if sum(_number(entry[:4]) for entry in entries) > hdf5.MOST_TEXT:
            return []
        heaps = _heaps(raw, {_number(e[4:-4]) for e in entries}, file.userblock_size, of_length)
    return [_text(entry, heaps) for entry in entries]


def _text(entry: bytes, heaps: dict[int, dict[int, bytes]]) -> str:
    length, heap, piece = _number(entry[:4]), _number(entry[4:-4]), _number(entry[-4:])
    text = heaps.get(heap, {}).get(piece, b"")
    if len(text) != length:
        raise ValueError(f"a text of {length} bytes has {len(text)}")
    return printable(text.partition(b"\0")[0])


def _heaps(
    raw: BinaryIO, addresses: set[int], base: int, of_length: int
) -> dict[int, dict[int, bytes]]:
    """The pieces of global heaps by address and number (HDF5's file format, III.E).

    `base` is where addresses are counted from, `of_length` the bytes of a length in this file.
    """
    heaps: dict[int, dict[int, bytes]] = {}
    left = _MOST_HEAP
    end = os.fstat(raw.fileno()).st_size
    for address in sorted(addresses):
        if not 0 < address < end - base:  # of an empty text
            continue
        raw.seek(base + address)
        head = raw.read(8 + of_length)
        total = _number(head[8:])
        left -= max(total, len(head))
        if not head.startswith(b"GCOL\1") or left < 0:
            raise ValueError(f"no heap of text at {address}, or too large a one")
        heaps[address] = _pieces(head + raw.read(max(0, total - len(head))), of_length)
    return heaps


def _pieces(heap: bytes, of_length: int) -> dict[int, bytes]:
    """A head, then pieces: number (2), references (2), nothing (4), length, bytes; 8 by 8."""
    pieces: dict[int, bytes] = {}
    head = at = _up_to_8(8 + of_length)
    while number := _number(heap[at : at + 2]):  # 0 is free space, or the end
        start = at + head
        length = _number(heap[at + 8 : at + 8 + of_length])
        pieces[number] = heap[start : start + length]
        at = start + _up_to_8(length)
    return pieces


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _up_to_8(length: int) -> int:
    return -(-length // 8) * 8
