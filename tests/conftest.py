"""Tiny pictures made on the fly, and how Hypothesis behaves here and in CI."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

# A shell that runs the tests in the background has them ignore Ctrl-C, and with them every program
# that a test starts and stops so.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline and no health check on speed: the machines are shared and noisy.
settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# In CI the same examples every time, and the line that replays a failure.
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


class PhotoFolder(Protocol):
    """Make `n` pictures below a new folder and return the folder."""

    def __call__(
        self,
        n: int,
        classes: tuple[str, ...] = ("cat", "dog"),
        size: tuple[int, int] = (40, 48),
        *,
        flat: bool = True,
        kind: Literal["jpg", "png"] = "jpg",
        name: str = "photos",
        seed: int = 0,
    ) -> Path: ...


@pytest.fixture
def photo_folder(tmp_path: Path) -> PhotoFolder:
    """A factory: `photo_folder(6)` holds cat.0.jpg, dog.1.jpg, cat.2.jpg, ...

    With `flat=False` cat/0.jpg, dog/1.jpg, ...; with no classes 0.jpg, 1.jpg, ...
    The same arguments give the same bytes.
    """

    def make(
        n: int,
        classes: tuple[str, ...] = ("cat", "dog"),
        size: tuple[int, int] = (40, 48),
        *,
        flat: bool = True,
        kind: Literal["jpg", "png"] = "jpg",
        name: str = "photos",
        seed: int = 0,
    ) -> Path:
        root = tmp_path / name
        root.mkdir()
        rng = np.random.default_rng(seed)
        for i in range(n):
            label = classes[i % len(classes)] if classes else ""
            stem = f"{label}{'.' if flat else '/'}{i}" if label else str(i)
            path = root / f"{stem}.{kind}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(encode(photo(rng, size), kind))
        return root

    return make


def photo(rng: np.random.Generator, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Soft patches of colour with a little noise: compresses like a photograph does."""
    import cv2

    height, width = size
    patches = rng.integers(0, 256, (4, 4, 3)).astype(np.float32)
    image = cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def encode(image: npt.NDArray[np.uint8], kind: Literal["jpg", "png"]) -> bytes:
    """The bytes of a picture file; `image` is RGB."""
    import cv2
    import simplejpeg

    if kind == "jpg":
        return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=90)
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


@dataclass(frozen=True, slots=True)
class End:
    """How a child of the nursery ended."""

    killed: bool
    """By SIGKILL."""
    result: Any
    """What its code left in `result`."""
    error: str | None
    """The name of the exception that ended it."""
    message: str | None
    """What that exception said."""


class Nursery:
    """Runs Python in processes of their own, and kills them on request; see nursery.py."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("nursery.py")
        # One thread: what is forked has no others.
        alone = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        path = os.pathsep.join(p for p in sys.path if p)
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | alone | {"PYTHONPATH": path},
            text=True,
        )

    def run(self, code: str, *, kill_after: float | None = None, **names: Any) -> End:
        """Run `code` with `names` (numbers and strings), or until `kill_after` seconds."""
        order = {"code": textwrap.dedent(code), "names": names, "kill_after": kill_after}
        self._process.stdin.write(json.dumps(order, default=str) + "\n")
        self._process.stdin.flush()
        return End(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End the process."""
        with self._process:
            self._process.stdin.close()


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Processes that may be killed: `nursery.run("celeiro.pack(...)", kill_after=0.1)`."""
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    nursery = Nursery()
    yield nursery
    nursery.close()


_KEPT: list[Any] = []  # a library's operators go with it


@pytest.fixture(scope="session")
def torchvision() -> Any:
    """torchvision, whatever build there is.

    One built for CUDA beside a torch without it cannot load its own operators (of detection), and
    then refuses to be imported at all, unless something bears their names.
    """
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            if "torchvision::nms" not in str(error):
                raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(operators)
        return importlib.import_module("torchvision")
