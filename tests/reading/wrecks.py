"""A process that opens damaged files and tells what came of it, one line of JSON each.

    {"path": "a.h5", "key": null, "most": 2}
    {"open": null, "seen": {"sample 0": "5f1c…", "sample 1": ["SampleError", "…", true], …}}

What was read is told as a digest, an error as its name, what it says, and whether it is one that
callers expect. A crash ends this process, a hang is ended by its alarm, and memory is bounded.
"""

from __future__ import annotations

import hashlib
import json
import logging
import signal
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

import celeiro
from celeiro.errors import CeleiroError

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_SECONDS = 20
MOST_MEMORY = 3 << 30


def told(error: BaseException) -> list[Any]:
    expected = isinstance(error, (CeleiroError, IndexError, KeyError))
    return [type(error).__name__, str(error), expected]


def digest(found: Any) -> str:
    """Of anything that a dataset gives."""
    if isinstance(found, np.ndarray):
        text = f"{found.dtype} {found.shape}".encode() + found.tobytes()
    elif hasattr(found, "__len__") and not isinstance(found, (str, bytes, tuple)):
        text = repr([digest(found[i]) for i in range(len(found))]).encode()
    else:
        text = repr(found).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:16]


def look(path: str, key: str | None, most: int) -> dict[str, Any]:
    """Open a file and read whatever can be read, `most` samples of it, with all checks."""
    seen: dict[str, Any] = {}

    def see(name: str, read: Callable[[], Any]) -> None:
        try:
            seen[name] = digest(read())
        except Exception as error:
            seen[name] = told(error)

    try:
        ds = celeiro.open(path, key, verify=True, workers=1)
    except Exception as error:
        return {"open": told(error), "seen": seen}
    with ds:
        count = min(len(ds), most)
        for i in range(count):
            see(f"sample {i}", lambda i=i: ds.read([i])[0])
        see("batch", lambda: ds.read(range(count)))
        for name in ("labels", "label_names", "keys", "mean", "std", "shape", "splits"):
            see(name, lambda name=name: getattr(ds, name))
        for name in ds.splits:
            see(f"split {name}", lambda name=name: ds.split(name).rows)
        see("fields", lambda: tuple(ds.fields))
        for name in ds.fields:
            see(f"field {name}", lambda name=name: ds[name])
        see("repr", lambda: bool(repr(ds)))
    return {"open": None, "seen": seen}


def main() -> None:
    """Look at one file after the other."""
    try:
        import resource
    except ImportError:  # Windows
        pass
    else:
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, resource.RLIM_INFINITY))
    logging.getLogger("celeiro").setLevel(logging.CRITICAL)
    for line in sys.stdin:
        if hasattr(signal, "alarm"):
            signal.alarm(MOST_SECONDS)
        sys.stdout.write(json.dumps(look(**json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
