"""Features are what the model says of each sample, whatever happens while they are made."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import threading
from typing import TYPE_CHECKING, Any

import cv2
import h5py
import numpy as np
import pytest

import celeiro
from celeiro.errors import (
    ExistsError,
    ModelError,
    OptionError,
    PictureError,
    ResumeError,
    SourceError,
)
from celeiro.features import origin
from celeiro.features.extract import extract_features
from celeiro.feeding.transforms import CenterCrop, Normalize, Resize, ToCHW, ToFloat

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Nursery

STORES = ("pixels", "jpeg", "lossless", "encoded")
STEPS = [Resize(20), CenterCrop(16), ToFloat(), Normalize((0.5,) * 3, (0.25,) * 3), ToCHW()]
COUNT = 23


class Fake:
    """A model of three numbers a picture that shows which batch it was computed in."""

    name = "fake:model"
    device = "cpu"

    def __init__(
        self,
        function: Callable[[Any], Any] | None = None,
        layers: tuple[str, ...] = ("features",),
        steps: Any = STEPS,
        **told: Any,
    ) -> None:
        self.function = function or said
        self.layers = layers
        self.transforms = steps
        self.told = {"model": self.name, "threads": 1, **told}
        self.batches: list[int] = []
        self.closed = False

    def transforms_for(self, ds: Any) -> Any:
        assert ds.color in ("RGB", "")
        return self.transforms

    def __call__(self, images: Any) -> dict[str, Any]:
        assert not self.closed
        self.batches.append(len(images))
        answer = self.function(images)
        return answer if isinstance(answer, dict) else {self.layers[0]: answer}

    def close(self) -> None:
        self.closed = True


def said(images: Any) -> Any:
    """Means of the channels; and, as batch normalisation gone wrong would, the batch's own mean."""
    rows = images.reshape(len(images), images.shape[1], -1).astype(np.float32).mean(axis=2)
    return rows + np.float32(images.mean()) + np.float32(len(images))


def alone(images: Any) -> Any:
    """What depends on each picture alone."""
    return images.reshape(len(images), -1)[:, :5].astype(np.float32)


def by_hand(ds: Any, function: Any, batch: int, steps: Any = STEPS) -> Any:
    """What the model says of batches that the loader makes."""
    with celeiro.Loader(ds, batch, shuffle=False, transform=steps) as loader:
        return np.concatenate([function(images) for images, *_ in loader])


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of many sizes with classes, splits, masks, boxes, numbers and text."""
    folder = tmp_path_factory.mktemp("source")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(COUNT):
        height, width = rng.integers(20, 60, 2).tolist()
        picture = cv2.resize(rng.integers(0, 256, (5, 5, 3), np.uint8), (width, height))
        (folder / f"{number}.jpg").write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())
        cv2.imwrite(str(folder / f"m{number}.png"), np.full((height, width), number, np.uint8))
        rows.append(
            {
                "path": f"{number}.jpg", "label": ("cat", "dog", "bee")[number % 3],
                "split": ("train", "val")[number // 15], "mask": f"m{number}.png",
                "boxes": [[1, 2, 3, 4]] * (number % 3), "age": number * 1.5,
                "colour": ("red", "green")[number % 2],
            }
        )  # fmt: skip
    path = folder / "table.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def packed(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The same, packed into a store."""
    folder = tmp_path_factory.mktemp("packed")

    def give(store: str) -> Path:
        path = folder / f"{store}.h5"
        if not path.exists():
            size = None if store == "encoded" else (32, 36)
            celeiro.pack(table, path, store=store, size=size)
        return path

    return give


def extracted(source: Any, model: Any, tmp_path: Path, **options: Any) -> Any:
    """Make features, and open what was made."""
    options = {"batch_size": 5, "workers": 2, **options}
    report = extract_features(source, model, tmp_path / "made.h5", **options)
    return celeiro.open(report.path)


def mean_of_channels(images: Any) -> Any:
    """A function of three numbers a picture."""
    return images.mean(axis=(2, 3))


def stopped(source: Any, model: Any, tmp_path: Path, **options: Any) -> None:
    """Make ten samples' features, and be stopped."""

    def stop(progress: Any) -> None:
        if progress.done >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extracted(source, model, tmp_path, on_progress=stop, **options)


def feeders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "celeiro-feed" in thread.name]


# What is made


@pytest.mark.parametrize("store", STORES)
def test_features_are_what_the_model_says_of_the_same_batches(
    packed: Any, tmp_path: Path, store: str
) -> None:
    model = Fake()
    with celeiro.open(packed(store)) as ds, extracted(ds, model, tmp_path) as made:
        assert made.key == "features"
        assert made.store == "pixels"
        assert made.shape == (COUNT, 3)
        assert made.dtype == np.float32
        assert np.array_equal(made.read(range(COUNT)), by_hand(ds, said, 5))
    assert model.batches == [5, 5, 5, 5, 3]
    assert not model.closed  # it is the caller's
    assert not feeders()


def test_all_that_belongs_to_samples_goes_with_them(packed: Any, tmp_path: Path) -> None:
    with celeiro.open(packed("jpeg")) as ds, extracted(ds, Fake(), tmp_path) as made:
        assert made.labels.tolist() == ds.labels.tolist()
        assert made.label_names == ds.label_names
        assert list(made.keys) == list(ds.keys)
        assert made.splits == ds.splits
        for name in ds.splits:
            assert made.split(name).rows.tolist() == ds.split(name).rows.tolist()
        assert made["age"].tolist() == ds["age"].tolist()
        assert list(made["colour"]) == list(ds["colour"])
        # Where something is in a picture means nothing here.
        assert set(made.fields) == {"age", "colour"}
        assert celeiro.verify(made.path).faults == 0


def test_a_view_and_a_shuffled_source_keep_their_order(
    table: Path, packed: Any, tmp_path: Path
) -> None:
    celeiro.pack(table, tmp_path / "shuffled.h5", store="jpeg", size=32, shuffle=True, seed=3)
    rows = random.Random(1).sample(range(COUNT), 17)
    for number, path in enumerate((packed("pixels"), tmp_path / "shuffled.h5")):
        with celeiro.open(path) as whole:
            view = whole.select(rows)
            (tmp_path / str(number)).mkdir()
            with extracted(view, Fake(), tmp_path / str(number)) as made:
                assert np.array_equal(made.read(range(17)), by_hand(view, said, 5))
                assert made.labels.tolist() == view.labels.tolist()
                assert list(made.keys) == list(view.keys)
                for name in whole.splits:
                    wanted = list(view.split(name).keys)
                    assert list(made.split(name).keys) == sorted(wanted, key=list(view.keys).index)


def test_a_split_alone(packed: Any, tmp_path: Path) -> None:
    with celeiro.open(packed("jpeg")) as ds, extracted(ds.split("val"), Fake(), tmp_path) as made:
        assert len(made) == 8
        assert made.labels.tolist() == ds.split("val").labels.tolist()
        assert len(made.split("train")) == 0


def test_any_function_is_a_model(packed: Any, tmp_path: Path) -> None:
    def mean(images: Any) -> Any:
        return images.mean(axis=(2, 3))

    path = packed("pixels")
    with celeiro.open(path) as ds, extracted(path, mean, tmp_path, transform=STEPS) as made:
        assert np.array_equal(made.read(range(COUNT)), by_hand(ds, mean, 5))
        told = made.provenance["features"]
        assert "mean" in told["model"]
        assert re.fullmatch(r"sha256 [0-9a-f]{64} of Python \d\.\d+", told["code"])
        assert told["transform"][1] == "CenterCrop(size=16)"


def test_the_model_is_asked_in_the_calling_thread(packed: Any, tmp_path: Path) -> None:
    """OpenMP keeps threads for each that asks; once they outnumber the cores, none is fast."""
    asked = set()

    def function(images: Any) -> Any:
        asked.add(threading.get_ident())
        return said(images)

    extract_features(packed("jpeg"), Fake(function), tmp_path / "f.h5", batch_size=4)
    assert asked == {threading.get_ident()}


def test_a_network_of_torch_says_the_same_by_itself(packed: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 6),
    ).eval()  # fmt: skip
    before = torch.get_num_threads()

    def answer(images: Any) -> Any:
        torch.set_num_threads(1)
        with torch.inference_mode():
            return net(torch.from_numpy(images)).numpy()

    try:
        with (
            celeiro.open(packed("encoded")) as ds,
            extracted(ds, net, tmp_path, transform=STEPS[:-1], threads=1) as made,
        ):
            np.testing.assert_allclose(
                made.read(range(COUNT)), by_hand(ds, answer, 5), rtol=1e-5, atol=1e-6
            )
    finally:
        torch.set_num_threads(before)


def test_a_folder_gives_what_its_packed_file_gives(table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for number in range(COUNT):
        target = folder / ("cat", "dog")[number % 2] / f"{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(table.parent / f"{number}.jpg", target)
    celeiro.pack(folder, tmp_path / "photos.h5")
    for name, source in (("a", folder), ("b", tmp_path / "photos.h5")):
        (tmp_path / name).mkdir()
        with extracted(source, Fake(), tmp_path / name) as made:
            found = made.read(range(COUNT)), made.labels, list(made.keys), made.label_names
        if name == "a":
            first = found
    assert np.array_equal(found[0], first[0])
    assert np.array_equal(found[1], first[1])
    assert found[2:] == first[2:]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["made.h5"]


def test_a_table_of_pictures_is_a_source_too(table: Path, packed: Any, tmp_path: Path) -> None:
    with extracted(table, Fake(), tmp_path) as made, celeiro.open(packed("encoded")) as ds:
        assert np.array_equal(made.read(range(COUNT)), by_hand(ds, said, 5))
        assert made["age"].tolist() == ds["age"].tolist()
        assert made.splits == ds.splits


def test_foreign_chunks_of_many_samples_and_rows_of_numbers(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(31, 6)).astype(np.float32)
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file.create_dataset("images", data=values, chunks=(8, 6), compression="gzip")
        file["labels"] = np.arange(31)
    with extracted(tmp_path / "foreign.h5", Fake(alone, steps=()), tmp_path) as made:
        assert np.array_equal(made.read(range(31)), values[:, :5])
        assert made.labels.tolist() == list(range(31))
        assert made.keys is None


def test_plain_h5py_reads_what_is_made(packed: Any, tmp_path: Path) -> None:
    model = Fake(lambda x: {"a": alone(x), "b/c": alone(x)[:, :2]}, ("a", "b/c"))
    with celeiro.open(packed("jpeg")) as ds, extracted(ds, model, tmp_path) as made:
        wanted = by_hand(ds, alone, 5)
        with h5py.File(made.path) as file:
            assert np.array_equal(file["features"][:], wanted)
            assert np.array_equal(file["fields/b.c"][:], wanted[:, :2])
            assert file["fields/b.c"].chunks is None


def test_the_classic_writer_gives_the_same_dataset(packed: Any, tmp_path: Path) -> None:
    with celeiro.open(packed("pixels")) as ds:
        wanted = by_hand(ds, alone, 5)
        labels = ds.labels
        book = celeiro.HDF5Dataset((COUNT, 5), tmp_path / "book.h5", data_key="features")
        for at in range(0, COUNT, 5):  # as in the article
            book.add(wanted[at : at + 5], labels[at : at + 5])
        book.close()
        with extracted(ds, Fake(alone), tmp_path) as made, celeiro.open(tmp_path / "book.h5") as b:
            assert (b.key, b.store, b.shape, b.dtype) == (
                made.key, made.store, made.shape, made.dtype,
            )  # fmt: skip
            assert np.array_equal(b.read(range(COUNT)), made.read(range(COUNT)))
            assert np.array_equal(b.labels, made.labels)
            assert np.allclose(b.mean, made.mean)


# Layers and types


@pytest.mark.parametrize(
    ("dtype", "further"), [("float32", "<f4"), ("float16", "<f2"), ("bfloat16", "<f4")]
)
def test_further_layers_are_fields(packed: Any, tmp_path: Path, dtype: Any, further: str) -> None:
    layers = ("last", "block.1", "block/2:0")
    model = Fake(
        lambda x: {"last": alone(x)[:, :4], "block.1": alone(x), "block/2:0": alone(x)[:, :1]},
        layers,
    )
    with (
        celeiro.open(packed("encoded")) as ds,
        extracted(ds, model, tmp_path, dtype=dtype) as made,
    ):
        wanted = by_hand(ds, alone, 5)
        assert set(made.fields) == {"age", "colour", "block.1", "block.2:0"}
        assert made["block.1"].dtype == np.dtype(further)
        close = {"rtol": {"float32": 0, "float16": 1e-3, "bfloat16": 1e-2}[dtype], "atol": 1e-3}
        if dtype == "float32":
            close["atol"] = 0
        assert np.allclose(made.read(range(COUNT)), wanted[:, :4], **close)
        assert np.allclose(made["block.1"], wanted, **close)
        assert np.allclose(made["block.2:0"], wanted[:, :1], **close)
        assert made.select([3, 1])["block.1"].shape == (2, 5)
        assert made.provenance["features"]["layers"] == {
            "features": "last", "block.1": "block.1", "block.2:0": "block/2:0",
        }  # fmt: skip
        assert celeiro.verify(made.path).faults == 0
        again = celeiro.repack(made, tmp_path / "again.h5", store="pixels")
    with celeiro.open(again.path) as copy, celeiro.open(tmp_path / "made.h5") as made:
        assert np.array_equal(copy["block.1"], made["block.1"])


def test_damage_in_a_layer_is_found(packed: Any, tmp_path: Path) -> None:
    model = Fake(lambda x: {"a": alone(x), "b": alone(x)}, ("a", "b"))
    extracted(packed("jpeg"), model, tmp_path).close()
    path = tmp_path / "made.h5"
    with h5py.File(path) as file:
        at = file["fields/b"].id.get_offset()
    data = bytearray(path.read_bytes())
    data[at + 7] ^= 1
    path.write_bytes(data)
    assert [f.name for f in celeiro.verify(path).findings] == ["fields/b"]
    with celeiro.open(path) as ds, pytest.raises(celeiro.CeleiroError, match="fields/b"):
        ds["b"]


@pytest.mark.parametrize(
    "layer",
    [
        "age", "x_offsets", "/", "same", "mask", "boxes", "labels", "label_names", "keys", "splits",
        "mean", "std", "fields", "celeiro", "features", "a\nb", "a\0b", "\x1b[2J", "n" * 300,
    ],
)  # fmt: skip
def test_a_layer_that_cannot_be_a_field_is_refused(packed: Any, tmp_path: Path, layer: str) -> None:
    model = Fake(layers=("last", "same", layer))
    with pytest.raises(OptionError, match=re.escape(repr(layer))):
        extracted(packed("jpeg"), model, tmp_path)
    assert not model.batches
    # By name the model is not even opened.
    with pytest.raises(OptionError, match=re.escape(repr(layer))):
        extracted(packed("jpeg"), "timm:none", tmp_path, layers=["last", "same", layer])
    assert not list(tmp_path.iterdir())


def test_a_reserved_name_may_be_the_first_layer(packed: Any, tmp_path: Path) -> None:
    with extracted(packed("jpeg"), Fake(layers=("mask",)), tmp_path) as made:
        assert made.provenance["features"]["layers"] == {"features": "mask"}


def test_a_model_s_default_is_no_layer_of_the_name_features(packed: Any, tmp_path: Path) -> None:
    told = []
    for name, layers in (("a", ()), ("b", "features")):
        (tmp_path / name).mkdir()
        how = {"layers": layers, "transform": STEPS}
        with extracted(packed("jpeg"), mean_of_channels, tmp_path / name, **how) as made:
            told.append(made.provenance["features"]["layers"])
    assert told == [{"features": None}, {"features": "features"}]
    (tmp_path / "c").mkdir()
    stopped(packed("jpeg"), mean_of_channels, tmp_path / "c", transform=STEPS)
    with pytest.raises(ResumeError, match="features was None, is 'features'|layers was"):
        extracted(
            packed("jpeg"), mean_of_channels, tmp_path / "c", layers="features", transform=STEPS
        )


@pytest.mark.parametrize(
    ("value", "dtype", "holds"),
    [
        (65504.0, "float16", True), (65519.0, "float16", True), (65520.0, "float16", False),
        (-7e4, "float16", False), (7e4, "bfloat16", True), (3.4e38, "bfloat16", False),
        (3.4e38, "float32", True), (1e39, "float32", False),
    ],
)  # fmt: skip
def test_what_a_type_cannot_hold_names_sample_key_and_value(
    packed: Any, tmp_path: Path, value: float, dtype: Any, holds: bool
) -> None:
    calls = 0

    def huge(images: Any) -> Any:
        nonlocal calls
        calls += 1
        rows = np.zeros((len(images), 4), np.float64)
        if calls == 3:
            rows[3, 2] = value
        return rows

    if holds:
        with extracted(packed("jpeg"), Fake(huge), tmp_path, dtype=dtype) as made:
            assert made[13][0][2] == pytest.approx(value, rel=1e-2)
        return
    with pytest.raises(ModelError) as raised:
        extracted(packed("jpeg"), Fake(huge), tmp_path, dtype=dtype)
    told = str(raised.value)
    assert "sample 13 (13.jpg) of jpeg.h5" in told
    assert f"{value:g}" in told
    assert dtype in told
    assert not (tmp_path / "made.h5").exists()
    assert (tmp_path / "made.h5.partial").exists()  # the first batches are kept
    assert not feeders()


def test_subnormal_numbers_are_kept_as_float16_has_them(packed: Any, tmp_path: Path) -> None:
    def small(images: Any) -> Any:
        return np.full((len(images), 1), 6e-8, np.float32)

    with extracted(packed("jpeg"), Fake(small), tmp_path, dtype="float16") as made:
        assert made[0][0][0] == np.float16(6e-8) > 0


def test_a_damaged_value_of_the_source_is_that_sample_s_fault(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)
    rows[7, 3] = np.nan
    celeiro.pack(rows, tmp_path / "rows.h5")
    with pytest.raises(PictureError, match="sample 7: its values are not all finite"):
        extracted(tmp_path / "rows.h5", Fake(alone, steps=()), tmp_path)
    with extracted(tmp_path / "rows.h5", Fake(alone, steps=()), tmp_path, on_error="skip") as made:
        assert np.array_equal(made.read(range(11)), np.delete(rows, 7, 0)[:, :5])


# A model that does not do as it was asked


def no_number(images: Any) -> Any:
    rows = alone(images)
    rows[2, 1] = np.nan
    return rows


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda x: alone(x)[:-1], "(4, 5) for a batch of 5"),
        (lambda x: alone(x)[0, 0], "() for a batch of 5"),
        (lambda x: {"other": alone(x)}, "'other'"),
        (lambda x: {}, "answers with nothing"),
        (lambda x: alone(x)[:, :0], "one at least"),
        (lambda x: np.array(["a"] * len(x)), "real numbers"),
        (no_number, "sample 2 (2.jpg) of jpeg.h5"),
        (lambda x: alone(x)[:, : len(x)], "answers with (3,) values a sample, and before with (5,"),
    ],
)  # fmt: skip
def test_a_model_that_answers_otherwise_is_told(
    packed: Any, tmp_path: Path, answer: Any, told: str
) -> None:
    with pytest.raises(ModelError, match=re.escape(told)):
        extracted(packed("jpeg"), Fake(answer), tmp_path)
    assert not (tmp_path / "made.h5").exists()
    assert not feeders()


def test_a_function_that_gives_no_number_names_the_sample(packed: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"sample 2 \(2\.jpg\) of jpeg\.h5"):
        extracted(packed("jpeg"), no_number, tmp_path, transform=STEPS)


def test_an_error_of_the_model_itself_comes_through(packed: Any, tmp_path: Path) -> None:
    model = Fake()

    def fails(images: Any) -> Any:
        if len(model.batches) == 3:
            raise ZeroDivisionError("of its own")
        return alone(images)

    model.function = fails
    with pytest.raises(ZeroDivisionError, match="of its own"):
        extracted(packed("jpeg"), model, tmp_path)
    assert not feeders()


def test_a_model_opened_by_name_is_closed_whatever_happens(
    packed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Fake] = []
    asked: dict[str, Any] = {}

    def open_model(name: str, **wishes: Any) -> Fake:
        asked.update(wishes, name=name)
        made.append(Fake(no_number if name == "timm:bad" else said))
        return made[-1]

    monkeypatch.setattr("celeiro.features.models.open_model", open_model)
    extracted(packed("jpeg"), "timm:x", tmp_path, layers="head", pool="avg", size=99).close()
    assert made[0].closed
    assert asked["name"] == "timm:x"
    assert (asked["layers"], asked["pool"], asked["size"]) == (("head",), "avg", 99)
    with pytest.raises(ModelError):
        extracted(packed("jpeg"), "timm:bad", tmp_path, overwrite=True)
    assert made[1].closed


def test_what_is_asked_of_a_model_that_is_open_is_refused(packed: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="pool='avg' of a model that is open already"):
        extracted(packed("jpeg"), Fake(), tmp_path, pool="avg")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"dtype": "float64"}, "float64"), ({"batch_size": 0}, "batch_size 0"),
        ({"on_error": "quarantine"}, "quarantine"), ({"workers": 0}, "workers 0"),
        ({"labels": "folder"}, "labels 'folder' of a file"), ({"version": ""}, "version ''"),
    ],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused(
    packed: Any, tmp_path: Path, options: Any, told: str
) -> None:
    with pytest.raises(OptionError, match=told):
        extracted(packed("jpeg"), Fake(), tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_an_output_that_is_there_or_is_the_source_stays(packed: Any, tmp_path: Path) -> None:
    shutil.copy(packed("jpeg"), tmp_path / "made.h5")
    before = (tmp_path / "made.h5").read_bytes()
    model = Fake()
    with pytest.raises(ExistsError):
        extracted(packed("jpeg"), model, tmp_path)
    with pytest.raises(OptionError, match="the source itself"):
        extracted(tmp_path / "made.h5", model, tmp_path, overwrite=True)
    assert (tmp_path / "made.h5").read_bytes() == before
    assert not model.batches
    extracted(packed("jpeg"), model, tmp_path, overwrite=True).close()
    assert (tmp_path / "made.h5").read_bytes() != before


def test_a_folder_that_is_not_there_is_told_before_all_the_work(
    packed: Any, tmp_path: Path
) -> None:
    model = Fake()
    with pytest.raises(OptionError, match=r"the folder .*none does not exist"):
        extract_features(packed("jpeg"), model, tmp_path / "none" / "made.h5")
    assert not model.batches


def test_pictures_of_many_sizes_want_one(packed: Any, table: Path, tmp_path: Path) -> None:
    for source in (packed("encoded"), table):
        with pytest.raises(OptionError, match=r"one shape\. Give --size"):
            extracted(source, Fake(steps=[ToFloat()]), tmp_path)


# Damage


def broken(packed: Any, tmp_path: Path, row: int, store: str = "encoded") -> Path:
    """A file whose sample `row` is not what its checksum says."""
    path = tmp_path / "broken.h5"
    shutil.copy(packed(store), path)
    with h5py.File(path) as file:
        offset, length = (
            (file["imagens"].id.get_offset() + int(file["imagens_offsets"][row]), 40)
            if store == "encoded"
            else file["celeiro/index"][row].tolist()
        )
    data = bytearray(path.read_bytes())
    data[int(offset) + 20 : int(offset) + min(int(length), 40)] = bytes(min(int(length), 40) - 20)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("store", ["encoded", "jpeg", "lossless"])
def test_a_damaged_sample_stops_or_is_left_out(packed: Any, tmp_path: Path, store: str) -> None:
    path = broken(packed, tmp_path, 7, store)
    with pytest.raises(PictureError, match=r"7\.jpg: .*--on-error skip"):
        extracted(path, Fake(alone), tmp_path)
    assert "reencoded" not in (tmp_path / "made.h5.partial" / "job.json").read_text()
    report = extract_features(
        path, Fake(alone), tmp_path / "made.h5", batch_size=5, on_error="skip"
    )
    assert [name for name, _ in report.refused] == ["7.jpg"]
    with celeiro.open(packed(store)) as ds, celeiro.open(tmp_path / "made.h5") as made:
        kept = [row for row in range(COUNT) if row != 7]
        # The others are in the batches that they would be in, and say what they said.
        assert np.array_equal(made.read(range(22)), by_hand(ds, alone, 5)[kept])
        assert made.labels.tolist() == ds.labels[kept].tolist()
        assert list(made.keys) == [ds.keys[row] for row in kept]
    assert report.samples == 22


def test_batches_stay_as_large_where_samples_are_damaged(packed: Any, tmp_path: Path) -> None:
    model = Fake()
    extracted(broken(packed, tmp_path, 7), model, tmp_path, on_error="skip").close()
    assert model.batches == [5, 5, 5, 5, 3]


def test_a_broken_picture_of_a_folder_can_be_mended(table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(COUNT):
        shutil.copy(table.parent / f"{number}.jpg", folder / f"{number:02}.jpg")
    whole = folder.joinpath("13.jpg").read_bytes()
    folder.joinpath("13.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PictureError, match=r"13\.jpg.*\(13 of 23 done\): mend or remove") as raised:
        extracted(folder, Fake(alone), tmp_path)
    assert "quarantine" not in str(raised.value)
    folder.joinpath("13.jpg").write_bytes(whole)
    report = extract_features(folder, Fake(alone), tmp_path / "made.h5", batch_size=5)
    assert report.resumed == 13
    undisturbed = extract_features(folder, Fake(alone), tmp_path / "other.h5", batch_size=5)
    assert report.path.read_bytes() == undisturbed.path.read_bytes()


def test_where_nothing_can_be_read_that_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(7):
        (folder / f"{number}.jpg").write_bytes(b"no picture")
    with pytest.raises(SourceError, match="not one of its 2 batches"):
        extracted(folder, Fake(), tmp_path, on_error="skip")
    assert not feeders()


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_no_number_is_never_the_fault_of_a_sample_that_is_left_out(
    packed: Any, tmp_path: Path, on_error: Any
) -> None:
    path = broken(packed, tmp_path, 5)

    def answer(images: Any) -> Any:
        rows = alone(images)
        if calls[0] == 1:
            rows[:2, 1] = np.nan  # of 5, in whose place 6 stands, and of 6
        calls[0] += 1
        return rows

    for model in (Fake(answer), answer):
        calls = [0]
        how = {"on_error": on_error, "fresh": True}
        how |= {} if isinstance(model, Fake) else {"transform": STEPS}
        error, told = (ModelError, r"sample 6 \(6\.jpg\) of broken\.h5: value 1 .* is nan")
        with pytest.raises(error, match=told):
            extracted(path, model, tmp_path, **how)


def test_no_number_in_the_place_of_a_sample_that_is_left_out_is_no_fault(
    packed: Any, tmp_path: Path
) -> None:
    def answer(images: Any) -> Any:
        rows = alone(images)
        if calls[0] == 1:
            rows[0] = np.inf
        calls[0] += 1
        return rows

    calls = [0]
    how = {"on_error": "skip", "transform": STEPS, "dtype": "float16"}
    with extracted(broken(packed, tmp_path, 5), answer, tmp_path, **how) as made:
        assert len(made) == COUNT - 1


def test_a_first_batch_of_damage_alone_is_passed_over(table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(COUNT):
        (folder / f"{number:02}.jpg").write_bytes(
            b"no picture" if number < 6 else (table.parent / f"{number}.jpg").read_bytes()
        )
    with extracted(folder, Fake(alone), tmp_path, on_error="skip") as made:
        assert len(made) == 17


# Killed, and gone on with

EXTRACT = """
import numpy as np
import celeiro
from celeiro.features.extract import extract_features
from celeiro.feeding.transforms import *

def said(images):
    rows = images.reshape(len(images), images.shape[1], -1).mean(axis=2)
    return {"a": rows + np.float32(images.mean()), "b": rows[:, :2] * len(images)}

def on_progress(progress):
    global callbacks
    callbacks -= 1
    if not callbacks:
        kill()

if call >= 0:
    result = before_call(call, torn=torn)
extract_features(
    source, said, out, layers=["a", "b"], transform=[Resize((16, 16)), ToFloat(), ToCHW()],
    batch_size=batch_size, workers=workers, on_progress=on_progress, dtype=dtype,
)
"""


def child(nursery: Nursery, source: Path, out: Path, **how: Any) -> Any:
    usual = {
        "callbacks": -1, "call": -1, "torn": False, "workers": 2, "batch_size": 5,
        "dtype": "float32",
    }  # fmt: skip
    return nursery.run(EXTRACT, source=source, out=out, **usual | how)


@pytest.mark.parametrize(("store", "dtype"), [("encoded", "float32"), ("pixels", "bfloat16")])
def test_killed_at_many_moments_the_same_call_ends_on_the_same_file(
    packed: Any, nursery: Nursery, tmp_path: Path, store: str, dtype: str
) -> None:
    moments = random.Random(store)
    source = packed(store)
    once = tmp_path / "once.h5"
    end = child(nursery, source, once, call=1_000_000, dtype=dtype)
    assert end.error is None, end.message
    whole, calls = once.read_bytes(), end.result
    kills = 0
    for number in range(6):
        out = tmp_path / f"{number}.h5"
        how = (
            {"callbacks": moments.randrange(2, 6)}
            if number % 2
            else {"call": moments.randrange(3, len(calls) - 1), "torn": True}
        )
        end = child(nursery, source, out, dtype=dtype, **how)
        kills += end.killed
        end = child(nursery, source, out, dtype=dtype, workers=moments.choice([1, 3]))
        assert end.error in (None, "ExistsError"), end.message
        assert out.read_bytes() == whole
        assert not out.with_name(out.name + ".partial").exists()
    assert kills == 6


def test_going_on_in_the_midst_of_a_batch_computes_all_of_it(packed: Any, tmp_path: Path) -> None:
    # What is committed ends before the damaged sample, which is then whole again.
    source = tmp_path / "source.h5"
    shutil.copy(packed("encoded"), source)
    shutil.copy(broken(packed, tmp_path, 12), source)
    with pytest.raises(PictureError):
        extracted(source, Fake(alone), tmp_path)
    shutil.copy(packed("encoded"), source)
    model = Fake(alone)
    report = extract_features(source, model, tmp_path / "made.h5", batch_size=5)
    assert report.resumed == 12
    assert model.batches == [5, 5, 5, 3]  # the first, by which the size is known, and 10 to 22
    undisturbed = extract_features(source, Fake(alone), tmp_path / "other.h5", batch_size=5)
    assert report.path.read_bytes() == undisturbed.path.read_bytes()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"batch_size": 4}, "batch_size was 5, is 4"),
        ({"model": Fake(threads=2)}, "threads was 1, is 2"),
        ({"model": Fake(weights="other")}, "weights was None, is 'other'"),
        ({"dtype": "float16"}, "dtype was 'float32', is 'float16'"),
    ],
)
def test_other_options_do_not_go_on(
    packed: Any, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(PictureError):
        extracted(broken(packed, tmp_path, 12), Fake(), tmp_path)
    (tmp_path / "broken.h5").unlink()
    source = tmp_path / "broken.h5"
    broken(packed, tmp_path, 12)
    with pytest.raises(ResumeError) as raised:
        extracted(source, **{"model": Fake(), **change}, tmp_path=tmp_path)
    assert told in str(raised.value)
    assert "imagecodecs" not in str(raised.value)  # nothing but what changed


def function(source: str, **names: Any) -> Any:
    """A function `f` as a program has it that is started once more."""
    exec(source, names)
    return names["f"]


MEANS = "def f(images):\n    return images.mean(axis=(2, 3)) * {by}\n"


def test_a_function_goes_on_where_it_is_the_same_and_else_does_not(
    packed: Any, tmp_path: Path
) -> None:
    source = packed("jpeg")
    with extracted(source, function(MEANS.format(by=1)), tmp_path, transform=STEPS) as made:
        whole = made.path.read_bytes()
    stopped(source, function(MEANS.format(by=1)), tmp_path, transform=STEPS, overwrite=True)
    with pytest.raises(ResumeError, match="code was 'sha256 .* of Python"):
        extracted(
            source, function(MEANS.format(by=1.001)), tmp_path, transform=STEPS, overwrite=True
        )
    report = extract_features(
        source, function("\n" + MEANS.format(by=1)), tmp_path / "made.h5", transform=STEPS,
        batch_size=5, overwrite=True,
    )  # fmt: skip
    assert report.resumed == 10
    assert report.path.read_bytes() == whole


def test_a_transform_that_changed_does_not_go_on(packed: Any, tmp_path: Path) -> None:
    def steps(by: int) -> Any:
        return [Resize((16, 16)), lambda image: image // by, ToFloat(), ToCHW()]

    stopped(packed("jpeg"), mean_of_channels, tmp_path, transform=steps(2))
    with pytest.raises(ResumeError, match="<lambda>"):
        extracted(packed("jpeg"), mean_of_channels, tmp_path, transform=steps(3))
    with extracted(packed("jpeg"), mean_of_channels, tmp_path, transform=steps(2)) as made:
        assert len(made) == COUNT


class Scaled:
    """A function with a state that nobody sees."""

    def __init__(self, by: float) -> None:
        self.by = by

    def __call__(self, images: Any) -> Any:
        return images.mean(axis=(2, 3)) * self.by


def test_what_cannot_be_known_goes_on_only_by_its_version(packed: Any, tmp_path: Path) -> None:
    source, how = packed("jpeg"), {"transform": STEPS}
    stopped(source, Scaled(1), tmp_path, **how)
    with pytest.raises(
        ResumeError, match=r"Scaled is, or holds, an object of .*Scaled.*fresh=True"
    ):
        extracted(source, Scaled(1), tmp_path, **how)
    with pytest.raises(ResumeError, match="version was None, is '1'"):
        extracted(source, Scaled(1), tmp_path, version="1", **how)
    stopped(source, Scaled(1), tmp_path, fresh=True, version="1", **how)
    with pytest.raises(ResumeError, match="version was '1', is '2'"):
        extracted(source, Scaled(1), tmp_path, version="2", **how)
    with extracted(source, Scaled(1), tmp_path, version="1", **how) as made:
        assert made.provenance["features"]["version"] == "1"
        assert "code" not in made.provenance["features"]
        assert len(made) == COUNT
    # At one go it needs none; and the file says that it is not known.
    with extracted(source, Scaled(1), tmp_path, overwrite=True, **how) as made:
        assert made.provenance["features"]["code"].startswith("unknown (an object of ")


def test_a_version_stands_for_transforms_too(packed: Any, tmp_path: Path) -> None:
    how = {"transform": [Resize((16, 16)), ToFloat(), ToCHW(), lambda image: image]}
    stopped(packed("jpeg"), mean_of_channels, tmp_path, version="1", **how)
    how["transform"][-1] = lambda image: image + 0
    with extracted(packed("jpeg"), mean_of_channels, tmp_path, version="1", **how) as made:
        assert "sha256" not in str(made.provenance["features"])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_what_a_function_calls_is_noticed_by_the_batch_that_is_there(
    packed: Any, tmp_path: Path, dtype: Any
) -> None:
    def calls(by: float) -> Any:
        source = "def f(images):\n    return called(images)\n"
        return function(source, called=lambda images: images.mean(axis=(2, 3)) * by)

    how = {"transform": STEPS, "dtype": dtype}
    stopped(packed("jpeg"), calls(1), tmp_path, **how)
    with pytest.raises(ResumeError, match=r"sample 0 \(0\.jpg\) of jpeg\.h5 was .*, and callable"):
        extracted(packed("jpeg"), calls(1.1), tmp_path, **how)
    # As a GPU has it, whose kernels are not the same each time.
    with extracted(packed("jpeg"), calls(1.0001), tmp_path, **how) as made:
        assert len(made) == COUNT


def test_weights_under_another_name_go_on(packed: Any, tmp_path: Path) -> None:
    def by(name: str, digest: str) -> Fake:
        return Fake(alone, weights={"file": name, "sha256": digest})

    stopped(packed("jpeg"), by("a.pth", "11"), tmp_path)
    with pytest.raises(ResumeError, match="weights was .*'11'.*, is .*'22'"):
        extracted(packed("jpeg"), by("a.pth", "22"), tmp_path)
    with extracted(packed("jpeg"), by("b.pth", "11"), tmp_path) as made:
        # The name is told beside.
        assert made.provenance["features"]["weights"] == {"file": "b.pth", "sha256": "11"}


def test_ctrl_c_leaves_no_thread(packed: Any, tmp_path: Path) -> None:
    def stop(progress: Any) -> None:
        if progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extracted(packed("jpeg"), Fake(), tmp_path, on_progress=stop)
    assert not feeders()
    report = extract_features(packed("jpeg"), Fake(), tmp_path / "made.h5", batch_size=5)
    assert report.resumed == 5


def test_a_network_of_torch_goes_on_to_the_same_bits(packed: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(), torch.nn.Linear(64, 9),
    )  # fmt: skip
    how = {"transform": STEPS[:-1], "threads": 1, "batch_size": 5}
    whole = extract_features(packed("encoded"), net, tmp_path / "whole.h5", **how).path.read_bytes()

    def stop(progress: Any) -> None:
        if progress.done >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_features(packed("encoded"), net, tmp_path / "made.h5", on_progress=stop, **how)
    report = extract_features(packed("encoded"), net, tmp_path / "made.h5", **how)
    assert report.resumed == 10
    assert report.path.read_bytes() == whole


def test_workers_do_not_change_the_file(packed: Any, tmp_path: Path) -> None:
    digests = set()
    for workers in (1, 2, 7):
        with extracted(
            packed("encoded"), Fake(), tmp_path, workers=workers, overwrite=True
        ) as made:
            digests.add(hashlib.sha256(made.path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_no_more_is_made_ahead_than_a_few_batches(tmp_path: Path) -> None:
    made, used, most = 0, 0, 0
    lock = threading.Lock()

    def step(image: Any) -> Any:
        nonlocal made
        with lock:
            made += 1
        return image

    def model(images: Any) -> Any:
        nonlocal used, most
        most = max(most, made - used)
        used += len(images)
        return images.mean(axis=(1, 2))

    celeiro.pack(np.zeros((200, 4, 4, 3), np.uint8), tmp_path / "many.h5")
    extracted(tmp_path / "many.h5", model, tmp_path, transform=step, batch_size=8).close()
    assert used == 200
    assert most <= 8 * (2 + 1)


# Where features come from


def test_the_file_tells_how_it_was_made(packed: Any, tmp_path: Path) -> None:
    with extracted(packed("encoded"), Fake(device="cpu", weights="ab12"), tmp_path) as made:
        told = made.provenance
    features, source = told["features"], told["source"]
    assert features["model"] == "fake:model"
    assert features["weights"] == "ab12"
    assert (features["threads"], features["batch_size"], features["dtype"]) == (1, 5, "float32")
    assert source["name"] == "encoded.h5"
    assert source["samples"] == COUNT
    assert str(tmp_path) not in json.dumps(told)
    assert re.fullmatch("[0-9a-f]{64}", source["digest"]["sha256"])


def test_a_source_that_changed_is_noticed(packed: Any, table: Path, tmp_path: Path) -> None:
    source = tmp_path / "source.h5"
    shutil.copy(packed("encoded"), source)
    with extracted(source, Fake(), tmp_path) as made:
        told, path = made.provenance, made.path
    assert origin.change_of(path, told) is None
    celeiro.repack(source, tmp_path / "same.h5", store="encoded")
    shutil.copy(tmp_path / "same.h5", source)  # the same samples, written anew
    assert origin.change_of(path, told) is None
    celeiro.repack(source, tmp_path / "less.h5", store="encoded", max_side=24)
    shutil.copy(tmp_path / "less.h5", source)
    assert "source.h5" in origin.change_of(path, told)
    source.write_bytes(b"something else")
    assert "source.h5" in origin.change_of(path, told)
    source.unlink()
    assert origin.change_of(path, told) is None


def test_a_foreign_source_that_changed_is_noticed(tmp_path: Path) -> None:
    source = tmp_path / "foreign.h5"
    with h5py.File(source, "w") as file:
        file["images"] = np.ones((9, 6), np.float32)
    with extracted(source, Fake(alone, steps=()), tmp_path) as made:
        told, path = made.provenance, made.path
    assert told["source"]["digest"]["of"] == "size and stretches"
    assert origin.change_of(path, told) is None
    with h5py.File(source, "r+") as file:
        file["images"][3] = 2
    assert origin.change_of(path, told) is not None


@pytest.mark.parametrize(
    "told",
    [
        {}, {"source": 3}, {"source": {"name": 5, "digest": {}}}, {"source": {"name": "a"}},
        {"source": {"name": "../secret.h5", "digest": {}}},
        {"source": {"name": "/etc/passwd", "digest": {}}},
        {"source": {"name": "..", "digest": {}}}, {"source": {"name": "a\0b", "digest": {}}},
        {"source": {"name": "sub", "digest": {}}}, {"source": {"name": "n" * 5000, "digest": {}}},
    ],
)  # fmt: skip
def test_a_file_that_lies_about_its_source_leads_nowhere(tmp_path: Path, told: Any) -> None:
    (tmp_path / "secret.h5").write_bytes(b"x")
    (tmp_path / "here" / "sub").mkdir(parents=True)
    assert origin.change_of(tmp_path / "here" / "made.h5", told) is None


def test_the_digest_of_a_folder_is_of_names_and_sizes(table: Path, tmp_path: Path) -> None:
    with extracted(table, Fake(), tmp_path) as made:
        assert made.provenance["source"]["digest"]["of"] == "names and sizes"
        assert origin.change_of(made.path, made.provenance) is None


def test_the_model_of_several_layers_is_found_again_in_their_order(
    packed: Any, table: Path, tmp_path: Path
) -> None:
    from celeiro.features.likeness.picture import features_of

    opened: list[tuple[str, ...]] = []

    def open_model(name: str, layers: tuple[str, ...] = (), **wishes: Any) -> Fake:
        opened.append(tuple(layers))
        return Fake(lambda x: {n: alone(x)[:, : len(n)] for n in layers}, layers, name="timm:x")

    class Named(Fake):
        name = "timm:x"

    # In the order of the alphabet, which JSON has, the field comes before `features`.
    model = Named(lambda x: {"zzz": alone(x)[:, :3], "a": alone(x)[:, :1]}, ("zzz", "a"))
    with extracted(packed("encoded"), model, tmp_path) as made:
        found = features_of(table.parent / "4.jpg", made, open_model=open_model)
        assert set(opened) == {("zzz", "a")}
        assert np.allclose(found, made[4][0])
        assert np.allclose(
            features_of(table.parent / "4.jpg", made, layer="a", open_model=open_model),
            made["a"][4],
        )
