"""Resize: all of a picture, larger or smaller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from celeiro.errors import OptionError
from celeiro.feeding.transforms.sizes import pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celeiro.feeding.transforms.kinds import Size
    from celeiro.feeding.window import Window


@dataclass(frozen=True, slots=True)
class Resize:
    """All of a picture, larger or smaller, antialiased as Pillow and torchvision do it.

    Examples
    --------
    >>> Resize(256).size_after((300, 600))
    (256, 512)
    """

    size: int | tuple[int, int]
    """The shorter side, the other follows the picture's aspect; or (height, width)."""

    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """The filter: a triangle, or the sharper cubic, which reaches twice as far."""

    draws = 0

    def __post_init__(self) -> None:
        """Refuse what is no size, and filters that are not there."""
        pair(self.size, "Resize")
        if self.interpolation not in ("bilinear", "bicubic"):
            raise OptionError(
                f"Resize(interpolation={self.interpolation!r}): wanted 'bilinear' or 'bicubic'"
            )

    def move(self, window: Window, u: Sequence[float]) -> Window:
        """Resize what is shown."""
        cubic = self.interpolation == "bicubic"
        return window.resize(*self._of(window.shown), cubic=cubic)

    def size_after(self, size: Size | None) -> Size | None:
        """The wanted size, or the one that follows from the picture's aspect."""
        if size is None:
            return pair(self.size, "Resize") if isinstance(self.size, (tuple, list)) else None
        return self._of(size)

    def _of(self, size: Size) -> Size:
        if isinstance(self.size, (tuple, list)):
            return pair(self.size, "Resize")
        (height, width), short = size, int(self.size)
        # In whole numbers, and cut as torchvision cuts: never shorter than the shorter side.
        return (
            (short, short * width // height)
            if height <= width
            else (short * height // width, short)
        )
