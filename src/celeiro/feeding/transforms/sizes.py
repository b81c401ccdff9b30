"""Sizes as people write them: 224, or (height, width)."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING

from celeiro.errors import OptionError

if TYPE_CHECKING:
    from celeiro.feeding.transforms.kinds import Size

# As large as a JPEG's sides: anything larger is a slip.
_MOST = 65535


def pair(size: int | tuple[int, int], step: str) -> Size:
    """Height and width; a number alone is a square.

    Examples
    --------
    >>> pair(224, "CenterCrop")
    (224, 224)
    """
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(sides) != 2 or not all(isinstance(s, Integral) and 1 <= s <= _MOST for s in sides):
        raise OptionError(
            f"{step}({size!r}): wanted a number of pixels or (height, width), each from 1 to "
            f"{_MOST}"
        )
    return int(sides[0]), int(sides[1])


def place(u: float, room: int) -> int:
    """A whole number 0 ≤ n ≤ room, each as likely, from 0 ≤ u < 1."""
    return min(int(u * (room + 1)), room)
