"""Chunks that h5py wrote decode to what h5py reads; those that lie are refused."""

from __future__ import annotations

import bz2
import io
import itertools
import threading
import tracemalloc
import zlib

import cv2
import h5py
import hdf5plugin
import imagecodecs
import numpy as np
import pytest
import simplejpeg
from h5py import h5d, h5p, h5s, h5t
from hypothesis import given, settings
from hypothesis import strategies as st

from celeiro.errors import FormatError, RowError
from celeiro.format import filters
from celeiro.format.chunks import ChunkCodec, Filter, filters_of, unsupported

Blosc, Bitshuffle = hdf5plugin.Blosc, hdf5plugin.Bitshuffle
GZIP, SHUFFLE, FLETCHER = Filter(1, 0, (4,)), Filter(2, 0, (4,)), Filter(3)
LZF = Filter(h5py.h5z.FILTER_LZF, 1)

PIPELINES = {
    "plain": {},
    "gzip": {"compression": "gzip"},
    "shuffle": {"shuffle": True},
    "fletcher32": {"fletcher32": True},
    "szip-nn": {"compression": "szip", "compression_opts": ("nn", 8)},
    "szip-ec": {"compression": "szip", "compression_opts": ("ec", 4)},
    "lzf": {"compression": "lzf"},
    "shuffle-gzip": {"compression": "gzip", "shuffle": True},
    "shuffle-lzf-fletcher32": {"compression": "lzf", "shuffle": True, "fletcher32": True},
    "shuffle-szip": {"compression": "szip", "shuffle": True},
    "bzip2": {"compression": hdf5plugin.BZip2()},
    "zstd": {"compression": hdf5plugin.Zstd()},
    "shuffle-zstd": {"compression": hdf5plugin.Zstd(), "shuffle": True},
    "lz4": {"compression": hdf5plugin.LZ4()},
    "lz4-blocks": {"compression": hdf5plugin.LZ4(nbytes=100)},
    "bitshuffle-none": {"compression": Bitshuffle(cname="none")},
    "bitshuffle-lz4": {"compression": Bitshuffle(cname="lz4", nelems=16)},
    "bitshuffle-zstd": {"compression": Bitshuffle(cname="zstd"), "fletcher32": True},
    "blosc-stored": {"compression": Blosc(clevel=0)},
} | {
    f"blosc-{name}-{shuffle}": {"compression": Blosc(cname=name, shuffle=shuffle)}
    for name, shuffle in zip(
        ("blosclz", "lz4", "lz4hc", "zlib", "zstd"), (0, 1, 2, 1, 2), strict=True
    )
}
TYPES = "? u1 i1 <i2 >i2 <u4 >f4 <f8 >i8 <f2 <c8 >c16 S5 V3".split()


def in_memory():
    return h5py.File("x.h5", "w", driver="core", backing_store=False)


def codec_of(dataset):
    pipeline = filters_of(dataset.id.get_create_plist())
    return ChunkCodec(dataset.chunks, dataset.dtype, pipeline)


def decoded(codec, data, mask=0):
    # Not zeros, so that what is not written is seen; and between bytes that nobody may touch.
    size = codec.dtype.itemsize * int(np.prod(codec.shape))
    around = np.full(size + 128, 0xA5, np.uint8)
    out = around[64:-64].view(codec.dtype).reshape(codec.shape)
    try:
        codec.decode(data, out, mask)
    finally:
        assert (around[:64] == 0xA5).all()
        assert (around[-64:] == 0xA5).all()
    return out


def values(shape, kind, seed, span):
    kind = np.dtype(kind)
    raw = np.random.default_rng(seed).integers(0, span, (*shape, kind.itemsize)).astype(np.uint8)
    return (raw & 1 if kind.kind == "b" else raw).view(kind)[..., 0]


def stored(array, **options):
    """The bytes, the mask and the codec of an array that is one chunk."""
    with in_memory() as file:
        dataset = file.create_dataset("x", data=array, chunks=array.shape, **options)
        mask, data = dataset.id.read_direct_chunk((0,) * array.ndim)
        return data, mask, codec_of(dataset)


def low_level(file, array, build):
    """An empty data set of one chunk, whose filters `build` sets in any order."""
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_chunk(array.shape)
    build(plist)
    space = h5s.create_simple(array.shape)
    return h5py.Dataset(
        h5d.create(file.id, b"x", h5t.py_create(array.dtype, logical=True), space, plist)
    )


# What is valid


@pytest.mark.parametrize("name", PIPELINES)
@settings(max_examples=12)
@given(
    extent=st.lists(st.tuples(st.integers(1, 25), st.integers(1, 12)), min_size=1, max_size=3),
    kind=st.sampled_from(TYPES),
    seed=st.integers(0, 99),
    span=st.sampled_from([2, 256]),
)
def test_every_chunk_decodes_to_what_h5py_reads(name, extent, kind, seed, span):
    shape, chunks = zip(*extent, strict=True)
    chunks = tuple(map(min, shape, chunks))
    if "szip" in name and (kind[0] in "SV" or kind[1:] == "c16" or np.prod(chunks) < 32):
        return  # HDF5 refuses to create it
    with in_memory() as file:
        array = values(shape, kind, seed, span)
        try:
            dataset = file.create_dataset("x", data=array, chunks=chunks, **PIPELINES[name])
        except (OSError, ValueError):
            assert "szip" in name  # compounds (complex) have no order of bytes
            return
        codec = codec_of(dataset)
        for chunk in map(dataset.id.get_chunk_info, range(dataset.id.get_num_chunks())):
            mask, data = dataset.id.read_direct_chunk(chunk.chunk_offset)
            found = decoded(codec, data, mask)
            where = tuple(map(slice, chunk.chunk_offset, np.add(chunk.chunk_offset, chunks)))
            expected = dataset[where]
            inside = found[tuple(map(slice, expected.shape))]  # an edge chunk holds fill values
            assert inside.tobytes() == expected.tobytes()


UNUSUAL = {
    "two compressors": (LZF, GZIP),
    "three": (GZIP, LZF, Filter(32015)),
    "a checksum in the middle": (SHUFFLE, FLETCHER, GZIP),
    "a checksum first, so that shuffling leaves bytes over": (FLETCHER, Filter(2), GZIP),
    "checksums everywhere": (FLETCHER, FLETCHER, GZIP, FLETCHER),
    "shuffled twice": (SHUFFLE, SHUFFLE),
    "shuffled behind a compressor": (GZIP, SHUFFLE),
    "bitshuffle behind shuffle": (SHUFFLE, Filter(32008), Filter(307, 0, (9,))),
    "blosc behind shuffle, before lz4": (
        SHUFFLE,
        Filter(32001, 0, (0, 0, 0, 0, 9, 0, 5)),
        Filter(32004),
    ),
}


@pytest.mark.parametrize("name", UNUSUAL)
@pytest.mark.parametrize("kind", ["<i4", ">f8", "V3"])
def test_pipelines_in_any_order_decode_to_what_h5py_reads(name, kind):
    def build(plist):
        for step in UNUSUAL[name]:
            plist.set_filter(step.number, h5py.h5z.FLAG_OPTIONAL, step.options)

    array = values((20, 25, 3), kind, 1, 4)
    with in_memory() as file:
        dataset = low_level(file, array, build)
        dataset[...] = array
        mask, data = dataset.id.read_direct_chunk((0, 0, 0))
        assert mask == 0
        found = decoded(codec_of(dataset), data, mask)
        assert found.tobytes() == dataset[...].tobytes() == array.tobytes()


@pytest.mark.parametrize("mask", range(16))
def test_filters_in_the_mask_were_skipped_though_they_are_mandatory(mask):
    def build(plist):
        for number, options in ((2, ()), (1, (4,)), (3, ()), (307, (9,))):
            plist.set_filter(number, h5py.h5z.FLAG_MANDATORY, options)

    def build_applied(plist):
        for place, (number, options) in enumerate(((2, ()), (1, (4,)), (3, ()), (307, (9,)))):
            if not mask >> place & 1:
                plist.set_filter(number, h5py.h5z.FLAG_MANDATORY, options)

    array = values((9, 11), "<i4", mask, 30)
    with in_memory() as file:
        dataset = low_level(file, array, build_applied)
        dataset[...] = array
        _, data = dataset.id.read_direct_chunk((0, 0))
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        low_level(file, array, build).id.write_direct_chunk((0, 0), data, mask)
    # Opened anew: before that, HDF5 2.0 takes the mask of a chunk just written to be 0.
    with h5py.File(image) as file:
        dataset = file["x"]
        assert dataset.id.get_chunk_info(0).filter_mask == mask
        np.testing.assert_array_equal(dataset[...], array)
        codec = codec_of(dataset)
        np.testing.assert_array_equal(decoded(codec, data, mask), array)
        # Bits of filters that are not there mean nothing, to HDF5 as well.
        np.testing.assert_array_equal(decoded(codec, data, mask | 1 << 31), array)


def test_a_file_with_another_mask_in_each_chunk_does_not_fill_the_memory():
    codec = ChunkCodec((4,), np.dtype("u1"))
    for mask in range(1000):
        decoded(codec, b"abcd", mask)
    assert len(codec._plans) < 100


def test_the_checksum_of_old_hdf5_is_taken_as_hdf5_takes_it():
    array = values((31,), "<i2", 3, 256)
    with in_memory() as file:
        dataset = file.create_dataset("x", data=array, chunks=array.shape, fletcher32=True)
        _, data = dataset.id.read_direct_chunk((0,))
        old = data[:-4] + bytes(data[-4:][i] for i in (1, 0, 3, 2))
        assert old != data
        dataset.id.write_direct_chunk((0,), old)
        np.testing.assert_array_equal(dataset[...], array)
        np.testing.assert_array_equal(decoded(codec_of(dataset), old), array)


def test_bytes_behind_a_gzip_stream_are_passed_over_as_by_hdf5():
    array = values((50,), "<i4", 3, 5)
    with in_memory() as file:
        dataset = file.create_dataset("x", data=array, chunks=array.shape, compression="gzip")
        _, data = dataset.id.read_direct_chunk((0,))
        dataset.id.write_direct_chunk((0,), data + b"padding")
        np.testing.assert_array_equal(dataset[...], array)
        np.testing.assert_array_equal(decoded(codec_of(dataset), data + b"padding"), array)


def test_blosc_with_snappy_decodes_where_hdf5plugin_has_none():
    array = values((300,), "<i4", 3, 2)
    try:
        data = imagecodecs.blosc_encode(array, compressor="snappy", numthreads=1)
    except RuntimeError:
        pytest.skip("this imagecodecs has no Snappy")
    found = decoded(ChunkCodec((300,), array.dtype, (Filter(32001),)), data)
    np.testing.assert_array_equal(found, array)


def test_a_chunk_may_come_as_a_view_of_other_memory():
    for options in PIPELINES.values():
        array = values((8, 9), "<i4", 5, 9)
        data, mask, codec = stored(array, **options)
        view = memoryview(bytearray(b"before" + data + b"after"))[6:-5]
        np.testing.assert_array_equal(decoded(codec, view, mask), array)


def test_one_codec_serves_many_threads():
    array = values((64, 64), "<i4", 5, 9)
    data, _, codec = stored(array, compression="gzip", shuffle=True, fletcher32=True)
    wrong = []

    def work():
        out = np.empty_like(array)
        for _ in range(50):
            codec.decode(data, out)
            wrong.append((out != array).any())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(wrong) == 200
    assert not any(wrong)


# What lies


@pytest.mark.parametrize("name", PIPELINES)
def test_a_chunk_that_is_too_long_or_too_short_is_refused(name):
    _, _, codec = stored(values((40,), "<i4", 1, 3), **PIPELINES[name])
    for count in (39, 41, 80, 32):
        data, mask, _ = stored(values((count,), "<i4", 1, 3), **PIPELINES[name])
        with pytest.raises(FormatError, match="the file is damaged"):
            decoded(codec, data, mask)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_chunk_with_any_byte_changed_or_cut_off_is_an_error_or_values(name):
    array = values((60,), "<i4", 1, 3)
    data, mask, codec = stored(array, **PIPELINES[name])
    rng = np.random.default_rng(0)
    refused = 0
    for place, change in itertools.product(range(len(data)), ("bit", "byte", "word", "cut")):
        bad = bytearray(data)
        if change == "bit":
            bad[place] ^= 1 << rng.integers(8)
        elif change == "byte":
            bad[place] = rng.integers(256)
        elif change == "word":
            bad[place : place + 4] = rng.choice([b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f"])
        else:
            del bad[place:]
        try:
            decoded(codec, bytes(bad), mask)
        except FormatError:
            refused += 1
    if "szip" not in name:  # has no end to its stream: HDF5 itself reads one that was cut
        assert refused >= len(data) - 1


@pytest.mark.parametrize("name", ["fletcher32", "shuffle-lzf-fletcher32", "gzip", "bzip2"])
def test_no_changed_bit_passes_a_checksum(name):
    array = values((60,), "<i4", 1, 3)
    data, mask, codec = stored(array, **PIPELINES[name])
    for place in range(len(data)):
        bad = bytearray(data)
        bad[place] ^= 0x10
        try:
            found = decoded(codec, bytes(bad), mask)
        except FormatError:
            continue
        # gzip and bzip2 have bits of headers that say nothing about the values.
        np.testing.assert_array_equal(found, array)
        assert "fletcher32" not in name


@pytest.mark.parametrize("data", [b"", b"x", b"12345"])
@pytest.mark.parametrize("name", PIPELINES)
def test_next_to_nothing_is_refused(name, data):
    _, _, codec = stored(values((60,), "<i4", 1, 3), **PIPELINES[name])
    with pytest.raises(FormatError, match="a chunk of .*: the file is damaged"):
        decoded(codec, data)


ZEROS = bytes(5_000_000)
CLAIM = (2**40).to_bytes(8) + (2**13).to_bytes(4) + bytes(20)
BOMBS = {
    "gzip": ((GZIP,), lambda: zlib.compress(ZEROS)),
    "gzip twice": ((GZIP, GZIP), lambda: zlib.compress(zlib.compress(ZEROS, 0), 9)),
    "gzip behind lzf": ((LZF, GZIP), lambda: zlib.compress(ZEROS)),
    "zstd": ((Filter(32015),), lambda: imagecodecs.zstd_encode(ZEROS)),
    "lzf": ((LZF,), lambda: imagecodecs.lzf_encode(ZEROS)),
    "bzip2": ((Filter(307),), lambda: bz2.compress(ZEROS)),
    "blosc": ((Filter(32001),), lambda: imagecodecs.blosc_encode(ZEROS, numthreads=1)),
    "lz4": ((Filter(32004),), lambda: CLAIM),
    "bitshuffle": ((Filter(32008, 0, (0, 4, 4, 0, 2)),), lambda: CLAIM),
    "szip": ((Filter(4, 0, (169, 8, 32, 8)),), lambda: b"\xff\xff\xff\x7f" + CLAIM),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_takes_no_more_memory_than_a_chunk(name):
    pipeline, build = BOMBS[name]
    data = build()
    codec = ChunkCodec((1000,), np.dtype("i4"), pipeline)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="the file is damaged"):
            decoded(codec, data)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("place", "claim"),
    [(0, 1), (4, 96), (4, 404), (4, 2**31 - 1), (8, 401), (8, 2**32 - 1), (12, 2**31 - 1)],
)
def test_a_blosc_header_that_lies_never_reaches_the_decoder(place, claim, monkeypatch):
    array = values((100,), "<i4", 3, 2)
    data, mask, codec = stored(array, compression=Blosc(cname="zstd"))
    np.testing.assert_array_equal(decoded(codec, data, mask), array)
    bad = bytearray(data)
    bad[place : place + 4] = claim.to_bytes(4, "little")
    if place != 4 or claim > 400:
        monkeypatch.setattr(imagecodecs, "blosc_decode", None)
    with pytest.raises(FormatError, match=r"Blosc header|holds 96 bytes|does not decode"):
        decoded(codec, bytes(bad))


# JPEG


def picture(height=24, width=40):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 5, columns * 4, (rows + columns) * 2], axis=2).astype(np.uint8)


def jpeg_codec(height=24, width=40, channels=3, chunk=None):
    options = filters.jpeg_options(90, width, height, filters.RGB if channels == 3 else 0)
    shape = chunk or (1, height, width, channels)
    return ChunkCodec(shape, np.dtype("u1"), (Filter(32019, 0, options),))


def as_jpeg(image, **options):
    return imagecodecs.jpeg8_encode(image, 90, **options)


@pytest.mark.parametrize("subsampling", ["420", "422", "444"])
def test_a_jpeg_decodes_to_what_opencv_gives(subsampling):
    data = as_jpeg(picture(), subsampling=subsampling)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(decoded(jpeg_codec(), data)[0], expected)


def test_a_grey_jpeg_decodes_to_what_opencv_gives():
    data = as_jpeg(picture()[:, :, 0].copy())
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(decoded(jpeg_codec(channels=1), data)[0, ..., 0], expected)


def test_a_jpeg_with_an_unusual_header_decodes_as_well():
    data = as_jpeg(picture())
    padded = data[:2] + b"\xff\xff" + data[2:]
    np.testing.assert_array_equal(decoded(jpeg_codec(), padded), decoded(jpeg_codec(), data))


def lying(data, place, value):
    """The JPEG with two bytes of its frame header changed: 5 is its height, 7 its width."""
    at = data.index(b"\xff\xc0") + place
    return data[:at] + value.to_bytes(2) + data[at + 2 :]


@pytest.mark.parametrize(
    "data",
    [
        as_jpeg(picture(25, 40)),
        as_jpeg(picture(23, 40)),
        as_jpeg(picture(40, 24)),
        as_jpeg(picture()[:, :, 0].copy()),
        simplejpeg.encode_jpeg(np.zeros((24, 40, 4), np.uint8), colorspace="CMYK"),
        lying(as_jpeg(picture()), 5, 65500),
        lying(lying(as_jpeg(picture()), 5, 65535), 7, 65535),
        # Seems right where a header is right: an application segment that looks like a frame.
        b"\xff\xd8\xff\xc0\x00\x11\x08" + (24).to_bytes(2) + (40).to_bytes(2) + b"\x03" + bytes(9)
        + as_jpeg(picture(200, 200))[2:],
        as_jpeg(picture())[:200],
        as_jpeg(picture())[:-30],
        b"\xff\xd8\xff\xe0\xff\xff" + bytes(20),
    ],
)  # fmt: skip
def test_a_jpeg_of_another_size_or_kind_is_refused(data):
    with pytest.raises(FormatError, match="the file is damaged"):
        decoded(jpeg_codec(), data)


def test_jpeg_options_that_are_not_the_chunk_are_refused():
    with pytest.raises(FormatError, match="say 24 x 40 x 3"):
        jpeg_codec(chunk=(2, 24, 40, 3))
    with pytest.raises(FormatError, match="options"):
        ChunkCodec((24, 40, 3), np.dtype("u1"), (Filter(filters.JPEG),))


def test_a_picture_that_was_stored_without_the_filter_is_itself():
    raw = picture()[None]
    np.testing.assert_array_equal(decoded(jpeg_codec(), raw.tobytes(), mask=1), raw)


# What is not decoded


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (Filter(6, 0, (2, 0), "scaleoffset"), "filter 6 (scaleoffset)"),
        (Filter(5, 0, (), "nbit"), "filter 5 (nbit)"),
        (Filter(32013, 0, (), "H5Z-ZFP-1.1.1"), "filter 32013 (H5Z-ZFP-1.1.1)"),
        (Filter(32026, 0, (), "blosc2"), "filter 32026 (blosc2)"),
        (Filter(40000), "filter 40000 (without a name)"),
        (Filter(2), "shuffle with options ()"),
        (Filter(2, 0, (0,)), "shuffle with options (0,)"),
        (Filter(4, 0, (141, 8)), "szip with options (141, 8)"),
        (Filter(4, 0, (141, 32, 8, 1)), "szip with options (141, 32, 8, 1)"),
        (Filter(4, 0, (141, 8, 12, 8)), "szip with options (141, 8, 12, 8)"),
        (Filter(4, 0, (2**32 - 1, 8, 8, 8)), "szip with options (4294967295, 8, 8, 8)"),
        (Filter(32008, 0, (0, 4)), "bitshuffle with options (0, 4)"),
        (Filter(32008, 0, (0, 4, 2, 9)), "bitshuffle with options (0, 4, 2, 9)"),
        (Filter(32008, 0, (0, 4, 2, 0, 1)), "bitshuffle with options (0, 4, 2, 0, 1)"),
    ],
)
def test_what_cannot_be_vouched_for_is_named(step, reason):
    assert unsupported((GZIP, step), np.dtype("u1"), (8, 8)) == reason
    with pytest.raises(FormatError, match="celeiro does not decode this"):
        ChunkCodec((8, 8), np.dtype("u1"), (GZIP, step))


def test_a_filter_of_blosc2_is_named_as_the_file_names_it():
    with in_memory() as file:
        dataset = file.create_dataset("x", (8, 8), "f4", **hdf5plugin.Blosc2())
        pipeline = filters_of(dataset.id.get_create_plist())
    assert unsupported(pipeline, np.dtype("f4"), (4, 4)) == "filter 32026 (blosc2)"


def test_other_reasons_are_for_people_as_well():
    kind = np.dtype("u1")
    assert unsupported((), np.dtype(object), (8,)) == "values of variable length"
    assert unsupported((), kind, (8, 0)) == "chunks of (8, 0) uint8, which hold no value"
    assert unsupported((GZIP, Filter(32019)), kind, (8,)) == "jpeg behind another filter"
    large = unsupported((LZF,), kind, (2**31,))
    assert large == "lzf of chunks of 2,147,483,648 bytes; it counts to 2,147,483,631"
    assert unsupported((GZIP, SHUFFLE, FLETCHER), kind, (2**32,)) is None


def test_filters_come_in_the_order_of_writing():
    with in_memory() as file:
        dataset = file.create_dataset(
            "x", (8, 8), "<i4", chunks=(4, 8), shuffle=True, compression="gzip", fletcher32=True
        )
        found = filters_of(dataset.id.get_create_plist())
    assert found == (
        Filter(2, 1, (4,), "shuffle"),
        Filter(1, 1, (4,), "deflate"),
        Filter(3, 0, (), "fletcher32"),
    )


@pytest.mark.parametrize(
    "out",
    [
        np.zeros(5, "<i4"),
        np.zeros(4, "<i2"),
        np.zeros(4, ">i4"),
        np.zeros((2, 2), "<i4"),
        np.zeros(8, "<i4")[::2],
        np.frombuffer(bytes(16), "<i4"),
    ],
)
def test_room_that_is_not_a_chunk_is_left_alone(out):
    before = out.copy()
    with pytest.raises(RowError, match="room for"):
        ChunkCodec((4,), np.dtype("<i4")).decode(bytes(range(16)), out)
    np.testing.assert_array_equal(out, before)


def test_a_picture_lying_on_its_side_is_refused_also_after_upright_ones() -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8)
    data = simplejpeg.encode_jpeg(image)
    room = np.empty(image.size, np.uint8)
    filters.decode_picture(data, (100, 200, 3), room.data)  # its beginning is known from now on
    turned, upright = (
        ChunkCodec((1, 100, 200, 3), np.dtype("u1"), (Filter(32019, 0, (90, *size, 1)),))
        for size in ((100, 200), (200, 100))
    )
    assert not turned.fill_all([data], [room])
    with pytest.raises(FormatError, match="100"):
        turned.fill(data, room)
    assert upright.fill_all([data], [room])
