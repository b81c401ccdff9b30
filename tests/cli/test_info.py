"""`celeiro info`: a table for people, JSON for programs, on any HDF5 file."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

import celeiro as package


def told(out: str) -> dict[str, str]:
    """The table as a mapping; a name that comes twice keeps its last line."""
    rows = (line.partition("  ") for line in out.replace("\n   ", "").splitlines())
    return {name: " ".join(value.split()) for name, _, value in rows}


@pytest.fixture
def packed(photo_folder, tmp_path):
    def make(**options):
        path = tmp_path / f"{options.get('store')}.h5"
        return package.pack(photo_folder(6), path, split="train=0.5,val=0.5", **options).path

    return make


def test_the_table_tells_what_a_file_holds(celeiro, packed):
    path = packed(store="jpeg", size=16, quality=80)
    ran = celeiro("info", path)
    assert (ran.code, ran.err) == (0, "")
    table = told(ran.out)
    assert table["format"] == "celeiro 1, store jpeg"
    assert table["samples"] == "6 × 16 × 16 × 3 uint8 in 'imagens', RGB"
    assert table["classes"] == "cat 3, dog 3"
    assert table["splits"] == "train 3, val 3"
    assert table["made with"] == (
        "size 16x16, resize stretch, quality 80, subsampling 420, split train=0.5,val=0.5, seed 0"
    )
    assert f"celeiro {package.__version__}" in table["made by"]
    assert "the sources'" in table["size"]
    assert "of raw values' 4.61 kB" in table["size"] or "times raw values'" in table["size"]
    with h5py.File(path) as file:
        assert table["mean"] == ", ".join(f"{value:.3f}" for value in file["mean"])
        assert table["std"] == ", ".join(f"{value:.3f}" for value in file["std"])


def test_what_was_left_out_is_told(celeiro, photo_folder, tmp_path):
    folder = photo_folder(6)
    (folder / "cat.0.jpg").write_bytes(b"")
    celeiro("pack", folder, tmp_path / "o.h5", "--on-error", "skip", "--max-side", "20")
    table = told(celeiro("info", tmp_path / "o.h5").out)
    assert table["left out"] == "1 bad picture"
    assert table["made with"] == "max side 20, quality 90, subsampling 420"


def test_pictures_of_many_sizes_are_told_as_such(celeiro, packed):
    table = told(celeiro("info", packed(store="encoded")).out)
    assert table["samples"] == "6 of many sizes, uint8 in 'imagens', RGB"
    assert "mean" not in table


def test_json_has_the_same_and_more(celeiro, packed):
    path = packed(store="lossless", size=16)
    found = json.loads(celeiro("info", path, "--json").out)
    expected = {
        "path": str(path), "celeiro_format": 1, "store": "lossless", "key": "imagens",
        "samples": 6, "shape": [6, 16, 16, 3], "dtype": "uint8", "color": "RGB",
        "classes": {"cat": 3, "dog": 3}, "splits": {"train": 3, "val": 3}, "fields": [],
        "file_bytes": path.stat().st_size, "raw_bytes": 6 * 16 * 16 * 3,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert len(found["mean"]) == len(found["std"]) == 3
    assert found["provenance"]["options"]["size"] == [16, 16]
    assert "imagens" in [data["name"] for data in found["data_sets"]]


def test_any_hdf5_file_is_told_as_far_as_it_can_be(celeiro, tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"] = np.zeros((9, 4, 4, 3), np.float32)
        file.create_dataset("y/z", data=np.arange(9), chunks=(3,), compression="gzip")
    ran = celeiro("info", tmp_path / "x.h5")
    assert ran.code == 0
    assert "HDF5, not made by celeiro" in ran.out
    assert "samples      9 × 4 × 4 × 3 float32 in 'images'\n" in ran.out
    assert "data set     y/z: 9 int64, chunks 3, filters 1\n" in ran.out


def test_names_in_a_file_cannot_move_the_cursor(celeiro, tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a\x1b[2Jb"] = 1
    assert "a\\x1b[2Jb: one value" in celeiro("info", tmp_path / "x.h5").out


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"hello", "no HDF5 file; it begins with b'hello'")],
)
def test_what_is_no_hdf5_file_is_exit_code_1(celeiro, tmp_path, content, message):
    if content is not None:
        (tmp_path / "x.h5").write_bytes(content)
    ran = celeiro("info", tmp_path / "x.h5")
    assert (ran.code, ran.out) == (1, "")
    assert f"celeiro: {tmp_path / 'x.h5'}: {message}" in ran.err
