"""Samples whose channels are given in the other order: RGB as BGR, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.reading import threads

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.reading.samples import Samples


class FlippedSamples:
    """Other samples with their last axis turned round."""

    def __init__(self, samples: Samples, *, workers: int) -> None:
        self.shape = samples.shape
        self.dtype = samples.dtype
        self.stored_dtype: str = getattr(samples, "stored_dtype", str(samples.dtype))
        self._samples = samples
        self._workers = workers

    def __len__(self) -> int:
        """Count the samples."""
        return len(self._samples)

    def read(self, indices: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
        """Fill `out` with samples in the order asked."""
        self._samples.read(indices, out)
        threads.share(
            lambda first, last: _flip(out[first:last]), len(indices), workers=self._workers
        )

    def read_list(self, indices: npt.NDArray[np.int64]) -> list[npt.NDArray[Any]]:
        """Samples in the order asked."""
        return [np.ascontiguousarray(s[..., ::-1]) for s in self._samples.read_list(indices)]


def _flip(block: npt.NDArray[Any]) -> None:
    for sample in block:
        sample[...] = sample[..., ::-1].copy()
