"""OneHot: labels as rows of 0 and 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class OneHot:
    """Labels (n,) as float32 rows (n, classes): 1 at the label, 0 elsewhere."""

    classes: int | None = None
    """How many; without it the file's label names are counted, or its labels."""

    draws = 0

    def __post_init__(self) -> None:
        """Refuse what is no number of classes."""
        if self.classes is not None and self.classes < 1:
            raise OptionError(f"OneHot(classes={self.classes}): wanted at least one")

    def batch(
        self,
        images: npt.NDArray[Any],
        labels: npt.NDArray[Any] | None,
        u: Sequence[float],
        *,
        chw: bool,
        classes: int | None,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
        """Leave the images, and turn the labels into rows."""
        return images, one_hot(labels, self.classes or classes)


def one_hot(labels: npt.NDArray[Any] | None, classes: int | None) -> npt.NDArray[Any]:
    """Rows of 0 and 1; labels that are rows already stay what they are.

    Examples
    --------
    >>> one_hot(np.array([1, 0]), 3)
    array([[0., 1., 0.],
           [1., 0., 0.]], dtype=float32)
    """
    if labels is None:
        raise OptionError("OneHot, MixUp and CutMix want labels; there are none. Leave them out")
    if labels.ndim == 2 and labels.dtype.kind == "f":
        return labels
    if labels.ndim != 1 or labels.dtype.kind not in "bui":
        raise OptionError(
            f"labels {labels.dtype} of shape {labels.shape}: wanted one whole number a sample"
        )
    if classes is None:
        raise OptionError(
            "OneHot() where the number of classes is not known. Give OneHot(classes=…)"
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise OptionError(
            f"labels from {labels.min()} to {labels.max()} of {classes} classes: wanted 0 to "
            f"{classes - 1}. Give OneHot(classes={int(labels.max()) + 1}), or number them from 0"
        )
    rows = np.zeros((len(labels), classes), np.float32)
    rows[np.arange(len(labels)), labels.astype(np.intp)] = 1
    return rows
