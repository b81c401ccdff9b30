"""Compiled libraries that stand beside the Python that calls them (hatch_build.py makes them)."""

from __future__ import annotations

import ctypes
import logging
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)


def beside(module: str, name: str) -> Path:
    """Where the library `name` of a module (its ``__file__``) is."""
    from pathlib import Path

    return Path(module).with_name(f"_{name}.dll" if os.name == "nt" else f"_{name}.so")


def function(path: Path, name: str, version: int, *, without: str) -> Any:
    """The function `name` of a library, whose ``name_version()`` gives `version`.

    None where the library was not built, or is of another release; the log then says what is
    `without`, and what to do.
    """
    try:
        library = ctypes.CDLL(str(path))
        if getattr(library, f"{name}_version")() != version:
            raise OSError(f"{path.name} is of another release")
        return getattr(library, name)
    except (OSError, AttributeError) as error:
        log.warning(
            "%s: %s. To build the kernel, install a C compiler (gcc or clang) and reinstall "
            "celeiro from its source",
            without,
            error,
        )
        return None
