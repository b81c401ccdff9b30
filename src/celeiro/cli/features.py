"""`celeiro features`: what a trained network says of each sample, as a file of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celeiro.cli import options as option
from celeiro.cli.pack import tell_stopped
from celeiro.cli.progress import watched
from celeiro.cli.words import (
    counts,
    number_of,
    print_json,
    rate_of,
    say,
    share_of,
    size_of,
    table,
    time_of,
    together,
)
from celeiro.errors import OptionError
from celeiro.packing.work import unfinished

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celeiro.packing.outcome import Progress
    from celeiro.packing.report import Report
    from celeiro.reading.dataset import Dataset

_MOST_CLASSES = 50
FEATURES = "features"


def features(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC", help="Any HDF5 dataset of samples, or a folder of pictures, or a table."
        ),
    ],
    out: option.Out,
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL", help="timm:NAME, torchvision:NAME, keras:NAME, or onnx:FILE."
        ),
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Weights to load; no code in it is run. [default: the library's]"
        ),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A layer whose output is wanted; may be given again, and each but the first "
            "becomes a field. [default: what comes before the classifier]",
        ),
    ] = None,
    pool: Annotated[
        str,
        typer.Option(
            metavar="model|avg|flatten",
            help="How rows and columns become one: as in the model, their mean, or every value.",
        ),
    ] = "model",
    size: Annotated[
        str | None,
        typer.Option(metavar="HxW", help="Of pictures. [default: as the model was trained]"),
    ] = None,
    mean: Annotated[
        str | None, typer.Option(metavar="X,...", help="Of channels. [default: the same]")
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="X,...", help="Of channels. [default: the same]")
    ] = None,
    color: Annotated[
        str | None,
        typer.Option(metavar="RGB|BGR|GRAY", help="What the model takes. [default: the same]"),
    ] = None,
    interpolation: Annotated[
        str | None, typer.Option(metavar="FILTER", help="Of resizing. [default: the same]")
    ] = None,
    dtype: Annotated[
        str, typer.Option(metavar="float32|float16|bfloat16", help="Of features in OUT.")
    ] = "float32",
    device: Annotated[
        str | None,
        typer.Option(metavar="DEVICE", help="cpu, cuda or cuda:1. [default: a GPU, if there is]"),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="Of the model, on a CPU. [default: all cores]")
    ] = None,
    batch_size: Annotated[
        int, typer.Option(metavar="N", help="Samples that the model is given at a time.")
    ] = 64,
    from_key: option.FromKey = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The labels' data set in SRC; of a folder as `celeiro pack` has it.",
        ),
    ] = None,
    only: option.Only = None,
    on_error: option.OnDamage = "raise",
    overwrite: option.Overwrite = False,
    fresh: option.Fresh = False,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Threads that read and transform. [default: one a core]"),
    ] = None,
    quiet: option.Quiet = False,
    as_json: option.ReportAsJson = False,
) -> None:
    """Write what a trained network says of each picture into a new file, for a small classifier.

    Labels, keys, splits and fields go along. Stopped or killed, the same command goes on.

    Example:

      celeiro features photos.h5 features.h5 --model timm:resnet50
    """
    from celeiro.features.extract import extract_features, is_listed
    from celeiro.packing.options import parse_size

    if on_error not in ("raise", "skip"):
        raise OptionError(f"--on-error {on_error!r}: wanted raise or skip.")
    target = Path(os.path.abspath(out))
    unfinished(target, overwrite=overwrite)  # a name that is taken is told at once
    choices: dict[str, Any] = {
        "layers": layer or (), "pool": pool, "weights": weights,
        "size": None if size is None else parse_size(size), "mean": _numbers("--mean", mean),
        "std": _numbers("--std", std), "color": color, "interpolation": interpolation,
        "dtype": dtype, "device": device, "threads": threads, "batch_size": batch_size,
        "on_error": on_error, "overwrite": overwrite, "fresh": fresh, "workers": workers,
    }  # fmt: skip
    seen: list[Progress] = []
    try:
        with watched(quiet=quiet) as watch:
            watch.begin(f"opening {model}")

            def show(progress: Progress) -> None:
                if not seen:
                    watch.begin("features")
                    seen.append(progress)
                    if progress.resumed and not quiet:
                        say(f"going on at sample {progress.resumed + 1:,} of {progress.total:,}")
                watch(progress)

            choices["on_progress"] = show
            if is_listed(source):
                _refuse_of_folder(source, {"--from-key": from_key, "--only": only})
                report = extract_features(source, model, target, labels=labels or "auto", **choices)
            else:
                with _opened(source, from_key, labels, only) as ds:
                    report = extract_features(ds, model, target, **choices)
    except KeyboardInterrupt:
        tell_stopped(target, seen, "samples")
        raise typer.Exit(130) from None
    if as_json:
        print_json(report.to_json() | {"provenance": _provenance(report)})
    elif not quiet:
        _tell(report)


def _opened(source: str, key: str | None, labels: str | None, only: str | None) -> Dataset:
    from celeiro.reading.dataset import open as open_dataset

    whole = open_dataset(source, key, labels=labels)
    try:
        return whole if only is None else whole.split(only)
    except KeyError as error:
        whole.close()
        raise OptionError(str(error.args[0])) from None


def _refuse_of_folder(source: str, options: dict[str, str | None]) -> None:
    for name, value in options.items():
        if value is not None:
            raise OptionError(
                f"{name} {value!r} is of HDF5 files, and {source} is none. Leave it out, or pack "
                "the pictures first."
            )


def _numbers(option: str, text: str | None) -> float | tuple[float, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise OptionError(
            f"{option} {text!r}: wanted one number, or one for each channel as in "
            "0.485,0.456,0.406."
        ) from None
    return numbers if len(numbers) > 1 else numbers[0]


def _provenance(report: Report) -> Any:
    from celeiro.reading.info import describe

    return describe(report.path)["provenance"]


def _tell(report: Report) -> None:
    """What was made, and what was left out."""
    assert report.shape is not None
    say(
        f"{report.path}: {number_of(report.shape[0], 'feature')} of "
        f"{number_of(report.samples, 'sample')} as {report.dtype}, {size_of(report.file_bytes)}, "
        f"in {time_of(report.seconds)} ({rate_of(report.rate)})"
    )
    for line in table(_lines(report)):
        say(f"  {line}")
    for name, reason in report.refused:
        say(f"    {name}: {reason}")


def _lines(report: Report) -> Iterator[tuple[str, str]]:
    told = _provenance(report)["features"]
    yield "model", f"{told['model']}, batches of {told['batch_size']:,}"
    layers = told["layers"]
    if layers[FEATURES] is not None:
        further = [f"{name}: {layer}" for name, layer in layers.items() if name != FEATURES]
        yield "layers", together([f"{FEATURES}: {layers[FEATURES]}", *further])
    if report.source_bytes:
        share = share_of(report.file_bytes, report.source_bytes)
        yield "size", f"{share} the sources' {size_of(report.source_bytes)}"
    if report.classes:
        yield "classes", counts(report.classes, _MOST_CLASSES)
    if report.splits:
        yield "splits", counts(report.splits, _MOST_CLASSES)
    if report.resumed:
        yield "resumed", f"{report.resumed:,} were done by an earlier run"
    if report.refused:
        yield "left out", f"{number_of(len(report.refused), 'bad sample')}:"
