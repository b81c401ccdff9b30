"""`celeiro pack`: what each option does, what is said, and what is left alone."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import cv2
import h5py
import numpy as np
import pytest

from celeiro.cli.pack import joined
from celeiro.format import layout
from celeiro.packing import pack as packing

if TYPE_CHECKING:
    from pathlib import Path


def provenance(path: Path) -> dict:
    with h5py.File(path) as file:
        return json.loads(file.attrs[layout.ATTR_PROVENANCE])


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every name below a folder, with time and bytes."""
    return {
        path.relative_to(folder).as_posix(): (
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in folder.rglob("*")
    }


@pytest.fixture
def photos(photo_folder):
    return photo_folder(6)


# What each option does


@pytest.mark.parametrize(
    ("words", "shape"),
    [
        ("--size 16", (6, 16, 16, 3)),
        ("--size 16x24", (6, 16, 24, 3)),
        ("--size 16 --gray", (6, 16, 16, 1)),
        ("--store pixels", (6, 40, 48, 3)),
        ("--store jpeg --size 16", (6, 16, 16, 3)),
        ("--store lossless --size 16", (6, 16, 16, 3)),
    ],
)
def test_size_store_and_gray_shape_the_samples(celeiro, photos, tmp_path, words, shape):
    assert celeiro("pack", photos, tmp_path / "o.h5", *words.split()).code == 0
    with h5py.File(tmp_path / "o.h5") as file:
        assert file["imagens"].shape == shape


def test_without_a_size_the_files_own_bytes_are_kept(celeiro, photos, tmp_path):
    celeiro("pack", photos, tmp_path / "o.h5")
    with h5py.File(tmp_path / "o.h5") as file:
        stored = file["imagens"][: file["imagens_offsets"][1]].tobytes()
    assert stored == (photos / "cat.0.jpg").read_bytes()


def test_bgr_turns_the_channels_around(celeiro, photos, tmp_path):
    celeiro("pack", photos, tmp_path / "rgb.h5", "--size", "8")
    celeiro("pack", photos, tmp_path / "bgr.h5", "--size", "8", "--bgr")
    with h5py.File(tmp_path / "rgb.h5") as rgb, h5py.File(tmp_path / "bgr.h5") as bgr:
        assert np.array_equal(rgb["imagens"][:], bgr["imagens"][:][..., ::-1])
        assert bgr.attrs[layout.ATTR_COLOR] == b"BGR"


@pytest.mark.parametrize(
    ("words", "option", "value"),
    [
        ("--resize crop", "resize", "crop"),
        ("--quality 70 --store jpeg", "quality", 70),
        ("--subsampling 444 --store jpeg", "subsampling", "444"),
        ("--compressor gzip --store lossless", "compressor", "gzip"),
        ("--seed 7 --shuffle", "seed", 7),
        ("--shuffle", "shuffle", True),
        ("--check decode --store jpeg", "check", "decode"),
        ("--split a=0.5,b=0.5", "split", {"a": 0.5, "b": 0.5}),
        ("--max-pixels 9999", "max_pixels", 9999),
        ("--key images", "key", "images"),
    ],
)
def test_an_option_reaches_the_file(celeiro, photos, tmp_path, words, option, value):
    ran = celeiro("pack", photos, tmp_path / "o.h5", "--size", "8", *words.split())
    assert ran.code == 0
    assert provenance(tmp_path / "o.h5")["options"][option] == value


def test_the_key_names_the_samples(celeiro, photos, tmp_path):
    celeiro("pack", photos, tmp_path / "o.h5", "--size", "8", "--key", "images")
    with h5py.File(tmp_path / "o.h5") as file:
        assert "imagens" not in file
        assert len(file["images"]) == 6


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--labels", "auto"], [b"cat", b"dog"]),
        (["--labels", "name"], [b"cat", b"dog"]),
        (["--labels", "none"], None),
        (["--label-pattern", r"(\d)\.jpg"], [b"0", b"1", b"2", b"3", b"4", b"5"]),
    ],
)
def test_labels_come_from_where_they_are_asked_for(celeiro, photos, tmp_path, words, names):
    celeiro("pack", photos, tmp_path / "o.h5", *words)
    with h5py.File(tmp_path / "o.h5") as file:
        assert (file["label_names"][:].tolist() if "label_names" in file else None) == names


def test_labels_may_stand_in_a_manifest(celeiro, photos, tmp_path):
    (tmp_path / "set.csv").write_text("path,label,age\ndog.1.jpg,x,3\ncat.0.jpg,y,4\n")
    celeiro("pack", photos, tmp_path / "o.h5", "--labels", tmp_path / "set.csv")
    with h5py.File(tmp_path / "o.h5") as file:
        assert file["label_names"][:].tolist() == [b"x", b"y"]
        assert file["fields/age"][:].tolist() == [3, 4]


def test_max_side_encodes_larger_ones_again(celeiro, photos, tmp_path):
    celeiro("pack", photos, tmp_path / "o.h5", "--max-side", "24")
    with h5py.File(tmp_path / "o.h5") as file:
        assert file["imagens_shapes"][0].tolist() == [20, 24, 3]
        assert file["imagens_reencoded"][:].all()


def test_workers_and_buffer_do_not_change_the_file(celeiro, photos, tmp_path):
    for name, words in {"a": "--workers 1", "b": "--workers 7 --buffer-size 2"}.items():
        celeiro("pack", photos, tmp_path / name, "--size", "8", "--store", "jpeg", *words.split())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# Bad pictures


def test_the_first_bad_picture_stops_and_mending_it_goes_on(celeiro, photos, tmp_path):
    good = (photos / "dog.3.jpg").read_bytes()
    (photos / "dog.3.jpg").write_bytes(b"<html>")
    ran = celeiro("pack", photos, tmp_path / "o.h5")
    assert ran.code == 1
    assert f"{photos / 'dog.3.jpg'}: not a picture" in ran.err
    assert "--on-error skip" in ran.err
    assert not (tmp_path / "o.h5").exists()
    (photos / "dog.3.jpg").write_bytes(good)
    ran = celeiro("pack", photos, tmp_path / "o.h5")
    assert (ran.code, "going on at picture" in ran.err) == (0, True)


def test_bad_ones_are_left_out_and_each_is_listed(celeiro, photos, tmp_path):
    for name in ("cat.0.jpg", "dog.3.jpg"):
        (photos / name).write_bytes(b"")
    ran = celeiro("pack", photos, tmp_path / "o.h5", "--on-error", "skip")
    assert ran.code == 0
    assert "left out     2 bad pictures:\n" in ran.err
    assert "cat.0.jpg: empty file" in ran.err
    assert "dog.3.jpg: empty file" in ran.err


@pytest.mark.parametrize("one_word", [False, True])
def test_quarantine_copies_bad_ones(celeiro, photos, tmp_path, one_word):
    (photos / "cat.2.jpg").write_bytes(b"<html>")
    bad = tmp_path / "bad ones"
    words = [f"--on-error=quarantine {bad}"] if one_word else ["--on-error", "quarantine", bad]
    assert celeiro("pack", *words, photos, tmp_path / "o.h5").code == 0
    assert (bad / "cat.2.jpg").read_bytes() == b"<html>"
    assert (photos / "cat.2.jpg").exists()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--on-error quarantine d s o", ["--on-error", "quarantine d", "s", "o"]),
        ("--on-error=quarantine d s o", ["--on-error=quarantine d", "s", "o"]),
        ("s o --on-error quarantine", ["s", "o", "--on-error", "quarantine"]),
        ("--on-error quarantine --gray s", ["--on-error", "quarantine", "--gray", "s"]),
        ("--on-error skip s o", ["--on-error", "skip", "s", "o"]),
    ],
)
def test_quarantine_and_its_folder_become_one_value(typed, meant):
    assert joined(typed.split()) == meant


# A dry run


def test_a_dry_run_writes_nothing_and_tells_every_store(celeiro, photos, tmp_path):
    (photos / "cat.0.jpg").write_bytes(b"<html>")
    (photos / "notes.txt").write_text("x")
    before = snapshot(tmp_path)
    ran = celeiro("pack", photos, tmp_path / "o.h5", "--size", "16", "--dry-run")
    assert (ran.code, ran.err) == (0, "")
    assert snapshot(tmp_path) == before
    for words in ("cat 3, dog 3", "from the files' names", "1 file, hidden or no pictures"):
        assert words in ran.out
    lines = ran.out.splitlines()
    assert [line.split()[0] for line in lines if "kB" in line and "pictures" not in line] == [
        "*", "jpeg", "lossless", "encoded"
    ]  # fmt: skip
    assert "1 of the 6 pictures tried are bad:" in ran.out
    assert "cat.0.jpg: not a picture" in ran.out
    assert "are free for" in ran.out


def test_a_dry_run_predicts_sizes_within_a_tenth(celeiro, photo_folder, tmp_path):
    folder = photo_folder(60, size=(90, 120))
    told = json.loads(
        celeiro("pack", folder, tmp_path / "o", "--size", "96", "--dry-run", "--json").out
    )
    assert told["pictures"] == 60
    assert told["classes"] == {"cat": 30, "dog": 30}
    assert told["store"] == "pixels"
    for store in told["stores"]:
        name = store["store"]
        words = [] if name == "encoded" else ["--size", "96"]
        celeiro("pack", folder, tmp_path / name, "--store", name, *words)
        assert store["file_bytes"] == pytest.approx((tmp_path / name).stat().st_size, rel=0.1)


def test_a_dry_run_says_what_stands_in_the_way(celeiro, photos, tmp_path):
    (tmp_path / "o.h5").write_bytes(b"mine")
    ran = celeiro("pack", photos, tmp_path / "o.h5", "--dry-run")
    assert "o.h5 is there already: --overwrite would replace it" in ran.out
    ran = celeiro("pack", photos, tmp_path / "no" / "o.h5", "--dry-run")
    assert f"the folder {tmp_path / 'no'} is not there yet" in ran.out
    (tmp_path / "p.h5.partial").mkdir()
    ran = celeiro("pack", photos, tmp_path / "p.h5", "--dry-run")
    assert "unfinished work" in ran.out


def test_a_dry_run_of_many_sizes_asks_for_one(celeiro, photos, tmp_path):
    (photos / "cat.9.png").write_bytes(cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1])
    ran = celeiro("pack", photos, tmp_path / "o.h5", "--dry-run")
    assert ran.out.count("pictures of many sizes (40x48, 9x9, …): give --size") == 3


# What is there already


def test_what_is_there_is_replaced_only_on_request(celeiro, photos, tmp_path):
    out = tmp_path / "o.h5"
    out.write_bytes(b"mine")
    ran = celeiro("pack", photos, out)
    assert ran.code == 1
    assert "--overwrite" in ran.err
    assert out.read_bytes() == b"mine"
    assert celeiro("pack", photos, out, "--overwrite").code == 0
    assert h5py.is_hdf5(out)


def test_a_name_that_is_taken_is_told_before_the_source_is_listed(
    celeiro, photos, tmp_path, monkeypatch
):
    (tmp_path / "o.h5").write_bytes(b"mine")
    monkeypatch.setattr(packing, "list_source", lambda *_, **__: pytest.fail("listed"))
    assert celeiro("pack", photos, tmp_path / "o.h5").code == 1


def test_other_options_are_refused_until_fresh(celeiro, photos, tmp_path):
    (photos / "dog.5.jpg").write_bytes(b"")
    out = tmp_path / "o.h5"
    celeiro("pack", photos, out, "--size", "8")
    ran = celeiro("pack", photos, out, "--size", "9")
    assert ran.code == 1
    assert "size was [8, 8], is [9, 9]" in ran.err
    assert "--fresh" in ran.err
    ran = celeiro("pack", photos, out, "--size", "9", "--fresh", "--on-error", "skip")
    assert ran.code == 0
    with h5py.File(out) as file:
        assert file["imagens"].shape == (5, 9, 9, 3)


# What is said


def test_the_report_is_a_few_lines_on_stderr(celeiro, photos, tmp_path):
    ran = celeiro("pack", photos, tmp_path / "o.h5", "--size", "8", "--split", "a=0.5,b=0.5")
    assert ran.out == ""
    hint, first, *rest = ran.err.splitlines()
    assert hint.startswith("pixels take 1.15 kB; the same pictures with --store jpeg would take")
    assert first.startswith(f"{tmp_path / 'o.h5'}: 6 pictures as pixels, ")
    assert [line.split()[0] for line in rest] == ["size", "classes", "splits"]


def test_the_hint_does_not_list_the_source_again(celeiro, photos, tmp_path, monkeypatch):
    listed = []
    original = packing.list_source
    monkeypatch.setattr(
        packing, "list_source", lambda *a, **k: listed.append(a) or original(*a, **k)
    )
    assert "--store jpeg" in celeiro("pack", photos, tmp_path / "o.h5", "--size", "8").err
    celeiro("pack", photos, tmp_path / "p.h5", "--size", "8", "--dry-run")
    assert len(listed) == 2


def test_quiet_says_nothing_but_errors(celeiro, photos, tmp_path):
    ran = celeiro("pack", photos, tmp_path / "o.h5", "--size", "8", "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    ran = celeiro("pack", photos, tmp_path / "o.h5", "-q")
    assert (ran.code, "already exists" in ran.err) == (1, True)


def test_json_is_the_report_and_nothing_else(celeiro, photos, tmp_path):
    (photos / "cat.0.jpg").write_bytes(b"")
    (photos / "x.txt").write_bytes(b"")
    words = "--size 8 --on-error skip --json --split a=0.4,b=0.6".split()
    told = json.loads(celeiro("pack", photos, tmp_path / "o.h5", *words).out)
    expected = {
        "path": str(tmp_path / "o.h5"), "store": "pixels", "samples": 5, "shape": [8, 8, 3],
        "dtype": "uint8", "classes": {"cat": 2, "dog": 3}, "ignored": 1, "resumed": 0,
        "file_bytes": (tmp_path / "o.h5").stat().st_size, "payload_bytes": 5 * 192,
        "raw_bytes": 5 * 192,
    }  # fmt: skip
    assert {name: told[name] for name in expected} == expected
    assert told["refused"] == [["cat.0.jpg", "empty file: it has no bytes"]]
    assert sum(told["splits"].values()) == 5
    assert told["seconds"] > 0
    assert told["source_bytes"] == sum(p.stat().st_size for p in photos.glob("*.jpg"))


def test_names_that_would_move_the_cursor_are_escaped(celeiro, photos, tmp_path):
    (photos / "cat.\x1b[31m\n.jpg").write_bytes(b"")
    ran = celeiro("pack", photos, tmp_path / "o.h5", "--on-error", "skip")
    assert "cat.\\x1b[31m\\x0a.jpg: empty file" in ran.err
    assert "\x1b" not in ran.err


# Exit codes


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("--size 8x", 2, "size '8x': wanted HEIGHTxWIDTH"),
        ("--store web", 2, "store 'web': wanted one of 'pixels'"),
        ("--store encoded --size 8", 2, "Choose --store jpeg"),
        ("--max-side 8 --size 8", 2, "--max-side goes with --store encoded"),
        ("--store jpeg --bgr --size 8", 2, "Leave out --bgr"),
        ("--bgr --gray", 2, "Choose one"),
        ("--quality 101", 2, "from 1 to 100"),
        ("--resize zoom", 2, "resize 'zoom': wanted one of 'stretch'"),
        ("--labels files", 2, "wanted auto, folder, name, none"),
        ("--labels folder", 1, "not every picture has a class folder"),
        ("--label-pattern x(", 2, "regular expression"),
        ("--split a=0.5", 2, "sum to 0.5"),
        ("--key labels", 2, "is a name of the format"),
        ("--on-error ignore", 2, "wanted 'raise', 'skip' or 'quarantine'"),
        ("--on-error quarantine", 2, "wanted a folder"),
        ("--workers 0", 2, "workers 0: wanted 1 or more"),
        ("--seed x", 2, "Invalid value for '--seed'"),
        ("--nonsense", 2, "No such option"),
    ],
)
def test_what_cannot_be_is_refused_with_advice(celeiro, photos, tmp_path, words, code, message):
    before = snapshot(tmp_path)
    ran = celeiro("pack", photos, tmp_path / "o.h5", *words.split())
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err
    assert snapshot(tmp_path) == before


def test_a_source_that_is_not_there_is_exit_code_1(celeiro, tmp_path):
    ran = celeiro("pack", tmp_path / "gone", tmp_path / "o.h5")
    assert ran.code == 1
    assert f"celeiro: {tmp_path / 'gone'}: no such folder or manifest" in ran.err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may all")
def test_a_folder_that_may_not_be_written_is_named(celeiro, photos, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    ran = celeiro("pack", photos, tmp_path / "locked" / "o.h5")
    assert ran.code == 1
    assert "Permission denied" in ran.err
    assert "[Errno" not in ran.err
