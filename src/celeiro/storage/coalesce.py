"""Which samples can be read together: neighbours in the file that are neighbours in the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def runs(
    indices: npt.NDArray[np.int64], *, most: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Positions at which runs of consecutive numbers begin, and how long each is, at most `most`.

    Examples
    --------
    >>> runs(np.array([7, 8, 9, 3, 4, 1]), most=2)
    (array([0, 2, 3, 5]), array([2, 1, 2, 1]))
    """
    count = len(indices)
    neighbours = indices[1:] == indices[:-1] + 1
    if not neighbours.any():
        return np.arange(count), np.ones(count, np.int64)
    firsts = np.concatenate([[0], np.flatnonzero(~neighbours) + 1])
    if most < count:
        place = np.arange(count) - np.repeat(firsts, np.diff(firsts, append=count))
        firsts = np.flatnonzero(place % most == 0)
    return firsts, np.diff(firsts, append=count)
