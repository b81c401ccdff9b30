"""bfloat16: bits, rounding and the HDF5 type, against a reference that counts with fractions."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from h5py import h5t
from hypothesis import example, given
from hypothesis import strategies as st

from celeiro.errors import FormatError, OptionError, RowError
from celeiro.format import bfloat16
from celeiro.format.bfloat16 import BFLOAT16, BITS
from celeiro.format.codecs import Bfloat16Codec, LosslessCodec, PixelCodec, filter_pipeline

if TYPE_CHECKING:
    from pathlib import Path

ALL = np.arange(1 << 16, dtype=np.uint16)


def value_by_hand(bits: int) -> float:
    """What 16 bits say, by their fields."""
    sign, exponent, mantissa = bits >> 15, bits >> 7 & 0xFF, bits & 0x7F
    if exponent == 255:
        return math.nan if mantissa else (-math.inf if sign else math.inf)
    whole = mantissa + (128 if exponent else 0)
    return math.copysign(math.ldexp(whole, max(exponent, 1) - 127 - 7), -1 if sign else 1)


def bits_by_hand(value: float) -> int:
    """The bits nearest to a number, of two the even ones; exactly, for fractions do not round."""
    sign = 0x8000 if math.copysign(1, value) < 0 else 0
    if math.isnan(value):
        return sign | 0x7FC0
    if math.isinf(value):
        return sign | 0x7F80
    size = abs(Fraction(value))
    low, high = 0, 0x7F80  # as numbers, positive bits are in the order of their values
    while high - low > 1:
        middle = (low + high) // 2
        if Fraction(value_by_hand(middle)) <= size:
            low = middle
        else:
            high = middle
    above = Fraction(2) ** 128 if high == 0x7F80 else Fraction(value_by_hand(high))
    under, over = size - Fraction(value_by_hand(low)), above - size
    if under != over:
        return sign | (low if under < over else high)
    return sign | (low if low % 2 == 0 else high)


def single(bits: int) -> float:
    return float(struct.unpack("<f", struct.pack("<I", bits))[0])


def test_every_value_of_bits_is_what_their_fields_say() -> None:
    made = bfloat16.values_of(ALL)
    assert made.dtype == np.float32
    by_hand = np.array([value_by_hand(int(bits)) for bits in ALL])
    assert np.array_equal(made, by_hand, equal_nan=True)
    assert np.array_equal(np.signbit(made), ALL >= 0x8000)


def test_values_go_back_to_the_same_bits() -> None:
    made = bfloat16.values_of(ALL)
    numbers = ~np.isnan(made)
    assert np.array_equal(bfloat16.bits_of(made)[numbers], ALL[numbers])
    assert bfloat16.first_inexact(made) is None


@given(st.integers(0, 2**32 - 1))
@example(0x3F808000)  # in the middle of two: to the even one
@example(0x3F818000)
@example(0x7F7F7FFF)  # the largest that stays finite, and the smallest that does not
@example(0x7F7F8000)
@example(0x00008000)  # below the smallest
@example(0x80008001)
def test_float32_is_rounded_as_by_hand(bits: int) -> None:
    value = single(bits)
    made = bfloat16.bits_of(np.array([value], np.float32))
    if math.isnan(value):
        assert np.isnan(bfloat16.values_of(made))[0]
        return
    assert int(made[0]) == bits_by_hand(value)


@given(st.floats(width=64))
@example(1 + 2**-8 + 2**-40)  # as float32 just the middle, from which it would go down
@example(1 + 2**-8 - 2**-40)
@example(-(1 + 3 * 2**-8 - 2**-40))
@example(3.3961775292304607e38)
@example(2.0**-134)
@example(2.0**-134 + 2.0**-180)
def test_float64_is_rounded_once_and_not_twice(value: float) -> None:
    made = bfloat16.bits_of(np.array([value]))
    if math.isnan(value):
        assert np.isnan(bfloat16.values_of(made))[0]
        return
    assert int(made[0]) == bits_by_hand(value)


@given(st.floats(width=16, allow_nan=False))
def test_float16_is_rounded_as_by_hand(value: float) -> None:
    assert int(bfloat16.bits_of(np.array([value], np.float16))[0]) == bits_by_hand(value)


def test_what_is_no_number_stays_none_with_its_sign() -> None:
    words = np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FC00000], np.uint32)
    made = bfloat16.rounded(words.view(np.float32))
    assert np.isnan(made).all()
    assert np.array_equal(np.signbit(made), [False, True, False, True, False])


@given(st.floats(width=32))
@example(single(0x7F7F7FFF))
@example(single(0x7F7F8000))
@example(-math.inf)
def test_an_overflow_is_told_just_where_a_number_becomes_infinite(value: float) -> None:
    values = np.array([[0.0, value]], np.float32)
    lost = np.isfinite(values) & np.isinf(bfloat16.rounded(values))
    assert bfloat16.first_overflow(values) == ((0, 1) if lost.any() else None)


@given(st.lists(st.floats(width=32), max_size=5))
def test_what_is_not_held_is_told_with_its_place(values: list[float]) -> None:
    array = np.array(values, np.float32)
    made = bfloat16.rounded(array)
    wrong = [at for at, v in enumerate(values) if v == v and float(made[at]) != v]
    assert bfloat16.first_inexact(array) == ((wrong[0],) if wrong else None)


@pytest.mark.parametrize("order", ["<f4", ">f4", ">f8"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)])
def test_any_shape_and_byte_order_goes(shape: tuple[int, ...], order: str) -> None:
    values = np.full(shape, 1.01171875).astype(order)
    made = bfloat16.bits_of(values)
    assert made.shape == shape
    assert (made == 0x3F82).all()
    assert bfloat16.rounded(values).shape == shape


def test_values_are_written_into_memory_that_is_given() -> None:
    out = np.zeros((2, 2), np.float32)
    made = bfloat16.values_of(np.array([[0x3F80, 0], [0, 0x4000]], ">u2"), out)
    assert made is out
    assert out.tolist() == [[1, 0], [0, 2]]


def test_a_slice_with_gaps_is_rounded_like_any_other() -> None:
    values = np.arange(8, dtype=np.float32).reshape(2, 4)[:, ::2]
    assert np.array_equal(bfloat16.rounded(values), values)


def test_whole_numbers_are_not_taken_for_floats() -> None:
    with pytest.raises(RowError, match=r"values of int64, wanted floats"):
        bfloat16.bits_of(np.arange(3))


# Names


def test_it_is_found_by_its_name_and_so_are_numpys_types() -> None:
    assert bfloat16.type_of("bfloat16") is BFLOAT16
    assert bfloat16.type_of(BFLOAT16) is BFLOAT16
    assert bfloat16.type_of(">f4") == np.dtype(">f4")
    assert [bfloat16.spelled(bfloat16.type_of(t)) for t in ("bfloat16", "u1")] == [
        "bfloat16", "|u1",
    ]  # fmt: skip
    assert (str(BFLOAT16), BFLOAT16.itemsize, BFLOAT16.kind) == ("bfloat16", 2, "f")


@pytest.mark.parametrize("wanted", ["bfloat17", "nothing", object()])
def test_what_is_no_type_is_refused(wanted: Any) -> None:
    with pytest.raises(OptionError, match="wanted a type such as uint8 or float32"):
        bfloat16.type_of(wanted)


def test_arrays_of_ml_dtypes_are_taken_with_their_bits() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = ALL.view(ml_dtypes.bfloat16)
    assert bfloat16.type_of(values.dtype) is BFLOAT16
    assert np.array_equal(bfloat16.bits_of(values), ALL)
    assert bfloat16.first_inexact(values) is None


# In a file


def other(
    fields: tuple[int, int, int, int, int] = (15, 7, 8, 0, 7),
    bias: int = 127,
    precision: int = 16,
    offset: int = 0,
    size: int = 2,
    norm: int = h5t.NORM_IMPLIED,
) -> h5t.TypeID:
    """A type that differs from bfloat16 in what is given."""
    made = h5t.IEEE_F32LE.copy()
    made.set_fields(*fields)
    made.set_precision(precision)
    made.set_offset(offset)
    made.set_size(size)
    made.set_ebias(bias)
    made.set_norm(norm)
    return made


def test_the_type_is_the_one_that_the_page_spells_out() -> None:
    kind = bfloat16.h5_type()
    assert kind.get_class() == h5t.FLOAT
    assert kind.get_fields() == (15, 7, 8, 0, 7)
    assert (kind.get_size(), kind.get_precision(), kind.get_offset()) == (2, 16, 0)
    assert (kind.get_ebias(), kind.get_norm()) == (127, h5t.NORM_IMPLIED)
    assert kind.get_order() == h5t.ORDER_LE
    assert kind.dtype == np.float32  # what plain h5py makes of it


def test_the_type_is_known_again() -> None:
    assert bfloat16.bits_type(other()) == np.dtype("<u2")
    turned = other()
    turned.set_order(h5t.ORDER_BE)
    assert bfloat16.bits_type(turned) == np.dtype(">u2")


@pytest.mark.parametrize(
    "kind",
    [
        other(bias=126),
        other(bias=128),
        other(bias=0),
        other((15, 8, 7, 0, 8)),
        other((15, 10, 5, 0, 10), bias=15),
        other((14, 6, 8, 0, 6), precision=15),
        other((15, 7, 8, 1, 6)),
        other((0, 8, 8, 1, 7)),
        other(size=4),
        other(size=4, offset=16),
        other(norm=h5t.NORM_NONE),
        h5t.IEEE_F16LE,
        h5t.IEEE_F32LE,
        h5t.STD_U16LE,
        h5t.STD_B16LE,
        h5t.C_S1,
    ],
)
def test_a_type_that_differs_in_anything_is_another(kind: h5t.TypeID) -> None:
    assert bfloat16.bits_type(kind) is None


def test_hdf5_gives_the_same_values(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        space = h5py.h5s.create_simple(ALL.shape)
        made = h5py.h5d.create(file.id, b"a", bfloat16.h5_type(), space)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, ALL, bfloat16.h5_type())
        assert bfloat16.is_stored(file["a"])
        found = file["a"][:]
    assert found.dtype == np.float32
    assert np.array_equal(found, bfloat16.values_of(ALL), equal_nan=True)
    assert np.array_equal(np.signbit(found), ALL >= 0x8000)


# As a codec


@pytest.mark.parametrize(
    "bits", [PixelCodec, LosslessCodec, lambda s, d: LosslessCodec(s, d, "gzip")]
)
def test_a_codec_gives_back_what_it_was_given(bits: Any) -> None:
    codec = Bfloat16Codec(bits((64, 1024), BITS))
    values = bfloat16.values_of(ALL).reshape(codec.shape)
    stored = bytes(codec.encode(values))
    assert (codec.dtype, codec.stored) == (np.dtype(np.float32), BFLOAT16)
    assert np.array_equal(codec.decode(stored), values, equal_nan=True)
    assert filter_pipeline(codec) == filter_pipeline(codec.bits)


def test_a_codec_stores_two_bytes_a_value() -> None:
    codec = Bfloat16Codec(PixelCodec((3,), BITS))
    assert bytes(codec.encode(np.array([1, -2, 0.5], np.float32))).hex() == "803f00c0003f"


def test_a_codec_rounds_nothing() -> None:
    codec = Bfloat16Codec(PixelCodec((2,), BITS))
    with pytest.raises(RowError, match=r"the value 257\.0 at \(1,\) is none of bfloat16"):
        codec.encode(np.array([256, 257], np.float32))


def test_a_codec_refuses_bytes_that_are_too_few() -> None:
    with pytest.raises(FormatError, match="a sample of 3 bytes, wanted 4"):
        Bfloat16Codec(PixelCodec((2,), BITS)).decode(bytes(3))
