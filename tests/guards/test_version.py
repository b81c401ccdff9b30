"""One version: pyproject.toml has it, and three other places say the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import celeiro

ROOT = Path(__file__).parents[2]


def first(pattern: str, name: str) -> str:
    match = re.search(pattern, (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert match, f"{name} has no line like {pattern!r}"
    return match[1]


def test_every_place_says_the_same_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert celeiro.__version__ == project["version"]
    assert first(r"^## (\S+)", "CHANGELOG.md") == project["version"]
    assert first(r"^version: (\S+)", "CITATION.cff") == project["version"]
