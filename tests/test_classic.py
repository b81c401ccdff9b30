"""`HDF5Dataset` and `HDF5DatasetWriter`: loops of the article and of the book run unchanged."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import cv2
import h5py
import hdf5plugin  # noqa: F401  (reads `lossless`)
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from celeiro import HDF5Dataset, HDF5DatasetWriter
from celeiro.errors import BusyError, ExistsError, OptionError, ResumeError, RowError, SpaceError
from celeiro.storage import local

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Nursery


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.h5"


def images(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 6, 8, 3), np.uint8)


def read(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        return {name: data[()] for name, data in file.items() if isinstance(data, h5py.Dataset)}


def work(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def test_the_loop_of_the_article_runs_unchanged(photo_folder: Any, out: Path) -> None:
    folder = photo_folder(7)
    paths = sorted(folder.iterdir())
    dataset = HDF5Dataset((len(paths), 20, 24, 3), str(out), data_key="imagens", buffer_size=3)
    dataset.store_class_labels(["cat", "dog"])
    wanted = []
    for path in paths:
        image = cv2.resize(cv2.imread(str(path)), (24, 20))
        label = int(path.name.startswith("dog"))
        dataset.add([image], [label])
        wanted.append(image)
    dataset.close()
    with h5py.File(out) as db:
        assert db["imagens"].shape == (7, 20, 24, 3)
        assert db["imagens"].dtype == np.uint8
        np.testing.assert_array_equal(db["imagens"][:], wanted)
        assert db["labels"][:].tolist() == [0, 0, 0, 0, 1, 1, 1]
        assert db["label_names"][:].tolist() == [b"cat", b"dog"]
    assert sorted(os.listdir(out.parent)) == [out.name, folder.name]


def test_the_loop_of_the_book_runs_unchanged(out: Path) -> None:
    features = np.random.default_rng(0).random((50, 512), np.float32)
    labels = np.arange(50) % 3
    dataset = HDF5DatasetWriter((50, 512), str(out), dataKey="features", bufSize=16)
    dataset.storeClassLabels(np.array(["bee", "cat", "dog"]))  # what LabelEncoder.classes_ is
    for i in range(0, 50, 32):
        dataset.add(features[i : i + 32], labels[i : i + 32])
    dataset.close()
    found = read(out)
    np.testing.assert_array_equal(found["features"], features)
    assert found["features"].dtype == np.float32
    np.testing.assert_array_equal(found["labels"], labels)
    assert found["label_names"].tolist() == [b"bee", b"cat", b"dog"]
    np.testing.assert_allclose(found["mean"], features.astype(float).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found["std"], features.astype(float).std(axis=0), rtol=1e-9)


def test_default_names_are_those_of_the_article_and_of_the_book(tmp_path: Path) -> None:
    with HDF5Dataset((1, 2), tmp_path / "article.h5") as article:
        article.add([[1.0, 2.0]], [0])
    with HDF5DatasetWriter((1, 2), tmp_path / "book.h5") as book:
        book.add([[1.0, 2.0]], [0])
    assert "imagens" in read(tmp_path / "article.h5")
    assert "images" in read(tmp_path / "book.h5")
    assert article.buffer_size == 500
    assert book.buffer_size == 1000


@given(
    rows=hnp.arrays(
        dtype=st.one_of(
            hnp.boolean_dtypes(), hnp.integer_dtypes(), hnp.unsigned_integer_dtypes(),
            hnp.floating_dtypes(sizes=(16, 32, 64)), hnp.complex_number_dtypes(sizes=(64, 128)),
        ),
        shape=hnp.array_shapes(min_dims=1, max_dims=5, max_side=5),
    ),
    step=st.integers(1, 7),
    buffer_size=st.integers(1, 7),
)  # fmt: skip
@settings(max_examples=50)
def test_any_rows_in_any_batches_come_back(
    rows: np.ndarray, step: int, buffer_size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path_factory.mktemp("any") / "out.h5"
    with HDF5Dataset(rows.shape, out, buffer_size=buffer_size) as dataset:
        for i in range(0, len(rows), step):
            dataset.add(rows[i : i + step], np.arange(len(rows))[i : i + step])
    found = read(out)
    assert found["imagens"].dtype == rows.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found["imagens"], rows)
    assert found["labels"].tolist() == list(range(len(rows)))


def test_one_row_may_come_without_a_list_around(out: Path) -> None:
    rows = images(4)
    with HDF5Dataset((4, 6, 8, 3), out) as dataset:
        dataset.add(rows[0], 3)
        dataset.add(rows[1], [4])
        dataset.add([rows[2]], np.array([5]))
        dataset.add(rows[3:], [6])
    found = read(out)
    np.testing.assert_array_equal(found["imagens"], rows)
    assert found["labels"].tolist() == [3, 4, 5, 6]


def test_one_row_of_features_may_be_a_list_of_numbers(out: Path) -> None:
    with HDF5Dataset((2, 3), out) as dataset:
        dataset.add([1.0, 2.0, 3.0], "b")
        dataset.add([[4.0, 5.0, 6.0]], ["a"])
    assert read(out)["imagens"].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert read(out)["labels"].tolist() == [1, 0]


def test_the_memory_of_a_row_may_be_used_again(out: Path) -> None:
    row, label = np.zeros((2, 2), np.uint8), np.zeros(2, np.int64)
    with HDF5Dataset((5, 2, 2), out) as dataset:
        for i in range(5):
            row[:], label[:] = i, i % 2
            dataset.add([row], [label])
    assert read(out)["imagens"][:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert read(out)["labels"].tolist() == [[0, 0], [1, 1], [0, 0], [1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("labels", "stored", "dtype"),
    [
        ([2, 0, 1], [2, 0, 1], np.int64),
        ([True, False, True], [1, 0, 1], np.int64),
        ([0.5, 1.5, -2.0], [0.5, 1.5, -2.0], np.float64),
        ([[1, 0], [1, 1], [0, 0]], [[1, 0], [1, 1], [0, 0]], np.uint8),
        ([[1, 0], [1, 7], [0, -1]], [[1, 0], [1, 7], [0, -1]], np.int64),
        (["dog", "cat", "dog"], [1, 0, 1], np.int64),
        ([b"dog", b"cat", b"dog"], [1, 0, 1], np.int64),
        (np.array([1, 2, 3], np.uint8), [1, 2, 3], np.int64),
        (np.array([1, 2, 3], ">i2"), [1, 2, 3], np.int64),
    ],
)
@pytest.mark.parametrize("buffer_size", [1, 500])
def test_labels_may_be_classes_numbers_several_or_text(
    labels: Any, stored: Any, dtype: type, buffer_size: int, out: Path
) -> None:
    with HDF5Dataset((3, 2), out, buffer_size=buffer_size) as dataset:
        for at in range(3):
            dataset.add(np.ones((1, 2)), labels[at : at + 1])
    found = read(out)["labels"]
    assert found.dtype == dtype
    assert found.tolist() == stored


def test_without_labels_there_is_no_data_set_of_labels(out: Path) -> None:
    with HDF5Dataset((2, 3), out) as dataset:
        dataset.add(np.ones((2, 3)))
    assert "labels" not in read(out)


def test_labels_of_text_are_numbered_as_the_names_that_were_stored(out: Path) -> None:
    with HDF5Dataset((2, 3), out) as dataset:
        dataset.store_class_labels(["dog", "cat"])
        dataset.add(np.ones((2, 3)), ["cat", "dog"])
        report = dataset.close()
    found = read(out)
    names = found["label_names"].tolist()
    assert [names[number] for number in found["labels"]] == [b"cat", b"dog"]
    assert report.classes == {"dog": 1, "cat": 1}


def test_a_label_without_a_name_is_stored_and_counted_by_its_number(out: Path) -> None:
    dataset = HDF5Dataset((4, 3), out)
    dataset.store_class_labels(["cat"])
    dataset.add(np.ones((4, 3)), [0, 5, -1, 0])
    assert dataset.close().classes == {"cat": 2, "5": 1, "-1": 1}
    assert read(out)["labels"].tolist() == [0, 5, -1, 0]


def test_uint8_stays_uint8_and_the_first_rows_decide(out: Path) -> None:
    with HDF5Dataset((3, 2), out) as dataset:
        dataset.add(np.ones((1, 2), np.float32), [0])
        dataset.add(np.ones((2, 2), np.uint8), [0, 0])  # fits into float32 without loss
    assert read(out)["imagens"].dtype == np.float32


@pytest.mark.parametrize("dtype", [">f4", ">u2", "float16", "bool", ">c8"])
def test_a_dtype_that_is_asked_for_is_stored_as_such(dtype: str, out: Path) -> None:
    with HDF5Dataset((2, 3), out, dtype=dtype) as dataset:
        dataset.add(np.array([[0, 1, 1], [1, 0, 1]], bool), [0, 0])
    found = read(out)["imagens"]
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    assert found.real.astype(int).tolist() == [[0, 1, 1], [1, 0, 1]]


@pytest.mark.parametrize("dtype", ["object", "U3", "datetime64[s]", "longdouble"])
def test_a_dtype_that_is_no_number_is_refused_at_once(dtype: str, out: Path) -> None:
    with pytest.raises(RowError, match="wanted numbers"):
        HDF5Dataset((2, 3), out, dtype=dtype)
    assert not work(out).exists()


def test_an_existing_output_is_refused_and_stays(out: Path) -> None:
    out.write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"already exists.*overwrite") as caught:
        HDF5Dataset((2, 3), out)
    assert isinstance(caught.value, (ExistsError, FileExistsError))
    assert out.read_bytes() == b"mine"
    assert os.listdir(out.parent) == ["out.h5"]


def test_an_existing_output_is_replaced_when_asked_once_the_new_one_is_whole(out: Path) -> None:
    out.write_bytes(b"mine")
    with HDF5Dataset((2, 3), out, overwrite=True) as dataset:
        dataset.add(np.ones((2, 3)), [0, 1])
        dataset.flush()
        assert out.read_bytes() == b"mine"
    assert read(out)["labels"].tolist() == [0, 1]


def test_more_rows_than_dims_are_refused_before_anything_is_written(out: Path) -> None:
    dataset = HDF5Dataset((3, 2), out, buffer_size=1)
    dataset.add(np.ones((2, 2)), [0, 0])
    with pytest.raises(RowError, match=r"2 rows for the 1 that are left of 3: nothing was added"):
        dataset.add(np.ones((2, 2)), [0, 0])
    assert len(dataset) == 2
    dataset.add(np.ones((1, 2)), [7])
    dataset.close()
    assert read(out)["labels"].tolist() == [0, 0, 7]


def test_fewer_rows_than_dims_close_with_the_true_number(out: Path) -> None:
    dataset = HDF5Dataset((1000, 6, 8, 3), out)
    dataset.add(images(3), [0, 1, 0])
    assert dataset.close().samples == 3
    assert read(out)["imagens"].shape == (3, 6, 8, 3)
    assert out.stat().st_size < 20_000


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        (np.ones((2, 9)), [0, 0], r"row 3: its shape is \(9,\), wanted \(4,\)"),
        ([np.ones(4), np.ones(5)], [0, 0], r"row 4: its shape is \(5,\)"),
        (np.ones((1, 4), complex), [0], "row 3: its dtype is complex128, wanted float64"),
        ([np.array(list("abcd"))], [0], "row 3: its dtype is <U1"),
        (np.ones((2, 4)), [0], "2 rows and 1 labels"),
        (np.ones((2, 4)), None, "row 3: it has no label"),
        (np.ones((2, 4)), [0, None], "row 4: it has no label"),
        (np.ones((2, 4)), [0, "cat"], "row 4: its label 'cat' is a text, wanted a number"),
        (np.ones((2, 4)), [[0, 1], [1, 0]], r"row 3: .* numbers of shape \(2,\), wanted a number"),
        (np.ones((1, 4)), [1 << 70], "row 3: its label is 1180591620717411303424"),
        (np.ones((1, 4)), [{"a": 1}], "row 3: its label is {'a': 1}"),
        (5.0, 0, "row 3"),
        ([[1.0, 2.0], [1.0]], [0, 0], "row 3"),
        ([[[1.0], [1.0, 2.0]]], [0], "no array"),
    ],
)
def test_a_row_that_does_not_fit_is_named_and_nothing_of_the_call_is_added(
    rows: Any, labels: Any, message: str, out: Path
) -> None:
    with HDF5Dataset((9, 4), out, buffer_size=2) as dataset:
        dataset.add(np.zeros((3, 4)), [0, 1, 2])
        with pytest.raises(RowError, match=message):
            dataset.add(rows, labels)
        assert len(dataset) == 3
        dataset.add(np.ones((1, 4)), [3])
    assert read(out)["labels"].tolist() == [0, 1, 2, 3]


def test_a_label_after_rows_without_is_refused(out: Path) -> None:
    with HDF5Dataset((4, 2), out, buffer_size=1) as dataset:
        dataset.add(np.ones((1, 2)))
        with pytest.raises(
            RowError, match="row 1: it has the label 5, and the rows before have no"
        ):
            dataset.add(np.ones((1, 2)), [5])


def test_an_empty_batch_adds_nothing_and_decides_nothing(out: Path) -> None:
    with HDF5Dataset((4, 2), out) as dataset:
        dataset.add([], [])
        dataset.add(np.zeros((0, 2)))
        assert not work(out).exists()
        dataset.add(np.full((1, 2), 0.5), [1])
        dataset.add([], [])
    assert read(out)["imagens"].tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("dims", [(), (0, 3), (3, 0), (-1, 4)])
def test_dims_of_nothing_are_refused(dims: tuple[int, ...], out: Path) -> None:
    with pytest.raises(OptionError, match="dims"):
        HDF5Dataset(dims, out)


def test_options_that_mean_nothing_are_refused_and_leave_nothing(out: Path) -> None:
    for options in [
        {"buffer_size": 0}, {"data_key": "labels"}, {"data_key": "a/b"}, {"store": "zip"},
        {"store": "jpeg", "color": "BGR"}, {"store": "encoded"}, {"quality": 0},
    ]:  # fmt: skip
        with pytest.raises(OptionError):
            HDF5Dataset((2, 6, 8, 3), out, **options).add(images(1), [0])
    assert os.listdir(out.parent) == []


def test_closing_without_a_row_is_an_error_that_says_so(out: Path) -> None:
    dataset = HDF5Dataset((4, 2), out)
    with pytest.raises(RowError, match="not one row was added"):
        dataset.close()
    assert os.listdir(out.parent) == []


def test_what_is_closed_takes_no_more_rows_and_may_be_closed_again(out: Path) -> None:
    dataset = HDF5Dataset((4, 2), out)
    dataset.add(np.ones((1, 2)), [0])
    dataset.close()
    assert dataset.close() is None
    for call in (lambda: dataset.add(np.ones((1, 2)), [0]), dataset.flush):
        with pytest.raises(RowError, match="is closed"):
            call()


def test_nothing_stands_under_the_final_name_before_close(out: Path) -> None:
    dataset = HDF5Dataset((4, 2), out, buffer_size=1)
    for at in range(4):
        dataset.add(np.ones((1, 2)), [at])
        dataset.flush()
        assert not out.exists()
    dataset.close()
    assert os.listdir(out.parent) == ["out.h5"]


def test_what_is_written_can_be_looked_at_before_close(out: Path) -> None:
    rows = images(7)
    dataset = HDF5Dataset((10, 6, 8, 3), out, buffer_size=3, store="lossless")
    assert (dataset.idx, dataset.labels.tolist(), dataset.data.dtype) == (0, [], None)
    dataset.store_class_labels(["a", "b"])
    dataset.add(rows, [0, 1] * 3 + [0])
    assert dataset.idx == 6
    assert dataset.buffer["labels"] == [0]
    np.testing.assert_array_equal(dataset.buffer["data"][0], rows[6])
    np.testing.assert_array_equal(dataset.data[4], rows[4])
    np.testing.assert_array_equal(dataset.data[-1], rows[5])
    np.testing.assert_array_equal(dataset.data[1:5:2], rows[1:5:2])
    assert dataset.data.shape == (10, 6, 8, 3)
    assert dataset.labels.tolist() == dataset.db["labels"].tolist() == [0, 1] * 3
    assert list(dataset.db) == ["imagens", "labels", "label_names"]
    assert dataset.db["label_names"].tolist() == ["a", "b"]
    assert len(dataset.data) == 10
    with pytest.raises(IndexError, match="row 6: 6 of 10 rows are written"):
        dataset.data[6]
    with pytest.raises(KeyError):
        dataset.db["nothing"]
    dataset.flush()
    assert dataset.idx == 7
    assert dataset.buffer == {"data": [], "labels": []}


def test_an_exception_within_the_block_keeps_what_was_flushed(out: Path) -> None:
    rows = images(5)

    def fail() -> None:
        with HDF5Dataset((5, 6, 8, 3), out) as dataset:
            dataset.store_class_labels(["a", "b"])
            dataset.add(rows[:2], [0, 1])
            dataset.flush()
            dataset.add(rows[2:3], [1])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not out.exists()
    with HDF5Dataset((5, 6, 8, 3), out, resume=True) as dataset:
        assert dataset.idx == len(dataset) == 2
        np.testing.assert_array_equal(dataset.data[:], rows[:2])
        dataset.add(rows[2:], [1, 1, 0])
    assert read(out)["labels"].tolist() == [0, 1, 1, 1, 0]
    assert read(out)["label_names"].tolist() == [b"a", b"b"]


@pytest.mark.parametrize("store", ["pixels", "jpeg", "lossless"])
def test_killed_after_flush_it_goes_on_where_it_was_and_the_file_is_the_same(
    store: str, out: Path, nursery: Nursery, tmp_path: Path
) -> None:
    loop = """
    import numpy as np
    from celeiro import HDF5Dataset
    rows = np.random.default_rng(0).integers(0, 256, (20, 6, 8, 3), np.uint8)
    dataset = HDF5Dataset(rows.shape, out, buffer_size=4, store=store, resume=True)
    result = dataset.idx
    for at in range(dataset.idx, 20):
        dataset.add([rows[at]], [at % 3])
        if at == last:
            dataset.flush()
            kill()
    dataset.close()
    """
    for last, begins in [(0, 0), (9, 1), (11, 10), (19, 12)]:
        assert nursery.run(loop, out=out, store=store, last=last).killed
        assert not out.exists()
        with HDF5Dataset((20, 6, 8, 3), out, store=store, resume=True) as dataset:
            assert dataset.idx == last + 1 > begins
            dataset._let_go()
    assert nursery.run(loop, out=out, store=store, last=-1).result == 20
    whole = tmp_path / "whole.h5"
    with HDF5Dataset((20, 6, 8, 3), whole, store=store) as dataset:
        rows = np.random.default_rng(0).integers(0, 256, (20, 6, 8, 3), np.uint8)
        dataset.add(rows, np.arange(20) % 3)
    assert out.read_bytes() == whole.read_bytes()


def test_flush_returns_only_when_rows_and_journal_and_names_are_synced(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = HDF5Dataset((4, 2), out)
    synced, folders = [], []
    monkeypatch.setattr(local, "sync_data", lambda fd: synced.append(os.fstat(fd).st_ino))
    monkeypatch.setattr(local, "sync_folder", folders.append)
    dataset.add(np.ones((1, 2)), [0])
    dataset.flush()
    wanted = {(work(out) / name).stat().st_ino for name in ("data", "journal")}
    assert wanted <= set(synced)
    assert {work(out), out.parent} <= set(folders)
    dataset._let_go()


def test_work_that_was_begun_is_not_touched_unless_asked(out: Path) -> None:
    dataset = HDF5Dataset((4, 2), out)
    dataset.add(np.zeros((2, 2)), [0, 1])
    dataset.flush()
    dataset._let_go()
    with pytest.raises(ExistsError, match="resume=True"):
        HDF5Dataset((4, 2), out)
    with pytest.raises(ResumeError, match=r"dims was \[4, 2\], is \[5, 2\]"):
        HDF5Dataset((5, 2), out, resume=True)
    with pytest.raises(ResumeError, match="store"):
        HDF5Dataset((4, 2), out, resume=True, store="lossless")
    with HDF5Dataset((4, 2), out, fresh=True) as dataset:
        assert dataset.idx == 0
        dataset.add(np.ones((1, 2)), [5])
    assert read(out)["labels"].tolist() == [5]


def test_rows_of_another_type_cannot_go_on(out: Path) -> None:
    dataset = HDF5Dataset((4, 2), out)
    dataset.add(np.zeros((2, 2), np.uint8), [0, 1])
    dataset.flush()
    dataset._let_go()
    with HDF5Dataset((4, 2), out, resume=True) as dataset:
        with pytest.raises(RowError, match="row 2: its dtype is float64, wanted uint8"):
            dataset.add(np.zeros((1, 2)), [1])
        with pytest.raises(RowError, match="row 2: it has no label"):
            dataset.add(np.zeros((1, 2), np.uint8))
        dataset.add(np.zeros((1, 2), np.uint8), [1])


def test_work_that_pack_began_is_not_ours(out: Path) -> None:
    import celeiro

    def stop(progress: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        celeiro.pack(np.ones((9, 2)), out, on_progress=stop)
    with pytest.raises(ResumeError):
        HDF5Dataset((9, 2), out, resume=True)


def test_two_on_one_output_are_refused_while_the_first_lives(out: Path) -> None:
    first = HDF5Dataset((4, 2), out)
    second = HDF5Dataset((4, 2), out)  # nothing is written yet
    first.add(np.ones((1, 2)), [0])
    with pytest.raises(BusyError, match="another celeiro"):
        second.add(np.ones((1, 2)), [0])
    with pytest.raises(BusyError):
        HDF5Dataset((4, 2), out, resume=True)
    first.flush()
    del first, second
    assert HDF5Dataset((4, 2), out, resume=True).idx == 1


@pytest.mark.parametrize("room", [0, 100, 5000, 20_000])
def test_a_full_disk_loses_nothing_and_the_same_object_goes_on(
    room: int, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.random.default_rng(0).random((200, 50))
    dataset = HDF5Dataset((200, 50), out, buffer_size=40)
    dataset.add(rows[:10], range(10))
    write = local.write_at

    def full(fd: int, buffers: Any, offset: int) -> int:
        nonlocal room
        data = b"".join(bytes(memoryview(b).cast("B")) for b in buffers)
        write(fd, [data[:room]], offset)
        if len(data) > room:
            room = 0
            raise OSError(errno.ENOSPC, "No space left on device")
        room -= len(data)
        return len(data)

    monkeypatch.setattr(local, "write_at", full)
    with pytest.raises(SpaceError, match=r"is full.*make room"):
        dataset.add(rows[10:100], range(10, 100))
    with pytest.raises(SpaceError):
        dataset.flush()
    with pytest.raises(SpaceError):
        dataset.close()
    monkeypatch.undo()
    assert len(dataset) == 100  # all that was added is in the file or in the buffer
    dataset.add(rows[100:], range(100, 200))
    dataset.close()
    np.testing.assert_array_equal(read(out)["imagens"], rows)
    assert read(out)["labels"].tolist() == list(range(200))


@pytest.mark.parametrize("moment", range(6))
def test_ctrl_c_in_the_midst_of_writing_neither_loses_nor_doubles_a_row(
    moment: int, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = HDF5Dataset((20, 3), out, buffer_size=6)
    write, writes = local.write_at, 0

    def interrupted(fd: int, buffers: Any, offset: int) -> int:
        nonlocal writes
        writes += 1
        written = write(fd, buffers, offset)
        if writes == moment + 1:
            raise KeyboardInterrupt
        return written

    monkeypatch.setattr(local, "write_at", interrupted)
    rows = np.arange(60.0).reshape(20, 3)
    with pytest.raises(KeyboardInterrupt):
        dataset.add(rows, range(20))
    dataset.close()
    np.testing.assert_array_equal(read(out)["imagens"], rows)
    assert read(out)["labels"].tolist() == list(range(20))


def test_ctrl_c_while_closing_loses_nothing_and_close_can_be_tried_again(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = HDF5Dataset((20, 3), out, store="lossless")
    rows = np.arange(60.0).reshape(20, 3)
    dataset.add(rows, range(20))
    for name in ("_contiguous", "_write_chunks", "_write_auxiliary", "_write_indices"):

        def interrupt(*_: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(f"celeiro.packing.publish.{name}", interrupt)
            with pytest.raises(KeyboardInterrupt):
                dataset.close()
    dataset.close()
    np.testing.assert_array_equal(read(out)["imagens"], rows)


def test_an_output_that_appears_meanwhile_is_kept_and_close_can_be_tried_again(out: Path) -> None:
    dataset = HDF5Dataset((2, 3), out)
    dataset.add(np.ones((2, 3)), [0, 1])
    out.write_bytes(b"mine")
    with pytest.raises(ExistsError, match="appeared while it was being packed"):
        dataset.close()
    assert out.read_bytes() == b"mine"
    out.unlink()
    dataset.close()
    assert read(out)["labels"].tolist() == [0, 1]


def test_a_failed_close_at_the_end_of_the_block_lets_go(out: Path) -> None:
    def fail() -> None:
        with HDF5Dataset((2, 3), out) as dataset:
            dataset.add(np.ones((2, 3)), [0, 1])
            out.write_bytes(b"mine")

    with pytest.raises(ExistsError):
        fail()
    out.unlink()
    with HDF5Dataset((2, 3), out, resume=True) as again:
        assert again.idx == 2
    assert read(out)["labels"].tolist() == [0, 1]


def test_nothing_is_added_to_a_file_that_has_its_name(out: Path, nursery: Nursery) -> None:
    end = nursery.run(
        """
        import os, numpy as np
        from celeiro import HDF5Dataset
        dataset = HDF5Dataset((4, 2), out)
        dataset.add(np.ones((3, 2)), [0, 1, 2])
        os.unlink = lambda *_, **__: kill()
        dataset.close()
        """,
        out=out,
    )
    assert end.killed
    whole = out.read_bytes()

    def add_another() -> None:
        with HDF5Dataset((4, 2), out, resume=True) as dataset:
            assert dataset.idx == 3
            dataset.add(np.ones((1, 2)), [3])
            dataset.flush()

    with pytest.raises(ExistsError, match="is finished"):
        add_another()
    assert out.read_bytes() == whole
    with HDF5Dataset((4, 2), out, resume=True):
        pass
    assert out.read_bytes() == whole
    assert os.listdir(out.parent) == ["out.h5"]


def test_memory_holds_the_buffer_and_not_the_file(out: Path) -> None:
    import tracemalloc

    row = np.zeros((50, 1000), np.uint8)
    peaks = []
    for n in (100, 800):
        tracemalloc.start()
        with HDF5Dataset((n, 50, 1000), out.with_name(f"{n}.h5"), buffer_size=20) as dataset:
            for _ in range(n):
                dataset.add([row], [0])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 500_000
    assert peaks[1] < 3 * 20 * row.nbytes + 2_000_000


def test_it_says_what_it_is(out: Path) -> None:
    dataset = HDF5Dataset((4, 2), out)
    dataset.add(np.ones((1, 2)), [0])
    assert repr(dataset) == f"HDF5Dataset((4, 2), {str(out)!r}: 1 of 4 rows)"
    dataset.close()
    assert repr(dataset).endswith(": closed)")
