"""`celeiro features`: what each option does, what is said, and what `info` says of it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import celeiro as library
from celeiro.errors import OptionError
from celeiro.feeding.transforms import Resize, ToFloat

if TYPE_CHECKING:
    from pathlib import Path

WISHES = {
    "layers": (), "pool": "model", "weights": None, "size": None, "mean": None, "std": None,
    "color": None, "interpolation": None, "device": None, "threads": None,
}  # fmt: skip


class Fake:
    """A model of three numbers a picture."""

    name = "timm:fake"
    device = "cpu"
    transforms = (Resize((8, 8)), ToFloat())

    def __init__(self, wishes: dict[str, Any]) -> None:
        self.layers = wishes["layers"] or ("features",)
        self.told = {
            "model": self.name, "pool": wishes["pool"], "weights": {"state_sha256": "ab" * 32},
            "preprocessing": {"size": [8, 8], "mean": [0.485, 0.456], "color": "RGB"},
            "libraries": {"torch": "9.9"}, "device": "cpu", "precision": "float32",
            "threads": wishes["threads"],
        }  # fmt: skip

    def __call__(self, images: Any) -> dict[str, Any]:
        rows = images.mean(axis=(1, 2))
        return {name: rows[:, : at + 1] for at, name in enumerate(self.layers)}

    def close(self) -> None:
        pass


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the model was asked for."""
    told: dict[str, Any] = {}

    def open_model(name: str, **wishes: Any) -> Fake:
        if name != "timm:fake":
            raise OptionError(f"model {name!r}: wanted timm:NAME.")
        told.update(wishes)
        return Fake(wishes)

    monkeypatch.setattr("celeiro.features.models.open_model", open_model)
    return told


@pytest.fixture
def packed(photo_folder: Any, tmp_path: Path) -> Path:
    """Six pictures in two splits, beside their folder."""
    library.pack(
        photo_folder(6), tmp_path / "in.h5", store="jpeg", size=20,
        split={"train": 0.5, "val": 0.5},
    )  # fmt: skip
    return tmp_path / "in.h5"


def made(celeiro: Any, source: Any, tmp_path: Path, *words: Any) -> Any:
    return celeiro("features", source, tmp_path / "o.h5", "--model", "timm:fake", *words)


def test_the_example_of_the_help_works(
    celeiro: Any, packed: Path, tmp_path: Path, asked: dict[str, Any]
) -> None:
    ran = made(celeiro, packed, tmp_path)
    assert ran.code == 0
    assert ran.out == ""
    assert "1 feature of 6 samples as float32" in ran.err
    assert "timm:fake, batches of 64" in ran.err
    assert "cat 3, dog 3" in ran.err
    assert asked == WISHES
    with library.open(tmp_path / "o.h5") as ds:
        assert ds.shape == (6, 1)
        assert ds.splits == ("train", "val")


@pytest.mark.parametrize(
    ("words", "option", "value"),
    [
        ("--weights w.safetensors", "weights", "w.safetensors"),
        ("--layer a --layer b", "layers", ("a", "b")), ("--pool flatten", "pool", "flatten"),
        ("--size 12x14", "size", (12, 14)), ("--size 12", "size", (12, 12)),
        ("--mean 0.5", "mean", 0.5), ("--std 0.1,0.2,0.3", "std", (0.1, 0.2, 0.3)),
        ("--color BGR", "color", "BGR"), ("--interpolation bilinear", "interpolation", "bilinear"),
        ("--device cpu", "device", "cpu"), ("--threads 3", "threads", 3),
    ],
)  # fmt: skip
def test_each_wish_reaches_the_model(
    celeiro: Any, packed: Path, tmp_path: Path, asked: dict[str, Any], words: str, option: str,
    value: Any,
) -> None:  # fmt: skip
    assert made(celeiro, packed, tmp_path, *words.split()).code == 0
    given = asked[option]
    assert (tuple(given) if isinstance(given, list) else given) == value
    assert {**asked, option: None} == {**WISHES, option: None}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_layers_and_types(
    celeiro: Any, packed: Path, tmp_path: Path, asked: dict[str, Any], dtype: str
) -> None:
    words = ("--layer", "one", "--layer", "two", "--dtype", dtype, "--batch-size", 4)
    assert made(celeiro, packed, tmp_path, *words).code == 0
    with library.open(tmp_path / "o.h5") as ds:
        assert ds["two"].shape == (6, 2)
        assert ds.provenance["features"]["batch_size"] == 4
    ran = celeiro("info", tmp_path / "o.h5")
    assert f"6 × 1 {dtype} in 'features'" in ran.out
    assert "one, two in 'two'" in ran.out
    assert made(celeiro, packed, tmp_path, "--quiet", *words, "--overwrite").err == ""


def test_a_folder_and_one_split(
    celeiro: Any, packed: Path, tmp_path: Path, asked: dict[str, Any]
) -> None:
    assert made(celeiro, tmp_path / "photos", tmp_path, "--labels", "none").code == 0
    with library.open(tmp_path / "o.h5") as ds:
        assert len(ds) == 6
        assert ds.labels is None
    ran = made(celeiro, tmp_path / "photos", tmp_path, "--only", "val", "--overwrite")
    assert ran.code == 2
    assert "--only 'val'" in ran.err
    assert made(celeiro, packed, tmp_path, "--only", "val", "--overwrite").code == 0
    with library.open(tmp_path / "o.h5") as ds:
        assert len(ds) == 2 + 1
    ran = made(celeiro, packed, tmp_path, "--only", "test", "--overwrite")
    assert ran.code == 2
    assert "no split 'test'" in ran.err


def test_names_of_data_sets_in_foreign_files(
    celeiro: Any, tmp_path: Path, asked: dict[str, Any]
) -> None:
    import h5py

    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["other"] = np.zeros((9, 9, 9, 3), np.uint8)
        file["these"] = np.zeros((4, 5, 6, 3), np.uint8)
        file["what"] = np.arange(4)
    words = ("--from-key", "these", "--labels", "what")
    assert made(celeiro, tmp_path / "f.h5", tmp_path, *words).code == 0
    with library.open(tmp_path / "o.h5") as ds:
        assert ds.labels.tolist() == [0, 1, 2, 3]


def test_the_report_as_json(
    celeiro: Any, packed: Path, tmp_path: Path, asked: dict[str, Any]
) -> None:
    ran = made(celeiro, packed, tmp_path, "--json")
    told = json.loads(ran.out)
    assert told["samples"] == 6
    assert told["shape"] == [1]
    assert told["provenance"]["features"]["weights"] == {"state_sha256": "ab" * 32}
    assert told["provenance"]["source"]["name"] == "in.h5"


def test_info_shows_how_features_were_made(
    celeiro: Any, packed: Path, tmp_path: Path, asked: dict[str, Any]
) -> None:
    made(celeiro, packed, tmp_path, "--threads", 2)
    shown = " ".join(celeiro("info", tmp_path / "o.h5").out.split())
    assert "model timm:fake, pool model, dtype float32, batch size 64" in shown
    assert f"weights state sha256 {'ab' * 32}" in shown
    assert "pictures color RGB, mean 0.485 0.456, size 8 8" in shown
    assert "computed by device cpu, precision float32, threads 2, torch 9.9" in shown
    assert "source in.h5, bytes" in shown
    assert "warning" not in shown
    told = json.loads(celeiro("info", tmp_path / "o.h5", "--json").out)
    assert told["source_changed"] is None


def test_info_shows_what_is_known_of_a_function(celeiro: Any, packed: Path, tmp_path: Path) -> None:
    def mean(batch: Any) -> Any:
        return batch.mean(axis=(1, 2))

    out = tmp_path / "o.h5"
    library.extract_features(packed, mean, out)
    shown = " ".join(celeiro("info", out).out.split())
    assert ".mean, code sha256 " in shown
    assert "layers the model's default" in shown
    library.extract_features(packed, mean, out, version="of today", overwrite=True)
    shown = " ".join(celeiro("info", out).out.split())
    assert ".mean, version of today, pool model" in shown


def test_info_warns_of_a_source_that_changed(
    celeiro: Any, packed: Path, tmp_path: Path, asked: dict[str, Any]
) -> None:
    made(celeiro, packed, tmp_path)
    library.repack(packed, tmp_path / "new.h5", store="jpeg", size=12)
    shutil.move(tmp_path / "new.h5", packed)
    shown = " ".join(celeiro("info", tmp_path / "o.h5").out.split())
    assert "warning in.h5 beside it is no longer the file" in shown
    assert "in.h5" in json.loads(celeiro("info", tmp_path / "o.h5", "--json").out)["source_changed"]


def test_info_of_a_file_that_lies_says_something(celeiro: Any, tmp_path: Path) -> None:
    import h5py

    library.pack(np.zeros((3, 4), np.float32), tmp_path / "a.h5")
    for features in (
        3, [], {"layers": 3, "model": {"a": [1, {}]}}, {"layers": {"x": [None]}, "weights": [[]]},
        {"model": "\x1b[2J"},
    ):  # fmt: skip
        with h5py.File(tmp_path / "a.h5", "r+") as file:
            text = json.dumps({"features": features, "source": {"name": ["\x1b"], "digest": 3}})
            file.attrs["celeiro_provenance"] = np.bytes_(text)
            file.attrs.create(
                "celeiro_provenance", text.encode(), dtype=h5py.string_dtype("utf-8", len(text))
            )
        ran = celeiro("info", tmp_path / "a.h5")
        assert ran.code == 0
        assert "\x1b" not in ran.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--on-error", "quarantine"), "--on-error 'quarantine'"), (("--mean", "a,b"), "--mean"),
        (("--size", "big"), "size 'big'"), (("--dtype", "int8"), "dtype 'int8'"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_told(
    celeiro: Any, packed: Path, tmp_path: Path, asked: dict[str, Any], words: Any, told: str
) -> None:
    ran = made(celeiro, packed, tmp_path, *words)
    assert ran.code == 2
    assert told in ran.err
    assert not (tmp_path / "o.h5").exists()


def test_a_model_must_be_named(celeiro: Any, packed: Path, tmp_path: Path) -> None:
    ran = celeiro("features", packed, tmp_path / "o.h5")
    assert ran.code == 2
    assert "--model" in ran.err


def test_a_name_that_is_taken_is_told_before_anything(
    celeiro: Any, packed: Path, tmp_path: Path, asked: dict[str, Any]
) -> None:
    (tmp_path / "o.h5").write_text("mine")
    ran = made(celeiro, packed, tmp_path)
    assert ran.code == 1
    assert "already exists" in ran.err
    assert not asked
    assert (tmp_path / "o.h5").read_text() == "mine"


def test_bad_pictures_are_left_out_and_listed(
    celeiro: Any, packed: Path, tmp_path: Path, asked: dict[str, Any]
) -> None:
    (tmp_path / "photos" / "dog.3.jpg").write_bytes(b"no picture")
    ran = made(celeiro, tmp_path / "photos", tmp_path)
    assert ran.code == 1
    assert "dog.3.jpg" in ran.err
    ran = made(celeiro, tmp_path / "photos", tmp_path, "--on-error", "skip")
    assert ran.code == 0
    assert "1 bad sample" in ran.err
    assert "dog.3.jpg: " in ran.err


def test_stopped_it_says_how_to_go_on(
    celeiro: Any,
    packed: Path,
    tmp_path: Path,
    asked: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = 0
    answer = Fake.__call__

    def stop(self: Any, images: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return answer(self, images)

    monkeypatch.setattr(Fake, "__call__", stop)
    ran = made(celeiro, packed, tmp_path, "--batch-size", 2)
    assert ran.code == 130
    assert "4 of 6 samples are packed and kept" in ran.err
    ran = made(celeiro, packed, tmp_path, "--batch-size", 2)
    assert ran.code == 0
    assert "going on at sample 5 of 6" in ran.err
