"""CRC-32C, against published values and a second implementation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeiro.format.checksum import crc32c

# RFC 3720, appendix B.4, and the catalogue's check value.
PUBLISHED = [
    (b"", 0),
    (b"123456789", 0xE3069283),
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
]


def bitwise(data: bytes) -> int:
    """CRC-32C one bit at a time, as the definition has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize(("data", "expected"), PUBLISHED)
def test_published_values(data: bytes, expected: int) -> None:
    assert crc32c(data) == bitwise(data) == expected


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_pieces_give_what_the_whole_gives(first: bytes, second: bytes) -> None:
    assert crc32c(second, crc32c(first)) == crc32c(first + second) == bitwise(first + second)


@pytest.mark.parametrize("kind", ["u1", "<u2", "<f8", "S3"])
def test_an_array_counts_as_its_bytes(kind: str) -> None:
    array = np.arange(24).astype(kind).reshape(4, 6)
    assert crc32c(array.reshape(-1).view(np.uint8)) == crc32c(array.tobytes())


def test_any_buffer_is_taken_without_a_copy() -> None:
    data = bytes(range(256)) * 300
    assert crc32c(memoryview(data)) == crc32c(bytearray(data)) == crc32c(data)


def test_every_bit_counts() -> None:
    data = bytearray(b"celeiro" * 9)
    seen = {crc32c(data)}
    for bit in range(len(data) * 8):
        data[bit // 8] ^= 1 << bit % 8
        seen.add(crc32c(data))
        data[bit // 8] ^= 1 << bit % 8
    assert len(seen) == len(data) * 8 + 1
