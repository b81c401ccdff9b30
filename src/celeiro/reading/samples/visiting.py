"""Samples one after the other, each in memory that the next one takes again.

    visit(samples, [5, 3, 9], work)  ->  work(0, sample 5) · work(1, sample 3) · work(2, sample 9)

For who makes something else of each sample at once, such as a crop of it: nothing is allocated, and
a picture is still in the processor's cache when `work` looks at it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.reading.samples import Samples

Work = Callable[[int, "npt.NDArray[Any]", int], None]
"""Told the place in what was asked, the sample, and the factor by which it is smaller than stored;
the array is valid until `work` returns."""

# Samples that are read together, bytes: enough to find neighbours and to spread what a call costs.
_TOGETHER = 1 << 20
# Of one thread; what is larger is allocated for the moment.
_MOST_KEPT = 256 << 20


class Part(NamedTuple):
    """As much of a sample as is looked at."""

    rows: int
    """From the top; what is below may be missing from what `work` gets."""
    factor: int = 1
    """By how much smaller it may be: 1, 2, 4 or 8."""
    fast: bool = False
    """Whether it may differ by what a quicker decoder makes of it."""
    top: int = 0
    """First row that is looked at; those above may be undefined in what `work` gets."""
    columns: tuple[int, int] | None = None
    """First ≤ column < last that are looked at, as above; None of all."""

    def box(self, width: int) -> tuple[int, int, int, int]:
        """Top, left, bottom, right, of a sample of so many columns."""
        left, right = self.columns or (0, width)
        return self.top, left, self.rows, right

    def is_less(self, height: int, width: int) -> bool:
        """Whether there is something worth leaving out, of a sample of this size."""
        top, left, bottom, right = self.box(width)
        seen = (bottom - top) * (right - left)
        return self.fast or self.factor > 1 or seen * 8 < height * width * 7


class _Scratch(threading.local):
    """One buffer a thread, and one more for who visits other samples while it looks at one."""

    def __init__(self) -> None:
        self.depth = 0
        self.buffers = [memoryview(bytearray())]


_scratch = _Scratch()


def room(size: int) -> memoryview:
    """A buffer of this thread's own of at least so many bytes, of undefined content.

    Memory is taken as it is written to, not for what a file claims a picture to be.
    """
    buffers, depth = _scratch.buffers, _scratch.depth
    if size > _MOST_KEPT:
        return np.empty(size, np.uint8).data
    while len(buffers) <= depth:
        buffers.append(memoryview(bytearray()))
    if size > len(buffers[depth]):
        buffers[depth] = np.empty(size + size // 4, np.uint8).data
    return buffers[depth]


def visit(
    samples: Samples,
    indices: npt.NDArray[np.int64],
    work: Work,
    parts: Sequence[Part] | None = None,
) -> None:
    """Give each sample to `work`, in this thread; those that the disk must find may come last."""
    _scratch.depth += 1
    try:
        _visit(samples, indices, work, parts)
    finally:
        _scratch.depth -= 1


def _visit(
    samples: Samples,
    indices: npt.NDArray[np.int64],
    work: Work,
    parts: Sequence[Part] | None,
) -> None:
    own = getattr(samples, "visit", None)
    if own is not None:
        own(indices, work, parts)
    elif samples.shape is None:
        for at in range(len(indices)):
            work(at, samples.read_list(indices[at : at + 1])[0], 1)
    else:
        in_groups(samples, samples.shape, indices, work)


def in_groups(
    samples: Samples, shape: tuple[int, ...], indices: npt.NDArray[np.int64], work: Work
) -> None:
    """Read some of them at a time, then give them to `work` one by one."""
    size = max(1, math.prod(shape) * samples.dtype.itemsize)
    step = max(1, _TOGETHER // size)
    for first in range(0, len(indices), step):
        wanted = indices[first : first + step]
        flat = np.frombuffer(room(size * len(wanted)), np.uint8, size * len(wanted))
        out = flat.view(samples.dtype).reshape(len(wanted), *shape)
        samples.read(wanted, out)
        for at, sample in enumerate(out, first):
            work(at, sample, 1)
