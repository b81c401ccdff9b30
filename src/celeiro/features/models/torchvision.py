"""`torchvision:NAME`: the models of torchvision, as `torchvision.models.list_models()` names them.

`torchvision:resnet50` is of the weights that torchvision recommends, `torchvision:resnet50.NAME`
of others, such as IMAGENET1K_V1.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from celeiro.errors import ModelError, OptionError
from celeiro.features.models.network import Network, Parts, Tap, library
from celeiro.features.models.outputs import near
from celeiro.features.models.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
)
from celeiro.features.models.seeded import torch_seed
from celeiro.features.models.weights import Weights, load, read_state, torch_state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celeiro.features.models.asked import Asked
    from celeiro.features.models.base import Model

# The classifier's names, in the order they are looked for.
_HEADS = ("fc", "classifier", "heads", "head")

# Where a picture still has rows and columns, or tokens, before the model pools them.
_UNPOOLED = (
    Tap("avgpool", before=True),
    *map(Tap, ("features", "encoder", "layers", "conv5")),
    Tap("classifier", before=True),
)


def open_torchvision(name: str, asked: Asked) -> Model:
    """Build it: without its classifier, unless layers are named."""
    torchvision = library("torchvision", "torchvision")
    name, _, tag = name.partition(".")
    chosen = _weights(torchvision, name, tag)
    weights = Weights(asked.weights)
    module = _built(torchvision, name, chosen, weights, asked)
    told = {
        "weights": {
            **({"name": str(chosen)} if weights.fetched else {}),
            **weights.told(lambda: torch_state(module)),
        },
        "libraries": {"torchvision": torchvision.__version__},
    }
    pool = asked.pool
    if not asked.layers:
        _behead(module, name)
    swin = type(module).__name__ == "SwinTransformer"
    parts = Parts(
        module,
        _preprocessing(chosen).but(asked.wishes),
        told,
        taps=() if pool == "model" else _UNPOOLED,
        channels_last=lambda path: swin and path not in ("permute", "avgpool"),
        prefix=1 if type(module).__name__ == "VisionTransformer" else 0,
    )
    full = f"torchvision:{name}.{tag}" if tag else f"torchvision:{name}"
    return Network(
        full, parts, layers=asked.layers, pool=pool, device=asked.device, threads=asked.threads
    )


def _weights(torchvision: Any, name: str, tag: str) -> Any:
    """The weights of that name, or the recommended ones; None where torchvision has none."""
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        raise OptionError(
            f"torchvision:{name}: torchvision {torchvision.__version__} has no classifier of that "
            f"name; {near(name, names)}."
        )
    found = torchvision.models.get_model_weights(name)
    if not tag:
        return getattr(found, "DEFAULT", None)
    if tag not in found.__members__:
        raise OptionError(
            f"torchvision:{name}.{tag}: no weights of that name; {near(tag, found.__members__)}."
        )
    return found[tag]


def _built(torchvision: Any, name: str, chosen: Any, weights: Weights, asked: Asked) -> Any:
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):  # as they are with torchvision's own weights
        options = {"transform_input": True, "init_weights": False}
    state = None if weights.path is None else read_state(weights.path)
    if weights.fetched:
        state = _fetched(torchvision, name, chosen)
    size = asked.wishes.size
    if size is not None and name.startswith("vit_"):
        options["image_size"] = size if isinstance(size, int) else size[0]
    classes = None if state is None else _classes(state)
    with torch_seed(weights.seed):
        builder = torchvision.models.get_model
        module = builder(
            name, weights=None, **options, **({"num_classes": classes} if classes else {})
        )
    if state is not None and weights.path is not None:
        surplus = () if asked.layers else ("AuxLogits", "aux1", "aux2")
        load(module, state, weights.path, surplus=surplus)
    elif state is not None:
        module.load_state_dict(state)
    return module


def _classes(state: dict[str, Any]) -> int | None:
    """How many classes weights tell apart: rows of the last matrix of the classifier."""
    heads = tuple(f"{p}{head}." for p in ("", "module.") for head in _HEADS)
    last = [
        v
        for k, v in state.items()
        if k.startswith(heads) and v.ndim in (2, 4) and k.endswith("weight")
    ]
    return int(last[-1].shape[0]) if last else None


def _fetched(torchvision: Any, name: str, chosen: Any) -> Any:
    import torch

    if chosen is None:
        raise ModelError(
            f"torchvision:{name}: torchvision has no trained weights for it. Give yours as "
            "weights=FILE (--weights), or 'random'."
        )
    try:
        return chosen.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except Exception as error:  # of the network, the cache, the file
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"torchvision:{name}: its weights are not on this machine and could not be fetched "
            f"({type(error).__name__}: {reason}). Fetch {chosen.url} where there is a network, and "
            f"put it into {torch.hub.get_dir()}/checkpoints here, or give it as weights=FILE "
            "(--weights)."
        ) from error


def _behead(module: Any, name: str) -> None:
    """Cut the classifier off where its first matrix stands: pooling and norms before it stay."""
    from torch import nn

    head = next((h for h in _HEADS if isinstance(getattr(module, h, None), nn.Module)), None)
    if head is None:
        raise ModelError(
            f"torchvision:{name}: it is not known where its classifier begins. Name a layer."
        )
    classifier = getattr(module, head)
    kept: list[tuple[str, Any]] = []
    if isinstance(classifier, nn.Sequential):
        for key, layer in classifier.named_children():
            if any(isinstance(m, (nn.Linear, nn.Conv2d)) for m in layer.modules()):
                break
            kept.append((key, layer))
    if not any(isinstance(m, nn.Linear) for m in classifier.modules()):
        kept.append(("pool", nn.AdaptiveAvgPool2d(1)))  # SqueezeNet pools what it classified
    setattr(module, head, nn.Sequential(OrderedDict(kept)))


def _preprocessing(chosen: Any) -> Preprocessing:
    if chosen is None:
        return Preprocessing((224, 224), 256, "bilinear", IMAGENET_MEAN, IMAGENET_STD)
    preset = chosen.transforms()
    height, width = _both(preset.crop_size)
    margin = list(preset.resize_size)
    return Preprocessing(
        (height, width),
        margin[0] if len(margin) == 1 else (margin[0], margin[1]),
        str(preset.interpolation.value),
        tuple(map(float, preset.mean)),
        tuple(map(float, preset.std)),
    )


def _both(size: Any) -> Iterator[int]:
    sides = list(size)
    return iter(sides * 2 if len(sides) == 1 else sides)
