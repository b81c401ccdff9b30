"""Results by the million: sequences whose items are made when they are asked for.

    arrays ─> items[3] ─> one frozen object

The invariant: however many items there are, only those that somebody holds are objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_MOST_SHOWN = 3


class Items(Sequence[T]):
    """A tuple, as far as one sees, of what `make` gives for each of `places`.

    Parameters
    ----------
    make
        Gives the item of a place, the same each time.
    places
        What to ask it for.

    Examples
    --------
    >>> squares = Items(lambda place: place * place, range(5))
    >>> squares[-1], squares[1:3] == (1, 4), squares
    (16, True, Items(5: 0, 1, 4, …))
    """

    __slots__ = ("_make", "_places")

    def __init__(self, make: Callable[[int], T], places: range) -> None:
        self._make = make
        self._places = places

    def __len__(self) -> int:
        """Count the items; none is made."""
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Items[T]: ...
    def __getitem__(self, index: int | slice) -> T | Items[T]:
        """One item, or those of a slice, which are made when they are asked for as well."""
        if isinstance(index, slice):
            return Items(self._make, self._places[index])
        return self._make(self._places[index])

    def __eq__(self, other: object) -> bool:
        """Equal items in the same order, also those of a tuple."""
        if not isinstance(other, (Items, tuple)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        """That of the tuple, to which it is equal."""
        return hash(tuple(self))

    def __repr__(self) -> str:
        """The first few."""
        first = ", ".join(repr(each) for each in self[:_MOST_SHOWN])
        return f"Items({len(self):,}: {first}{', …' if len(self) > _MOST_SHOWN else ''})"
