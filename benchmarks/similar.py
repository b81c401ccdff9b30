"""How much memory and time `celeiro similar` takes of a million samples, half of them duplicates.

    python benchmarks/similar.py --rows 20000              a trial
    python benchmarks/similar.py                           1,000,000 x 32 float32, 128 MB

Every sample is there twice, the copies in any order, and a fifth of the labels are drawn anew: half
a million groups, and some hundred thousand suspects. Each search runs in a process of its own, as
the command line does it, whose peak of resident memory the system tells.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np

ASKED = {
    "duplicates": ["--duplicates", "--threshold", "1", "--approximate"],
    "suspects": ["--suspects", "--approximate"],
}
CLASSES = 1000


def main() -> None:
    """Make the file, search it, and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--memory", default="100MB", metavar="SIZE")
    parser.add_argument("--only", choices=list(ASKED), help="one of the searches")
    parser.add_argument("--folder", type=Path, help="for the file; by default a temporary one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder) / "features.h5"
        make(path, given)
        for name, words in ASKED.items():
            if given.only in (None, name):
                for form in ([], ["--json"]):
                    told = asked([str(path), *words, *form, "-q", "--memory", given.memory])
                    print(" ".join([name, *form]), json.dumps(told))


def make(path: Path, given: argparse.Namespace) -> None:
    """Write features, each of them twice, and labels."""
    rng = np.random.default_rng(0)
    half = given.rows // 2
    true = rng.integers(0, CLASSES, half)
    centres = rng.normal(size=(CLASSES, given.dim)).astype(np.float32)
    rows = centres[true] + rng.normal(0, 0.5, (half, given.dim)).astype(np.float32)
    twice = np.concatenate([np.arange(half), rng.permutation(half)])
    labels = true[twice]
    wrong = rng.random(len(labels)) < 0.2
    labels[wrong] = rng.integers(0, CLASSES, int(wrong.sum()))
    with h5py.File(path, "w") as file:
        file["features"], file["labels"] = rows[twice], labels


def asked(words: list[str]) -> dict[str, Any]:
    """The time and the most memory that `celeiro similar` takes, in a process of its own."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "celeiro", "similar", *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"celeiro ended with exit code {child.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak_bytes": used.ru_maxrss * unit, "seconds": time.perf_counter() - began}


if __name__ == "__main__":
    main()
