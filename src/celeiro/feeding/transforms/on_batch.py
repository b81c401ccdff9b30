"""OnBatch: any function of a whole batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError
from celeiro.feeding.transforms.foreign import library_of, takes_rng
from celeiro.feeding.transforms.seeded import seed_from, torch_seeded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

# Their modules take tensors.
_OF_TORCH = ("kornia", "torch", "torchvision")


@dataclass(frozen=True, slots=True)
class OnBatch:
    """Any function of a whole batch of pictures: NumPy's, or a module of torch's kin.

    Called as function(images), or with ``rng=numpy.random.Generator`` where it has that
    parameter. Modules of torch, torchvision and Kornia, and those that derive from them, get
    tensors and the batch's own random numbers. It may be called by several threads at once.
    """

    function: Callable[..., Any]
    """From images to images; with `labels`, from both to both."""
    labels: bool = False
    """Whether it also takes and gives the labels, as torchvision's MixUp does."""

    draws = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be called."""
        if not callable(self.function):
            raise OptionError(f"OnBatch({self.function!r}): wanted a function of a batch")

    def batch(
        self,
        images: npt.NDArray[Any],
        labels: npt.NDArray[Any] | None,
        u: Sequence[float],
        *,
        chw: bool,
        classes: int | None,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
        """Call it."""
        given: tuple[npt.NDArray[Any], ...] = (images,)
        if self.labels:
            if labels is None:
                raise OptionError("OnBatch(labels=True), and there are no labels. Leave it out")
            given = (images, labels)
        if library_of(self.function) in _OF_TORCH:
            import torch

            with torch.no_grad(), torch_seeded(seed_from(u)):
                result = self.function(*(torch.from_numpy(array) for array in given))
        elif takes_rng(self.function):
            result = self.function(*given, rng=np.random.default_rng(seed_from(u)))
        else:
            result = self.function(*given)
        if not self.labels:
            return np.asarray(result), labels
        return np.asarray(result[0]), np.asarray(result[1])
