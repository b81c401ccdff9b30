"""Any layout that h5py writes: `celeiro.open` gives what h5py gives, or refuses, never else."""

from __future__ import annotations

import ctypes
import logging
import math
import tracemalloc
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t
from hypothesis import given, settings
from hypothesis import strategies as st

import celeiro
from celeiro.errors import FormatError, SampleError
from celeiro.format import bfloat16
from celeiro.reading import hdf5
from celeiro.reading.layouts import Way, samples_in
from celeiro.reading.source import FileSource
from celeiro.storage.local import File

if TYPE_CHECKING:
    from collections.abc import Iterator
LOGGER = "celeiro.reading.layouts"
KEY = "x"

FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "gzip": {"compression": "gzip"},
    "fletcher32": {"fletcher32": True},
    "lzf": {"compression": "lzf"},
    "shuffle, gzip": {"shuffle": True, "compression": "gzip"},
    "shuffle, lzf, fletcher32": {"shuffle": True, "compression": "lzf", "fletcher32": True},
    "szip": {"compression": "szip", "compression_opts": ("nn", 8)},
    "Blosc": {"compression": hdf5plugin.Blosc(cname="zstd", shuffle=2)},
    "LZ4": {"compression": hdf5plugin.LZ4()},
    "Zstd": {"compression": hdf5plugin.Zstd()},
    "Bitshuffle": {"compression": hdf5plugin.Bitshuffle(cname="lz4")},
}
TYPES = (
    "? i1 u1 <i2 >i2 <u2 >u2 <i4 >i4 <u4 >u4 <i8 >i8 <u8 >u8 "
    "<f2 >f2 <f4 >f4 <f8 >f8 <c8 >c8 <c16 >c16 enum bfloat16"
).split()
LIBVERS: list[Any] = ["earliest", ("v110", "v110"), "latest"]


@dataclass(frozen=True, slots=True)
class Layout:
    """One data set as h5py is to write it."""

    shape: tuple[int, ...]
    dtype: str
    """NumPy's, ``enum``, or ``bfloat16``."""
    chunks: tuple[int, ...] | None
    """None: contiguous."""
    filters: str
    maxshape: str
    """``fixed``, ``first`` axis without an end, or ``all``."""
    written: tuple[tuple[int, int], ...] | None
    """Samples that are written, (first, last); None: nothing ever, not even a place."""
    resized: int
    """Samples at last, as many more or fewer."""
    bare: int
    """So many of the first chunks are written without filters."""
    libver: Any
    user_block: int
    seed: int


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    shape = (draw(st.integers(1, 9)), *draw(st.lists(st.integers(1, 6), max_size=3)))
    if draw(st.integers(0, 7)) == 0:
        empty = draw(st.integers(0, len(shape) - 1))
        shape = (*shape[:empty], 0, *shape[empty + 1 :])
    chunks = draw(st.none() | st.tuples(*[st.integers(1, 8) for _ in shape]))
    maxshape = draw(st.sampled_from(["fixed", "first", "all"]))
    if chunks is not None:
        bounded = {"fixed": 0, "first": 1, "all": len(shape)}[maxshape]
        chunks = tuple(
            side if axis < bounded else max(1, min(side, whole))
            for axis, (side, whole) in enumerate(zip(chunks, shape, strict=True))
        )
        if any(c > s for c, s in zip(chunks[bounded:], shape[bounded:], strict=True)):
            maxshape = "all"
    spans = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda s: tuple(sorted(s)))
    return Layout(
        shape=shape,
        dtype=draw(st.sampled_from(TYPES)),
        chunks=chunks,
        filters="none" if chunks is None else draw(st.sampled_from(list(FILTERS))),
        maxshape="fixed" if chunks is None else maxshape,
        written=draw(st.none() | st.just(((0, 9),)) | st.lists(spans, max_size=3).map(tuple)),
        resized=draw(st.integers(-4, 4)) if chunks is not None and maxshape != "fixed" else 0,
        bare=draw(st.sampled_from([0, 0, 1, 2])),
        libver=draw(st.sampled_from(LIBVERS)),
        user_block=draw(st.sampled_from([0, 0, 512, 2048])),
        seed=draw(st.integers(0, 9)),
    )


def dtype_of(name: str) -> np.dtype[Any]:
    if name == "enum":
        return h5py.enum_dtype({"cat": 0, "dog": 1, "bird": 300}, basetype="<i2")
    if name == "bfloat16":
        return np.dtype("<f4")  # as h5py gives and takes them
    return np.dtype(name)


def values_of(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Any bits, NaN and such among them; truth values are 0 or 1."""
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    size = math.prod(shape) * dtype.itemsize
    # Few different bytes, so that compressors compress.
    return rng.choice(np.array([0, 1, 63, 128, 255], np.uint8), size).view(dtype).reshape(shape)


def write(path: Path, layout: Layout) -> None:
    rng = np.random.default_rng(layout.seed)
    dtype = dtype_of(layout.dtype)
    maxshape = {
        "fixed": layout.shape,
        "first": (None, *layout.shape[1:]),
        "all": (None,) * len(layout.shape),
    }[layout.maxshape]
    options: dict[str, Any] = dict(FILTERS[layout.filters])
    if layout.chunks is not None:
        options |= {"chunks": layout.chunks, "maxshape": maxshape}
    fill = values_of(rng, (1,), dtype)[0]
    with h5py.File(path, "w", libver=layout.libver, userblock_size=layout.user_block) as file:
        kind = h5py.Datatype(bfloat16.h5_type()) if layout.dtype == "bfloat16" else dtype
        data = file.create_dataset(KEY, layout.shape, kind, fillvalue=fill, **options)
        for first, last in layout.written or ():
            data[first:last] = values_of(rng, data[first:last].shape, dtype)
        if layout.resized:
            data.resize(max(1, layout.shape[0] + layout.resized), axis=0)
        if layout.chunks is not None and layout.written is not None:
            write_bare(data, layout.bare, rng)


def write_bare(data: h5py.Dataset, count: int, rng: np.random.Generator) -> None:
    """Write some chunks as they are, with the mask that says so."""
    filters = data.id.get_create_plist().get_nfilters()
    corner = [0] * data.ndim
    for row in range(min(count, -(-len(data) // data.chunks[0])) if filters and data.size else 0):
        corner[0] = row * data.chunks[0]
        stored = np.dtype("<u2") if bfloat16.is_stored(data) else data.dtype
        values = values_of(rng, data.chunks, stored)
        data.id.write_direct_chunk(tuple(corner), values.tobytes(), (1 << filters) - 1)


@contextmanager
def samples_of(path: Path) -> Iterator[Any]:
    """The samples of a data set that `celeiro.open` refuses, having no values to train on."""
    file = File(path)
    with hdf5.reading(path) as opened:
        yield samples_in(opened[KEY], Way(FileSource(file), 2))
    file.close()


def same(found: Any, expected: Any) -> bool:
    """Bit for bit, in this machine's byte order; NaN equals itself."""
    native = np.asarray(expected, expected.dtype.newbyteorder("="))
    return found.dtype == native.dtype and (found.shape, found.tobytes()) == (
        native.shape,
        native.tobytes(),
    )


def same_numbers(found: Any, expected: Any) -> bool:
    """The same for bfloat16, of whose NaNs HDF5 makes others than celeiro."""
    nothing = np.isnan(expected)
    return same(np.isnan(found), nothing) and same(
        np.where(nothing, 0, found), np.where(nothing, 0, expected)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("layouts")


@settings(max_examples=150)
@given(layout=layouts(), data=st.data())
def test_any_layout_reads_as_h5py_reads_it(
    layout: Layout, data: st.DataObject, folder: Path
) -> None:
    path = folder / "any.h5"
    alike = same_numbers if layout.dtype == "bfloat16" else same
    try:
        write(path, layout)
    except (ValueError, OSError):
        # HDF5 writes no such thing: szip of few values, or of types that it does not know.
        if layout.filters == "szip":
            return
        raise
    with h5py.File(path) as file:
        expected = file[KEY][()]
    count = len(expected)
    indices = data.draw(
        st.lists(st.integers(-count, count - 1), max_size=12) if count else st.just([])
    )
    wanted = expected[np.array(indices, int)]
    if not expected.size:
        with samples_of(path) as samples:
            out = np.empty((len(indices), *samples.shape), samples.dtype)
            samples.read(np.array(indices, np.int64) % max(1, count), out)
        assert alike(out, wanted)
        return
    span = slice(*data.draw(st.tuples(*[st.integers(-10, 10)] * 2, st.sampled_from([1, 2, -1]))))
    with celeiro.open(path, KEY, workers=data.draw(st.sampled_from([1, 2, 5]))) as ds:
        assert (ds.shape, ds.labels, ds.store) == (expected.shape, None, "hdf5")
        assert alike(ds.read(indices), wanted)
        out = np.full(wanted.shape, 1, ds.dtype)
        assert ds.read(indices, out=out) is out
        assert alike(out, wanted)
        assert alike(ds[span][0], expected[span])
        view = ds.select(indices)
        assert alike(view.read(np.arange(len(view))[::-1]), wanted[::-1])
        for i in indices[:3]:
            assert alike(np.asarray(ds[i][0]), np.asarray(expected[i]))


# What h5py's own interface does not make


def create(file: h5py.File, values: Any, chunks: tuple[int, ...] | None, *edits: Any) -> Any:
    """A data set whose property list the `edits` change, through HDF5's own interface."""
    plist = h5p.create(h5p.DATASET_CREATE)
    if chunks:
        plist.set_chunk(chunks)
    for edit in edits:
        edit(plist)
    space = h5s.create_simple(values.shape)
    made = h5d.create(
        file.id, KEY.encode(), h5t.py_create(values.dtype, logical=True), space, plist
    )
    data = h5py.Dataset(made)
    data[...] = values
    return data


def numbers(*shape: int, dtype: str = "<u2") -> Any:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def assert_reads_as_h5py(path: Path, **options: Any) -> None:
    with h5py.File(path) as file:
        expected = file[KEY][()]
    count = len(expected)
    with celeiro.open(path, KEY, **options) as ds:
        assert ds.shape == expected.shape
        for indices in ([], [0], [-1, 0, 0, count // 2], list(range(count))[::-1]):
            assert same(ds.read(indices), expected[np.array(indices, int)])
        assert same(ds.read(np.arange(count) % 2 == 0), expected[::2])
        assert same(ds[1:3][0], expected[1:3])


@pytest.mark.parametrize("dtype", ["?", "<u2", ">f8", "<c8"])
def test_a_compact_data_set_is_read(
    dtype: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        create(file, numbers(5, 3, dtype=dtype), None, lambda p: p.set_layout(h5d.COMPACT))
    assert_reads_as_h5py(tmp_path / "a.h5")
    assert not caplog.records


def test_a_place_that_is_given_before_anything_is_written_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        plist = h5p.create(h5p.DATASET_CREATE)
        plist.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        plist.set_fill_value(np.array(7, "<u2"))
        h5d.create(file.id, KEY.encode(), h5t.STD_U16LE, h5s.create_simple((6, 4)), plist)
    assert_reads_as_h5py(tmp_path / "a.h5")


@pytest.mark.parametrize("dtype", ["<u2", ">i4", "<f8"])
def test_shuffle_alone_is_undone(dtype: str, tmp_path: Path, caplog: Any) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset(KEY, data=numbers(6, 4, dtype=dtype), chunks=(2, 4), shuffle=True)
    assert_reads_as_h5py(tmp_path / "a.h5")
    assert not caplog.records


@pytest.mark.parametrize("mask", [0b01, 0b10, 0b11])
def test_a_chunk_that_went_without_one_of_its_filters_is_read(mask: int, tmp_path: Path) -> None:
    values = numbers(6, 4)
    raw = values[2:4].tobytes()
    if not mask & 1:
        raw = np.frombuffer(raw, np.uint8).reshape(-1, 2).T.tobytes()
    if not mask & 2:
        raw = zlib.compress(raw)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset(
            KEY, data=values, chunks=(2, 4), shuffle=True, compression="gzip"
        )
        data.id.write_direct_chunk((2, 0), raw, mask)
    with h5py.File(tmp_path / "a.h5") as file:
        assert (file[KEY][()] == values).all()
    assert_reads_as_h5py(tmp_path / "a.h5")


def do_not_filter_partial_chunks(plist: Any) -> None:
    """H5Pset_chunk_opts, which h5py does not pass on."""
    libraries = Path(h5py.__file__).parents[1] / "h5py.libs"
    library = next((p for p in libraries.glob("libhdf5-*")), None)
    if library is None:
        pytest.skip("h5py comes without its own HDF5")
    call = ctypes.CDLL(str(library)).H5Pset_chunk_opts
    assert call(ctypes.c_int64(plist.id), ctypes.c_uint(2)) == 0


@pytest.mark.parametrize("shape", [(3, 6), (4, 6)])
@pytest.mark.parametrize("gzip", [True, False])
def test_partial_chunks_that_went_without_filters_are_read(
    gzip: bool, shape: tuple[int, int], tmp_path: Path
) -> None:
    edits = [lambda p: p.set_shuffle(), do_not_filter_partial_chunks]
    if gzip:
        edits.insert(1, lambda p: p.set_deflate(4))
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        create(file, numbers(*shape), (2, 4), *edits)
    assert_reads_as_h5py(tmp_path / "a.h5")


def test_a_long_axis_of_chunks_that_were_never_written_costs_neither_time_nor_memory(
    tmp_path: Path,
) -> None:
    count = 600_000
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset(KEY, (3, count // 3), "u1", chunks=(1, 1), fillvalue=7)[1, 5] = 1
    tracemalloc.start()  # which is slow: so only what is in proportion to the chunks is counted
    try:
        with celeiro.open(tmp_path / "a.h5", KEY) as ds:
            taken = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            found = ds.read([1])
    finally:
        tracemalloc.stop()
    assert taken < 64 * count  # the table is 16 bytes a chunk, and masks and such for a moment
    assert found[0, 5] == 1
    assert found.sum() == 7 * (count // 3 - 1) + 1


# What only HDF5 reads


def custom_float(file: h5py.File, values: Any) -> None:
    """A float of 16 bits that differs from bfloat16 in its bias alone."""
    kind = h5t.IEEE_F32LE.copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_size(2)
    kind.set_ebias(120)
    made = h5d.create(file.id, KEY.encode(), kind, h5s.create_simple(values.shape))
    h5py.Dataset(made)[...] = values


def virtual(file: h5py.File, values: Any) -> None:
    """A virtual data set of two files beside it, and one that is missing."""
    path = Path(file.filename)
    count = len(values) // 3
    layout = h5py.VirtualLayout(values.shape, values.dtype)
    for number in range(3):
        part = values[number * count : (number + 1) * count]
        name = path.with_name(f"part{number}.h5")
        if number < 2:
            with h5py.File(name, "w") as beside:
                beside["part"] = part
        source = h5py.VirtualSource(name.name, "part", part.shape, part.dtype)
        layout[number * count : (number + 1) * count] = source
    file.create_virtual_dataset(KEY, layout, fillvalue=9)


def of_itself(file: h5py.File, values: Any) -> None:
    file["part"] = values
    layout = h5py.VirtualLayout(values.shape, values.dtype)
    layout[...] = h5py.VirtualSource(file["part"])
    file.create_virtual_dataset(KEY, layout)


def option(**options: Any) -> Any:
    return lambda file, values: file.create_dataset(KEY, data=values, chunks=(2, 8, 8), **options)


FALLBACKS = {
    "scaleoffset": ("<u2", option(scaleoffset=0)),
    "nbit": (
        "<u2",
        lambda file, values: create(
            file, values, (2, 8, 8), lambda p: p.set_filter(h5py.h5z.FILTER_NBIT)
        ),
    ),
    "zfp": ("<f4", option(compression=hdf5plugin.Zfp(reversible=True))),
    "Blosc2": (">f4", option(compression=hdf5plugin.Blosc2())),
    "custom float": ("<f4", custom_float),
    "virtual": ("<u2", virtual),
    "virtual, of itself": (">u2", of_itself),
}


@pytest.mark.parametrize("name", FALLBACKS)
def test_what_only_hdf5_reads_is_read_and_said_once(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dtype, make = FALLBACKS[name]
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        make(file, numbers(6, 8, 8, dtype=dtype))
    assert_reads_as_h5py(tmp_path / "a.h5")
    said = [r for r in caplog.records if r.name.startswith("celeiro")]
    assert [(r.name, r.levelno) for r in said] == [(LOGGER, logging.WARNING)]
    assert "celeiro doctor" in said[0].getMessage()
    assert repr(f"/{KEY}") in said[0].getMessage()


def test_a_sample_that_hdf5_cannot_read_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    rows = numbers(6, 8, 8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        options = {"chunks": (1, 8, 8), "compression": hdf5plugin.Blosc2()}
        data = file.create_dataset(KEY, data=rows, **options)
        data.id.write_direct_chunk((4, 0, 0), b"damage")
    with celeiro.open(tmp_path / "a.h5", KEY) as ds:
        with pytest.raises(SampleError, match=r"a\.h5: sample 4: HDF5 says: ") as caught:
            ds.read([0, 4, 5])
        assert caught.value.sample == 4
        assert same(ds.read([5, 0]), rows[[5, 0]])


def test_a_data_set_of_which_hardly_a_chunk_was_written_is_left_to_hdf5(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeiro.format.index._MOST_MISSING", 10)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset(KEY, (30, 4), "i4", chunks=(1, 4), fillvalue=-1)[7] = 3
    assert_reads_as_h5py(tmp_path / "a.h5")
    assert "never written" in caplog.text


# What is refused


def external(file: h5py.File, name: str = KEY, secret: str = "secret") -> None:
    file.create_dataset(name, (6, 8), "u1", external=[(secret, 0, 48)])


def virtual_of(source: str, dataset: str = "part", name: str = KEY) -> Any:
    def make(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((6, 8), "u1")
        layout[...] = h5py.VirtualSource(source, dataset, (6, 8), "u1")
        file.create_virtual_dataset(name, layout)

    return make


def virtual_over(make: Any, source: str = ".") -> Any:
    """A virtual data set of one in the same file that leads out."""

    def both(file: h5py.File) -> None:
        make(file)
        virtual_of(source)(file)

    return both


def virtual_of_any_number(file: h5py.File) -> None:
    with h5py.File(Path(file.filename).with_name("part-0.h5"), "w") as beside:
        beside["part"] = np.zeros((2, 8), "u1")
    plist = h5p.create(h5p.DATASET_CREATE)
    space = h5s.create_simple((6, 8), (h5s.UNLIMITED, 8))
    space.select_hyperslab((0, 0), (h5s.UNLIMITED, 1), stride=(2, 1), block=(2, 8))
    plist.set_virtual(space, b"part-%b.h5", b"part", h5s.create_simple((2, 8)))
    h5d.create(file.id, KEY.encode(), h5t.STD_U8LE, space, plist)


LEADS_OUT = {
    "external storage": external,
    "virtual, an absolute path": virtual_of("/etc/hostname.h5"),
    "virtual, the folder above": virtual_of("../other.h5"),
    "virtual, further above": virtual_of("sub/../../other.h5"),
    "virtual, of Windows": virtual_of("C:\\other.h5"),
    "virtual, names that count": virtual_of_any_number,
    "virtual over external": virtual_over(lambda file: external(file, "part")),
    "virtual over virtual": virtual_over(virtual_of("/etc/hostname.h5", "z", "part")),
    "virtual over an external link": virtual_over(
        lambda file: file.__setitem__("part", h5py.ExternalLink("/etc/hostname.h5", "z"))
    ),
    "virtual over itself": virtual_of(".", KEY),
}


@pytest.mark.parametrize("name", LEADS_OUT)
def test_what_is_kept_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s" * 48)
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        LEADS_OUT[name](file)
    with pytest.raises(FormatError, match=r"a\.h5.*(h5repack|copy)"):
        celeiro.open(tmp_path / "a.h5", KEY)


def test_a_file_beside_it_that_leads_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s" * 48)
    with h5py.File(tmp_path / "part.h5", "w") as file:
        external(file, "part")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        virtual_of("part.h5")(file)
    with pytest.raises(FormatError, match=r"a\.h5.*part\.h5.*external"):
        celeiro.open(tmp_path / "a.h5", KEY)


NO_ROWS: dict[str, Any] = {
    "text": {"data": ["text"] * 6},
    "text of one length": {"data": np.array([b"text"] * 6)},
    "rows of any length": {"shape": (6,), "dtype": h5py.vlen_dtype("i4")},
    "records": {"shape": (6,), "dtype": np.dtype([("a", "i4"), ("b", "f4")])},
    "arrays": {"shape": (6,), "dtype": np.dtype(("i4", (2,)))},
    "one number": {"data": 3},
    "nothing": {"data": h5py.Empty("f4")},
    "no sample": {"shape": (0, 3), "dtype": "u1"},
    "empty samples": {"shape": (3, 0), "dtype": "u1"},
}


@pytest.mark.parametrize("name", [*NO_ROWS, "a group", "not there"])
def test_what_is_no_row_of_numbers_is_refused(name: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        if name == "a group":
            file.create_group(KEY)
        elif name in NO_ROWS:
            file.create_dataset(KEY, **NO_ROWS[name])
    with pytest.raises(FormatError, match=r"a\.h5"):
        celeiro.open(tmp_path / "a.h5", KEY)


def test_labels_of_a_foreign_file_that_are_damaged_are_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = numbers(6, 4, 4)
        labels = file.create_dataset("labels", data=np.arange(6), chunks=(2,), compression="gzip")
        labels.id.write_direct_chunk((4,), b"damage")
    with celeiro.open(tmp_path / "a.h5") as ds:
        assert same(ds.read([5]), numbers(6, 4, 4)[[5]])
        with pytest.raises(SampleError, match=r"a\.h5: '/labels', row 4: ") as caught:
            _ = ds.labels
        assert caught.value.sample == 4
