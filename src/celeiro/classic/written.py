"""What an `HDF5Dataset` has written so far, to be looked at before it is closed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.format import layout
from celeiro.format.bfloat16 import Bfloat16

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from celeiro.classic.dataset import HDF5Dataset


class Written:
    """The rows that are written so far, to be looked at like an array."""

    def __init__(self, dataset: HDF5Dataset) -> None:
        self._dataset = dataset

    @property
    def shape(self) -> tuple[int, ...]:
        """`dims`, as the article's readers expect; rows from `idx` on are not there yet."""
        return self._dataset.dims

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Type of the values; None before the first row."""
        writer = self._dataset._writer
        kind = self._dataset._dtype if writer is None else writer.kind.dtype
        return np.dtype(np.float32) if isinstance(kind, Bfloat16) else kind

    def __len__(self) -> int:
        """Rows that the file will hold at most."""
        return self._dataset.dims[0]

    def __getitem__(self, index: int | slice) -> npt.NDArray[Any]:
        """One row, or the rows of a slice; IndexError for one that is not written yet."""
        written = self._dataset.idx
        if isinstance(index, slice):
            rows = self._dataset._read_rows(range(*index.indices(written)))
            empty = np.zeros((0, *self.shape[1:]), self.dtype)
            return np.stack(rows) if rows else empty
        at = index + written if index < 0 else index
        if not 0 <= at < written:
            raise IndexError(f"row {index}: {written} of {len(self)} rows are written so far")
        return self._dataset._read_rows([at])[0]


class Database(Mapping[str, Any]):
    """What is written so far, by name of data set, as `h5py.File` would show it."""

    def __init__(self, dataset: HDF5Dataset) -> None:
        self._dataset = dataset

    @property
    def filename(self) -> str:
        """Name that the file will have."""
        return str(self._dataset.output_path)

    def __getitem__(self, name: str) -> Any:
        """The rows, the labels, or the names of the classes."""
        found = self._dataset
        match name:
            case found._options.key:
                return found.data
            case layout.LABELS:
                return found.labels
            case layout.LABEL_NAMES if found._names:
                return np.array(found._names)
            case _:
                raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        """Names of the data sets."""
        names = [self._dataset._options.key, layout.LABELS]
        return iter(names + [layout.LABEL_NAMES] * bool(self._dataset._names))

    def __len__(self) -> int:
        """Number of data sets."""
        return len(list(iter(self)))
