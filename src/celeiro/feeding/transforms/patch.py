"""Patch: a random part of a picture, as in Rosebrock's PatchPreprocessor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from celeiro.errors import OptionError
from celeiro.feeding.transforms.random_crop import RandomCrop
from celeiro.feeding.transforms.sizes import pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celeiro.feeding.transforms.kinds import Size
    from celeiro.feeding.window import Window


@dataclass(frozen=True, slots=True)
class Patch:
    """A random part of a picture, each place as likely: the name that Rosebrock's readers know."""

    size: int | tuple[int, int]
    """Of a square, or (height, width)."""

    draws = 2

    def __post_init__(self) -> None:
        """Refuse what is no size."""
        pair(self.size, "Patch")

    def move(self, window: Window, u: Sequence[float]) -> Window:
        """Show a part, anywhere."""
        (height, width), (rows, columns) = pair(self.size, "Patch"), window.shown
        if height > rows or width > columns:
            raise OptionError(
                f"a patch of {height}x{width} from a picture of {rows}x{columns}: give Patch a "
                "smaller size, or put Resize before it"
            )
        return RandomCrop(self.size).move(window, u)

    def size_after(self, size: Size | None) -> Size | None:
        """The wanted size."""
        return pair(self.size, "Patch")
