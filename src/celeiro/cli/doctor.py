"""`celeiro doctor`: what is wrong with a file, what it costs, and the command that helps."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from celeiro.care.doctor import doctor as diagnose
from celeiro.cli import options as option
from celeiro.cli.words import number_of, print_json, print_out, size_of, table, time_of, together

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celeiro.care.doctor import Diagnosis
    from celeiro.care.measuring.costs import Cost

_WIDTH = 26


def doctor(
    file: option.File,
    key: option.SamplesKey = None,
    labels: Annotated[
        str | None, typer.Option(metavar="NAME", help="Data set of the labels.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(metavar="S", help="Of each measurement; there are about ten.")
    ] = 1.0,
    workers: option.Workers = None,
    as_json: option.AsJson = False,
) -> None:
    """Tell what makes a file slow or large, measured here, and the command that helps.

    Reads a sample of it, changes nothing.

    Example:

      celeiro doctor photos.h5
    """
    with _without_advice_to_call_us():
        found = diagnose(file, key, labels=labels, seconds=seconds, workers=workers)
    if as_json:
        print_json(found.to_json())
        return
    for line in table(_lines(found)):
        print_out(line)
    print_out("")
    for line in _epochs(found):
        print_out(line)


@contextmanager
def _without_advice_to_call_us() -> Iterator[None]:
    """Opening a file that HDF5 must read warns, and says to ask the doctor: that is us."""
    log = logging.getLogger("celeiro.reading.layouts")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _lines(found: Diagnosis) -> Iterator[tuple[str, str]]:
    yield "verdict", found.verdict
    if found.command:
        yield "command", together([found.command])  # to be copied from one line
    for finding in found.findings:
        yield "finding", finding
    made = "HDF5, not made by celeiro" if found.store == "hdf5" else f"celeiro, {found.store}"
    yield "file", f"{found.path}, {size_of(found.file_bytes)}, {made}"
    yield "samples", _samples(found)
    yield "layout", _layout(found)
    if found.values is not None and found.values.low is not None:
        yield "values", _values(found)
    order = f"{found.colors.order}: " if found.colors.order else ""
    yield "channels", f"{order}{found.colors.why}"
    if found.labels is not None:
        yield "labels", _labels(found)


def _samples(found: Diagnosis) -> str:
    kind = f"{found.dtype} in {found.key!r}"
    if None in found.shape:
        return f"{found.shape[0]:,} of many sizes, {kind}"
    return f"{' × '.join(f'{side:,}' for side in found.shape)} {kind}"


def _layout(found: Diagnosis) -> str:
    layout = found.layout
    parts = [layout.form]
    if layout.chunks is not None:
        parts.append(f"{' × '.join(map(str, layout.chunks))} a chunk")
        parts.append(f"{number_of(layout.samples_a_chunk or 0, 'sample')} a chunk")
        parts.append(f"{number_of(layout.chunks_a_sample or 0, 'chunk')} a sample")
    if layout.filters:
        parts.append(f"through {' + '.join(layout.filters)}")
    parts.append(f"{size_of(layout.stored_bytes)} for {size_of(layout.raw_bytes)} of values")
    return ", ".join(parts)


def _values(found: Diagnosis) -> str:
    values = found.values
    assert values is not None
    what = f", {values.what}" if values.what else ""
    return f"{values.low:g} to {values.high:g}{what}, in the samples that were read"


def _labels(found: Diagnosis) -> str:
    labels = found.labels
    assert labels is not None
    return (
        f"{labels.classes:,} classes; {100 * labels.alike:.3g} % of neighbours are alike, "
        f"{100 * labels.chance:.3g} % would be by chance"
    )


def _epochs(found: Diagnosis) -> Iterator[str]:
    yield f"  {'a shuffled epoch':<{_WIDTH}}{'size':>9}{'time':>10}{'samples/s':>12}"
    yield from (_row(cost, " ") for cost in found.epochs)
    yield "  after celeiro repack"
    for cost in found.stores:
        yield _row(cost, "*" if cost.way == found.recommended else " ")
    yield ""
    tried = max((cost.tried for cost in found.epochs), default=0)
    if found.command:
        yield "* recommended: it gives every value again"
    if tried:
        yield "jpeg is of quality 90; times are without waiting for the disk, from a sample"


def _row(cost: Cost, mark: str) -> str:
    name = f"{mark} {cost.way:<{_WIDTH}}"
    if cost.why_not:
        return f"{name} {cost.why_not}"
    return f"{name}{size_of(cost.file_bytes):>9}{time_of(cost.seconds):>10}{cost.rate:>12,.0f}"
