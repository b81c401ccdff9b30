"""Our own decoder gives libjpeg's pixels, or leaves it to libjpeg, whatever a JPEG says."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from celeiro import library
from celeiro.format import baseline

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

needs_kernel = pytest.mark.skipif(
    baseline.compiled() is None, reason="no kernel for this processor"
)

_SAMPLING = {
    "444": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "422": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "420": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
}


def picture(height: int, width: int, channels: int, kind: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (height, width, channels), np.uint8)
    if kind == "flat":
        noise[...] = noise[0, 0]
    elif kind == "smooth":
        noise = cv2.blur(noise, (5, 5)).reshape(noise.shape)
    return noise


def jpeg(
    pixels: np.ndarray,
    quality: int = 90,
    sampling: str = "420",
    *,
    restart: int = 0,
    optimised: bool = False,
    progressive: bool = False,
) -> bytes:
    options = [
        cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_RST_INTERVAL, restart,
        cv2.IMWRITE_JPEG_OPTIMIZE, int(optimised), cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive),
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _SAMPLING[sampling],
    ]  # fmt: skip
    done, data = cv2.imencode(".jpg", pixels, options)
    assert done
    return bytes(data)


def by_libjpeg(data: bytes, channels: int = 3) -> np.ndarray:
    color = "GRAY" if channels == 1 else "RGB"
    return simplejpeg.decode_jpeg(data, color, fastdct=False, fastupsample=False)


class Fenced:
    """Pixels between bytes that nobody may write to."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._all = np.full(int(np.prod(shape)) + 128, 77, np.uint8)
        self.pixels = self._all[64:-64].reshape(shape)

    @property
    def is_whole(self) -> bool:
        return bool((self._all[:64] == 77).all() and (self._all[-64:] == 77).all())


jpegs = st.builds(
    lambda *given, **options: (jpeg(picture(*given), **options), given[:3]),
    st.integers(8, 70), st.integers(8, 300), st.sampled_from([1, 3]),
    st.sampled_from(["noise", "flat", "smooth"]), st.integers(0, 100),
    quality=st.integers(1, 100), sampling=st.sampled_from([*_SAMPLING]),
    restart=st.integers(0, 4), optimised=st.booleans(),
)  # fmt: skip


@contextlib.contextmanager
def vectors_of(lanes: int) -> Iterator[None]:
    """Decode with vectors of so many times 16 bytes, or as wide as this processor has them."""
    baseline.compiled().celeiro_baseline_lanes(lanes)
    try:
        yield
    finally:
        baseline.compiled().celeiro_baseline_lanes(4)


lanes = st.sampled_from([2, 4])


@needs_kernel
def test_both_widths_are_tried_here() -> None:
    try:
        assert baseline.compiled().celeiro_baseline_lanes(2) == 2
    finally:
        if baseline.compiled().celeiro_baseline_lanes(4) < 4:
            pytest.skip("no AVX-512 with VBMI: only vectors of 32 bytes are tested")


@needs_kernel
@given(jpegs, lanes)
def test_pixels_are_those_of_libjpeg(given: tuple[bytes, tuple[int, int, int]], lanes: int) -> None:
    data, shape = given
    room = Fenced(shape)
    with vectors_of(lanes):
        assert baseline.decode(data, room.pixels)
    assert np.array_equal(room.pixels, by_libjpeg(data, shape[2]))
    assert room.is_whole


@needs_kernel
@given(jpegs, lanes, st.data())
def test_a_part_is_that_part_of_the_whole(
    given: tuple[bytes, tuple[int, int, int]], lanes: int, draw: st.DataObject
) -> None:
    data, (height, width, channels) = given
    top, left = draw.draw(st.integers(0, height - 1)), draw.draw(st.integers(0, width - 1))
    bottom, right = draw.draw(st.integers(top + 1, height)), draw.draw(st.integers(left + 1, width))
    room = Fenced((height, width, channels))
    with vectors_of(lanes):
        assert baseline.decode_part(data, room.pixels, (top, left, bottom, right))
    part = np.s_[top:bottom, left:right]
    assert np.array_equal(room.pixels[part], by_libjpeg(data, channels)[part])
    assert room.is_whole


_CHANGES = st.lists(
    st.tuples(
        st.integers(2, 1 << 20), st.integers(0, 255), st.sampled_from(["set", "cut", "add", "end"])
    ),
    min_size=1,
    max_size=5,
)


@needs_kernel
@settings(max_examples=300)
@given(jpegs, lanes, _CHANGES)
def test_of_what_is_damaged_it_gives_libjpegs_pixels_or_none(
    given: tuple[bytes, tuple[int, int, int]], lanes: int, changes: list[tuple[int, int, str]]
) -> None:
    whole, shape = given
    data = bytearray(whole)
    for place, value, change in changes:
        at = place % max(len(data), 1)
        if change == "set":
            data[at : at + 1] = bytes([value])
        elif change == "cut":
            del data[at : at + value % 9]
        elif change == "add":
            data[at:at] = bytes([value]) * (value % 9)
        else:
            del data[max(at, 2) :]
    room = Fenced(shape)
    with vectors_of(lanes):
        done = baseline.decode(bytes(data), room.pixels)
    assert room.is_whole
    if done:
        assert np.array_equal(room.pixels, by_libjpeg(bytes(data), shape[2]))


@needs_kernel
@given(st.binary(max_size=400))
def test_junk_is_no_jpeg(junk: bytes) -> None:
    for data in (junk, b"\xff\xd8" + junk, b"\xff\xd8\xff\xda" + junk):
        assert not baseline.decode(data, np.empty((16, 16, 3), np.uint8))


@needs_kernel
def test_levels_that_no_encoder_makes_are_left_to_libjpeg() -> None:
    # Sums beyond 16 bits depend on how the transform is done.
    data = bytearray(jpeg(picture(32, 32, 3, "noise", 1), 20))
    tables = data.index(b"\xff\xdb") + 5
    data[tables : tables + 64] = b"\xff" * 64
    pixels = np.empty((32, 32, 3), np.uint8)
    if baseline.decode(bytes(data), pixels):
        assert np.array_equal(pixels, by_libjpeg(bytes(data)))


@needs_kernel
def test_what_is_unusual_is_left_to_libjpeg() -> None:
    pixels = picture(40, 40, 3, "smooth", 0)
    room = np.empty((40, 40, 3), np.uint8)
    assert baseline.decode(jpeg(pixels), room)
    assert not baseline.decode(jpeg(pixels, progressive=True), room)
    assert not baseline.decode(jpeg(pixels[:, :, 0]), room)  # grey
    assert not baseline.decode(jpeg(pixels[:39]), room)
    assert not baseline.decode(jpeg(pixels), room.transpose(1, 0, 2))
    assert not baseline.decode(jpeg(pixels[:, :7]), np.empty((40, 7, 3), np.uint8))
    assert not baseline.decode(b"", room)
    assert not baseline.decode(jpeg(pixels), np.empty((0, 40, 3), np.uint8))
    read_only = room.copy()
    read_only.flags.writeable = False
    assert not baseline.decode(jpeg(pixels), read_only)


@needs_kernel
def test_a_part_outside_of_the_picture_is_an_error() -> None:
    data, room = jpeg(picture(40, 40, 3, "smooth", 0)), np.empty((40, 40, 3), np.uint8)
    for part in [(0, 0, 41, 40), (-1, 0, 40, 40), (5, 0, 5, 40), (0, 0, 40, 41), (0, 9, 40, 9)]:
        with pytest.raises(ValueError, match="part"):
            baseline.decode_part(data, room, part)


@needs_kernel
def test_many_at_once_and_which_of_them_are_left() -> None:
    data = [jpeg(picture(40, 50, 3, "noise", at), optimised=at % 2 == 0) for at in range(7)]
    data[2], data[5] = jpeg(picture(40, 50, 3, "noise", 2), progressive=True), data[5][:200]
    rooms = [np.empty(40 * 50 * 3, np.uint8) for _ in data]
    assert baseline.decode_all([memoryview(one) for one in data], (40, 50, 3), rooms) == [2, 5]
    for at in (0, 1, 3, 4, 6):
        assert np.array_equal(rooms[at].reshape(40, 50, 3), by_libjpeg(data[at]))
    assert baseline.decode_all([], (40, 50, 3), []) == []
    assert baseline.decode_all(data, (40, 50, 1), rooms) == [*range(7)]


def test_without_a_kernel_all_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(baseline, "LIBRARY", tmp_path / "_baseline.so")
    baseline.compiled.cache_clear()
    try:
        data, room = jpeg(picture(40, 40, 3, "smooth", 0)), np.empty((40, 40, 3), np.uint8)
        with caplog.at_level(logging.WARNING):
            assert not baseline.decode(data, room)
            assert baseline.decode_all([data], (40, 40, 3), [room.reshape(-1)]) == [0]
        assert len([r for r in caplog.records if "decoded by libjpeg" in r.getMessage()]) == 1
    finally:
        monkeypatch.undo()
        baseline.compiled.cache_clear()


def test_a_processor_that_cannot_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        def celeiro_baseline_able(self) -> int:
            return 0

    def opened(*given: Any, **options: Any) -> Old:
        del given, options
        return Old()

    monkeypatch.setattr(library, "opened", opened)
    baseline.compiled.cache_clear()
    try:
        assert baseline.compiled() is None
    finally:
        baseline.compiled.cache_clear()


def test_without_a_kernel_celeiro_is_imported_and_decodes() -> None:
    program = """
import sys
from celeiro import library
library.opened = lambda *given, **options: None
import numpy as np
from celeiro.format import baseline, pictures
assert not baseline.decode(b"x", np.empty((16, 16, 3), np.uint8))
assert pictures.decode(sys.stdin.buffer.read()).shape == (40, 40, 3)
"""
    data = jpeg(picture(40, 40, 3, "smooth", 0))
    subprocess.run([sys.executable, "-c", program], input=data, check=True)


@needs_kernel
@pytest.mark.parametrize("side", [65_500, 65_501])
def test_sides_are_libjpegs(side: int) -> None:
    flat = np.zeros((16, side, 3), np.uint8)
    data = bytearray(jpeg(flat[:, :65_500]))
    at = data.index(b"\xff\xc0") + 7
    data[at : at + 2] = side.to_bytes(2, "big")
    assert baseline.decode(bytes(data), flat) == (side == 65_500)


@needs_kernel
def test_a_code_of_ones_alone_is_none_as_libjpeg_has_it() -> None:
    data = bytearray(jpeg(picture(40, 40, 3, "flat", 0)))
    codes = data.index(b"\xff\xc4") + 5
    symbols = data[codes + 16 : codes + 18]
    length = int.from_bytes(data[codes - 3 : codes - 1], "big")
    table = bytes([2, *[0] * 15]) + bytes(symbols)
    data[codes - 3 : codes - 3 + length] = (3 + len(table)).to_bytes(2, "big") + b"\0" + table
    with pytest.raises(ValueError, match="Huffman"):
        by_libjpeg(bytes(data))
    assert not baseline.decode(bytes(data), np.empty((40, 40, 3), np.uint8))
