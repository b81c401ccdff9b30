"""Which samples are tried, in which batches, and how fast that goes.

    pick       so many samples of a file, drawn at random, within so many bytes
    batches    those samples in batches of one size, as an epoch has them
    run        batches until time is up -> Pace

The invariant: the same file and options give the same samples in the same batches, and what is in
memory at once is bounded, whatever the file claims.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sized

    import numpy.typing as npt

BATCH = 256
"""Samples of a batch, where they fit."""
BATCH_BYTES = 64 << 20
"""Decoded, of a batch; one sample may be larger."""
LARGEST = 256 << 20
"""Bytes of a sample, or of a chunk, beyond which nothing is tried."""

_SEED = 0


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast samples came."""

    samples: int
    """That were read."""
    seconds: float
    """How long that took."""

    @property
    def rate(self) -> float:
        """Samples a second."""
        return self.samples / self.seconds if self.seconds > 0 else 0.0


def pick(sizes: int | npt.NDArray[Any], count: int, *, most: int, budget: int) -> list[int]:
    """At most `most` of the numbers 0 ≤ i < count in a random order, within a budget of bytes.

    Parameters
    ----------
    sizes
        Bytes of each sample, or of every one.
    budget
        Of all that are chosen together. One is chosen in any case, if it is not larger than
        `LARGEST`; others that would not fit are passed over.

    Examples
    --------
    >>> len(pick(100, 1000, most=50, budget=1000)), len(pick(100, 1000, most=5, budget=1000))
    (10, 5)
    """
    drawn = np.random.default_rng(_SEED).choice(count, min(most, count), replace=False)
    chosen: list[int] = []
    left = budget
    for number in drawn.tolist():
        size = sizes if isinstance(sizes, int) else int(sizes[number])
        if size <= left or (not chosen and size <= LARGEST):
            chosen.append(number)
            left -= size
    return chosen


def batch_size(sample_bytes: float, *, most: int = BATCH) -> int:
    """Samples of a batch: `most`, or what fits into `BATCH_BYTES`, and one at least.

    Examples
    --------
    >>> batch_size(196_608), batch_size(10 << 20), batch_size(1 << 30)
    (256, 6, 1)
    """
    return max(1, min(most, int(BATCH_BYTES // max(1, sample_bytes))))


def batches(rows: Iterable[int], size: int) -> list[npt.NDArray[np.int64]]:
    """The rows in batches of one size; a rest that is no whole batch is left out.

    Examples
    --------
    >>> batches([5, 3, 9, 1, 7], 2)
    [array([5, 3]), array([9, 1])]
    """
    numbers = np.array(list(rows), np.int64)
    whole = len(numbers) // size
    return list(numbers[: whole * size].reshape(whole, size))


def run(
    read: Callable[[Any], object], wanted: Iterable[Sized], seconds: float, *, again: bool = True
) -> Pace:
    """Read batches until time is up, one at least.

    After the last the first comes again, unless `again` is False.
    """
    samples, spent = 0, 0.0
    began = time.perf_counter()
    for batch in itertools.cycle(wanted) if again else wanted:
        read(batch)
        samples += len(batch)
        spent = time.perf_counter() - began
        if spent >= seconds:
            break
    return Pace(samples, spent)
