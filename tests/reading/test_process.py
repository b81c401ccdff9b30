"""The other Python imports this very celeiro, and nothing from the current folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import celeiro
from celeiro.reading import process

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_what_lies_in_the_current_folder_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("h5py", "celeiro", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    program = "import sys, json, celeiro; print(celeiro.__file__, *sys.argv[1:])"
    with process.start(program, "a", "b") as other:
        said, _ = other.communicate(timeout=60)
    assert other.returncode == 0
    assert said.decode().split() == [celeiro.__file__, "a", "b"]


def test_no_module_of_ours_takes_the_name_of_another() -> None:
    """The package's own folder is not searched: it has names such as format and storage."""
    program = "import importlib.util as u; print(u.find_spec('packing'), u.find_spec('reading'))"
    with process.start(program) as other:
        said, _ = other.communicate(timeout=60)
    assert said.decode().split() == ["None", "None"]
