"""The loader in JAX: frameworks/on_jax.py, in a process of its own.

One that has loaded JAX must not fork, as other tests do.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest


def test_jax_is_given_the_loaders_batches() -> None:
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    tests = Path(__file__).parent / "frameworks" / "on_jax.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
