"""RandomCrop: a part of a picture, anywhere in it."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from celeiro.errors import OptionError
from celeiro.feeding.transforms.sizes import pair, place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celeiro.feeding.transforms.kinds import Pictures, Size
    from celeiro.feeding.window import Fill, Window


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """A part of a picture, anywhere in it, each place as likely."""

    size: int | tuple[int, int]
    """Of a square, or (height, width)."""
    padding: int | tuple[int, int] | tuple[int, int, int, int] = 0
    """Pixels added around the picture first: all sides, (left and right, top and bottom), or
    (left, top, right, bottom)."""
    fill: Fill = 0
    """The value of what is added, in units of the values that come: one, or one a channel."""
    pad_if_needed: bool = False
    """Add to pictures that are too small what they lack, on both sides."""

    draws = 2

    def __post_init__(self) -> None:
        """Refuse what is no size, no padding, or no value."""
        pair(self.size, "RandomCrop")
        sides = self._sides()
        if len(sides) != 4 or not all(
            isinstance(side, int) and 0 <= side < 2**16 for side in sides
        ):
            raise OptionError(
                f"RandomCrop(padding={self.padding!r}): wanted pixels for all sides, (left and "
                "right, top and bottom), or (left, top, right, bottom)"
            )
        fills = self._fills()
        if not fills or not all(isinstance(fill, Real) for fill in fills):
            raise OptionError(
                f"RandomCrop(fill={self.fill!r}): wanted a number, or one for each channel"
            )

    def check(self, pictures: Pictures) -> None:
        """Refuse a fill that such pictures cannot hold."""
        fills, dtype = self._fills(), pictures.dtype
        fits = len(fills) in (1, pictures.channels)
        if dtype.kind in "ui":
            limits = np.iinfo(dtype)
            # In this order: neither infinity nor NaN is an int.
            fits = fits and all(limits.min <= f <= limits.max and f == int(f) for f in fills)
        if not fits:
            raise OptionError(
                f"RandomCrop(fill={self.fill!r}) of {dtype} pictures of {pictures.channels} "
                "channels: wanted a value that they can hold, or one for each channel. After "
                "ToFloat and Normalize it is in units of their results"
            )

    def move(self, window: Window, u: Sequence[float]) -> Window:
        """Show a part, anywhere."""
        height, width = pair(self.size, "RandomCrop")
        left, above, right, below = self._sides()
        top = self._start(window.shown[0], above, below, height, u[0])
        return window.crop(
            top, self._start(window.shown[1], left, right, width, u[1]), height, width, self.fill
        )

    def size_after(self, size: Size | None) -> Size | None:
        """The wanted size."""
        return pair(self.size, "RandomCrop")

    def _fills(self) -> tuple[float, ...]:
        return tuple(self.fill) if isinstance(self.fill, (tuple, list)) else (self.fill,)

    def _sides(self) -> tuple[int, ...]:
        if isinstance(self.padding, int):
            return (self.padding,) * 4
        return self.padding * 2 if len(self.padding) == 2 else tuple(self.padding)

    def _start(self, length: int, before: int, after: int, wanted: int, u: float) -> int:
        """Where the part begins, counted from the picture's edge."""
        room = before + length + after - wanted
        if room < 0 and self.pad_if_needed:
            before, room = before - room, -room
        if room < 0:
            raise OptionError(
                f"a crop of {wanted} pixels from a picture of {length}: give RandomCrop a smaller "
                "size, padding, or pad_if_needed=True; or put Resize before it"
            )
        return place(u, room) - before
