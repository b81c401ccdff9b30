"""Array -> stored bytes -> array, for every store; damage is an error and nothing worse."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import cv2
import h5py
import hdf5plugin  # noqa: F401  (h5py reads Blosc with it)
import numpy as np
import pytest
import simplejpeg
from h5py import h5d, h5p, h5s, h5t
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from celeiro.errors import FormatError, OptionError
from celeiro.format import filters
from celeiro.format.codecs import (
    JpegCodec,
    LosslessCodec,
    PixelCodec,
    filter_pipeline,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.format.codecs import Codec

    Array = npt.NDArray[Any]

UINT8 = np.dtype(np.uint8)
DTYPES = ["?", *"u1 u2 u4 u8 i1 i2 i4 i8 f2 f4 f8 c8 c16".split()]
SMALL = np.arange(2 * 3 * 4, dtype=np.uint16).reshape(2, 3, 4) // 5


def exact_codecs(sample: Array) -> list[Codec]:
    """A codec of each kind that gives back exactly what it got."""
    kind = sample.shape, sample.dtype
    return [PixelCodec(*kind), LosslessCodec(*kind), LosslessCodec(*kind, compressor="gzip")]


def arrays() -> st.SearchStrategy[Array]:
    """Samples of any type that the format holds, of up to four axes."""
    shapes = npst.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=7)
    return st.sampled_from(DTYPES).flatmap(lambda kind: npst.arrays(np.dtype(kind), shapes))


def pictures() -> st.SearchStrategy[Array]:
    """uint8 pictures of one or three channels."""
    sides = st.integers(1, 40)
    shapes = st.tuples(sides, sides, st.sampled_from([1, 3]))
    return shapes.flatmap(lambda shape: npst.arrays(np.uint8, shape))


def noise(shape: tuple[int, ...], dtype: str = "u1", seed: int = 0) -> Array:
    """Values that no compressor makes smaller."""
    rng = np.random.default_rng(seed)
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(rng.bytes(count), dtype).reshape(shape)


def through_hdf5(codec: Codec, stored: bytes) -> Array:
    """What plain h5py reads from a data set of one chunk that holds these bytes."""
    with h5py.File.in_memory(libver=("v110", "v110")) as file:
        plist = h5p.create(h5p.DATASET_CREATE)
        plist.set_chunk((1, *codec.shape))
        for number, values in filter_pipeline(codec):
            if number == 2:
                plist.set_shuffle()
            else:
                plist.set_filter(number, h5py.h5z.FLAG_MANDATORY, values)
        space = h5s.create_simple((1, *codec.shape))
        made = h5d.create(file.id, b"x", h5t.py_create(codec.dtype, logical=True), space, plist)
        made.write_direct_chunk((0,) * (1 + len(codec.shape)), stored)
        made.flush()
        values: Array = h5py.Dataset(made)[0]
        return values


# Round trips


@given(arrays())
def test_what_goes_in_comes_out_bit_for_bit(sample: Array) -> None:
    for codec in exact_codecs(sample):
        back = codec.decode(bytes(codec.encode(sample)))
        assert (back.shape, back.dtype) == (sample.shape, sample.dtype)
        assert back.tobytes() == sample.tobytes()  # NaN and -0.0 too


@settings(max_examples=40)
@given(arrays())
def test_plain_h5py_reads_lossless_chunks(sample: Array) -> None:
    for codec in exact_codecs(sample)[1:]:
        back = np.asarray(through_hdf5(codec, bytes(codec.encode(sample))))
        assert back.dtype == sample.dtype
        assert back.tobytes() == sample.tobytes()


@settings(max_examples=40)
@given(pictures())
def test_a_jpeg_decodes_as_opencv_and_plain_h5py_decode_it(picture: Array) -> None:
    codec = JpegCodec(picture.shape)
    stored = bytes(codec.encode(picture))
    back = codec.decode(stored)
    flags = cv2.IMREAD_GRAYSCALE if codec.grey else cv2.IMREAD_COLOR_RGB
    other = cv2.imdecode(np.frombuffer(stored, np.uint8), flags).reshape(picture.shape)
    assert np.array_equal(back, other)
    assert np.array_equal(back, through_hdf5(codec, stored))


@pytest.mark.parametrize("subsampling", ["444", "422", "420"])
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (16, 16), (33, 50)])
def test_every_subsampling_decodes_as_opencv_decodes_it(
    subsampling: Any, size: tuple[int, int]
) -> None:
    picture = noise((*size, 3))
    codec = JpegCodec(picture.shape, 80, subsampling)
    stored = bytes(codec.encode(picture))
    assert simplejpeg.decode_jpeg_header(stored)[3] == subsampling
    other = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.array_equal(codec.decode(stored), other)


def test_a_jpeg_of_good_quality_is_close_to_its_picture() -> None:
    ramp = np.linspace(0, 255, 64 * 48 * 3).astype(np.uint8).reshape(64, 48, 3)
    codec = JpegCodec(ramp.shape, quality=95, subsampling="444")
    assert np.abs(codec.decode(bytes(codec.encode(ramp))).astype(int) - ramp).max() < 12


def test_decoded_pixels_are_a_view_of_the_bytes() -> None:
    stored = bytes(SMALL.data)
    back = PixelCodec(SMALL.shape, SMALL.dtype).decode(stored)
    assert not back.flags.writeable
    assert np.shares_memory(back, np.frombuffer(stored, np.uint8))


# The same bytes each time


@pytest.mark.parametrize("compressor", ["zstd", "gzip"])
def test_the_same_sample_gives_the_same_chunk_twenty_times(compressor: Any) -> None:
    # Larger than one Blosc block, where two threads would race for their order.
    sample = np.cumsum(noise((300, 200, 3), "i1", 1), axis=1, dtype=np.int16)
    codec = LosslessCodec(sample.shape, sample.dtype, compressor)
    with ThreadPoolExecutor(4) as pool:
        chunks = set(pool.map(lambda _: bytes(codec.encode(sample)), range(20)))
    assert len(chunks) == 1


def test_the_same_picture_gives_the_same_jpeg() -> None:
    picture = noise((64, 64, 3))
    codec = JpegCodec(picture.shape)
    assert len({bytes(codec.encode(picture)) for _ in range(5)}) == 1


# The filters that undo it


def test_pixels_need_no_filter() -> None:
    assert filter_pipeline(PixelCodec((2, 2), UINT8)) == ()


@pytest.mark.parametrize(("channels", "color"), [(1, filters.MONO), (3, filters.RGB)])
def test_the_jpeg_filter_says_quality_width_height_and_colour(channels: int, color: int) -> None:
    codec = JpegCodec((20, 30, channels), 77)
    assert filter_pipeline(codec) == ((32019, (77, 30, 20, color)),)


def test_the_lossless_filters_are_blosc_or_shuffle_and_deflate() -> None:
    zstd, gzip = (LosslessCodec((4,), UINT8, c, 3) for c in ("zstd", "gzip"))
    assert filter_pipeline(zstd) == ((32001, (0, 0, 0, 0, 3, 2, 5)),)
    assert filter_pipeline(gzip) == ((2, None), (1, (3,)))


# What a store cannot hold is refused when the codec is made


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 2), (4, 4, 4), (4,), (2, 4, 4, 3), ()])
def test_jpeg_refuses_what_is_no_picture(shape: tuple[int, ...]) -> None:
    with pytest.raises(OptionError, match="store 'jpeg' holds"):
        JpegCodec(shape)


@pytest.mark.parametrize("dtype", ["u2", "i1", "f4", "?"])
def test_jpeg_refuses_other_values_than_bytes(dtype: str) -> None:
    with pytest.raises(OptionError, match="store 'jpeg' holds uint8"):
        JpegCodec((4, 4, 3), dtype=np.dtype(dtype))


@pytest.mark.parametrize("shape", [(65501, 4, 3), (4, 65501, 1), (40000, 40000, 3), (0, 4, 3)])
def test_jpeg_refuses_sizes_that_the_filter_does_not_take(shape: tuple[int, ...]) -> None:
    with pytest.raises(OptionError, match="65500|bytes in a chunk"):
        JpegCodec(shape)


@pytest.mark.parametrize("quality", [0, 101, -1])
def test_jpeg_refuses_a_quality_beyond_1_to_100(quality: int) -> None:
    with pytest.raises(OptionError, match="quality"):
        JpegCodec((4, 4, 3), quality)


def test_a_sample_too_large_for_its_compressor_is_refused() -> None:
    LosslessCodec((2**31 - 17,), UINT8)
    with pytest.raises(OptionError, match="at most 2,147,483,631 bytes"):
        LosslessCodec((2**31 - 16,), UINT8)
    LosslessCodec((2**31,), UINT8, "gzip")
    with pytest.raises(OptionError, match="at most 4,290,772,992 bytes"):
        LosslessCodec((2**30,), np.dtype("f4"), "gzip")
    with pytest.raises(OptionError, match="holds at most"):
        LosslessCodec((2**40, 2**40), np.dtype("f8"))  # beyond 64 bits


@pytest.mark.parametrize("make", [PixelCodec, LosslessCodec])
@pytest.mark.parametrize("dtype", ["O", "S3", "U3", "M8[s]", "V4", "i4,i4"])
def test_values_that_are_no_plain_numbers_are_refused(make: Any, dtype: str) -> None:
    with pytest.raises(OptionError, match="the format holds"):
        make((2, 2), np.dtype(dtype))


@pytest.mark.skipif(np.dtype("g").itemsize == 8, reason="long double is a double here")
@pytest.mark.parametrize("dtype", ["g", "G"])
def test_floats_that_differ_between_machines_are_refused(dtype: str) -> None:
    with pytest.raises(OptionError, match="the format holds"):
        PixelCodec((2, 2), np.dtype(dtype))


@pytest.mark.parametrize("make", [PixelCodec, LosslessCodec])
def test_samples_without_a_value_are_refused(make: Any) -> None:
    with pytest.raises(OptionError, match="no value"):
        make((3, 0, 2), UINT8)


# Damage

LYING_SIZES = [0, 1, 24, 47, 49, 96, 2**20, 2**31 - 1, 2**31, 2**32 - 1]


@pytest.mark.parametrize("at", [4, 12], ids=["decoded", "stored"])
@pytest.mark.parametrize("size", LYING_SIZES)
def test_a_blosc_header_that_lies_about_a_size_is_refused(at: int, size: int) -> None:
    codec = LosslessCodec(SMALL.shape, SMALL.dtype)
    chunk = bytearray(codec.encode(SMALL))
    struct.pack_into("<I", chunk, at, size)
    with pytest.raises(FormatError, match="Blosc header that says"):
        codec.decode(bytes(chunk))


def test_a_blosc_chunk_that_points_outside_itself_is_refused() -> None:
    # Found by fuzzing: c-blosc 1.21 follows both and ends the process.
    codec = LosslessCodec((64, 64, 3), np.dtype("u2"))
    chunk = bytearray(codec.encode((np.arange(64 * 64 * 3) % 251).astype("u2").reshape(64, 64, 3)))
    struct.pack_into("<II", chunk, 12, 1895825720, 1744830484)
    with pytest.raises(FormatError, match="Blosc header that says"):
        codec.decode(bytes(chunk))


@pytest.mark.parametrize("compressor", ["blosclz", "lz4", "lz4hc", "zlib"])
def test_a_blosc_chunk_of_another_compressor_is_refused(compressor: str) -> None:
    import imagecodecs

    codec = LosslessCodec((64, 64), np.dtype("u2"))
    sample = np.zeros(codec.shape, codec.dtype)
    chunk = imagecodecs.blosc_encode(sample, compressor=compressor, typesize=2, numthreads=1)
    with pytest.raises(FormatError, match="compressor"):
        codec.decode(chunk)


@pytest.mark.parametrize("compressor", ["zstd", "gzip"])
@pytest.mark.parametrize("shape", [(12,), (2, 3, 5), (1000, 1000)])
def test_a_chunk_of_another_size_is_refused(compressor: Any, shape: tuple[int, ...]) -> None:
    stored = LosslessCodec(shape, UINT8, compressor).encode(np.zeros(shape, np.uint8))
    with pytest.raises(FormatError, match="does not decompress|wanted 24"):
        LosslessCodec((24,), UINT8, compressor).decode(bytes(stored))


def test_a_deflate_bomb_is_not_blown_up() -> None:
    import tracemalloc
    import zlib

    bomb = zlib.compress(bytes(10_000_000))
    tracemalloc.start()
    with pytest.raises(FormatError, match="more or less than 48 bytes"):
        LosslessCodec(SMALL.shape, SMALL.dtype, "gzip").decode(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("size", [0, 1, 47, 49, 96])
def test_pixels_of_another_size_are_refused(size: int) -> None:
    with pytest.raises(FormatError, match="wanted 48"):
        PixelCodec(SMALL.shape, SMALL.dtype).decode(bytes(size))


@pytest.mark.parametrize("shape", [(24, 32, 3), (32, 24, 1), (31, 24, 3), (32, 25, 3)])
def test_a_jpeg_of_another_size_or_kind_is_refused(shape: tuple[int, int, int]) -> None:
    stored = bytes(JpegCodec(shape).encode(noise(shape)))
    with pytest.raises(FormatError, match="wanted"):
        JpegCodec((32, 24, 3)).decode(stored)


def test_a_jpeg_in_printing_colours_is_refused() -> None:
    cmyk = simplejpeg.encode_jpeg(noise((8, 8, 4)), colorspace="CMYK", colorsubsampling="444")
    with pytest.raises(FormatError, match="YCCK"):
        JpegCodec((8, 8, 3)).decode(cmyk)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"no JPEG at all", bytes(1000)])
def test_bytes_that_are_no_jpeg_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match="damaged"):
        JpegCodec((8, 8, 3)).decode(data)


@pytest.mark.parametrize("codec", exact_codecs(noise((9, 8, 3))), ids=["pixels", "zstd", "gzip"])
def test_a_chunk_that_is_cut_short_is_refused(codec: Codec) -> None:
    for sample in (noise(codec.shape), np.zeros(codec.shape, np.uint8)):
        stored = bytes(codec.encode(sample))
        for length in range(len(stored)):
            with pytest.raises(FormatError, match="damaged"):
                codec.decode(stored[:length])


def test_a_jpeg_that_is_cut_short_is_refused() -> None:
    codec = JpegCodec((16, 16, 3))
    stored = bytes(codec.encode(noise(codec.shape)))
    for length in range(len(stored) - 2):  # the end mark alone may be missing
        with pytest.raises(FormatError, match="damaged"):
            codec.decode(stored[:length])


@pytest.mark.parametrize(
    "codec",
    [
        LosslessCodec((60, 50), np.dtype("u2")),
        LosslessCodec((60, 50), np.dtype("f4"), "gzip"),
        JpegCodec((40, 50, 3)),
        JpegCodec((40, 50, 1)),
    ],
    ids=["zstd", "gzip", "jpeg", "grey"],
)
@settings(max_examples=60)
@given(data=st.data())
def test_flipped_bits_give_an_error_or_a_sample_of_the_right_shape(
    codec: Codec, data: st.DataObject
) -> None:
    ramp = np.arange(np.prod(codec.shape)).reshape(codec.shape) % 97
    chunk = bytearray(codec.encode(ramp.astype(codec.dtype)))
    # Mostly near the beginning, where the sizes stand.
    places = st.one_of(st.integers(0, min(63, len(chunk) - 1)), st.integers(0, len(chunk) - 1))
    for _ in range(data.draw(st.integers(1, 3))):
        chunk[data.draw(places)] ^= data.draw(st.integers(1, 255))
    try:
        back = codec.decode(bytes(chunk))
    except FormatError:
        return
    assert (back.shape, back.dtype) == (codec.shape, codec.dtype)


@given(st.binary(max_size=300))
def test_any_bytes_give_an_error_or_a_sample_of_the_right_shape(data: bytes) -> None:
    for codec in (*exact_codecs(SMALL), JpegCodec((8, 8, 3))):
        try:
            back = codec.decode(data)
        except FormatError:
            continue
        assert (back.shape, back.dtype) == (codec.shape, codec.dtype)
