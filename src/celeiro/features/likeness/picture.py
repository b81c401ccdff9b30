"""Features of a new picture, by the model that made those of a file.

    provenance ─> the same model, opened again ─> the picture alone ─> (D,)

The invariant: a model that is not the one of the file is an error, for its features would be
numbers that mean something else.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError
from celeiro.reading.dataset import open as open_dataset

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from celeiro.reading.dataset import Dataset

# What may differ without the features being others, or is looked at by itself.
_MAY_DIFFER = frozenset(
    "model name libraries device precision threads batch_size dtype layers transform".split()
)
# Names that a file may have opened without being asked: no paths, no addresses.
_PLAIN = re.compile(r"(timm|torchvision|keras):[A-Za-z0-9_.-]+")
_MAIN = "features"


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
    wanted = _layers(told)
    if layer is not None and layer not in wanted:
        raise OptionError(
            f"{features.path}: no layer {layer!r} was made; there are {', '.join(wanted)}."
        )
    if open_model is None:
        from celeiro.features.models import open_model as by_name

        open_model = by_name
    layers = tuple(wanted.values())
    wishes: dict[str, Any] = {"weights": weights, "device": device}
    wishes |= {"layers": () if layers == (_MAIN,) else layers, "pool": told.get("pool", "model")}
    opened = open_model(name, **wishes)
    try:
        if opened.told.get("preprocessing") != told.get("preprocessing"):
            opened.close()
            opened = open_model(name, **wishes, **_wishes(told))
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
        f"{features.path}: it was made by {name!r}. A function cannot be found again: give its "
        "vector, celeiro.neighbours(path, vector). A file of a model, or an address, is opened "
        "only when you name it: --model onnx:FILE."
    )


def _layers(told: Mapping[str, Any]) -> dict[str, str]:
    layers = told.get("layers")
    found = layers if isinstance(layers, dict) else {_MAIN: _MAIN}
    # The main one first, as it was asked for: JSON in a file of ours is sorted by name.
    ordered = sorted(found.items(), key=lambda each: each[0] != _MAIN)
    return {str(field): str(layer) for field, layer in ordered}


def _wishes(told: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked of the pictures, where it is not what the model was trained with."""
    found = told.get("preprocessing")
    if not isinstance(found, dict):
        return {}
    size, mean, std = (found.get(name) for name in ("size", "mean", "std"))
    return {
        "size": tuple(size) if isinstance(size, list) else None,
        "mean": tuple(mean) if mean else None,
        "std": tuple(std) if std else None,
        "color": found.get("color") or None,
        "interpolation": found.get("interpolation"),
    }


def _check_same(opened: Mapping[str, Any], told: Mapping[str, Any], features: Dataset) -> None:
    names = (opened.keys() | told.keys()) - _MAY_DIFFER
    differ = sorted(name for name in names if opened.get(name) != told.get(name))
    if differ:
        name = differ[0]
        raise OptionError(
            f"{features.path}: its features were made with {name} {told.get(name)!r}, and this "
            f"model has {opened.get(name)!r}: they cannot be compared. Give the same --weights, or "
            "make the features again."
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
            row = ds.read([0])[0] if layer is None else ds.fields[layer][0]
            return np.array(row, np.float32).reshape(-1)
