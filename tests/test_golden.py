"""Golden files: one of each store, as version 1 wrote them, read by every later release.

`tests/golden/make.py` made them, and the JSON beside each says what must be found in it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import h5py
import hdf5plugin  # noqa: F401  (h5py reads Blosc with it)
import numpy as np
import pytest

import celeiro  # noqa: F401  (h5py reads JPEG with it)
from celeiro.format import layout
from celeiro.reading.info import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

GOLDEN = Path(__file__).parent / "golden"
EXPECTED: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(GOLDEN.glob("*.json"))
}


class Golden:
    """One file, open, and what must be in it."""

    def __init__(self, name: str) -> None:
        self.path = GOLDEN / f"{name}.h5"
        self.expected = EXPECTED[name]
        self.file = h5py.File(self.path)
        self.key = self.expected.get("key", "imagens")
        self.data = self.file[self.key]

    def stored(self) -> list[bytes]:
        """The bytes of each sample."""
        if self.expected["store"] == "encoded":
            return [part.tobytes() for part in self.ragged(self.key)]
        if self.expected["store"] == "pixels":
            return [row.tobytes() for row in self.data]
        rest = (0,) * (self.data.ndim - 1)
        return [bytes(self.data.id.read_direct_chunk((i, *rest))[1]) for i in range(len(self.data))]

    def ragged(self, name: str) -> list[Any]:
        """The rows of a flat data set."""
        values, ends = self.file[name][:], self.file[f"{name}_offsets"][:].tolist()
        return [values[a:b] for a, b in itertools.pairwise(ends)]

    def texts(self, name: str) -> list[str]:
        """A text column, however it is stored."""
        if f"{name}_offsets" in self.file:
            return [part.tobytes().decode() for part in self.ragged(name)]
        return [text.decode() for text in self.file[name][:]]


@pytest.fixture(params=EXPECTED)
def golden(request: pytest.FixtureRequest) -> Iterator[Golden]:
    golden = Golden(request.param)
    yield golden
    golden.file.close()


def those_with(what: str) -> pytest.MarkDecorator:
    """Run a test on the files of which something is expected."""
    names = [name for name, expected in EXPECTED.items() if what in expected]
    return pytest.mark.parametrize("golden", names, indirect=True)


def sha256(data: Any) -> str:
    return hashlib.sha256(data).hexdigest()


def test_there_is_one_of_every_store_and_compressor() -> None:
    assert set(EXPECTED) == {*layout.STORES, "gzip"}


def test_golden_files_are_small_and_as_long_as_they_were(golden: Golden) -> None:
    assert golden.path.stat().st_size == golden.expected["file_bytes"] < 30_000


def test_attributes(golden: Golden) -> None:
    assert golden.file.attrs["celeiro_format"] == 1
    assert golden.file.attrs["celeiro_store"].decode() == golden.expected["store"]
    assert golden.file.attrs["celeiro_data"].decode() == golden.key
    assert golden.file.attrs["celeiro_color"].decode() == golden.expected["color"]
    assert json.loads(golden.file.attrs["celeiro_provenance"])["options"]["key"] == golden.key


def test_shape_and_type(golden: Golden) -> None:
    assert golden.data.dtype == golden.expected["dtype"]
    if golden.expected["store"] != "encoded":
        assert list(golden.data.shape) == golden.expected["shape"]


def test_stored_bytes(golden: Golden) -> None:
    assert [sha256(data) for data in golden.stored()] == golden.expected["stored_sha256"]


@those_with("decoded_sha256")
def test_decoded_samples(golden: Golden) -> None:
    hashes = golden.expected["decoded_sha256"]
    assert [sha256(golden.data[i].tobytes()) for i in range(len(golden.data))] == hashes


@those_with("decoded_tolerance")
def test_decoded_jpegs_are_close_to_what_they_were(golden: Golden) -> None:
    tolerance = golden.expected["decoded_tolerance"]
    reference = np.load(golden.path.with_suffix(".npy"))
    assert np.abs(golden.data[:].astype(int) - reference).max() <= tolerance


@those_with("upright")
def test_encoded_files_decode_to_their_size(golden: Golden) -> None:
    upright = golden.expected["upright"]
    images = [
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in golden.stored()
    ]
    assert [list(image.shape[:2]) for image in images] == upright
    assert golden.file[f"{golden.key}_shapes"][:].tolist() == [[*size, 3] for size in upright]
    orientations = golden.file[f"{golden.key}_orientations"][:].tolist()
    assert orientations == golden.expected["orientations"]
    assert golden.file[f"{golden.key}_reencoded"][:].tolist() == golden.expected["reencoded"]


def test_labels(golden: Golden) -> None:
    assert golden.file["labels"][:].tolist() == golden.expected["labels"]
    names = golden.expected.get("label_names", [])
    assert ("label_names" in golden.file) == bool(names)
    assert not names or golden.texts("label_names") == names


@those_with("keys")
def test_keys(golden: Golden) -> None:
    assert golden.texts("keys") == golden.expected["keys"]


@those_with("splits")
def test_splits(golden: Golden) -> None:
    splits = golden.expected["splits"]
    assert {name: rows[:].tolist() for name, rows in golden.file["splits"].items()} == splits


@those_with("fields")
def test_fields(golden: Golden) -> None:
    for name, values in golden.expected["fields"].items():
        stored = golden.file["fields"][name]
        found = golden.texts(f"fields/{name}") if stored.dtype.kind == "S" else stored[:].tolist()
        assert found == values


@those_with("boxes")
def test_ragged_fields_and_boxes(golden: Golden) -> None:
    fields = golden.expected.get("ragged", {}) | {"boxes": golden.expected["boxes"]}
    for name, rows in fields.items():
        assert [row.tolist() for row in golden.ragged(f"fields/{name}")] == rows


@those_with("masks_sha256")
def test_masks(golden: Golden) -> None:
    hashes = golden.expected["masks_sha256"]
    assert [sha256(mask.tobytes()) for mask in golden.file["fields/mask"]] == hashes


@those_with("masks_stored_sha256")
def test_masks_of_encoded_pictures(golden: Golden) -> None:
    hashes = golden.expected["masks_stored_sha256"]
    masks = [mask.tobytes() for mask in golden.ragged("fields/mask")]
    assert [sha256(mask) for mask in masks][: len(hashes)] == hashes
    for number, mask in enumerate(masks):
        values = cv2.imdecode(np.frombuffer(mask, np.uint8), cv2.IMREAD_UNCHANGED)
        assert list(values.shape) == golden.expected["upright"][number]
        assert set(values.ravel().tolist()) == {number}


@those_with("mean")
def test_mean_and_deviation(golden: Golden) -> None:
    for name in ("mean", "std"):
        np.testing.assert_allclose(golden.file[name][:], golden.expected[name], rtol=1e-12)
        assert golden.file[name].attrs["measured"].decode() == golden.expected["measured"]


def test_describe_tells_what_is_in_it(golden: Golden) -> None:
    told = describe(golden.path)
    for name in ("store", "shape", "dtype", "color"):
        assert told[name] == golden.expected[name]
    assert told["celeiro_format"] == 1
    assert told["key"] == golden.key
    assert told["samples"] == len(golden.expected["labels"])
    splits = golden.expected.get("splits", {})
    assert told["splits"] == {name: len(rows) for name, rows in splits.items()}
    assert told["mean"] == pytest.approx(golden.expected.get("mean"))
    assert told["file_bytes"] == golden.expected["file_bytes"]
    names = [data["name"] for data in told["data_sets"]]
    found: list[str] = []
    golden.file.visititems(lambda name, it: found.append(name) if hasattr(it, "shape") else None)
    assert sorted(names) == sorted(found)
