"""`keras:NAME`: the models of keras.applications, such as `keras:ResNet50`; or any model of Keras'.

Under whatever backend Keras has. Means, scale and the order of colours are read off the model's own
`preprocess_input`, by what it makes of a few pixels.
"""

from __future__ import annotations

import contextlib
import importlib
import random
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import MissingExtraError, ModelError, OptionError
from celeiro.features.models.network import torch_device
from celeiro.features.models.outputs import FEATURES, checked, near, pick, pooled
from celeiro.features.models.preprocessing import Preprocessing
from celeiro.features.models.weights import Weights, keras_state

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from celeiro.features.models.asked import Asked
    from celeiro.features.models.base import Model
    from celeiro.reading.dataset import Dataset

# Those that were not trained on 224x224.
_SIZES = {
    "InceptionV3": 299,
    "InceptionResNetV2": 299,
    "Xception": 299,
    "NASNetLarge": 331,
    **dict(
        zip(
            (f"EfficientNetB{i}" for i in range(1, 8)),
            (240, 260, 300, 380, 456, 528, 600),
            strict=True,
        )
    ),
    "EfficientNetV2B1": 240,
    "EfficientNetV2B2": 260,
    "EfficientNetV2B3": 300,
    "EfficientNetV2S": 384,
    "EfficientNetV2M": 480,
    "EfficientNetV2L": 480,
}


def open_keras(name: str, asked: Asked) -> Model:
    """Build one of keras.applications, without its classifier."""
    keras = _keras()
    builder = _builder(keras, name)
    plain = _preprocessing(builder, _SIZES.get(name, 224))
    wanted = plain.but(asked.wishes)
    assert wanted.size is not None
    weights = Weights(asked.weights)
    pooling = "avg" if asked.pool != "flatten" and not asked.layers else None
    shape = (3, *wanted.size) if _channels_first(keras) else (*wanted.size, 3)
    options = {"include_top": False, "input_shape": shape, "pooling": pooling}
    with _Seed(keras, weights.seed):
        model = _built(name, builder, options, weights)
    told = {"weights": weights.told(lambda: keras_state(model))}
    return KerasModel(f"keras:{name}", model, wanted, told, asked)


def open_keras_model(model: Any, asked: Asked) -> Model:
    """Take a model as somebody built it; what pictures should be is for the caller to say."""
    keras = _keras()
    weights = Weights(asked.weights)
    if weights.path is not None:
        _load(model, weights.path, model.name)
    kind = type(model)
    shape = tuple(model.input_shape)
    if len(shape) != 4:
        raise ModelError(
            f"keras {kind.__module__}.{kind.__qualname__} takes {shape}: wanted one input of four "
            "axes. Call it in a function of your own, and give that as the model."
        )
    first = _channels_first(keras)
    channels = shape[1 if first else 3] or 3
    sides = shape[2:] if first else shape[1:3]
    size = None if None in sides else (sides[0], sides[1])
    color = {3: "RGB", 1: "GRAY"}.get(channels, "")
    plain = Preprocessing(size, size, top=255.0, color=color, channels=channels)
    told = {"weights": weights.told(lambda: keras_state(model))}
    name = f"keras {kind.__module__}.{kind.__qualname__}"
    return KerasModel(name, model, plain.but(asked.wishes), told, asked)


class KerasModel:
    """A model of Keras'; see `celeiro.features.models.Model`."""

    def __init__(
        self, name: str, model: Any, wanted: Preprocessing, told: dict[str, Any], asked: Asked
    ) -> None:
        keras = _keras()
        self.name = name
        self._keras = keras
        self._preprocessing = wanted
        self._pool = asked.pool
        self._asked = asked.layers
        self.layers: tuple[str, ...] = asked.layers or (FEATURES,)
        self._chw = _channels_first(keras)
        self._restore, threads = _threads(keras, asked.threads)
        self.device, self._place = _device(keras, asked.device)
        with keras.device(self._place):
            self._model = _tapped(keras, model, asked.layers, name)
        self.told: dict[str, Any] = {
            "model": name,
            **told,
            "layers": list(asked.layers) or None,
            "pool": asked.pool,
            "preprocessing": wanted.to_json(),
            "libraries": _versions(keras),
            "device": self.device.partition(":")[0],
            "precision": "float32",
            "threads": threads,
        }

    @property
    def transforms(self) -> Sequence[Any]:
        """Of pictures in RGB of uint8."""
        return self._preprocessing.usual_steps(chw=self._chw)

    def transforms_for(self, ds: Dataset) -> Sequence[Any]:
        """Of the pictures of a dataset: their colours, their type."""
        return self._preprocessing.steps_for(ds, chw=self._chw)

    def __call__(self, images: Any) -> dict[str, npt.NDArray[np.float32]]:
        """Rows of each layer, in the order of the batch."""
        batch = self._preprocessing.fitting(images, np.float32, self.name, chw=self._chw)
        with self._keras.device(self._place):
            given = self._model.predict_on_batch(batch)
        if self._asked:
            arrays = given if isinstance(given, list) else [given]
            found = dict(zip(self.layers, arrays, strict=True))
        else:
            found = pick(given, (), self.name)
        return {
            layer: checked(
                pooled(np.asarray(array), self._pool, channels_first=self._chw),
                len(batch),
                layer,
                self.name,
            )
            for layer, array in found.items()
        }

    def close(self) -> None:
        """Leave the backend as it was found."""
        self._restore()


def _keras() -> Any:
    try:
        return importlib.import_module("keras")
    except ModuleNotFoundError as error:
        if error.name != "keras":  # the backend: Keras says more of that
            raise
        raise MissingExtraError(
            f"models of Keras need Keras, which is not installed ({error}). "
            "Type: pip install 'celeiro[keras]'"
        ) from error


def _builder(keras: Any, name: str) -> Callable[..., Any]:
    found = vars(keras.applications)
    names = [n for n, value in found.items() if n[0].isupper() and callable(value)]
    if name not in names:
        raise OptionError(
            f"keras:{name}: keras.applications {keras.__version__} has no model of that name; "
            f"{near(name, names)}."
        )
    builder: Callable[..., Any] = found[name]
    return builder


def _channels_first(keras: Any) -> bool:
    return bool(keras.config.image_data_format() == "channels_first")


def _preprocessing(builder: Callable[..., Any], side: int) -> Preprocessing:
    """What `preprocess_input` of the model's own module does, seen from what it makes of pixels."""
    preprocess = importlib.import_module(builder.__module__).preprocess_input
    # Nothing, then full red, green and blue: four pictures of one pixel, in float64.
    pixels = np.concatenate([np.zeros((1, 3)), 255 * np.eye(3)]).reshape(4, 1, 1, 3)
    made = np.asarray(preprocess(pixels.copy(), data_format="channels_last"))
    made = made.reshape(4, 3)
    slopes = (made[1:] - made[0]) / 255  # [colour given, channel made]
    order = np.abs(slopes).argmax(axis=0)
    color = {(0, 1, 2): "RGB", (2, 1, 0): "BGR"}.get(tuple(order.tolist()), "")
    if not color:
        raise ModelError(f"{builder.__name__}: its preprocess_input is not understood.")
    slope = slopes[order, np.arange(3)]
    # Rounded: a scale of 1 comes as 0.99999…
    std = np.round(1 / slope, 9)
    mean = np.round(-made[0] / slope, 9) + 0.0
    same = not mean.any() and bool((std == 1).all())
    return Preprocessing(
        (side, side),
        (side, side),
        "bilinear",
        () if same else tuple(mean.tolist()),
        () if same else tuple(std.tolist()),
        255.0,
        color,
    )


def _built(
    name: str, builder: Callable[..., Any], options: dict[str, Any], weights: Weights
) -> Any:
    try:
        if not weights.fetched:
            model = builder(weights=None, **options)
        else:
            model = _fetched(name, builder, options)
    except ModelError:
        raise
    except ValueError as error:
        raise ModelError(f"keras:{name} cannot be built: {error}") from error
    if weights.path is not None:
        _load(model, weights.path, f"keras:{name}")
    return model


def _fetched(name: str, builder: Callable[..., Any], options: dict[str, Any]) -> Any:
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where Keras tells of its progress
            return builder(weights="imagenet", **options)
    except Exception as error:  # urllib's, of the cache, of the file
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"keras:{name}: its weights are not on this machine and could not be fetched "
            f"({type(error).__name__}: {reason}). Fetch that file where there is a network, and "
            "put it into ~/.keras/models here, or give it as weights=FILE (--weights)."
        ) from error


def _load(model: Any, path: Path, name: str) -> None:
    """Numbers alone: of a .keras file too, whose layers are never built."""
    if not path.name.endswith((".h5", ".keras")):
        raise OptionError(f"weights {str(path)!r}: wanted a .weights.h5, .h5 or .keras file.")
    try:
        model.load_weights(str(path))
    except Exception as error:  # of HDF5, zip, and Keras' own ValueError
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{path}: not the weights of {name} ({reason}). Wanted those of the same model without "
            "its classifier (include_top=False), whose files end in _notop.h5."
        ) from error


def _tapped(keras: Any, model: Any, layers: Sequence[str], name: str) -> Any:
    if not layers:
        return model
    there = {layer.name: layer for layer in model.layers}
    for layer in layers:
        if layer not in there:
            raise OptionError(
                f"layer {layer!r}: {name} has no layer of that name; {near(layer, there)}."
            )
    inputs = model.inputs[0] if len(model.inputs) == 1 else model.inputs
    return keras.Model(inputs, [there[layer].output for layer in layers])


def _device(keras: Any, device: str | None) -> tuple[str, str]:
    """The device's name for us, and for Keras."""
    backend = keras.backend.backend()
    if backend == "torch":
        ours = str(torch_device(device))
        return ours, ours.replace("cuda", "gpu") if ":" in ours else f"{ours}:0"
    kind, _, number = (device or "").partition(":")
    if kind not in ("", "cpu", "cuda") or not (number or "0").isdecimal():
        raise OptionError(f"device {device!r}: wanted 'cpu', 'cuda' or such as 'cuda:1'.")
    gpus = [d for d in keras.distribution.list_devices() if not d.startswith("cpu")]
    if kind == "cuda" and int(number or 0) >= len(gpus):
        raise OptionError(
            f"device {device!r}: {backend} finds {len(gpus)} GPUs here. Wanted one that is there, "
            "or 'cpu'."
        )
    if kind == "cpu" or not gpus:
        return "cpu", "cpu:0"
    return f"cuda:{number or 0}", f"gpu:{number or 0}"


def _threads(keras: Any, threads: int | None) -> tuple[Callable[[], None], int | None]:
    """Set them where the backend lets us; how to put them back, and how many there are."""
    backend = keras.backend.backend()
    if backend != "torch":
        if threads is not None:
            raise OptionError(
                f"threads {threads}: {backend} fixes its threads as the process begins. Leave "
                "threads out."
            )
        return (lambda: None), None
    import torch

    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    return (lambda: torch.set_num_threads(before)), torch.get_num_threads()


def _versions(keras: Any) -> dict[str, str]:
    backend = keras.backend.backend()
    versions = {"keras": keras.__version__}
    module = importlib.import_module(backend)
    return versions | {backend: str(getattr(module, "__version__", ""))}


class _Seed:
    """Keras draws from this seed within; Python's and NumPy's numbers go on as before after."""

    def __init__(self, keras: Any, seed: int | None) -> None:
        self._keras, self._seed = keras, seed

    def __enter__(self) -> None:
        self._python, self._numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
        if self._seed is not None:
            self._keras.utils.set_random_seed(self._seed)

    def __exit__(self, *_: object) -> None:
        random.setstate(self._python)
        np.random.set_state(self._numpy)  # noqa: NPY002
