"""Samples that are in memory: what HDF5 keeps in a header, and what was never written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.reading.samples.checksums import check

if TYPE_CHECKING:
    import numpy.typing as npt


class HeldSamples:
    """Samples of an array, which may be one value shown many times.

    Parameters
    ----------
    crcs
        CRC-32C of each sample, to be checked on every read; None to check nothing.
    """

    def __init__(
        self, values: npt.NDArray[Any], crcs: npt.NDArray[np.uint32] | None = None
    ) -> None:
        self.shape = values.shape[1:]
        self.dtype = values.dtype.newbyteorder("=")
        self._values = values
        self._crcs = crcs

    def __len__(self) -> int:
        """Count the samples."""
        return len(self._values)

    def read(self, indices: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
        """Fill `out` with samples in the order asked."""
        self._check(indices)
        out[...] = self._values[indices]

    def read_list(self, indices: npt.NDArray[np.int64]) -> list[npt.NDArray[Any]]:
        """Samples in the order asked, each an array of its own."""
        self._check(indices)
        return [np.array(self._values[at], self.dtype) for at in indices.tolist()]

    def _check(self, indices: npt.NDArray[np.int64]) -> None:
        if self._crcs is None:
            return
        for number in indices.tolist():
            check(self._values[number].tobytes(), self._crcs, number)
