"""The loader in Keras, under each of its backends: frameworks/on_keras.py, in a process for each.

A process has one backend, and one that has loaded JAX must not fork, as other tests do.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow"])
def test_keras_trains_in_the_loaders_order(backend: str, tmp_path: Path) -> None:
    for name in ("keras", backend):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    tests = Path(__file__).parent / "frameworks" / "on_keras.py"
    # TensorFlow begins epochs twice, in threads of its own: there tf_data has the order.
    some = ["-k", "tf_data"] if backend == "tensorflow" else []
    surroundings = {
        "KERAS_BACKEND": backend,
        "KERAS_HOME": str(tmp_path),
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # compiling is most of the time
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *some, str(tests)],
        env=os.environ | surroundings,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
