"""Files beside an ONNX file that hold tensors of its: their names, read off the file.

An ONNX file is one message of protobuf, tagged fields in fields; a tensor that lies outside says
where. Only what can hold tensors is gone into, and no value of a tensor is touched:

    model ─ graph ─┬─ tensor ─ (location, "weights.data")
                   └─ node ─ attribute ─┬─ tensor
                                        └─ graph …
"""

from __future__ import annotations

import mmap
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

from celeiro.errors import ModelError
from celeiro.format.names import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["files_beside"]

# By kind of message, which of its fields hold what; onnx.proto has the numbers.
_HOLDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
# Graphs within graphs: onnxruntime itself goes no deeper than protobuf's 100 messages.
_DEEP = 100


class _Damaged(Exception):
    """No message of protobuf."""


def files_beside(path: Path) -> list[Path]:
    """The files that `path` names for its tensors, sorted; they are there, and in its folder.

    Raises
    ------
    ModelError
        One is missing, or would lie elsewhere; or `path` is no ONNX file.
    """
    with path.open("rb") as file:
        if not file.seek(0, 2):
            return []  # onnxruntime has words for it
        with (
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
            memoryview(data) as view,
        ):
            try:
                found = sorted(set(_locations(view, "model", 0)))
            except (_Damaged, UnicodeDecodeError) as error:
                raise ModelError(
                    f"{path}: no ONNX file ({error}). Export the model once more."
                ) from None
    return [_file(path, name) for name in found]


def _file(path: Path, name: str) -> Path:
    parts = PureWindowsPath(name)  # which knows / and \, and drives
    if parts.anchor or ".." in parts.parts or not parts.parts or "\0" in name:
        raise ModelError(
            f"{path}: keeps tensors in {printable(name.encode())!r}, wanted a file in its own "
            "folder. Save it again by onnx.save_model(…, save_as_external_data=True, "
            "location='weights.data')."
        )
    file = path.parent / name
    if not file.is_file():
        raise ModelError(
            f"{path}: keeps tensors in {printable(name.encode())!r}, and {file} is no file. Put it "
            "there, as it came with the model."
        )
    return file


def _locations(data: memoryview, kind: str, depth: int) -> Iterator[str]:
    if depth > _DEEP:
        raise _Damaged("its graphs are in each other without end")
    for number, start, end in _fields(data):
        holds = _HOLDS[kind].get(number)
        if holds is None or start < 0:
            continue
        with data[start:end] as part:
            if holds == "entry":
                entry = {n: bytes(part[s:e]) for n, s, e in _fields(part) if s >= 0}
                if entry.get(1) == b"location":
                    yield entry.get(2, b"").decode()
            else:
                yield from _locations(part, holds, depth + 1)


def _fields(data: memoryview) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each field that has a length; start -1 of the others."""
    at = 0
    while at < len(data):
        tag, at = _number(data, at)
        kind = tag & 7
        if kind == 2:
            length, at = _number(data, at)
            start, at = at, at + length
        elif kind == 0:
            start, (_, at) = -1, _number(data, at)
        elif kind in (1, 5):
            start, at = -1, at + (8 if kind == 1 else 4)
        else:
            raise _Damaged(f"a field of kind {kind} at {at}")
        if at > len(data):
            raise _Damaged("it ends in the midst of a field")
        yield tag >> 3, start, at


def _number(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise _Damaged("it ends in the midst of a number")
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
    raise _Damaged("a number of more than 64 bits")
