"""The examples run: from a folder to a network that tells, stopped in the middle and gone on with.

Each in a process of its own: one that has loaded JAX must not fork, as other tests do.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = Path(__file__).parents[1] / "examples"
NEEDS = {"torch": ["torch"], "keras": ["keras", "jax"], "jax": ["jax"]}

# Trains undisturbed; then with a loader that is interrupted at a batch, and goes on. The network is
# smaller than it would be, for compiling it is most of the time.
DRIVER = """
import contextlib, importlib, io, json, sys
sys.path.insert(0, sys.argv[1])
example = importlib.import_module(sys.argv[2])
example.WIDTHS = (8, 16)
given, interrupt_at = sys.argv[3:], 10

def train(file):
    return list(example.train(example.arguments([given[0], file, *given[1:]])))

def interrupted(found):
    global interrupt_at
    interrupt_at -= 1
    if not interrupt_at:
        raise KeyboardInterrupt
    return found

class Loader(example.Loader):
    def __iter__(self):
        return map(interrupted, super().__iter__())

    def __getitem__(self, index):
        return interrupted(super().__getitem__(index))

with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as help:
    example.arguments(["--help"])
whole = train("whole.h5")
usual, example.Loader = example.Loader, Loader
try:
    train("cut.h5")
except KeyboardInterrupt:
    example.Loader = usual
    rest = train("cut.h5")
print(json.dumps([help.getvalue(), whole, rest]))
"""


def python(*arguments: Any, cwd: Path | None = None) -> str:
    """What a Python says that has not loaded anything yet."""
    surroundings = {
        "KERAS_BACKEND": "jax",
        "KERAS_HOME": str(cwd),
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | surroundings,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def skip_without(modules: Sequence[str]) -> None:
    for name in modules:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


@pytest.fixture
def red_or_blue(tmp_path: Path) -> Path:
    """Two classes that any network tells."""
    rng, folder = np.random.default_rng(0), tmp_path / "photos"
    folder.mkdir()
    for number in range(40):
        image = rng.integers(0, 60, (20, 20, 3)).astype(np.uint8)
        image[..., 2 * (number % 2)] += 150
        name = f"{('blue', 'red')[number % 2]}.{number}.jpg"
        cv2.imwrite(str(folder / name), image)
    return folder


def options(framework: str) -> list[str]:
    found = "--size 16 --crop 12 --epochs 4 --batch-size 6 --rate 0.01".split()
    found += [] if framework == "keras" else ["--save-every", "0"]
    return found + (["--threads", "1"] if framework == "torch" else [])


def called(framework: str) -> str:
    return f"python examples/train_{framework}.py photos/ photos.h5 --epochs 40"


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_it_learns_and_interrupted_goes_on_to_the_same_network(
    framework: str, red_or_blue: Path
) -> None:
    skip_without(NEEDS[framework])
    folder = red_or_blue.parent
    said = python(
        "-c", DRIVER, EXAMPLES, f"train_{framework}", red_or_blue, *options(framework), cwd=folder
    )
    help, whole, rest = json.loads(said.splitlines()[-1])
    assert called(framework) in help
    assert [told["epoch"] for told in whole] == [1, 2, 3, 4]
    assert [told["epoch"] for told in rest] == [2, 3, 4]  # stopped in the middle of the second
    assert whole[-1]["loss"] < whole[0]["loss"]
    assert whole[-1]["accuracy"] == 1
    for one, other in zip(whole[-2:], rest[-2:], strict=True):
        assert (one["loss"], one["accuracy"]) == (other["loss"], other["accuracy"])


def test_keras_learns_and_interrupted_goes_on_to_the_same_network(red_or_blue: Path) -> None:
    skip_without(NEEDS["keras"])
    driver = DRIVER.replace("list(example.train(", "(example.train(")
    said = python(
        "-c", driver, EXAMPLES, "train_keras", red_or_blue, *options("keras"),
        cwd=red_or_blue.parent,
    )  # fmt: skip
    help, whole, rest = json.loads(said.splitlines()[-1])
    assert called("keras") in help
    assert len(whole["loss"]) == 4
    assert whole["loss"][-1] < whole["loss"][0]
    # Keras begins the epoch again that was cut.
    np.testing.assert_allclose(rest["loss"], whole["loss"][-len(rest["loss"]) :], rtol=1e-4)
    assert sorted(path.name for path in red_or_blue.parent.glob("cut.*")) == [
        "cut.4.keras", "cut.h5", "cut.json",
    ]  # fmt: skip


def test_as_a_script_it_tells_of_each_epoch(red_or_blue: Path) -> None:
    skip_without(NEEDS["torch"])
    folder = red_or_blue.parent
    said = python(EXAMPLES / "train_torch.py", red_or_blue, "a.h5", *options("torch"), cwd=folder)
    assert re.search(r"^epoch   4   loss 0\.\d{3}   accuracy \d+\.\d%   \d+ s$", said, re.M)
