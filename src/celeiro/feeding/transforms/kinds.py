"""The kinds of steps that a chain knows; a step is of the kind whose methods it has.

    Move     where pixels go: arithmetic on a window, no pixel is touched
    Change   new pixels of the same size and type, such as other colours
    Values   what a value becomes, channel by channel: for uint8 pictures a table of 256
    Layout   channels first
    Batch    what needs more than one sample

Anything else that can be called is a stranger's transform of one picture (foreign.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.feeding.window import Window

__all__ = ["Arithmetic", "Batch", "Change", "Layout", "Move", "Pictures", "Size", "Values"]

Size = tuple[int, int]
"""Height and width."""

Arithmetic = Callable[["npt.NDArray[Any]"], "npt.NDArray[Any]"]
"""From values to values; channels stand last."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """What is known of the pictures that come to a step."""

    channels: int
    """How many."""
    dtype: np.dtype[Any]
    """Of their values."""
    mean: tuple[float, ...] | None = None
    """Of each channel, over the file; None where the file does not say."""
    std: tuple[float, ...] | None = None
    """As `mean`."""

    def then(self, dtype: np.dtype[Any], minus: Any = 0.0, times: Any = 1.0) -> Pictures:
        """After (value - minus) · times, as another type."""
        if self.mean is None or self.std is None:
            return Pictures(self.channels, dtype)
        mean = (np.array(self.mean) - minus) * times
        std = np.array(self.std) * times
        return Pictures(self.channels, dtype, tuple(mean.tolist()), tuple(std.tolist()))


@runtime_checkable
class Move(Protocol):
    """Where pixels go."""

    draws: int
    """Uniforms in [0, 1) that `move` wants."""

    def move(self, window: Window, u: Sequence[float]) -> Window:
        """The window that follows; its size depends on that of `window` alone."""
        ...

    def size_after(self, size: Size | None) -> Size | None:
        """The size that `size` comes to; None where it is not known."""
        ...


@runtime_checkable
class Change(Protocol):
    """New pixels of the same size and type."""

    draws: int
    """Uniforms in [0, 1) that `change` wants."""

    def change(self, image: npt.NDArray[Any], u: Sequence[float]) -> npt.NDArray[Any]:
        """Another picture (H, W, C); `image` stays as it is."""
        ...


@runtime_checkable
class Values(Protocol):
    """What a value becomes."""

    def arithmetic(self, pictures: Pictures) -> tuple[Arithmetic, Pictures]:
        """The function for such pictures, and what they are afterwards."""
        ...


@runtime_checkable
class Layout(Protocol):
    """How values lie in memory."""

    chw: bool
    """Whether channels come first."""


@runtime_checkable
class Batch(Protocol):
    """What needs more than one sample."""

    draws: int
    """Uniforms in [0, 1) that `batch` wants, for all samples together."""

    def batch(
        self,
        images: npt.NDArray[Any],
        labels: npt.NDArray[Any] | None,
        u: Sequence[float],
        *,
        chw: bool,
        classes: int | None,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
        """Images and labels, changed in place where that can be."""
        ...
