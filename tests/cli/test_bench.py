"""`celeiro bench`: what limits, and the figures; JSON for programs."""

from __future__ import annotations

import json
import os

import pytest

import celeiro as package


@pytest.fixture
def packed(photo_folder, tmp_path):
    return package.pack(photo_folder(30), tmp_path / "a.h5", size=16, store="jpeg").path


def test_the_limit_comes_first_and_then_the_figures(celeiro, packed):
    ran = celeiro("bench", packed, "--seconds", "0.05", "--batch-size", "8", "--workers", "2")
    assert ran.code == 0
    assert ran.err.startswith("measuring for about")
    lines = ran.out.splitlines()
    assert lines[0] == f"file         {packed}, store jpeg"
    assert lines[1] == "samples      30 × 16 × 16 × 3 uint8"
    assert lines[2] == "read         batches of 8, 2 threads, in the system's cache"
    assert [line[:23] for line in lines if line.startswith("limit")] == [
        "limit        shuffled: " , "limit        in order: ",
    ]  # fmt: skip
    rows = [line.strip() for line in lines]
    for begins in ("shuffled  ", "in order  ", "celeiro  ", "memory: preadv, 2 threads",
                   "decode: ", "of the lowest ceiling", "one sample", "first batch",
                   "opening"):  # fmt: skip
        assert any(row.startswith(begins) for row in rows), begins
    assert rows[-1] == "note: 24 of 30 samples took part"


def test_no_line_of_figures_is_out_of_its_column(celeiro, packed):
    out = celeiro("bench", packed, "--seconds", "0.05", "--batch-size", "8").out
    lines = [line for line in out.splitlines() if line.startswith("  ") and " – " in line]
    lines = [line for line in lines if "(" not in line]
    assert len(lines) == 8
    assert {line[:67].rstrip()[-1].isdigit() for line in lines} == {True}
    assert {line[67:70] for line in lines} == {"   "}


def test_json_has_all_of_it_and_nothing_else_is_said(celeiro, packed):
    ran = celeiro("bench", packed, "--seconds", "0.05", "--cache", "memory", "--json")
    assert ran.err == ""
    found = json.loads(ran.out)
    assert found["cache"] == "memory"
    assert [order["order"] for order in found["orders"]] == ["shuffled", "in order"]
    assert found["orders"][0]["rate"].keys() == {"median", "low", "high", "count"}


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="only Linux forgets on request")
def test_a_cold_file_is_said_to_be(celeiro, packed):
    out = celeiro("bench", packed, "--seconds", "0.05", "--cold").out
    assert "the file is forgotten before each run" in out
    assert "disk: random preadv" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing.h5"], 1, "nothing.h5: cannot be read"),
        (["a.h5", "--cache", "disk"], 2, "--cache 'disk': wanted memory"),
        (["a.h5", "--batch-size", "0"], 2, "wanted at least 1"),
        (["a.h5", "--cold", "--cache", "memory"], 2, "no run would touch the disk"),
    ],
)
def test_what_cannot_be_is_said(celeiro, packed, monkeypatch, arguments, code, message):
    monkeypatch.chdir(packed.parent)
    ran = celeiro("bench", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err
