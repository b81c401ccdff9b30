"""`celeiro verify`: an answer for people, JSON for programs, an exit code for scripts."""

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
def packed(photo_folder, tmp_path) -> Path:
    return package.pack(photo_folder(6), tmp_path / "p.h5", size=16).path


def damage(path: Path, *samples: int) -> None:
    """Write into rows, as a disk does that forgets."""
    with h5py.File(path) as file:
        base = file["imagens"].id.get_offset()
    with path.open("r+b") as file:
        for sample in samples:
            file.seek(base + sample * 16 * 16 * 3)
            file.write(b"\x5a\xa5" * 8)


def test_a_sound_file_is_one_line_and_exit_code_0(celeiro, packed):
    ran = celeiro("verify", packed)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"{packed}: sound: 6 samples, 4.61 kB, in ")


def test_damaged_samples_are_named_and_exit_code_is_1(celeiro, packed):
    damage(packed, 1, 4)
    ran = celeiro("verify", packed)
    first, *lines = ran.out.splitlines()
    assert ran.code == 1
    assert first.startswith(f"{packed}: NOT sound: 2 faults, 2 of 6 samples damaged; ")
    assert lines == [
        "  imagens, sample 1 (cat.2.jpg): its bytes are not those of its checksum",
        "  imagens, sample 4 (dog.3.jpg): its bytes are not those of its checksum",
    ]


def test_json_tells_the_same(celeiro, packed):
    damage(packed, 2)
    ran = celeiro("verify", packed, "--json")
    assert ran.code == 1
    told = json.loads(ran.out)
    assert (told["sound"], told["bad"], told["samples"]) == (False, 1, 6)
    assert told["findings"][0]["key"] == "cat.4.jpg"


def test_more_faults_than_anybody_reads_are_counted_and_listed_on_request(celeiro, tmp_path):
    package.pack(np.zeros((1200, 4), np.uint8), tmp_path / "a.h5")
    with (tmp_path / "a.h5").open("r+b") as file:
        file.seek(4096)
        file.write(b"\1" * 4800)
    lines = celeiro("verify", tmp_path / "a.h5").out.splitlines()
    assert len(lines) == 1002
    assert lines[-1] == "  … and 200 more (--all lists them)"
    assert len(celeiro("verify", tmp_path / "a.h5", "--all").out.splitlines()) == 1201


def test_sources_are_compared(celeiro, packed, photo_folder):
    folder = photo_folder(6, name="again")
    assert celeiro("verify", packed, "--against", folder, "--decode").code == 0
    (folder / "cat.0.jpg").write_bytes((folder / "dog.1.jpg").read_bytes())
    ran = celeiro("verify", packed, "--against", folder)
    assert ran.code == 1
    assert "sample 0 (cat.0.jpg): packing its source again gives other pixels" in ran.out


def test_remarks_are_told_and_no_faults(celeiro, tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"] = np.zeros((9, 4, 4, 3), np.uint8)
        file["names"] = [b"a"]
    ran = celeiro("verify", tmp_path / "x.h5")
    assert ran.code == 0
    assert "  note: names: values of text, which are not looked at" in ran.out


def test_what_is_no_hdf5_file_is_exit_code_1(celeiro, tmp_path):
    (tmp_path / "x.h5").write_bytes(b"hello")
    ran = celeiro("verify", tmp_path / "x.h5")
    assert ran.code == 1
    assert "the file: no HDF5 file; it begins with b'hello'" in ran.out
    missing = celeiro("verify", tmp_path / "none.h5")
    assert (missing.code, missing.out) == (1, "")
    assert "no such file" in missing.err


@pytest.mark.parametrize(
    "words", [["--against", "photos"], ["--workers", "0"], ["--key", "no"], ["--nothing"]]
)
def test_wrong_usage_is_exit_code_2(celeiro, tmp_path, words):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"] = np.zeros((9, 4, 4, 3), np.uint8)
    ran = celeiro("verify", tmp_path / "x.h5", *words)
    assert (ran.code, ran.out) == (2, "")


def test_a_key_cannot_move_the_cursor(celeiro, tmp_path, photo_folder):
    folder = photo_folder(2)
    (folder / "cat.0.jpg").rename(folder / "a\x1b[2J.jpg")
    path = package.pack(folder, tmp_path / "a.h5", size=16, labels="none").path
    damage(path, 0)
    assert "a\\x1b[2J.jpg" in celeiro("verify", path).out
