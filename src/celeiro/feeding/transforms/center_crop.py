"""CenterCrop: the middle of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from celeiro.feeding.transforms.sizes import pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celeiro.feeding.transforms.kinds import Size
    from celeiro.feeding.window import Window


@dataclass(frozen=True, slots=True)
class CenterCrop:
    """The middle of a picture; where it is smaller, zeros around it."""

    size: int | tuple[int, int]
    """Of a square, or (height, width)."""

    draws = 0

    def __post_init__(self) -> None:
        """Refuse what is no size."""
        pair(self.size, "CenterCrop")

    def move(self, window: Window, u: Sequence[float]) -> Window:
        """Show the middle."""
        height, width = pair(self.size, "CenterCrop")
        top, left = _start(window.shown[0], height), _start(window.shown[1], width)
        return window.crop(top, left, height, width)

    def size_after(self, size: Size | None) -> Size | None:
        """The wanted size."""
        return pair(self.size, "CenterCrop")


def _start(length: int, wanted: int) -> int:
    """As torchvision has it: odd rests go half to even where cut, after the picture if padded."""
    if wanted > length:
        return -((wanted - length) // 2)
    return round((length - wanted) / 2)
