"""The build hook: wherever no compiler helps, the wheel is pure Python."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def build() -> Any:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_made_of_posix_is_not_compiled_on_windows(build: Any) -> None:
    everywhere, posix = build.kernels_of("nt"), build.kernels_of("posix")
    assert [kernel.stem for kernel in posix if kernel not in everywhere] == ["fetch"]


def test_every_kernel_is_compiled_somewhere(build: Any) -> None:
    found = {path.relative_to(ROOT) for path in (ROOT / "src").rglob("kernels/*.c")}
    assert found == set(build.kernels_of("posix"))


def test_a_compiler_is_one_program_or_words(build: Any, tmp_path: Path) -> None:
    assert build.compiler_of("") == ["cc"]
    assert build.compiler_of("gcc -m64") == ["gcc", "-m64"]
    one = tmp_path / r"Program Files\clang.exe"
    one.touch(0o755)
    assert build.compiler_of(str(one)) == [str(one)]


@pytest.mark.parametrize("broken", ["no compiler", "no compiler of C", "refuses"])
def test_without_a_compiler_nothing_is_made_and_it_is_told(
    broken: str, build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = build.KERNELS[0]
    (tmp_path / kernel).parent.mkdir(parents=True)
    library = tmp_path / build.library_of(kernel)
    library.write_bytes(b"of an older release")
    compiler = tmp_path / "compiler"
    if broken != "no compiler":
        compiler.write_text("no program" if broken == "no compiler of C" else REFUSES)
        compiler.chmod(0o755)
    if broken == "refuses" and shutil.which("sh") is None:
        pytest.skip("no shell")
    monkeypatch.setenv("CC", str(compiler))
    told = build.compile_kernel(tmp_path, kernel)
    assert ("unknown option -shared" if broken == "refuses" else "cannot be run") in told
    assert list(library.parent.iterdir()) == [(tmp_path / kernel).parent]


# As Microsoft's compiler: what is wrong stands on stdout.
REFUSES = "#!/bin/sh\necho unknown option -shared\nexit 2\n"
