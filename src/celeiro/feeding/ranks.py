"""Which positions of an epoch are whose: batches of one rank among several.

    position   0 ───────── global batch ───────── 8 ───────── global batch ───────── 16 ── rest ─ 19
               │ rank 0: 0–3      rank 1: 4–7      │ rank 0: 8–11     rank 1: 12–15    │

The invariant: a global batch is `batch * world` neighbouring positions whatever the number of
ranks, so that one rank with batches of 256 and two with batches of 128 see the same global batches,
and a place in training is the position where the next one begins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from celeiro.errors import OptionError


@dataclass(frozen=True, slots=True)
class Ranks:
    """The split of an epoch's positions over ranks."""

    count: int
    """Positions of an epoch."""
    batch: int
    """Samples of one rank's batch."""
    rank: int = 0
    """Whose batches these are."""
    world: int = 1
    """Ranks."""
    drop_last: bool = False
    """Leave out the rest that fills no global batch."""
    pad: bool = True
    """Ranks' parts of the rest are made equal by repeating the epoch's first samples, which is what
    ranks that wait for each other need; else each sample comes exactly once, and a rank's last
    batch may be smaller than another's, or missing."""
    pairs: bool = False
    """Neighbours of a batch are mixed, so that no rank's part of the rest may end within a pair."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise OptionError(f"batch_size {self.batch!r}: wanted at least 1.")
        if self.world < 1 or not 0 <= self.rank < self.world:
            raise OptionError(
                f"rank {self.rank!r} of world_size {self.world!r}: wanted 0 ≤ rank < world_size."
            )
        if self.pairs and self.world > 1 and self.batch % 2:
            raise OptionError(
                f"batch_size {self.batch} on {self.world} ranks with a transform that mixes "
                "neighbours of a batch: wanted an even one, so that none has a neighbour on "
                "another rank."
            )

    @property
    def together(self) -> int:
        """Samples of a global batch."""
        return self.batch * self.world

    def batches(self, start: int = 0) -> int:
        """Count this rank's batches from a position on."""
        whole, rest = divmod(max(0, self.count - start), self.together)
        return whole + (self._of_rest(rest)[1] > 0)

    def positions(self, start: int, number: int) -> npt.NDArray[np.int64]:
        """Positions of this rank's batch, the `number`-th from the position `start` on.

        Those of padding are the epoch's first ones again.
        """
        first = start + number * self.together
        if first + self.together <= self.count:
            at, size = self.rank * self.batch, self.batch
        else:
            at, size = self._of_rest(self.count - first)
        return np.arange(first + at, first + at + size) % self.count

    def after(self, start: int, number: int) -> int:
        """The position where the global batch behind that one begins."""
        return min(self.count, start + (number + 1) * self.together)

    def ended(self, position: int) -> bool:
        """Whether no rank has a batch from this position on."""
        rest = self.count - position
        return rest <= 0 or (self.drop_last and rest < self.together)

    def _of_rest(self, rest: int) -> tuple[int, int]:
        """Where in the rest this rank's part begins, and its size."""
        if rest <= 0 or self.drop_last:
            return 0, 0
        if self.pad:
            size = -(-rest // self.world)
            size += size % 2 if self.pairs and self.world > 1 else 0
            return self.rank * size, size
        first = rest * self.rank // self.world
        return first, rest * (self.rank + 1) // self.world - first
