"""The command line, in this process and in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from celeiro.cli import main

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    code: int
    """Its exit code."""
    out: str
    """What it wrote to stdout."""
    err: str
    """What it wrote to stderr."""


class Celeiro(Protocol):
    """`celeiro("pack", folder, out)` as a user would type it, but in this process."""

    def __call__(self, *arguments: Any) -> Ran: ...


@pytest.fixture
def celeiro(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Celeiro:
    def run(*arguments: Any) -> Ran:
        monkeypatch.setattr(sys, "argv", ["celeiro", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        told = capsys.readouterr()
        return Ran(end.value.code or 0, told.out, told.err)

    return run


class Start(Protocol):
    """`start("pack", folder, out)` in a process of its own."""

    def __call__(self, *arguments: Any, **options: Any) -> subprocess.Popen[bytes]: ...


@pytest.fixture
def start(tmp_path: Path) -> Start:
    def run(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(part for part in sys.path if part)
        words = [a if isinstance(a, bytes) else str(a) for a in arguments]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        options["env"] = os.environ | {"PYTHONPATH": path} | options.get("env", {})
        return subprocess.Popen([sys.executable, "-m", "celeiro", *words], cwd=tmp_path, **options)

    return run
