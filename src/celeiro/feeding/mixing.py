"""What a block shuffle mixes: blocks that are read once, and are there while their samples come.

    chunk 7  ▓▓▓▓▓▓▓▓   decoded once, by whichever thread needs a sample of it first
    chunk 2  ▓▓▓▓▓▓▓▓   … and let go when as many others were used since as are mixed at a time

Only where a chunk holds several samples, so that each would be decoded for every sample of it. Of
other files the system's cache is the buffer, which is told what will be read next.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.feeding.order import Blocks
    from celeiro.reading.dataset import Dataset

# Bytes that the system is asked for at once.
_MOST_ASKED = 64 << 20


class _Chunk:
    """The samples of one chunk, once they are decoded."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.samples: npt.NDArray[Any] | None = None


class Mixing:
    """The chunks whose samples are coming.

    Parameters
    ----------
    most
        Samples that are held at a time, at most; at least one chunk of them is.
    """

    def __init__(self, ds: Dataset, most: int) -> None:
        self._ds = ds
        self._side = ds.per_chunk
        self._most = max(1, -(-most // self._side))
        self._lock = threading.Lock()
        self._chunks: OrderedDict[int, _Chunk] = OrderedDict()

    def sample(self, number: int) -> npt.NDArray[Any]:
        """One sample, which may stand in memory that others are given too: not to be changed."""
        which, at = divmod(number, self._side)
        with self._lock:
            chunk = self._chunks.get(which)
            if chunk is None:
                chunk = self._chunks[which] = _Chunk()
                if len(self._chunks) > self._most:
                    self._chunks.popitem(last=False)
            else:
                self._chunks.move_to_end(which)
        with chunk.lock:
            if chunk.samples is None:
                first = which * self._side
                chunk.samples = self._ds.read(range(first, min(first + self._side, len(self._ds))))
        found: npt.NDArray[Any] = chunk.samples[at]
        return found


def ask_ahead(ds: Dataset, order: Blocks, samples: npt.NDArray[np.integer], position: int) -> None:
    """Let the system read the blocks of the group of positions that begins at `position`."""
    group = samples[position : position + order.block * order.mixed]
    blocks = np.unique(group // order.block).astype(np.int64)
    for block in blocks.tolist():
        ds.will_need(block * order.block, min((block + 1) * order.block, len(ds)), _MOST_ASKED)
