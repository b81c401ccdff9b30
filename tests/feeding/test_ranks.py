"""Who gets which positions: each once, however many share them and wherever they begin."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeiro.errors import OptionError
from celeiro.feeding.ranks import Ranks


def given_out(count: int, batch: int, world: int, start: int, **options: bool) -> list[list[int]]:
    """Positions of each rank, batch by batch in one list."""
    found = []
    for rank in range(world):
        ranks = Ranks(count, batch, rank, world, **options)
        numbers = range(ranks.batches(start))
        found.append([int(p) for n in numbers for p in ranks.positions(start, n)])
    return found


@given(st.integers(1, 400), st.integers(1, 40), st.integers(1, 6))
def test_each_position_comes_exactly_once(count: int, batch: int, world: int) -> None:
    ranks = given_out(count, batch, world, 0, pad=False)
    assert sorted(p for rank in ranks for p in rank) == list(range(count))


@given(st.integers(1, 400), st.integers(1, 40), st.integers(1, 6))
def test_padded_ranks_are_equal_and_miss_nothing(count: int, batch: int, world: int) -> None:
    ranks = given_out(count, batch, world, 0)
    assert len({len(rank) for rank in ranks}) == 1
    seen = Counter(p for rank in ranks for p in rank)
    assert set(seen) == set(range(count))
    assert sum(seen.values()) - count < world


@given(st.integers(1, 400), st.integers(1, 40), st.integers(1, 6))
def test_dropping_leaves_out_less_than_a_global_batch(count: int, batch: int, world: int) -> None:
    ranks = given_out(count, batch, world, 0, drop_last=True)
    assert len({len(rank) for rank in ranks}) == 1
    seen = sorted(p for rank in ranks for p in rank)
    assert seen == list(range(count // (batch * world) * batch * world))


@given(st.integers(1, 300), st.integers(1, 10), st.integers(0, 100), st.booleans())
def test_from_any_place_another_number_of_ranks_goes_on_alike(
    count: int, batch: int, done: int, drop: bool
) -> None:
    """1, 2 and 3 ranks of the same global batch give the same global batches."""
    whole = 6 * batch
    start = min(count, done * whole)
    wanted = None
    for world in (1, 2, 3):
        ranks = [Ranks(count, whole // world, r, world, drop_last=drop) for r in range(world)]
        numbers = range(ranks[0].batches(start))
        found = [
            np.concatenate([rank.positions(start, n) for rank in ranks])[
                : count - start - n * whole
            ]
            for n in numbers
        ]
        wanted = found if wanted is None else wanted
        assert len(found) == len(wanted)
        assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 4), st.booleans())
def test_places_follow_each_other_to_the_end(
    count: int, batch: int, world: int, drop: bool
) -> None:
    ranks = Ranks(count, batch, 0, world, drop)
    at, steps = 0, 0
    while not ranks.ended(at):
        at = ranks.after(at, 0)
        steps += 1
    assert steps == ranks.batches()


@pytest.mark.parametrize(("rank", "world"), [(2, 2), (-1, 2), (0, 0)])
def test_a_rank_outside_the_world_is_refused(rank: int, world: int) -> None:
    with pytest.raises(OptionError, match="rank"):
        Ranks(10, 2, rank, world)


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(OptionError, match="batch_size 0"):
        Ranks(10, 0)
