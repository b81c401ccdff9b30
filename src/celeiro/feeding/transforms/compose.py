"""Compose: several steps as one."""

from __future__ import annotations

from typing import Any


class Compose:
    """Several steps as one, nested as one likes; a list does as well."""

    def __init__(self, *steps: Any) -> None:
        self.steps = flat(steps)
        """The steps, one after the other."""

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.steps))})"


def flat(steps: Any) -> tuple[Any, ...]:
    """Steps one after the other, out of lists, tuples and `Compose` in each other.

    Examples
    --------
    >>> flat([1, [2, Compose(3, [4])]])
    (1, 2, 3, 4)
    """
    if steps is None:
        return ()
    if isinstance(steps, Compose):
        return steps.steps
    if isinstance(steps, (list, tuple)):
        return tuple(step for some in steps for step in flat(some))
    return (steps,)
