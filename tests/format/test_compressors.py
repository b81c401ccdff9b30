"""Single steps: what they write, and what they must not believe."""

from __future__ import annotations

import bz2
import random
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeiro.format import compressors
from celeiro.format.compressors import DAMAGE


def room(size):
    return np.full(size, 0xA5, np.uint8)


@given(st.binary(min_size=1, max_size=300), st.integers(2, 40))
def test_unshuffling_gives_back_what_was_shuffled_and_what_was_left_over(plain, itemsize):
    whole = len(plain) // itemsize * itemsize
    planes = np.frombuffer(plain[:whole], np.uint8).reshape(-1, itemsize).T
    out = room(len(plain) + 3)
    assert compressors.unshuffle(itemsize, planes.tobytes() + plain[whole:], out) == len(plain)
    assert bytes(out) == plain + b"\xa5" * 3


@given(st.binary(min_size=1, max_size=3000), st.integers(0, 3))
def test_bzip2_knows_whether_the_stream_was_at_its_end(plain, slack):
    data = bz2.compress(plain)
    out = room(len(plain) + slack)
    assert compressors.bzip2(data, out) == len(plain)
    assert bytes(out[: len(plain)]) == plain
    with pytest.raises(DAMAGE):
        compressors.bzip2(data[:-1], out)
    if len(plain) > 1:
        with pytest.raises(ValueError, match="cut, or of more than"):
            compressors.bzip2(data, room(len(plain) - 1))


def test_lz4_takes_blocks_that_could_not_be_shrunk_as_they_are():
    plain = random.Random(0).randbytes(50) + bytes(50) + b"tail"
    blocks = plain[:50], imagecodecs.lz4_encode(plain[50:100]), plain[100:]
    data = struct.pack(">QI", 104, 50) + b"".join(struct.pack(">I", len(b)) + b for b in blocks)
    out = room(104)
    assert compressors.lz4(data, out) == 104
    assert bytes(out) == plain


@pytest.mark.parametrize(
    "data",
    [
        bytes(11),
        struct.pack(">QI", 8, 0) + bytes(20),  # blocks of no bytes: would never end
        struct.pack(">QI", 9, 9) + bytes(20),  # longer than the room
        struct.pack(">QII", 8, 8, 0) + bytes(20),
        struct.pack(">QII", 8, 8, 2**32 - 1) + bytes(20),
        struct.pack(">QII", 8, 4, 4) + b"abcd",  # one block of two
    ],
)
def test_lz4_frames_that_lie_are_refused(data):
    with pytest.raises(ValueError, match="LZ4|block"):
        compressors.lz4(data, room(8))


@pytest.mark.parametrize("itemsize", [1, 2, 3, 8, 12])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 100])
def test_bits_that_were_shuffled_come_back_for_values_of_any_size(itemsize, count):
    plain = random.Random(0).randbytes(itemsize * count)
    values = np.frombuffer(plain, f"V{itemsize}")
    shuffled = bytes(imagecodecs.bitshuffle_encode(values, blocksize=16).view(np.uint8))
    out = room(len(plain))
    options = (0, 4, itemsize, 16)
    assert compressors.bitshuffle(options, shuffled, out) == len(plain)
    assert bytes(out) == plain


def test_values_cut_in_pieces_are_no_bitshuffle():
    with pytest.raises(ValueError, match="5 bytes of values of 4"):
        compressors.bitshuffle((0, 4, 4), bytes(5), room(8))


def test_a_checksum_is_stripped_only_where_it_is_right():
    plain = b"0123456"
    right = imagecodecs.h5checksum_fletcher32(plain).to_bytes(4, "little")
    assert compressors.check_fletcher32(plain + right) == plain
    with pytest.raises(ValueError, match="Fletcher-32"):
        compressors.check_fletcher32(plain + right[::-1])


def test_gzip_fills_the_room_or_less_and_never_more():
    data = zlib.compress(b"x" * 100)
    out = room(110)
    assert compressors.deflate(data, out) == 100
    assert bytes(out) == b"x" * 100 + b"\xa5" * 10
    with pytest.raises(DAMAGE):
        compressors.deflate(data, room(99))
