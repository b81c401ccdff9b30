"""Models of Keras': frameworks/on_keras_models.py, in a process that has PyTorch as its backend.

One that has loaded JAX must not fork, as other tests do, and takes ten times as long to compile.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_models_of_keras(tmp_path: Path) -> None:
    for name in ("keras", "torch"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    tests = Path(__file__).parents[1] / "frameworks" / "on_keras_models.py"
    surroundings = {
        "KERAS_BACKEND": "torch", "KERAS_HOME": str(tmp_path), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)],
        env=os.environ | surroundings,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
