"""`celeiro.open` of files of ours: everything that a `Dataset` has, as plain readers have it."""

from __future__ import annotations

import copy
import html
import logging
import os
import pickle
import shutil
import threading
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import cv2
import h5py
import hdf5plugin  # noqa: F401  (h5py reads Blosc with it)
import numpy as np
import pytest

import celeiro
from celeiro.errors import CeleiroError, FormatError, OptionError, RowError, SampleError
from celeiro.format.ragged import Ragged
from celeiro.reading import cache

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 10


def plain(path: Path, number: int) -> Any:
    """A sample as h5py or OpenCV gives it."""
    with h5py.File(path) as file:
        data = file["imagens"]
        if file.attrs["celeiro_store"] != b"encoded":
            return data[number]
        first, last = file["imagens_offsets"][number : number + 2]
        return cv2.imdecode(data[first:last], cv2.IMREAD_COLOR_RGB)


def stored(path: Path, name: str) -> Any:
    with h5py.File(path) as file:
        return file[name][()]


def images(n: int = 6, *shape: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (n, *(shape or (8, 12, 3))), np.uint8)


def pack(out: Path, source: Any = None, **options: Any) -> Path:
    celeiro.pack(images() if source is None else source, out, **options)
    return out


def patch(path: Path, name: str, values: Any) -> None:
    """Change a data set in place, and nothing else."""
    with h5py.File(path, "r+") as file:
        file[name][...] = values


# Samples


def test_a_sample_is_what_plain_readers_give(path: Path) -> None:
    with celeiro.open(path) as ds:
        assert len(ds) == COUNT
        for i in range(COUNT):
            image, label = ds[i]
            np.testing.assert_array_equal(image, plain(path, i), strict=True)
            assert (label, type(label)) == (stored(path, "labels")[i], int)


def test_a_jpeg_is_what_opencv_decodes(packed: dict[str, Path]) -> None:
    with celeiro.open(packed["jpeg"]) as ds, h5py.File(packed["jpeg"]) as file:
        for i in range(COUNT):
            _, data = file["imagens"].id.read_direct_chunk((i, 0, 0, 0))
            decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
            np.testing.assert_array_equal(ds[i][0], decoded, strict=True)


@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize(
    "indices",
    [
        [],
        [3],
        [-1, 0, 0, 7, -10, 3, 3],
        list(range(COUNT)),
        (5, 4),
        np.arange(COUNT)[::-2],
        np.array([9, 0], np.uint8),
        np.arange(COUNT) % 3 == 1,
    ],
    ids=str,
)
def test_samples_come_in_the_order_asked(path: Path, indices: Any, workers: int) -> None:
    expected = [
        plain(path, i)
        for i in np.arange(COUNT)[np.asarray(indices, getattr(indices, "dtype", int))]
    ]
    with celeiro.open(path, workers=workers) as ds:
        found = ds.read(indices)
        assert len(found) == len(expected)
        assert isinstance(found, list if ds.store == "encoded" else np.ndarray)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other, strict=True)


def test_slices_lists_and_iteration_give_images_and_labels(path: Path) -> None:
    labels = stored(path, "labels")
    with celeiro.open(path) as ds:
        for index in (
            slice(2, 5),
            slice(None, None, -3),
            slice(20, 30),
            [4, 4],
            np.array([-1]),
            [],
        ):
            found, classes = ds[index]
            expected = np.arange(COUNT)[
                np.asarray(index, int) if isinstance(index, list) else index
            ]
            np.testing.assert_array_equal(classes, labels[expected])
            assert [f.tobytes() for f in found] == [plain(path, i).tobytes() for i in expected]
        assert [label for _, label in ds] == labels.tolist()


def test_pictures_asked_for_twice_are_arrays_of_their_own(packed: dict[str, Path]) -> None:
    with celeiro.open(packed["encoded"]) as ds:
        first, second = ds.read([2, 2])
        first[...] = 0
        assert second.any()


@pytest.mark.parametrize("index", [COUNT, -COUNT - 1, np.int64(99), 2**70])
def test_an_index_out_of_range_is_an_index_error(path: Path, index: int) -> None:
    with celeiro.open(path) as ds:
        with pytest.raises(IndexError, match=r"sample .* of 10"):
            ds[index]
        if index < 2**63:
            with pytest.raises(IndexError, match=r"sample .* of 10"):
                ds.read([0, index])
            with pytest.raises(IndexError):
                ds.select([index])


@pytest.mark.parametrize("index", [1.0, "no", None, (1, 2), [0.5], [[1, 2]], [True, False]])
def test_what_is_no_index_is_refused(packed: dict[str, Path], index: Any) -> None:
    with celeiro.open(packed["pixels"]) as ds, pytest.raises((TypeError, KeyError)):
        ds[index]


def test_numpy_s_numbers_are_indices(packed: dict[str, Path]) -> None:
    with celeiro.open(packed["pixels"]) as ds:
        for index in (np.int64(3), np.uint8(3), np.array(3), np.int32(-7)):
            np.testing.assert_array_equal(ds[index][0], plain(packed["pixels"], 3))


def test_memory_of_the_caller_is_filled(path: Path) -> None:
    with celeiro.open(path) as ds:
        if ds.store == "encoded":
            with pytest.raises(RowError, match="differ in size"):
                ds.read([0], out=np.empty((1, 40, 48, 3), np.uint8))
            return
        around = np.full((6, 24, 32, 3), 77, np.uint8)
        out = around[1:5]
        assert ds.read([9, 0, 0, 3], out=out) is out
        for at, i in enumerate([9, 0, 0, 3]):
            np.testing.assert_array_equal(out[at], plain(path, i))
        assert (around[[0, 5]] == 77).all()
        assert ds.read([], out=np.empty((0, 24, 32, 3), np.uint8)).shape == (0, 24, 32, 3)


WRONG = {
    "of another length": np.empty((3, 24, 32, 3), np.uint8),
    "of another shape": np.empty((2, 32, 24, 3), np.uint8),
    "of another type": np.empty((2, 24, 32, 3), np.int8),
    "in another order": np.empty((2, 24, 32, 3), np.uint8, order="F"),
    "with gaps": np.empty((4, 24, 32, 3), np.uint8)[::2],
    "read-only": np.broadcast_to(np.uint8(0), (2, 24, 32, 3)),
    "a list": [],
    "None of it": bytearray(2 * 24 * 32 * 3),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_memory_that_does_not_fit_is_refused(path: Path, wrong: str) -> None:
    with celeiro.open(path) as ds, pytest.raises(RowError, match="array|wanted"):
        ds.read([0, 1], out=WRONG[wrong])


# What stands beside them


def test_what_it_is_can_be_asked(path: Path, store: str) -> None:
    with celeiro.open(path) as ds:
        size = (None, None, 3) if store == "encoded" else (24, 32, 3)
        assert (ds.shape, ds.dtype, ds.color) == ((COUNT, *size), np.uint8, "RGB")
        assert ds.store == ("lossless" if store == "gzip" else store)
        assert (ds.key, ds.path) == ("imagens", path)
        assert ds.label_names == ("bird", "cat", "dog")
        np.testing.assert_array_equal(ds.labels, stored(path, "labels"), strict=True)
        assert not ds.labels.flags.writeable
        assert list(ds.keys) == [f"{i}.jpg" for i in range(COUNT)]
        assert ds.keys[-1] == "9.jpg"
        assert list(ds.keys[1:3]) == ["1.jpg", "2.jpg"]
        assert ds.splits == ("train", "val")
        assert set(ds.provenance) >= {"options", "made_by"}
        assert ds.cache is None
        if store == "encoded":
            np.testing.assert_array_equal(ds.shapes, stored(path, "imagens_shapes"))
            assert [list(ds[i][0].shape) for i in range(COUNT)] == ds.shapes.tolist()
        else:
            assert ds.shapes is None
            np.testing.assert_array_equal(ds.mean, stored(path, "mean"))
            np.testing.assert_array_equal(ds.std, stored(path, "std"))


def test_fields_are_there_by_name(path: Path, pictures: Path, store: str) -> None:
    with celeiro.open(path) as ds:
        assert sorted(ds.fields) == ["boxes", "mask", "name", "parts", "weight"]
        np.testing.assert_array_equal(ds["weight"], np.arange(COUNT) / 4)
        assert list(ds["name"]) == [f"Mimi {'é' * i}" for i in range(COUNT)]
        assert isinstance(ds["boxes"], Ragged)
        assert [len(ds["boxes"][i]) for i in range(COUNT)] == [i % 3 for i in range(COUNT)]
        assert ds["boxes"][2].shape == (2, 4)
        assert [ds["parts"][i].tolist() for i in range(COUNT)] == [
            list(range(i % 4)) for i in range(COUNT)
        ]
        assert ds["boxes"] is ds.fields["boxes"]  # read once
        masks = ds["mask"]
        assert (len(masks), masks.dtype) == (COUNT, np.uint8)
        for i in range(COUNT):
            assert masks[i].shape == ds[i][0].shape[:2]
            if store == "encoded":
                mask = cv2.imread(str(pictures / f"{i}.png"), cv2.IMREAD_UNCHANGED)
                np.testing.assert_array_equal(masks[i], mask)
            else:
                np.testing.assert_array_equal(masks[i], stored(path, "fields/mask")[i])
        some = masks.read([4, -1, 4])
        assert [m.tobytes() for m in some] == [masks[i].tobytes() for i in (4, 9, 4)]
        with pytest.raises(KeyError):
            ds["no such field"]
        with pytest.raises(IndexError):
            masks[COUNT]


def test_a_view_is_its_rows_of_everything(path: Path) -> None:
    with celeiro.open(path) as ds:
        view = ds.select([7, 2, 2, -1])
        again = view.select([3, 0])
        for some, rows in ((view, [7, 2, 2, 9]), (again, [9, 7])):
            assert len(some) == len(rows)
            assert some.shape[0] == len(rows)
            np.testing.assert_array_equal(some.labels, ds.labels[rows])
            assert list(some.keys) == [f"{i}.jpg" for i in rows]
            np.testing.assert_array_equal(some["weight"], ds["weight"][rows])
            assert list(some["name"]) == [ds["name"][i] for i in rows]
            assert [some["boxes"][i].tolist() for i in range(len(rows))] == [
                ds["boxes"][i].tolist() for i in rows
            ]
            assert [some["mask"][i].tobytes() for i in range(len(rows))] == [
                ds["mask"][i].tobytes() for i in rows
            ]
            for i, row in enumerate(rows):
                image, label = some[i]
                np.testing.assert_array_equal(image, plain(path, row))
                assert label == ds.labels[row]
            if ds.shapes is not None:
                np.testing.assert_array_equal(some.shapes, ds.shapes[rows])
        np.testing.assert_array_equal(ds.mean is None, view.mean is None)


def test_a_view_takes_no_copy_and_closes_with_the_rest(packed: dict[str, Path]) -> None:
    ds = celeiro.open(packed["pixels"])
    view = ds.split("val")
    view.close()
    with pytest.raises(FormatError, match="closed"):
        ds[0]


def test_splits_are_views(path: Path) -> None:
    with celeiro.open(path) as ds:
        train, val = ds.split("train"), ds.split("val")
        assert list(val.keys) == ["2.jpg", "5.jpg", "8.jpg"]
        assert len(train) + len(val) == COUNT
        np.testing.assert_array_equal(val[1][0], plain(path, 5))
        # Of a view, those that are in it, in its order.
        assert list(ds.select([8, 1, 5, 5]).split("val").keys) == ["8.jpg", "5.jpg", "5.jpg"]
        with pytest.raises(KeyError, match="no split 'test'; there are train, val"):
            ds.split("test")


def test_a_file_without_splits_says_how_to_have_some(tmp_path: Path) -> None:
    with (
        celeiro.open(pack(tmp_path / "a.h5")) as ds,
        pytest.raises(KeyError, match="pack with --split"),
    ):
        ds.split("train")


LABELS: dict[str, Any] = {
    "none": None,
    "targets": [0.5, -1.0, 2.0, 0.0, 1.0, 3.0],
    "several targets": np.arange(12.0).reshape(6, 2),
    "several classes": np.eye(6, 3, dtype=np.uint8),
    "classes": [2, 0, 1, 1, 0, 2],
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_kind_come_with_their_samples(kind: str, tmp_path: Path) -> None:
    labels = LABELS[kind]
    with celeiro.open(pack(tmp_path / "a.h5", labels=labels)) as ds:
        if labels is None:
            assert ds.labels is None
            assert ds[0][1] is None
            assert ds[0:2][1] is None
            assert ds.select([1]).labels is None
            assert (ds.keys, ds.label_names, ds.splits, dict(ds.fields)) == (None, (), (), {})
            return
        np.testing.assert_array_equal(ds.labels, labels)
        np.testing.assert_array_equal(ds[4][1], np.asarray(labels)[4])
        assert isinstance(ds[4][1], (int, float, np.ndarray))
        np.testing.assert_array_equal(ds[[5, 0]][1], np.asarray(labels)[[5, 0]])


def test_labels_may_be_given(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.h5", labels=[1] * 6)
    mine = np.arange(6)
    with celeiro.open(path, labels=mine) as ds:
        assert ds[4][1] == 4
        assert ds.select([3]).labels.tolist() == [3]
        assert not ds.labels.flags.writeable
        mine[4] = 99  # which is the caller's own
        assert ds[4][1] == 4
    for wrong in ([1, 2], 3, ["a"] * 6, [None] * 6):
        with pytest.raises(OptionError, match="labels"):
            celeiro.open(path, labels=wrong)


def test_labels_may_be_another_column(path: Path) -> None:
    with pytest.raises(FormatError):
        celeiro.open(path, labels="no such")


# Colours


@pytest.mark.parametrize("color", ["RGB", "BGR", "GRAY"])
def test_channels_come_in_the_order_asked(path: Path, store: str, color: Any) -> None:
    if color == "GRAY" and store != "encoded":
        with pytest.raises(OptionError, match="color 'GRAY'"):
            celeiro.open(path, color=color)
        return
    with celeiro.open(path, color=color) as ds, celeiro.open(path) as usual:
        assert ds.color == color
        assert ds.shape[-1] == (1 if color == "GRAY" else 3)
        for i in (0, 5):
            image, rgb = ds[i][0], usual[i][0]
            if color == "GRAY":
                assert image.shape == (*rgb.shape[:2], 1)
                grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
                assert np.abs(image[..., 0].astype(int) - grey).max() <= 2
            else:
                np.testing.assert_array_equal(image, rgb[..., ::-1] if color == "BGR" else rgb)
        assert [i.tobytes() for i in ds.read([3, 4])] == [ds[i][0].tobytes() for i in (3, 4)]
        assert ds["mask"][1].tobytes() == usual["mask"][1].tobytes()
        if usual.mean is not None:
            # In the order of the channels that they belong to.
            step = -1 if color == "BGR" else 1
            np.testing.assert_array_equal(ds.mean, usual.mean[::step])
            np.testing.assert_array_equal(ds.std, usual.std[::step])


def test_grey_and_colourless_samples_have_no_other_order(tmp_path: Path) -> None:
    grey = pack(tmp_path / "grey.h5", images(6, 8, 12, 1), color="GRAY")
    with celeiro.open(grey, color="GRAY") as ds:
        assert (ds.color, ds.shape) == ("GRAY", (6, 8, 12, 1))
    with pytest.raises(OptionError, match="color 'BGR'"):
        celeiro.open(grey, color="BGR")
    with pytest.raises(OptionError, match="no colours"):
        celeiro.open(pack(tmp_path / "cubes.h5", images(6, 4, 5)), color="RGB")


# Checks of the stored bytes


def damage(path: Path, store: str, number: int) -> None:
    """Change one byte of a sample's, where every decoder passes it over or does not notice."""
    with h5py.File(path) as file:
        data = file["imagens"]
        if store == "pixels":
            at = data.id.get_offset() + number * data[0].nbytes + 100
        elif store == "encoded":
            at = data.id.get_offset() + int(file["imagens_offsets"][number + 1]) - 40
        else:
            chunk = data.id.get_chunk_info(number)
            at = chunk.byte_offset + chunk.size - 20
    with path.open("r+b") as raw:
        raw.seek(at)
        byte = raw.read(1)[0]
        raw.seek(at)
        raw.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("cached", [None, "memory"])
def test_a_damaged_sample_is_named_and_the_others_are_read(
    path: Path, store: str, cached: Any
) -> None:
    damage(path, store, 4)
    with celeiro.open(path, verify=True, cache=cached) as ds:
        if cached:
            ds.cache.wait()
        for call in (lambda: ds[4], lambda: ds.read([0, 4]), lambda: ds.select([1, 4])[1]):
            with pytest.raises(
                SampleError, match=r"sample 4 \('4.jpg'\): .*celeiro verify"
            ) as caught:
                call()
            assert caught.value.sample == 4
        for i in (0, 3, 5, 9):
            np.testing.assert_array_equal(ds[i][0], plain(path, i))


def test_pixels_are_checked_only_where_asked(packed: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(packed["pixels"].read_bytes())
    damage(path, "pixels", 4)
    for verify in (None, False):
        with celeiro.open(path, verify=verify) as ds:
            np.testing.assert_array_equal(ds[4][0], plain(path, 4))


def test_nothing_is_checked_where_that_is_asked(packed: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(packed["gzip"].read_bytes())
    patch(path, "labels", np.arange(COUNT))
    patch(path, "celeiro/crc32c", np.zeros(COUNT))
    with celeiro.open(path, verify=False) as ds:
        assert ds.labels.tolist() == list(range(COUNT))
        np.testing.assert_array_equal(ds[4][0], plain(path, 4))
    with pytest.raises(FormatError, match="verify=False"):
        celeiro.open(path)


@pytest.mark.parametrize(
    "name", ["labels", "fields/weight", "fields/boxes", "splits/val", "keys", "fields/name"]
)
def test_a_column_that_was_changed_is_refused_when_it_is_read(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as file:
        file[name][0] = file[name][1]
        file[name][1] = file[name][2] if name != "fields/boxes" else 7
    with celeiro.open(path) as ds:
        calls = {
            "labels": lambda: ds.labels,
            "keys": lambda: ds.keys,
            "splits/val": lambda: ds.split("val"),
        }
        with pytest.raises(FormatError, match=f"{name}'.* checksum.*verify=False"):
            calls.get(name, lambda: ds[name.rpartition("/")[2]])()


def test_a_damaged_sample_is_named_though_the_keys_are_damaged_too(path: Path, store: str) -> None:
    damage(path, store, 4)
    with h5py.File(path, "r+") as file:
        file["keys"][0] = b"x"
    with celeiro.open(path, verify=True) as ds, pytest.raises(SampleError, match="sample 4"):
        ds[4]


def test_small_pixels_that_another_program_moved_into_a_header_are_checked_too(
    tmp_path: Path,
) -> None:
    path = pack(tmp_path / "a.h5", images(4, 5))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    with h5py.File(path, "r+") as file:
        values = file["imagens"][()]
        del file["imagens"]
        space = h5py.h5s.create_simple(values.shape)
        made = h5py.h5d.create(file.id, b"imagens", h5py.h5t.STD_U8LE, space, plist)
        values[2, 1] ^= 1
        h5py.Dataset(made)[...] = values
    with celeiro.open(path) as ds:
        np.testing.assert_array_equal(ds.read([0, 2]), values[[0, 2]])
    with celeiro.open(path, verify=True) as ds:
        np.testing.assert_array_equal(ds[1][0], values[1])
        with pytest.raises(SampleError):
            ds[2]


# A cache in memory


def test_samples_come_from_memory_once_they_are_there(path: Path) -> None:
    with celeiro.open(path, cache="memory") as ds:
        assert ds.cache.wait(60)
        assert (ds.cache.loaded, ds.cache.fraction) == (path.stat().st_size, 1.0)
        assert "MB" in repr(ds.cache)
        expected = [plain(path, i).tobytes() for i in range(COUNT)]
        # Whatever may still be read from the file is not there.
        os.close(ds._opened.file.fd)
        ds._opened.file.fd = os.open(os.devnull, os.O_RDONLY)
        ds._opened.file.check = lambda: None  # type: ignore[method-assign]
        assert [i.tobytes() for i in ds.read(range(COUNT))] == expected
        assert [i.tobytes() for i in ds.read([3, 3])] == [expected[3]] * 2
        assert len(ds.read([])) == 0


def test_samples_come_from_the_file_until_then(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    load = cache.Cache._load_some

    def load_later(self: cache.Cache) -> bool:
        go_on.wait(60)
        return load(self)

    monkeypatch.setattr(cache.Cache, "_load_some", load_later)
    monkeypatch.setattr(cache, "_STEP", 4096)
    with celeiro.open(path, cache="memory") as ds:
        assert not ds.cache.wait(0)
        assert ds.cache.fraction == 0
        before = [i.tobytes() for i in ds.read(range(COUNT))]
        go_on.set()
        during = [i.tobytes() for i in ds.read(range(COUNT))]
        assert ds.cache.wait(60)
        after = [i.tobytes() for i in ds.read(range(COUNT))]
    assert before == during == after == [plain(path, i).tobytes() for i in range(COUNT)]


def test_a_file_that_does_not_fit_is_read_from_the_file_and_that_is_said(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache, "available_memory", lambda: 1000)
    with celeiro.open(path, cache="memory") as ds:
        assert not ds.cache.wait()
        np.testing.assert_array_equal(ds[3][0], plain(path, 3))
    assert [(r.levelno, r.name) for r in caplog.records] == [(logging.WARNING, cache.__name__)]
    assert "fit" in caplog.text


def test_loading_that_fails_is_told_by_waiting_and_hurts_nobody_else(
    packed: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read_into = celeiro.storage.local.File.read_into

    def fail(self: Any, view: memoryview, offset: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise OSError("the disk is on fire")
        read_into(self, view, offset)

    path = packed["pixels"]
    with monkeypatch.context() as patched:
        patched.setattr(celeiro.storage.local.File, "read_into", fail)
        ds = celeiro.open(path, cache="memory")
        with pytest.raises(OSError, match="on fire"):
            ds.cache.wait()
    with ds:
        np.testing.assert_array_equal(ds[3][0], plain(path, 3))
    assert "on fire" in caplog.text


# Life and death


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda ds: pickle.loads(pickle.dumps(ds))]
)
def test_a_copy_reads_the_same(path: Path, again: Any) -> None:
    with celeiro.open(path, color="BGR", workers=1, cache="memory") as ds:
        for one in (ds, ds.select([4, 4, 1]), ds.split("val")):
            with again(one) as other:
                assert len(pickle.dumps(one)) < 2000
                assert (len(other), other.color, other.shape) == (len(one), "BGR", one.shape)
                assert other.cache is None
                np.testing.assert_array_equal(other.labels, one.labels)
                for i in range(len(one)):
                    np.testing.assert_array_equal(other[i][0], one[i][0])


def test_pickled_labels_are_the_same(tmp_path: Path) -> None:
    with (
        celeiro.open(pack(tmp_path / "a.h5"), labels=np.arange(6.0)) as ds,
        pickle.loads(pickle.dumps(ds)) as other,
    ):
        np.testing.assert_array_equal(other.labels, np.arange(6.0), strict=True)


def test_a_closed_dataset_says_so(path: Path) -> None:
    ds = celeiro.open(path, cache="memory")
    mask = ds["mask"]
    ds.close()
    ds.close()
    for call in (
        lambda: ds[0],
        lambda: ds.read([]),
        lambda: ds.select([1])[0],
        lambda: ds.labels,
        lambda: ds.keys,
        lambda: ds["weight"],
        lambda: ds.split("val"),
        lambda: mask[0],
        lambda: mask.read([1]),
    ):
        with pytest.raises(FormatError, match="closed. Open it again"):
            call()
    assert len(ds) == COUNT
    assert "pixels" in repr(ds) or ds.store != "pixels"


def test_what_was_opened_is_given_back_though_nobody_closes_it(packed: dict[str, Path]) -> None:
    def descriptors() -> int:
        return len(os.listdir("/dev/fd"))

    before = descriptors()
    for path in packed.values():
        celeiro.open(path)[0]
    assert descriptors() == before


def test_it_shows_itself_in_one_line(path: Path, store: str) -> None:
    with celeiro.open(path) as ds:
        size = "?, ?, 3" if store == "encoded" else "24, 32, 3"
        kind = "lossless" if store == "gzip" else store
        assert repr(ds) == f"<celeiro.Dataset '{store}.h5' {kind} (10, {size}) uint8, 3 classes>"
        assert repr(ds.fields) == "Fields(boxes, mask, name, parts, weight)"
        assert repr(ds.keys) == "Texts(10: '0.jpg', '1.jpg', '2.jpg', …)"


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_in_notebooks_it_is_a_table_with_pictures(path: Path) -> None:
    with celeiro.open(path) as ds:
        shown = Tags(ds._repr_html_())
    assert shown.tags.count("img") == 8
    assert {"cat", "dog", "bird", "train, val", "10"} <= set(shown.texts)


HOSTILE = "<script>alert('x')</script>&\"'"


def test_names_cannot_put_anything_into_a_notebook(tmp_path: Path) -> None:
    path = tmp_path / f"{HOSTILE.replace('/', '')}.h5"
    pack(path, labels=[0, 1] * 3, label_names=[HOSTILE, "b"])
    with h5py.File(path, "r+") as file:
        file["label_names"][1] = b"\xff\xfe"  # not UTF-8
    with celeiro.open(path, verify=False) as ds:
        text = ds._repr_html_()
    text.encode()
    shown = Tags(text)
    assert "script" not in shown.tags
    assert HOSTILE in shown.texts
    assert html.escape(HOSTILE) in text


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((2, 1, 300, 3), np.uint8),
        np.zeros((2, 300, 1), np.uint8),
        np.zeros((2, 4, 4, 7), np.uint8),
        np.zeros((2, 5), np.float32),
        np.zeros(2),
    ],
    ids=lambda rows: str(rows.shape),
)
def test_samples_of_any_shape_have_a_table(rows: Any, tmp_path: Path) -> None:
    with celeiro.open(pack(tmp_path / "a.h5", rows, labels=[-1, 5], store="pixels")) as ds:
        assert Tags(ds._repr_html_()).tags.count("table") == 1


def test_a_damaged_sample_has_its_place_in_the_table(path: Path, store: str) -> None:
    damage(path, store, 1)
    with celeiro.open(path, verify=True) as ds:
        shown = Tags(ds._repr_html_())
    assert (shown.tags.count("img"), "damaged" in shown.texts) == (7, True)


# What cannot be opened


@pytest.mark.parametrize("name", ["missing.h5", "folder", "text.h5", "empty.h5", "pipe.h5"])
def test_what_is_no_hdf5_file_is_a_clear_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.h5").write_text("hello")
    (tmp_path / "empty.h5").touch()
    if name == "pipe.h5":
        if not hasattr(os, "mkfifo"):
            pytest.skip("no pipes with names here")
        os.mkfifo(tmp_path / name)
    with pytest.raises(FormatError, match=f"{name}: .*Give the name|{name}: no HDF5 file"):
        celeiro.open(tmp_path / name)


def test_a_path_may_be_text_bytes_or_relative(
    packed: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = packed["pixels"]
    monkeypatch.chdir(path.parent)
    for name in (str(path), os.fsencode(path), path.name):
        ds = celeiro.open(name)
        monkeypatch.chdir("/")  # as a worker may
        with ds, pickle.loads(pickle.dumps(ds)) as other:
            assert other.path == path
        monkeypatch.chdir(path.parent)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache": "disk"}, "cache 'disk'"),
        ({"workers": 0}, "workers 0"),
        ({"color": "CMYK"}, "color 'CMYK'"),
        ({"color": ""}, "color ''"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        celeiro.open(path, **options)


def test_another_data_set_of_a_file_of_ours_can_be_named(path: Path) -> None:
    with celeiro.open(path, key="imagens") as ds:
        assert ds.store != "hdf5"
    with celeiro.open(path, key="fields/weight") as ds:
        assert (ds.store, ds.shape) == ("hdf5", (COUNT,))
        assert ds[3][0] == 0.75


def test_all_errors_are_of_one_tree() -> None:
    for error in (FormatError, OptionError, RowError, SampleError):
        assert issubclass(error, CeleiroError)
        assert issubclass(error, ValueError)


# What a loader will do with it


def test_a_view_does_not_change_with_the_numbers_it_was_made_of(packed: dict[str, Path]) -> None:
    ds = celeiro.open(packed["pixels"])
    order = np.arange(len(ds))
    view = ds.select(order)
    order[:] = 0
    assert view.rows.tolist() == list(range(len(ds)))
    assert view.labels.tolist() == ds.labels.tolist()
    rows = ds.split("train").rows
    with pytest.raises(ValueError, match="read-only"):
        rows[0] = 1


def test_labels_cannot_be_written_to_by_accident(packed: dict[str, Path]) -> None:
    for ds in (celeiro.open(packed["pixels"]), celeiro.open(packed["pixels"]).split("train")):
        with pytest.raises(ValueError, match="read-only"):
            ds.labels[0] = 1


def test_a_batch_for_pytorch_is_read_at_once(path: Path) -> None:
    ds = celeiro.open(path)
    batch = ds.__getitems__([3, 1, 1])
    assert [label for _, label in batch] == ds.labels[[3, 1, 1]].tolist()
    for (image, _), number in zip(batch, [3, 1, 1], strict=True):
        np.testing.assert_array_equal(image, ds[number][0])


def test_labels_by_their_own_name_change_nothing(path: Path) -> None:
    ds = celeiro.open(path, labels="labels")
    assert ds.store != "hdf5"
    assert ds.keys is not None
    assert ds.splits == celeiro.open(path).splits
    np.testing.assert_array_equal(ds.labels, celeiro.open(path).labels)


def test_a_field_may_be_the_labels(path: Path) -> None:
    ds = celeiro.open(path, labels="fields/weight")
    np.testing.assert_array_equal(ds.labels, ds["weight"])
    with pytest.raises(FormatError, match="wanted a data set with one row"):
        celeiro.open(path, labels="fields/nothing")


def test_a_field_that_is_not_there_is_told_with_those_that_are(path: Path) -> None:
    ds = celeiro.open(path)
    assert "mask" in ds.fields
    assert "nothing" not in ds.fields
    with pytest.raises(KeyError, match="no field 'nothing'; there are: .*mask"):
        ds["nothing"]


def test_a_mask_is_one_mask(path: Path) -> None:
    masks = celeiro.open(path)["mask"]
    with pytest.raises(TypeError):
        masks[[1, 2]]
    np.testing.assert_array_equal(masks[-1], masks[len(masks) - 1])


def test_samples_that_another_program_stored_in_its_own_way_are_read_unchecked(
    packed: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    shutil.copy(packed["pixels"], path)
    with h5py.File(path, "r+") as file:
        images = file["imagens"][:]
        del file["imagens"]
        file.create_dataset(
            "imagens", data=images, chunks=(3, *images.shape[1:]), compression="gzip"
        )
    with pytest.raises(FormatError, match="verify=False"):
        celeiro.open(path)
    ds = celeiro.open(path, verify=False)
    np.testing.assert_array_equal(ds.read(range(len(ds))), images)


def test_unaligned_samples_come_from_memory_as_well(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    values = np.random.default_rng(0).random((50, 4, 4)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file["a"] = np.zeros(3, np.uint8)
        file["images"] = values
        assert file["images"].id.get_offset() % 4
    ds = celeiro.open(path, cache="memory")
    assert ds.cache.wait()
    np.testing.assert_array_equal(ds.read([3, 49, 3]), values[[3, 49, 3]])


def test_labels_that_claim_more_than_a_file_can_hold_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (1 << 27, 1), np.uint8)
        file.create_dataset("y", (1 << 27,), np.int64)
    with pytest.raises(FormatError, match="claims 1,073,741,824 bytes"):
        celeiro.open(path)


@pytest.mark.parametrize("dtype", [">i8", "bool"])
def test_labels_of_other_types_are_read_in_runs(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "a.h5"
    labels = (np.arange(20_000) % 2).astype(dtype)
    with h5py.File(path, "w") as file:
        file["x"], file["y"] = np.zeros((20_000, 2), np.uint8), labels
    found = celeiro.open(path).labels
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, labels)
