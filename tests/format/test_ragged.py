"""Rows of unequal length: each by its number, from either end, and no other."""

from __future__ import annotations

import numpy as np
import pytest

from celeiro.format.ragged import Ragged

RAGGED = Ragged(np.arange(6), np.array([0, 2, 2, 6], np.uint64))


@pytest.mark.parametrize(
    ("index", "row"), [(0, [0, 1]), (1, []), (2, [2, 3, 4, 5]), (-1, [2, 3, 4, 5]), (-3, [0, 1])]
)
def test_a_row_is_had_by_its_number(index: int, row: list[int]) -> None:
    assert RAGGED[index].tolist() == row
    assert RAGGED[np.int64(index)].tolist() == row


@pytest.mark.parametrize("index", [3, -4, 10**9])
def test_a_row_that_is_not_there_is_an_error(index: int) -> None:
    with pytest.raises(IndexError, match="of 3"):
        RAGGED[index]
