"""A part of a JPEG is that part of the whole."""

from __future__ import annotations

import io

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from celeiro.format import baseline, partial
from celeiro.format.partial import frame_of


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise upon a slope, so that every row and column differs."""
    rng = np.random.default_rng(seed)
    slope = np.add.outer(np.linspace(0, 120, height), np.linspace(0, 80, width))
    return (slope[..., None] + rng.integers(0, 56, (height, width, 3))).astype(np.uint8)


def decode_part(data: bytes, rows: int, **options: object) -> np.ndarray | None:
    frame = frame_of(data)
    if frame is None:
        return None
    return partial.decode_part(data, frame, (0, 0, rows, frame.width), **options)


@pytest.fixture(params=["ours", "libjpeg"], autouse=True)
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Our own decoder, and what stands in for it where there is none."""
    if request.param == "libjpeg":
        monkeypatch.setattr(baseline, "compiled", lambda: None)
    elif baseline.compiled() is None:
        pytest.skip("no kernel for this processor")
    return str(request.param)


def jpeg(pixels: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "jpeg", quality=88, **options)
    return out.getvalue()


@given(
    st.integers(1, 150),
    st.integers(1, 90),
    st.integers(0, 2),
    st.data(),
    st.sampled_from(["RGB", "BGR", "GRAY"]),
)
def test_the_top_is_the_top_of_the_whole(
    height: int, width: int, subsampling: int, data: st.DataObject, color: str
) -> None:
    rows = data.draw(st.integers(1, height))
    stored = jpeg(picture(height, width), subsampling=subsampling)
    whole = simplejpeg.decode_jpeg(stored, color)
    part = decode_part(stored, rows, color=color)
    if part is None:
        assert rows > 0.6 * height - 18
        return
    assert rows <= len(part) <= height
    assert np.array_equal(part[:rows], whole[:rows])


def test_half_of_it_is_left_out() -> None:
    part = decode_part(jpeg(picture(400, 300)), 150, color="RGB")
    assert part is not None
    assert len(part) <= 168


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_factor_makes_it_smaller_by_as_much(factor: int) -> None:
    stored = jpeg(picture(333, 250))
    part = decode_part(stored, 333, color="RGB", factor=factor)
    assert part is not None
    assert part.shape == (-(-333 // factor), -(-250 // factor), 3)
    cut = decode_part(stored, 100, color="RGB", factor=factor)
    assert cut is not None
    assert 100 <= len(cut) * factor < 140


def test_it_is_decoded_into_the_buffer() -> None:
    buffer = bytearray(300 * 200 * 3)
    part = decode_part(jpeg(picture(300, 200)), 50, color="RGB", buffer=buffer)
    assert part is not None
    assert np.shares_memory(part, np.frombuffer(buffer, np.uint8))


def test_progressive_jpegs_are_decoded_whole() -> None:
    assert decode_part(jpeg(picture(300, 200), progressive=True), 50, color="RGB") is None


@given(st.binary(max_size=300), st.integers(0, 600), st.integers(0, 255))
def test_nothing_that_it_is_given_hurts(junk: bytes, at: int, value: int) -> None:
    for data in (junk, b"\xff\xd8" + junk):
        assert decode_part(data, 1, color="RGB") is None
    stored = bytearray(jpeg(picture(60, 40)))
    stored[at % len(stored)] = value
    frame = frame_of(bytes(stored))
    if frame is not None and (frame.height, frame.width) == (60, 40):
        buffer = bytearray(60 * 40 * 3)
        partial.decode_part(bytes(stored), frame, (0, 0, 10, 40), color="RGB", buffer=buffer)
