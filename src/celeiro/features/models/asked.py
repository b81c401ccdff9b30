"""What the caller asked for, in one piece, for whoever builds the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from celeiro.errors import OptionError

if TYPE_CHECKING:
    import os

    from celeiro.features.models.outputs import Pool
    from celeiro.features.models.preprocessing import Wishes

__all__ = ["Asked"]

POOLS = ("model", "avg", "flatten")


@dataclass(frozen=True, slots=True)
class Asked:
    """Everything but the model itself."""

    layers: tuple[str, ...]
    """By name; none: what the model gives before its classifier."""
    pool: Pool
    """How several axes become one."""
    weights: str | os.PathLike[str] | None
    """A file, `random`, or as the library fetches them."""
    wishes: Wishes
    """What is wanted otherwise than the model was trained with."""
    device: str | None
    """`cpu`, `cuda`, `cuda:1`; None: a GPU where there is one."""
    threads: int | None
    """That compute on the processor; None: all cores."""

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        if self.pool not in POOLS:
            raise OptionError(f"pool {self.pool!r}: wanted one of {', '.join(map(repr, POOLS))}.")
        if self.threads is not None and self.threads < 1:
            raise OptionError(f"threads {self.threads}: wanted 1 or more, or None for all cores.")
        twice = [name for name in self.layers if self.layers.count(name) > 1]
        if twice:
            raise OptionError(f"layer {twice[0]!r} is asked for twice: name each once.")

    def without_weights(self, kind: str) -> None:
        """Refuse weights where the model brings its own."""
        if self.weights is not None:
            raise OptionError(
                f"weights {str(self.weights)!r}: {kind} brings its own. Leave weights out."
            )
