"""Every command explains itself with an example, and the docs name it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer.main
from typer.testing import CliRunner

from celeiro.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


def commands(command: Any, *path: str) -> Iterator[tuple[str, ...]]:
    """The words that call each command: ("pack",), ("info",), ..."""
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, *path, name)
    if path and not hasattr(command, "commands"):
        yield path


COMMANDS = list(commands(typer.main.get_command(app)))


def test_there_are_commands() -> None:
    assert ("pack",) in COMMANDS


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0
    shown = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", result.output).split())
    assert "Example" in shown
    assert " ".join(("celeiro", *words)) in shown


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_is_named_in_the_docs(words: tuple[str, ...]) -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    assert re.search(rf"\bceleiro {' '.join(words)}\b", text)
