"""Every block of Python in the docs runs, or says why not; every command in them exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import typer.main

import celeiro
from celeiro.cli import app
from celeiro.cli.pack import joined

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^(?P<before>.*)\n```(?P<kind>\w*)(?P<more>.*)\n(?P<text>(?s:.*?))^```$", re.M)
NOT_RUN = re.compile(r"<!-- not run: \S.* -->")


def blocks(page: Path, *kinds: str) -> list[re.Match[str]]:
    text = "\n" + page.read_text(encoding="utf-8")
    return [block for block in BLOCK.finditer(text) if block["kind"] in kinds]


@pytest.fixture(scope="module")
def granary(tmp_path_factory):
    """What the docs speak of as there: photographs, in folders of all kinds, and packed ones."""
    root = tmp_path_factory.mktemp("docs")
    rng = np.random.default_rng(0)
    for number in range(6):
        name = ("cat", "dog")[number % 2]
        image = cv2.resize(rng.integers(0, 256, (6, 6, 3), np.uint8), (64, 48))
        for path in (f"photos/{name}.{number}.jpg", f"animals/{name}/{number}.jpg",
                     f"sets/{('train', 'val')[number // 4]}/{name}/{number}.jpg",
                     f"masks/{number}.png"):  # fmt: skip
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / path), image if path.endswith("jpg") else image[..., 0])
    for store in ("pixels", "jpeg", "lossless", "encoded"):
        size = None if store == "encoded" else 32
        celeiro.pack(root / "photos", root / f"{store}.h5", size=size, store=store)
    rows = rng.normal(size=(40, 8)).astype(np.float32)
    labels = ["cat", "dog"] * 20
    celeiro.pack(rows, root / "features.h5", key="features", labels=labels)
    for page in PAGES:
        for block in blocks(page, "csv", "json"):
            name = re.search(r'title="(.+?)"', block["more"])[1]
            (root / name).write_text(block["text"], encoding="utf-8")
    return root


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_block_of_python_runs(page, granary, monkeypatch, subtests):
    """One after the other, as a reader would try them, each without the files of those before."""
    monkeypatch.chdir(granary)
    given = set(granary.iterdir())
    pictures = [(np.zeros((256, 256, 3), np.uint8), number % 2) for number in range(3)]
    names = {"celeiro": celeiro, "h5py": h5py, "np": np, "cv2": cv2, "pictures": pictures}
    for block in blocks(page, "python", "py"):
        if NOT_RUN.fullmatch(block["before"]):
            continue
        line = page.read_text(encoding="utf-8")[: block.start("text")].count("\n")
        with subtests.test(line=line):
            exec(compile(block["text"], f"{page.name}, block at line {line}", "exec"), names)
        for value in [each for each in names.values() if isinstance(each, h5py.File)]:
            value.close()
        for made in set(granary.iterdir()) - given:
            made.unlink()


def commands(page: Path) -> list[list[str]]:
    """The words of each `$ celeiro …` in a page."""
    text = "".join(block["text"] for block in blocks(page, "console")).replace("\\\n", " ")
    lines = re.findall(r"^\$ celeiro (.*)$", text, re.M)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_can_be_typed_as_it_stands(page):
    for name, *words in commands(page):
        command = typer.main.get_command(app).commands[name]
        command.make_context(name, joined(["pack", *words])[1:])


def test_the_guide_names_every_option_of_pack():
    guide = (ROOT / "docs" / "packing.md").read_text(encoding="utf-8")
    options = [name for each in typer.main.get_command(app).commands["pack"].params
               for name in each.opts if name.startswith("--")]  # fmt: skip
    assert [name for name in options if f"`{name}" not in guide] == []


def test_a_planted_block_is_found(tmp_path):
    (tmp_path / "x.md").write_text(
        "a\n```python\n1\n```\n\n<!-- not run: old -->\n```python\n2\n```"
    )
    first, second = blocks(tmp_path / "x.md", "python")
    assert (first["text"], second["text"]) == ("1\n", "2\n")
    assert not NOT_RUN.fullmatch(first["before"])
    assert NOT_RUN.fullmatch(second["before"])
