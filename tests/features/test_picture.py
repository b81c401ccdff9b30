"""Features of a new picture: by the model of the file, whose word is not taken for anything."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import h5py
import numpy as np
import pytest

import celeiro
from celeiro.errors import OptionError
from celeiro.features.likeness.picture import features_of
from celeiro.features.models.asked import Asked
from celeiro.features.models.preprocessing import Preprocessing, Wishes
from celeiro.format import layout

if TYPE_CHECKING:
    from collections.abc import Callable

WEIGHTS = {"file": "a.pth", "sha256": "11"}


class Fake:
    """A model of the mean of each channel, or of its own layer `features`: those, and one more."""

    name, device = "timm:fake", "cpu"

    def __init__(self, wishes: dict[str, Any], own: tuple[str, ...], weights: Any) -> None:
        layers = tuple(wishes.get("layers", ()))
        if not set(layers) <= set(own):
            raise OptionError(f"layer {layers[0]!r}: there is none")
        options = {n: wishes.get(n) for n in ("size", "mean", "std", "color", "interpolation")}
        asked = Asked(layers, wishes.get("pool", "model"), None, Wishes(**options), None, None)
        self._preprocessing = Preprocessing((8, 8), 9).but(asked.wishes)
        self.layers = layers or ("features",)
        self.told = {
            "model": self.name, "weights": weights, "layers": list(layers) or None,
            "pool": asked.pool, "preprocessing": self._preprocessing.to_json(),
        }  # fmt: skip

    @property
    def transforms(self) -> Any:
        return self._preprocessing.usual_steps(chw=False)

    def __call__(self, images: Any) -> Any:
        rows = np.asarray(images, np.float32).mean(axis=(1, 2))
        named = {"features": np.hstack([rows, rows]), "last": rows * 2}
        return {n: named[n] if self.told["layers"] else rows for n in self.layers}

    def close(self) -> None:
        pass


def opener(own: tuple[str, ...] = (), weights: Any = WEIGHTS) -> Callable[..., Fake]:
    """What opens a model that has these layers."""

    def open_model(name: str, **wishes: Any) -> Fake:
        assert name == "timm:fake"
        asked.append(wishes)
        return Fake(wishes, own, weights)

    asked: list[Any] = []
    open_model.asked = asked
    return open_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures."""
    folder = tmp_path_factory.mktemp("photos")
    for number, picture in enumerate(np.random.default_rng(0).integers(0, 256, (4, 12, 15, 3))):
        cv2.imwrite(str(folder / f"{number}.png"), picture.astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """Where features are, and those that are made."""
    return tmp_path_factory.mktemp("made"), {}


@pytest.fixture
def made(folder: Path, once: Any, tmp_path: Path) -> Callable[..., Path]:
    """Features of the pictures, in a file of the test's own, and beside it one of the pictures."""
    shutil.copy(folder / "1.png", tmp_path)

    def make(own: tuple[str, ...] = (), **wishes: Any) -> Path:
        where, there = once
        key = repr((own, wishes))
        if key not in there:
            model = opener(own)("timm:fake", **wishes)
            out = where / f"{len(there)}.h5"
            there[key] = celeiro.extract_features(folder, model, out).path
        return Path(shutil.copy(there[key], tmp_path / "f.h5"))

    return make


def changed(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Let a file say something else of how its features were made."""
    with h5py.File(path, "r+") as file:
        told = json.loads(file.attrs[layout.ATTR_PROVENANCE])
        change(told["features"])
        text = json.dumps(told).encode()
        kind = h5py.string_dtype("utf-8", len(text))
        file.attrs.create(layout.ATTR_PROVENANCE, np.array(text, kind), dtype=kind)


def row(path: Path, model: Any, **options: Any) -> Any:
    """Of the second picture, and what stands in the file."""
    with celeiro.open(path) as ds:
        found = features_of(path.parent / "1.png", ds, open_model=model, **options)
        return found, ds.read([1])[0]


WAYS = {
    "default": {},
    "size": {"size": (6, 7)},
    "levels": {"mean": (0.1, 0.2, 0.3), "std": 0.5, "color": "BGR", "interpolation": "bicubic"},
    "255": {"mean": 127.5, "std": 127.5, "pool": "flatten"},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_picture_of_the_file_has_the_features_of_the_file(made: Any, way: str) -> None:
    found, there = row(made(**WAYS[way]), opener())
    np.testing.assert_array_equal(found, there)


def test_weights_of_another_name_are_the_same_and_of_another_digest_are_not(made: Any) -> None:
    path = made()
    for same in ({"file": "b.pth", "sha256": "11"}, {"sha256": "11"}):
        found, there = row(path, opener(weights=same))
        np.testing.assert_array_equal(found, there)
    with pytest.raises(OptionError, match=r"made with weights .*'11'.*this model has .*'22'"):
        row(path, opener(weights={"file": "a.pth", "sha256": "22"}))


def test_random_weights_are_made_again(made: Any) -> None:
    path = made()
    changed(path, lambda told: told["weights"].update(random=7))
    model = opener()
    row(path, model)
    assert model.asked[0]["weights"] == "random:7"
    row(path, model, weights="mine.pth")
    assert model.asked[-1]["weights"] == "mine.pth"


# What the layers are called


def test_the_default_and_a_layer_called_features_are_two(made: Any) -> None:
    own = ("features", "last")
    for layers, width in (((), 3), (("features",), 6), (("features", "last"), 6)):
        found, there = row(made(own, layers=layers), opener(own))
        assert len(found) == width
        np.testing.assert_array_equal(found, there)


def test_the_main_layer_may_be_named_as_its_data_set(made: Any) -> None:
    own = ("features", "last")
    path = made(own, layers=("last", "features")[:1])
    found, there = row(path, opener(own), layer="features")
    np.testing.assert_array_equal(found, there)
    with pytest.raises(OptionError, match=r"no layer 'x' was made; there are \['features'\]"):
        row(path, opener(own), layer="x")


def early(told: dict[str, Any]) -> None:
    """As files of an early celeiro say it."""
    told["layers"] = {"features": "features"}
    del told["version"]


def test_early_files_are_read_where_only_the_default_can_be_meant(made: Any) -> None:
    path = made()
    changed(path, early)
    found, there = row(path, opener(("last",)))
    np.testing.assert_array_equal(found, there)
    with pytest.raises(OptionError, match="layers 'features': the model has a layer of that name"):
        row(path, opener(("features",)))


# A file that says anything


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", [10**6, 10**6]), ("size", [0, 8]), ("size", [-8, 8]), ("size", [8]), ("size", 8),
        ("size", [8, 8, 8]), ("size", ["8", "8"]), ("size", [True, 8]), ("size", [8.0, 8.0]),
        ("size", "8x8"), ("size", [1e400, 8]), ("size", {"a": 1}), ("size", [4096, 1025]),
        ("mean", [float("nan")] * 3), ("mean", [float("inf")] * 3), ("mean", [0.1] * 100_000),
        ("mean", "0.1,0.2"), ("mean", [[0.1]] * 3), ("mean", [None] * 3), ("mean", 0.1),
        ("mean", [10**400] * 3), ("mean", [0.1]), ("std", [0.0] * 3), ("std", [-1.0] * 3),
        ("std", [float("nan")] * 3), ("std", {}), ("std", [True] * 3), ("color", "CMYK"),
        ("color", ["RGB"]), ("color", 3), ("interpolation", "x" * 10_000), ("interpolation", []),
    ],
)  # fmt: skip
def test_preprocessing_that_makes_no_sense_opens_no_model(made: Any, name: str, value: Any) -> None:
    path = made(mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5))
    changed(path, lambda told: told["preprocessing"].update({name: value}))
    model = opener()
    with pytest.raises(
        OptionError, match=r"f\.h5: it says .*, wanted .*Make the picture's"
    ) as told:
        row(path, model)
    assert len(str(told.value)) < 1000
    assert not model.asked


@pytest.mark.parametrize(
    "change",
    [
        {"preprocessing": []}, {"preprocessing": "x"}, {"pool": "max"}, {"pool": ["avg"]},
        {"pool": None}, {"layers": []}, {"layers": {}}, {"layers": {"other": "a"}},
        {"layers": {"features": 3}}, {"layers": {"features": ""}}, {"layers": {"features": ["a"]}},
        {"layers": {"features": "a" * 1000}}, {"layers": {"features": None, "b": "b"}},
        {"layers": {"features": "a", "b": None}},
        {"layers": {"features": "a"} | {str(n): "a" for n in range(1000)}},
        {"model": "timm:" + "a" * 1000}, {"model": "timm:a\nb"}, {"model": 3}, {"model": None},
        {"transform": []},
    ],
)  # fmt: skip
def test_what_makes_no_sense_opens_no_model(made: Any, change: dict[str, Any]) -> None:
    path = made()
    changed(path, lambda told: told.update(copy.deepcopy(change)))
    model = opener()
    with pytest.raises(OptionError) as told:
        row(path, model)
    assert len(str(told.value)) < 1000
    assert not model.asked


@pytest.mark.parametrize("random", [-1, True, "0", 1 << 70, None, 1.5])
def test_a_seed_that_is_none_is_not_used(made: Any, random: Any) -> None:
    path = made()
    changed(path, lambda told: told["weights"].update(random=random))
    model = opener()
    row(path, model)
    assert model.asked[0]["weights"] is None


def test_what_differs_is_told_in_few_words(made: Any) -> None:
    path = made()
    changed(path, lambda told: told.update(weights="x" * 10_000))
    with pytest.raises(OptionError, match="made with weights") as told:
        row(path, opener())
    assert len(str(told.value)) < 1000


def test_torchvision_s_own_layer_called_features(
    torchvision: Any, folder: Path, tmp_path: Path
) -> None:
    name, path, rows = "torchvision:mobilenet_v3_small", tmp_path / "f.h5", []
    how = {"weights": "random", "size": 32, "device": "cpu", "threads": 1, "overwrite": True}
    for layers in ((), "features"):
        celeiro.extract_features(folder, name, path, layers=layers, **how)
        with celeiro.open(path) as ds:
            found = features_of(folder / "1.png", ds, device="cpu")
            np.testing.assert_allclose(found, ds.read([1])[0], rtol=1e-4, atol=1e-5)
            rows.append(ds.provenance["features"]["layers"]["features"])
    assert rows == [None, "features"]
    changed(path, early)
    with celeiro.open(path) as ds, pytest.raises(OptionError, match="has a layer of that name"):
        features_of(folder / "1.png", ds, device="cpu")
