"""Features of a new picture, by the model that made those of a file.

    provenance ─> the same model, opened again ─> the picture alone ─> (D,)

The invariant: a model that is not the one of the file is an error, for its features would be
numbers that mean something else. The file is untrusted: what it says of the model is looked at
before it is used.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import ModelError, OptionError
from celeiro.features.models.asked import POOLS
from celeiro.features.models.identity import deciding
from celeiro.features.models.preprocessing import FILTERS
from celeiro.reading.dataset import open as open_dataset

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from celeiro.reading.dataset import Dataset

# What may differ without the features being others, or is looked at by itself.
_MAY_DIFFER = frozenset(
    "model name libraries device precision threads batch_size dtype layers version".split()
)
# Names that a file may have opened without being asked: no paths, no addresses.
_PLAIN = re.compile(r"(timm|torchvision|keras):[A-Za-z0-9_.-]{1,128}")
_MAIN = "features"
# What a file may ask for: larger pictures than any network here was trained on, by far.
_MOST_PIXELS = 2048 * 2048
_MOST_LAYERS = 256
_MOST_NAME = 256
_MOST_CHANNELS = 16
_MOST_VALUE = 1e6
_MOST_SHOWN = 200


def features_of(
    picture: str | os.PathLike[str],
    features: Dataset,
    *,
    model: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    layer: str | None = None,
    device: str | None = None,
    open_model: Callable[..., Any] | None = None,
) -> npt.NDArray[np.float32]:
    """Give the features of a picture file, as those of a dataset were made.

    Parameters
    ----------
    picture
        A picture file.
    features
        Whose provenance names the model.
    model
        The model by name, where the provenance names a file or an address: such is opened only
        when you say so.
    weights, device
        As for `celeiro.extract_features`.
    layer
        The field whose layer is wanted.
    open_model
        Opens a model; by default `celeiro.features.models.open_model`.

    Raises
    ------
    OptionError
        The file does not say how it was made, by a function, or by another model than this one.
    """
    told = _told(features)
    name = _name(told, model, features)
    wanted = _layers(told, features)
    if layer is not None and layer not in wanted:
        raise OptionError(
            f"{features.path}: no layer {layer!r} was made; there are {_short(list(wanted))}."
        )
    if open_model is None:
        from celeiro.features.models import open_model as by_name

        open_model = by_name
    wishes: dict[str, Any] = {"device": device, "pool": _pool(told, features)}
    wishes["weights"] = _random(told) if weights is None else weights
    asked = _wishes(told, features)
    wishes["layers"] = _asked(told, wanted, lambda **more: open_model(name, **wishes, **more))
    opened = open_model(name, **wishes)
    try:
        if opened.told.get("preprocessing") != told.get("preprocessing"):
            opened.close()
            opened = open_model(name, **wishes, **asked)
        _check_same(opened.told, told, features)
        return _extracted(Path(picture), opened, layer)
    finally:
        opened.close()


def _told(features: Dataset) -> Mapping[str, Any]:
    told = features.provenance.get("features")
    if not isinstance(told, dict) or not isinstance(told.get("model"), str):
        raise OptionError(
            f"{features.path}: it does not say by which model it was made, as files of "
            "`celeiro features` do. Make the picture's features yourself: "
            "celeiro.neighbours(path, vector)."
        )
    if "transform" in told:
        raise OptionError(
            f"{features.path}: it was made with transforms of a program's own. Make the picture's "
            "features there: celeiro.neighbours(path, vector)."
        )
    return told


def _name(told: Mapping[str, Any], model: str | None, features: Dataset) -> str:
    name = str(told["model"])
    if model is not None or _PLAIN.fullmatch(name):
        return model or name
    raise OptionError(
        f"{features.path}: it was made by {_short(name)}. A function cannot be found again: give "
        "its vector, celeiro.neighbours(path, vector). A file of a model, or an address, is opened "
        "only when you name it: --model onnx:FILE."
    )


def _layers(told: Mapping[str, Any], features: Dataset) -> dict[str, str | None]:
    """By data set or field, the layer that it holds; None: the model's default."""
    layers = told.get("layers")
    if layers is None:
        return {_MAIN: None}
    wanted = f"by the names of at most {_MOST_LAYERS} data sets, {_MAIN!r} among them, names"
    if not isinstance(layers, dict) or _MAIN not in layers or len(layers) > _MOST_LAYERS:
        raise _strange(features, "layers", layers, wanted)
    for field, layer in layers.items():
        alone = layer is None and len(layers) == 1
        if not alone and not (isinstance(layer, str) and 0 < len(layer) <= _MOST_NAME):
            raise _strange(features, f"layers[{_short(field)}]", layer, wanted)
    # The main one first, as it was asked for: JSON in a file of ours is sorted by name.
    return dict(sorted(layers.items(), key=lambda each: each[0] != _MAIN))


def _asked(
    told: Mapping[str, Any], wanted: Mapping[str, str | None], opened: Callable[..., Any]
) -> tuple[str, ...]:
    """The layers to ask the model for; none: its default."""
    layers = tuple(layer for layer in wanted.values() if layer is not None)
    if layers != (_MAIN,) or "version" in told:
        return layers
    # Of old a default was told as `features`, and so was a layer that is called so.
    try:
        opened(layers=layers).close()
    except (ModelError, OptionError):  # there is none
        return ()
    raise OptionError(
        f"layers {_MAIN!r}: the model has a layer of that name, and files of an early celeiro call "
        "its default so as well. Make the features again (celeiro features … --overwrite)."
    )


def _random(told: Mapping[str, Any]) -> str | None:
    """The random weights that features were made with, if they were."""
    weights = told.get("weights")
    seed = weights.get("random") if isinstance(weights, dict) else None
    return f"random:{seed}" if type(seed) is int and 0 <= seed < 1 << 63 else None


def _pool(told: Mapping[str, Any], features: Dataset) -> str:
    pool = told.get("pool", POOLS[0])
    if pool not in POOLS:
        raise _strange(features, "pool", pool, f"one of {', '.join(POOLS)}")
    return str(pool)


def _wishes(told: Mapping[str, Any], features: Dataset) -> dict[str, Any]:
    """What was asked of the pictures, where it is not what the model was trained with."""
    found = told.get("preprocessing")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _strange(features, "preprocessing", found, "a table")
    sides = _numbers(found, "size", features, 2, whole=True)
    if sides and (len(sides) != 2 or min(sides) < 1 or sides[0] * sides[1] > _MOST_PIXELS):
        raise _strange(
            features, "size", sides, f"height and width, {_MOST_PIXELS:,} pixels or less"
        )
    mean = _numbers(found, "mean", features, _MOST_CHANNELS)
    std = _numbers(found, "std", features, _MOST_CHANNELS)
    if len(mean) != len(std) or min(std, default=1) <= 0:
        raise _strange(features, "std", std, "as many numbers above 0 as mean has")
    color = _word(found, "color", features, ("RGB", "BGR", "GRAY", ""))
    return {
        "size": sides or None,
        "mean": mean or None,
        "std": std or None,
        "color": color or None,
        "interpolation": _word(found, "interpolation", features, FILTERS),
    }


def _numbers(
    found: Mapping[str, Any], name: str, features: Dataset, most: int, *, whole: bool = False
) -> tuple[Any, ...]:
    """A short list of finite numbers, or nothing."""
    value = found.get(name)
    if value is None:
        return ()
    kinds = (int,) if whole else (int, float)
    # `type`, for True is a number too; and NaN is not below anything.
    if (
        not isinstance(value, list)
        or len(value) > most
        or not all(type(each) in kinds and abs(each) <= _MOST_VALUE for each in value)
    ):
        kind = "whole numbers" if whole else "finite numbers"
        raise _strange(features, name, value, f"at most {most} {kind} up to {_MOST_VALUE:,.0f}")
    return tuple(value)


def _word(
    found: Mapping[str, Any], name: str, features: Dataset, words: Sequence[str]
) -> str | None:
    value = found.get(name)
    if value is not None and value not in words:
        raise _strange(features, name, value, f"one of {', '.join(map(repr, words))}")
    return value


def _strange(features: Dataset, name: str, value: Any, wanted: str) -> OptionError:
    return OptionError(
        f"{features.path}: it says that it was made with {name} {_short(value)}, wanted {wanted}. "
        "Make the picture's features yourself: celeiro.neighbours(path, vector)."
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _check_same(opened: Mapping[str, Any], told: Mapping[str, Any], features: Dataset) -> None:
    now, then = deciding(opened), deciding(told)
    names = (now.keys() | then.keys()) - _MAY_DIFFER
    differ = sorted(name for name in names if now.get(name) != then.get(name))
    if differ:
        name = differ[0]
        raise OptionError(
            f"{features.path}: its features were made with {name} {_short(told.get(name))}, and "
            f"this model has {_short(opened.get(name))}: they cannot be compared. Give the same "
            "--weights, or make the features again."
        )


def _extracted(picture: Path, model: Any, layer: str | None) -> npt.NDArray[np.float32]:
    """The way of `celeiro features`, for a folder of one picture."""
    from celeiro.features.extract import extract_features

    with tempfile.TemporaryDirectory(prefix="celeiro-") as folder:
        alone = Path(folder) / "picture"
        alone.mkdir()
        shutil.copyfile(picture, alone / f"picture{picture.suffix}")
        report = extract_features(
            alone, model, Path(folder) / "features.h5", labels="none", batch_size=1, workers=1
        )
        with open_dataset(report.path) as ds:
            row = ds.read([0])[0] if layer in (None, _MAIN) else ds.fields[layer][0]
            return np.array(row, np.float32).reshape(-1)
