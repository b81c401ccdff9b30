"""`celeiro pack`: from pictures to one HDF5 file."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celeiro.cli.progress import watched
from celeiro.cli.words import counts, print_out, say, size_of, time_of
from celeiro.errors import OptionError
from celeiro.format.pictures import DEFAULT_MAX_PIXELS
from celeiro.packing import estimate as estimates
from celeiro.packing import pack as packing
from celeiro.packing.options import PackOptions, parse_size, parse_split
from celeiro.packing.pipeline import available_cores
from celeiro.packing.work import work_folder

if TYPE_CHECKING:
    from celeiro.packing.estimate import Forecast
    from celeiro.packing.outcome import Progress
    from celeiro.packing.report import Report


def pack(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="Folder, or manifest (.csv, .jsonl, .parquet).")
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="The HDF5 file to make.")],
    size: Annotated[
        str | None,
        typer.Option(
            help="HEIGHTxWIDTH, or one number for a square; without it pictures keep their sizes."
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="pixels, jpeg, lossless or encoded [default: encoded; with --size pixels]."
        ),
    ] = None,
    resize: Annotated[
        str,
        typer.Option(
            help="stretch; crop (cover, keep the centre); pad (whole picture, zeros around); "
            "fit (pad, never enlarged)."
        ),
    ] = "stretch",
    labels: Annotated[str, typer.Option(help="auto, folder, name, none, or a manifest.")] = "auto",
    label_pattern: Annotated[
        str | None,
        typer.Option(help="Regular expression with one group, searched in each path: the class."),
    ] = None,
    key: Annotated[str, typer.Option(help="Name of the samples' data set.")] = "imagens",
    bgr: Annotated[bool, typer.Option("--bgr", help="Blue first, as OpenCV reads.")] = False,
    gray: Annotated[bool, typer.Option("--gray", help="One channel.")] = False,
    quality: Annotated[int, typer.Option(help="Of JPEGs made here, 1 to 100.")] = 90,
    subsampling: Annotated[str, typer.Option(help="Of JPEGs made here: 444, 422, 420.")] = "420",
    compressor: Annotated[str, typer.Option(help="Of lossless: zstd or gzip.")] = "zstd",
    max_side: Annotated[
        int | None,
        typer.Option(
            help="With encoded: pictures with a longer side are shrunk and encoded again."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Such as train=0.8,val=0.1,test=0.1; stratified by class.")
    ] = None,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Store in random order.")] = False,
    seed: Annotated[int, typer.Option(help="Of --split and --shuffle.")] = 0,
    check: Annotated[
        str, typer.Option(help="header, or decode: every stored picture, and statistics of that.")
    ] = "header",
    max_pixels: Annotated[
        int, typer.Option(help="Larger pictures are refused before they are decoded.")
    ] = DEFAULT_MAX_PIXELS,
    on_error: Annotated[
        str,
        typer.Option(
            metavar="raise|skip|'quarantine DIR'",
            help="Stop at the first bad picture; leave bad ones out; or copy them to DIR as well.",
        ),
    ] = "raise",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Tell what would be packed, and each store's size and time."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT, once the new file is whole.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Throw away what an interrupted run packed.")
    ] = False,
    workers: Annotated[int | None, typer.Option(help="Threads [default: cores].")] = None,
    buffer_size: Annotated[int, typer.Option(help="Samples in memory at once.")] = 500,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Pack pictures into one plain HDF5 file.

    Nothing stands under OUT until the file is whole; stopped or killed, the same command goes on.

    Example:

      celeiro pack photos/ photos.h5 --size 256 --store jpeg --split train=0.9,val=0.1
    """
    action, folder = _on_error(on_error)
    choices: dict[str, Any] = {
        "size": size, "store": store, "key": key, "resize": resize, "color": _color(bgr, gray),
        "quality": quality, "subsampling": subsampling, "compressor": compressor,
        "max_side": max_side, "split": split, "shuffle": shuffle, "seed": seed,
        "check": check, "max_pixels": max_pixels,
    }  # fmt: skip
    named: dict[str, Any] = {"labels": labels, "label_pattern": label_pattern}
    if dry_run:
        _forecast(source, choices, named, workers or available_cores(), as_json)
        return
    last: list[Progress] = []
    with watched("packing", quiet=quiet or as_json) as show:

        def on_progress(progress: Progress) -> None:
            if not last and progress.resumed and not quiet:
                say(f"going on at picture {progress.resumed + 1:,} of {progress.total:,}")
            if not last and not quiet:
                _hint(source, choices, named, progress)
            last[:] = [progress]
            if show:
                show(progress)

        try:
            report = packing.pack(
                source, out, **choices, **named, on_error=action, quarantine=folder,
                overwrite=overwrite, fresh=fresh, workers=workers, buffer_size=buffer_size,
                on_progress=on_progress,
            )  # fmt: skip
        except KeyboardInterrupt:
            if last:
                done = f"{last[0].done:,} of {last[0].total:,} pictures are packed"
                kept = work_folder(Path(out))
                say(f"celeiro: stopped. {done} and kept in {kept}; the same command goes on.")
                sys.exit(130)
            raise
    if as_json:
        print_out(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
    elif not quiet:
        _tell(report)


def joined(arguments: list[str]) -> list[str]:
    """Arguments with ``--on-error quarantine DIR`` as one value, as an option takes it.

    Examples
    --------
    >>> joined(["pack", "--on-error", "quarantine", "bad/", "src", "out.h5"])
    ['pack', '--on-error', 'quarantine bad/', 'src', 'out.h5']
    """
    made: list[str] = []
    for argument in arguments:
        if made[-2:] == ["--on-error", "quarantine"] or made[-1:] == ["--on-error=quarantine"]:
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


def _options(choices: dict[str, Any]) -> PackOptions:
    """The choices of the command line, as the library takes them."""
    size = None if choices["size"] is None else parse_size(choices["size"])
    store = choices["store"] or ("encoded" if size is None else "pixels")
    return PackOptions(**choices | {
        "size": size, "store": store, "split": parse_split(choices["split"]),
    })  # fmt: skip


def _hint(source: str, choices: dict[str, Any], named: dict[str, Any], progress: Progress) -> None:
    """With the article's store, one line on what JPEGs would weigh."""
    options = _options(choices)
    if options.store != "pixels" or options.color == "BGR" or progress.resumed:
        return
    job = packing.prepare(source, replace(options, store="jpeg"), **named)
    guess = estimates.estimate(job, workers=available_cores(), sample=24, seconds=0.5)
    raw = packing.raw_size(job)
    if guess.file_bytes:
        say(
            f"pixels: {size_of(raw)}. The same pictures with --store jpeg would take about "
            f"{size_of(guess.file_bytes)}, and be sliced alike."
        )


def _forecast(
    source: str, choices: dict[str, Any], named: dict[str, Any], workers: int, as_json: bool
) -> None:
    told = estimates.forecast(
        lambda options: packing.prepare(source, options, **named),
        _options(choices),
        workers=workers,
    )
    if as_json:
        print_out(json.dumps(told.to_json(), indent=2, ensure_ascii=False))
        return
    for line in _forecast_lines(told):
        print_out(line)


def _forecast_lines(told: Forecast) -> list[str]:
    lines = [
        f"{told.pictures:,} pictures, {size_of(told.source_bytes)}; "
        f"{told.ignored:,} other files passed over"
    ]
    if told.classes:
        lines.append(f"classes (from {told.labels_from}): {counts(told.classes)}")
    else:
        lines.append("no classes")
    if told.splits:
        lines.append(f"splits: {counts(told.splits)}")
    lines.append(f"{'store':<12}{'size':>10}{'time':>10}{'pictures/s':>12}")
    for store in told.stores:
        mark = "*" if store.store == told.store else " "
        if store.why_not:
            lines.append(f"{mark}{store.store:<11}{store.why_not}")
            continue
        bad = f"   {store.refused} of {store.sampled} tried are bad" if store.refused else ""
        lines.append(
            f"{mark}{store.store:<11}{size_of(store.file_bytes):>10}"
            f"{time_of(store.seconds):>10}{store.rate:>12,.0f}{bad}"
        )
    lines.append("* as this command would make it; nothing was written")
    return lines


def _tell(report: Report) -> None:
    rate = f"{report.rate:,.0f}/s" if report.seconds else ""
    say(
        f"{report.path}: {report.samples:,} samples, store {report.store}, "
        f"{size_of(report.file_bytes)} in {time_of(report.seconds)} ({rate})"
    )
    parts = []
    if report.source_bytes:
        parts.append(f"{report.file_bytes / report.source_bytes:.2f} of the sources' size")
    if report.raw_bytes:
        parts.append(f"{report.file_bytes / report.raw_bytes:.3f} of raw pixels")
    if report.classes:
        parts.append(counts(report.classes))
    if report.splits:
        parts.append(counts(report.splits))
    if report.ignored:
        parts.append(f"{report.ignored:,} other files passed over")
    if parts:
        say("  " + " · ".join(parts))
    for name, reason in report.refused[:20]:
        say(f"  left out: {name}: {reason}")
    if len(report.refused) > 20:
        say(f"  … {len(report.refused):,} left out in all; --json lists every one")
