"""The checksum that HDF5 puts behind its own structures: Bob Jenkins' lookup3."""

from __future__ import annotations

import struct

_WORD = 0xFFFFFFFF


def lookup3(data: bytes) -> int:
    """HDF5's checksum of its own structures: Bob Jenkins' lookup3, little-endian, from 0.

    Examples
    --------
    >>> hex(lookup3(b"Four score and seven years ago"))
    '0x17770551'
    """
    a = b = c = (0xDEADBEEF + len(data)) & _WORD
    at, left = 0, len(data)
    while left > 12:
        x, y, z = struct.unpack_from("<III", data, at)
        a, b, c = _mixed((a + x) & _WORD, (b + y) & _WORD, (c + z) & _WORD)
        at, left = at + 12, left - 12
    if not left:
        return c
    x, y, z = struct.unpack("<III", data[at:].ljust(12, b"\0"))
    return _final((a + x) & _WORD, (b + y) & _WORD, (c + z) & _WORD)


def _turned(value: int, by: int) -> int:
    return (value << by | value >> (32 - by)) & _WORD


def _mixed(a: int, b: int, c: int) -> tuple[int, int, int]:
    for by_1, by_2, by_3 in ((4, 6, 8), (16, 19, 4)):
        a = ((a - c) & _WORD) ^ _turned(c, by_1)
        c = (c + b) & _WORD
        b = ((b - a) & _WORD) ^ _turned(a, by_2)
        a = (a + c) & _WORD
        c = ((c - b) & _WORD) ^ _turned(b, by_3)
        b = (b + a) & _WORD
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    c = ((c ^ b) - _turned(b, 14)) & _WORD
    a = ((a ^ c) - _turned(c, 11)) & _WORD
    b = ((b ^ a) - _turned(a, 25)) & _WORD
    c = ((c ^ b) - _turned(b, 16)) & _WORD
    a = ((a ^ c) - _turned(c, 4)) & _WORD
    b = ((b ^ a) - _turned(a, 14)) & _WORD
    return ((c ^ b) - _turned(b, 24)) & _WORD
