"""MeanSubtract: minus the mean, as in Rosebrock's MeanPreprocessor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError
from celeiro.feeding.transforms.floats import one_a_channel, working_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from celeiro.feeding.transforms.kinds import Arithmetic, Pictures


@dataclass(frozen=True, slots=True)
class MeanSubtract:
    """Minus the mean, channel by channel; whole numbers become float32, floats keep their type."""

    mean: float | Sequence[float] | None = None
    """In units of the values that come; without it the file's own."""

    def arithmetic(self, pictures: Pictures) -> tuple[Arithmetic, Pictures]:
        """Subtract."""
        mean = pictures.mean
        if self.mean is not None:
            mean = one_a_channel(self.mean, pictures, "MeanSubtract", "mean")
        if mean is None:
            raise OptionError(
                "MeanSubtract() without numbers, of pictures whose mean is not known. Give it: "
                "MeanSubtract(mean=…)"
            )
        dtype = pictures.dtype if pictures.dtype.kind == "f" else np.dtype(np.float32)
        work = working_type(pictures.dtype, dtype)
        minus = np.array(mean, work)

        def subtracted(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            result: npt.NDArray[Any] = values.astype(work)
            result -= minus
            return result.astype(dtype, copy=False)

        return subtracted, pictures.then(dtype, mean)
