"""What is told of a file is so, what is measured is bounded, and what is advised keeps values."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

import celeiro
from celeiro.care.doctor import command, doctor, findings, recommend, too_large
from celeiro.care.measuring import anatomy, costs, pace, plain
from celeiro.care.measuring.anatomy import Colors, Labels, Layout, Values
from celeiro.care.measuring.costs import CELEIRO, H5PY_BATCHES, H5PY_SINGLE, Cost, Tried
from celeiro.errors import FormatError, OptionError
from celeiro.format import filters, layout
from celeiro.reading.samples.fallback import FallbackSamples

QUICK = 0.01  # seconds of a measurement: here it is what is told, not how fast, that matters


@pytest.fixture
def file_with(tmp_path):
    """A factory: a file with a data set `images`, and whatever else a function puts into it."""

    def make(values=None, fill=None, *, name="a.h5", userblock_size=0, **options):
        path = tmp_path / name
        with h5py.File(path, "w", userblock_size=userblock_size) as file:
            if values is not None:
                file.create_dataset("images", data=values, **options)
            if fill is not None:
                fill(file)
        return path

    return make


@pytest.fixture
def no_process(monkeypatch):
    """For what is not about h5py: its process takes half a second."""
    monkeypatch.setattr(plain, "measure", lambda _: {plain.SINGLE: plain.Step(30, 0.1)})


def pictures(count=40, shape=(8, 8, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def layout_in(path, key=None):
    with celeiro.open(path, key) as ds:
        return anatomy.layout_of(ds), ds._opened.contents.samples


# Layout


@pytest.mark.parametrize(
    ("chunks", "samples", "pieces", "times"),
    [
        (None, None, None, 1.0),
        ((1, 8, 8, 3), 1, 1, 1.0),
        ((32, 8, 8, 3), 32, 1, 32.0),
        ((1, 4, 4, 3), 1, 4, 1.0),
        ((4, 8, 4, 1), 4, 6, 4.0),
        ((1, 5, 8, 3), 1, 2, 1.25),
    ],
)
def test_chunks_are_held_against_samples(file_with, chunks, samples, pieces, times):
    found, _ = layout_in(file_with(pictures(), chunks=chunks))
    assert found.form == ("chunked" if chunks else "contiguous")
    assert found.chunks == chunks
    assert (found.samples_a_chunk, found.chunks_a_sample) == (samples, pieces)
    assert found.amplification == times
    assert found.raw_bytes == 40 * 8 * 8 * 3


def test_filters_are_told_by_name(file_with):
    path = file_with(pictures(), chunks=True, compression="gzip", shuffle=True, fletcher32=True)
    assert layout_in(path)[0].filters == ("shuffle", "gzip", "fletcher32")


def virtual(file):
    file["there"] = pictures()
    form = h5py.VirtualLayout((40, 8, 8, 3), np.uint8)
    form[:] = h5py.VirtualSource(file["there"])
    file.create_virtual_dataset("images", form)


@pytest.mark.parametrize(
    ("dtype", "options", "plain"),
    [
        ("u1", {}, True),
        ("=f4", {}, True),
        (">f4" if sys.byteorder == "little" else "<f4", {}, False),
        ("?", {}, False),
        ("u1", {"chunks": (1, 8, 8, 3)}, False),
    ],
)
def test_what_stands_as_in_memory_is_told_from_the_rest(file_with, dtype, options, plain):
    assert layout_in(file_with(pictures().astype(dtype), **options))[0].plain == plain


@pytest.mark.parametrize(
    ("values", "fill", "options", "why"),
    [
        (pictures(), None, {"chunks": True, **hdf5plugin.Blosc2()}, "filter 32026"),
        (None, virtual, {}, "it is a virtual data set"),
        (pictures(), None, {"chunks": True, "compression": "lzf"}, None),
        (pictures(), None, {}, None),
    ],
)
def test_hdf5_is_said_to_be_asked_exactly_where_it_is(file_with, values, fill, options, why):
    found, samples = layout_in(file_with(values, fill, **options), "images")
    assert isinstance(samples, FallbackSamples) == (why is not None) == bool(found.asks_hdf5)
    assert (found.asks_hdf5 or "").startswith(why or "")


# Values


@pytest.mark.parametrize(
    ("values", "what", "fits", "scale"),
    [
        (np.array([0.0, 7.0, 255.0]), "whole numbers", "uint8", 1),
        (np.array([0.0, 7.0, 256.0]), "whole numbers", "uint16", 1),
        (np.array([-1.0, 7.0, 100.0]), "whole numbers", "int8", 1),
        (np.array([0, 7, 255]), "whole numbers", "uint8", 1),
        (np.array([0, 7, 255], np.uint16), "whole numbers", "uint8", 1),
        (np.array([0, 7, 255], np.uint8), "whole numbers", None, 1),
        (np.array([0, 7, 300], np.uint16), "whole numbers", None, 1),
        (np.arange(256) / 255, "whole numbers / 255", "uint8", 255),
        (np.arange(256, dtype=np.float32) / 255, "whole numbers / 255", "uint8", 255),
        (np.arange(256, dtype=np.float32) * np.float32(1 / 255), "whole numbers / 255", "uint8",
         255),
        ((np.arange(256) / 255).astype(np.float16), "whole numbers / 255", "uint8", 255),
        (np.arange(256) / 127.5 - 1, "whole numbers / 127.5 - 1", "uint8", 127.5),
        (np.linspace(0, 1, 1000).astype(np.float16), "", None, 1),
        (np.linspace(0, 1, 1000, dtype=np.float32), "", None, 1),
        (np.linspace(0, 1, 1000, dtype=np.float32).astype(np.float64), "", "float32", 1),
        (np.linspace(0, 1, 1000), "", None, 1),
        (np.array([0.0, np.nan]), "some are no numbers, or infinite", None, 1),
        (np.array([0.0, np.inf]), "some are no numbers, or infinite", None, 1),
        (np.array([0.0, 1e300]), "", None, 1),
        (np.array([True, False]), "", None, 1),
        (np.array([1j]), "", None, 1),
        (np.array([], np.float32), "", None, 1),
    ],
)  # fmt: skip
def test_values_are_held_against_their_type(values, what, fits, scale):
    with np.errstate(over="ignore"):
        found = anatomy.values_of(values)
    assert (found.what, found.fits, found.scale) == (what, fits, scale)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(("divided", "less"), [(1, 0), (255, 0), (127.5, 1)])
def test_what_is_narrowed_is_the_whole_numbers_again(dtype, divided, less):
    whole = np.arange(256)
    samples = (whole / divided - less).astype(dtype)
    found = anatomy.values_of(samples)
    assert np.array_equal(anatomy.narrowed(samples, found), whole)


# Colours


def image(subclass, **more):
    def fill(file):
        attributes = {"CLASS": "IMAGE", "IMAGE_SUBCLASS": subclass, **more}
        for name, value in attributes.items():
            file["images"].attrs[name] = np.bytes_(value)

    return fill


@pytest.mark.parametrize(
    ("shape", "fill", "order", "axis", "why"),
    [
        ((8, 8, 3), None, "", "last", "which the file does not say"),
        ((3, 8, 8), None, "", "first", "PyTorch"),
        ((8, 8), None, "GRAY", "", "one channel"),
        ((8, 8, 1), None, "GRAY", "last", "one channel"),
        ((8, 8, 9), None, "", "", "no pictures"),
        ((8,), None, "", "", "no pictures"),
        ((8, 8, 3), image("IMAGE_TRUECOLOR"), "RGB", "last", "attributes"),
        ((8, 8, 3), image("IMAGE_TRUECOLOR", IMAGE_COLORMODEL="YUV"), "", "last", "attributes"),
        ((3, 8, 8), image("IMAGE_TRUECOLOR", INTERLACE_MODE="INTERLACE_PLANE"), "RGB", "first",
         "attributes"),
        ((8, 8), image("IMAGE_GRAYSCALE"), "GRAY", "", "attributes"),
        ((8, 8, 3), image("IMAGE_INDEXED"), "", "last", "does not say"),
    ],
)  # fmt: skip
def test_colours_are_told_as_far_as_the_file_tells(file_with, shape, fill, order, axis, why):
    with celeiro.open(file_with(pictures(shape=shape), fill), "images") as ds:
        found = anatomy.colors_of(ds)
    assert (found.order, found.axis) == (order, axis)
    assert why in found.why


def test_axes_of_matlab_are_said_to_be_turned_round(file_with):
    def fill(file):
        file["images"].attrs["MATLAB_class"] = np.bytes_("uint8")

    path = file_with(pictures(shape=(3, 8, 9)), fill, userblock_size=512)
    with celeiro.open(path) as ds:
        assert "(N, C, W, H)" in anatomy.colors_of(ds).why


def test_the_jpeg_filter_says_the_colours(file_with):
    options = filters.jpeg_options(90, 16, 16, filters.RGB)
    path = file_with(
        pictures(shape=(16, 16, 3)), chunks=(1, 16, 16, 3), compression=filters.JPEG,
        compression_opts=options,
    )  # fmt: skip
    with celeiro.open(path) as ds:
        assert anatomy.colors_of(ds) == Colors("RGB", "last", "the JPEG filter decodes to it")


def test_a_text_that_claims_any_length_is_not_read(file_with):
    def fill(file):
        file["images"].attrs["CLASS"] = "IMAGE"  # of variable length

    with celeiro.open(file_with(pictures(), fill)) as ds:
        assert anatomy.colors_of(ds).order == ""


# Labels

SHUFFLED = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 100))


@pytest.mark.parametrize(
    ("labels", "classes", "is_sorted"),
    [
        (np.repeat([0, 1], 50), 2, True),
        (np.repeat(np.arange(10), 100), 10, True),
        (np.repeat(np.arange(10), 100)[::-1].astype(float), 10, True),
        (np.eye(2)[np.repeat([0, 1], 50)], 2, True),
        (SHUFFLED, 10, False),
        (np.tile([0, 1], 50), 2, False),
        (np.zeros(100, int), 1, False),
        (np.repeat([0, 1], 5), 2, False),  # so few that chance may do it
    ],
)
def test_sorted_labels_are_told_from_others(labels, classes, is_sorted):
    found = anatomy.labels_of(labels)
    assert (found.classes, found.sorted) == (classes, is_sorted)


def test_the_measure_is_neighbours_against_chance():
    found = anatomy.labels_of(np.array([0, 0, 0, 1]))
    assert found == Labels(2, 2 / 3, 10 / 16, sorted=False)


@pytest.mark.parametrize(
    "labels",
    [None, np.arange(100), np.linspace(0, 1, 100), np.array([np.nan] * 9), np.ones((9, 2)),
     np.ones((9, 2, 2)), np.array([1]), np.array([1j, 2j])],
)  # fmt: skip
def test_what_is_no_class_is_not_judged(labels):
    assert anatomy.labels_of(labels) is None


# Which samples


def test_the_same_samples_are_picked_each_time_within_the_budget():
    chosen = pace.pick(100, 10_000, most=50, budget=2_000)
    assert chosen == pace.pick(100, 10_000, most=50, budget=2_000)
    assert len(chosen) == len(set(chosen)) == 20
    assert all(0 <= number < 10_000 for number in chosen)


def test_samples_that_are_too_large_are_passed_over():
    sizes = np.array([10, 2 * pace.LARGEST, 10])
    assert sorted(pace.pick(sizes, 3, most=3, budget=100)) == [0, 2]
    assert pace.pick(pace.LARGEST, 3, most=3, budget=100) != []  # one in any case
    assert pace.pick(pace.LARGEST + 1, 3, most=3, budget=100) == []


def test_a_run_ends_when_time_is_up_and_reads_one_batch_at_least():
    read = []
    found = pace.run(read.append, pace.batches(range(10), 4), 0.0)
    assert [batch.tolist() for batch in read] == [[0, 1, 2, 3]]
    assert found.samples == 4


# Plain h5py


def request(path, **changes):
    rows = tuple(range(30))
    return plain.Request(**{"path": str(path), "key": "images", "rows": rows, "batch": 8,
                            "seconds": QUICK} | changes)  # fmt: skip


def test_h5py_is_not_what_lies_in_the_current_folder(file_with, tmp_path, monkeypatch):
    path = file_with(pictures())
    folder = tmp_path / "hostile"
    folder.mkdir()
    (folder / "h5py.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(folder)
    assert plain.measure(request(path))[plain.SINGLE].error == ""


def test_h5py_is_timed_one_by_one_and_in_batches(file_with):
    found = plain.measure(request(file_with(pictures())))
    assert found.keys() == {plain.SINGLE, plain.BATCHES}
    for step in found.values():
        assert step.samples > 0
        assert step.seconds > 0
        assert step.error == ""
    assert found[plain.BATCHES].batch == 8


def crashing(file):
    """Chunks that decode to far less than they should: HDF5 reads on behind their memory."""
    data = file.create_dataset("images", (9, 4000, 4000), np.uint8, chunks=(1, 4000, 4000),
                               compression="gzip")  # fmt: skip
    for number in range(9):
        data.id.write_direct_chunk((number, 0, 0), zlib.compress(b"short"))


def test_a_crash_of_hdf5_is_a_message(file_with):
    found = plain.measure(request(file_with(fill=crashing), rows=tuple(range(9))))
    assert found[plain.SINGLE].error.startswith("HDF5 ")
    assert found[plain.SINGLE].samples == 0


def test_a_process_that_dies_is_a_message(file_with, monkeypatch):
    monkeypatch.setattr(plain, "_PROGRAM", "import os; os.abort()")
    found = plain.measure(request(file_with(pictures())))
    assert found[plain.SINGLE].error in ("HDF5 crashed (SIGABRT)", "HDF5 ended with code 3")


def test_a_process_that_hangs_is_stopped(file_with, monkeypatch):
    monkeypatch.setattr(plain, "_PROGRAM", "import time; time.sleep(100)")
    monkeypatch.setattr(plain, "_STARTING", 0.1)
    found = plain.measure(request(file_with(pictures())))
    assert "was stopped after" in found[plain.SINGLE].error


def test_what_was_measured_before_it_was_stopped_is_kept(file_with, monkeypatch):
    program = (
        'import sys, time; print(\'["single", {"samples": 5, "seconds": 0.5}]\', flush=True); '
        "time.sleep(100)"
    )
    monkeypatch.setattr(plain, "_PROGRAM", program)
    monkeypatch.setattr(plain, "_STARTING", 0.5)
    found = plain.measure(request(file_with(pictures()), batch=0))
    assert found == {plain.SINGLE: plain.Step(5, 0.5)}


def test_an_error_of_hdf5_is_told(file_with):
    found = plain.measure(request(file_with(pictures()), key="nothing"))
    assert found[plain.SINGLE].error.startswith("HDF5 says: ")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux bounds memory")
def test_a_chunk_that_decodes_to_gigabytes_is_an_error_there(file_with):
    def fill(file):
        data = file.create_dataset("images", (1, 1 << 28), np.uint8, chunks=(1, 1 << 28),
                                   compression="gzip")  # fmt: skip
        data.id.write_direct_chunk((0, 0), zlib.compress(bytes(1 << 24), 1))

    found = plain.measure(request(file_with(fill=fill), rows=(0, 0), memory=1 << 26))
    assert found[plain.SINGLE].error.startswith("HDF5 says: Unable to allocate")


# What each store would cost


@pytest.mark.parametrize("store", ["pixels", "jpeg", "lossless"])
def test_what_a_store_would_weigh_is_what_packing_gives(photo_folder, tmp_path, store):
    made = celeiro.pack(photo_folder(30), tmp_path / "pixels.h5", size=32)
    with celeiro.open(made.path) as ds:
        samples = list(ds.read(range(30)))
    found = costs.of_stores(samples, 3_000, encoded=Cost("encoded"), workers=2, seconds=0.1)
    told = next(cost for cost in found if cost.way == store)
    packed = celeiro.pack(np.tile(samples, (100, 1, 1, 1)), tmp_path / "x.h5", store=store)
    assert told.file_bytes == pytest.approx(packed.file_bytes, rel=0.02)
    assert told.rate > 0
    assert told.seconds == pytest.approx(3_000 / told.rate)


def test_a_store_that_cannot_hold_the_samples_says_why():
    samples = [np.zeros((5, 7), np.float32)] * 3
    found = costs.of_stores(samples, 3, encoded=Cost("encoded"), workers=1, seconds=QUICK)
    reasons = {cost.way: cost.why_not for cost in found}
    assert "uint8 pictures" in reasons["jpeg"]
    assert reasons["pixels"] == reasons["lossless"] == ""


def test_pictures_of_many_sizes_need_a_size():
    samples = [np.zeros((5, 7, 3), np.uint8), np.zeros((6, 7, 3), np.uint8)]
    found = costs.of_stores(samples, 2, encoded=Cost("encoded"), workers=1, seconds=QUICK)
    assert [cost.why_not for cost in found].count("pictures of many sizes: give --size") == 3


# What is advised

FAST = Layout("contiguous", None, None, None, 1.0, (), 10**9, 10**9, None, plain=True)
SLOW = Layout("chunked", (32, 8, 8, 3), 32, 1, 32.0, ("gzip",), 10**9, 2 * 10**9, None, plain=False)
BYTES = Values("uint8", 0, 255, "whole numbers", None, 1.0, 0.0)
WIDE = Values("float64", 0, 255, "whole numbers", "uint8", 1.0, 0.0)
SCALED = Values("float32", 0, 1, "whole numbers / 255", "uint8", 255.0, 0.0)


def cost(way, gigabytes, seconds):
    return Cost(way, int(gigabytes * 1e9), seconds, 1000 / seconds, 1000, 256)


def stores(pixels=(1, 10), jpeg=(0.1, 10), lossless=(0.7, 20)):
    return (cost("pixels", *pixels), cost("jpeg", *jpeg), cost("lossless", *lossless),
            Cost("encoded", why_not="none"))  # fmt: skip


@pytest.mark.parametrize(
    ("found", "values", "seconds", "others", "memory", "store"),
    [
        (FAST, BYTES, 11, {}, None, None),
        (SLOW, BYTES, 100, {}, None, "pixels"),
        (FAST, BYTES, 100, {}, None, None),  # the machine was busy
        (replace(FAST, plain=False), BYTES, 100, {}, None, "pixels"),
        (SLOW, BYTES, 14, {}, None, None),  # not worth it
        (SLOW, BYTES, 100, {"lossless": (0.7, 12)}, None, "lossless"),  # alike, and smaller
        (SLOW, BYTES, 100, {"jpeg": (0.1, 1)}, None, "pixels"),  # loses nothing
        (SLOW, BYTES, 100, {}, 10**9, "lossless"),  # pixels do not fit
        (FAST, WIDE, 11, {"pixels": (0.125, 10)}, None, "pixels"),
        (FAST, SCALED, 11, {"pixels": (0.25, 10)}, None, "pixels"),
        (FAST, replace(SCALED, offset=127.5), 11, {"pixels": (0.25, 10)}, None, None),
        (FAST, BYTES, 11, {"lossless": (0.3, 10)}, 10**8, "lossless"),  # waits for the disk
        (FAST, BYTES, 11, {"lossless": (0.3, 10)}, 10**10, None),
        (replace(FAST, asks_hdf5="it is virtual"), BYTES, 10, {}, None, "pixels"),
        (SLOW, BYTES, 0.01, {"pixels": (1, 0.001), "lossless": (1, 0.001)}, None, None),
        (replace(FAST, stored_bytes=1000), WIDE, 10, {"pixels": (1e-7, 10)}, None, None),
    ],
)
def test_what_is_recommended(found, values, seconds, others, memory, store):
    now = cost(CELEIRO, 1, seconds)
    verdict, chosen = recommend(found, values, now, stores(**others), ours=False, memory=memory)
    assert chosen == store
    assert verdict.startswith("repack it: " if store else "nothing to do: ")


def test_a_file_of_ours_needs_nothing():
    slow = cost(CELEIRO, 1, 1000)
    verdict, chosen = recommend(SLOW, WIDE, slow, stores(), ours=True, memory=1)
    assert verdict.startswith("nothing to do")
    assert chosen is None


def test_without_a_sample_nothing_is_recommended():
    none = tuple(Cost(store, why_not="no sample could be read") for store in layout.STORES)
    verdict, chosen = recommend(SLOW, None, Cost(CELEIRO), none, ours=False, memory=None)
    assert verdict.startswith("nothing to recommend")
    assert chosen is None


def test_the_command_can_be_typed_as_it_stands():
    told = command(Path("my photos/a'b.hdf5"), "pixels", WIDE, key="x y", labels="z")
    assert shlex.split(told) == [
        "celeiro", "repack", "my photos/a'b.hdf5", "my photos/a'b-pixels.h5", "--store", "pixels",
        "--dtype", "uint8", "--from-key", "x y", "--labels", "z",
    ]  # fmt: skip
    assert command(Path("a.h5"), "pixels", SCALED).endswith("--dtype uint8 --scale 255")
    for values in (None, BYTES, replace(SCALED, dtype="float16"), replace(SCALED, offset=127.5)):
        assert "--dtype" not in command(Path("a.h5"), "pixels", values)


def said(found=FAST, values=BYTES, labels=None, colors=None, tried=None):
    colors = colors or Colors("", "last", "")
    tried = tried or Tried((1,), [], 1)
    return "\n".join(findings(found, values, labels, colors, tried, ours=False))


def test_findings_tell_what_is_wrong_and_nothing_else():
    assert said() == ""
    assert "32 times its values: a chunk holds 32 samples" in said(SLOW)
    assert "12.5 % of the bytes (125 MB)" in said(values=WIDE)
    assert said(values=SCALED).endswith("if training divides by 255")
    assert said(values=replace(SCALED, scale=127.5, offset=127.5)).endswith("127.5 and takes 1")
    assert "labels are sorted" in said(labels=Labels(2, 1.0, 0.5, sorted=True))
    assert said(labels=Labels(2, 0.5, 0.5, sorted=False)) == ""
    assert "HDF5 must be asked" in said(replace(FAST, asks_hdf5="filter 7"))
    assert "channels stand before" in said(colors=Colors("", "first", "PyTorch"))
    assert "only 1 samples were read: damage" in said(tried=Tried((1,), [], 1, "damage"))
    split = replace(SLOW, amplification=1.0, chunks_a_sample=6)
    assert "6 reads" in said(split)


def test_a_file_beyond_memory_is_told_which_stores_would_fit():
    assert list(too_large(FAST, stores(), 10**10)) == []
    assert list(too_large(FAST, stores(), None)) == []
    (told,) = too_large(FAST, stores(), 2 * 10**8)
    assert "jpeg (100 MB) would fit" in told
    (told,) = too_large(FAST, stores(), 10**6)
    assert "no store would fit" in told


# All of it


def test_a_file_is_diagnosed(file_with):
    def fill(file):
        file["labels"] = np.repeat([0, 1], 100)

    path = file_with(pictures(200).astype(np.float64), fill)
    before = path.read_bytes()
    found = doctor(path, seconds=QUICK, workers=2)
    assert (found.path, found.key, found.shape) == (path, "images", (200, 8, 8, 3))
    assert (found.store, found.dtype, found.file_bytes) == ("hdf5", "float64", len(before))
    assert found.values.fits == "uint8"
    assert found.labels.sorted
    assert [cost.way for cost in found.epochs] == [H5PY_SINGLE, H5PY_BATCHES, CELEIRO]
    assert [cost.way for cost in found.stores] == list(layout.STORES)
    for each in (*found.epochs, *found.stores[:3]):
        assert each.why_not == ""
        assert each.rate > 0
        assert each.seconds == pytest.approx(200 / each.rate)
    assert path.read_bytes() == before
    json.dumps(found.to_json())


@pytest.mark.parametrize("store", layout.STORES)
def test_files_of_ours_are_well(photo_folder, tmp_path, store):
    size = None if store == "encoded" else 16
    path = celeiro.pack(photo_folder(12), tmp_path / "a.h5", size=size, store=store).path
    found = doctor(path, seconds=QUICK)
    assert (found.store, found.command) == (store, None)
    assert found.verdict.startswith("nothing to do")
    assert found.colors.order == "RGB"
    single, batches, ours = found.epochs
    assert single.rate > 0
    assert ours.rate > 0
    assert (batches.rate > 0) == (store != "encoded")
    encoded = found.stores[layout.STORES.index("encoded")]
    assert (encoded.rate > 0) == (store == "encoded")


def test_a_file_that_crashes_hdf5_is_diagnosed(file_with):
    found = doctor(file_with(fill=crashing), seconds=QUICK)
    assert "were read: " in found.findings[0]
    assert found.epochs[2].why_not
    assert found.command is None
    json.dumps(found.to_json())


@pytest.mark.usefixtures("no_process")
def test_one_damaged_sample_is_named_and_the_rest_is_told(file_with):
    path = file_with(pictures(), chunks=(1, 8, 8, 3), compression="gzip")
    with h5py.File(path, "r+") as file:
        file["images"].id.write_direct_chunk((17, 0, 0, 0), b"no gzip")
    found = doctor(path, seconds=0.1)
    assert "sample 17" in found.findings[0]
    assert found.layout.filters == ("gzip",)


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (np.zeros((0, 4, 4), np.uint8), {}),
        (np.zeros(50, np.float32), {}),
        (np.zeros((3, 2), np.complex64), {}),
        (np.zeros((3, 2), bool), {}),
    ],
)
@pytest.mark.usefixtures("no_process")
def test_odd_data_sets_are_diagnosed(file_with, values, options):
    path = file_with(values, **options)
    if not len(values):
        with pytest.raises(FormatError):
            doctor(path, "images", seconds=QUICK)
        return
    found = doctor(path, "images", seconds=QUICK)
    assert found.shape == values.shape
    json.dumps(found.to_json())


def test_chunks_too_large_to_try_are_told(file_with):
    def fill(file):
        file.create_dataset("images", (2, 1 << 29), np.uint8, chunks=(1, 1 << 29),
                            compression="gzip")  # fmt: skip

    found = doctor(file_with(fill=fill), seconds=QUICK)
    assert "too large to try" in found.findings[0]
    assert {cost.tried for cost in found.epochs} == {0}


@pytest.mark.usefixtures("no_process")
def test_labels_that_cannot_be_read_are_a_finding(file_with):
    def fill(file):
        labels = file.create_dataset("labels", data=np.arange(40) % 2, chunks=(40,),
                                     compression="gzip")  # fmt: skip
        labels.id.write_direct_chunk((0,), b"no gzip")

    found = doctor(file_with(pictures(), fill), seconds=QUICK)
    assert found.labels is None
    assert "labels cannot be read" in found.findings[-1]


@pytest.mark.usefixtures("no_process")
def test_nothing_is_left_behind(file_with, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    path = file_with(pictures())
    doctor(path, seconds=QUICK)
    assert list(scratch.iterdir()) == []
    assert sorted(tmp_path.iterdir()) == [path, scratch]


@pytest.mark.usefixtures("no_process")
def test_without_room_for_a_scratch_file_the_rest_is_told(file_with, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    found = doctor(file_with(pictures()), seconds=QUICK)
    assert found.stores[0].why_not.startswith("no scratch file")
    assert found.epochs[2].rate > 0


def test_what_is_no_file_or_no_time_is_refused(tmp_path):
    with pytest.raises(FormatError, match="cannot be read"):
        doctor(tmp_path / "x.h5")
    with pytest.raises(OptionError, match="seconds 0"):
        doctor(tmp_path / "x.h5", seconds=0)


def test_only_stores_that_lose_nothing_are_recommended():
    assert "jpeg" not in {
        recommend(SLOW, BYTES, cost(CELEIRO, 1, 10**6), stores(jpeg=(0.01, s)), ours=False,
                  memory=m)[1]
        for s in (0.001, 1, 100) for m in (None, 10**6, 10**8, 10**10)
    }  # fmt: skip
