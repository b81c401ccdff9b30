"""`celeiro info`: what a file holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from celeiro.cli.words import counts, number_of, print_json, print_out, share_of, size_of, table
from celeiro.reading.info import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_CLASSES = 50
_MOST_CHANNELS = 8


def info(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Any HDF5 file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what a file holds: store, shape, classes, sizes, how it was made.

    Works on any HDF5 file as far as it can; reads no samples.

    Example:

      celeiro info photos.h5
    """
    told = describe(file)
    if as_json:
        print_json(told)
        return
    for line in table(_lines(told)):
        print_out(line)


def _lines(told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    ours = told["celeiro_format"] is not None
    yield "file", told["path"]
    if ours:
        yield "format", f"celeiro {told['celeiro_format']}, store {told['store']}"
    else:
        yield "format", "HDF5, not made by celeiro"
    if "shape" in told:
        yield "samples", _samples(told)
    yield "size", ", ".join(_sizes(told))
    for name in ("classes", "splits"):
        if told.get(name):
            yield name, counts(told[name], _MOST_CLASSES)
    if told.get("fields"):
        yield "fields", ", ".join(told["fields"])
    for name in ("mean", "std"):
        if told.get(name):
            yield name, _floats(told[name])
    if told.get("provenance"):
        yield from _made(told["store"], told["provenance"])
    if not ours:
        for data in told["data_sets"]:
            yield "data set", _data_set(data)


def _samples(told: dict[str, Any]) -> str:
    kind = f"{told['dtype']} in {told['key']!r}"
    if told.get("color"):
        kind += f", {told['color']}"
    if None in told["shape"]:
        return f"{told['shape'][0]:,} of many sizes, {kind}"
    return f"{' × '.join(f'{side:,}' for side in told['shape'])} {kind}"


def _sizes(told: dict[str, Any]) -> Iterator[str]:
    yield size_of(told["file_bytes"])
    for name, what in (("source_bytes", "the sources'"), ("raw_bytes", "raw values'")):
        if told.get(name):
            yield f"{share_of(told['file_bytes'], told[name])} {what} {size_of(told[name])}"


def _floats(values: list[float]) -> str:
    shown = ", ".join(f"{value:.3f}" for value in values[:_MOST_CHANNELS])
    more = len(values) - _MOST_CHANNELS
    return shown if more <= 0 else f"{shown}, … ({len(values):,} channels)"


def _made(store: str, provenance: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The choices that made a difference, and the libraries."""
    options = provenance.get("options")
    if isinstance(options, dict):
        shown = {name: options.get(name) for name in _that_matter(store, options)}
        told = [f"{name.replace('_', ' ')} {_option(value)}" for name, value in shown.items()]
        if told:
            yield "made with", ", ".join(told)
    if provenance.get("refused"):
        yield "left out", number_of(provenance["refused"], "bad picture")
    made_by = provenance.get("made_by")
    if isinstance(made_by, dict):
        yield "made by", ", ".join(f"{name} {version}" for name, version in made_by.items())


def _that_matter(store: str, options: dict[str, Any]) -> Iterator[str]:
    if options.get("size"):
        yield from ("size", "resize")
    if options.get("max_side"):
        yield "max_side"
    if store == "jpeg" or options.get("max_side"):
        yield from ("quality", "subsampling")
    if store == "lossless":
        yield "compressor"
    yield from (name for name in ("split", "shuffle") if options.get(name))
    if options.get("split") or options.get("shuffle"):
        yield "seed"
    if options.get("check") == "decode":
        yield "check"


def _option(value: Any) -> str:
    if isinstance(value, list):
        return "x".join(map(str, value))
    if isinstance(value, dict):
        return ",".join(f"{name}={part}" for name, part in value.items())
    return str(value)


def _data_set(data: dict[str, Any]) -> str:
    shape = " × ".join(f"{side:,}" for side in data["shape"]) or "one value"
    how = "" if data["chunks"] is None else f", chunks {' × '.join(map(str, data['chunks']))}"
    filters = f", filters {', '.join(map(str, data['filters']))}" if data["filters"] else ""
    return f"{data['name']}: {shape} {data['dtype']}{how}{filters}"
