"""A Python of its own for what may crash: HDF5 on files that lie.

The other process imports this very celeiro, and nothing that happens to lie in the current folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

# The folder that holds the package: first on the other side's path.
_HOME = str(Path(__file__).resolve().parents[2])


def start(program: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Run a line of Python with pipes to and from it; `options` as `subprocess.Popen` has them."""
    known = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([_HOME, known] if known else [_HOME])
    return subprocess.Popen(
        # -P: the current folder is not searched for modules.
        [sys.executable, "-P", "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        **options,
    )
