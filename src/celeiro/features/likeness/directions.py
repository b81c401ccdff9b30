"""Features as directions: rows of length 1, so that a product of two is the cosine between them.

    stored row ─> float32 ─> divided by its length ─> unit row

The invariant: a row is finite and of length 1, or all zeros. What is all zeros has no direction:
it is like nothing, and who searches leaves it out.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError
from celeiro.features.vectors import Vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from celeiro.reading.dataset import Dataset

    Step = Callable[[int, int], None]
    """Told how many of how many rows are done."""

# Part of the memory that all rows may take, to stay there.
_HELD = 4
_DIGEST = 16  # bytes: nobody finds two rows of the same digest


class Directions:
    """The samples of a dataset, or a further layer of them, as unit rows.

    Parameters
    ----------
    layer
        Name of a field in the place of the samples; it is held in memory.
    """

    def __init__(self, ds: Dataset, layer: str | None = None) -> None:
        of: Any = ds if layer is None else _Layer(ds, layer)
        self._vectors = Vectors(of)
        self.dim = self._vectors.dim
        """Values of a row, D."""
        self.dtype = np.dtype(of.dtype)
        """Type of the values as they are given."""
        self.path = ds.path
        """The file, for messages."""
        self._held: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._vectors)

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Some rows; SampleError where one is not finite."""
        if self._held is not None:
            return self._held[rows]
        return unit(self._vectors.read(rows))

    def blocks(
        self, rows: npt.NDArray[np.int64], per: int
    ) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """Position among `rows`, and at most `per` rows from there; one block is read ahead."""
        if self._held is not None:
            for at in range(0, len(rows), per):
                yield at, self._held[rows[at : at + per]]
            return
        for at, block in self._vectors.blocks(rows, per):
            floats = self._vectors.checked(block, rows[at:])
            # What is float32 already came in memory of the dataset's own making, or of a layer's.
            yield at, unit(floats.copy() if floats is block else floats)

    def survey(self, *, memory: int, digests: bool, step: Step) -> Survey:
        """Look at every row once: whether all are finite, which are zeros, which are the same.

        Rows that take a quarter of the memory at most stay there: a search asks for them in any
        order, and to find small ones in a file takes longer than to compare them.
        """
        held = None
        if len(self) * self.dim * 4 <= memory // _HELD:
            held = np.empty((len(self), self.dim), np.float32)
        every = np.arange(len(self))
        zero = np.zeros(len(self), bool)
        found = np.empty((len(self), _DIGEST), np.uint8) if digests else None
        per = rows_in(memory // 8, self.dim)
        for at, block in self._vectors.blocks(every, per):
            floats = self._vectors.checked(block, every[at:])
            zero[at : at + len(block)] = ~floats.any(axis=1)
            if found is not None:
                _digest(block, found[at : at + len(block)])
            if held is not None:
                held[at : at + len(block)] = floats
                unit(held[at : at + len(block)])
            step(at + len(block), len(self))
        self._held = held
        return Survey(zero, found)


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What one look at every row told."""

    zero: npt.NDArray[np.bool_]
    """(N,) rows without a direction."""
    digests: npt.NDArray[np.uint8] | None
    """(N, 16) of the bytes of each row, as they are stored."""

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Numbers of the rows that have a direction."""
        return np.flatnonzero(~self.zero)

    def first_alike(self) -> npt.NDArray[np.int64]:
        """(N,) number of the first row with the same bytes: its own where it is the first."""
        assert self.digests is not None
        halves = np.ascontiguousarray(self.digests).view(np.uint64)
        order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: equal ones stay in their order
        ordered = halves[order]
        begins = np.ones(len(order), bool)
        begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
        first = np.empty(len(order), np.int64)
        first[order] = order[np.flatnonzero(begins)[np.cumsum(begins) - 1]]
        return first


def unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Divide rows by their lengths, in place; rows of zeros stay.

    Examples
    --------
    >>> unit(np.array([[3, 4], [0, 0], [1e-30, 0]], np.float32)).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0], [1.0, 0.0]]
    """
    with np.errstate(over="ignore", under="ignore"):
        squares = np.einsum("ij,ij->i", rows, rows)
    # Squares of what is very large or small do not fit float32.
    odd = np.flatnonzero(~((squares > 1e-30) & (squares < 1e30)))
    for at in odd.tolist():
        largest = np.abs(rows[at]).max(initial=0)
        if largest:
            rows[at] /= largest
        squares[at] = rows[at] @ rows[at]
    squares[squares == 0] = 1
    rows /= np.sqrt(squares)[:, None]
    return rows


def rows_in(memory: int, dim: int) -> int:
    """How many rows of float32 take so much memory; 64 at least."""
    return max(64, memory // (4 * dim))


def _digest(block: npt.NDArray[Any], out: npt.NDArray[np.uint8]) -> None:
    """The digest of each row."""
    for row, digest in zip(block, out, strict=True):
        whole = hashlib.blake2b(np.ascontiguousarray(row).data, digest_size=_DIGEST)
        digest[:] = memoryview(whole.digest())


class _Layer:
    """A field, as the samples of a dataset are."""

    def __init__(self, ds: Dataset, name: str) -> None:
        found = ds.fields.get(name)
        if not isinstance(found, np.ndarray):
            numbers = [each for each in ds.fields if isinstance(ds.fields[each], np.ndarray)]
            raise OptionError(
                f"{ds.path}: layer {name!r} is no field of numbers; there are: "
                f"{', '.join(numbers) or 'none'}. Leave it out for {ds.key!r}."
            )
        self.path, self.key, self.rows, self.keys = ds.path, name, ds.rows, ds.keys
        self.shape, self.dtype = found.shape, found.dtype
        self._values = found

    def __len__(self) -> int:
        return len(self._values)

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        return self._values[rows]
