"""`onnx:FILE`: any ONNX file of one input, computed by onnxruntime.

The file says what the input's shape is; of mean, standard deviation and colours it says nothing.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import MissingExtraError, ModelError, OptionError
from celeiro.features.models.external import files_beside
from celeiro.features.models.outputs import FEATURES, checked, near, pooled
from celeiro.features.models.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
)
from celeiro.features.models.weights import file_digest
from celeiro.storage.local import available_cores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from celeiro.features.models.asked import Asked
    from celeiro.reading.dataset import Dataset

_logger = logging.getLogger(__name__)

# Whole numbers are pixels of 0-255; int8 is not here, for nothing says what it takes for black.
_TYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(double)": np.dtype(np.float64),
    **{
        f"tensor({name})": np.dtype(name)
        for name in "float16 uint8 uint16 int16 uint32 int32 uint64 int64".split()
    },
}

# What a side is where the file leaves it open.
_SIDE = 224


class OnnxModel:
    """A model in an ONNX file; see `celeiro.features.models.Model`."""

    def __init__(self, file: str, asked: Asked) -> None:
        asked.without_weights("an ONNX file")
        runtime = _runtime()
        path = Path(file)
        if not path.is_file():
            raise OptionError(f"onnx:{file}: there is no such file.")
        self.name = f"onnx:{path.name}"
        self._pool = asked.pool
        self.device, providers = _providers(runtime, asked.device)
        threads = asked.threads or available_cores()
        beside = files_beside(path)
        self._session: Any = _session(runtime, path, providers, threads)
        self._input = self._only_input()
        self._chw, wanted = self._wanted(asked)
        self._preprocessing = wanted.but(asked.wishes)
        if asked.wishes.mean is None and wanted.mean:
            _logger.warning(
                "%s does not say how its pictures are normalised: ImageNet's mean and standard "
                "deviation are taken. Give mean and std (--mean, --std) where it wants others",
                self.name,
            )
        self._names = self._outputs(asked.layers)
        self.layers: tuple[str, ...] = asked.layers or (FEATURES,)
        self.told: dict[str, Any] = {
            "model": self.name,
            "weights": _digests(path, beside),
            "layers": list(asked.layers) or None,
            "outputs": self._names,
            "pool": asked.pool,
            "preprocessing": self._preprocessing.to_json(),
            "libraries": {"onnxruntime": runtime.__version__},
            "device": self.device.partition(":")[0],
            "precision": self._type.name,
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
        images = self._preprocessing.fitting(images, self._type, self.name, chw=self._chw)
        given: list[list[npt.NDArray[Any]]] = [[] for _ in self._names]
        for part, kept in self._pieces(images):
            try:
                found = self._session.run(self._names, {self._input.name: part})
            except Exception as error:  # of onnxruntime's own classes
                raise ModelError(f"{self.name} fails on a batch {images.shape}: {error}") from error
            for into, array in zip(given, found, strict=True):
                self._see(array, len(part))
                into.append(array[:kept])
        rows = {}
        for layer, arrays in zip(self.layers, given, strict=True):
            array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
            rows[layer] = checked(
                pooled(array, self._pool, channels_first=self._chw), len(images), layer, self.name
            )
        return rows

    def close(self) -> None:
        """Let go of the session."""
        self._session = None

    def _only_input(self) -> Any:
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _TYPES:
            told = ", ".join(f"{i.name!r} {i.type} {i.shape}" for i in inputs)
            raise ModelError(
                f"{self.name} takes {told or 'nothing'}: wanted one input of four axes, (B, C, H, "
                "W) or (B, H, W, C), of floats, or of pixels of 0-255 as uint8 has them. Call it "
                "in a function of your own, and give that as the model."
            )
        self._type = _TYPES[inputs[0].type]
        return inputs[0]

    def _wanted(self, asked: Asked) -> tuple[bool, Preprocessing]:
        """Whether channels come first, and what pictures should be."""
        shape = self._input.shape
        first = shape[1] in (1, 3) or shape[3] not in (1, 3)
        channels = shape[1] if first else shape[3]
        channels = channels if isinstance(channels, int) else 3
        sides = shape[2:] if first else shape[1:3]
        fixed = tuple(side if isinstance(side, int) and side > 0 else None for side in sides)
        size = asked.wishes.size
        wanted = (size, size) if isinstance(size, int) else size or tuple(s or _SIDE for s in fixed)
        if any(f not in (None, w) for f, w in zip(fixed, wanted, strict=True)):
            raise OptionError(
                f"size {size!r}: {self.name} takes {fixed[0]}x{fixed[1]} alone. Leave size out."
            )
        color = {3: "RGB", 1: "GRAY"}.get(channels, "")
        whole = self._type.kind in "ui"
        if whole and asked.wishes.mean is not None:
            raise OptionError(
                f"mean={asked.wishes.mean!r}, std={asked.wishes.std!r}: {self.name} takes pixels "
                f"of {self._type}, which it brings to its own scale. Leave both out."
            )
        normal = channels == 3 and not whole
        height, width = wanted
        # As ImageNet is looked at: the middle seven eighths.
        margin: Any = height * 8 // 7 if height == width else (height * 8 // 7, width * 8 // 7)
        return first, Preprocessing(
            (height, width),
            margin,
            "bilinear",
            IMAGENET_MEAN if normal else (),
            IMAGENET_STD if normal else (),
            255.0 if whole else 1.0,
            color,
            channels,
        )

    def _outputs(self, layers: tuple[str, ...]) -> list[str]:
        names = [output.name for output in self._session.get_outputs()]
        for layer in layers:
            if layer not in names:
                raise OptionError(
                    f"layer {layer!r}: {self.name} has no output of that name; "
                    f"{near(layer, names)}. Layers inside have to be made outputs first, by "
                    "onnx.utils.extract_model or where the file is exported."
                )
        if not layers and len(names) != 1:
            raise OptionError(
                f"{self.name} has {len(names)} outputs where one was wanted: name those that you "
                f"want as layers; {near('', names)}."
            )
        return list(layers) or names

    def _pieces(self, images: npt.NDArray[Any]) -> Iterator[tuple[npt.NDArray[Any], int]]:
        """The batch, or parts of it where the file fixes how many pictures come at once."""
        fixed = self._input.shape[0]
        if not isinstance(fixed, int) or fixed < 1 or fixed == len(images):
            yield images, len(images)
            return
        for start in range(0, len(images), fixed):
            part = images[start : start + fixed]
            short = fixed - len(part)
            whole = np.pad(part, ((0, short), (0, 0), (0, 0), (0, 0))) if short else part
            yield whole, len(part)

    def _see(self, array: Any, pictures: int) -> None:
        if not isinstance(array, np.ndarray) or array.ndim == 0 or len(array) != pictures:
            shape = getattr(array, "shape", type(array).__name__)
            raise ModelError(
                f"{self.name} gave {shape} for a batch of {pictures} pictures, wanted an array "
                "with a row for each of them. Export it with a free first axis."
            )


def _runtime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"ONNX files need onnxruntime, which is not installed ({error}). "
            "Type: pip install 'celeiro[onnx]'"
        ) from error
    return onnxruntime


def _providers(runtime: Any, device: str | None) -> tuple[str, list[Any]]:
    there = "CUDAExecutionProvider" in runtime.get_available_providers()
    kind, _, number = (device or ("cuda" if there else "cpu")).partition(":")
    if kind == "cpu":
        return "cpu", ["CPUExecutionProvider"]
    if kind != "cuda" or not there or not (number or "0").isdecimal():
        raise OptionError(
            f"device {device!r}: this onnxruntime computes on "
            f"{', '.join(runtime.get_available_providers())}. Wanted 'cpu', or 'cuda' with "
            "onnxruntime-gpu installed."
        )
    number = number or "0"
    return f"cuda:{number}", [
        ("CUDAExecutionProvider", {"device_id": number}),
        "CPUExecutionProvider",
    ]


def _session(runtime: Any, path: Path, providers: list[Any], threads: int) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors, which are raised as well
    try:
        return runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # of onnxruntime's own classes
        raise ModelError(f"{path}: no ONNX file that onnxruntime can load ({error}).") from error


def _digests(path: Path, beside: Sequence[Path]) -> dict[str, Any]:
    """Of the file, and of those that hold tensors of its."""
    told: dict[str, Any] = {"file": path.name, "sha256": file_digest(path)}
    outside = {p.relative_to(path.parent).as_posix(): file_digest(p) for p in beside}
    return told | ({"data": outside} if outside else {})
