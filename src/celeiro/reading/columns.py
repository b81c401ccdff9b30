"""What stands beside the samples, column by column, read when it is first asked for.

    labels, splits, mean …   arrays
    keys, fields of text     Texts
    boxes …                  Ragged
    masks                    Pictures

Row i of every column speaks of the same sample.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import numpy as np

from celeiro.format.names import Names
from celeiro.reading.threads import Lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from celeiro.reading.belief import Belief
    from celeiro.reading.samples import Samples

T = TypeVar("T")


class Lazy(Generic[T]):
    """A value that is made when it is first asked for, once, whichever thread asks."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make: Callable[[], T] | None = make
        self._lock = Lock()
        self._value: T

    def __call__(self) -> T:
        """The value; what making it raises is raised each time."""
        if self._make is not None:
            with self._lock.plain:
                if self._make is not None:
                    self._value = self._make()
                    self._make = None
        return self._value


class Texts(Sequence[str]):
    """Strings by the million, which need not be UTF-8: such bytes become lone surrogates.

    So ``open(keys[i])`` finds the file, whatever its name.
    """

    def __init__(self, stored: Names | npt.NDArray[np.bytes_]) -> None:
        self._stored = stored

    def __len__(self) -> int:
        """Count the strings."""
        return len(self._stored)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Texts: ...
    def __getitem__(self, index: int | slice) -> str | Texts:
        """One string, or those of a slice."""
        if isinstance(index, slice):
            return self.take(np.arange(*index.indices(len(self))))
        text: bytes = self._stored[operator.index(index)]
        return text.decode("utf-8", "surrogateescape")

    def take(self, rows: npt.NDArray[np.int64]) -> Texts:
        """The strings at `rows`, in that order."""
        stored = self._stored
        return Texts(stored.take(rows) if isinstance(stored, Names) else stored[rows])

    @property
    def stored(self) -> Names | npt.NDArray[np.bytes_]:
        """The bytes behind them."""
        return self._stored

    def __repr__(self) -> str:
        """The first few."""
        first = ", ".join(repr(text) for text in self[:3])
        return f"Texts({len(self):,}: {first}{', …' if len(self) > 3 else ''})"


class Pictures:
    """A second picture beside each sample, such as its mask."""

    def __init__(
        self, samples: Samples, believed: Belief, rows: npt.NDArray[np.int64] | None = None
    ) -> None:
        self._samples = samples
        self._believed = believed
        self._rows = rows

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Count first; None for what differs from one to the next."""
        return (len(self), *(self._samples.shape or (None, None)))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of their values."""
        return self._samples.dtype

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self._samples) if self._rows is None else len(self._rows)

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """One picture."""
        return self.read_list(numbers(operator.index(index), len(self)))[0]

    def read_list(self, indices: npt.NDArray[np.int64]) -> list[npt.NDArray[Any]]:
        """Pictures 0 ≤ i < len, each an array of its own."""
        rows = indices if self._rows is None else self._rows[indices]
        return self._believed(lambda: self._samples.read_list(rows))

    def read(self, indices: npt.ArrayLike) -> npt.NDArray[Any] | list[npt.NDArray[Any]]:
        """Pictures in the order asked: one array, or a list where they differ in size."""
        wanted = numbers(indices, len(self))
        found = self._samples
        if found.shape is None:
            return self.read_list(wanted)
        out = np.empty((len(wanted), *found.shape), found.dtype)
        rows = wanted if self._rows is None else self._rows[wanted]
        self._believed(lambda: found.read(rows, out))
        return out

    def stored(self, index: int) -> bytes:
        """The bytes of one picture as they stand in the file, checked."""
        number = int(numbers(operator.index(index), len(self))[0])
        row = number if self._rows is None else int(self._rows[number])
        find: Callable[[int], bytes] = self._samples.stored  # type: ignore[attr-defined]
        return self._believed(lambda: find(row))

    def take(self, rows: npt.NDArray[np.int64]) -> Pictures:
        """The pictures at `rows`, as a view."""
        own = rows if self._rows is None else self._rows[rows]
        return Pictures(self._samples, self._believed, own)


class Fields(Mapping[str, Any]):
    """The columns of a dataset by name, each read when it is first asked for."""

    def __init__(
        self, columns: Mapping[str, Lazy[Any]], rows: npt.NDArray[np.int64] | None
    ) -> None:
        self._columns = {name: at_rows(column, rows) for name, column in columns.items()}

    def __getitem__(self, name: str) -> Any:
        """One column; KeyError names those that there are."""
        if name not in self._columns:
            there = ", ".join(self._columns) or "none"
            raise KeyError(f"no field {name!r}; there are: {there}")
        return self._columns[name]()

    def __contains__(self, name: object) -> bool:
        """Whether there is such a column; it is not read."""
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._columns)

    def __len__(self) -> int:
        """Count them."""
        return len(self._columns)

    def __repr__(self) -> str:
        """The names; nothing is read."""
        return f"Fields({', '.join(self)})"


def at_rows(column: Lazy[Any], rows: npt.NDArray[np.int64] | None) -> Lazy[Any]:
    """A column at `rows`, taken once, when it is first asked for."""
    return Lazy(lambda: taken(column(), rows))


def taken(column: Any, rows: npt.NDArray[np.int64] | None) -> Any:
    """A column at `rows`; all of it for None."""
    if rows is None:
        return column
    if not isinstance(column, np.ndarray):
        return column.take(rows)
    found = column[rows]
    found.setflags(write=False)
    return found


def numbers(indices: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    """Whole numbers of any kind (negative, NumPy's, truth values) as 0 ≤ number < count.

    Raises
    ------
    IndexError
        One is out of range.
    TypeError
        They are no whole numbers.
    """
    wanted = np.atleast_1d(np.asarray(indices))
    if not wanted.size:
        return np.zeros(0, np.int64)
    if wanted.dtype.kind == "b" and wanted.shape == (count,):
        return np.flatnonzero(wanted)
    if wanted.dtype.kind not in "iu" or wanted.ndim != 1:
        raise TypeError(
            f"indices of {wanted.dtype} {wanted.shape}: wanted whole numbers in one row, or one "
            f"truth value for each of {count:,} samples."
        )
    least, most = int(wanted.min()), int(wanted.max())
    if least < -count or most >= count:
        bad = most if most >= count else least
        raise IndexError(f"sample {bad:,} of {count:,}: wanted -{count:,} ≤ i < {count:,}.")
    wanted = wanted.astype(np.int64, copy=False)
    return np.where(wanted < 0, wanted + count, wanted) if least < 0 else wanted
