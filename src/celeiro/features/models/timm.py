"""`timm:NAME`: the models of PyTorch Image Models, as `timm.list_models()` names them."""

from __future__ import annotations

import logging
import math
import sys
from typing import TYPE_CHECKING, Any

from celeiro.errors import ModelError, OptionError
from celeiro.features.models.network import Network, Parts, library
from celeiro.features.models.outputs import near
from celeiro.features.models.preprocessing import Preprocessing
from celeiro.features.models.renames import for_timm
from celeiro.features.models.seeded import torch_seed
from celeiro.features.models.weights import Weights, load, read_state, torch_state

if TYPE_CHECKING:
    from pathlib import Path

    from celeiro.features.models.asked import Asked
    from celeiro.features.models.base import Model

_logger = logging.getLogger(__name__)


def open_timm(name: str, asked: Asked) -> Model:
    """Build it: without its classifier, unless layers are named."""
    timm = library("timm", "'celeiro[timm]'")
    weights = Weights(asked.weights)
    config = _config(timm, name)
    module = _built(timm, name, config, weights, asked)
    wanted = _preprocessing(timm, module).but(asked.wishes)
    forward = None if asked.pool == "model" else module.forward_features
    tokens = int(getattr(module, "num_prefix_tokens", 0) or 0)
    last = getattr(module, "output_fmt", "NCHW") == "NHWC"
    parts = Parts(
        module,
        wanted,
        {
            "weights": {
                **({"name": _tag(module)} if weights.fetched else {}),
                **weights.told(lambda: torch_state(module)),
            },
            "libraries": {"timm": timm.__version__},
        },
        forward,
        channels_last=lambda path: last,
        prefix=tokens,
    )
    return Network(
        f"timm:{name}",
        parts,
        layers=asked.layers,
        pool=asked.pool,
        device=asked.device,
        threads=asked.threads,
    )


def _config(timm: Any, name: str) -> Any:
    """What timm knows of the weights of that name."""
    if ":" in name:  # hf-hub:owner/name, which timm fetches
        return None
    if not timm.is_model(name.partition(".")[0]):
        raise OptionError(
            f"timm:{name}: timm {timm.__version__} has no model of that name; "
            f"{near(name, timm.list_models())}."
        )
    try:
        config = timm.models.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        tags = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        raise OptionError(
            f"timm:{name}: timm {timm.__version__} has no weights of that name; {near(name, tags)}."
        ) from error
    return config


def _built(timm: Any, name: str, config: Any, weights: Weights, asked: Asked) -> Any:
    options: dict[str, Any] = {} if asked.layers else {"num_classes": 0}
    if asked.wishes.size is not None and config is not None and config.fixed_input_size:
        options["img_size"] = asked.wishes.size
    if weights.fetched:
        return _fetched(timm, name, config, options)
    state = None if weights.path is None else read_state(weights.path)
    if state is not None and asked.layers and config is not None:
        options["num_classes"] = _classes(state, config)
    with torch_seed(weights.seed):
        try:
            module = timm.create_model(name, pretrained=False, **options)
        except (AssertionError, TypeError, ValueError) as error:
            raise ModelError(f"timm:{name} cannot be built with {options}: {error}.") from error
    if state is not None and weights.path is not None:
        _load(module, state, weights.path, config, asked)
    return module


def _fetched(timm: Any, name: str, config: Any, options: dict[str, Any]) -> Any:
    if config is not None and not config.has_weights:
        raise ModelError(
            f"timm:{name}: timm has no trained weights for it. Give yours as weights=FILE "
            "(--weights), or 'random'."
        )
    try:
        return timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # of the network, the hub, the cache: a dozen classes
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"timm:{name}: its weights are not on this machine and could not be fetched "
            f"({type(error).__name__}: {reason}). Fetch {_whence(config, name)} where there is a "
            "network, copy it here, and give it as weights=FILE (--weights)."
        ) from error


def _whence(config: Any, name: str) -> str:
    hub = getattr(config, "hf_hub_id", None)
    if hub:
        file = getattr(config, "hf_hub_filename", None) or "model.safetensors"
        return f"{file} of https://huggingface.co/{hub}"
    return getattr(config, "url", None) or f"the weights of {name}"


def _load(module: Any, state: dict[str, Any], path: Path, config: Any, asked: Asked) -> None:
    """Load strictly; where names differ, once more under those that timm makes of them."""
    surplus = () if asked.layers else _classifiers(config)
    state = for_timm(state, module)
    try:
        load(module, state, path, surplus=surplus)
    except ModelError:
        change = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
        if change is None:
            raise
        try:
            changed = change(dict(state), module)
        except Exception:  # made for other weights
            _logger.debug("timm's own renaming fails on %s", path, exc_info=True)
            changed = None
        if changed is None:
            raise
        load(module, changed, path, surplus=surplus)


def _classifiers(config: Any) -> tuple[str, ...]:
    """Names of the layers that `num_classes=0` leaves out."""
    names = getattr(config, "classifier", None) or ()
    names = (names,) if isinstance(names, str) else tuple(names)
    return (*names, "classifier", "fc", "head.fc", "head")


def _classes(state: dict[str, Any], config: Any) -> int:
    """How many classes the weights tell apart; as many as timm's where that is not seen."""
    for name in _classifiers(config):
        weight = state.get(f"{name}.weight", state.get(f"_{name}.weight"))
        if weight is not None and weight.ndim == 2:
            return int(weight.shape[0])
    return int(config.num_classes)


def _preprocessing(timm: Any, module: Any) -> Preprocessing:
    data = timm.data.resolve_model_data_config(module)
    channels, height, width = data["input_size"]
    share, mode = data["crop_pct"], data["crop_mode"]
    whole = (math.floor(height / share), math.floor(width / share))
    if mode not in ("center", "squash"):
        _logger.warning(
            "the model was trained on pictures brought to size by %r: they are squashed", mode
        )
    squash = mode != "center" or height != width
    color = {3: "RGB", 1: "GRAY"}.get(channels, "")
    return Preprocessing(
        (height, width),
        whole if squash else whole[0],
        data["interpolation"],
        tuple(map(float, data["mean"])),
        tuple(map(float, data["std"])),
        1.0,
        color,
        channels,
    )


def _tag(module: Any) -> str:
    config = getattr(module, "pretrained_cfg", None) or {}
    return ".".join(filter(None, (config.get("architecture"), config.get("tag"))))
