"""Models: what turns a batch of pictures into rows of numbers, whichever library it comes from.

    timm:NAME  torchvision:NAME   a network of PyTorch's, with hooks  ─┐
    keras:NAME                    a model under Keras' backend         ├─> Model
    onnx:FILE                     a session of onnxruntime             │
    a module, a model, a function as somebody built it                ─┘

The invariant: for a batch that its `transforms` made, a model gives (B, D) float32 for each of its
`layers`, in the order of the batch; or an error that says what it gave instead.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from celeiro.errors import OptionError
from celeiro.features.models.asked import Asked
from celeiro.features.models.base import Model
from celeiro.features.models.preprocessing import Wishes

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from celeiro.features.models.outputs import Pool

__all__ = ["Model", "open_model"]

# The module that knows each kind, and what builds it; loaded when asked for.
_KINDS = {
    "timm": ("timm", "open_timm"),
    "torchvision": ("torchvision", "open_torchvision"),
    "keras": ("keras", "open_keras"),
    "onnx": ("onnx", "OnnxModel"),
}


def open_model(
    model: Any,
    *,
    layers: Sequence[str] = (),
    pool: Pool = "model",
    weights: str | os.PathLike[str] | None = None,
    size: int | tuple[int, int] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    color: str | None = None,
    interpolation: str | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Model:
    """Open a model by name, or take one as it is.

    Parameters
    ----------
    model
        ``timm:NAME``, ``torchvision:NAME``, ``keras:NAME``, ``onnx:FILE``; a module of PyTorch's,
        a model of Keras'; or any function from a batch to an array, or to a dict of arrays.
    layers
        Names of layers (of ONNX: of outputs) whose output is wanted; by default what the model
        gives before its classifier. Of several parts one is `layer[0]`, `layer[key]`.
    pool
        How rows and columns become one axis. `model`: as the model does before its classifier,
        the mean for a named layer. `avg`: their mean, or that of the tokens. `flatten`: every
        value, in the order they have in the model's memory.
    weights
        A safetensors file or a state dict; of Keras a ``.weights.h5``, ``.h5`` or ``.keras``. No
        code in it is run. ``random`` or ``random:SEED`` for trying things out.
    size, mean, std, color, interpolation
        By default as the model was trained with. `mean` and `std` are of 0–1; of 0–255 where one
        of them goes above 1. `color` is the order that the model wants.
    device, threads
        By default a GPU where there is one, and all cores.
    """
    names = (layers,) if isinstance(layers, str) else tuple(layers)
    wishes = Wishes(size, mean, std, color, interpolation)
    asked = Asked(names, pool, weights, wishes, device, threads)
    if isinstance(model, str):
        return _by_name(model, asked)
    if _is("torch.nn", "Module", model) and not _is("keras", "Model", model):
        from celeiro.features.models.module import open_module

        return open_module(model, asked)
    if _is("keras", "Model", model):
        from celeiro.features.models.keras import open_keras_model

        return open_keras_model(model, asked)
    if not callable(model):
        raise OptionError(
            f"model {model!r}: wanted such as 'timm:resnet18', or a function from a batch of "
            "pictures to an array."
        )
    from celeiro.features.models.function import Function

    return Function(model, asked)


def _by_name(model: str, asked: Asked) -> Model:
    kind, colon, name = model.partition(":")
    if not colon or not name or kind not in _KINDS:
        raise OptionError(
            f"model {model!r}: wanted one of {', '.join(f'{k}:NAME' for k in _KINDS)}; "
            "such as timm:resnet18, or onnx:model.onnx."
        )
    module, builder = _KINDS[kind]
    found = importlib.import_module(f"celeiro.features.models.{module}")
    opened: Model = getattr(found, builder)(name, asked)
    return opened


def _is(module: str, name: str, model: Any) -> bool:
    """Whether it is of a class of a library that somebody has loaded."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(model, kind)
