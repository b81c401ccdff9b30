"""`celeiro probe`: figures for people, JSON for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import celeiro as package
from celeiro.cli.probe import matrix
from celeiro.cli.words import bytes_of
from celeiro.errors import OptionError
from celeiro.features.probe import probe

pytest.importorskip("sklearn")

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def features(tmp_path) -> Any:
    """`features(classes)`: a file whose classes can be told apart, but for a few samples."""

    def make(classes: int, names: list[str] | None = None, wrong: int = 4) -> Path:
        rng = np.random.default_rng(0)
        labels = np.arange(classes * 40) % classes
        rows = rng.normal(scale=4, size=(classes, 24))[labels]
        rows = rows + rng.normal(size=(len(labels), 24))
        told = labels.copy()
        told[: wrong * classes] = (told[: wrong * classes] + 1) % classes
        return package.pack(
            rows.astype(np.float32), tmp_path / "f.h5", key="features", labels=told,
            label_names=names,
        ).path  # fmt: skip

    return make


def test_two_classes_are_told_with_a_matrix_of_counts(celeiro, features):
    path = features(2, ["cat", "dog"])
    ran = celeiro("probe", path, "--C", "0.01,0.1", "-q")
    assert (ran.code, ran.err) == (0, "")
    found = probe(path, C=[0.01, 0.1])
    lines = ran.out.splitlines()
    assert f"file {path}, features: 24 values a sample, 2 classes" in " ".join(ran.out.split())
    assert f"rank-1       {100 * found.rank1:.2f} %" in lines
    assert not any(line.startswith("rank-5") for line in lines)
    assert "class  precision  recall      F1  support" in lines
    (a, b), (c, d) = found.confusion.tolist()
    at = lines.index("is, and was taken for (samples):")
    assert lines[at + 1].split() == ["0", "1"]
    assert lines[at + 2].split() == ["cat", "0", str(a), str(b)]
    assert lines[at + 3].split() == ["dog", "1", str(c), str(d)]


def test_twenty_classes_fit_a_terminal_and_more_are_told_as_pairs(celeiro, features):
    names = [f"a rather long name {number}" for number in range(20)]
    ran = celeiro("probe", features(20, names), "--C", "0.1", "-q")
    drawn = ran.out.splitlines()
    at = drawn.index("is, and was taken for (percent of each row):")
    assert len(drawn[at + 1 :]) == 21
    assert max(map(len, drawn[at:])) <= 80
    assert any(line.startswith("rank-5") for line in drawn)


def test_many_classes_are_told_by_the_worst_and_the_most_confused(celeiro, features):
    path = features(40)
    lines = celeiro("probe", path, "--C", "0.1", "-q").out.splitlines()
    assert "… and 10 better ones (--all lists them)" in lines
    first = probe(path, C=[0.1]).most_confused()[0]
    at = lines.index("most often confused:")
    assert lines[at + 1].startswith(f"  {first.true} taken for {first.taken_for}: {first.count} (")
    every = celeiro("probe", path, "--C", "0.1", "-q", "--all").out
    assert "better ones" not in every
    assert sum(line.split()[:1] == ["39"] for line in every.splitlines()) == 1


def test_shares_of_a_row_are_shaded_and_can_be_read(features):
    lines = matrix(probe(features(2, wrong=0), C=[1]))
    cells = [span.style for line in lines for span in line.spans]
    assert cells == ["white on rgb(8,69,148)"] * 2


def test_json_tells_the_same(celeiro, features):
    path = features(3)
    ran = celeiro("probe", path, "--C", "0.1", "--json", "-q")
    told = json.loads(ran.out)
    found = probe(path, C=[0.1])
    assert told | {"seconds": 0} == json.loads(json.dumps(found.to_json())) | {"seconds": 0}


def test_picture_and_classifier_are_written(celeiro, features, tmp_path):
    words = ["--C", "1", "-q", "--plot", tmp_path / "c.png", "--save", tmp_path / "p.skops"]
    path = features(2)
    assert celeiro("probe", path, *words).code == 0
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "p.skops").read_bytes().startswith(b"PK")
    again = celeiro("probe", path, *words)
    assert again.code == 1
    assert "is there already" in again.err
    assert celeiro("probe", path, *words, "--overwrite").code == 0


def test_features_beyond_the_memory_are_gone_through_block_by_block(celeiro, features):
    ran = celeiro("probe", features(40), "--C", "0.1", "--memory", "2MB", "-q")
    assert "passes over the file" in ran.out


@pytest.mark.parametrize(
    "words",
    [
        ["--overwrite"],
        ["--C", "a,b"],
        ["--C", "0"],
        ["--memory", "much"],
        ["--test", "no"],
        ["--workers", "0"],
    ],
)
def test_wrong_usage_is_exit_code_2(celeiro, features, words):
    ran = celeiro("probe", features(2), *words)
    assert (ran.code, ran.out) == (2, "")


def test_a_name_cannot_move_the_cursor_or_break_a_pipe(celeiro, features, monkeypatch):
    names = ["a\x1b[2Jb\nc", "[bold]猫"]
    path = features(2, names)
    out = celeiro("probe", path, "--C", "1", "-q").out
    assert "\x1b" not in out
    assert "[bold]猫" in out
    assert "a\ufffd[2Jb\ufffdc" in out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm")
    shown = celeiro("probe", path, "--C", "1", "-q").out
    assert "\x1b[2J" not in shown
    assert "\x1b[" in shown
    assert "[bold]猫" in shown


def test_sizes_are_read_as_people_type_them():
    assert bytes_of("0.5 GB") == 500_000_000
    for text in ("", "GB", "1 XB", "-1GB", "1e9"):
        with pytest.raises(OptionError, match="wanted a size such as 1GB"):
            bytes_of(text)
