"""The order in which an epoch's samples come: arithmetic on (seed, epoch), the same everywhere.

    Shuffled    every sample once, in an order that any sample's place says nothing about
    Blocks      every sample once, neighbours of the file near each other: for cold disks
    InOrder     every sample once, as they stand
    Weighted    drawn with replacement, each by its weight
    Balanced    drawn with replacement, each class as often as any other

The invariant: `epoch(seed, number)` depends on nothing but its arguments and the order itself, so a
place in training is three numbers, and any machine finds the next batch from them.

NumPy promises that a bit generator's raw stream stays as it is, and not so for what `Generator`
makes of it; so all that is drawn here is made of raw numbers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.random import PCG64

from celeiro.errors import OptionError
from celeiro.feeding.draws import fractions

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

__all__ = ["Balanced", "Blocks", "InOrder", "Order", "Shuffled", "Weighted", "digest"]

# Streams of one seed that must not speak of each other.
_SHUFFLE, _BLOCKS, _DRAW = 2, 3, 4
# Numbers that are handled at once where a whole epoch would double the memory.
_PIECE = 1 << 16


class Order(Protocol):
    """Which sample stands at which position of an epoch."""

    def __len__(self) -> int:
        """Count the positions of an epoch."""
        ...

    def epoch(self, seed: int, number: int) -> npt.NDArray[np.integer]:
        """The samples of one epoch, position by position: (len,), 0 ≤ sample < count."""
        ...

    @property
    def repeats(self) -> bool:
        """Whether a sample may come twice in an epoch, or not at all."""
        ...


@dataclass(frozen=True, slots=True)
class InOrder:
    """Samples as they stand in the file.

    Examples
    --------
    >>> InOrder(3).epoch(seed=0, number=0).tolist()
    [0, 1, 2]
    """

    count: int
    """Samples."""
    repeats = False

    def __len__(self) -> int:
        return self.count

    def epoch(self, seed: int, number: int) -> npt.NDArray[np.integer]:
        """The same in each."""
        return np.arange(self.count)


@dataclass(frozen=True, slots=True)
class Shuffled:
    """A random permutation an epoch, of 8 bytes a sample while the epoch lasts.

    Examples
    --------
    >>> sorted(Shuffled(5).epoch(seed=0, number=1).tolist())
    [0, 1, 2, 3, 4]
    """

    count: int
    """Samples."""
    repeats = False

    def __len__(self) -> int:
        return self.count

    def epoch(self, seed: int, number: int) -> npt.NDArray[np.integer]:
        """A permutation of all samples."""
        return _permutation(_stream(_SHUFFLE, seed, number), self.count)


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of neighbours in random order, some of which are mixed sample by sample.

    What is read at any time stands in `mixed` places of the file and not all over it, which is what
    a cold disk, a file with many samples a chunk, or a remote one is fast at.
    """

    count: int
    """Samples."""
    block: int
    """Neighbours in a block."""
    mixed: int
    """Blocks that are mixed with each other: `block * mixed` samples."""
    repeats = False

    def __post_init__(self) -> None:
        if self.block < 1 or self.mixed < 1:
            raise OptionError(
                f"blocks of {self.block} samples, {self.mixed} of them mixed: wanted at least 1."
            )

    def __len__(self) -> int:
        return self.count

    def epoch(self, seed: int, number: int) -> npt.NDArray[np.integer]:
        """A permutation of all samples, in which each group of blocks stands together."""
        stream = _stream(_BLOCKS, seed, number)
        blocks = _permutation(stream, -(-self.count // self.block))
        found = np.empty(self.count, np.int64)
        end = 0
        inside = np.arange(self.block)
        for first in range(0, len(blocks), self.mixed):
            group = blocks[first : first + self.mixed].astype(np.int64) * self.block
            samples = (group[:, np.newaxis] + inside).reshape(-1)
            samples = samples[samples < self.count]  # the last block may be short
            start, end = end, end + len(samples)
            found[start:end] = samples[_permutation(stream, len(samples))]
        return found

    def quality(self, batch: int) -> float:
        """What a batch is worth beside one of a uniform shuffle, 0 < quality ≤ 1.

        How much less the mean of a batch scatters in a uniform shuffle than in this one, at worst:
        where all samples of a block are alike, as where a file stands class by class. At 0.5, a
        batch of 256 tells as much as 128 samples drawn at random. This is the reciprocal of Kish's
        design effect (Survey Sampling, 1965) for clusters, without replacement.
        """
        count, side = self.count, min(self.block, self.count)
        places = count / side
        if batch <= 1 or places <= 1:
            return 1.0
        together = max(batch, min(count, side * self.mixed))
        same = (side - 1) / (together - 1)  # that two samples of a batch are of one block
        local = 1 + (batch - 1) * (same - (1 - same) / (places - 1))
        uniform = 1 - (batch - 1) / (count - 1)
        return 1.0 if local <= uniform else max(uniform, 1 / batch) / local


@dataclass(frozen=True, slots=True, eq=False)
class Weighted:
    """Samples drawn with replacement, each as often as its weight says."""

    weights: npt.NDArray[np.float64] = field(repr=False)
    """(N,) at least 0, not all of them; they need not add up to 1."""
    draws: int
    """Positions of an epoch."""
    of: str = field(init=False)
    """Tells these weights from others, in a state."""
    repeats = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "of", _told(self.weights))
        weights = self.weights
        sound = weights.ndim == 1 and len(weights) and np.isfinite(weights).all()
        if not sound or (weights < 0).any() or not weights.any():
            raise OptionError(
                "weights: wanted one finite number of at least 0 for each sample, not all 0."
            )

    def __len__(self) -> int:
        return self.draws

    def epoch(self, seed: int, number: int) -> npt.NDArray[np.integer]:
        """What was drawn, (draws,)."""
        stream = _stream(_DRAW, seed, number)
        edges = np.cumsum(self.weights)
        last = int(np.flatnonzero(self.weights)[-1])
        found = np.empty(self.draws, np.int64)
        for first in range(0, self.draws, _PIECE):
            drawn = _uniform(stream, min(_PIECE, self.draws - first)) * edges[-1]
            at = np.searchsorted(edges, drawn, side="right")
            found[first : first + _PIECE] = np.minimum(at, last)  # rounding may reach the end
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Balanced:
    """Samples drawn with replacement, every class as often as any other."""

    classes: npt.NDArray[np.int64] = field(repr=False)
    """(N,) class of each sample."""
    draws: int
    """Positions of an epoch."""
    of: str = field(init=False)
    """Tells these classes from others, in a state."""
    repeats = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "of", _told(self.classes))

    def __len__(self) -> int:
        return self.draws

    def epoch(self, seed: int, number: int) -> npt.NDArray[np.integer]:
        """What was drawn, (draws,)."""
        stream = _stream(_DRAW, seed, number)
        by_class = np.argsort(self.classes, kind="stable")
        _, counts = np.unique(self.classes, return_counts=True)
        starts = np.cumsum(counts) - counts
        found = np.empty(self.draws, np.int64)
        for first in range(0, self.draws, _PIECE):
            wanted = min(_PIECE, self.draws - first)
            which = (_uniform(stream, wanted) * len(counts)).astype(np.int64)
            inside = (_uniform(stream, wanted) * counts[which]).astype(np.int64)
            found[first : first + _PIECE] = by_class[starts[which] + inside]
        return found


def digest(samples: Iterable[npt.NDArray[np.integer]]) -> str:
    """SHA-256 of sample numbers in the order given, each as a little-endian int64.

    Two trainings that print the same digest saw the same samples in the same order, whatever
    machine, number of workers or ranks, or release of celeiro they ran on.

    Examples
    --------
    >>> digest([np.array([0, 1]), np.array([2])]) == digest([np.array([0, 1, 2])])
    True
    """
    found = hashlib.sha256()
    for numbers in samples:
        for first in range(0, len(numbers), _PIECE):
            found.update(numbers[first : first + _PIECE].astype("<i8").tobytes())
    return found.hexdigest()


# Drawing


def _told(values: npt.NDArray[Any]) -> str:
    """A few digits that other values would not have."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


def _stream(purpose: int, seed: int, epoch: int) -> PCG64:
    # The seed last: it may be of any size, and numbers stand here without a mark between them.
    return PCG64((purpose, epoch, seed))


def _permutation(stream: PCG64, count: int) -> npt.NDArray[np.uint64]:
    """The numbers 0 ≤ i < count in the order of random numbers that each is paired with.

    Pairs are one integer each, the random bits above the number, so that sorting needs no second
    array, and equal bits (of a billion samples, 34 each) put the lower number first on any
    machine. 1.28 M take 33 ms; an argsort of the same 300, Fisher and Yates 97.
    """
    found: npt.NDArray[np.uint64] = stream.random_raw(count)
    bits = np.uint64(max(0, count - 1).bit_length())
    found >>= bits
    found <<= bits
    for first in range(0, count, _PIECE):
        found[first : first + _PIECE] |= np.arange(
            first, min(count, first + _PIECE), dtype=np.uint64
        )
    found.sort()
    found &= np.uint64((1 << int(bits)) - 1)
    return found


def _uniform(stream: PCG64, count: int) -> npt.NDArray[np.float64]:
    """Numbers 0 ≤ x < 1 of 53 random bits."""
    return fractions(stream.random_raw(count))
