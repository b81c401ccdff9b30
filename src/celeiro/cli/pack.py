"""`celeiro pack`: from pictures to one HDF5 file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from celeiro.cli import options as option
from celeiro.cli.forecast import tell_forecast
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
from celeiro.format.pictures import DEFAULT_MAX_PIXELS
from celeiro.packing import pack as packing
from celeiro.packing.estimate import estimate, forecast
from celeiro.packing.work import unfinished, work_folder
from celeiro.storage.local import available_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celeiro.cli.progress import Watch
    from celeiro.packing.job import Job
    from celeiro.packing.outcome import Progress
    from celeiro.packing.report import Report

# Classes that are counted one by one when all is done; --json and --dry-run tell more.
_MOST_CLASSES = 8


def pack(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="Folder, or manifest (.csv, .jsonl, .parquet).")
    ],
    out: option.Out,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help="Height and width, such as 256x320, or one number for a square; without it "
            "pictures keep their sizes.",
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="pixels|jpeg|lossless|encoded",
            help="How pictures stand in the file. [default: encoded; with --size: pixels]",
        ),
    ] = None,
    resize: option.Resize = "stretch",
    labels: Annotated[
        str,
        typer.Option(
            metavar="auto|folder|name|none|MANIFEST",
            help="The first folder's name; the text before the first dot of the file's name; "
            "none; or the columns of a table.",
        ),
    ] = "auto",
    label_pattern: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX", help="With one group, searched in each path: the group is the class."
        ),
    ] = None,
    key: Annotated[
        str, typer.Option(metavar="NAME", help="Of the data set of the pictures.")
    ] = "imagens",
    bgr: option.Bgr = False,
    gray: Annotated[bool, typer.Option("--gray", help="One channel.")] = False,
    quality: option.Quality = 90,
    subsampling: option.Subsampling = "420",
    compressor: option.Compressor = "zstd",
    max_side: option.MaxSide = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=FRACTION,...",
            help="Draw splits, each class alike, such as train=0.8,val=0.1,test=0.1.",
        ),
    ] = None,
    shuffle: option.Shuffle = False,
    seed: option.Seed = 0,
    check: option.Check = "header",
    max_pixels: option.MaxPixels = DEFAULT_MAX_PIXELS,
    on_error: Annotated[
        str,
        typer.Option(
            metavar="raise|skip|quarantine DIR",
            help="Stop at the first bad picture; leave bad ones out; or copy them to DIR as well.",
        ),
    ] = "raise",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Tell what would be packed, and each store's size and time; write nothing.",
        ),
    ] = False,
    overwrite: option.Overwrite = False,
    fresh: option.Fresh = False,
    workers: option.Workers = None,
    buffer_size: Annotated[
        int, typer.Option(metavar="N", help="Pictures in memory at once, at most.")
    ] = 500,
    quiet: option.Quiet = False,
    as_json: option.ReportAsJson = False,
) -> None:
    """Pack pictures into one plain HDF5 file.

    Nothing stands under OUT until the file is whole; stopped or killed, the same command goes on.

    Example:

      celeiro pack photos/ photos.h5 --size 256 --store jpeg
    """
    options = packing.options_of(
        source, size=size, store=store, key=key, resize=resize, color=_color(bgr, gray),
        quality=quality, subsampling=subsampling, compressor=compressor, max_side=max_side,
        split=split, shuffle=shuffle, seed=seed, check=check, max_pixels=max_pixels,
    )  # fmt: skip
    action, folder = _on_error(on_error)
    how = packing.how_of(
        workers=workers, buffer_size=buffer_size, on_error=action, quarantine=folder
    )
    target = Path(os.path.abspath(out))
    if not dry_run:
        unfinished(target, overwrite=overwrite)  # a name that is taken is told at once
    seen: list[Progress] = []
    try:
        with watched(quiet=quiet) as watch:
            watch.begin(f"listing {source}")
            job = packing.prepare(source, options, labels=labels, label_pattern=label_pattern)
            if dry_run:
                watch.begin("trying each store")
                told = forecast(job, workers=how.workers)
            else:
                watch.begin("packing")
                showing = replace(how, on_progress=_shower(job, watch, seen, quiet=quiet))
                report = packing.pack_job(job, target, showing, overwrite=overwrite, fresh=fresh)
    except KeyboardInterrupt:
        tell_stopped(target, seen)
        raise typer.Exit(130) from None
    if dry_run:
        tell_forecast(told, source, target, as_json=as_json)
    elif as_json:
        print_json(report.to_json())
    elif not quiet:
        tell(report)


def joined(arguments: list[str]) -> list[str]:
    """Arguments with ``--on-error quarantine DIR`` as one value, as an option takes it.

    Examples
    --------
    >>> joined(["pack", "--on-error", "quarantine", "bad/", "src", "out.h5"])
    ['pack', '--on-error', 'quarantine bad/', 'src', 'out.h5']
    """
    made: list[str] = []
    for argument in arguments:
        asked = made[-2:] == ["--on-error", "quarantine"] or made[-1:] == ["--on-error=quarantine"]
        if asked and not argument.startswith("-"):
            made[-1] += f" {argument}"
        else:
            made.append(argument)
    return made


def _on_error(text: str) -> tuple[str, str | None]:
    action, _, folder = text.partition(" ")
    if action == "quarantine" and not folder.strip():
        raise OptionError(
            "--on-error quarantine: wanted a folder to copy bad pictures to, "
            "as in --on-error quarantine bad/."
        )
    return action, folder.strip() or None


def _color(bgr: bool, gray: bool) -> str:
    if bgr and gray:
        raise OptionError("--bgr and --gray: one picture has three channels or one. Choose one.")
    return "GRAY" if gray else "BGR" if bgr else "RGB"


def _shower(
    job: Job, watch: Watch, seen: list[Progress], *, quiet: bool
) -> Callable[[Progress], None]:
    """What is told while packing: once how it begins, and again and again how far it is."""

    def show(progress: Progress) -> None:
        if not seen:
            seen.append(progress)
            if not quiet:
                _tell_begin(job, progress)
        watch(progress)

    return show


def _tell_begin(job: Job, progress: Progress) -> None:
    """Where an earlier run stopped; or, with the article's store, what JPEGs would weigh."""
    options = job.plan.options
    if progress.resumed:
        say(f"going on at picture {progress.resumed + 1:,} of {progress.total:,}")
    elif options.store == "pixels" and options.color != "BGR":
        jpeg = packing.with_options(job, store="jpeg")
        guess = estimate(jpeg, workers=available_cores(), sample=24, seconds=0.5)
        if guess.file_bytes:
            say(
                f"pixels take {size_of(packing.raw_size(job))}; the same pictures with "
                f"--store jpeg would take about {size_of(guess.file_bytes)}, and be sliced alike"
            )


def tell_stopped(target: Path, seen: list[Progress], what: str = "pictures") -> None:
    """How far it came, and how to go on."""
    if not seen:
        say("celeiro: stopped before packing began.")
        return
    of = "" if seen[0].total is None else f" of {seen[0].total:,}"
    say(
        f"celeiro: stopped. {seen[0].done:,}{of} {what} are packed and kept in "
        f"{work_folder(target)}; the same command goes on."
    )


def tell(report: Report) -> None:
    """What was packed, and what was left out."""
    say(
        f"{report.path}: {number_of(report.samples, 'picture')} as {report.store}, "
        f"{size_of(report.file_bytes)}, in {time_of(report.seconds)} ({rate_of(report.rate)})"
    )
    for line in table(_lines(report)):
        say(f"  {line}")
    for name, reason in report.refused:
        say(f"    {name}: {reason}")


def _lines(report: Report) -> Iterator[tuple[str, str]]:
    sizes = {"the sources'": report.source_bytes, "raw pixels'": report.raw_bytes}
    shares = (
        f"{share_of(report.file_bytes, size)} {what} {size_of(size)}"
        for what, size in sizes.items()
        if size
    )
    yield "size", together(shares)
    if report.classes:
        yield "classes", counts(report.classes, _MOST_CLASSES)
    if report.splits:
        yield "splits", counts(report.splits, _MOST_CLASSES)
    if report.ignored:
        yield "passed over", f"{number_of(report.ignored, 'file')}, hidden or no pictures"
    if report.resumed:
        yield "resumed", f"{report.resumed:,} were done by an earlier run"
    if report.refused:
        yield "left out", f"{number_of(len(report.refused), 'bad picture')}:"
