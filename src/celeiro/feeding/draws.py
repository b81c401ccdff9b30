"""Random numbers of one sample in one epoch, whoever asks and in whatever order.

    uniforms(seed, epoch, samples, 26)  ->  (len(samples), 26) numbers 0 ≤ x < 1

The invariant: a row depends on (seed, epoch, sample) alone, so that an augmentation replays with
any number of threads or ranks. A generator seeded for each sample would do the same at 20 µs each;
this hashes a batch at once, by SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
Generators, 2014), whose stream number `sample` begins at a hash of the sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.random import SeedSequence  # NumPy loads it when it is first named, for 10 ms and more

if TYPE_CHECKING:
    import numpy.typing as npt

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
# Another stream than those that orders are drawn from.
_STREAM = 5


def key(seed: int, epoch: int, purpose: int = 0) -> np.uint64:
    """What all samples of an epoch have in common."""
    drawn: np.uint64 = SeedSequence((_STREAM, purpose, epoch, seed)).generate_state(1, np.uint64)[0]
    return drawn


def uniforms(
    key: np.uint64, samples: npt.NDArray[np.integer], count: int
) -> npt.NDArray[np.float64]:
    """Random numbers 0 ≤ x < 1 of 53 bits, (len(samples), count).

    Examples
    --------
    >>> several = uniforms(key(seed=0, epoch=0), np.array([3, 7]), 4)
    >>> alone = uniforms(key(seed=0, epoch=0), np.array([7]), 4)
    >>> bool((several[1] == alone[0]).all())
    True
    """
    starts = _mixed(key + (samples.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    steps = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    return fractions(_mixed(starts[:, np.newaxis] + steps))


def fractions(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """Numbers 0 ≤ x < 1, each of the upper 53 bits of another."""
    drawn: npt.NDArray[np.float64] = (bits >> np.uint64(11)) * np.float64(2.0**-53)
    return drawn


def _mixed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's last step: every bit of a number changes half the bits of its result."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _FIRST
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _SECOND
    mixed: npt.NDArray[np.uint64] = numbers ^ (numbers >> np.uint64(31))
    return mixed
