"""ToFloat: whole numbers as 0–1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.feeding.transforms.floats import float_type, working_type

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.feeding.transforms.kinds import Arithmetic, Pictures


@dataclass(frozen=True, slots=True)
class ToFloat:
    """Whole numbers as 0–1: uint8 over 255, uint16 over 65535; floats stay what they are.

    The same bits as torchvision's ``ToDtype(scale=True)``.
    """

    dtype: str = "float32"
    """float16, float32 or float64."""

    def __post_init__(self) -> None:
        """Refuse what is no float."""
        float_type(self.dtype, "ToFloat")

    def arithmetic(self, pictures: Pictures) -> tuple[Arithmetic, Pictures]:
        """Multiply by 1/255, or whatever the type's largest number is."""
        dtype = float_type(self.dtype, "ToFloat")
        work = working_type(pictures.dtype, dtype)
        factor = 1.0
        if pictures.dtype.kind in "ui":
            factor = 1.0 / int(np.iinfo(pictures.dtype).max)

        def to_unit(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            scaled: npt.NDArray[Any] = values.astype(work)
            scaled *= work.type(factor)
            return scaled.astype(dtype, copy=False)

        return to_unit, pictures.then(dtype, times=factor)
