"""A seeded order of samples: arithmetic on their numbers, the same on every machine.

NumPy promises that a bit generator's raw stream stays as it is, and not so for what
`Generator.permutation` makes of it; so the order is that of the raw numbers drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

# Another stream than the one that splits are drawn from: else each split would stand together.
_STREAM = 1


def shuffled(count: int, seed: int) -> npt.NDArray[np.int64]:
    """The numbers 0 ≤ i < count in a random order (seed ≥ 0).

    Examples
    --------
    >>> sorted(shuffled(5, seed=0).tolist())
    [0, 1, 2, 3, 4]
    """
    drawn = np.random.PCG64((seed, _STREAM)).random_raw(count)
    # Stable: two equal numbers keep their places, whatever the sort.
    return np.argsort(drawn, kind="stable")
