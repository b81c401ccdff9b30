"""HorizontalFlip: left and right exchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from celeiro.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celeiro.feeding.transforms.kinds import Size
    from celeiro.feeding.window import Window


@dataclass(frozen=True, slots=True)
class HorizontalFlip:
    """Left and right exchanged, in some of the pictures."""

    p: float = 0.5
    """How often: 0 ≤ p ≤ 1."""

    draws = 1

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        if not 0 <= self.p <= 1:
            raise OptionError(f"HorizontalFlip({self.p!r}): wanted a probability 0 ≤ p ≤ 1")

    def move(self, window: Window, u: Sequence[float]) -> Window:
        """Mirror what is shown, or leave it."""
        return window.hflip() if u[0] < self.p else window

    def size_after(self, size: Size | None) -> Size | None:
        """The same."""
        return size
