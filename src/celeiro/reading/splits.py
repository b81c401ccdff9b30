"""Which samples are in a split, by their places in a dataset: of a view, not those in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.reading.dataset import Dataset


def places_in(ds: Dataset, split: str) -> npt.NDArray[np.int64]:
    """Places in `ds` of the samples of a split; of one that a view has twice, both.

    Raises
    ------
    KeyError
        There is no such split.
    """
    rows = ds.split(split).rows
    return np.flatnonzero(np.isin(ds.rows, rows)) if ds.is_view else rows
