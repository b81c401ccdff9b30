"""The k nearest rows of every row, block by block, by faiss.

    exact   every block of rows against every other: N²·D multiplications
    cells   rows in some 4·√N cells around centres (k-means); those of a few cells against the
            cells nearest to them: a fraction of the work, and some neighbours are missed

The invariant: memory is that of a few blocks and of two numbers for each neighbour of a block,
never of all pairs; no row is its own neighbour.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import MissingExtraError
from celeiro.features.likeness.directions import rows_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from celeiro.features.likeness.directions import Directions, Step

# Multiplications that are done without being asked for: 100,000 rows of 1,280 take 160 s on two
# cores at 160 GFLOP/s.
_MOST_EXACT = 2e13
# Rows that are gone through for those of one cell, in cells of the usual size; and how many cells
# at least.
_PROBED = 12
_FEWEST_PROBED = 4
# Cells of a part.
_CELLS_OF_PART = 16
# k-means: rows a cell to learn from, and rounds.
_LEARNED = 40
_ROUNDS = 8
_SPLITTINGS = 4
_SEED = 0
_MOST_BLOCK = 16_384


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The nearest of some rows."""

    rows: npt.NDArray[np.int64]
    """(n,) numbers of the rows asked for."""
    nearest: npt.NDArray[np.int64]
    """(n, k) numbers of others, the most similar first; -1 where there are fewer."""
    similarity: npt.NDArray[np.float32]
    """(n, k) cosines."""


def is_affordable(count: int, dim: int) -> bool:
    """Whether every row is compared with every other without being asked to."""
    return count * count * dim <= _MOST_EXACT


def nearest(
    of: Directions,
    rows: npt.NDArray[np.int64],
    k: int,
    *,
    memory: int,
    exact: bool,
    step: Step,
) -> Iterator[Found]:
    """The k nearest among `rows` of each of `rows`, some rows at a time."""
    done = 0
    for mine, others in _tasks(of, rows, memory=memory, exact=exact):
        for found in _search(of, mine, others, k, memory=memory):
            done += len(found.rows)
            yield found
            step(done, len(rows))


def _tasks(
    of: Directions, rows: npt.NDArray[np.int64], *, memory: int, exact: bool
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Rows, and those among which their neighbours are looked for."""
    if exact:
        yield rows, rows
        return
    cells = Cells(of, rows, memory=memory)
    for part in range(len(cells)):
        mine = cells.rows(part)
        if len(mine):
            yield mine, np.concatenate([mine, cells.beside(part)])


def _search(
    of: Directions,
    rows: npt.NDArray[np.int64],
    others: npt.NDArray[np.int64],
    k: int,
    *,
    memory: int,
) -> Iterator[Found]:
    """The nearest among `others`, of `rows` as many at a time as there is room for."""
    faiss = import_faiss()
    few = max(64, memory // 2 // (4 * of.dim + 48 * (k + 1)))
    per = min(_MOST_BLOCK, rows_in(memory // 8, of.dim))
    for at in range(0, len(rows), few):
        mine = rows[at : at + few]
        asked = of.read(mine)
        best = np.full((len(mine), k + 1), -np.inf, np.float32)
        who = np.full((len(mine), k + 1), -1, np.int64)
        for begin, block in of.blocks(others, per):
            near, places = faiss.knn(
                asked, block, min(k + 1, len(block)), metric=faiss.METRIC_INNER_PRODUCT
            )
            _merge(best, who, near, others[begin + places])
        yield _without_itself(mine, best, who)


def _merge(
    best: npt.NDArray[np.float32],
    who: npt.NDArray[np.int64],
    near: npt.NDArray[np.float32],
    them: npt.NDArray[np.int64],
) -> None:
    """Keep the best of what was there and what is new, in place."""
    similarity = np.concatenate([best, near], axis=1)
    numbers = np.concatenate([who, them], axis=1)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, : best.shape[1]]
    best[:] = np.take_along_axis(similarity, order, axis=1)
    who[:] = np.take_along_axis(numbers, order, axis=1)


def _without_itself(
    rows: npt.NDArray[np.int64],
    best: npt.NDArray[np.float32],
    who: npt.NDArray[np.int64],
) -> Found:
    """One neighbour fewer: the row itself, or the last where so many others are as near."""
    own = who == rows[:, None]
    own[:, -1] |= ~own.any(axis=1)
    shape = (len(rows), best.shape[1] - 1)
    similarity = np.clip(best[~own].reshape(shape), -1, 1)
    return Found(rows, who[~own].reshape(shape), similarity)


class Cells:
    """Rows in small cells around centres, and cells in parts of those beside each other.

    Rows are read for a part at a time: what is near one of its cells is near the others too.

    Parameters
    ----------
    of, rows
        The rows that are put in cells: each into that of the nearest centre. By distance, which
        of unit rows orders as the cosine does, and unlike it says the same wherever the origin
        is: features are mostly positive, far from it.
    memory
        Bytes.
    """

    def __init__(self, of: Directions, rows: npt.NDArray[np.int64], *, memory: int) -> None:
        count = max(1, min(4 * int(len(rows) ** 0.5), len(rows) // 4, memory // 16 // of.dim // 4))
        most = min(len(rows), _LEARNED * count, rows_in(memory // 3, of.dim))
        drawn = np.sort(np.random.default_rng(_SEED).choice(len(rows), most, replace=False))
        centres = _centres(of.read(rows[drawn]), count)
        cell = np.empty(len(rows), np.int64)
        per = min(_MOST_BLOCK, rows_in(memory // 8, of.dim))
        for at, block in of.blocks(rows, per):
            cell[at : at + len(block)] = _nearest_centre(block, centres)
        sizes = np.bincount(cell, minlength=len(centres))
        self._ends = np.concatenate([[0], np.cumsum(sizes)])
        self._rows = rows[np.argsort(cell, kind="stable")]
        self._near = _near(centres, sizes)
        chain = _chain(centres)
        part = np.cumsum(sizes[chain]) * len(centres) // max(1, len(rows)) // _CELLS_OF_PART
        self._parts = np.split(chain, np.flatnonzero(np.diff(part)) + 1)

    def __len__(self) -> int:
        """Count the parts."""
        return len(self._parts)

    def rows(self, part: int) -> npt.NDArray[np.int64]:
        """The rows of one part."""
        return self._of(self._parts[part])

    def beside(self, part: int) -> npt.NDArray[np.int64]:
        """Rows that are near to those of a part, and not of it."""
        cells = self._parts[part]
        near = np.concatenate([self._near[cell] for cell in cells.tolist()] or [cells])
        return self._of(np.setdiff1d(near, cells))

    def _of(self, cells: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        found = [self._rows[self._ends[cell] : self._ends[cell + 1]] for cell in cells.tolist()]
        return np.concatenate([self._rows[:0], *found])


def _centres(sample: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
    """Centres of cells of about the same size: k-means, and again within those that are large.

    Without that, classes that no centre fell upon share one near the mean of all, which is then
    near every other: of 316 cells of 100,000 rows in 1,000 clusters three held a third.
    """
    centres = _k_means(sample, count)
    for _ in range(_SPLITTINGS):
        cell = _nearest_centre(sample, centres)
        sizes = np.bincount(cell, minlength=len(centres))
        usual = max(1, len(sample) // count)
        large = np.flatnonzero(sizes > 3 * usual)
        if not len(large) or len(centres) >= 3 * count:
            break
        parts = [_k_means(sample[cell == each], int(sizes[each]) // usual) for each in large]
        centres = np.concatenate([np.delete(centres, large, axis=0), *parts])
    return centres


def _k_means(sample: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
    faiss = import_faiss()
    means = faiss.Kmeans(
        sample.shape[1], count, niter=_ROUNDS, seed=_SEED + 1,
        min_points_per_centroid=1, max_points_per_centroid=max(1, len(sample)),
    )  # fmt: skip
    means.train(sample)
    return np.ascontiguousarray(means.centroids, np.float32)


def _nearest_centre(
    rows: npt.NDArray[np.float32], centres: npt.NDArray[np.float32]
) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = import_faiss().knn(rows, centres, 1)[1][:, 0]
    return found


def _near(
    centres: npt.NDArray[np.float32], sizes: npt.NDArray[np.int64]
) -> list[npt.NDArray[np.int64]]:
    """Of each cell those nearest to it, as many as hold a share of the rows."""
    room = _PROBED * sizes.sum() / len(sizes)
    wanted = min(len(centres), 4 * _PROBED)
    _, found = import_faiss().knn(centres, centres, wanted)
    near = []
    for row in found:
        enough = int(np.searchsorted(np.cumsum(sizes[row]), room))
        near.append(row[: max(_FEWEST_PROBED, enough)])
    return near


def _chain(centres: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Cells in an order in which each is near the one before: parts of it are of equal size."""
    squares = np.einsum("ij,ij->i", centres, centres)
    left = np.ones(len(centres), bool)
    chain = np.zeros(len(centres), np.int64)
    for at in range(len(centres)):
        left[chain[at]] = False
        if left.any():
            distance = squares - 2 * (centres @ centres[chain[at]])
            chain[at + 1] = np.where(left, distance, np.inf).argmin()
    return chain


def import_faiss() -> Any:
    """Give faiss; MissingExtraError where it is not installed."""
    try:
        with warnings.catch_warnings():
            # SWIG's own types, which Python 3.12 finds odd.
            warnings.simplefilter("ignore", DeprecationWarning)
            import faiss
    except ImportError as error:
        raise MissingExtraError(
            "faiss is not installed, by which the nearest of many samples are found: "
            "pip install 'celeiro[features]'"
        ) from error
    return faiss
