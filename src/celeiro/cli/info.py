"""`celeiro info`: what a file holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celeiro.cli.words import counts, print_out, size_of
from celeiro.reading.info import describe

if TYPE_CHECKING:
    from collections.abc import Iterator


def info(
    file: Annotated[str, typer.Argument(help="Any HDF5 file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what a file holds: store, shape, classes, splits, sizes, how it was made.

    Works on any HDF5 file as far as it can; reads no samples.

    Example:

      celeiro info photos.h5
    """
    told = describe(file)
    if as_json:
        print_out(json.dumps(told, indent=2, ensure_ascii=False))
        return
    for name, value in _lines(told):
        print_out(f"{name:<10} {value}")


def _lines(told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "file", told["path"]
    if told["celeiro_format"] is None:
        yield "format", "HDF5, not made by celeiro"
    else:
        yield "format", f"celeiro {told['celeiro_format']}, store {told['store']}"
    if "shape" in told:
        shape = " × ".join("any" if side is None else f"{side:,}" for side in told["shape"])
        yield "samples", f"{shape} {told['dtype']} in {told['key']!r} {told.get('color', '')}"
    yield "size", " · ".join(_sizes(told))
    for name in ("classes", "splits"):
        if told.get(name):
            yield name, counts(told[name])
    if told.get("fields"):
        yield "fields", ", ".join(told["fields"])
    for name in ("mean", "std"):
        if told.get(name):
            yield name, ", ".join(f"{v:.3f}" for v in told[name][:8])
    if told.get("provenance"):
        yield "made with", _made_with(told["provenance"])
    if told["celeiro_format"] is None:
        for data in told["data_sets"]:
            yield "data set", _data_set(data)


def _sizes(told: dict[str, Any]) -> Iterator[str]:
    yield size_of(told["file_bytes"])
    if told.get("source_bytes"):
        ratio = told["file_bytes"] / told["source_bytes"]
        yield f"{ratio:.2f} of the sources' {size_of(told['source_bytes'])}"
    if told.get("raw_bytes"):
        ratio = told["file_bytes"] / told["raw_bytes"]
        yield f"{ratio:.3f} of {size_of(told['raw_bytes'])} as raw values"


def _made_with(provenance: dict[str, Any]) -> str:
    options = provenance.get("options") or {}
    made_by = provenance.get("made_by") or {}
    shown = {k: v for k, v in options.items() if v not in (None, "", {}, False)}
    by = ", ".join(f"{k} {v}" for k, v in made_by.items())
    return ", ".join(f"{k} {v}" for k, v in shown.items()) + f" · {by}"


def _data_set(data: dict[str, Any]) -> str:
    shape = " × ".join(f"{side:,}" for side in data["shape"]) or "one value"
    how = "contiguous" if data["chunks"] is None else f"chunks {tuple(data['chunks'])}"
    filters = f", filters {data['filters']}" if data["filters"] else ""
    return f"{data['name']}: {shape} {data['dtype']}, {how}{filters}"
