"""A network of PyTorch's as a model: hooks where layers were named, one row a picture out of it.

    (B, H, W, C) batch ──a view──> channels-last tensor ──> forward ── hook ── hook ──┤ stops here
                                                                        └── pooled ──> rows

The invariant: a batch is computed alone. Rows depend on its pictures and on how many they are, on
the number of threads and on the device; on nothing else.
"""

from __future__ import annotations

import importlib
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from celeiro.errors import MissingExtraError, ModelError, OptionError
from celeiro.features.models.outputs import FEATURES, Pool, alone, checked, named, near, shape_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from celeiro.features.models.preprocessing import Preprocessing
    from celeiro.reading.dataset import Dataset

__all__ = ["Network", "Parts", "Tap", "library", "torch_device"]


@dataclass(frozen=True, slots=True)
class Tap:
    """Where in a network something is taken."""

    path: str
    """The module's name; empty: the network itself."""
    key: str = ""
    """Which part of what it gives: `[0]`, `[key]`."""
    before: bool = False
    """What it is given, rather than what it gives."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a library builds for `Network`."""

    module: Any
    """The network, its weights loaded."""
    preprocessing: Preprocessing
    """What it wants pictures to be."""
    told: dict[str, Any]
    """For provenance: weights, versions."""
    forward: Callable[[Any], Any] | None = None
    """What gives the features where no layer was named; None: calling the module."""
    taps: tuple[Tap, ...] = ()
    """Or where they are taken: the first that is there."""
    channels_last: Callable[[str], bool] = field(default=lambda path: False)
    """Whether a module's four axes end in the channels, as in Swin."""
    prefix: int = 0
    """Tokens that stand for no part of the picture: not in the mean."""


class _Enough(BaseException):
    """Everything that was wanted is there: the rest of the network need not run."""


class Network:
    """A model of PyTorch's; see `celeiro.features.models.Model`."""

    def __init__(
        self,
        name: str,
        parts: Parts,
        *,
        layers: Sequence[str],
        pool: Pool,
        device: str | None,
        threads: int | None,
    ) -> None:
        import torch

        self.name = name
        self._torch = torch
        self._before = torch.get_num_threads()
        if threads is not None:
            torch.set_num_threads(threads)
        self._device = torch_device(device)
        self.device = str(self._device)
        self._parts = parts
        self._pool = pool
        self._module = parts.module.eval().requires_grad_(False).to(self._device)
        self.layers: tuple[str, ...] = tuple(layers) or (FEATURES,)
        self._taps = self._found(layers) if layers else self._usual()
        self._chw = False
        self._half = self._device.type == "cuda"
        self._module.to(memory_format=torch.channels_last)
        self._try_out()
        self.told: dict[str, Any] = {
            "model": name,
            **{k: v for k, v in parts.told.items() if k != "libraries"},
            "layers": list(layers) or None,
            "pool": pool,
            "preprocessing": parts.preprocessing.to_json(),
            "libraries": {"torch": torch.__version__, **parts.told.get("libraries", {})},
            "device": self._device.type,
            "precision": "float16 autocast" if self._half else "float32",
            "threads": torch.get_num_threads(),
        }

    @property
    def transforms(self) -> Sequence[Any]:
        """Of pictures in RGB of uint8."""
        # Late: a quarter of the bytes to copy to a GPU, which does it at once.
        return self._parts.preprocessing.usual_steps(chw=self._chw, late=self._half)

    def transforms_for(self, ds: Dataset) -> Sequence[Any]:
        """Of the pictures of a dataset: their colours, their type."""
        return self._parts.preprocessing.steps_for(ds, chw=self._chw, late=self._half)

    def __call__(self, images: Any) -> dict[str, npt.NDArray[np.float32]]:
        """Rows of each layer, in the order of the batch."""
        pictures = len(images)
        rows = self._rows(images, half=self._half)
        if self._half and not all(np.isfinite(array).all() for array in rows.values()):
            rows = self._rows(images, half=False)  # beyond float16
        return {k: checked(array, pictures, k, self.name) for k, array in rows.items()}

    def close(self) -> None:
        """Leave PyTorch as it was found."""
        self._torch.set_num_threads(self._before)

    # Where

    def _found(self, layers: Sequence[str]) -> list[Tap]:
        modules = dict(self._module.named_modules())
        taps = []
        for layer in layers:
            path, key = cast("re.Match[str]", re.fullmatch(r"(?s)([^\[]*)(.*)", layer)).groups()
            if path not in modules or (not path and not key):
                names = [name for name in modules if name]
                raise OptionError(
                    f"layer {layer!r}: {self.name} has no layer of that name; {near(path, names)}."
                )
            taps.append(Tap(path, key))
        return taps

    def _usual(self) -> list[Tap]:
        modules = dict(self._module.named_modules())
        if not self._parts.taps:
            return []
        for tap in self._parts.taps:
            if tap.path in modules:
                return [tap]
        raise OptionError(
            f"pool {self._pool!r}: it is not known where {self.name} is before it pools; name the "
            f"layer: {near('', modules)}."
        )

    def _try_out(self) -> None:
        """One grey picture: what cannot be is said before the first batch."""
        wanted = self._parts.preprocessing
        if wanted.size is None:
            return
        shape = (1, *wanted.size, wanted.channels)
        try:
            self._run(self._tensor(np.zeros(shape, np.float32)), once=True)
        except RuntimeError as error:
            if "view" not in str(error):
                raise self._refused(error, wanted.size) from error
            # It takes its tensors' memory for granted: channels first, then.
            self._chw = True
            self._module.to(memory_format=self._torch.contiguous_format)
            chw = np.zeros((1, wanted.channels, *wanted.size), np.float32)
            try:
                self._run(self._tensor(chw), once=True)
            except RuntimeError as again:
                raise self._refused(again, wanted.size) from again
        except (AssertionError, IndexError, TypeError, ValueError) as error:
            if isinstance(error, (ModelError, OptionError)):
                raise
            raise self._refused(error, wanted.size) from error

    def _refused(self, error: Exception, size: tuple[int, int]) -> ModelError:
        reason = str(error).strip().partition("\n")[0]
        return ModelError(
            f"{self.name} fails on a picture of {size[0]}x{size[1]}: {reason}. Give it the size "
            "that it was made for."
        )

    # Computing

    def _rows(self, images: Any, *, half: bool) -> dict[str, npt.NDArray[Any]]:
        torch = self._torch
        tensor = self._tensor(images)
        with torch.autocast(self._device.type, torch.float16, enabled=half):
            given = self._run(tensor)
        rows = {}
        for layer, (tap, value) in zip(self.layers, given, strict=True):
            with torch.inference_mode():
                rows[layer] = self._row(value, tap.path, len(tensor)).cpu().numpy()
        return rows

    def _tensor(self, images: Any) -> Any:
        """The batch on the device, as (B, C, H, W): a view of its memory where that can be."""
        torch, wanted = self._torch, self._parts.preprocessing
        if isinstance(images, np.ndarray):
            images = torch.from_numpy(images if images.flags.writeable else images.copy())
        if images.ndim == 3 and wanted.channels == 1:
            images = images.unsqueeze(1 if self._chw else 3)
        axis = 1 if self._chw else 3
        if images.ndim != 4 or images.shape[axis] != wanted.channels:
            order = "B, C, H, W" if self._chw else "B, H, W, C"
            raise ModelError(
                f"{self.name} is given a batch of shape {tuple(images.shape)}, wanted ({order}) of "
                f"{wanted.channels} channels: use its own transforms, or some that end alike."
            )
        images = images.to(self._device, non_blocking=True)
        if not self._chw:
            images = images.permute(0, 3, 1, 2)
        if images.dtype == torch.uint8:
            return self._levels(images)
        return images.float()

    def _levels(self, images: Any) -> Any:
        """Values of uint8 as the model was trained with: what the loader's transforms do else."""
        torch, wanted = self._torch, self._parts.preprocessing
        values = images.float()
        if wanted.top == 1:
            values *= float(np.float32(1 / 255))
        for numbers, apply in ((wanted.mean, values.sub_), (wanted.std, values.div_)):
            if numbers:
                apply(torch.tensor(numbers, device=values.device).view(1, -1, 1, 1))
        return values

    def _run(self, tensor: Any, *, once: bool = False) -> list[tuple[Tap, Any]]:
        """What each tap gives for a batch; `once`: see that none gives it twice."""
        with self._torch.inference_mode():
            if not self._taps:
                forward = self._parts.forward or self._module
                return [(Tap(""), alone(forward(tensor), "", self.name))]
            found = self._caught(tensor, once=once)
        return [(tap, _part(found[tap.path], tap, self.name)) for tap in self._taps]

    def _caught(self, tensor: Any, *, once: bool) -> dict[str, Any]:
        found: dict[str, Any] = {}
        calls: dict[str, int] = dict.fromkeys((tap.path for tap in self._taps), 0)

        def keep(path: str, value: Any) -> None:
            found[path] = value
            calls[path] += 1
            if not once and len(found) == len(calls):
                raise _Enough
            if hasattr(value, "clone"):  # layers that follow may write into it
                found[path] = value.clone()

        hooks = list(self._hooked(keep))
        try:
            self._module(tensor)
        except _Enough:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        for path, count in calls.items():
            if count == 0 or (once and count > 1):
                raise OptionError(
                    f"layer {path!r}: {self.name} runs it {count} times for a picture, wanted "
                    "once. Name the layer around it, or one beside it."
                )
        return found

    def _hooked(self, keep: Callable[[str, Any], None]) -> Iterator[Any]:
        for path, before in {(tap.path, tap.before) for tap in self._taps}:
            module = self._module.get_submodule(path)
            if before:
                yield module.register_forward_pre_hook(
                    lambda _, given, path=path: keep(path, given[0])
                )
            else:
                yield module.register_forward_hook(
                    lambda _, given, made, path=path: keep(path, made)
                )

    def _row(self, value: Any, path: str, pictures: int) -> Any:
        """Pooled, on the device."""
        if value.ndim == 0 or len(value) != pictures:
            raise ModelError(
                f"{self.name}: {path or FEATURES!r} has the shape {shape_of(value)} for a batch of "
                f"{pictures} pictures, wanted a row for each of them. Choose another layer."
            )
        value = value.float()
        if value.ndim <= 2 or self._pool == "flatten":
            return value.reshape(pictures, math.prod(value.shape[1:]))
        if value.ndim == 3:
            return value[:, self._parts.prefix :].mean(1)
        last = self._parts.channels_last(path)
        return value.mean(tuple(range(1, value.ndim - 1) if last else range(2, value.ndim)))


def _part(value: Any, tap: Tap, what: str) -> Any:
    if not tap.key:
        return alone(value, tap.path, f"layer {tap.path!r} of {what}" if tap.path else what)
    found = named(value, tap.path)
    if tap.path + tap.key not in found:
        raise OptionError(
            f"layer {tap.path + tap.key!r}: {what} gives no such part; "
            f"{near(tap.path + tap.key, found)}."
        )
    return found[tap.path + tap.key]


def torch_device(device: str | None) -> Any:
    """The device of that name; a GPU where there is one, for None."""
    import torch

    try:
        wanted = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise OptionError(
            f"device {device!r}: no name of a device. Wanted 'cpu', 'cuda' or such as 'cuda:1'."
        ) from error
    if wanted.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (wanted.index or 0) >= count:
            raise OptionError(
                f"device {device!r}: PyTorch finds {count} GPUs here. Wanted one that is there, or "
                "'cpu'."
            )
        index = torch.cuda.current_device() if wanted.index is None else wanted.index
        wanted = torch.device("cuda", index)
    return wanted


def library(name: str, install: str) -> Any:
    """A library of networks of PyTorch's; MissingExtraError or ModelError says what to install."""
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"models of {name} need PyTorch, which is not installed ({error}). "
            "Type: pip install 'celeiro[torch]'"
        ) from error
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"models of {name} need {error.name}, which is not installed ({error}). "
            f"Type: pip install {install}"
        ) from error
    except (AttributeError, ImportError, OSError, RuntimeError) as error:
        # Such as: operator torchvision::nms does not exist. timm loads torchvision as well.
        build = torch.__version__.partition("+")[2]  # such as cpu
        index = f" --index-url https://download.pytorch.org/whl/{build}" if build else ""
        raise ModelError(
            f"{name} cannot be loaded beside PyTorch {torch.__version__} ({error}): the "
            "torchvision that is here was made for another one. Install both from one index: "
            f"pip install --force-reinstall torch torchvision{index}"
        ) from error
