"""CutMix: a box of one picture in another, and the labels by its area."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celeiro.errors import OptionError
from celeiro.feeding.transforms.mixing import beta_quantile, check_alpha, mixed_pairs
from celeiro.feeding.transforms.one_hot import one_hot

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class CutMix:
    """A box exchanged between neighbours, and the labels mixed by its area (Yun et al. 2019).

    One box a batch, anywhere, of an area drawn from Beta(alpha, alpha); where it leaves the
    picture it is cut. Labels come out as rows (n, classes).
    """

    alpha: float = 1.0
    """1: any area as likely."""
    classes: int | None = None
    """How many; without it the file's label names are counted, or its labels."""

    draws = 3
    pairs = True

    def __post_init__(self) -> None:
        """Refuse what is no parameter."""
        check_alpha(self.alpha, "CutMix")

    def batch(
        self,
        images: npt.NDArray[Any],
        labels: npt.NDArray[Any] | None,
        u: Sequence[float],
        *,
        chw: bool,
        classes: int | None,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
        """Exchange boxes between neighbours, in place."""
        if images.ndim < 3 or (chw and images.ndim < 4):
            raise OptionError(f"CutMix on a batch of shape {images.shape}: wanted pictures")
        height, width = images.shape[2:4] if chw else images.shape[1:3]
        y1, x1, y2, x2 = self.box(height, width, u)
        box = (..., slice(y1, y2), slice(x1, x2)) if chw else (slice(y1, y2), slice(x1, x2))
        for i in range(0, len(images) - 1, 2):
            kept = images[i][box].copy()
            images[i][box] = images[i + 1][box]
            images[i + 1][box] = kept
        share = 1 - (y2 - y1) * (x2 - x1) / (height * width)
        return images, mixed_pairs(one_hot(labels, self.classes or classes), share)

    def box(self, height: int, width: int, u: Sequence[float]) -> tuple[int, int, int, int]:
        """Top, left, bottom and right of the box that three uniforms choose."""
        half = 0.5 * math.sqrt(1 - beta_quantile(u[0], self.alpha))
        x, y = int(u[1] * width), int(u[2] * height)
        dx, dy = int(half * width), int(half * height)
        return max(y - dy, 0), max(x - dx, 0), min(y + dy, height), min(x + dx, width)
