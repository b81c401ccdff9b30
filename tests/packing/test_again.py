"""Packing again: values are converted or refused, never rounded; bytes may stay what they are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from celeiro.errors import OptionError, PictureError
from celeiro.format.checksum import crc32c
from celeiro.format.codecs import JpegCodec, PixelCodec
from celeiro.format.names import Names
from celeiro.format.ragged import Ragged
from celeiro.packing.again import ArrayRecipe, Conversion, StoredRecipe, check_flip
from celeiro.packing.listing import Listing
from celeiro.packing.options import PackOptions
from celeiro.packing.plan import make_plan
from celeiro.packing.recipe import BOXES, MASK, MaskKind
from celeiro.packing.stats import NOTHING, sums_of
from celeiro.packing.work import DATA

INTEGERS = "i1 u1 i2 u2 i4 u4 i8 u8".split()
NUMBERS = [*INTEGERS, "f2", "f4", "f8", "?", "c8", "c16"]


# Values


def convert(values: Any, dtype: Any, **how: Any) -> Any:
    return Conversion(np.dtype(dtype), **how)(np.asarray(values))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([0, 255], np.int64), "u1"),
        (np.array([-128, 127], np.float32), "i1"),
        (np.array([0.5, np.nan, np.inf, -np.inf]), "f2"),
        (np.array([0, 1], np.uint8), "?"),
        (np.array([False, True]), "u1"),
        (np.array([2**53], np.int64), "f8"),
        (np.array([-(2**63)], np.int64), "f4"),
        (np.array([3 + 0j], np.complex64), "u1"),
        (np.array([3.5 - 2j], np.complex128), "c8"),
        (np.array([-0.0]), "f4"),
    ],
)
def test_values_that_the_type_holds_come_through(values: Any, dtype: str) -> None:
    made = convert(values, dtype)
    assert made.dtype == dtype
    assert np.array_equal(made.astype(values.dtype), values, equal_nan=values.dtype.kind == "f")


@pytest.mark.parametrize(
    ("values", "dtype", "named"),
    [
        (np.array([3, 256], np.int64), "u1", "256"),
        (np.array([-1], np.int8), "u1", "-1"),
        (np.array([-1], np.int64), "u8", "-1"),
        (np.array([200], np.uint8), "i1", "200"),
        (np.array([40_000], np.uint16), "i2", "40000"),
        (np.array([2**63], np.uint64), "i8", "9223372036854775808"),
        (np.array([0.0, 0.5], np.float32), "u1", "0.5"),
        (np.array([np.nan]), "u1", "nan"),
        (np.array([np.inf]), "i4", "inf"),
        (np.array([2.0**31], np.float32), "i4", "2147483648.0"),
        (np.array([2.0**63]), "i8", "9.2"),
        (np.array([2.0**64]), "u8", "1.8"),
        (np.array([0.1]), "f4", "0.1"),
        (np.array([1e5]), "f2", "100000.0"),
        (np.array([2**53 + 1], np.int64), "f8", "9007199254740993"),
        (np.array([2**63 - 1], np.int64), "f8", "9223372036854775807"),
        (np.array([2**64 - 1], np.uint64), "f8", "18446744073709551615"),
        (np.array([70_000], np.int32), "f2", "70000"),
        (np.array([2], np.uint8), "?", "2"),
        (np.array([np.nan]), "?", "nan"),
        (np.array([1 + 2j], np.complex64), "f4", "2j"),
        (np.array([1 + 2j], np.complex64), "u1", "2j"),
    ],
)
def test_a_value_that_the_type_cannot_hold_is_named(values: Any, dtype: str, named: str) -> None:
    with pytest.raises(PictureError, match=r"is none of .*Choose another dtype") as caught:
        convert(values, dtype)
    assert named in str(caught.value)


@given(st.data())
def test_what_is_made_is_what_was_there_whatever_the_types(data: st.DataObject) -> None:
    source = np.dtype(data.draw(st.sampled_from(NUMBERS)))
    target = np.dtype(data.draw(st.sampled_from(NUMBERS)))
    values = data.draw(arrays.arrays(source, st.integers(1, 4)))
    try:
        made = convert(values, target)
    except PictureError:
        return
    assert made.dtype == target
    for one, other in zip(values.tolist(), made.tolist(), strict=True):
        # Python's own numbers compare exactly, whatever their types.
        assert one == other or (one != one and other != other)


@given(st.data())
def test_a_wider_type_refuses_nothing(data: st.DataObject) -> None:
    source = np.dtype(data.draw(st.sampled_from(NUMBERS)))
    wider = [t for t in NUMBERS if np.can_cast(source, t, "safe") and (source.kind, t) not in
             {("i", "f8"), ("u", "f8"), ("i", "c16"), ("u", "c16")}]  # fmt: skip
    values = data.draw(arrays.arrays(source, st.integers(1, 4)))
    convert(values, data.draw(st.sampled_from(wider)))


# Scaling


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_bytes_that_were_divided_by_255_come_back_every_one(kind: str) -> None:
    values = (np.arange(256) / 255).astype(kind)
    assert convert(values, "u1", scale=255.0).tolist() == list(range(256))


def test_sixteen_bits_that_were_divided_come_back_every_one() -> None:
    values = (np.arange(65536) / 65535).astype(np.float32)
    assert convert(values, "u2", scale=65535.0).tolist() == list(range(65536))


@pytest.mark.parametrize("value", [0.5, 0.123])
def test_a_scaled_value_that_is_no_whole_number_is_refused(value: float) -> None:
    with pytest.raises(PictureError, match="no whole number as uint8 wants it. Choose another sca"):
        convert(np.array([value], np.float32), "u1", scale=255.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.2])
def test_a_scaled_value_that_is_none_of_the_type_is_refused(value: float) -> None:
    with pytest.raises(PictureError, match="Choose another"):
        convert(np.array([value], np.float32), "u1", scale=255.0)


def test_half_precision_does_not_pass_for_whole_numbers_that_it_cannot_tell_apart() -> None:
    with pytest.raises(PictureError, match="no whole number"):
        convert(np.array([40_001 / 65535], np.float16), "u2", scale=65535.0)


def test_bytes_become_floats_from_0_to_1() -> None:
    made = convert(np.arange(256, dtype=np.uint8), "f4", scale=1 / 255)
    assert made.dtype == np.float32
    assert np.array_equal(made, (np.arange(256) * (1 / 255)).astype(np.float32))


def test_floats_are_scaled_in_their_own_type() -> None:
    values = np.array([0.1, 0.3, np.nan], np.float32)
    made = convert(values, "f4", scale=2.5)
    assert np.allclose(made, values * np.float32(2.5), equal_nan=True)


def test_a_scaled_value_beyond_the_type_is_refused_and_does_not_become_infinite() -> None:
    with pytest.raises(PictureError, match="1e\\+06"):
        convert(np.array([1000.0]), "f2", scale=1000.0)


def test_whole_numbers_too_large_for_a_factor_are_refused() -> None:
    with pytest.raises(PictureError, match="Choose another"):
        convert(np.array([2**60 + 1], np.int64), "i8", scale=2.0)


def test_complex_values_are_scaled_in_both_parts() -> None:
    assert convert(np.array([1 + 2j], np.complex64), "c8", scale=2.0).tolist() == [2 + 4j]


def test_channels_are_turned_round() -> None:
    assert convert([[[1, 2, 3]]], np.int64, flip=True).tolist() == [[[3, 2, 1]]]


@pytest.mark.parametrize(
    ("color", "stored", "channels", "turned"),
    [("RGB", "RGB", 3, False), ("BGR", "RGB", 3, True), ("RGB", "BGR", 3, True),
     (None, "BGR", 3, False), ("", "", 7, False), ("GRAY", "GRAY", 1, False)],
)  # fmt: skip
def test_channels_are_turned_round_where_the_order_differs(
    color: str | None, stored: str, channels: int, turned: bool
) -> None:
    assert check_flip(color, stored, channels) is turned


@pytest.mark.parametrize("pair", [("GRAY", "RGB"), ("RGB", "GRAY"), ("BGR", "")])
def test_what_is_no_matter_of_turning_round_is_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(OptionError, match=re.escape(repr(pair[0]))):
        check_flip(*pair, 3)


# Recipes


@dataclass(frozen=True)
class Some:
    """Samples of a test."""

    samples: list[Any]
    masks: list[Any] | None = None
    files: list[bytes] | None = None

    def sample(self, task: int) -> Any:
        return self.samples[task]

    def mask_array(self, task: int) -> Any:
        assert self.masks is not None
        return self.masks[task]

    def stored(self, task: int) -> bytes:
        assert self.files is not None
        return self.files[task]


def plan_of(count: int, boxes: Ragged | None = None, *, masks: bool = False, **options: Any) -> Any:
    from pathlib import Path

    keys = Names.of(b"%d" % number for number in range(count))
    numbers = np.zeros(count, np.int64)
    listing = Listing(Path("/x"), keys, numbers, numbers, masks=keys if masks else None,
                      boxes=boxes)  # fmt: skip
    return make_plan(listing, PackOptions(**{"store": "pixels", **options}))


def test_an_array_stands_in_the_row_with_its_checksum_and_sums() -> None:
    sample = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    codec = PixelCodec((2, 4, 3), np.dtype(np.uint8))
    recipe = ArrayRecipe(plan_of(1), codec, Some([sample]), Conversion(np.dtype("u1")))
    row = np.zeros((2, 4, 3), np.uint8)
    made = recipe.make(0, row)
    assert np.array_equal(row, sample)
    assert made.pieces[DATA].crc == crc32c(sample.tobytes())
    assert made.sums.mean().tolist() == sums_of(sample).mean().tolist()


def test_truth_values_have_no_mean() -> None:
    codec = PixelCodec((2,), np.dtype(bool))
    recipe = ArrayRecipe(plan_of(1, color=""), codec, Some([np.array([True, False])]),
                         Conversion(np.dtype(bool)))  # fmt: skip
    assert recipe.make(0, None).sums is NOTHING


def test_a_sample_of_another_shape_is_refused_with_what_to_do() -> None:
    codec = PixelCodec((2, 2, 3), np.dtype(np.uint8))
    recipe = ArrayRecipe(plan_of(1), codec, Some([np.zeros((3, 2, 3), np.uint8)]),
                         Conversion(np.dtype("u1")))  # fmt: skip
    with pytest.raises(PictureError, match=r"its shape is \(3, 2, 3\), wanted \(2, 2, 3\).*--size"):
        recipe.make(0, None)


def test_mask_and_boxes_go_where_the_sample_goes() -> None:
    mask = np.arange(8, dtype=np.int16).reshape(2, 4)
    boxes = Ragged(np.array([[0.0, 0, 4, 2]]), np.array([0, 1], np.uint64))
    plan = plan_of(1, boxes, masks=True, size=(4, 4), resize="pad")
    kind = MaskKind((4, 4), np.dtype(np.int16))
    codec = PixelCodec((4, 4, 3), np.dtype(np.uint8))
    some = Some([np.full((2, 4, 3), 9, np.uint8)], [mask])
    made = ArrayRecipe(plan, codec, some, Conversion(np.dtype("u1")), kind).make(0, None)
    stored = kind.codec.decode(bytes(made.pieces[MASK].data))
    assert np.array_equal(stored, np.pad(mask, ((1, 1), (0, 0))))
    assert np.frombuffer(made.pieces[BOXES].data).tolist() == [0, 1, 4, 3]


@pytest.mark.parametrize(
    ("mask", "options"),
    [(np.zeros((3, 4), np.uint8), {}), (np.zeros((2, 4), np.uint16), {}),
     (np.zeros((3, 4), np.uint8), {"size": (2, 4)})],
)  # fmt: skip
def test_a_mask_unlike_the_first_is_refused(mask: Any, options: Any) -> None:
    codec = PixelCodec((2, 4, 3), np.dtype(np.uint8))
    some = Some([np.zeros((2, 4, 3), np.uint8)], [mask])
    recipe = ArrayRecipe(plan_of(1, masks=True, **options), codec, some,
                         Conversion(np.dtype("u1")), MaskKind((2, 4), np.dtype("u1")))  # fmt: skip
    with pytest.raises(PictureError, match="its mask is"):
        recipe.make(0, None)


def jpeg(height: int, width: int) -> bytes:
    return simplejpeg.encode_jpeg(np.zeros((height, width, 3), np.uint8))


def test_stored_bytes_are_taken_over_and_counted_only_where_they_are_decoded() -> None:
    some = Some([], files=[jpeg(2, 4)])
    codec = JpegCodec((2, 4, 3))
    made = StoredRecipe(plan_of(1, store="jpeg"), codec, some).make(0, None)
    assert bytes(made.pieces[DATA].data) == jpeg(2, 4)
    assert made.sums is NOTHING
    made = StoredRecipe(plan_of(1, store="jpeg", check="decode"), codec, some).make(0, None)
    assert made.sums.mean().tolist() == [0, 0, 0]


@pytest.mark.parametrize("check", ["header", "decode"])
@pytest.mark.parametrize("data", [jpeg(4, 2), b"no JPEG"])
def test_stored_bytes_that_are_no_such_picture_are_refused(data: bytes, check: str) -> None:
    plan = plan_of(1, store="jpeg", check=check)
    with pytest.raises(PictureError, match="(?i)jpeg|no picture"):
        StoredRecipe(plan, JpegCodec((2, 4, 3)), Some([], files=[data])).make(0, None)
