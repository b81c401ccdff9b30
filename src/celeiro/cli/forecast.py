"""What `celeiro pack --dry-run` prints."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from celeiro.cli.words import (
    counts,
    number_of,
    print_json,
    print_out,
    size_of,
    table,
    time_of,
)
from celeiro.packing.work import work_folder
from celeiro.storage import local

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celeiro.packing.estimate import Estimate, Forecast

_LABELS = {
    "folder": "from the folders",
    "name": "from the files' names",
    "manifest": "from the manifest",
    "none": "none",
}
_MOST_CLASSES = 200
_MOST_BAD = 10


def tell_forecast(told: Forecast, source: str, out: Path, *, as_json: bool) -> None:
    """Print a forecast: as JSON, or as tables."""
    if as_json:
        print_json(told.to_json())
        return
    for line in table(_about(told, source)):
        print_out(line)
    print_out("")
    print_out(f"  {'store':<10}{'size':>9}{'time':>10}{'pictures/s':>12}")
    for store in told.stores:
        mark = "*" if store.store == told.store else " "
        print_out(f"{mark} {store.store:<10}{_row(store)}")
    print_out("")
    print_out("* what this command would make; times are without waiting for the disk")
    for line in _bad(told):
        print_out(line)
    print_out(f"nothing was written; {_place(out)}")


def _about(told: Forecast, source: str) -> Iterator[tuple[str, str]]:
    yield "source", source
    yield "pictures", f"{told.pictures:,}, {size_of(told.source_bytes)}"
    if told.ignored:
        yield "passed over", f"{number_of(told.ignored, 'file')}, hidden or no pictures"
    if told.classes:
        yield "classes", counts(told.classes, _MOST_CLASSES)
    yield "labels", _LABELS[told.labels_from]
    if told.splits:
        yield "splits", counts(told.splits, _MOST_CLASSES)
    if told.fields:
        yield "also", ", ".join(told.fields)


def _row(store: Estimate) -> str:
    if store.why_not:
        return f" {store.why_not}"
    return f"{size_of(store.file_bytes):>9}{time_of(store.seconds):>10}{store.rate:>12,.0f}"


def _bad(told: Forecast) -> Iterator[str]:
    """The bad pictures that came up, with the store that would be made."""
    made = next(store for store in told.stores if store.store == told.store)
    if not made.bad:
        return
    yield f"{len(made.bad):,} of the {made.sampled:,} pictures tried are bad:"
    for name, reason in made.bad[:_MOST_BAD]:
        yield f"  {name}: {reason}"
    if len(made.bad) > _MOST_BAD:
        yield f"  … and {len(made.bad) - _MOST_BAD:,} more, which --json lists"


def _place(out: Path) -> str:
    """What stands where the file would."""
    if os.path.lexists(out):
        return f"{out} is there already: --overwrite would replace it"
    if work_folder(out).is_dir():
        return f"{work_folder(out)} holds unfinished work, which the same command goes on with"
    if not out.parent.is_dir():
        return f"the folder {out.parent} is not there yet"
    return f"{size_of(local.free_bytes(out.parent))} are free for {out}"
