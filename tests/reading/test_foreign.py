"""What is what in files of others: tables for the choice, real files, and hostile ones."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin  # noqa: F401  (h5py reads Blosc with it)
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeiro.errors import FormatError
from celeiro.reading import choice, foreign, hdf5
from celeiro.reading.choice import Candidate
from celeiro.reading.foreign import Found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOLDEN = Path(__file__).parents[1] / "golden" / "foreign"
EXPECTED: dict[str, dict[str, Any]] = json.loads(
    (GOLDEN / "expected.json").read_text(encoding="utf-8")
)
LOGGER = "celeiro.reading.foreign"


def candidates(table: str) -> list[Candidate]:
    """From lines of a path, a shape and perhaps a kind: ``train/x 12,8,8 real``."""
    rows = []
    for line in table.split(";"):
        path, shape, *rest = line.split()
        sizes = tuple(int(size) for size in shape.split(",") if size)
        kind: Any = rest[0] if rest else "real"
        rows.append(Candidate(path, sizes, kind, kind, 8 * int(np.prod(sizes))))
    return rows


@contextlib.contextmanager
def file_with(path: Path, fill: Callable[[h5py.File], object], **options: Any) -> Iterator[Any]:
    """The file that a function filled, open for reading."""
    with h5py.File(path, "w", **options) as file:
        fill(file)
    with h5py.File(path, "r") as file:
        yield file


def found_in(path: Path, fill: Callable[[h5py.File], object], **asked: Any) -> Found:
    with file_with(path, fill) as file:
        return foreign.find(file, path, **asked)


def pictures(file: h5py.File, name: str = "images", count: int = 6) -> None:
    file[name] = np.zeros((count, 4, 4, 3), np.uint8)


# Files that others' tools wrote


@pytest.mark.parametrize("name", EXPECTED)
def test_the_files_of_real_tools_are_understood(name: str) -> None:
    expected = EXPECTED[name]
    path = GOLDEN / name
    with hdf5.reading(path) as file:
        found = foreign.find(file, path)
        classes = foreign.names_of_classes(file, found.label_names) if found.label_names else ()
    beside = expected["labels_file"]
    assert found == Found(
        expected["key"],
        expected["labels"],
        GOLDEN / beside if beside else None,
        expected["label_names"],
    )
    assert list(classes) == expected["classes"]


@pytest.mark.parametrize("name", EXPECTED)
def test_golden_files_are_small_and_hold_what_is_expected(name: str) -> None:
    expected = EXPECTED[name]
    assert (GOLDEN / name).stat().st_size == expected["file_bytes"] < 30_000
    with h5py.File(GOLDEN / name) as file:
        samples = file[expected["key"]]
        assert list(samples.shape) == expected["shape"]
        assert samples.dtype == expected["dtype"]
        assert hashlib.sha256(samples[:].tobytes()).hexdigest() == expected["sha256"]
    with h5py.File(GOLDEN / (expected["labels_file"] or name)) as file:
        assert file[expected["labels"]][:].ravel().tolist() == expected["label_values"]


def test_there_is_a_golden_file_of_each_tool() -> None:
    tools = {name.partition("_")[0] for name in EXPECTED}
    assert tools == {"rosebrock", "pcam", "keras", "matlab", "pytables"}


# The choice of samples


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        # Usual names before larger ones, those of pictures first, whatever the case.
        ("imagens 6,4; other 6,9", "imagens"),
        ("features 6,2; images 6,4", "images"),
        ("images 6,2; features 6,9", "images"),
        ("X 6,4; y 6,", "X"),
        ("data 6,4; zzz 6,9", "data"),
        ("Images 6,4; zzz 6,9", "Images"),
        ("a/b/images 6,4; zzz 6,9", "a/b/images"),
        # Then the largest, the nearest, the first.
        ("foo 6,4; bar 6,9", "bar"),
        ("x 6,4; features 6,9", "features"),
        ("deep/images 6,4; images 6,4", "images"),
        ("b 6,4; a 6,4", "a"),
        # Train, then validation, then test, in every spelling.
        ("train_x 6,4; test_x 9,4", "train_x"),
        ("x_train 6,4; x_test 9,4", "x_train"),
        ("X_train 6,4; X_val 9,4", "X_train"),
        ("train_set_x 6,4; test_set_x 9,4", "train_set_x"),
        ("trainX 6,4; testX 9,4", "trainX"),
        ("XTrain 6,4; XTest 9,4", "XTrain"),
        ("Xtrain 6,4; Xtest 9,4", "Xtrain"),
        ("Xtr 6,4; Xte 9,4", "Xtr"),
        ("train-images 6,4; test-images 9,4", "train-images"),
        ("train/images 6,4; test/images 9,4", "train/images"),
        ("images/train 6,4; images/test 9,4", "images/train"),
        ("train 6,4; test 9,4", "train"),
        ("x_val 6,4; x_test 9,4", "x_val"),
        ("x_test 6,4; y_test 6,", "x_test"),
        ("dataset/train/images 6,4; dataset/test/images 9,4", "dataset/train/images"),
        # Labels, statistics, numbers and weights are no samples, however large.
        ("foo 6,2; labels 6,99", "foo"),
        ("foo 6,2; train_y 6,99", "foo"),
        ("foo 6,2; fine_labels 6,99", "foo"),
        ("foo 6,2; images_mean 6,99", "foo"),
        ("foo 6,2; row_ids 6,99", "foo"),
        ("foo 6,2; dense/kernel:0 6,99", "foo"),
        ("foo 6,2; layers/dense/vars/0 6,99", "foo"),
        ("foo 6,2; fc.weight 6,99", "foo"),
        ("foo 6,2; X/data 99,; X/indices 99,; X/indptr 7,", "foo"),
        ("foo 6,2; data 99,; indices 99,; indptr 7,", "foo"),
        ("foo 6,2; X/data 99,", "X/data"),
        ("foo 6,2; m/data 99,; m/ir 99,; m/jc 7,", "foo"),
        # One axis under a usual name may be a coordinate.
        ("x 6,; cube 6,9", "cube"),
        ("x 6,", "x"),
        ("signal 100,", "signal"),
        # What cannot be samples.
        ("images 6,4 text; foo 6,4", "foo"),
        ("images 0,4; foo 6,4", "foo"),
        ("images 6,0; foo 6,4", "foo"),
        ("images ,; foo 6,4", "foo"),
        ("z 6,4 complex", "z"),
        ("labels 6,; label_names 2, text", None),
        ("m/conv1/kernel:0 3,3; m/conv1/bias:0 3,", None),
        ("table 6, ", "table"),
        ("names 6, text", None),
    ],
)
def test_samples_are_chosen_by_name_split_and_size(table: str, wanted: str | None) -> None:
    chosen = choice.choose_samples(candidates(table))
    assert (chosen and chosen.path) == wanted


NAMES = st.sampled_from(
    "images x y labels train_x train_y test_x val/images names mean foo a/b/data X_train".split()
)
SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)
CANDIDATES = st.lists(
    st.builds(
        Candidate,
        NAMES,
        SHAPES,
        st.sampled_from(["real", "complex", "text", ""]),
        st.just("u1"),
        st.integers(0, 3),
        st.booleans(),
    ),
    max_size=8,
    unique_by=lambda c: c.path,
)


@given(CANDIDATES, st.randoms())
def test_the_order_of_what_is_found_does_not_matter(rows: list[Candidate], random: Any) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    samples = choice.choose_samples(rows)
    assert choice.choose_samples(shuffled) == samples
    if samples is not None:
        assert samples.kind in ("real", "complex")
        assert samples.shape[0] >= 1
        labels = choice.choose_labels(samples, rows)
        assert choice.choose_labels(samples, shuffled) == labels
        assert labels is None or (labels.kind == "real" and labels != samples)
        names = choice.choose_names(samples, rows)
        assert choice.choose_names(samples, shuffled) == names


# The choice of labels


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        # Shapes: one each, or a row each.
        ("images 6,4; labels 6,", "labels"),
        ("images 6,4; labels 6,1", "labels"),
        ("images 6,4; labels 1,6", "labels"),
        ("images 6,4; labels 6,1,1,1", "labels"),
        ("images 6,4; labels 6,10", "labels"),
        ("images 1,4; labels 1,", "labels"),
        ("images 6,4; labels 5,", None),
        ("images 6,4; labels 2,3", None),
        ("images 6,4; labels 10,6", None),
        ("images 6,4; labels 6,4,4", None),
        ("images 6,4; labels 6,100001", None),
        ("images 6,4; labels 6, text", None),
        ("images 6,4; labels 6, complex", None),
        # Names.
        ("images 6,4; ans 6,; ra 6,", "ans"),
        ("images 6,4; category 6,101", "category"),
        ("images 6,4; coarse_labels 6,; fine_labels 6,", "fine_labels"),
        ("images 6,4; digit_labels 6,", "digit_labels"),
        ("images 6,4; age 6,", None),
        ("images 6,4; y 6,; labels 6,", "labels"),
        ("images 6,4; y 6,; class 6,", "y"),
        # Pairs by name.
        ("x 6,4; labels 6,; y 6,", "y"),
        ("data 6,4; target 6,; y 6,", "target"),
        ("features 6,4; label 6,; targets 6,", "targets"),
        ("image 6,4; labels 6,; label 6,", "label"),
        ("x_train 6,4; y_train 6,; y_test 6,", "y_train"),
        ("train_set_x 6,4; train_set_y 6,; test_set_y 6,", "train_set_y"),
        ("train_x 6,4; test_y 6,", None),
        ("train_x 6,4; val_y 6,", None),
        ("x_train 6,4; labels 6,", "labels"),
        ("images 6,4; train_labels 6,", "train_labels"),
        ("images 6,4; test_labels 6,", None),
        ("trainX 6,4; trainY 6,; testY 6,", "trainY"),
        ("images/train 6,4; labels/train 6,; labels/test 6,", "labels/train"),
        ("images/train 6,4; images/labels 6,; labels/train 6,", "labels/train"),
        # The same group first, then the nearest.
        ("a/images 6,4; labels 6,; a/y 6,", "a/y"),
        ("a/b/images 6,4; labels 6,; a/c/labels 6,; a/labels 6,", "a/labels"),
        ("imgs 6,4; latents/classes 6,6", "latents/classes"),
    ],
)
def test_labels_are_chosen_by_length_split_place_and_name(table: str, wanted: str | None) -> None:
    samples, *rest = candidates(table)
    chosen = choice.choose_labels(samples, [samples, *rest])
    assert (chosen and chosen.path) == wanted


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        ("label_names 2, text", "label_names"),
        ("class_names 2, text; names 2, text", "class_names"),
        ("list_classes 2, text", "list_classes"),
        ("labelNames 2, text", "labelNames"),
        ("classes 2, text", "classes"),
        ("names 2, text", "names"),
        ("names 6, text", None),
        ("classes 6, text", None),
        ("label_names 6, text", "label_names"),
        ("classes 2, real", None),
        ("label_names 2,1 text", None),
        ("label_names 0, text", None),
        ("label_names 100001, text", None),
        ("about 2, text", None),
        ("a/label_names 2, text; names 2, text", "names"),
    ],
)
def test_names_of_classes_are_chosen_by_type_and_name(table: str, wanted: str | None) -> None:
    samples = Candidate("images", (6, 4))
    chosen = choice.choose_names(samples, [samples, *candidates(table)])
    assert (chosen and chosen.path) == wanted


# What stands in a file


def test_complex_numbers_of_two_fields_may_be_samples(tmp_path: Path) -> None:
    pair = np.dtype([("real", "f8"), ("imag", "f8")])
    other = np.dtype([("image", "f8"), ("label", "f8")])

    def fill(file: h5py.File) -> None:
        file["z"] = np.zeros((3, 4), pair)
        file["table"] = np.zeros((300, 4), other)
        file["c"] = np.zeros((3, 2), np.complex64)

    assert found_in(tmp_path / "f.h5", fill).key == "z"


@pytest.mark.parametrize("dtype", [">i2", "f2", "?", h5py.enum_dtype({"A": 0, "B": 1})])
def test_other_numbers_are_samples_too(dtype: Any, tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file.create_dataset("volumes", (3, 4), dtype)

    assert found_in(tmp_path / "f.h5", fill).key == "volumes"


def test_scales_of_axes_are_neither_samples_nor_labels(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file["cube"] = np.zeros((6, 4), np.uint8)
        file["y"] = np.arange(6.0)
        file["x"] = np.zeros((400, 4))
        file["y"].make_scale("y")
        file["x"].make_scale("x")

    assert found_in(tmp_path / "f.h5", fill) == Found("cube")


def test_text_and_empty_arrays_of_matlab_are_not_samples(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file["cube"] = np.zeros((2, 2), np.uint8)
        file["about"] = np.zeros((1000, 1), np.uint16)
        file["about"].attrs["MATLAB_class"] = np.bytes_("char")
        file["nothing"] = np.zeros((2000, 2), np.uint64)
        file["nothing"].attrs["MATLAB_empty"] = np.uint8(1)
        file["#refs#/a"] = np.zeros((2000, 2), np.uint64)

    assert found_in(tmp_path / "f.mat", fill).key == "cube"


def test_the_weights_of_a_network_are_refused_with_a_list(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file.attrs["layer_names"] = [b"layer_0"]
        file["layer_0/param_0"] = np.zeros((64, 3, 3), np.float32)

    with pytest.raises(FormatError, match=r"looks like samples.*key=\): 'layer_0/param_0'"):
        found_in(tmp_path / "f.h5", fill)
    assert found_in(tmp_path / "f.h5", fill, key="layer_0/param_0").key == "layer_0/param_0"


def test_names_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file[b"fotos_\xe9"] = np.zeros((3, 4), np.uint8)

    path = tmp_path / "f.h5"
    with file_with(path, fill) as file:
        found = foreign.find(file, path)
        assert isinstance(hdf5.found(file, found.key), h5py.Dataset)
        with pytest.raises(FormatError, match=r"fotos_\\+xe9"):
            foreign.find(file, path, key="nothing")


def test_what_is_passed_over_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fill(file: h5py.File) -> None:
        pictures(file, "train_x")
        pictures(file, "test_x", 3)
        file["train_y"] = np.zeros(6, int)

    with caplog.at_level(logging.INFO, LOGGER):
        assert found_in(tmp_path / "f.h5", fill) == Found("train_x", "train_y")
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert "passed over: 'test_x' (3, 4, 4, 3) uint8" in record.getMessage()


def test_samples_along_the_last_axis_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fill(file: h5py.File) -> None:
        file["images"] = np.zeros((784, 6), np.uint8)
        file["labels"] = np.zeros((1, 6))

    assert found_in(tmp_path / "f.mat", fill) == Found("images")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "'labels' (1, 6) float64 are as many as its last" in record.getMessage()


# What the user names


def some(file: h5py.File) -> None:
    pictures(file)
    file["group/depth"] = np.zeros((6, 4), np.float32)
    file["age"] = np.zeros(6)
    file["other"] = np.zeros(5)
    file["names"] = [b"cat", b"dog"]
    file["soft"] = h5py.SoftLink("/age")
    file["outside"] = h5py.ExternalLink("elsewhere.h5", "/age")


@pytest.mark.parametrize("key", ["group/depth", "/group/depth", "group/depth/"])
def test_a_data_set_that_is_named_is_taken(key: str, tmp_path: Path) -> None:
    assert found_in(tmp_path / "f.h5", some, key=key).key == "group/depth"


def test_labels_that_are_named_may_have_any_name(tmp_path: Path) -> None:
    found = found_in(tmp_path / "f.h5", some, labels="/age")
    assert found == Found("images", "age", None, "names")


@pytest.mark.parametrize("key", ["", "/", "nothing", "group", "soft", "outside", "x" * 5000])
def test_a_key_of_nothing_is_an_error_that_lists_what_there_is(key: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError) as error:
        found_in(tmp_path / "f.h5", some, key=key)
    message = str(error.value)
    assert "no data set is called" in message
    assert "'images' (6, 4, 4, 3) uint8; " in message
    assert "'group/depth' (6, 4) float32" in message
    assert "names" not in message
    assert len(message) < 1000


def test_a_key_of_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"'names' \(2,\) text cannot be samples"):
        found_in(tmp_path / "f.h5", some, key="names")


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        ("nothing", "no data set is called 'nothing'"),
        ("soft", "no data set is called 'soft'"),
        ("other", r"'other' \(5,\) float64 cannot be it"),
        ("names", r"'names' \(2,\) text cannot be it"),
    ],
)
def test_labels_of_nothing_are_an_error_that_lists_what_fits(
    labels: str, what: str, tmp_path: Path
) -> None:
    with pytest.raises(FormatError, match=rf"{what}; wanted 6 numbers.*'age' \(6,\) float64") as e:
        found_in(tmp_path / "f.h5", some, labels=labels)
    assert "'other' (5,) float64;" not in str(e.value)


def test_a_file_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"no data set looks like samples.*It has none\."):
        found_in(tmp_path / "f.h5", lambda file: file.create_group("g"))
    with pytest.raises(FormatError, match=r"in this one there is: 'names' \(1,\) text\."):
        found_in(tmp_path / "f.h5", lambda file: file.update({"names": [b"a"]}))


# Pairs of files


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A PCam pair, to be spoilt; the file of the pictures."""
    for part in "xy":
        name = f"pcam_split_valid_{part}.h5"
        shutil.copy(GOLDEN / name, tmp_path / name)
    return tmp_path / "pcam_split_valid_x.h5"


def found_at(path: Path, **asked: Any) -> Found:
    with hdf5.reading(path) as file:
        return foreign.find(file, path, **asked)


def test_labels_are_found_in_the_file_beside(pair: Path) -> None:
    assert found_at(pair) == Found("x", "y", pair.with_name("pcam_split_valid_y.h5"))


def test_a_pair_needs_the_name_the_folder_and_the_data_set(pair: Path) -> None:
    other = pair.with_name("pcam_x_2.h5")
    shutil.copy(pair, other)
    assert found_at(other) == Found("x")
    folder = pair.parent / "folder"
    folder.mkdir()
    assert found_at(Path(shutil.copy(pair, folder))) == Found("x")
    with h5py.File(pair, "r+") as file:
        file.move("x", "images")
    assert found_at(pair) == Found("images")


@pytest.mark.parametrize(
    "fill",
    [
        lambda file: file.update({"y": np.zeros((11, 1, 1, 1))}),
        lambda file: file.update({"z": np.zeros((12, 1, 1, 1))}),
        lambda file: file.update({"y": h5py.ExternalLink("elsewhere.h5", "/y")}),
    ],
    ids=["shorter", "no y", "a link out"],
)
def test_labels_beside_that_do_not_fit_are_said(
    fill: Callable[[h5py.File], object], pair: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with h5py.File(pair.with_name("pcam_split_valid_y.h5"), "w") as file:
        fill(file)
    assert found_at(pair) == Found("x")
    assert "its 'y' does not fit 'x' (12, 24, 24, 3) uint8" in caplog.text


def test_a_damaged_file_beside_is_said(pair: Path, caplog: pytest.LogCaptureFixture) -> None:
    pair.with_name("pcam_split_valid_y.h5").write_bytes(b"nothing of the kind")
    assert found_at(pair) == Found("x")
    assert "opened without labels" in caplog.text


def test_labels_inside_go_before_those_beside(pair: Path) -> None:
    with h5py.File(pair, "r+") as file:
        file["labels"] = np.zeros(12)
    assert found_at(pair) == Found("x", "labels")


# Names of classes


def names_in(path: Path, fill: Callable[[h5py.File], object], **options: Any) -> tuple[str, ...]:
    with file_with(path, fill, **options) as file:
        return foreign.names_of_classes(file, "names")


@pytest.mark.parametrize("options", [{}, {"userblock_size": 512}])
@pytest.mark.parametrize("dtype", ["S7", h5py.string_dtype(), h5py.string_dtype("utf-8", 7)])
def test_names_of_classes_are_read(dtype: Any, options: Any, tmp_path: Path) -> None:
    names = ["cão", "", "gato"]

    def fill(file: h5py.File) -> None:
        data = file.create_dataset("names", (3,), dtype)
        for i, name in enumerate(names):
            data[i] = name.encode()

    assert names_in(tmp_path / "f.h5", fill, **options) == tuple(names)


@pytest.mark.parametrize(
    ("shape", "dtype", "options"),
    [
        ((3,), "u1", {}),
        ((), "S3", {}),
        ((3, 2), "S3", {}),
        ((0,), "S3", {}),
        ((3,), h5py.vlen_dtype(np.uint8), {}),
        ((3,), h5py.ref_dtype, {}),
        ((100_001,), "S1", {}),
        ((100_001,), h5py.string_dtype(), {}),
        ((3,), "S3", {"chunks": (3,)}),
        ((3,), h5py.string_dtype(), {"chunks": (3,)}),
    ],
)
def test_what_is_not_names_of_classes_gives_none(
    shape: Any, dtype: Any, options: Any, tmp_path: Path
) -> None:
    def fill(file: h5py.File) -> None:
        file.create_dataset("names", shape, dtype, fillvalue=None, **options)

    assert names_in(tmp_path / "f.h5", fill) == ()
    assert names_in(tmp_path / "f.h5", lambda file: file.create_group("names")) == ()
    assert names_in(tmp_path / "f.h5", lambda file: None) == ()


@pytest.mark.parametrize("dtype", ["S600000", h5py.string_dtype()])
def test_at_most_a_mebibyte_of_names_is_read(dtype: Any, tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        data = file.create_dataset("names", (2,), dtype)
        data[0], data[1] = b"a" * 600_000, b"b" * 600_000

    assert names_in(tmp_path / "f.h5", fill) == ()


def spoilt_names(path: Path, at: bytes, offset: int, new: bytes) -> tuple[str, ...]:
    """The names of three classes, of which bytes were written over: so far after some mark."""
    with h5py.File(path, "w") as file:
        file.create_dataset("names", (3,), h5py.string_dtype())[:] = ["cat", "dog", "fox"]
        start = file["names"].id.get_offset()
    data = bytearray(path.read_bytes())
    place = (data.index(at) if at else start) + offset
    data[place : place + len(new)] = new
    path.write_bytes(data)
    with h5py.File(path) as file:
        return foreign.names_of_classes(file, "names")


def test_a_name_of_four_gibibytes_is_not_taken_memory_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert spoilt_names(tmp_path / "f.h5", b"", 0, struct.pack("<I", 0xFFFF_FFF0)) == ()
    assert caplog.text == ""  # not tried


@pytest.mark.parametrize(
    ("at", "offset", "new"),
    [
        (b"", 0, b"\4"),  # another length than the piece has
        (b"", 12, b"\7"),  # no such piece
        (b"", 4, b"\xff" * 8),  # no such heap
        (b"", 4, struct.pack("<Q", 8)),  # no heap there
        (b"GCOL", 0, b"X"),
        (b"GCOL", 8, struct.pack("<Q", 1 << 40)),  # a heap without end
        (b"GCOL", 8, b"\0" * 8),  # or one of nothing
        # A piece of no bytes, then free space of none: HDF5 goes round for ever.
        (b"dog", -8, b"\0" * 11),
        (b"dog", -8, b"\xff" * 8),  # beyond the heap
    ],
    ids=range(9),
)
def test_damaged_names_are_said_and_left_out(
    at: bytes, offset: int, new: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert spoilt_names(tmp_path / "f.h5", at, offset, new) == ()
    assert "the names of the classes cannot be read" in caplog.text


def test_many_names_of_variable_length_in_many_heaps_are_read(tmp_path: Path) -> None:
    names = [f"class {i}" * (i % 40) for i in range(1000)]

    def fill(file: h5py.File) -> None:
        file.create_dataset("names", data=names, dtype=h5py.string_dtype())

    assert names_in(tmp_path / "f.h5", fill) == tuple(names)


# Hostile files


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The names that are opened."""
    names: list[bytes] = []
    real = hdf5.opened

    def noting(group: h5py.Group, name: bytes) -> Any:
        names.append(name)
        return real(group, name)

    monkeypatch.setattr(hdf5, "opened", noting)
    return names


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_of_very_many_links_only_some_are_looked_at(
    libver: str, tmp_path: Path, opened: list[bytes]
) -> None:
    def fill(file: h5py.File) -> None:
        pictures(file, "z")
        for i in range(3_000):
            file[f"a{i}"] = file["z"]
        file["x_train"], file["train_y"] = file["z"], np.zeros(6)

    with file_with(tmp_path / "f.h5", fill, libver=libver) as file:
        assert foreign.find(file, tmp_path / "f.h5") == Found("x_train", "train_y")
        assert foreign.find(file, tmp_path / "f.h5", key="z").key == "z"
    assert len(opened) < 2 * 2_500


def test_circles_and_links_out_are_not_followed(tmp_path: Path, opened: list[bytes]) -> None:
    def fill(file: h5py.File) -> None:
        deep = file.create_group("a/b")
        deep["up"], deep["root"] = file["a"], file["/"]
        file["images"] = h5py.SoftLink("/volumes")
        file["data"] = h5py.ExternalLink("elsewhere.h5", "/data")
        file["dangling"] = h5py.SoftLink("/nowhere")
        pictures(file, "volumes")

    assert found_in(tmp_path / "f.h5", fill).key == "volumes"
    assert len(opened) < 20


def test_a_name_without_end_is_passed_by(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        pictures(file, "a" * 2_000, 9)
        pictures(file, "b")

    assert found_in(tmp_path / "f.h5", fill).key == "b"


def test_groups_beyond_a_depth_are_not_entered(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file["/".join("a" * 16) + "/images"] = np.zeros((2, 2))
        file["b" + "/b" * 16 + "/images"] = np.zeros((9, 9))

    assert found_in(tmp_path / "f.h5", fill).key == "/".join("a" * 16) + "/images"


def test_a_damaged_group_does_not_spoil_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "f.h5"
    with h5py.File(path, "w", libver="earliest") as file:
        pictures(file)
        file["group/labels"] = np.zeros(6)
    data = path.read_bytes()
    # The nodes that list a group's links: the root's comes first.
    first = data.index(b"SNOD")
    at = data.index(b"SNOD", first + 1)
    path.write_bytes(data[:at] + b"DONS" + data[at + 4 :])
    assert found_at(path) == Found("images")
    assert "the group 'group/' is damaged" in caplog.text


def test_a_damaged_root_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    with h5py.File(path, "w", libver="earliest") as file:
        pictures(file)
    path.write_bytes(path.read_bytes().replace(b"SNOD", b"DONS"))
    with pytest.raises(FormatError, match="damaged"):
        found_at(path)


def test_attributes_that_claim_gibibytes_are_not_read(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        pictures(file)
        file["images"].attrs["CLASS"] = "DIMENSION_SCALE"  # of variable length

    assert found_in(tmp_path / "f.h5", fill).key == "images"


FLIP = """
import sys
from pathlib import Path
from celeiro.errors import FormatError
from celeiro.reading import foreign, hdf5
path = Path(sys.argv[1])
whole = path.read_bytes()
errors = 0
for at in range(0, len(whole), max(1, len(whole) // 100)):
    data = bytearray(whole)
    data[at] ^= 0x41
    path.write_bytes(data)
    try:
        with hdf5.reading(path) as file:
            found = foreign.find(file, path)
            if found.label_names:
                foreign.names_of_classes(file, found.label_names)
    except FormatError:
        errors += 1
print(errors)
"""


@pytest.mark.parametrize("name", ["rosebrock_features.hdf5", "pytables_zlib.h5"])
def test_flipped_bytes_are_survived(name: str, tmp_path: Path) -> None:
    # In a process of its own: what is tested is that nothing ends it.
    path = tmp_path / "f.h5"
    shutil.copy(GOLDEN / name, path)
    done = subprocess.run(
        [sys.executable, "-c", FLIP, str(path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1
