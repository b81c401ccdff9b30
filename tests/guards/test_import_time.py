"""`import celeiro` is light: no framework, nothing heavy, little beside NumPy and h5py."""

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
LIMIT = 1.5  # 300 ms where NumPy and h5py take 200; a busy machine slows both

MEASURE = """
import json, sys, time
start = time.process_time()
{before}
needed = time.process_time() - start
import celeiro
celeiro.{name}
print(json.dumps([(time.process_time() - start) / max(needed, 1e-9), sorted(sys.modules)]))
"""


def import_celeiro(name: str = "__version__", before: str = "") -> tuple[float, set[str]]:
    """In a new interpreter: its time beside that of what is imported before; what is loaded."""
    program = MEASURE.format(name=name, before=before)
    output = subprocess.check_output([sys.executable, "-c", program])
    ratio, modules = json.loads(output)
    return ratio, set(modules)


def test_import_celeiro_loads_no_framework_and_nothing_heavy() -> None:
    assert import_celeiro()[1] & (FRAMEWORKS | HEAVY) == set()


def test_the_loader_needs_no_framework() -> None:
    assert import_celeiro("Loader")[1] & FRAMEWORKS == set()


def test_import_celeiro_takes_little_beside_numpy_and_h5py() -> None:
    # The best of up to five: the first may read from disk.
    assert any(import_celeiro(before="import numpy, h5py")[0] < LIMIT for _ in range(5))


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
