"""`celeiro info`: what a file holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celeiro.cli import options as option
from celeiro.cli.words import (
    counts,
    number_of,
    print_json,
    print_out,
    share_of,
    size_of,
    table,
    together,
)
from celeiro.reading.info import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_CLASSES = 50
_MOST_CHANNELS = 8
# The rest of the options is told by the lines above.
_CHOICES = "size resize max_side quality subsampling compressor split shuffle seed check".split()


def info(file: option.File, as_json: option.AsJson = False) -> None:
    """Tell what a file holds: store, shape, classes, sizes, how it was made.

    Works on any HDF5 file as far as it can; reads no samples.

    Example:

      celeiro info photos.h5
    """
    told = describe(file)
    if isinstance(told.get("provenance", {}).get("features"), dict):
        from celeiro.features.origin import change_of

        told["source_changed"] = change_of(file, told["provenance"])
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
    yield "size", together(_sizes(told))
    for name in ("classes", "splits"):
        if told.get(name):
            yield name, counts(told[name], _MOST_CLASSES)
    if told.get("fields"):
        yield "fields", ", ".join(told["fields"])
    for name in ("mean", "std"):
        if told.get(name):
            yield name, _floats(told[name])
    if told.get("provenance"):
        yield from _made(told["provenance"])
        yield from _of_features(told["provenance"])
    if told.get("source_changed"):
        yield "warning", told["source_changed"]
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


def _made(provenance: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The choices that made a difference, and the libraries."""
    options = provenance.get("options")
    if isinstance(options, dict):
        made = {name: options.get(name) for name in _CHOICES}
        told = [f"{n.replace('_', ' ')} {_option(v)}" for n, v in made.items() if _told(v)]
        if told:
            yield "made with", together(told)
    refused = provenance.get("refused")
    if isinstance(refused, int) and refused:
        yield "left out", number_of(refused, "bad picture")
    made_by = provenance.get("made_by")
    if isinstance(made_by, dict):
        yield "made by", together(f"{name} {version}" for name, version in made_by.items())


# What is told of features, line by line, and under which names the file has it.
_FEATURES = {
    "model": ("model", "code", "version", "pool", "dtype", "batch_size"),
    "weights": ("weights",),
    "pictures": ("preprocessing", "transform"),
    "computed by": ("device", "precision", "threads", "libraries"),
}


def _of_features(provenance: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Model, weights, preprocessing and source of a file of features."""
    features, source = provenance.get("features"), provenance.get("source")
    if not isinstance(features, dict):
        return
    for name, parts in _FEATURES.items():
        alone = len(parts) == 1
        found = [
            text
            for part in parts
            for text in _flat("" if alone or part == name else part, features.get(part))
        ]
        if found:
            yield name, together(found)
    if isinstance(features.get("layers"), dict):
        yield "layers", together(_layers(features["layers"]))
    if isinstance(source, dict):
        yield "source", together(_flat("", source))


def _layers(layers: dict[str, Any]) -> Iterator[str]:
    """Which layer each of the data sets holds."""
    for name in sorted(layers, key=_main):
        layer = "the model's default" if layers[name] is None else str(layers[name])
        yield layer if name == "features" else f"{layer} in {name!r}"


def _flat(name: str, value: Any) -> list[str]:
    """What is there of something, in words, tables within it part by part."""
    if isinstance(value, dict):
        return [text for key in sorted(value, key=_main) for text in _flat(key, value[key])]
    if value is None or value == []:
        return []
    if isinstance(value, list):
        value = " ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in value)
    words = name.replace("_", " ")
    return [f"{words} {value}" if words and words != "name" else str(value)]


def _main(name: str) -> tuple[bool, str]:
    """The first layer and the name of something come first."""
    return name not in ("features", "name"), name


def _told(value: Any) -> bool:
    """Whether a choice made a difference; the seed 0 does."""
    return value not in (None, {}, "header") and value is not False


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
