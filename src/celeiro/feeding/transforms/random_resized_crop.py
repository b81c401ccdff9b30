"""RandomResizedCrop: a part of random area and aspect, brought to one size."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from celeiro.errors import OptionError
from celeiro.feeding.transforms.sizes import pair, place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celeiro.feeding.transforms.kinds import Size
    from celeiro.feeding.window import Window

_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class RandomResizedCrop:
    """A part of random area and aspect, brought to one size (Szegedy et al. 2014, for Inception).

    Areas, aspects and places are distributed as torchvision's.
    """

    size: int | tuple[int, int]
    """Of a square, or (height, width)."""
    scale: tuple[float, float] = (0.08, 1.0)
    """Of the part's area to the picture's: least and most."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Of the part's width to its height: least and most."""
    _target: Size = field(init=False, repr=False, compare=False)
    _logs: tuple[float, float] = field(init=False, repr=False, compare=False)

    draws = 2 * _ATTEMPTS + 2

    def __post_init__(self) -> None:
        """Refuse what is no size or no range."""
        for name, (least, most) in (("scale", self.scale), ("ratio", self.ratio)):
            if not 0 < least <= most < math.inf:
                raise OptionError(
                    f"RandomResizedCrop({name}=({least}, {most})): wanted 0 < least ≤ most"
                )
        object.__setattr__(self, "_target", pair(self.size, "RandomResizedCrop"))
        object.__setattr__(self, "_logs", (math.log(self.ratio[0]), math.log(self.ratio[1])))

    def move(self, window: Window, u: Sequence[float]) -> Window:
        """Show a random part, resized."""
        top, left, height, width = self.box(*window.shown, u)
        return window.crop(top, left, height, width).resize(*self._target)

    def size_after(self, size: Size | None) -> Size | None:
        """The wanted size."""
        return self._target

    def box(self, height: int, width: int, u: Sequence[float]) -> tuple[int, int, int, int]:
        """Top, left, height and width of the part of a picture that 22 uniforms choose."""
        area, (least, most), (low, high) = height * width, self.scale, self._logs
        for i in range(0, 2 * _ATTEMPTS, 2):
            wanted = area * (least + (most - least) * u[i])
            ratio = math.exp(low + (high - low) * u[i + 1])
            part_width = round(math.sqrt(wanted * ratio))
            part_height = round(math.sqrt(wanted / ratio))
            if 0 < part_width <= width and 0 < part_height <= height:
                top = place(u[-2], height - part_height)
                return top, place(u[-1], width - part_width), part_height, part_width
        return self._central(height, width)

    def _central(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The largest part in the middle whose aspect is in range: ten attempts did not fit."""
        part_height, part_width = height, width
        if width < height * self.ratio[0]:
            part_height = max(1, min(height, round(width / self.ratio[0])))
        elif width > height * self.ratio[1]:
            part_width = max(1, min(width, round(height * self.ratio[1])))
        return (height - part_height) // 2, (width - part_width) // 2, part_height, part_width
