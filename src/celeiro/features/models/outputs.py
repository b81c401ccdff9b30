"""What a model gave, as one row of numbers a picture.

The invariant: (B, D) float32, C-contiguous, as many rows as pictures; or a ModelError. Whether they
are finite is looked at where it is known which pictures are sound: `celeiro.features.recipe`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from celeiro.errors import ModelError, OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

__all__ = ["FEATURES", "Pool", "alone", "checked", "near", "pick", "pooled"]

Pool = Literal["model", "avg", "flatten"]
"""How several axes become one."""

FEATURES = "features"
"""What an output is called for which nobody had a name."""

_MOST_NAMES = 30


def near(wanted: str, names: Iterable[str]) -> str:
    """The end of a sentence: names like the one that is not there, or all of them if few."""
    names = list(names)
    if not names:
        return "there are none"
    if len(names) <= _MOST_NAMES:
        return f"there are {', '.join(map(repr, names))}"
    close = difflib.get_close_matches(wanted, names, n=6, cutoff=0.4)
    close += [n for n in names if wanted.lower() in n.lower() and n not in close][:6]
    if not close:
        close = [*names[:3], "…", *names[-3:]]
    return f"near it are {', '.join(map(repr, close))} ({len(names)} in all)"


def named(value: Any, prefix: str = "") -> dict[str, Any]:
    """Every array in what a model gave: `a[0]` of a tuple, `a[key]` of a dict."""
    if isinstance(value, Mapping):
        items: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, (tuple, list)):
        items = enumerate(value)
    else:
        return {} if value is None else {prefix: value}
    return {
        name: found
        for key, part in items
        for name, found in named(part, f"{prefix}[{key}]").items()
    }


def alone(value: Any, name: str, what: str) -> Any:
    """The one array of what a model gave; several are an error that lists them."""
    found = named(value, name)
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise ModelError(f"{what} gave no array but {value!r}: wanted one, of a row a picture.")
    listed = ", ".join(f"{n!r} {shape_of(v)}" for n, v in found.items())
    raise ModelError(
        f"{what} gave {len(found)} arrays where one was wanted. Name those that you want as "
        f"layers: {listed}"
    )


def pick(value: Any, layers: Sequence[str], what: str) -> dict[str, Any]:
    """The named arrays of what a model gave; `[a][0]` is `a[0]` as well."""
    if not layers:
        return {FEATURES: alone(value, "", what)}
    found = named(value)
    if len(layers) == len(found) == 1 and "" in found:
        return {layers[0]: found[""]}
    known = found | {n[1:].replace("]", "", 1): v for n, v in found.items()}
    for layer in layers:
        if layer not in known:
            raise OptionError(
                f"layer {layer!r}: wanted one of the arrays that {what} gives; "
                f"{near(layer, [n for n in found if n] or ['one, without a name'])}."
            )
    return {layer: known[layer] for layer in layers}


def shape_of(value: Any) -> str:
    """For messages."""
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else str(tuple(shape))


def pooled(
    array: npt.NDArray[Any], pool: Pool, *, channels_first: bool = False
) -> npt.NDArray[Any]:
    """One axis beside that of the pictures.

    `avg`, and `model` where the model itself left several, is the mean over rows and columns;
    of three axes (B, tokens, channels) over the tokens.
    """
    if array.ndim <= 2:
        return array.reshape(len(array), -1)
    if pool == "flatten":
        return array.reshape(len(array), math.prod(array.shape[1:]))
    channels = 1 if channels_first and array.ndim > 3 else array.ndim - 1
    axes = tuple(axis for axis in range(1, array.ndim) if axis != channels)
    mean: npt.NDArray[Any] = array.astype(np.float32, copy=False).mean(axis=axes)
    return mean


def checked(array: Any, pictures: int, layer: str, what: str) -> npt.NDArray[np.float32]:
    """Rows of float32, as many as pictures."""
    array = np.asarray(array)
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise ModelError(
            f"{what}: {layer!r} is an array of {array.dtype}, wanted numbers. Choose another layer."
        )
    if array.ndim == 0 or len(array) != pictures:
        raise ModelError(
            f"{what}: {layer!r} has the shape {array.shape} for a batch of {pictures} pictures, "
            "wanted a row for each of them. Choose a layer whose first axis is that of the "
            "pictures, or mend the function."
        )
    if array.ndim != 2:
        array = array.reshape(pictures, math.prod(array.shape[1:]))
    if not array.shape[1]:
        raise ModelError(f"{what}: {layer!r} has no values. Choose another layer.")
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(array, np.float32)
