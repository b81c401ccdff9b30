"""Normalize: minus the mean, over the standard deviation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError
from celeiro.feeding.transforms.floats import float_type, one_a_channel, working_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from celeiro.feeding.transforms.kinds import Arithmetic, Pictures


@dataclass(frozen=True, slots=True)
class Normalize:
    """Minus the mean, over the standard deviation, channel by channel.

    The same bits as torchvision's `Normalize` in float32. Without numbers the file's own, brought
    to 0–1 where `ToFloat` stands before.
    """

    mean: float | Sequence[float] | None = None
    """In units of the values that come: 0–255 for uint8, 0–1 after `ToFloat`."""
    std: float | Sequence[float] | None = None
    """As `mean`."""
    dtype: str = "float32"
    """float16, float32 or float64; float16 is rounded once, at the end."""

    def __post_init__(self) -> None:
        """Refuse what is no float, and one number without the other."""
        float_type(self.dtype, "Normalize")
        if (self.mean is None) != (self.std is None):
            raise OptionError(
                f"Normalize(mean={self.mean!r}, std={self.std!r}): give both, or neither for the "
                "file's own"
            )

    def arithmetic(self, pictures: Pictures) -> tuple[Arithmetic, Pictures]:
        """Subtract, then divide."""
        mean, std = self._numbers(pictures)
        dtype = float_type(self.dtype, "Normalize")
        work = working_type(pictures.dtype, dtype)
        minus, over = np.array(mean, work), np.array(std, work)

        def normalized(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            result = values.astype(work)
            result -= minus
            result /= over
            return result.astype(dtype, copy=False)

        return normalized, pictures.then(dtype, mean, 1 / np.array(std))

    def _numbers(self, pictures: Pictures) -> tuple[tuple[float, ...], tuple[float, ...]]:
        if self.mean is None or self.std is None:
            mean, std = pictures.mean, pictures.std
            if mean is None or std is None:
                raise OptionError(
                    "Normalize() without numbers, of pictures whose mean and standard deviation "
                    "are not known. Give both: Normalize(mean=…, std=…)"
                )
        else:
            mean = one_a_channel(self.mean, pictures, "Normalize", "mean")
            std = one_a_channel(self.std, pictures, "Normalize", "std")
            if pictures.dtype.kind in "ui" and max(map(abs, mean)) <= 1 and max(std) <= 1:
                raise OptionError(
                    f"Normalize(mean={self.mean!r}, std={self.std!r}) of {pictures.dtype} pixels: "
                    "these numbers are of 0–1. Put ToFloat() before it, or give them in units of "
                    "the pixels"
                )
        if min(std) <= 0:
            raise OptionError(
                f"a standard deviation of {min(std)} in {std}: nothing can be divided by it. "
                "Give Normalize another"
            )
        return mean, std
