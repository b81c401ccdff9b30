"""Compiled libraries that stand beside the Python that calls them (hatch_build.py makes them)."""

from __future__ import annotations

import ctypes
import logging
import os
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

INT64, POINTER = ctypes.c_int64, ctypes.c_void_p
"""How numbers and addresses are handed over."""


def beside(module: str, name: str) -> Path:
    """Where the library `name` of a module (its ``__file__``) is."""
    from pathlib import Path

    return Path(module).with_name(f"_{name}.dll" if os.name == "nt" else f"_{name}.so")


@cache
def opened(path: Path, name: str, version: int, *, without: str) -> Any:
    """A library whose ``name_version()`` gives `version`.

    None where it was not built, or is of another release; the log then says what is `without`,
    once, and what to do.
    """
    try:
        library = ctypes.CDLL(str(path))
        if getattr(library, f"{name}_version")() != version:
            raise OSError(f"{path.name} is of another release")
    except (OSError, AttributeError) as error:
        log.warning(
            "%s: %s. To build the kernel, install a C compiler (gcc or clang) and reinstall "
            "celeiro from its source",
            without,
            error,
        )
        return None
    return library


def function(path: Path, name: str, version: int, *, without: str) -> Any:
    """The function `name` of such a library; None where there is none."""
    return getattr(opened(path, name, version, without=without), name, None)
