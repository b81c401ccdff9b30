"""Samples that the file has as bfloat16, given as float32: other samples of their bits, widened."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.format import bfloat16
from celeiro.reading import threads

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.reading.samples.chunks import ChunkSamples
    from celeiro.reading.samples.held import HeldSamples
    from celeiro.reading.samples.rows import RowSamples

# Bits that are in memory beside the values, bytes.
_TOGETHER = 8 << 20


class WidenedSamples:
    """The values of bits.

    Their places, lengths, checksums and stored bytes are those of the bits.
    """

    def __init__(self, bits: RowSamples | ChunkSamples | HeldSamples, *, workers: int) -> None:
        self.bits = bits
        self.shape = bits.shape
        self.dtype = np.dtype(np.float32)
        self.stored_dtype = bfloat16.NAME
        """What the file has, by its name."""
        self.per_chunk: int = getattr(bits, "per_chunk", 1)
        self._workers = workers
        self._step = max(1, _TOGETHER // max(1, 2 * math.prod(self.shape)))

    def __getattr__(self, name: str) -> Any:
        """What is told of stored bytes is told of the bits, where they have a place in the file."""
        if name in ("lengths", "place", "stored"):
            return getattr(self.bits, name)
        raise AttributeError(name)

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.bits)

    def read(self, indices: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
        """Fill `out` with samples in the order asked."""
        # A chunk of several samples is decoded once for all that want it: then all at once.
        step = len(indices) if self.per_chunk > 1 else min(self._step, len(indices))
        bits = np.empty((step, *self.shape), np.uint16)
        for at in range(0, len(indices), step or 1):
            wanted, room = indices[at : at + step], out[at : at + step]
            self.bits.read(wanted, bits[: len(wanted)])
            self._widen(bits[: len(wanted)], room)

    def _widen(self, bits: npt.NDArray[np.uint16], room: npt.NDArray[Any]) -> None:
        def work(first: int, last: int) -> None:
            bfloat16.values_of(bits[first:last], room[first:last])

        threads.share(work, len(bits), workers=self._workers)

    def read_list(self, indices: npt.NDArray[np.int64]) -> list[npt.NDArray[Any]]:
        """Samples in the order asked, as views of one array."""
        out = np.empty((len(indices), *self.shape), self.dtype)
        self.read(indices, out)
        return list(out)
