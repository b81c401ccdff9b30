"""`celeiro repack`: from any dataset to any store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celeiro.cli import options as option
from celeiro.cli.pack import tell, tell_stopped
from celeiro.cli.progress import watched
from celeiro.cli.words import print_json, say
from celeiro.errors import OptionError
from celeiro.format.pictures import DEFAULT_MAX_PIXELS
from celeiro.packing.work import unfinished

if TYPE_CHECKING:
    from celeiro.packing.outcome import Progress
    from celeiro.reading.dataset import Dataset


def repack(
    source: Annotated[str, typer.Argument(metavar="IN", help="Any HDF5 dataset of samples.")],
    out: option.Out,
    store: Annotated[
        str,
        typer.Option(
            metavar="pixels|jpeg|lossless|encoded", help="How samples stand in the new file."
        ),
    ],
    size: Annotated[
        str | None,
        typer.Option(metavar="HxW", help="Height and width, such as 256x320. [default: as it is]"),
    ] = None,
    resize: option.Resize = "stretch",
    dtype: Annotated[
        str | None,
        typer.Option(metavar="TYPE", help="Such as uint8; no value is rounded to fit."),
    ] = None,
    scale: Annotated[
        float,
        typer.Option(metavar="X", help="Multiply by it first: 255 makes bytes of floats to 1."),
    ] = 1.0,
    from_key: option.FromKey = None,
    labels: Annotated[
        str | None, typer.Option(metavar="NAME", help="The labels' data set in IN.")
    ] = None,
    only: option.Only = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The samples' data set in OUT. [default: as it is]"),
    ] = None,
    bgr: option.Bgr = False,
    quality: option.Quality = 90,
    subsampling: option.Subsampling = "420",
    compressor: option.Compressor = "zstd",
    max_side: option.MaxSide = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=FRACTION,...", help="Draw new splits, each class alike; the old ones go."
        ),
    ] = None,
    shuffle: option.Shuffle = False,
    seed: option.Seed = 0,
    check: option.Check = "header",
    max_pixels: option.MaxPixels = DEFAULT_MAX_PIXELS,
    on_error: option.OnDamage = "raise",
    overwrite: option.Overwrite = False,
    fresh: option.Fresh = False,
    workers: option.Workers = None,
    quiet: option.Quiet = False,
    as_json: option.ReportAsJson = False,
) -> None:
    """Write the samples of any HDF5 dataset into a new file, in any store.

    Labels, keys, splits and fields go along. Stopped or killed, the same command goes on.

    Example:

      celeiro repack old.h5 new.h5 --store jpeg --size 256
    """
    from celeiro.care.repack import refuse_source
    from celeiro.care.repack import repack as repack_dataset
    from celeiro.reading.dataset import open as open_dataset

    if on_error not in ("raise", "skip"):
        raise OptionError(f"--on-error {on_error!r}: wanted raise or skip.")
    target = Path(os.path.abspath(out))
    refuse_source(Path(source), target)  # and not told to be overwritten
    unfinished(target, overwrite=overwrite)  # a name that is taken is told at once
    choices: dict[str, Any] = {
        "store": store, "size": size, "dtype": dtype, "scale": scale, "key": key,
        "resize": resize, "color": "BGR" if bgr else None, "quality": quality,
        "subsampling": subsampling, "compressor": compressor, "max_side": max_side,
        "split": split, "shuffle": shuffle, "seed": seed, "check": check,
        "max_pixels": max_pixels, "on_error": on_error, "overwrite": overwrite, "fresh": fresh,
        "workers": workers,
    }  # fmt: skip
    seen: list[Progress] = []
    try:
        with watched(quiet=quiet) as watch, open_dataset(source, from_key, labels=labels) as whole:
            ds = whole if only is None else _split(whole, only)
            watch.begin("packing")

            def show(progress: Progress) -> None:
                if not seen:
                    seen.append(progress)
                    if progress.resumed and not quiet:
                        say(f"going on at sample {progress.resumed + 1:,} of {progress.total:,}")
                watch(progress)

            report = repack_dataset(ds, target, on_progress=show, **choices)
    except KeyboardInterrupt:
        tell_stopped(target, seen)
        raise typer.Exit(130) from None
    if as_json:
        print_json(report.to_json())
    elif not quiet:
        tell(report)


def _split(whole: Dataset, name: str) -> Dataset:
    try:
        return whole.split(name)
    except KeyError as error:
        raise OptionError(str(error.args[0])) from None
