"""Packing arrays: sequences, iterables, map-style data sets; with labels or without."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin  # noqa: F401  (reads `lossless`)
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import celeiro
from celeiro.errors import OptionError, ResumeError, RowError, SourceError, SpaceError
from celeiro.storage import local

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Nursery


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.h5"


def images(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 6, 8, 3), np.uint8)


def read(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        found = {name: data[()] for name, data in file.items() if isinstance(data, h5py.Dataset)}
        splits = file.get("splits", {})
        return found | {"splits": {name: rows[()].tolist() for name, rows in splits.items()}}


def work(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


class MapStyle:
    """As a data set of PyTorch: rows on demand, all in the same memory."""

    def __init__(self, rows: np.ndarray, *, labels: bool = True) -> None:
        self.rows, self.labels = rows, labels
        self.memory = np.empty_like(rows[0])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        if type(index) is not int:
            raise TypeError(f"{type(index)}: as lists and many data sets do")
        self.memory[...] = self.rows[index]
        return (self.memory, index % 3) if self.labels else self.memory


def in_one_memory(rows: np.ndarray) -> Iterator[np.ndarray]:
    memory = np.empty_like(rows[0])
    for row in rows:
        memory[...] = row
        yield memory


SOURCES = {
    "ndarray": lambda rows: rows,
    "list": list,
    "tuple": tuple,
    "generator": iter,
    "generator that uses its memory again": in_one_memory,
    "pairs": lambda rows: ((row, i % 3) for i, row in enumerate(rows)),
    "map-style": MapStyle,
    "map-style without labels": lambda rows: MapStyle(rows, labels=False),
    "lists of lists": lambda rows: [row.tolist() for row in rows],
    "transposed": lambda rows: np.asfortranarray(rows),
    "big-endian": lambda rows: rows.astype(">i4"),
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("buffer_size", [1, 500])
def test_any_source_of_arrays_is_packed_in_its_order(
    name: str, buffer_size: int, out: Path
) -> None:
    rows = images(130)
    report = celeiro.pack(SOURCES[name](rows), out, buffer_size=buffer_size)
    found = read(out)
    np.testing.assert_array_equal(found["imagens"], rows)
    assert report.samples == 130
    if name in ("pairs", "map-style"):
        assert found["labels"].tolist() == [i % 3 for i in range(130)]
        assert report.classes == {"0": 44, "1": 43, "2": 43}
    else:
        assert "labels" not in found


def test_an_open_hdf5_data_set_is_a_source(tmp_path: Path) -> None:
    rows = images(9)
    with h5py.File(tmp_path / "old.h5", "w") as old:
        old["x"] = rows
        celeiro.pack(old["x"], tmp_path / "new.h5", store="lossless")
    np.testing.assert_array_equal(read(tmp_path / "new.h5")["imagens"], rows)


@pytest.mark.parametrize("store", ["pixels", "lossless"])
@given(
    rows=hnp.arrays(
        dtype=st.one_of(
            hnp.boolean_dtypes(), hnp.integer_dtypes(endianness="?"),
            hnp.unsigned_integer_dtypes(endianness="?"),
            hnp.floating_dtypes(sizes=(16, 32, 64), endianness="?"), hnp.complex_number_dtypes(),
        ).filter(lambda dtype: dtype.char not in "gG"),
        shape=hnp.array_shapes(min_dims=1, max_dims=5, max_side=6),
    ),
    compressor=st.sampled_from(["zstd", "gzip"]),
)  # fmt: skip
@settings(max_examples=40)
def test_any_array_comes_back_as_it_was(
    store: str, rows: np.ndarray, compressor: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path_factory.mktemp("any") / "out.h5"
    celeiro.pack(rows, out, store=store, compressor=compressor)
    found = read(out)["imagens"]
    assert found.dtype == rows.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, rows)


@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3, st.sampled_from([1, 3])),
    quality=st.integers(1, 100),
    subsampling=st.sampled_from(["444", "422", "420"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=30)
def test_jpeg_rows_are_read_as_libjpeg_decodes_them(
    shape: tuple[int, ...], quality: int, subsampling: Any, seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    out = tmp_path_factory.mktemp("any") / "out.h5"
    rows = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    celeiro.pack(rows, out, store="jpeg", quality=quality, subsampling=subsampling, check="decode")
    with h5py.File(out) as file:
        chunks = [file["imagens"].id.read_direct_chunk((i, 0, 0, 0))[1] for i in range(len(rows))]
    color = "GRAY" if shape[3] == 1 else "RGB"
    wanted = np.stack([simplejpeg.decode_jpeg(c, color).reshape(shape[1:]) for c in chunks])
    found = read(out)
    np.testing.assert_array_equal(found["imagens"], wanted)
    if quality >= 95 and subsampling == "444":
        assert abs(wanted.astype(int) - rows).max() < 40
    np.testing.assert_allclose(found["mean"], wanted.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(found["std"], wanted.std(axis=(0, 1, 2)), rtol=1e-9, atol=1e-12)


def test_hyperspectral_cubes_are_packed_lossless(out: Path) -> None:
    cubes = np.random.default_rng(0).integers(0, 65536, (5, 16, 12, 200), np.uint16)
    celeiro.pack(cubes, out, store="lossless", labels=[0.5, 1, 2, 3, 4])
    found = read(out)
    np.testing.assert_array_equal(found["imagens"], cubes)
    np.testing.assert_array_equal(found["mean"], cubes.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(found["std"], cubes.std(axis=(0, 1, 2)), rtol=1e-12)
    assert found["labels"].tolist() == [0.5, 1, 2, 3, 4]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint32"])
def test_features_have_a_mean_for_each_column(dtype: str, out: Path) -> None:
    rows = (np.random.default_rng(0).normal(0, 30, (70, 33))).astype(dtype)
    celeiro.pack(rows, out, key="features")
    found = read(out)
    np.testing.assert_array_equal(found["features"], rows)
    wanted = rows.astype(np.float64)
    np.testing.assert_allclose(found["mean"], wanted.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found["std"], wanted.std(axis=0), rtol=1e-9)


def test_values_that_cannot_be_averaged_have_no_mean(out: Path) -> None:
    celeiro.pack(np.ones((3, 4), bool), out)
    assert "mean" not in read(out)


def test_not_a_number_in_a_row_makes_its_mean_not_a_number(out: Path) -> None:
    celeiro.pack(np.array([[1.0, np.nan, np.inf], [3, 4, 5]]), out)
    found = read(out)
    np.testing.assert_array_equal(found["mean"], [2, np.nan, np.inf])
    np.testing.assert_array_equal(found["std"], [1, np.nan, np.nan])


@pytest.mark.parametrize(
    ("labels", "stored", "names"),
    [
        (["dog", "cat", "dog"], [1, 0, 1], [b"cat", b"dog"]),
        (np.array(["dog", "cat", "dog"], object), [1, 0, 1], [b"cat", b"dog"]),
        ([b"dog", b"cat", b"dog"], [1, 0, 1], [b"cat", b"dog"]),
        (["ärger", "cat", "cat"], [1, 0, 0], [b"cat", "ärger".encode()]),
        (np.array([7, 8, 9], np.uint64), [7, 8, 9], None),
        ([[0, 1], [1, 1], [0, 0]], [[0, 1], [1, 1], [0, 0]], None),
        (np.eye(3, dtype=bool), np.eye(3).tolist(), None),
        ([0.5, 2, 3], [0.5, 2, 3], None),
    ],
)
def test_labels_given_beside_the_rows(labels: Any, stored: Any, names: Any, out: Path) -> None:
    celeiro.pack(images(3), out, labels=labels)
    found = read(out)
    assert found["labels"].tolist() == stored
    assert found.get("label_names", np.array(None)).tolist() == names


def test_labels_given_beside_win_over_those_that_come_with_the_rows(out: Path) -> None:
    celeiro.pack([(row, "x") for row in images(3)], out, labels=[5, 6, 7])
    assert read(out)["labels"].tolist() == [5, 6, 7]


def test_label_names_number_the_labels_of_text(out: Path) -> None:
    report = celeiro.pack(
        images(3), out, labels=["dog", "cat", "dog"], label_names=["dog", "emu", "cat"]
    )
    assert read(out)["labels"].tolist() == [0, 2, 0]
    assert read(out)["label_names"].tolist() == [b"dog", b"emu", b"cat"]
    assert report.classes == {"dog": 2, "emu": 0, "cat": 1}


def test_labels_of_text_that_come_with_the_rows_may_differ_in_length(out: Path) -> None:
    texts = ["a", "bb", "a", "ccc", "dddd"] * 30
    celeiro.pack(list(zip(images(150), texts, strict=True)), out, buffer_size=4)
    found = read(out)
    assert [found["label_names"][i].decode() for i in found["labels"]] == texts


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], "2 labels for 3 arrays"),
        ("folder", "labels of type"),
        (5, "labels of type"),
        ([1j, 2, 3], "labels of type complex"),
        ([None, 1, 2], "labels of type object"),
        (np.array([2**63, 1, 2], np.uint64), "labels of type uint64"),
        (["a", "b", "z"], "label 'z' is none of the class names 'a', 'b'"),
    ],
)
def test_labels_that_cannot_be_stored_are_refused_before_anything_is_written(
    labels: Any, message: str, out: Path
) -> None:
    names = ["a", "b"] if isinstance(labels, list) and "z" in labels else None
    with pytest.raises(SourceError, match=message):
        celeiro.pack(images(3), out, labels=labels, label_names=names)
    assert os.listdir(out.parent) == []


def test_too_few_labels_for_a_generator_are_told_at_its_end(out: Path) -> None:
    with pytest.raises(SourceError, match="2 labels for 3 arrays"):
        celeiro.pack(iter(images(3)), out, labels=[0, 1])
    assert not out.exists()


@pytest.mark.parametrize("with_labels", ["given", "with the rows"])
def test_shuffle_moves_rows_and_labels_alike_and_split_divides_each_class(
    with_labels: str, out: Path
) -> None:
    rows = np.arange(200, dtype=np.int64).reshape(200, 1)
    labels = [f"class {i % 4}" for i in range(200)]
    given_labels = with_labels == "given"
    celeiro.pack(
        rows if given_labels else list(zip(rows, labels, strict=True)), out,
        labels=labels if given_labels else None,
        shuffle=True, seed=3, split={"train": 0.75, "val": 0.25}, buffer_size=7,
    )  # fmt: skip
    found = read(out)
    numbers = found["imagens"][:, 0].tolist()
    assert sorted(numbers) == list(range(200))
    assert numbers != sorted(numbers)
    assert found["labels"].tolist() == [i % 4 for i in numbers]
    train, val = found["splits"]["train"], found["splits"]["val"]
    assert sorted(train + val) == list(range(200))
    for number in range(4):
        assert (found["labels"][val] == number).sum() in (12, 13)


def test_a_row_that_is_left_out_moves_no_other_to_another_split(tmp_path: Path) -> None:
    rows: list[Any] = list(np.arange(50.0).reshape(50, 1))
    options: dict[str, Any] = {"split": {"a": 0.5, "b": 0.5}, "labels": [0, 1] * 25}
    celeiro.pack(rows, tmp_path / "all.h5", **options)
    rows[7] = np.zeros(2)
    report = celeiro.pack(rows, tmp_path / "one less.h5", on_error="skip", **options)
    assert report.refused == [("row 7", "its shape is (2,), wanted (1,)")]
    before, after = read(tmp_path / "all.h5"), read(tmp_path / "one less.h5")
    for name in "ab":
        kept = [int(v) for v in before["imagens"][before["splits"][name], 0] if v != 7]
        assert after["imagens"][after["splits"][name], 0].tolist() == kept
    assert after["labels"].tolist() == [i % 2 for i in range(50) if i != 7]


def test_shuffle_of_what_has_no_numbers_is_refused(out: Path) -> None:
    with pytest.raises(OptionError, match="shuffle needs"):
        celeiro.pack(iter(images(3)), out, shuffle=True)
    assert os.listdir(out.parent) == []


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((6, 9, 3), np.uint8), r"row 100: its shape is \(6, 9, 3\), wanted \(6, 8, 3\)"),
        (np.zeros((6, 8, 3)), "row 100: its dtype is float64, wanted uint8"),
        ((np.zeros((6, 8, 3), np.uint8), 5), "row 100: it has the label 5"),
    ],
)
def test_a_row_that_does_not_fit_is_named_and_once_mended_packing_goes_on(
    bad: Any, message: str, out: Path, tmp_path: Path
) -> None:
    rows = list(images(130))
    broken = [*rows[:100], bad, *rows[101:]]
    with pytest.raises(RowError, match=message):
        celeiro.pack(broken, out, workers=2)
    assert not out.exists()
    report = celeiro.pack(rows, out)
    assert report.resumed == 100
    celeiro.pack(rows, tmp_path / "whole.h5")
    assert out.read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_bad_rows_are_left_out_on_request_and_told(out: Path) -> None:
    rows: list[Any] = [(row, i) for i, row in enumerate(images(20))]
    rows[3] = (np.zeros(4), 3)
    rows[19] = (rows[19][0], None)
    report = celeiro.pack(rows, out, on_error="skip", buffer_size=2)
    assert [name for name, _ in report.refused] == ["row 3", "row 19"]
    kept = [i for i in range(19) if i != 3]
    assert read(out)["labels"].tolist() == kept
    np.testing.assert_array_equal(read(out)["imagens"], images(20)[kept])
    with pytest.raises(OptionError, match="quarantine copies picture files"):
        celeiro.pack(rows, out, quarantine=out.parent / "bad", overwrite=True)


@pytest.mark.parametrize("empty", [[], np.zeros((0, 4)), iter([]), {}])
def test_nothing_to_pack_is_refused(empty: Any, out: Path) -> None:
    with pytest.raises(SourceError, match="no array"):
        celeiro.pack(empty, out)
    assert os.listdir(out.parent) == []


def test_rows_of_no_values_are_refused(out: Path) -> None:
    for shape in [(3, 0), (3, 4, 0, 3)]:
        with pytest.raises(OptionError, match="hold no value"):
            celeiro.pack(np.zeros(shape, np.uint8), out)
    assert os.listdir(out.parent) == []


@pytest.mark.parametrize("bad", ["text", object(), np.array(["a"]), np.array([1], "M8[s]")])
def test_rows_that_are_no_numbers_are_refused(bad: Any, out: Path) -> None:
    with pytest.raises(RowError, match="numbers"):
        celeiro.pack([bad], out)
    assert os.listdir(out.parent) == []


@pytest.mark.parametrize(
    "options",
    [
        {"store": "encoded"},
        {"store": "jpeg", "size": None},
        {"size": 3},
        {"color": "GRAY"},
        {"split": {"a": 0.5}},
        {"seed": -1},
        {"workers": 0},
        {"buffer_size": 0},
        {"key": "keys"},
        {"on_error": "ignore"},
        {"label_pattern": "x"},
    ],
)
def test_options_that_cannot_apply_are_refused_before_anything_is_written(
    options: dict[str, Any], out: Path
) -> None:
    rows: Any = images(3)
    if options in ({"size": 3}, {"store": "jpeg", "size": None}):
        rows = rows.astype(float).reshape(3, -1)
    with pytest.raises(OptionError):
        celeiro.pack(rows, out, **options)
    assert os.listdir(out.parent) == []


@pytest.mark.parametrize("key", ["_stand_in", "_gap_a", "_gap_b", "a name", "x-1"])
@pytest.mark.parametrize("store", ["pixels", "lossless"])
def test_any_plain_name_may_be_the_data_key(key: str, store: Any, out: Path) -> None:
    celeiro.pack(images(3), out, key=key, store=store)
    np.testing.assert_array_equal(read(out)[key], images(3))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "bool", "int64", ">f8", "float16"])
@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 3), (9, 7, 40)])
def test_rows_are_resized_whatever_their_type(
    dtype: str, shape: tuple[int, ...], out: Path
) -> None:
    rows = np.random.default_rng(0).integers(0, 2, (4, *shape)).astype(dtype)
    celeiro.pack(rows, out, size=(5, 6), resize="pad")
    found = read(out)["imagens"]
    assert found.shape == (4, 5, 6, *shape[2:])
    assert found.dtype == np.dtype(dtype).newbyteorder("=")


KILLED = """
import numpy as np
import celeiro

rows = np.random.default_rng(0).integers(0, 256, (200, 6, 8, 3), np.uint8)
def source():
    if kind == "list":
        return list(rows)
    if kind == "generator":
        return iter(rows)
    return ((row, "abc"[i % 3] * (i % 5 + 1)) for i, row in enumerate(rows))

def on_progress(progress):
    global callbacks
    callbacks -= 1
    if not callbacks:
        kill()

celeiro.pack(source(), out, store=store, shuffle=kind == "list", buffer_size=12, workers=workers,
             on_progress=on_progress)
"""


@pytest.mark.parametrize("kind", ["list", "generator", "pairs"])
@pytest.mark.parametrize("store", ["pixels", "jpeg", "lossless"])
def test_killed_and_gone_on_with_the_file_is_the_same(
    kind: str, store: str, tmp_path: Path, nursery: Nursery
) -> None:
    whole = tmp_path / "whole.h5"
    how: dict[str, Any] = {"kind": kind, "store": store}
    assert nursery.run(KILLED, out=whole, callbacks=-1, workers=2, **how).error is None
    out = tmp_path / "out.h5"
    for callbacks, workers in [(5, 1), (1, 7), (9, 2)]:
        assert nursery.run(KILLED, out=out, callbacks=callbacks, workers=workers, **how).killed
    end = nursery.run(KILLED, out=out, callbacks=-1, workers=1, **how)
    assert end.error is None, end.message
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], "count was 130, is 129"),
        (lambda rows: rows + 1, "the last of them is not row"),
        (lambda rows: rows.astype(np.uint16), "rows was"),
        (lambda rows: iter(rows), "count was 130, is None"),
    ],
)
def test_other_rows_than_those_begun_with_are_refused(change: Any, message: str, out: Path) -> None:
    rows = images(130)
    interrupt(rows, out, after=70)
    with pytest.raises(ResumeError, match=message):
        celeiro.pack(change(rows), out)
    celeiro.pack(change(rows), out, fresh=True)
    np.testing.assert_array_equal(read(out)["imagens"], list(change(rows)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["a", "c"] * 65}, "labels"),
        ({"labels": [0, 1] * 65}, "labels"),
        ({"labels": ["a", "b"] * 65, "label_names": ["b", "a"]}, "labels"),
        ({"labels": ["a", "b"] * 65, "key": "x"}, "key was 'imagens', is 'x'"),
        ({"labels": ["a", "b"] * 65, "shuffle": True}, "shuffle was False, is True"),
        ({"labels": ["a", "b"] * 65, "store": "lossless"}, "store was 'pixels', is 'lossless'"),
    ],
)
def test_other_options_than_those_begun_with_are_refused(
    options: dict[str, Any], message: str, out: Path
) -> None:
    interrupt(images(130), out, after=70, labels=["a", "b"] * 65)
    with pytest.raises(ResumeError, match=message):
        celeiro.pack(images(130), out, **options)


def test_a_generator_that_is_now_shorter_is_refused(out: Path) -> None:
    interrupt(iter(images(130)), out, after=70)
    with pytest.raises(ResumeError, match="the last of them is not row"):
        celeiro.pack(iter(images(20)), out)


def test_rows_beyond_those_committed_may_have_changed(out: Path) -> None:
    rows = images(130)
    interrupt(rows, out, after=70)
    rows[129] = 0
    celeiro.pack(rows, out)
    np.testing.assert_array_equal(read(out)["imagens"], rows)


def test_what_raises_in_the_source_reaches_the_caller_and_the_rows_before_are_kept(
    out: Path,
) -> None:
    rows = images(130)

    def source() -> Iterator[np.ndarray]:
        yield from rows[:100]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        celeiro.pack(source(), out, buffer_size=8)
    assert celeiro.pack(iter(rows), out).resumed > 50
    np.testing.assert_array_equal(read(out)["imagens"], rows)


def test_an_endless_source_is_pulled_only_as_far_as_the_buffer(out: Path) -> None:
    pulled = 0

    def source() -> Iterator[np.ndarray]:
        nonlocal pulled
        for pulled in itertools.count():  # noqa: B007
            yield np.zeros(4)

    def stop(progress: Any) -> None:
        assert pulled - progress.done <= 11  # numbered from 0
        if progress.done > 300:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        celeiro.pack(source(), out, buffer_size=10, workers=7, on_progress=stop)


def test_free_space_is_compared_before_packing(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "free_bytes", lambda folder: 1000)
    with pytest.raises(SpaceError, match=r"needs about 0\.00 GB more, and 0\.00 GB are free"):
        celeiro.pack(images(130), out)


def test_peak_memory_does_not_grow_with_the_number_of_rows(tmp_path: Path) -> None:
    import tracemalloc

    peaks = []
    for n in (200, 2000):
        rows = (np.zeros((64, 100), np.uint8) for _ in range(n))
        tracemalloc.start()
        celeiro.pack(rows, tmp_path / f"{n}.h5", buffer_size=100)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 1800 * 200, "more than 200 bytes a row"


def interrupt(source: Any, out: Path, *, after: int, **options: Any) -> None:
    """Begin to pack, and stop after some rows."""

    def stop(progress: Any) -> None:
        if progress.done >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        celeiro.pack(source, out, on_progress=stop, workers=2, buffer_size=20, **options)
