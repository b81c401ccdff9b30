"""`import celeiro` is light: no framework, nothing heavy, under 300 ms."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

FRAMEWORKS = {"jax", "keras", "tensorflow", "torch"}
HEAVY = {"cv2", "hdf5plugin", "imagecodecs", "rich", "typer"}  # imported where they are used
LIMIT = 0.3  # seconds of the processor, whoever else is busy; about 0.2 of it is NumPy and h5py

MEASURE = """
import json, sys, time
start = time.process_time()
import celeiro
celeiro.{name}
print(json.dumps([time.process_time() - start, sorted(sys.modules)]))
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
    # The best of up to five: the first may read from disk.
    assert any(import_celeiro()[0] < LIMIT for _ in range(5))


FIRST_BATCH = """
import json, sys
import numpy as np
import celeiro
from celeiro.feeding.transforms import HorizontalFlip, RandomResizedCrop
images = np.zeros((8, 16, 16, 3), np.uint8)
celeiro.pack(images, sys.argv[1], labels=np.arange(8), store=sys.argv[2], workers=1)
loader = celeiro.Loader(sys.argv[1], 4, transform=[RandomResizedCrop(8), HorizontalFlip()])
before = set(sys.modules)
next(iter(loader))
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.mark.parametrize("store", ["pixels", "jpeg"])
def test_nothing_is_imported_while_the_first_batch_is_waited_for(
    store: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", FIRST_BATCH, str(tmp_path / "a.h5"), store]
    assert json.loads(subprocess.check_output(command)) == []
