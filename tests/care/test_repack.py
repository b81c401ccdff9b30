"""Any dataset to any store: nothing is lost, and what can stay as it is stays."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import h5py
import hdf5plugin  # noqa: F401  (registers Blosc for plain h5py)
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import celeiro
from celeiro.care.repack import repack
from celeiro.errors import (
    ExistsError,
    OptionError,
    PictureError,
    ResumeError,
    SourceError,
)
from celeiro.format import layout, pictures
from celeiro.packing import resize
from celeiro.packing.order import shuffled

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Nursery

STORES = ("pixels", "jpeg", "lossless", "encoded")
FOREIGN = Path(__file__).parents[1] / "golden" / "foreign"


def again(source: Any, tmp_path: Path, name: str = "new.h5", **options: Any) -> Any:
    """Repack and open what was made."""
    repack(source, tmp_path / name, **{"workers": 2, **options})
    return celeiro.open(tmp_path / name)


def images(ds: Any) -> list[Any]:
    """All samples, each with three axes."""
    found = [np.asarray(image) for image in ds.read(np.arange(len(ds)))]
    return [image.reshape(*image.shape[:2], -1) for image in found]


def plain(path: Path) -> dict[str, Any]:
    """Every data set that nothing but HDF5 and its plugins read."""
    values: dict[str, Any] = {}
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda name, item: (
                values.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return values


def attributes(path: Path) -> dict[str, Any]:
    with h5py.File(path, "r") as file:
        return dict(file.attrs)


def provenance(path: Path) -> Any:
    return json.loads(attributes(path)[layout.ATTR_PROVENANCE])


def crc_marks(values: dict[str, Any]) -> dict[str, Any]:
    """Without what speaks of bytes in the file."""
    return {name: v for name, v in values.items() if not name.startswith(layout.MACHINE)}


# Every store to every store


@pytest.mark.parametrize("new", STORES)
@pytest.mark.parametrize("old", STORES)
def test_samples_and_all_beside_them_reach_every_store(
    originals: Callable[[str], Any], tmp_path: Path, old: str, new: str
) -> None:
    with celeiro.open(originals(old).path) as ds, again(ds, tmp_path, store=new) as made:
        assert made.store == new
        assert made.label_names == ds.label_names
        assert made.labels.tolist() == ds.labels.tolist()
        assert list(made.keys) == list(ds.keys)
        assert made.splits == ds.splits
        for name in ds.splits:
            assert made.split(name).rows.tolist() == ds.split(name).rows.tolist()
        assert set(made.fields) == set(ds.fields)
        assert made["age"].tolist() == ds["age"].tolist()
        assert list(made["colour"]) == list(ds["colour"])
        for row in range(len(ds)):
            assert made["boxes"][row].tolist() == ds["boxes"][row].tolist()
            assert np.array_equal(made["mask"][row], ds["mask"][row])
        if new != "jpeg" or old == "jpeg":
            for one, other in zip(images(ds), images(made), strict=True):
                assert np.array_equal(one, other)
        else:
            for one, other in zip(images(ds), images(made), strict=True):
                assert np.abs(one.astype(int) - other).mean() < 8
        if (old, new) in [("encoded", "encoded"), ("jpeg", "jpeg"), ("jpeg", "encoded")]:
            for row in range(len(ds)):
                assert made.stored(row) == ds.stored(row)


@pytest.mark.parametrize("new", STORES)
@pytest.mark.parametrize("old", STORES)
def test_plain_h5py_reads_what_was_made(
    originals: Callable[[str], Any], tmp_path: Path, old: str, new: str
) -> None:
    with again(originals(old).path, tmp_path, store=new) as made:
        values = plain(tmp_path / "new.h5")
        assert values["labels"].tolist() == made.labels.tolist()
        assert values["label_names"].tolist() == [b"cat", b"dog"]
        assert values["fields/age"].tolist() == made["age"].tolist()
        for row, image in enumerate(images(made)):
            if new != "encoded":
                assert np.array_equal(values["imagens"][row], image)
                assert np.array_equal(values["fields/mask"][row], made["mask"][row])
            else:
                first, last = values["imagens_offsets"][row : row + 2]
                data = values["imagens"][first:last]
                assert np.array_equal(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), image)


@pytest.mark.parametrize("old", STORES)
def test_a_store_to_itself_holds_the_same_values_and_bytes(
    originals: Callable[[str], Any], tmp_path: Path, old: str
) -> None:
    found = originals(old).path
    again(found, tmp_path, store=old).close()
    before, after = plain(found), plain(tmp_path / "new.h5")
    assert set(before) == set(after)
    for name, value in crc_marks(before).items():
        assert np.array_equal(value, after[name]), name
    assert np.array_equal(before[layout.CRC], after[layout.CRC])


def test_there_and_back_again_ends_on_the_same_samples(
    originals: Callable[[str], Any], tmp_path: Path
) -> None:
    found = originals("pixels").path
    for number, store in enumerate(("lossless", "encoded", "lossless", "pixels")):
        repack(found, tmp_path / f"{number}.h5", store=store)
        found = tmp_path / f"{number}.h5"
    before, after = plain(originals("pixels").path), plain(found)
    for name in ("imagens", "labels", "keys", "fields/mask", "fields/boxes", "mean", "std"):
        assert np.array_equal(before[name], after[name]), name


@given(st.data())
@settings(max_examples=20)
def test_values_of_any_shape_and_type_come_through(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("any")
    kinds = st.sampled_from("? i1 u1 i2 >i2 u2 i4 u4 i8 >u8 f2 f4 >f4 f8 c8 c16".split())
    dtype = np.dtype(data.draw(kinds))
    shape = data.draw(arrays.array_shapes(min_dims=1, max_dims=4, max_side=4))
    values = data.draw(arrays.arrays(dtype, shape))
    with h5py.File(folder / "f.h5", "w") as file:
        file["data"] = values
    source = folder / "f.h5"
    for store in data.draw(st.permutations(["pixels", "lossless"])):
        with celeiro.open(source, "data") as ds, again(ds, folder, f"{store}.h5", store=store) as m:
            found = m.read(np.arange(len(m)))
        assert found.dtype == dtype.newbyteorder("=")
        assert np.array_equal(found, values, equal_nan=dtype.kind in "fc")
        source = folder / f"{store}.h5"


@pytest.mark.parametrize("new", ["pixels", "encoded"])
def test_columns_of_every_kind_go_along(photo_folder: Any, tmp_path: Path, new: Any) -> None:
    photo_folder(3)
    columns: dict[str, Any] = {
        "labels": [["a", "b"], [], ["b"]],
        "pair": [[1, 2], [3, 4], [5, 6]],
        "some": [[1.5], [], [2.5, 3.5]],
        "whole": [1, -2, 3],
        "text": ["é", "", "long enough to be a text of its own " * 9],
    }
    lines = [
        {"path": f"photos/{name}", **{key: values[at] for key, values in columns.items()}}
        for at, name in enumerate(["cat.0.jpg", "dog.1.jpg", "cat.2.jpg"])
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    celeiro.pack(tmp_path / "t.jsonl", tmp_path / "a.h5", size=8, store="lossless")
    with (
        celeiro.open(tmp_path / "a.h5") as ds,
        again(ds.select([2, 0]), tmp_path, store=new) as made,
    ):
        assert made.labels.tolist() == [[0, 1], [1, 1]]
        assert made.labels.dtype == ds.labels.dtype == np.uint8
        assert made.label_names == ("a", "b")
        assert made["pair"].tolist() == [[5, 6], [1, 2]]
        assert [made["some"][row].tolist() for row in range(2)] == [[2.5, 3.5], [1.5]]
        assert made["whole"].tolist() == [3, 1]
        assert list(made["text"]) == [columns["text"][2], "é"]
        assert set(made.fields) == {"pair", "some", "whole", "text"}


def test_names_that_are_not_utf_8_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    name = b"caf\xe9.png"
    try:
        (tmp_path / "photos" / os.fsdecode(name)).write_bytes(
            cv2.imencode(".png", np.full((4, 4, 3), 200, np.uint8))[1].tobytes()
        )
    except OSError:
        pytest.skip("this file system has names of UTF-8 alone")
    celeiro.pack(tmp_path / "photos", tmp_path / "a.h5")
    with again(tmp_path / "a.h5", tmp_path, store="pixels") as made:
        assert os.fsencode(made.keys[0]) == name
    with pytest.raises(PictureError, match=r"caf\\xe9.png"):
        repack(tmp_path / "new.h5", tmp_path / "b.h5", store="pixels", dtype="i1")


def test_names_of_classes_that_are_not_utf_8_become_what_can_be_read(
    photo_folder: Any, tmp_path: Path
) -> None:
    celeiro.pack(photo_folder(4), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["label_names"]
        file["label_names"] = np.array([b"caf\xe9", b"dog"])
    with celeiro.open(tmp_path / "a.h5", verify=False) as ds:
        assert ds.label_names == ("caf\udce9", "dog")
        with again(ds, tmp_path, store="encoded") as made:
            assert made.label_names == ("caf\\xe9", "dog")


# Size


@pytest.mark.parametrize("old", ["lossless", "encoded"])
@pytest.mark.parametrize("mode", resize.MODES)
def test_masks_and_boxes_follow_the_resize(
    originals: Callable[[str], Any], tmp_path: Path, mode: Any, old: str
) -> None:
    with (
        celeiro.open(originals(old).path) as ds,
        again(ds, tmp_path, store="pixels", size=(24, 12), resize=mode) as made,
    ):
        placed = resize.place((16, 20), (24, 12), mode)
        for row in range(len(ds)):
            assert np.array_equal(made[row][0], resize.apply(ds[row][0], placed))
            wanted = resize.apply(ds["mask"][row], placed, nearest=True)
            assert np.array_equal(made["mask"][row], wanted)
            boxes = resize.move_boxes(ds["boxes"][row], placed)
            assert made["boxes"][row].tolist() == boxes.tolist()


@pytest.mark.parametrize("mode", resize.MODES)
@pytest.mark.parametrize("store", ["pixels", "jpeg", "lossless"])
def test_from_encoded_the_file_is_that_of_packing_the_sources(
    originals: Callable[[str], Any], tmp_path: Path, store: Any, mode: Any
) -> None:
    found = originals("encoded")
    options: dict[str, Any] = {"store": store, "size": (12, 24), "resize": mode}
    repack(found.path, tmp_path / "again.h5", **options)
    celeiro.pack(found.source, tmp_path / "once.h5", **options)
    once, twice = plain(tmp_path / "once.h5"), plain(tmp_path / "again.h5")
    assert set(once) == set(twice)
    for name, value in once.items():
        if name not in (layout.INDEX, layout.field_index("mask")):  # provenance moves the bytes
            assert np.array_equal(value, twice[name]), name


def test_size_takes_text_and_numbers(originals: Callable[[str], Any], tmp_path: Path) -> None:
    for number, size in enumerate(["8x9", (8, 9), 8]):
        with again(originals("jpeg").path, tmp_path, f"{number}.h5", store="jpeg", size=size) as m:
            assert m.shape == (7, 8, 8 if size == 8 else 9, 3)


def test_a_jpeg_of_the_same_size_stays_though_another_quality_is_asked(
    originals: Callable[[str], Any], tmp_path: Path
) -> None:
    found = originals("jpeg").path
    options: dict[str, Any] = {"store": "jpeg", "size": "16x20", "quality": 30}
    with celeiro.open(found) as ds, again(ds, tmp_path, **options) as made:
        assert [made.stored(row) for row in range(7)] == [ds.stored(row) for row in range(7)]


def test_samples_without_two_axes_have_no_size(tmp_path: Path) -> None:
    celeiro.pack(np.zeros((3, 9), np.float32), tmp_path / "a.h5")
    with pytest.raises(OptionError, match=r"shape \(9,\) are no pictures"):
        repack(tmp_path / "a.h5", tmp_path / "b.h5", store="pixels", size=8)


def test_pictures_of_different_sizes_need_one(photo_folder: Any, tmp_path: Path) -> None:
    folder = photo_folder(2)
    cv2.imwrite(str(folder / "cat.9.jpg"), np.zeros((9, 9, 3), np.uint8))
    celeiro.pack(folder, tmp_path / "a.h5")
    for store in ("pixels", "jpeg", "lossless"):
        with pytest.raises(OptionError, match="differ in size.*--size, or --store encoded"):
            repack(tmp_path / "a.h5", tmp_path / "b.h5", store=store)
    assert not (tmp_path / "b.h5.partial").exists()
    repack(tmp_path / "a.h5", tmp_path / "b.h5", store="pixels", size=8)


def test_max_side_shrinks_the_longer_ones_alone(photo_folder: Any, tmp_path: Path) -> None:
    folder = photo_folder(2)
    cv2.imwrite(str(folder / "cat.9.jpg"), np.zeros((9, 9, 3), np.uint8))
    celeiro.pack(folder, tmp_path / "a.h5")
    with (
        celeiro.open(tmp_path / "a.h5") as ds,
        again(ds, tmp_path, store="encoded", max_side=20) as made,
    ):
        assert made.shapes[:, :2].max(axis=1).tolist() == [20, 9, 20]
        assert made.reencoded.tolist() == [1, 0, 1]
        assert made.stored(1) == ds.stored(1)
    # Marks stay where nothing else is shrunk.
    with again(tmp_path / "new.h5", tmp_path, "third.h5", store="encoded") as third:
        assert third.reencoded.tolist() == [1, 0, 1]
        with again(third.select([1, 2]), tmp_path, "fourth.h5", store="encoded") as fourth:
            assert fourth.reencoded.tolist() == [0, 1]


@pytest.mark.parametrize("old", ["pixels", "jpeg", "lossless"])
def test_what_was_no_file_is_marked_as_encoded_again(
    originals: Callable[[str], Any], tmp_path: Path, old: str
) -> None:
    with again(originals(old).path, tmp_path, store="encoded") as made:
        assert made.reencoded.tolist() == [1] * 7
    with again(originals("encoded").path, tmp_path, "e.h5", store="encoded") as made:
        assert made.reencoded is None


# Mean and deviation


@pytest.mark.parametrize("check", ["header", "decode"])
@pytest.mark.parametrize(
    ("old", "new"), [("pixels", "pixels"), ("pixels", "lossless"), ("lossless", "jpeg"),
                     ("encoded", "pixels"), ("jpeg", "jpeg"), ("jpeg", "lossless")]
)  # fmt: skip
def test_mean_and_deviation_are_there_and_say_of_what(
    originals: Callable[[str], Any], tmp_path: Path, old: str, new: str, check: Any
) -> None:
    with again(originals(old).path, tmp_path, store=new, check=check) as made:
        with h5py.File(tmp_path / "new.h5") as file:
            measured = file["mean"].attrs[layout.ATTR_MEASURED]
            assert file["std"].attrs[layout.ATTR_MEASURED] == measured
        values = np.stack(images(made)).reshape(-1, 3)
        if new == "jpeg" and check == "header":
            assert measured == layout.MEASURED_INPUT.encode()
        else:
            assert measured == layout.MEASURED_STORED.encode()
            assert np.allclose(made.mean, values.mean(axis=0))
            assert np.allclose(made.std, values.std(axis=0))


@pytest.mark.parametrize("first", ["header", "decode"])
def test_what_was_measured_is_still_told_after_the_third_time(
    photo_folder: Any, tmp_path: Path, first: Any
) -> None:
    celeiro.pack(photo_folder(3), tmp_path / "0.h5", size=8, store="jpeg", check=first)
    for number in range(3):
        repack(tmp_path / f"{number}.h5", tmp_path / f"{number + 1}.h5", store="jpeg")
    with h5py.File(tmp_path / "0.h5") as before, h5py.File(tmp_path / "3.h5") as after:
        for name in (layout.MEAN, layout.STD):
            assert np.array_equal(before[name][:], after[name][:])
            assert dict(before[name].attrs) == dict(after[name].attrs)


def test_some_of_the_samples_have_not_the_mean_of_all(
    originals: Callable[[str], Any], tmp_path: Path
) -> None:
    with (
        celeiro.open(originals("jpeg").path) as ds,
        again(ds.select([1, 2]), tmp_path, store="jpeg") as made,
    ):
        assert made.mean is None
        assert made.std is None


def test_encoded_keeps_the_mean_that_was_measured_of_it(photo_folder: Any, tmp_path: Path) -> None:
    celeiro.pack(photo_folder(3), tmp_path / "a.h5", check="decode")
    celeiro.pack(tmp_path / "photos", tmp_path / "unmeasured.h5")
    with celeiro.open(tmp_path / "a.h5") as ds, again(ds, tmp_path, store="encoded") as made:
        assert ds.mean is not None
        assert made.mean.tolist() == ds.mean.tolist()
    with again(tmp_path / "unmeasured.h5", tmp_path, "b.h5", store="encoded") as made:
        assert made.mean is None


# Colours, keys, provenance


def test_the_colour_order_stays_or_is_turned(
    originals: Callable[[str], Any], tmp_path: Path
) -> None:
    with celeiro.open(originals("pixels").path) as ds:
        rgb = np.stack(images(ds))
        with again(ds, tmp_path, "bgr.h5", store="pixels", color="BGR") as made:
            assert made.color == "BGR"
            assert np.array_equal(made.read(np.arange(7)), rgb[..., ::-1])
    for store in ("pixels", "lossless"):
        with again(tmp_path / "bgr.h5", tmp_path, f"{store}.h5", store=store) as made:
            assert made.color == "BGR"
            assert np.array_equal(made.read(np.arange(7)), rgb[..., ::-1])
    with again(tmp_path / "bgr.h5", tmp_path, "rgb.h5", store="lossless", color="RGB") as made:
        assert made.color == "RGB"
        assert np.array_equal(made.read(np.arange(7)), rgb)
    with again(tmp_path / "bgr.h5", tmp_path, "e.h5", store="encoded") as made:
        assert made.color == "RGB"
        assert np.array_equal(np.stack(images(made)), rgb)
    with again(tmp_path / "bgr.h5", tmp_path, "j.h5", store="jpeg") as made:
        once = simplejpeg.decode_jpeg(made.stored(0))
        assert np.abs(once.astype(int) - rgb[0]).mean() < 8


@pytest.mark.parametrize("old", ["pixels", "jpeg", "lossless"])
def test_channels_are_turned_and_resized_at_once(
    originals: Callable[[str], Any], tmp_path: Path, old: str
) -> None:
    options: dict[str, Any] = {"store": "pixels", "size": (7, 9)}
    with (
        again(originals(old).path, tmp_path, "rgb.h5", **options) as rgb,
        again(originals(old).path, tmp_path, "bgr.h5", color="BGR", **options) as bgr,
    ):
        assert np.array_equal(rgb.read(range(7)), bgr.read(range(7))[..., ::-1])


@pytest.mark.parametrize("old", STORES)
def test_a_dataset_that_was_opened_in_an_order_is_stored_in_it(
    originals: Callable[[str], Any], tmp_path: Path, old: str
) -> None:
    with (
        celeiro.open(originals(old).path, color="BGR") as ds,
        again(ds, tmp_path, store="pixels") as made,
    ):
        assert made.color == "BGR"
        assert np.array_equal(np.stack(images(made)), np.stack(images(ds)))


def test_pictures_opened_in_grey_are_stored_in_grey(
    originals: Callable[[str], Any], tmp_path: Path
) -> None:
    with celeiro.open(originals("encoded").path, color="GRAY") as ds:
        for store in ("pixels", "lossless", "jpeg"):
            with again(ds, tmp_path, f"{store}.h5", store=store) as made:
                assert made.color == "GRAY"
                assert made.shape == (7, 16, 20, 1)
                if store != "jpeg":
                    assert np.array_equal(made.read(range(7)), np.stack(images(ds)))


@pytest.mark.parametrize("new", ["jpeg", "encoded"])
def test_jpegs_opened_in_another_order_are_not_encoded_twice(
    originals: Callable[[str], Any], tmp_path: Path, new: str
) -> None:
    with (
        celeiro.open(originals("jpeg").path, color="BGR") as ds,
        pytest.raises(OptionError, match="Open it without color="),
    ):
        repack(ds, tmp_path / "new.h5", store=new)


@pytest.mark.parametrize(
    ("old", "options"),
    [
        ("pixels", {"store": "jpeg", "color": "BGR"}),
        ("encoded", {"store": "jpeg", "color": "BGR"}),
        ("pixels", {"store": "encoded", "color": "BGR"}),
        ("encoded", {"store": "encoded", "color": "BGR"}),
        ("pixels", {"store": "pixels", "color": "GRAY"}),
        ("pixels", {"store": "pixels", "color": "CMYK"}),
        ("encoded", {"store": "pixels", "color": "CMYK"}),
    ],
)
def test_an_order_that_cannot_be_is_refused_and_not_passed_over(
    originals: Callable[[str], Any], tmp_path: Path, old: str, options: Any
) -> None:
    with pytest.raises(OptionError, match=options["color"]):
        repack(originals(old).path, tmp_path / "new.h5", **options)


@pytest.mark.parametrize("old", ["pixels", "encoded"])
def test_the_key_stays_or_is_another(
    originals: Callable[[str], Any], tmp_path: Path, old: str
) -> None:
    with again(originals(old).path, tmp_path, "a.h5", store=old, key="images") as made:
        assert made.key == "images"
    with again(tmp_path / "a.h5", tmp_path, "b.h5", store="lossless") as made:
        assert made.key == "images"
        assert "images" in plain(tmp_path / "b.h5")
        assert made.labels is not None


@pytest.mark.parametrize(("found", "made"), [("a/b/x", "x"), ("labels", "imagens"), ("x.y", "ima")])
def test_a_key_that_ours_may_not_have_becomes_imagens(
    tmp_path: Path, found: str, made: str
) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file[found] = np.zeros((2, 3, 3), np.uint8)
    with celeiro.open(tmp_path / "f.h5", found) as ds, again(ds, tmp_path, store="pixels") as new:
        assert new.key.startswith(made)


def test_the_new_file_tells_of_the_old_one(originals: Callable[[str], Any], tmp_path: Path) -> None:
    again(originals("encoded").path, tmp_path, "a.h5", store="pixels", size=8).close()
    told = provenance(tmp_path / "a.h5")
    assert told["labels_from"] == "dataset"
    assert told["repacked_from"]["store"] == "encoded"
    assert told["repacked_from"]["options"]["store"] == "encoded"
    assert "repack" not in told
    again(tmp_path / "a.h5", tmp_path, "b.h5", store="lossless", dtype="f4", scale=2).close()
    assert provenance(tmp_path / "b.h5")["repack"] == {"dtype": "<f4", "scale": 2.0}


def test_no_path_and_no_time_reaches_the_file(
    originals: Callable[[str], Any], tmp_path: Path
) -> None:
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(originals("jpeg").path, folder / f"in{number}.h5")
        repack(folder / f"in{number}.h5", folder / "out.h5", store="lossless")
    assert (tmp_path / "1/out.h5").read_bytes() == (tmp_path / "2/out.h5").read_bytes()


# Other people's files


def test_floats_of_gzip_become_bytes(tmp_path: Path) -> None:
    wanted = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), np.uint8)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("X", data=(wanted / 255).astype(np.float32), compression="gzip",
                            chunks=(2, 6, 7, 3), shuffle=True)  # fmt: skip
        file["y"] = np.arange(5, dtype=np.uint8)
    with again(tmp_path / "f.h5", tmp_path, store="pixels", dtype="uint8", scale=255) as made:
        assert made.key == "X"
        assert made.dtype == np.uint8
        assert np.array_equal(made.read(range(5)), wanted)
        assert made.labels.tolist() == [0, 1, 2, 3, 4]
        assert made.keys is None
        assert np.allclose(made.mean, wanted.reshape(-1, 3).mean(axis=0))
    with again(tmp_path / "f.h5", tmp_path, "j.h5", store="jpeg", dtype=np.uint8, scale=255) as m:
        assert m.shape == (5, 6, 7, 3)


def test_floats_need_a_type_to_become_jpegs_or_pngs(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["images"] = np.zeros((2, 6, 7, 3), np.float32)
    with pytest.raises(OptionError, match="uint8"):
        repack(tmp_path / "f.h5", tmp_path / "o.h5", store="jpeg")
    with pytest.raises(PictureError, match="sample 0.*Choose --store lossless"):
        repack(tmp_path / "f.h5", tmp_path / "o.h5", store="encoded")


@pytest.mark.parametrize("store", ["pixels", "lossless"])
def test_sixteen_bits_stay_sixteen(tmp_path: Path, store: Any) -> None:
    wanted = np.random.default_rng(0).integers(0, 65536, (4, 5, 6, 3), np.uint16)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("images", data=wanted.astype(">u2"), compression="lzf")
    with again(tmp_path / "f.h5", tmp_path, store=store) as made:
        assert made.dtype == np.uint16
        assert np.array_equal(made.read(range(4)), wanted)
        assert made.labels is None
        assert made.label_names == ()
        assert made.splits == ()


def test_sixteen_bits_stand_in_the_pngs_of_encoded(tmp_path: Path) -> None:
    wanted = np.random.default_rng(0).integers(0, 65536, (4, 5, 6, 3), np.uint16)
    celeiro.pack(wanted, tmp_path / "a.h5")
    with again(tmp_path / "a.h5", tmp_path, store="encoded") as made:
        data = made.stored(2)
    assert np.array_equal(pictures.decode_mask(data), wanted[2])


def test_features_have_no_colour(tmp_path: Path) -> None:
    wanted = np.random.default_rng(0).normal(size=(9, 33)).astype(np.float32)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("features", data=wanted, chunks=(4, 10), compression="gzip")
        file["labels"] = np.arange(9)
    for store in ("pixels", "lossless"):
        with again(tmp_path / "f.h5", tmp_path, f"{store}.h5", store=store) as made:
            assert made.color == ""
            assert np.array_equal(made.read(range(9)), wanted)
            assert np.allclose(made.mean, wanted.mean(axis=0))


def test_labels_come_from_the_other_file_of_a_pair(tmp_path: Path) -> None:
    with celeiro.open(FOREIGN / "pcam_split_valid_x.h5") as ds:
        assert ds.labels is not None
        with again(ds, tmp_path, store="jpeg") as made:
            assert made.labels.tolist() == ds.labels.tolist()
            assert made.labels.dtype == np.int64
            assert made.shape == ds.shape


@pytest.mark.parametrize(
    "path",
    sorted(p for p in FOREIGN.iterdir() if p.suffix in (".h5", ".hdf5", ".mat")
           and p.name != "pcam_split_valid_y.h5"),
    ids=lambda path: path.name,
)  # fmt: skip
def test_every_golden_file_of_others_reaches_lossless(path: Path, tmp_path: Path) -> None:
    with celeiro.open(path) as ds, again(ds, tmp_path, store="lossless") as made:
        assert np.array_equal(made.read(range(len(ds))), ds.read(range(len(ds))))
        assert made.label_names == ds.label_names
        if ds.labels is not None:
            assert np.array_equal(made.labels, ds.labels)


def test_labels_of_the_callers_own_go_along(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["x"] = np.zeros((3, 4, 4), np.uint8)
    with (
        celeiro.open(tmp_path / "f.h5", labels=[0.5, 1.5, 2.5]) as ds,
        again(ds, tmp_path, store="lossless") as made,
    ):
        assert made.labels.tolist() == [0.5, 1.5, 2.5]


def test_a_chunk_of_many_samples_is_no_sample(tmp_path: Path) -> None:
    values = np.arange(40 * 12, dtype=np.int32).reshape(40, 3, 4)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("data", data=values, chunks=(16, 2, 4), compression="gzip")
    with again(tmp_path / "f.h5", tmp_path, store="pixels", workers=4) as made:
        assert np.array_equal(made.read(range(40)), values)


# Types


def test_a_value_that_the_type_cannot_hold_names_the_sample_and_what_to_do(tmp_path: Path) -> None:
    values = np.zeros((5, 4, 4), np.int16)
    values[3, 1, 2] = -7
    celeiro.pack(values, tmp_path / "a.h5")
    with pytest.raises(PictureError) as caught:
        repack(tmp_path / "a.h5", tmp_path / "b.h5", store="pixels", dtype="uint8")
    assert "sample 3" in str(caught.value)
    assert "its value -7 is none of uint8. Choose another dtype" in str(caught.value)
    assert not (tmp_path / "b.h5").exists()


def test_no_number_stays_none_and_is_no_byte(tmp_path: Path) -> None:
    values = np.zeros((2, 4, 4), np.float32)
    values[1, 0, 0] = np.nan
    celeiro.pack(values, tmp_path / "a.h5")
    with pytest.raises(PictureError, match="sample 1.*nan"):
        repack(tmp_path / "a.h5", tmp_path / "b.h5", store="pixels", dtype="uint8", fresh=True)
    with again(tmp_path / "a.h5", tmp_path, store="lossless", dtype="f2") as made:
        assert np.array_equal(made.read([0, 1]), values.astype("f2"), equal_nan=True)
    with pytest.raises(PictureError, match="sample 1.*nan"):
        repack(tmp_path / "a.h5", tmp_path / "c.h5", store="pixels", dtype="u1", scale=255.0)


@pytest.mark.parametrize(
    ("old", "new"), [("encoded", "pixels"), ("encoded", "encoded"), ("pixels", "encoded")]
)
@pytest.mark.parametrize("options", [{"dtype": "f4"}, {"scale": 2.0}])
def test_picture_files_have_no_type_to_choose(
    originals: Callable[[str], Any], tmp_path: Path, old: str, new: Any, options: Any
) -> None:
    with pytest.raises(OptionError, match="Leave them out"):
        repack(originals(old).path, tmp_path / "b.h5", store=new, **options)


@pytest.mark.parametrize("dtype", ["U3", "O", "M8[ns]", "V4", "g", "S2", "no type", ("u1", 3)])
def test_a_type_that_the_format_does_not_hold_is_refused(tmp_path: Path, dtype: Any) -> None:
    celeiro.pack(np.zeros((2, 4, 4), np.uint8), tmp_path / "a.h5")
    for store in ("pixels", "lossless"):
        with pytest.raises(OptionError, match="dtype|numbers"):
            repack(tmp_path / "a.h5", tmp_path / "b.h5", store=store, dtype=dtype)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5"]


@pytest.mark.parametrize("scale", [0, float("nan"), float("inf"), "2"])
def test_a_factor_that_leaves_nothing_is_refused(tmp_path: Path, scale: Any) -> None:
    celeiro.pack(np.zeros((2, 4, 4), np.uint8), tmp_path / "a.h5")
    with pytest.raises(OptionError, match="scale"):
        repack(tmp_path / "a.h5", tmp_path / "b.h5", store="pixels", scale=scale)


def test_a_big_endian_type_is_the_same_type(tmp_path: Path) -> None:
    celeiro.pack(np.arange(8, dtype=np.int16).reshape(2, 4), tmp_path / "a.h5")
    with again(tmp_path / "a.h5", tmp_path, store="pixels", dtype=">i4") as made:
        assert made.read([0, 1]).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


# Views, order, splits


@pytest.mark.parametrize("store", STORES)
def test_a_view_is_a_source(originals: Callable[[str], Any], tmp_path: Path, store: Any) -> None:
    rows = [6, 0, 3, 3]
    with (
        celeiro.open(originals("encoded").path) as ds,
        again(ds.select(rows), tmp_path, store=store) as made,
    ):
        assert list(made.keys) == [ds.keys[row] for row in rows]
        assert made["age"].tolist() == [ds["age"][row] for row in rows]
        assert made.split("val").rows.tolist() == [0]
        assert made.split("train").rows.tolist() == [1, 2, 3]
        for at, row in enumerate(rows):
            assert np.array_equal(made["mask"][at], ds["mask"][row])
            if store != "jpeg":
                assert np.array_equal(made[at][0], ds[row][0])


@pytest.mark.parametrize("old", ["pixels", "encoded"])
def test_one_split_is_a_source(originals: Callable[[str], Any], tmp_path: Path, old: str) -> None:
    with (
        celeiro.open(originals(old).path) as ds,
        again(ds.split("val"), tmp_path, store="lossless") as made,
    ):
        assert len(made) == 2
        assert made.split("val").rows.tolist() == [0, 1]
        assert np.array_equal(made[0][0], ds[5][0])


def test_a_shuffled_view_keeps_every_sample_in_its_split(
    originals: Callable[[str], Any], tmp_path: Path
) -> None:
    rows = np.random.default_rng(1).permutation(7)
    with celeiro.open(originals("pixels").path) as ds:
        view = ds.select(rows)
        with again(view, tmp_path, store="lossless", shuffle=True, seed=4) as made:
            order = rows[shuffled(7, 4)]
            assert np.array_equal(made.read(range(7)), ds.read(order))
            assert made.labels.tolist() == ds.labels[order].tolist()
            for name in ("train", "val"):
                kept = {made.keys[row] for row in made.split(name).rows.tolist()}
                assert kept == set(ds.split(name).keys)
            for at, row in enumerate(order.tolist()):
                assert made["boxes"][at].tolist() == ds["boxes"][row].tolist()
                assert np.array_equal(made["mask"][at], ds["mask"][row])


def test_new_splits_take_the_place_of_the_old(
    originals: Callable[[str], Any], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"store": "lossless", "split": "a=0.5,b=0.5"}
    with again(originals("pixels").path, tmp_path, "a.h5", seed=1, **options) as made:
        assert made.splits == ("a", "b")
        assert len(made.split("a")) + len(made.split("b")) == 7
        rows = made.split("a").rows.tolist()
    with again(originals("pixels").path, tmp_path, "b.h5", seed=1, **options) as made:
        assert made.split("a").rows.tolist() == rows
    told = provenance(tmp_path / "a.h5")["options"]
    assert (told["split"], told["seed"]) == ({"a": 0.5, "b": 0.5}, 1)


def test_a_dataset_stays_open_for_who_opened_it(
    originals: Callable[[str], Any], tmp_path: Path
) -> None:
    with celeiro.open(originals("pixels").path) as ds:
        repack(ds, tmp_path / "a.h5", store="jpeg")
        assert ds[0][0].shape == (16, 20, 3)


# Damage


@pytest.mark.parametrize("new", STORES)
@pytest.mark.parametrize("old", ["jpeg", "lossless", "encoded"])
def test_damaged_samples_stop_or_are_left_out_and_listed(
    packed: Callable[[str], Any], flip: Callable[..., None], tmp_path: Path, old: str, new: Any
) -> None:
    found = packed(old).path
    with celeiro.open(found) as ds:
        keys = list(ds.keys)
        for number in (0, 4):
            offset, length = ds._opened.contents.samples.place(number)
            flip(found, offset + length // 2)
    with pytest.raises(PictureError, match=r"0\.jpg"):
        repack(found, tmp_path / "a.h5", store=new)
    report = repack(found, tmp_path / "a.h5", store=new, on_error="skip", workers=2)
    assert [name for name, _ in report.refused] == [keys[0], keys[4]]
    assert report.samples == 5
    with celeiro.open(tmp_path / "a.h5") as made:
        assert list(made.keys) == [key for at, key in enumerate(keys) if at not in (0, 4)]
        assert made.split("val").rows.tolist() == [3, 4]
        if (old, new) == ("jpeg", "jpeg"):
            assert made.mean is None  # that of all would not be true


@pytest.mark.parametrize("old", ["lossless", "encoded"])
def test_a_damaged_first_mask_may_be_left_out(
    packed: Callable[[str], Any], flip: Callable[..., None], tmp_path: Path, old: str
) -> None:
    found = packed(old).path
    with celeiro.open(found) as ds:
        offset, length = ds["mask"]._samples.place(0)
    flip(found, offset + length // 2)
    with pytest.raises(PictureError, match=r"0\.jpg.*mask"):
        repack(found, tmp_path / "a.h5", store="pixels")
    report = repack(found, tmp_path / "a.h5", store="pixels", on_error="skip")
    assert report.samples == 6


def test_a_jpeg_that_is_not_what_the_file_says_is_refused(
    packed: Callable[[str], Any], tmp_path: Path
) -> None:
    """Its checksum is right: somebody wrote it so."""
    found = packed("jpeg").path
    with h5py.File(found, "r+") as file:
        data = simplejpeg.encode_jpeg(np.zeros((20, 16, 3), np.uint8))
        file["imagens"].id.write_direct_chunk((2, 0, 0, 0), data)
    with celeiro.open(found, verify=False) as ds, pytest.raises(PictureError, match="20, 16"):
        repack(ds, tmp_path / "a.h5", store="jpeg")


# Refusals


def test_nothing_stands_in_the_place_of_something(
    originals: Callable[[str], Any], tmp_path: Path
) -> None:
    (tmp_path / "a.h5").write_bytes(b"precious")
    with pytest.raises(ExistsError, match="--overwrite"):
        repack(originals("jpeg").path, tmp_path / "a.h5", store="pixels")
    assert (tmp_path / "a.h5").read_bytes() == b"precious"
    repack(originals("jpeg").path, tmp_path / "a.h5", store="pixels", overwrite=True)
    assert celeiro.open(tmp_path / "a.h5").store == "pixels"


@pytest.mark.parametrize("link", ["itself", "hard", "soft"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_the_source_is_never_the_output(
    packed: Callable[[str], Any], tmp_path: Path, link: str, overwrite: bool
) -> None:
    found = packed("jpeg").path
    before = found.read_bytes()
    out = found
    if link != "itself":
        out = tmp_path / "link.h5"
        out.hardlink_to(found) if link == "hard" else out.symlink_to(found)
    with pytest.raises(OptionError, match="the source itself"):
        repack(found, out, store="pixels", overwrite=overwrite)
    assert found.read_bytes() == before


def test_no_sample_is_nothing_to_pack(originals: Callable[[str], Any], tmp_path: Path) -> None:
    with celeiro.open(originals("jpeg").path) as ds, pytest.raises(SourceError, match="no sample"):
        repack(ds.select([]), tmp_path / "a.h5", store="pixels")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"store": "zip"}, "zip"),
        ({"store": "encoded", "size": 8}, "--max-side"),
        ({"store": "pixels", "max_side": 8}, "--size"),
        ({"store": "pixels", "workers": 0}, "workers"),
        ({"store": "pixels", "on_error": "quarantine"}, "quarantine"),
        ({"store": "pixels", "on_error": "pass"}, "pass"),
        ({"store": "pixels", "resize": "zoom"}, "zoom"),
        ({"store": "jpeg", "quality": 0}, "quality"),
        ({"store": "pixels", "split": "a=0.5"}, "split"),
        ({"store": "pixels", "key": "labels"}, "labels"),
    ],
)
def test_options_that_contradict_each_other_are_refused_before_anything(
    originals: Callable[[str], Any], tmp_path: Path, options: Any, message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        repack(originals("pixels").path, tmp_path / "a.h5", **options)
    assert list(tmp_path.iterdir()) == []


# Killed, and gone on with


CASES: dict[str, dict[str, Any]] = {
    "pixels": {"store": "pixels", "size": "9x7", "resize": "pad"},
    "jpeg": {"store": "jpeg"},
    "lossless": {"store": "lossless", "shuffle": True, "seed": 2},
    "encoded": {"store": "encoded", "split": {"a": 0.5, "b": 0.5}},
}
COUNT = 60


@pytest.fixture(scope="module")
def large(originals: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples enough to be killed amid: the seven, many times."""
    folder = tmp_path_factory.mktemp("large")
    with celeiro.open(originals("jpeg").path) as ds:
        repack(ds.select(np.arange(COUNT) % 7), folder / "large.h5", store="jpeg")
    return folder / "large.h5"


REPACK = """
from celeiro.care.repack import repack

def on_progress(progress):
    global callbacks
    callbacks -= 1
    if not callbacks:
        kill()

if call >= 0:
    result = before_call(call, torn=torn)
repack(
    source, out, workers=workers, buffer_size=buffer_size, on_progress=on_progress, **options
)
"""


def packing(nursery: Nursery, source: Path, out: Path, options: Any, **how: Any) -> Any:
    """Repack in a child that may be told to die."""
    defaults = {"callbacks": -1, "call": -1, "torn": False, "workers": 2, "buffer_size": 14}
    return nursery.run(REPACK, source=source, out=out, options=options, **defaults | how)


@pytest.mark.parametrize("case", CASES)
def test_killed_at_several_moments_the_same_call_ends_on_the_same_file(
    case: str, large: Path, nursery: Nursery, tmp_path: Path
) -> None:
    repack(large, tmp_path / "once.h5", workers=1, **CASES[case])
    moments = random.Random(case)
    out = tmp_path / "out.h5"
    for workers in (1, 7, 2):
        end = packing(
            nursery, large, out, CASES[case], workers=workers, callbacks=moments.randrange(2, 5)
        )
        assert end.killed, end.message
        assert not out.exists()
    end = packing(nursery, large, out, CASES[case], workers=7)
    assert end.error is None, end.message
    assert out.read_bytes() == (tmp_path / "once.h5").read_bytes()
    assert not (tmp_path / "out.h5.partial").exists()


@pytest.mark.parametrize("case", CASES)
def test_killed_before_any_call_that_changes_the_disk_too(
    case: str, originals: Callable[[str], Any], nursery: Nursery, tmp_path: Path
) -> None:
    source = originals("jpeg").path
    how: dict[str, Any] = {"workers": 1, "buffer_size": 2}
    once = tmp_path / "once.h5"
    calls = packing(nursery, source, once, CASES[case], call=1_000_000, **how).result
    assert len(calls) > 10
    for moment in random.Random(case).sample(range(len(calls)), 2):
        out = tmp_path / f"{moment}.h5"
        torn = bool(moment % 2)
        assert packing(nursery, source, out, CASES[case], call=moment, torn=torn, **how).killed
        if not out.exists() or (tmp_path / f"{moment}.h5.partial").exists():
            end = packing(nursery, source, out, CASES[case], **how)
            assert end.error in (None, "ExistsError"), end.message
        assert out.read_bytes() == once.read_bytes()


@pytest.mark.parametrize("case", CASES)
def test_neither_workers_nor_buffers_change_the_file(
    case: str, large: Path, tmp_path: Path
) -> None:
    files = set()
    for workers, buffer_size in [(1, 1), (7, 30)]:
        out = tmp_path / f"{workers}.h5"
        repack(large, out, workers=workers, buffer_size=buffer_size, **CASES[case])
        files.add(out.read_bytes())
    assert len(files) == 1


def begun(source: Any, out: Path, **options: Any) -> None:
    """Stop a repack midway, as Ctrl-C does."""

    def stop(progress: Any) -> None:
        if progress.done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repack(source, out, workers=2, buffer_size=20, on_progress=stop, **options)


def test_going_on_says_where(large: Path, tmp_path: Path) -> None:
    begun(large, tmp_path / "o.h5", store="pixels")
    report = repack(large, tmp_path / "o.h5", store="pixels")
    assert report.resumed > 20
    assert report.samples == COUNT


def test_a_source_that_changed_since_is_told(large: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.h5"
    shutil.copy(large, source)
    begun(source, tmp_path / "o.h5", store="pixels")
    with celeiro.open(large) as ds:
        order = np.arange(COUNT)
        order[[3, 4]] = [4, 3]
        repack(ds.select(order), source, store="jpeg", overwrite=True)
    with pytest.raises(ResumeError, match="changed since packing began.*picture 4"):
        repack(source, tmp_path / "o.h5", store="pixels")
    report = repack(source, tmp_path / "o.h5", store="pixels", fresh=True)
    assert report.resumed == 0


def test_a_foreign_source_that_changed_since_is_told(tmp_path: Path) -> None:
    source = tmp_path / "f.h5"
    with h5py.File(source, "w") as file:
        file["images"] = np.zeros((COUNT, 8, 8, 3), np.uint8)
    begun(source, tmp_path / "o.h5", store="lossless")
    with h5py.File(source, "r+") as file:
        file["images"][3] = 1
    with pytest.raises(ResumeError, match="picture 1"):
        repack(source, tmp_path / "o.h5", store="lossless")


@pytest.mark.parametrize(
    "other", [{"store": "lossless"}, {"dtype": "f4"}, {"scale": 2.0}, {"color": "BGR"},
              {"shuffle": True}, {"key": "k"}, {"size": 4}]
)  # fmt: skip
def test_other_options_do_not_go_on_with_what_was_begun(
    large: Path, tmp_path: Path, other: Any
) -> None:
    begun(large, tmp_path / "o.h5", store="pixels")
    with pytest.raises(ResumeError):
        repack(large, tmp_path / "o.h5", **{"store": "pixels", **other})


def test_another_view_does_not_go_on_with_what_was_begun(large: Path, tmp_path: Path) -> None:
    with celeiro.open(large) as ds:
        begun(ds.select(np.arange(COUNT)[::-1].copy()), tmp_path / "o.h5", store="pixels")
        with pytest.raises(ResumeError):
            repack(ds, tmp_path / "o.h5", store="pixels")


def test_progress_is_told(
    originals: Callable[[str], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen = []
    with caplog.at_level(logging.WARNING):
        repack(
            originals("encoded").path, tmp_path / "a.h5", store="encoded",
            on_progress=lambda p: seen.append((p.done, p.total)),
        )  # fmt: skip
    assert seen[0] == (0, 7)
    assert seen[-1] == (7, 7)
    assert caplog.text == ""
