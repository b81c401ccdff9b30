"""Any function from a batch to an array, or to several by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import ModelError, OptionError
from celeiro.features.models.identity import identify, name_of
from celeiro.features.models.outputs import FEATURES, checked, pick, pooled, shape_of
from celeiro.features.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from celeiro.features.models.asked import Asked
    from celeiro.reading.dataset import Dataset

__all__ = ["Function"]


class Function:
    """A function as a model; see `celeiro.features.models.Model`.

    What it gives may be an array of NumPy's, a tensor, or a dict or tuple of them.
    """

    device = "cpu"

    def __init__(self, function: Callable[..., Any], asked: Asked) -> None:
        asked.without_weights("a function")
        if asked.device is not None or asked.threads is not None:
            raise OptionError(
                "device and threads of a function: it computes where it does. Leave both out."
            )
        self.name = f"callable {name_of(function)}"
        self.identity = identify(function)
        self._function = function
        self._pool = asked.pool
        self._asked = asked.layers
        self.layers: tuple[str, ...] = asked.layers or (FEATURES,)
        wishes = asked.wishes
        given = (wishes.size, wishes.mean, wishes.color, wishes.interpolation)
        self._preprocessing: Preprocessing | None = None
        if any(wish is not None for wish in given):
            channels, color = (1, "GRAY") if wishes.color == "GRAY" else (3, wishes.color or "RGB")
            plain = Preprocessing(top=255.0, color=color, channels=channels)
            self._preprocessing = plain.but(wishes)
        told = self._preprocessing
        self.told: dict[str, Any] = {
            "model": self.name,
            "code": self.identity.told,
            "layers": list(asked.layers) or None,
            "pool": asked.pool,
            "preprocessing": None if told is None else told.to_json(),
        }

    @property
    def transforms(self) -> Sequence[Any]:
        """What size, mean and the like come to; none where none was given."""
        return () if self._preprocessing is None else self._preprocessing.usual_steps(chw=False)

    def transforms_for(self, ds: Dataset) -> Sequence[Any]:
        """Of the pictures of a dataset."""
        if self._preprocessing is None:
            return ()
        return self._preprocessing.steps_for(ds, chw=False)

    def __call__(self, images: Any) -> dict[str, npt.NDArray[np.float32]]:
        """Rows of each layer, in the order of the batch."""
        found = pick(self._function(images), self._asked, self.name)
        return {
            layer: checked(self._pooled(value, len(images), layer), len(images), layer, self.name)
            for layer, value in found.items()
        }

    def _pooled(self, value: Any, pictures: int, layer: str) -> npt.NDArray[Any]:
        array = _array(value, self.name)
        if array.ndim == 0 or len(array) != pictures:
            raise ModelError(
                f"{self.name}: {layer!r} has the shape {shape_of(array)} for a batch of "
                f"{pictures} pictures, wanted a row for each of them, in their order."
            )
        return pooled(array, self._pool)

    def close(self) -> None:
        """Nothing to give back."""


def _array(value: Any, what: str) -> npt.NDArray[Any]:
    """NumPy's, whatever it was."""
    detach = getattr(value, "detach", None)
    if detach is not None:  # of PyTorch, perhaps on a GPU, perhaps of bfloat16
        value = detach().cpu()
        value = value.float() if value.is_floating_point() else value
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{what} gave {type(value).__name__}, wanted an array: {error}") from error
    return array
