"""`import celeiro` is light: no framework, nothing heavy, under 300 ms."""

from __future__ import annotations

import json
import subprocess
import sys

FRAMEWORKS = {"jax", "keras", "tensorflow", "torch"}
HEAVY = {"cv2", "hdf5plugin", "imagecodecs", "rich", "typer"}  # imported where they are used
LIMIT = 0.3  # seconds; about 0.2 of it is NumPy and h5py

MEASURE = """
import json, sys, time
start = time.perf_counter()
import celeiro
celeiro.{name}
print(json.dumps([time.perf_counter() - start, sorted(sys.modules)]))
"""


def import_celeiro(name: str = "__version__") -> tuple[float, set[str]]:
    """Seconds that the import takes in a new interpreter, and what is loaded afterwards."""
    program = MEASURE.format(name=name)
    output = subprocess.check_output([sys.executable, "-c", program])
    seconds, modules = json.loads(output)
    return seconds, set(modules)


def test_import_celeiro_loads_no_framework_and_nothing_heavy() -> None:
    assert import_celeiro()[1] & (FRAMEWORKS | HEAVY) == set()


def test_the_loader_needs_no_framework() -> None:
    assert import_celeiro("Loader")[1] & FRAMEWORKS == set()


def test_import_celeiro_takes_less_than_300_ms() -> None:
    # The best of up to five: the first may read from disk, and the machine may be busy.
    assert any(import_celeiro()[0] < LIMIT for _ in range(5))
