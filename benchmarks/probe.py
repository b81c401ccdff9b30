"""How much memory and time a probe takes of features that exceed its memory.

    python benchmarks/probe.py --rows 50000                a trial
    python benchmarks/probe.py --save                      1,000,000 x 1,280 float16, 2.56 GB
    python benchmarks/probe.py --rows 50000 --compare      and beside it the solver in memory

The file is made block by block, of classes that overlap in correlated features with a long tail,
as those of a network are. The probe runs in a process of its own, whose peak of resident memory
the system tells. What the best possible classifier would reach is not known; `--compare` tells what
scikit-learn's solver reaches in memory.
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
from pack import RESULTS, machine

RESULT = RESULTS / "probe-large.json"
BLOCK = 4096

# In the place of `celeiro probe --json`, so that imports are measured with it.
CHILD = """
import json, sys, time
began = time.perf_counter()
import celeiro.features.probe as here
found = here.probe(sys.argv[1], memory=int(sys.argv[2]))
told = {name: getattr(found, name) for name in "rank1 rank5 C passes notes".split()}
print(json.dumps(told | {"seconds": time.perf_counter() - began}))
"""


def main() -> None:
    """Make the file, probe it, and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=1280)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--memory", type=int, default=1_000_000_000, metavar="BYTES")
    parser.add_argument("--sorted", action="store_true", help="class after class in the file")
    parser.add_argument("--compare", action="store_true", help="with the solver in memory too")
    parser.add_argument("--folder", type=Path, help="for the file; by default a temporary one")
    parser.add_argument("--save", action="store_true", help=f"add to {RESULT.name}")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder) / "features.h5"
        began = time.perf_counter()
        make(path, given)
        size = path.stat().st_size
        print(f"made {size / 1e9:.2f} GB in {time.perf_counter() - began:.0f} s", file=sys.stderr)
        told = {"bytes": size, "probe": probed(path, given.memory)}
        if given.compare:
            told["in_memory"] = probed(path, 1 << 50)
    name = f"{given.rows:,} x {given.dim:,} float16, {given.classes} classes"
    name += ", sorted" if given.sorted else ""
    print(json.dumps({name: told}, indent=2))
    if given.save:
        kept = json.loads(RESULT.read_text()) if RESULT.exists() else {"runs": {}}
        kept["machine"] = machine()
        kept["runs"][name] = told
        RESULT.write_text(json.dumps(kept, indent=2) + "\n")


def make(path: Path, given: argparse.Namespace) -> None:
    """Write features and labels, a block at a time."""
    rng = np.random.default_rng(0)
    rank = min(128, given.dim)
    spread = rng.normal(size=(rank, given.dim)) * (np.arange(1, rank + 1) ** -0.5)[:, None]
    spread = spread.astype(np.float32)
    centres = rng.normal(size=(given.classes, rank)).astype(np.float32) * 0.35
    labels = rng.integers(0, given.classes, given.rows)
    if given.sorted:
        labels.sort()
    with h5py.File(path, "w") as file:
        shape = (given.rows, given.dim)
        features = file.create_dataset("features", shape, np.float16)
        file["labels"] = labels
        for at in range(0, given.rows, BLOCK):
            true = labels[at : at + BLOCK]
            hidden = centres[true] + rng.standard_normal((len(true), rank), np.float32)
            values = hidden @ spread + 0.3 * rng.standard_normal((len(true), given.dim), np.float32)
            features[at : at + len(true)] = np.maximum(values + 0.3, 0)  # as after a ReLU


def probed(path: Path, memory: int) -> dict[str, Any]:
    """What a probe in a process of its own tells, and the most memory that it took."""
    command = [sys.executable, "-c", CHILD, str(path), str(memory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        told = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"the probe ended with exit code {child.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    found: dict[str, Any] = json.loads(told)
    return found | {"peak_bytes": used.ru_maxrss * unit, "memory": memory}


if __name__ == "__main__":
    main()
