"""`celeiro doctor`: the verdict first, then why; JSON for programs."""

from __future__ import annotations

import json
import shlex

import h5py
import hdf5plugin
import numpy as np
import pytest

import celeiro as package


@pytest.fixture
def wide(tmp_path):
    """Pictures as float64, sorted by class: 1.5 MB."""
    path = tmp_path / "wide.h5"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["images"] = rng.integers(0, 256, (1000, 8, 8, 3)).astype(np.float64)
        file["labels"] = np.repeat([0, 1], 500)
    return path


def test_the_verdict_comes_first_and_the_command_can_be_copied(celeiro, wide):
    ran = celeiro("doctor", wide, "--seconds", "0.01")
    assert (ran.code, ran.err) == (0, "")
    first, second = ran.out.splitlines()[:2]
    assert first.startswith("verdict      repack it: the same values take 1")
    made = wide.with_name("wide-pixels.h5")
    words = ["celeiro", "repack", str(wide), str(made), "--store", "pixels", "--dtype", "uint8"]
    assert second == f"command      {shlex.join(words)}"


@pytest.mark.parametrize("divided", [1, 255])
def test_the_command_does_what_it_promises(celeiro, tmp_path, divided):
    images = np.random.default_rng(0).integers(0, 256, (900, 16, 16, 3))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["pictures"] = (images / divided).astype(np.float32)
        file["tags"] = np.arange(900) % 7
    asked = ["--key", "pictures", "--labels", "tags", "--seconds", "0.01"]
    told = json.loads(celeiro("doctor", tmp_path / "a.h5", *asked, "--json").out)
    ran = celeiro(*shlex.split(told["command"])[1:], "--quiet")
    assert (ran.code, ran.err) == (0, "")
    made = tmp_path / f"a-{told['recommended']}.h5"
    with package.open(made) as ds:
        assert np.array_equal(ds.read(range(900)), images)
        assert np.array_equal(ds.labels, np.arange(900) % 7)
    promised = next(c for c in told["stores"] if c["way"] == told["recommended"])
    assert promised["file_bytes"] == pytest.approx(made.stat().st_size, rel=0.05)


def test_the_table_tells_what_was_found(celeiro, wide):
    lines = celeiro("doctor", wide, "--seconds", "0.01", "--workers", "1").out.splitlines()
    assert "samples      1,000 × 8 × 8 × 3 float64 in 'images'" in lines
    assert "layout       contiguous, 1.54 MB for 1.54 MB of values" in lines
    assert "values       0 to 255, whole numbers, in the samples that were read" in lines
    assert "channels     RGB or BGR, which the file does not say" in lines
    assert any(line.startswith("finding      labels are sorted") for line in lines)
    rows = [line[2:24].strip() for line in lines[lines.index("") + 1 :]]
    assert rows[:9] == [
        "a shuffled epoch", "h5py, one by one", "h5py, fancy indexing", "celeiro, as it is",
        "after celeiro repack", "pixels", "jpeg", "lossless", "encoded",
    ]  # fmt: skip
    assert next(line for line in lines if line.startswith("* ")).startswith("* pixels")


def test_json_has_all_of_it(celeiro, wide):
    found = json.loads(celeiro("doctor", wide, "--seconds", "0.01", "--json").out)
    assert found["recommended"] == "pixels"
    assert found["values"]["fits"] == "uint8"
    assert found["layout"]["amplification"] == 1.0
    assert found["labels"]["sorted"] is True
    assert len(found["epochs"]) == 3
    assert len(found["stores"]) == 4


def test_a_file_of_ours_needs_nothing(celeiro, photo_folder, tmp_path):
    path = package.pack(photo_folder(6), tmp_path / "a.h5").path
    out = celeiro("doctor", path, "--seconds", "0.01").out
    assert out.startswith("verdict      nothing to do: ")
    assert "command" not in out
    assert "samples      6 of many sizes, uint8 in 'imagens'" in out
    assert "picture files are read one by one" in out


def test_opening_does_not_advise_to_ask_the_doctor(celeiro, tmp_path, caplog):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = np.zeros((9, 8), np.uint8)
        file.create_dataset("x", data=data, chunks=(1, 8), **hdf5plugin.Blosc2())
    ran = celeiro("doctor", tmp_path / "a.h5", "--seconds", "0.01")
    assert caplog.text == ""
    assert "HDF5 must be asked for every sample" in ran.out
    package.open(tmp_path / "a.h5").close()
    assert "celeiro doctor" in caplog.text


def test_names_in_a_file_cannot_move_the_cursor(celeiro, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a\x1b[2Jb"] = np.zeros((9, 8), np.uint8)
    ran = celeiro("doctor", tmp_path / "a.h5", "--seconds", "0.01")
    assert ran.code == 0
    assert "\x1b" not in ran.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing.h5"], 1, "nothing.h5: cannot be read"),
        (["wide.h5", "--key", "nothing"], 1, "no data set is called 'nothing'"),
        (["wide.h5", "--seconds", "0"], 2, "wanted more than 0"),
        (["wide.h5", "--workers", "0"], 2, "wanted at least 1"),
    ],
)
def test_what_cannot_be_is_said(celeiro, wide, monkeypatch, arguments, code, message):
    monkeypatch.chdir(wide.parent)
    ran = celeiro("doctor", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err
