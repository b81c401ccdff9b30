"""Neighbours are found, however many and in whatever order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeiro.storage.coalesce import runs


def of(indices: list[int], most: int) -> list[list[int]]:
    """The runs themselves."""
    wanted = np.array(indices, np.int64)
    firsts, counts = runs(wanted, most=most)
    return [wanted[a : a + n].tolist() for a, n in zip(firsts, counts, strict=True)]


@pytest.mark.parametrize(
    ("indices", "most", "expected"),
    [
        ([], 5, []),
        ([7], 5, [[7]]),
        ([7, 8, 9], 5, [[7, 8, 9]]),
        ([7, 8, 9], 1, [[7], [8], [9]]),
        ([7, 8, 9, 10, 11], 2, [[7, 8], [9, 10], [11]]),
        ([3, 3, 4], 5, [[3], [3, 4]]),
        ([5, 4, 3], 5, [[5], [4], [3]]),
        ([0, 1, 5, 6, 2], 9, [[0, 1], [5, 6], [2]]),
        ([0, 1, 2, 7, 8, 9], 2, [[0, 1], [2], [7, 8], [9]]),
    ],
)
def test_runs_of_neighbours(indices: list[int], most: int, expected: list[list[int]]) -> None:
    assert of(indices, most) == expected


@given(
    st.lists(st.integers(0, 20) | st.integers(0, 2**40), max_size=40)
    | st.integers(0, 40).map(lambda n: list(range(5, 5 + n))),
    st.integers(1, 12),
)
def test_every_index_is_in_one_run_in_the_order_asked(indices: list[int], most: int) -> None:
    found = of(indices, most)
    assert [i for run in found for i in run] == indices
    for run in found:
        assert 1 <= len(run) <= most
        assert run == list(range(run[0], run[0] + len(run)))
    # None could have been longer.
    for run, following in itertools.pairwise(found):
        assert len(run) == most or following[0] != run[-1] + 1
