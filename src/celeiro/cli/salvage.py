"""`celeiro salvage`: what is sound of a damaged file, into a new one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from celeiro.care.salvage import MOST_FINDINGS
from celeiro.care.salvage import salvage as save
from celeiro.cli import options as option
from celeiro.cli.progress import watched
from celeiro.cli.verify import where
from celeiro.cli.words import number_of, print_json, print_out, size_of, time_of
from celeiro.errors import OptionError
from celeiro.format.bfloat16 import type_of

if TYPE_CHECKING:
    from celeiro.care.salvage import Salvaged
    from celeiro.format.bfloat16 import StoredType

_HOW = {
    "read": "",
    "mended": ", past what HDF5 cannot read",
    "carved": ", found by their own structure",
}


def salvage(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The damaged file; only read.")],
    out: option.Out,
    shape: Annotated[
        str | None,
        typer.Option(metavar="HxWxC", help="Of one sample of pixels, if not even that is left."),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(metavar="TYPE", help="Of its values, with --shape. [default: uint8]"),
    ] = None,
    overwrite: option.Overwrite = False,
    fresh: option.Fresh = False,
    list_all: Annotated[
        bool, typer.Option("--all", help=f"List all losses, not the first {MOST_FINDINGS:,}.")
    ] = False,
    workers: option.Workers = None,
    quiet: option.NoProgress = False,
    as_json: option.AsJson = False,
) -> None:
    """Keep every sound sample of a damaged file, and tell what is lost.

    Also where HDF5 refuses to open it: cut short, or its first bytes gone.

    Example:

      celeiro salvage broken.h5 saved.h5
    """
    sides, kind = _shape(shape), _dtype(dtype, shape)
    with watched(quiet=quiet) as watch:
        watch.begin(f"saving {file}")
        saved = save(
            file, out, shape=sides, dtype=kind, overwrite=overwrite, fresh=fresh,
            most=None if list_all else MOST_FINDINGS, workers=workers, on_progress=watch,
        )  # fmt: skip
    if as_json:
        print_json(saved.to_json())
    else:
        _tell(saved)


def _shape(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    if not re.fullmatch(r"[1-9]\d{0,8}(x[1-9]\d{0,8}){0,7}", text):
        raise OptionError(f"--shape {text!r}: wanted the sides of one sample, such as 256x256x3.")
    return tuple(int(side) for side in text.split("x"))


def _dtype(text: str | None, shape: str | None) -> StoredType | None:
    if text is None:
        return None
    if shape is None:
        raise OptionError("--dtype goes with --shape: both are of one sample of pixels.")
    try:
        found = type_of(text)
    except OptionError:
        found = np.dtype(object)
    if found.kind not in "buifc":
        raise OptionError(f"--dtype {text!r}: wanted a type of numbers, such as uint8 or float32.")
    return found


def _tell(saved: Salvaged) -> None:
    of = "" if saved.samples is None else f" of {saved.samples:,}"
    print_out(
        f"{saved.out}: {saved.kept:,}{of} samples saved as {saved.store}{_HOW[saved.how]}, "
        f"{size_of(saved.file_bytes)}, in {time_of(saved.seconds)}"
    )
    print_out(f"  with them: {', '.join(saved.columns) or 'nothing else'}")
    if saved.faults:
        print_out(f"  {number_of(saved.faults, 'fault')} in {saved.path}:")
    for finding in saved.findings:
        print_out(f"    {where(finding)}: {finding.problem}")
    hidden = saved.faults - len(saved.findings)
    if hidden:
        print_out(f"    … and {hidden:,} more (--all lists them)")
    for remark in saved.remarks:
        print_out(f"  note: {remark}")
