"""What plain h5py takes for the same samples, in a process of its own.

    this process   a request (JSON) ──stdin──>  python -c "…serve()"
                   a line (JSON) for each step  <──stdout──

HDF5 has crashed on files that lie, and a damaged or unlucky file may keep it busy for minutes: over
there a crash is a message here, and what takes too long is stopped, with what was measured by then.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.reading import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SINGLE = "single"
BATCHES = "batches"

_PROGRAM = "from celeiro.care.measuring import plain; plain.serve()"
# To start Python, import h5py, open the file and look up the first sample.
_STARTING = 10.0
# A batch that would take longer than so many times what is allowed is made smaller.
_PATIENCE = 4.0
_TELL_EVERY = 0.05
# Beyond what the process has when it begins: chunks are decoded into twice their size at least.
_MEMORY = 2 << 30


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be read."""

    path: str
    """The file."""
    key: str
    """Of the samples' data set."""
    rows: tuple[int, ...]
    """Samples, in the order in which they are to be read."""
    batch: int
    """Samples of one call of fancy indexing; 0 for none."""
    seconds: float
    """For each way of reading."""
    offsets: str = ""
    """Of the store `encoded`: the data set of the files' offsets."""
    memory: int = _MEMORY
    """Bytes that the process may take."""


@dataclass(frozen=True, slots=True)
class Step:
    """How far one way of reading came."""

    samples: int = 0
    """Read in `seconds`."""
    seconds: float = 0.0
    """Without opening the file, and without the first sample."""
    batch: int = 1
    """Samples of one call."""
    error: str = ""
    """Why it ended early."""


def measure(request: Request) -> dict[str, Step]:
    """Read samples one by one and in batches by fancy indexing; an error is a step of its own."""
    process = _start()
    assert process.stdin is not None
    assert process.stdout is not None
    limit = _STARTING + 2 * (1 + _PATIENCE) * request.seconds
    stopper = threading.Timer(limit, process.kill)
    stopper.start()
    found: dict[str, Step] = {}
    done = False
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(_as_json(request)).encode("ascii"))
            process.stdin.close()
        for line in process.stdout:
            way, told = json.loads(line)
            done = way == "done"
            if not done:
                found[way] = Step(**told)
    finally:
        in_time = stopper.is_alive()
        stopper.cancel()
        process.kill()
        code = process.wait()
        process.stdout.close()
    if not done:
        way = BATCHES if SINGLE in found and request.batch else SINGLE
        late = f"was stopped after {limit:.0f} s"
        found[way] = _with(found.get(way), _how_it_ended(code) if in_time else late)
    return found


def _with(step: Step | None, error: str) -> Step:
    """What was measured, and the error only where that is nothing."""
    if step is not None and step.samples and "stopped" in error:
        return step
    return Step(error=f"HDF5 {error}")


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"crashed ({signal.Signals(-code).name})"
    return f"ended with code {code}"


def _start() -> subprocess.Popen[bytes]:
    # What it has to say comes as a line.
    return process.start(_PROGRAM, stderr=subprocess.DEVNULL)


def _as_json(request: Request) -> dict[str, Any]:
    return {name: getattr(request, name) for name in Request.__slots__}


# The other process


def serve() -> None:
    """The other process: read as the request says, and tell how long it took."""
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    request = Request(**json.loads(sys.stdin.buffer.read()))

    def tell(way: str, **told: Any) -> None:
        out.write(json.dumps([way, told]) + "\n")
        out.flush()

    _serve(request, tell)
    tell("done")


def _serve(request: Request, tell: Callable[..., None]) -> None:
    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401  (registers filters with HDF5)
    import h5py

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who asked, who then ends us
    _bound_memory(request.memory)
    way = SINGLE
    try:
        with h5py.File(request.path, "r", locking=False) as file:
            one = _reader(file, request)
            one(request.rows[0])  # whatever HDF5 looks up once
            rate = _time(tell, SINGLE, ((one, row, 1) for row in request.rows[1:]), request.seconds)
            way = BATCHES
            if request.batch > 1:
                _serve_batches(file[request.key], request, rate, tell)
    except (Exception, MemoryError) as error:
        tell(way, error=f"HDF5 says: {str(error)[:500] or type(error).__name__}")


def _serve_batches(data: Any, request: Request, rate: float, tell: Callable[..., None]) -> None:
    most = max(2, int(rate * request.seconds * _PATIENCE))
    size = min(request.batch, most, len(request.rows))
    batches = [request.rows[at : at + size] for at in range(0, len(request.rows), size)]
    whole = [np.sort(np.array(batch)) for batch in batches if len(batch) == size]
    _time(tell, BATCHES, ((data.__getitem__, rows, size) for rows in whole), request.seconds)


def _time(
    tell: Callable[..., None],
    way: str,
    calls: Iterator[tuple[Callable[[Any], Any], Any, int]],
    seconds: float,
) -> float:
    """Call until time is up, and tell now and then; samples a second."""
    samples, spent = 0, 0.0
    began = time.perf_counter()
    told = 0.0
    for call, wanted, count in calls:
        call(wanted)
        samples += count
        spent = time.perf_counter() - began
        if spent - told > _TELL_EVERY or spent > seconds or not told:
            told = spent
            tell(way, samples=samples, seconds=spent, batch=count)
        if spent > seconds:
            break
    if samples:
        tell(way, samples=samples, seconds=spent, batch=count)
    return samples / spent if spent else 0.0


def _reader(file: Any, request: Request) -> Callable[[int], Any]:
    """How one sample is read with nothing but h5py, and OpenCV for picture files."""
    data = file[request.key]
    if not request.offsets:
        read: Callable[[int], Any] = data.__getitem__
        return read
    import cv2

    ends = file[request.offsets][:].tolist()

    def decode(row: int) -> Any:
        return cv2.imdecode(data[ends[row] : ends[row + 1]], cv2.IMREAD_COLOR)

    return decode


def _bound_memory(most: int) -> None:
    """Let a chunk that decodes to gigabytes be an error of this process, where the system can."""
    if not sys.platform.startswith("linux"):
        return
    import resource
    from pathlib import Path

    with contextlib.suppress(OSError, ValueError):
        have = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (have + most, hard))
