"""The types that values are computed in, and numbers given one a channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from celeiro.feeding.transforms.kinds import Pictures


def float_type(name: npt.DTypeLike, step: str) -> np.dtype[Any]:
    """The type that a step's result has."""
    dtype = np.dtype(name)
    if dtype not in (np.float16, np.float32, np.float64):
        raise OptionError(f"{step}(dtype={str(name)!r}): wanted float16, float32 or float64")
    return dtype


def working_type(source: np.dtype[Any], result: np.dtype[Any]) -> np.dtype[Any]:
    """float32, as torchvision has it; float64 where that would lose what comes or is wanted."""
    wide = source.itemsize > (4 if source.kind == "f" else 2) or result.itemsize > 4
    return np.dtype(np.float64 if wide else np.float32)


def one_a_channel(
    numbers: float | Sequence[float], pictures: Pictures, step: str, name: str
) -> tuple[float, ...]:
    """As many numbers as channels, from one or from all."""
    values = np.atleast_1d(np.asarray(numbers, dtype=np.float64))
    if values.ndim != 1 or len(values) not in (1, pictures.channels):
        raise OptionError(
            f"{step}({name}={numbers!r}): wanted one number, or one for each of the "
            f"{pictures.channels} channels"
        )
    if not np.isfinite(values).all():
        raise OptionError(f"{step}({name}={numbers!r}): wanted finite numbers")
    return tuple(np.broadcast_to(values, (pictures.channels,)).tolist())
