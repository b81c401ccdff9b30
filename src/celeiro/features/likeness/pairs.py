"""Pairs of rows above a similarity, and the groups that they make.

    tiles of the upper triangle ─> pairs ─> groups (connected), the highest similarity of each row

The invariant: pairs are counted and joined tile by tile and then forgotten, so that memory is
that of a tile and of a few numbers a row, even where everything is like everything.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from celeiro.features.likeness.directions import rows_in
from celeiro.features.likeness.nearest import Cells

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from celeiro.features.likeness.directions import Directions, Step

    _Block = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]
    """Numbers of rows, and the rows."""

# Of a tile: a similarity, a position, two numbers and their copies for each pair that is found.
_BYTES_OF_PAIR = 48
_MOST_TILE = 2048


class Groups:
    """Rows that are joined, pair by pair.

    Examples
    --------
    >>> groups = Groups(5)
    >>> groups.join(np.array([0, 3]), np.array([4, 4]), np.array([0.9, 0.8], np.float32))
    >>> groups.root.tolist()
    [0, 1, 2, 0, 0]
    """

    def __init__(self, count: int) -> None:
        self.root = np.arange(count)
        """(N,) the lowest number of a row's group."""
        self.similarity = np.full(count, -np.inf, np.float32)
        """(N,) of a row to the one most like it, of those it was joined with."""

    def join(
        self,
        one: npt.NDArray[np.int64],
        other: npt.NDArray[np.int64],
        similarity: npt.NDArray[np.float32],
    ) -> None:
        """Put the rows of each pair into one group."""
        np.maximum.at(self.similarity, one, similarity)
        np.maximum.at(self.similarity, other, similarity)
        while True:
            first, second = self.root[one], self.root[other]
            apart = first != second
            if not apart.any():
                return
            one, other = one[apart], other[apart]
            first, second = first[apart], second[apart]
            # Towards the lower number: it ends, whichever of several links is kept.
            np.minimum.at(self.root, np.maximum(first, second), np.minimum(first, second))
            self._flatten()

    def runs(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The rows of all groups of two or more, one group after the other, and where each begins.

        Rows of a group are ascending, groups in the order of their first rows.

        Examples
        --------
        >>> groups = Groups(5)
        >>> groups.join(np.array([0, 1]), np.array([4, 3]), np.ones(2, np.float32))
        >>> [each.tolist() for each in groups.runs()]
        [[0, 4, 1, 3], [0, 2]]
        """
        sizes = np.bincount(self.root, minlength=len(self.root))
        rows = np.flatnonzero(sizes[self.root] > 1)
        members = rows[np.argsort(self.root[rows], kind="stable")]
        sizes = sizes[sizes > 1]
        return members, np.cumsum(sizes) - sizes

    def _flatten(self) -> None:
        while True:
            higher = self.root[self.root]
            if (higher == self.root).all():
                return
            self.root = higher


def join_similar(
    groups: Groups,
    of: Directions,
    rows: npt.NDArray[np.int64],
    threshold: float,
    *,
    memory: int,
    exact: bool,
    step: Step,
) -> None:
    """Join all pairs of `rows` that are at least so similar."""
    if exact:
        for done in _join_all(groups, of, rows, threshold, memory):
            step(int(done * len(rows)), len(rows))
        return
    cells = Cells(of, rows, memory=memory)
    seen = 0
    for part in range(len(cells)):
        mine, others = cells.rows(part), cells.beside(part)
        for _ in _join_all(groups, of, mine, threshold, memory):
            pass
        for at, block in _parts(of, mine, memory):
            numbers = mine[at : at + len(block)]
            for begin, other in _blocks(of, others, memory):
                theirs = others[begin : begin + len(other)]
                _join_tiles(groups, (numbers, block), (theirs, other), threshold, memory)
        seen += len(mine)
        step(seen, len(rows))


def _join_all(
    groups: Groups, of: Directions, rows: npt.NDArray[np.int64], threshold: float, memory: int
) -> Iterator[float]:
    """Every block with itself and those behind it; gives the share that is done."""
    done, whole = 0, len(rows) * (len(rows) + 1) // 2
    for at, block in _parts(of, rows, memory):
        mine = rows[at : at + len(block)], block
        _join_tiles(groups, mine, mine, threshold, memory)
        done += len(block) * (len(block) + 1) // 2
        yield done / whole
        behind = rows[at + len(block) :]
        for begin, other in _blocks(of, behind, memory):
            theirs = behind[begin : begin + len(other)]
            _join_tiles(groups, mine, (theirs, other), threshold, memory)
            done += len(block) * len(other)
            yield done / whole


def _parts(
    of: Directions, rows: npt.NDArray[np.int64], memory: int
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Rows, as many at a time as half of the memory holds."""
    few = rows_in(memory // 2, of.dim)
    for at in range(0, len(rows), few):
        yield at, of.read(rows[at : at + few])


def _blocks(
    of: Directions, rows: npt.NDArray[np.int64], memory: int
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Rows, as many at a time as an eighth of the memory holds, read ahead."""
    return of.blocks(rows, rows_in(memory // 8, of.dim))


def _join_tiles(groups: Groups, mine: _Block, other: _Block, threshold: float, memory: int) -> None:
    """Join the pairs of two blocks; a block with itself gives each of them once."""
    side = min(_MOST_TILE, max(64, math.isqrt(memory // 4 // _BYTES_OF_PAIR)))
    same = mine is other
    (numbers, rows), (theirs, others) = mine, other
    for a in range(0, len(rows), side):
        for b in range(a if same else 0, len(others), side):
            similarity = rows[a : a + side] @ others[b : b + side].T
            hits = np.flatnonzero(similarity >= threshold)
            if not len(hits):
                continue
            one, two = np.divmod(hits, similarity.shape[1])
            one, two = numbers[a + one], theirs[b + two]
            once = one < two if same else slice(None)
            found = np.clip(similarity.ravel()[hits[once]], -1, 1)
            groups.join(one[once], two[once], found)
