"""MixUp: every picture a mixture of two, and every label too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celeiro.feeding.transforms.mixing import beta_quantile, check_alpha, mixed_pairs
from celeiro.feeding.transforms.one_hot import one_hot

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class MixUp:
    """Every picture a mixture of two neighbours, and every label too (Zhang et al. 2018).

    One share a batch, drawn from Beta(alpha, alpha). Labels come out as rows (n, classes).
    """

    alpha: float = 0.2
    """Small: mostly one of the two; 1: any share as likely."""
    classes: int | None = None
    """How many; without it the file's label names are counted, or its labels."""

    draws = 1
    pairs = True

    def __post_init__(self) -> None:
        """Refuse what is no parameter."""
        check_alpha(self.alpha, "MixUp")

    def batch(
        self,
        images: npt.NDArray[Any],
        labels: npt.NDArray[Any] | None,
        u: Sequence[float],
        *,
        chw: bool,
        classes: int | None,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
        """Mix neighbours, in place."""
        share = beta_quantile(u[0], self.alpha)
        rows = one_hot(labels, self.classes or classes)
        return mixed_pairs(images, share), mixed_pairs(rows, share)
