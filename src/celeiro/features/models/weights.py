"""Weights: read without running code, told apart by their SHA-256.

Of a file it is that of its bytes. Of weights that a library fetched by itself it is that of the
state as loaded: for each tensor, sorted by name, `name NUL dtype NUL shape NUL` and its bytes,
little-endian, rows first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import MissingExtraError, ModelError, OptionError
from celeiro.features.models.outputs import near

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

__all__ = ["Weights", "file_digest", "load", "read_state", "state_digest"]

_MOST_KEYS = 6

# What wrappers of training put before every name.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "encoder.")

# Where checkpoints keep the state: the one that is meant for use comes first.
_INSIDE = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net")


class Weights:
    """What the caller said of weights.

    None: as the library fetches them. `random`, or `random:SEED`: none, for trying things out.
    Anything else is a file.
    """

    def __init__(self, given: str | os.PathLike[str] | None) -> None:
        self.path: Path | None = None
        """Where they lie."""
        self.seed: int | None = None
        """Of random ones."""
        if given is None:
            return
        kind, _, number = given.partition(":") if isinstance(given, str) else ("", "", "")
        if kind == "random" and (not number or number.isdecimal()):
            self.seed = int(number or 0)
            return
        self.path = Path(given)
        if not self.path.is_file():
            raise OptionError(
                f"weights {str(given)!r}: there is no such file. Wanted a safetensors file or a "
                "state dict, or 'random'."
            )

    @property
    def fetched(self) -> bool:
        """Whether the library fetches them."""
        return self.path is None and self.seed is None

    def told(self, state: Callable[[], Iterable[tuple[str, str, tuple[int, ...], Any]]]) -> Any:
        """For the file's provenance; `state` as `state_digest` wants it."""
        if self.path is not None:
            return {"file": self.path.name, "sha256": file_digest(self.path)}
        told: dict[str, Any] = {"state_sha256": state_digest(state())}
        return told if self.seed is None else {"random": self.seed, **told}


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_digest(state: Iterable[tuple[str, str, tuple[int, ...], Any]]) -> str:
    """SHA-256 of tensors: name, type, shape, bytes."""
    digest = hashlib.sha256()
    for name, dtype, shape, data in sorted(state, key=lambda tensor: tensor[0].encode()):
        sides = ",".join(map(str, shape))
        digest.update(f"{name}\0{dtype}\0{sides}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def torch_state(module: Any) -> Iterable[tuple[str, str, tuple[int, ...], Any]]:
    """The state of a module, for `state_digest`."""
    import torch

    for name, tensor in module.state_dict().items():
        if isinstance(tensor, torch.Tensor):
            flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            kind = str(tensor.dtype).removeprefix("torch.")
            yield name, kind, tuple(tensor.shape), flat.numpy().data


def read_state(path: Path) -> dict[str, Any]:
    """The tensors of a safetensors file or of a PyTorch checkpoint; no code of it is run."""
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:] == b"{":
        return _safetensors(path)
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # whatever a file that is no checkpoint makes of the unpickler
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{path}: no state dict that can be read without running code ({reason}). Wanted a "
            "safetensors file, or what torch.save(model.state_dict(), …) wrote: load it where you "
            "trust it, and save its tensors by safetensors.torch.save_file."
        ) from error
    return _tensors(found, path)


def _safetensors(path: Path) -> dict[str, Any]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{path} needs safetensors, which is not installed ({error}). "
            "Type: pip install 'celeiro[features]'"
        ) from error
    try:
        return dict(load_file(path))
    except (SafetensorError, ValueError) as error:
        raise ModelError(
            f"{path}: a damaged safetensors file ({error}). Copy or download it once more."
        ) from error


def _tensors(found: Any, path: Path) -> dict[str, Any]:
    """The state in a checkpoint that holds more."""
    import torch

    for key in _INSIDE:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    state = dict(found) if isinstance(found, Mapping) else {}
    if not state or not all(isinstance(v, torch.Tensor) for v in state.values()):
        what = sorted(map(str, state))[:_MOST_KEYS] if state else type(found).__name__
        raise ModelError(
            f"{path}: no state dict but {what!r}. Wanted tensors by their names, as "
            "torch.save(model.state_dict(), …) writes them."
        )
    return state


def load(module: Any, state: dict[str, Any], path: Path, *, surplus: Iterable[str] = ()) -> None:
    """Give a module its tensors: all of them, and none besides.

    Prefixes of wrappers are taken off. What begins with one of `surplus` may be there as well: the
    classifier of a model that is wanted without.
    """
    own = module.state_dict()
    state = _without_prefix(state, own)
    surplus = tuple(f"{name}." for name in surplus)
    state = {k: v for k, v in state.items() if k in own or not k.startswith(surplus)}
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    other = [k for k in state if k not in own]
    if missing or other:
        raise ModelError(
            f"{path}: not the weights of this model. Missing: {_some(map(repr, missing))}. "
            f"Not the model's: {_some(map(repr, other))}. Wanted all of its tensors under their "
            f"names{_hint(missing, other)}."
        )
    wrong = [
        f"{k!r} {tuple(v.shape)}, wanted {tuple(own[k].shape)}"
        for k, v in state.items()
        if v.shape != own[k].shape
    ]
    if wrong:
        raise ModelError(
            f"{path}: tensors of another shape than the model's: {_some(wrong)}. Choose the model "
            "that they are of."
        )
    module.load_state_dict(state, strict=False)


def _without_prefix(state: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Without what wrappers put before every name, one after the other."""
    while not any(key in own for key in state):
        prefix = next((p for p in _PREFIXES if all(k.startswith(p) for k in state)), None)
        if prefix is None:
            break
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _some(found: Iterable[str]) -> str:
    phrases = list(found)
    if not phrases:
        return "nothing"
    more = f" and {len(phrases) - _MOST_KEYS} more" if len(phrases) > _MOST_KEYS else ""
    return ", ".join(phrases[:_MOST_KEYS]) + more


def _hint(missing: list[str], other: list[str]) -> str:
    return f"; {missing[0]!r}: {near(missing[0], other)}" if missing and other else ""


def keras_state(model: Any) -> Iterable[tuple[str, str, tuple[int, ...], Any]]:
    """The state of a model of Keras', for `state_digest`."""
    for i, variable in enumerate(model.weights):
        array = np.ascontiguousarray(variable.numpy())
        name = json.dumps([i, variable.path])  # two layers may share a name
        yield name, array.dtype.name, array.shape, array.reshape(-1).view(np.uint8).data
