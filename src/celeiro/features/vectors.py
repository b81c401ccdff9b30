"""The samples of a dataset as rows of float32, read block by block.

The invariant: what is given is finite. A NaN would make a classifier of nothing but NaN.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError, SampleError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from celeiro.reading.dataset import Dataset

# Rows that are read beside those wanted, where that makes one read of very many: at most so many
# for each wanted one.
_MOST_BESIDE = 2


class Vectors:
    """Features, (N, D), whatever the type they are stored in.

    Raises
    ------
    OptionError
        The samples are no floats, or differ in size.
    """

    def __init__(self, ds: Dataset) -> None:
        shape = ds.shape
        sides = [side for side in shape[1:] if side is not None]
        if len(sides) < len(shape) - 1 or ds.dtype.kind != "f" or not sides:
            kind = " × ".join("?" if side is None else f"{side:,}" for side in shape)
            raise OptionError(
                f"{ds.path}: its samples {ds.key!r} are {kind} {ds.dtype}; wanted features: "
                "floats, one row of D a sample. Make them of pictures with `celeiro features`, or "
                "name their data set with --key (key=)."
            )
        self.ds = ds
        self.dim = math.prod(sides)
        """Values of a sample, D."""
        if not self.dim:
            raise OptionError(f"{ds.path}: its samples {ds.key!r} hold no values: {shape}.")

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.ds)

    @property
    def stored_bytes(self) -> int:
        """Bytes of one sample as it is read."""
        return self.dim * self.ds.dtype.itemsize

    def stored(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Samples as the dataset gives them, (n, D)."""
        first, last = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)
        dense = len(rows) < last - first <= _MOST_BESIDE * len(rows)
        if dense and (np.diff(rows) > 0).all():
            span: npt.NDArray[Any] = self.ds.read(np.arange(first, last)).reshape(-1, self.dim)
            return span[rows - first]
        found: npt.NDArray[Any] = self.ds.read(rows)
        return found.reshape(len(rows), self.dim)

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Samples as float32, (n, D), checked; read in blocks, so that no second copy is made."""
        out = np.empty((len(rows), self.dim), np.float32)
        per = max(1, (16 << 20) // (4 * self.dim))
        for at in range(0, len(rows), per):
            out[at : at + per] = self.checked(self.stored(rows[at : at + per]), rows[at:])
        return out

    def blocks(
        self, rows: npt.NDArray[np.int64], per: int
    ) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Position and samples, as stored, of blocks of at most `per`; one is read ahead."""
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self.stored, rows[:per])
            for at in range(0, len(rows), per):
                block = ahead.result()
                if at + per < len(rows):
                    ahead = pool.submit(self.stored, rows[at + per : at + 2 * per])
                yield at, block

    def checked(
        self, block: npt.NDArray[Any], rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """A block as float32; SampleError for a value that is not finite."""
        with np.errstate(over="ignore"):  # told below, as infinite
            floats = block.astype(np.float32, copy=False)
        # A sum is finite where all are, and costs half as much as looking; it may overflow, though.
        with np.errstate(all="ignore"):
            if np.isfinite(floats.sum()):
                return floats
        bad = ~np.isfinite(floats)
        if not bad.any():
            return floats
        at, column = (int(i[0]) for i in np.nonzero(bad))
        raise self._not_finite(int(rows[at]), column, floats[at, column])

    def _not_finite(self, position: int, column: int, value: Any) -> SampleError:
        row = int(self.ds.rows[position])
        keys = self.ds.keys
        key = "" if keys is None else f" ({keys[position]})"
        return SampleError(
            f"{self.ds.path}: sample {row:,}{key}: value {column:,} of {self.ds.key!r} is {value}; "
            "wanted finite numbers (within float32). Extract its features again, or leave it out "
            "with ds.select.",
            row,
        )
