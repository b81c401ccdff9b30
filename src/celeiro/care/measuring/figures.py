"""Figures of a benchmark: medians with their spread, ceilings, and what limits.

    celeiro's rate, and what each stage does alone  ──limit──>  disk, memory, decode, or celeiro

Pure: no clock and no file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHUFFLED = "shuffled"
IN_ORDER = "in order"

Limit = Literal["disk", "memory", "decode", "celeiro", "unknown"]
"""What keeps samples from coming faster."""

# Of a ceiling, or of several together: from here on there is nothing else that limits.
_REACHED = 0.7


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    """Of all."""
    low: float
    """A quarter is below."""
    high: float
    """A quarter is above."""
    count: int
    """How many there were."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Median and quartiles.

        Examples
        --------
        >>> Spread.of([1.0, 2.0, 3.0, 4.0, 5.0])
        Spread(median=3.0, low=2.0, high=4.0, count=5)
        """
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
        return cls(median, low, high, len(values))


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What one stage of reading does at best, nothing else being done."""

    stage: Limit
    """``disk``, ``memory`` or ``decode``."""
    what: str
    """How it was measured, for people."""
    rate: Spread
    """Samples a second."""


@dataclass(frozen=True, slots=True)
class Order:
    """Reading in one order."""

    order: str
    """`SHUFFLED` or `IN_ORDER`."""
    rate: Spread
    """Samples a second."""
    value_bytes: float
    """Bytes of values a second."""
    stored_bytes: float
    """Bytes of the file a second, each piece once a batch; 0 where they are not known."""
    ceilings: tuple[Ceiling, ...]
    """Of the same batches."""
    ratio: Spread | None
    """To the lowest ceiling, run by run; None without one."""
    limit: Limit
    """What keeps it from being faster."""
    why: str
    """How that is known."""


def limit(rate: float, ceilings: Mapping[Limit, float]) -> tuple[Limit, str]:
    """What keeps samples from coming faster than `rate`, and how that is known.

    Parameters
    ----------
    ceilings
        What each stage does alone, samples a second.

    Examples
    --------
    >>> limit(900, {"memory": 20_000, "decode": 1_000})
    ('decode', 'celeiro reaches 90 % of bare decoding')
    """
    if not ceilings or not rate:
        return "unknown", "no bare reading of this layout to compare with"
    lowest = min(ceilings, key=lambda stage: ceilings[stage])
    reached = rate / ceilings[lowest]
    if reached >= _REACHED:
        return lowest, f"celeiro reaches {100 * reached:.0f} % of bare {_DOING[lowest]}"
    # Threads fetch and then decode: where both take time, neither is reached alone.
    together = 1 / sum(1 / each for each in ceilings.values())
    if len(ceilings) > 1 and rate / together >= _REACHED:
        share = 100 * rate / ceilings[lowest]
        stages = " and ".join(_DOING[stage] for stage in ceilings)
        return lowest, (
            f"celeiro reaches {100 * rate / together:.0f} % of bare {stages} one after the other; "
            f"{share:.0f} % of the time is {_DOING[lowest]}"
        )
    return "celeiro", (
        f"celeiro reaches {100 * reached:.0f} % of bare {_DOING[lowest]}, its lowest ceiling; the "
        "rest is its own work, or that of other programs: try larger batches, or a quiet machine"
    )


_DOING: dict[str, str] = {
    "disk": "reading from the disk", "memory": "copying from memory", "decode": "decoding"
}  # fmt: skip


def ratio_to_lowest(ours: Sequence[float], ceilings: Sequence[Sequence[float]]) -> Spread | None:
    """How much of the lowest ceiling is reached, run by run; None without one.

    Examples
    --------
    >>> ratio_to_lowest([9.0, 8.0], [[10.0, 10.0], [50.0, 40.0]]).high
    0.875
    """
    if not ceilings:
        return None
    lowest = min(ceilings, key=lambda rates: float(np.median(rates)))
    return Spread.of([a / b for a, b in zip(ours, lowest, strict=True)])
