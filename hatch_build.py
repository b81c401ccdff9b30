"""Compile the kernels while a wheel is built, also of an editable install.

    python hatch_build.py        compile it in place, for whoever runs from the source folder

Without a C compiler the wheel is pure Python, which does the kernels' work with the same bits.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script, by a Python without hatchling
    BuildHookInterface = object


def kernels_of(system: str) -> tuple[Path, ...]:
    """What is compiled on a system, by its ``os.name``: fetch.c is made of calls of POSIX."""
    kernels = [("feeding", "resample"), ("format", "baseline")]
    kernels += [("storage", "fetch")] if system == "posix" else []
    return tuple(Path("src/celeiro", part, "kernels", f"{name}.c") for part, name in kernels)


KERNELS = kernels_of(os.name)

# Contracted, a * b + c is rounded once where NumPy rounds twice.
FLAGS = ("-O3", "-shared", "-fPIC", "-pthread", "-ffp-contract=off")


def library_of(kernel: Path) -> Path:
    """Where the library of a kernel belongs: beside the module of its name."""
    return kernel.parents[1] / f"_{kernel.stem}.{'dll' if os.name == 'nt' else 'so'}"


def compiler_of(told: str) -> list[str]:
    r"""The words that call a compiler, from what CC says: ``gcc -m64``, ``C:\LLVM\clang.exe``."""
    if shutil.which(told):  # one program, whose backslashes and spaces are no shell's
        return [told]
    return shlex.split(told) or ["cc"]


def compile_kernel(root: Path, kernel: Path) -> str:
    """Put the library of a kernel in its place; return why not, or nothing."""
    library = root / library_of(kernel)
    # Never written in place: a Python that has it loaded would crash.
    unfinished = library.with_name(f"{library.name}.{os.getpid()}")
    compiler = compiler_of(os.environ.get("CC", ""))
    architectures = shlex.split(os.environ.get("ARCHFLAGS", ""))  # of macOS
    command = [*compiler, *FLAGS, *architectures, "-o", str(unfinished), str(root / kernel)]
    try:
        library.unlink(missing_ok=True)  # what cannot be compiled must not stay in an older form
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode:
            told = done.stderr.strip() or done.stdout.strip()  # Microsoft's tells on stdout
            return f"{shlex.join(command)} failed: {told}"
        os.replace(unfinished, library)
    except OSError as error:
        return f"{compiler[0]} cannot be run, or {library.name} not replaced: {error}"
    finally:
        unfinished.unlink(missing_ok=True)
    return ""


class KernelHook(BuildHookInterface):  # type: ignore[misc]
    """What hatchling calls."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say for which platform the wheel is then."""
        for kernel in KERNELS:
            failure = compile_kernel(Path(self.root), kernel)
            if failure:
                self.app.display_warning(f"celeiro will {kernel.stem} without C: {failure}")
                continue
            build_data["pure_python"] = False
            # No Python headers: any Python 3 loads it.
            build_data["tag"] = f"py3-none-{_platform()}"
            build_data["artifacts"].append(f"/{library_of(kernel).as_posix()}")


def _platform() -> str:
    """The platform's tag in a wheel's name."""
    if sys.platform != "darwin":  # plain `linux_x86_64`: no promise about other systems' glibc
        return re.sub(r"[-.]", "_", sysconfig.get_platform())
    from packaging import tags

    return next(iter(tags.platform_tags()))  # of this system and processor, not of Python's build


if __name__ == "__main__":
    here = Path(__file__).parent
    failures = [failure for kernel in KERNELS if (failure := compile_kernel(here, kernel))]
    sys.exit("\n".join(failures) or None)
