"""Orders of an epoch: every sample once, the same everywhere, as well mixed as is said."""

from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeiro.errors import OptionError
from celeiro.feeding.order import Balanced, Blocks, InOrder, Shuffled, Weighted, digest

counts = st.integers(1, 3000)
seeds = st.integers(0, 2**70)


@given(counts, seeds, st.integers(0, 2**40))
def test_a_shuffle_gives_every_sample_once(count: int, seed: int, epoch: int) -> None:
    found = Shuffled(count).epoch(seed, epoch)
    assert np.array_equal(np.sort(found), np.arange(count))


@given(counts, st.integers(1, 200), st.integers(1, 50), seeds)
def test_blocks_give_every_sample_once(count: int, block: int, mixed: int, seed: int) -> None:
    order = Blocks(count, block, mixed)
    found = order.epoch(seed, 3)
    assert np.array_equal(np.sort(found), np.arange(count))
    for first in range(0, count, block * mixed):
        # The file's last block may be short, so that groups behind it begin earlier.
        assert len(np.unique(found[first : first + block * mixed] // block)) <= 2 * mixed


@given(counts)
def test_in_order_is_in_order(count: int) -> None:
    assert np.array_equal(InOrder(count).epoch(1, 2), np.arange(count))


def test_orders_stay_as_they_are_in_every_release() -> None:
    found = {
        repr(order): digest([order.epoch(7, 3)])[:16]
        for order in (
            Shuffled(1000),
            Blocks(1000, 30, 4),
            Weighted(np.arange(1000.0), 500),
            Balanced(np.arange(1000) % 3, 500),
        )
    }
    assert found == GOLDEN


def test_epochs_and_seeds_differ() -> None:
    order = Shuffled(100)
    orders = [order.epoch(seed, epoch).tolist() for seed in range(3) for epoch in range(3)]
    assert len({tuple(numbers) for numbers in orders}) == 9


def test_a_large_seed_is_no_small_one_of_another_epoch() -> None:
    order = Shuffled(100)
    assert order.epoch(5, 1).tolist() != order.epoch(5 + 2**32, 0).tolist()
    assert order.epoch(5, 0).tolist() != order.epoch(5 + 2**32, 0).tolist()


def test_every_place_is_as_likely_as_any_other() -> None:
    seen = np.zeros((5, 5))
    for epoch in range(4000):
        seen[np.arange(5), Shuffled(5).epoch(0, epoch).astype(int)] += 1
    # 800 each; a deviation of 28 is one sigma.
    assert np.abs(seen - 800).max() < 130


def test_a_shuffle_takes_eight_bytes_a_sample() -> None:
    count = 1_000_000
    Shuffled(10).epoch(0, 0)
    tracemalloc.start()
    found = Shuffled(count).epoch(0, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.nbytes <= 8 * count
    assert peak < 8 * count + (2 << 20)


@pytest.mark.parametrize(
    ("block", "mixed", "batch"), [(50, 10, 64), (50, 40, 256), (10, 3, 64), (100, 1, 64)]
)
def test_the_quality_of_blocks_is_what_means_of_batches_show(
    block: int, mixed: int, batch: int
) -> None:
    count = 10_000
    values = np.repeat(np.random.default_rng(0).normal(size=count // block), block)

    def scatter(order: Shuffled | Blocks) -> float:
        means = [
            values[found[first : first + batch]].mean()
            for epoch in range(30)
            for found in [order.epoch(0, epoch).astype(int)]
            for first in range(0, count - batch + 1, batch)
        ]
        return float(np.var(means))

    order = Blocks(count, block, mixed)
    assert scatter(Shuffled(count)) / scatter(order) == pytest.approx(order.quality(batch), rel=0.4)


def test_quality_grows_with_what_is_mixed_and_ends_at_uniform() -> None:
    found = [Blocks(10_000, 50, mixed).quality(256) for mixed in (1, 4, 16, 64, 200)]
    assert found == sorted(found)
    assert found[0] < 0.05
    assert found[-1] == pytest.approx(1)
    assert Blocks(10, 20, 1).quality(4) == 1


def test_weights_say_how_often() -> None:
    found = Weighted(np.array([0.0, 1.0, 3.0, 0.0]), 40_000).epoch(0, 0)
    counts = np.bincount(found, minlength=4)
    assert counts[0] == counts[3] == 0
    assert counts[2] / counts[1] == pytest.approx(3, rel=0.1)


def test_balanced_gives_every_class_as_often() -> None:
    classes = np.array([5] * 900 + [7] * 90 + [-1] * 10)
    found = classes[Balanced(classes, 30_000).epoch(0, 0)]
    assert all((found == which).mean() == pytest.approx(1 / 3, abs=0.02) for which in (5, 7, -1))


@pytest.mark.parametrize("weights", [[-1.0, 2.0], [0.0, 0.0], [np.nan, 1.0], []])
def test_weights_that_mean_nothing_are_refused(weights: list[float]) -> None:
    with pytest.raises(OptionError, match="weights"):
        Weighted(np.array(weights), 5)


def test_blocks_of_nothing_are_refused() -> None:
    with pytest.raises(OptionError, match="at least 1"):
        Blocks(10, 0, 3)


def test_the_digest_is_plain_sha256() -> None:
    numbers = np.arange(200_000, dtype=np.uint64)
    want = hashlib.sha256(np.arange(200_000, dtype="<i8").tobytes()).hexdigest()
    assert digest([numbers]) == digest([numbers[:5], numbers[5:]]) == want


GOLDEN = {
    "Balanced(draws=500, of='215095567c008f55')": "69d5c0d3c3a9bb67",
    "Blocks(count=1000, block=30, mixed=4)": "2ae6874ae9f5fdac",
    "Shuffled(count=1000)": "7d691c8ec68a4ec9",
    "Weighted(draws=500, of='9157058038a1c22b')": "5219d3d4b565c6ee",
}
