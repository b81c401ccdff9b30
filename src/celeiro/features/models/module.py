"""A module of PyTorch's, as somebody built it: layers by name, weights as they are or from a file.

extract_features(ds, EfficientNet.from_name("efficientnet-lite0"), out, size=224, …)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celeiro.features.models.network import Network, Parts
from celeiro.features.models.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
)
from celeiro.features.models.weights import Weights, load, read_state, torch_state

if TYPE_CHECKING:
    from celeiro.features.models.asked import Asked
    from celeiro.features.models.base import Model


def open_module(module: Any, asked: Asked) -> Model:
    """Take it as it is; what pictures should be is for the caller to say, else ImageNet's way."""
    weights = Weights(asked.weights)
    if weights.path is not None:
        load(module, read_state(weights.path), weights.path)
    kind = type(module)
    name = f"torch {kind.__module__}.{kind.__qualname__}"
    parts = Parts(
        module,
        _preprocessing(module).but(asked.wishes),
        {"weights": weights.told(lambda: torch_state(module))},
    )
    return Network(
        name,
        parts,
        layers=asked.layers,
        pool=asked.pool,
        device=asked.device,
        threads=asked.threads,
    )


def _preprocessing(module: Any) -> Preprocessing:
    from torch import nn

    first = next((m for m in module.modules() if isinstance(m, nn.Conv2d)), None)
    channels = 3 if first is None else first.in_channels
    color = {3: "RGB", 1: "GRAY"}.get(channels, "")
    if channels != 3:
        return Preprocessing(color=color, channels=channels)
    return Preprocessing((224, 224), 256, "bilinear", IMAGENET_MEAN, IMAGENET_STD)
