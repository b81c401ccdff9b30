"""What a function is, so far as that can be known without calling it.

    function ─┬─ bytecode, constants, names       of functions within it as well
              ├─ defaults, values that it closes over
              └─ arguments of a partial           ─> sha256, or why it cannot be known

The invariant: two functions of one identity have the same code and the same values in it. What they
look up when they run (functions that they call, names of their module) is not looked at.
"""

from __future__ import annotations

import builtins
import dataclasses
import functools
import hashlib
import sys
import types
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Identity", "deciding", "identify", "name_of", "of_step"]

# Of weights, what is told beside their digest: the same bytes may have another name.
_NAMES = ("file", "name", "random")

_PLAIN = (type(None), type(...), bool, int, float, complex, str, bytes, range)
_ARRAYS = (np.ndarray, np.memmap)
# Deeper than this is a list that holds itself.
_DEEP = 64

# What the compiler made of a function, besides its constants.
_CODE = (
    "co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_argcount",
    "co_posonlyargcount", "co_kwonlyargcount", "co_flags", "co_exceptiontable",
)  # fmt: skip


class _Unknown(Exception):
    """Something whose behaviour does not follow from what is seen."""


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """What something is called, and what is known of it."""

    name: str
    """The same in every run."""
    told: str
    """What is known, for the file's provenance."""
    unknown: str = ""
    """Why another of the same name cannot be told from it; empty where it can."""


def identify(function: Any) -> Identity:
    """A function's code, as a digest; nothing of it is run."""
    digest = hashlib.sha256()
    try:
        for part in _Parts().of_callable(function):
            digest.update(b"%d:%b" % (len(part), part))
    except _Unknown as error:
        name = name_of(function)
        return Identity(name, f"unknown ({error})", f"{name} is, or holds, {error}")
    # Another Python makes other bytecode of the same lines.
    python = "Python {}.{}".format(*sys.version_info)
    return Identity(name_of(function), f"sha256 {digest.hexdigest()} of {python}")


def of_step(step: Any) -> Identity:
    """A transform; celeiro's own with their numbers."""
    if not type(step).__module__.startswith("celeiro."):
        found = identify(step)
        return Identity(found.name, f"{found.name} ({found.told})", found.unknown)
    if not dataclasses.is_dataclass(step):
        return Identity(repr(step), repr(step))
    names, words, unknown = [], [], ""
    for field in dataclasses.fields(step):
        value = getattr(step, field.name)
        if callable(value):
            found = of_step(value)
            unknown = unknown or found.unknown
        else:
            told = repr(value.tolist() if isinstance(value, np.ndarray) else value)
            found = Identity(told, told)
        names.append(f"{field.name}={found.name}")
        words.append(f"{field.name}={found.told}")
    name = type(step).__name__
    return Identity(f"{name}({', '.join(names)})", f"{name}({', '.join(words)})", unknown)


def name_of(function: Any) -> str:
    """Its module and name, or those of its class."""
    inner = getattr(function, "func", function)  # of functools.partial
    named = inner if hasattr(inner, "__qualname__") else type(inner)
    return f"{named.__module__}.{named.__qualname__}"


def deciding(told: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of features, without what is a mere name: of weights the digest decides."""
    decides = dict(told)
    if isinstance(told.get("weights"), dict):
        decides["weights"] = {k: v for k, v in told["weights"].items() if k not in _NAMES}
        if str(told.get("model")).startswith("onnx:"):
            decides["model"] = "onnx"
    return decides


class _Parts:
    """The bytes that tell things apart, kind before content."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._depth = 0

    def of_callable(self, function: Any) -> Iterator[bytes]:
        if type(function) is functools.partial:
            yield b"partial"
            yield from self.of_callable(function.func)
            yield from self._of((function.args, function.keywords))
        elif isinstance(function, types.FunctionType):
            yield from self._of_function(function)
        elif _is_brought(function):
            yield f"brought {function.__module__}.{function.__name__}".encode()
        elif isinstance(function, types.MethodType):
            raise _Unknown(f"a method of {_kind(function.__self__)}")
        else:
            raise _Unknown(_kind(function))

    def _of_function(self, function: types.FunctionType) -> Iterator[bytes]:
        if id(function) in self._seen:  # it calls itself, or is there twice
            yield b"again %d" % self._seen[id(function)]
            return
        self._seen[id(function)] = len(self._seen)
        yield f"function {name_of(function)}".encode()
        if function.__name__ == "<lambda>":  # its place is all the name that it has
            yield b"line %d" % function.__code__.co_firstlineno
        yield from self._of(function.__code__)
        yield from self._of((function.__defaults__, function.__kwdefaults__))
        for cell in function.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:
                yield b"empty"
            else:
                yield from self._of(value)

    def _of(self, value: Any) -> Iterator[bytes]:
        self._depth += 1
        if self._depth > _DEEP:
            raise _Unknown(f"a {type(value).__name__} that is in itself, or too deep")
        yield from self._of_value(value)
        self._depth -= 1

    def _of_value(self, value: Any) -> Iterator[bytes]:
        kind = type(value)
        yield kind.__name__.encode()
        if kind in _PLAIN:  # of a subclass of these, equality may mean anything
            yield repr(value).encode("utf-8", "surrogatepass")
        elif kind is types.CodeType:
            for name in _CODE:
                yield repr(getattr(value, name, None)).encode()
            yield from self._of(value.co_consts)
        elif kind in (tuple, list):
            yield from self._of_each(value)
        elif kind is slice:
            yield from self._of_each((value.start, value.stop, value.step))
        elif kind is dict:
            yield from self._of_each([part for pair in value.items() for part in pair])
        elif kind in (set, frozenset):  # in no order
            parts = sorted(b"%d:%b" % (len(p), p) for each in value for p in [_alone(each)])
            yield from [b"%d" % len(parts), *parts]
        elif (kind in _ARRAYS or isinstance(value, np.generic)) and not value.dtype.hasobject:
            yield repr((value.dtype.descr, value.shape)).encode()
            yield np.ascontiguousarray(value).tobytes()
        elif isinstance(value, np.dtype) and not value.hasobject:
            yield repr(value.descr).encode()
        elif kind is types.ModuleType:
            yield value.__name__.encode()
        else:
            yield from self.of_callable(value)

    def _of_each(self, values: Iterable[Any]) -> Iterator[bytes]:
        values = list(values)
        yield b"%d" % len(values)
        for value in values:
            yield from self._of(value)


def _alone(value: Any) -> bytes:
    """A digest of one member of a set."""
    return hashlib.sha256(b"".join(b"%d:%b" % (len(p), p) for p in _Parts()._of(value))).digest()


def _is_brought(function: Any) -> bool:
    """Whether it is what Python, NumPy or a compiled module has under this name."""
    if isinstance(function, types.BuiltinFunctionType):
        return isinstance(function.__self__, types.ModuleType | None)
    name = getattr(function, "__name__", None)
    return isinstance(name, str) and any(
        getattr(module, name, None) is function for module in (builtins, np)
    )


def _kind(value: Any) -> str:
    return f"an object of {type(value).__module__}.{type(value).__qualname__}"
