"""`celeiro repack`: what each option does, what is said, and what is left alone."""

from __future__ import annotations

import json
import signal
import sys
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import celeiro as library
from celeiro.care.repack import repack
from celeiro.format import layout

if TYPE_CHECKING:
    from pathlib import Path


def provenance(path: Path) -> Any:
    with h5py.File(path) as file:
        return json.loads(file.attrs[layout.ATTR_PROVENANCE])


@pytest.fixture
def packed(photo_folder: Any, tmp_path: Path) -> Path:
    """Six pictures of 40x48, in two splits."""
    library.pack(
        photo_folder(6), tmp_path / "in.h5", size=(40, 48), store="jpeg",
        split={"train": 0.5, "val": 0.5},
    )  # fmt: skip
    return tmp_path / "in.h5"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Floats from 0 to 1, and labels, under names that must be told."""
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["other"] = np.zeros((9, 9, 9))
        file["cubes"] = (np.arange(4 * 5 * 6, dtype=np.float32) / 255).reshape(4, 5, 6)
        file["what"] = np.arange(4)
    return tmp_path / "f.h5"


@pytest.mark.parametrize("store", layout.STORES)
def test_the_example_of_the_help_works_for_every_store(
    celeiro: Any, packed: Path, tmp_path: Path, store: str
) -> None:
    size = [] if store == "encoded" else ["--size", "16"]
    ran = celeiro("repack", packed, tmp_path / "o.h5", "--store", store, *size)
    assert ran.code == 0
    assert "6 pictures" in ran.err
    assert ran.out == ""
    with library.open(tmp_path / "o.h5") as ds:
        assert ds.store == store
        assert len(ds) == 6
        assert ds.label_names == ("cat", "dog")


def test_a_store_must_be_named(celeiro: Any, packed: Path, tmp_path: Path) -> None:
    ran = celeiro("repack", packed, tmp_path / "o.h5")
    assert ran.code == 2
    assert "--store" in ran.err


@pytest.mark.parametrize(
    ("words", "option", "value"),
    [
        ("--resize crop", "resize", "crop"),
        ("--store jpeg --quality 70", "quality", 70),
        ("--store jpeg --subsampling 444", "subsampling", "444"),
        ("--store lossless --compressor gzip", "compressor", "gzip"),
        ("--shuffle --seed 7", "seed", 7),
        ("--shuffle", "shuffle", True),
        ("--store jpeg --check decode", "check", "decode"),
        ("--split a=0.5,b=0.5", "split", {"a": 0.5, "b": 0.5}),
        ("--max-pixels 9999", "max_pixels", 9999),
        ("--key images", "key", "images"),
        ("--bgr", "color", "BGR"),
    ],
)
def test_an_option_reaches_the_file(
    celeiro: Any, packed: Path, tmp_path: Path, words: str, option: str, value: Any
) -> None:
    given = ["--size", "8", "--store", "pixels", *words.split()]
    assert celeiro("repack", packed, tmp_path / "o.h5", *given).code == 0
    assert provenance(tmp_path / "o.h5")["options"][option] == value


def test_max_side_reaches_the_file(celeiro: Any, packed: Path, tmp_path: Path) -> None:
    words = "--store encoded --max-side 20".split()
    assert celeiro("repack", packed, tmp_path / "o.h5", *words).code == 0
    with library.open(tmp_path / "o.h5") as ds:
        assert ds.shapes.max() == 20


def test_names_types_and_factors_reach_a_foreign_file(
    celeiro: Any, foreign: Path, tmp_path: Path
) -> None:
    words = "--store pixels --from-key cubes --labels what --dtype uint8 --scale 255".split()
    assert celeiro("repack", foreign, tmp_path / "o.h5", *words).code == 0
    with library.open(tmp_path / "o.h5") as ds:
        assert ds.read(range(4)).reshape(-1).tolist() == list(range(120))
        assert ds.labels.tolist() == [0, 1, 2, 3]
        assert ds.key == "cubes"


def test_one_split_alone(celeiro: Any, packed: Path, tmp_path: Path) -> None:
    words = ["--store", "jpeg", "--only", "val"]
    assert celeiro("repack", packed, tmp_path / "o.h5", *words).code == 0
    with library.open(packed) as ds, library.open(tmp_path / "o.h5") as made:
        assert list(made.keys) == list(ds.split("val").keys)


def test_a_split_that_is_not_there_is_told_with_those_that_are(
    celeiro: Any, packed: Path, tmp_path: Path
) -> None:
    ran = celeiro("repack", packed, tmp_path / "o.h5", "--store", "jpeg", "--only", "test")
    assert ran.code == 2
    assert "no split 'test'; there are train, val" in ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--store zip", "'zip'"),
        ("--store jpeg --on-error quarantine", "wanted raise or skip"),
        ("--store pixels --dtype nothing", "'nothing': wanted a type such as uint8"),
        ("--store pixels --scale 0", "scale"),
        ("--store pixels --scale nan", "scale"),
        ("--store encoded --size 8", "--max-side"),
        ("--store jpeg --bgr", "BGR"),
        ("--store pixels --size big", "size 'big'"),
        ("--store pixels --workers 0", "workers"),
    ],
)
def test_options_that_contradict_each_other_end_with_two(
    celeiro: Any, packed: Path, tmp_path: Path, words: str, said: str
) -> None:
    ran = celeiro("repack", packed, tmp_path / "o.h5", *words.split())
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert not (tmp_path / "o.h5.partial").exists()


def test_what_is_wrong_with_the_file_ends_with_one(
    celeiro: Any, packed: Path, foreign: Path, tmp_path: Path
) -> None:
    for words, said in [
        ([tmp_path / "none.h5", tmp_path / "o.h5", "--store", "jpeg"], "none.h5"),
        ([foreign, tmp_path / "o.h5", "--store", "jpeg", "--from-key", "no"], "'cubes' (4, 5, 6)"),
        ([packed, tmp_path / "o.h5", "--store", "pixels", "--dtype", "int8"], "cat.0.jpg"),
    ]:
        ran = celeiro("repack", *words)
        assert ran.code == 1
        assert said in ran.err


def test_the_output_that_is_there_stays(celeiro: Any, packed: Path, tmp_path: Path) -> None:
    (tmp_path / "o.h5").write_bytes(b"precious")
    ran = celeiro("repack", packed, tmp_path / "o.h5", "--store", "jpeg")
    assert ran.code == 1
    assert "--overwrite" in ran.err
    assert (tmp_path / "o.h5").read_bytes() == b"precious"
    assert celeiro("repack", packed, tmp_path / "o.h5", "--store=jpeg", "--overwrite").code == 0
    assert library.open(tmp_path / "o.h5").store == "jpeg"


@pytest.mark.parametrize("words", [[], ["--overwrite"]])
def test_the_source_is_not_told_to_be_overwritten(
    celeiro: Any, packed: Path, words: list[str]
) -> None:
    before = packed.read_bytes()
    ran = celeiro("repack", packed, packed, "--store", "pixels", *words)
    assert ran.code == 2
    assert "is the source itself" in ran.err
    assert packed.read_bytes() == before


def test_damaged_samples_are_left_out_and_listed(
    celeiro: Any, packed: Path, tmp_path: Path
) -> None:
    with library.open(packed) as ds:
        assert ds.keys[1] == "cat.2.jpg"
        offset, length = ds._opened.contents.samples.place(1)
    with packed.open("r+b") as file:
        file.seek(offset + length // 2)
        file.write(b"damaged!")
    ran = celeiro("repack", packed, tmp_path / "o.h5", "--store", "pixels")
    assert ran.code == 1
    assert "cat.2.jpg: its bytes are not those of its checksum. What was packed" in ran.err
    ran = celeiro("repack", packed, tmp_path / "o.h5", "--store=pixels", "--on-error=skip")
    assert ran.code == 0
    assert "going on at sample 2 of 6" in ran.err
    assert "cat.2.jpg: its bytes are not those of its checksum\n" in ran.err
    with library.open(tmp_path / "o.h5") as made:
        assert len(made) == 5


def test_json_is_the_report_and_quiet_is_silent(celeiro: Any, packed: Path, tmp_path: Path) -> None:
    ran = celeiro("repack", packed, tmp_path / "a.h5", "--store", "lossless", "--json", "-q")
    assert json.loads(ran.out)["samples"] == 6
    assert ran.err == ""
    ran = celeiro("repack", packed, tmp_path / "b.h5", "--store", "lossless", "--quiet")
    assert (ran.out, ran.err) == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_ctrl_c_keeps_what_was_packed_and_says_how_to_go_on(
    start: Any, packed: Path, tmp_path: Path
) -> None:
    with library.open(packed) as ds:
        repack(ds.select(np.arange(120) % 6), tmp_path / "large.h5", store="jpeg")
    words = ("repack", tmp_path / "large.h5", tmp_path / "o.h5", "--store", "lossless")
    process = start(*words, "--size", "700", "--workers", "1")
    journal = tmp_path / "o.h5.partial" / "journal"
    while process.poll() is None and not (journal.exists() and journal.stat().st_size):
        pass
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert b"the same command goes on" in said
    assert not (tmp_path / "o.h5").exists()
    assert (tmp_path / "o.h5.partial").exists()
