"""`celeiro salvage`: what was kept, what was lost, and how it was found."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

import celeiro as package

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def broken(photo_folder, tmp_path) -> Path:
    """Six pictures, one of them damaged."""
    path = package.pack(photo_folder(6), tmp_path / "broken.h5", size=16, store="jpeg").path
    with package.open(path) as ds:
        at, _ = ds._opened.contents.samples.place(2)
    with path.open("r+b") as file:
        file.seek(at + 50)
        file.write(b"\xff\xff\xff")
    return path


def test_what_is_kept_and_what_is_lost_is_told(celeiro, broken, tmp_path):
    ran = celeiro("salvage", broken, tmp_path / "saved.h5")
    assert (ran.code, ran.err) == (0, "")
    first, *lines = ran.out.splitlines()
    assert first.startswith(f"{tmp_path / 'saved.h5'}: 5 of 6 samples saved as jpeg, ")
    assert lines == [
        "  with them: keys, label_names, labels, mean, std",
        f"  1 fault in {broken}:",
        "    imagens, sample 2 (cat.4.jpg): its bytes are not those of its checksum",
    ]
    assert celeiro("verify", tmp_path / "saved.h5").code == 0


def test_json_tells_the_same(celeiro, broken, tmp_path):
    told = json.loads(celeiro("salvage", broken, tmp_path / "saved.h5", "--json").out)
    assert (told["kept"], told["samples"], told["how"]) == (5, 6, "read")
    assert told["findings"][0]["key"] == "cat.4.jpg"


def test_a_file_that_hdf5_refuses_is_saved(celeiro, broken, tmp_path):
    data = broken.read_bytes()
    (tmp_path / "cut.h5").write_bytes(data[:-10])
    ran = celeiro("salvage", tmp_path / "cut.h5", tmp_path / "saved.h5")
    assert ran.code == 0
    assert "5 of 6 samples saved as jpeg, past what HDF5 cannot read" in ran.out
    assert "truncated file" in ran.out


def test_pixels_by_their_shape(celeiro, tmp_path):
    package.pack(np.ones((30, 5, 4), np.uint16), tmp_path / "a.h5")
    data = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "x.h5").write_bytes(bytes(4096) + data[4096:5000])
    assert celeiro("salvage", tmp_path / "x.h5", tmp_path / "o.h5").code == 1
    ran = celeiro("salvage", tmp_path / "x.h5", tmp_path / "o.h5", "--shape", "5x4", "--dtype",
                  "uint16")  # fmt: skip
    assert ran.code == 0
    with h5py.File(tmp_path / "o.h5") as file:
        assert (file["imagens"][:] == 1).all()
        assert file["imagens"].shape == (22, 5, 4)


def test_an_output_that_is_there_is_kept(celeiro, broken, tmp_path):
    (tmp_path / "saved.h5").write_text("mine")
    ran = celeiro("salvage", broken, tmp_path / "saved.h5")
    assert (ran.code, ran.out) == (1, "")
    assert "--overwrite" in ran.err
    assert (tmp_path / "saved.h5").read_text() == "mine"
    assert celeiro("salvage", broken, tmp_path / "saved.h5", "--overwrite").code == 0


@pytest.mark.parametrize(
    "words",
    [["--shape", "5,4"], ["--shape", "0x4"], ["--dtype", "u1"], ["--shape", "4", "--dtype", "x"]],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(celeiro, broken, tmp_path, words):
    ran = celeiro("salvage", broken, tmp_path / "saved.h5", *words)
    assert (ran.code, ran.out) == (2, "")
    assert "wanted" in ran.err or "goes with" in ran.err
