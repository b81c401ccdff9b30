"""`celeiro verify`: is a file sound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from celeiro.care.checking.verdict import printed
from celeiro.care.verify import MOST_FINDINGS
from celeiro.care.verify import verify as look_at
from celeiro.cli import options as option
from celeiro.cli.progress import watched
from celeiro.cli.words import number_of, print_json, print_out, rate_of, size_of, time_of

if TYPE_CHECKING:
    from celeiro.care.checking.verdict import Finding, Verdict


def verify(
    file: option.File,
    against: Annotated[
        str | None,
        typer.Option(metavar="SRC", help="Compare with the pictures that it was packed from."),
    ] = None,
    decode: Annotated[bool, typer.Option("--decode", help="Decode every sample as well.")] = False,
    key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of a foreign file: look at this data set alone."),
    ] = None,
    list_all: Annotated[
        bool, typer.Option("--all", help=f"List all faults, not the first {MOST_FINDINGS:,}.")
    ] = False,
    workers: option.Workers = None,
    quiet: option.NoProgress = False,
    as_json: option.AsJson = False,
) -> None:
    """See whether a file is sound, and name each sample that is not.

    Structure, every offset, every checksum; of files that are not celeiro's, whether all decodes.
    Exit code 0 if it is sound, 1 if it is not.

    Example:

      celeiro verify photos.h5
    """
    with watched(quiet=quiet) as watch:
        watch.begin(f"checking {file}")
        verdict = look_at(
            file, against=against, decode=decode, key=key,
            most=None if list_all else MOST_FINDINGS, workers=workers, on_progress=watch,
        )  # fmt: skip
    if as_json:
        print_json(verdict.to_json())
    else:
        _tell(verdict)
    if not verdict.sound:
        raise typer.Exit(1)


def _tell(verdict: Verdict) -> None:
    print_out(f"{verdict.path}: {_answer(verdict)}")
    for finding in verdict.findings:
        print_out(f"  {where(finding)}: {finding.problem}")
    hidden = verdict.faults - len(verdict.findings)
    if hidden:
        print_out(f"  … and {hidden:,} more (--all lists them)")
    for remark in verdict.remarks:
        print_out(f"  note: {remark}")


def _answer(verdict: Verdict) -> str:
    seen = f"{number_of(verdict.checked, 'sample')}, {size_of(verdict.bytes_checked)}"
    rate = verdict.checked / verdict.seconds if verdict.seconds else 0.0
    how = f"{seen}, in {time_of(verdict.seconds)} ({rate_of(rate)})"
    if verdict.sound:
        return f"sound: {how}"
    return (
        f"NOT sound: {number_of(verdict.faults, 'fault')}, {verdict.bad:,} of "
        f"{number_of(verdict.samples, 'sample')} damaged; {how}"
    )


def where(finding: Finding) -> str:
    """What a fault is about, for people."""
    if finding.sample is None:
        return "the file" if finding.name == "/" else printed(finding.name)
    key = "" if finding.key is None else f" ({printed(finding.key)})"
    return f"{printed(finding.name)}, sample {finding.sample:,}{key}"
