"""What a model is to whoever extracts features: transforms in front, rows behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from celeiro.reading.dataset import Dataset

__all__ = ["Model"]


class Model(Protocol):
    """A trained network, or any function, that turns a batch of pictures into rows of numbers."""

    name: str
    """As given: `timm:resnet18`, `callable module.name`."""
    device: str
    """`cpu`, `cuda:0`."""
    told: dict[str, Any]
    """How features were made, for the file's provenance; nothing but what JSON holds.

    `layers` is None where none was named: a default is no layer of the name that its output has.
    """
    layers: tuple[str, ...]
    """Names of the outputs, at least one."""

    @property
    def transforms(self) -> Sequence[Any]:
        """Celeiro's transforms of uint8 pictures, in RGB where the model takes colours."""
        ...

    def transforms_for(self, ds: Dataset) -> Sequence[Any]:
        """Celeiro's transforms of the pictures of a dataset: its colours, its type."""
        ...

    def __call__(self, images: Any) -> dict[str, npt.NDArray[np.float32]]:
        """(B, D) rows of each layer, in the order of the batch that the transforms made."""
        ...

    def close(self) -> None:
        """Give back what the model held of the process."""
        ...
