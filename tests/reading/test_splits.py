"""Which samples are in a split, of a file and of a view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

import celeiro
from celeiro.reading.splits import places_in

if TYPE_CHECKING:
    from pathlib import Path


def test_places_are_those_in_the_dataset_and_not_in_the_file(tmp_path: Path) -> None:
    celeiro.pack(np.zeros((6, 2, 2), np.uint8), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["splits/train"] = np.array([1, 4], np.uint64)
    with celeiro.open(tmp_path / "a.h5", verify=False) as ds:
        assert places_in(ds, "train").tolist() == [1, 4]
        assert places_in(ds.select([5, 4, 0, 4]), "train").tolist() == [1, 3]
        assert places_in(ds.select([0]), "train").tolist() == []
        with pytest.raises(KeyError, match="no split 'val'"):
            places_in(ds, "val")
