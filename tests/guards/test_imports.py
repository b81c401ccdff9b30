"""Imports only go downhill, and packing and reading never import each other."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import celeiro

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

SOURCE = Path(celeiro.__file__).parent

# Each may import what stands beside it, and all that those may.
BELOW = {
    "_version": "",
    "errors": "_version",
    "library": "",
    "format": "errors library",
    "storage": "errors library",
    "packing": "format storage",
    "reading": "format storage",
    "feeding": "reading",
    "torch": "feeding",
    "keras": "feeding",
    "jax": "feeding",
    "classic": "feeding packing",
    "care": "torch keras jax classic packing",
    "features": "care packing",
    "cli": "features care packing",
    "view": "features care",
}
TOP = {"__init__", "__main__"}  # see everything, and are seen by nobody


def reach(part: str) -> set[str]:
    """Every part that `part` may import, itself among them."""
    return {part}.union(*(reach(below) for below in BELOW[part].split()))


def imported(path: Path, source: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name (`celeiro.format.layout`) of each import of ours, wherever it stands."""
    package = ("celeiro", *path.relative_to(source).parts[:-1])
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*start, *filter(None, [node.module])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names = [a.value for a in node.args[:1] if isinstance(a, ast.Constant)]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == "celeiro")


def uphill(source: Path) -> list[str]:
    """One line for each import that the table does not allow."""
    found = []
    for path in sorted(source.rglob("*.py")):
        part = path.relative_to(source).parts[0].removesuffix(".py")
        if part in TOP:
            continue
        allowed = reach(part) if part in BELOW else {part}
        for line, name in imported(path, source):
            target = name.partition(".")[2].partition(".")[0]
            if target not in allowed:
                found.append(f"{path.relative_to(source).as_posix()}:{line} {part} -> {name}")
    return found


def test_imports_only_go_downhill() -> None:
    assert uphill(SOURCE) == []


def test_every_part_has_a_place_in_the_table() -> None:
    parts = {path.name.removesuffix(".py") for path in SOURCE.iterdir() if path.suffix != ".typed"}
    assert parts - TOP - {"__pycache__"} <= BELOW.keys()


def test_packing_and_reading_do_not_reach_each_other() -> None:
    assert "reading" not in reach("packing")
    assert "packing" not in reach("reading")


def test_a_planted_import_is_found(tmp_path: Path, subtests: pytest.Subtests) -> None:
    path = tmp_path / "packing" / "sources" / "bad.py"
    path.parent.mkdir(parents=True)
    for line in (
        "import celeiro",
        "import celeiro.reading.dataset",
        "from celeiro import reading",
        "from celeiro.reading import dataset",
        "from ... import reading",
        "from ...reading.dataset import Dataset",
        "importlib.import_module('celeiro.reading')",
    ):
        with subtests.test(line):
            path.write_text(f"import numpy\nfrom .. import plan\ndef f():\n    {line}\n")
            found = uphill(tmp_path)
            assert len(found) == 1
            assert found[0].startswith("packing/sources/bad.py:4 packing -> celeiro")
