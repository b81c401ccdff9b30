"""`celeiro bench`: how fast a file is read here, beside what this machine could do at best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from celeiro.care.bench import bench as measure
from celeiro.care.measuring.pace import BATCH
from celeiro.cli import options as option
from celeiro.cli.words import print_json, print_out, say, size_of, table, time_of
from celeiro.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celeiro.care.bench import Bench
    from celeiro.care.measuring.figures import Order, Spread

_WIDTH = 54


def bench(
    file: option.File,
    key: option.SamplesKey = None,
    batch_size: Annotated[
        int, typer.Option(metavar="N", help="Samples of a batch; fewer where they are large.")
    ] = BATCH,
    seconds: Annotated[
        float, typer.Option(metavar="S", help="Of all measurements together, about.")
    ] = 10.0,
    workers: option.Workers = None,
    cache: Annotated[
        str | None,
        typer.Option(metavar="memory", help="Hold the file in memory, as celeiro.open can."),
    ] = None,
    cold: Annotated[
        bool,
        typer.Option("--cold", help="Have the system forget this file before each run (Linux)."),
    ] = False,
    as_json: option.AsJson = False,
) -> None:
    """Tell how fast a file is read here, beside this machine's own ceiling, and what limits it.

    Example:

      celeiro bench photos.h5
    """
    if cache not in (None, "memory"):
        raise OptionError(f"--cache {cache!r}: wanted memory.")
    if not as_json:
        say(f"measuring for about {time_of(seconds)}; other programs would be measured with it")
    choices: dict[str, Any] = {"cache": cache, "cold": cold}
    found = measure(file, key, batch_size=batch_size, seconds=seconds, workers=workers, **choices)
    if as_json:
        print_json(found.to_json())
        return
    _tell(found)


def _tell(found: Bench) -> None:
    for line in table(_about(found)):
        print_out(line)
    for order in found.orders:
        print_out("")
        for line in _rates(order):
            print_out(line)
    print_out("")
    for line in table(_moments(found)):
        print_out(line)
    for note in found.notes:
        print_out(f"note: {note}")


def _about(found: Bench) -> Iterator[tuple[str, str]]:
    shape = " × ".join("?" if side is None else f"{side:,}" for side in found.shape)
    kind = "HDF5, not made by celeiro" if found.store == "hdf5" else f"store {found.store}"
    yield "file", f"{found.path}, {kind}"
    yield "samples", f"{shape} {found.dtype}"
    where = "the file is forgotten before each run" if found.cold else "in the system's cache"
    if found.cache:
        where = "held in memory"
    yield "read", f"batches of {found.batch:,}, {found.workers} threads, {where}"
    for order in found.orders:
        who = {"celeiro": "celeiro itself", "unknown": "not known"}.get(order.limit, order.limit)
        yield "limit", f"{order.order}: {who}; {order.why}"


def _rates(order: Order) -> Iterator[str]:
    yield f"  {order.order:<{_WIDTH}}{'samples/s':>11}   half of the runs"
    yield f"  {'celeiro':<{_WIDTH}}{_rate(order.rate)}"
    for each in order.ceilings:
        yield f"  {each.stage + ': ' + each.what:<{_WIDTH}}{_rate(each.rate)}"
    if order.ratio is not None:
        ratio = order.ratio
        half = f"{ratio.low:.2f} – {ratio.high:.2f}"
        yield f"  {'of the lowest ceiling':<{_WIDTH}}{ratio.median:>11.2f}   {half}"
    stored = f", {size_of(order.stored_bytes)} of the file" if order.stored_bytes else ""
    yield f"  {size_of(order.value_bytes)} of values a second{stored}"


def _rate(rate: Spread) -> str:
    return f"{rate.median:>11,.0f}   {rate.low:,.0f} – {rate.high:,.0f}"


def _moments(found: Bench) -> Iterator[tuple[str, str]]:
    bare = "" if found.single_bare is None else f"; bare {_moment(found.single_bare)}"
    yield "one sample", f"{_moment(found.single)}{bare}"
    yield "first batch", _moment(found.first_batch)
    yield "opening", _moment(found.open)


def _moment(spread: Spread) -> str:
    """A short time with its spread.

    Examples
    --------
    >>> from celeiro.care.measuring.figures import Spread
    >>> _moment(Spread(25e-6, 24e-6, 0.031, 9))
    '25 µs (24 µs – 31 ms)'
    """
    return f"{_span(spread.median)} ({_span(spread.low)} – {_span(spread.high)})"


def _span(seconds: float) -> str:
    unit, name = (1e6, "µs") if seconds < 1e-3 else (1e3, "ms") if seconds < 1 else (1, "s")
    value = seconds * unit
    return f"{value:.2g} {name}" if value < 10 else f"{value:.0f} {name}"
