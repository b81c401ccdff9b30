"""`celeiro.salvage`: every sound sample of a damaged file, into a new one.

    HDF5 opens it       read      structure.py tells what is sound
    HDF5 refuses it     mended    as before, once it is shown groups that are whole
    no place is known   carved    pictures by their own structure, pixels by their shape

What is sound then goes through the machinery of packing: so the new file is an ordinary one, and
stands under its name only when it is whole. The damaged one is only read.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celeiro.care.checking.verdict import Finding, Findings
from celeiro.care.rescuing.rescue import Rescue
from celeiro.care.rescuing.rest import job_of
from celeiro.errors import FormatError, OptionError
from celeiro.packing.pack import how_of, pack_job
from celeiro.packing.work import unfinished
from celeiro.storage.local import File

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from celeiro.format.bfloat16 import Bfloat16
    from celeiro.packing.outcome import Progress


MOST_FINDINGS = 1000
"""Losses that are listed where the caller does not ask for more."""


@dataclass(frozen=True, slots=True)
class Salvaged:
    """The result of `celeiro.salvage`."""

    path: Path
    """The damaged file."""
    out: Path
    """The new one."""
    store: str
    """How its samples stand on disk."""
    how: str
    """``read``, ``mended`` or ``carved``."""
    samples: int | None
    """How many the damaged file once held; None where nothing is left that says so."""
    kept: int
    """How many are in the new one."""
    columns: tuple[str, ...]
    """What goes with them: labels, keys, and so on."""
    faults: int
    """All that is lost or damaged."""
    findings: tuple[Finding, ...]
    """Each of it; of very much only the first."""
    remarks: tuple[str, ...]
    """What is worth knowing."""
    file_bytes: int
    """Size of the new file."""
    seconds: float
    """Time that it took."""

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return asdict(self) | {
            "path": str(self.path),
            "out": str(self.out),
            "findings": [finding.to_json() for finding in self.findings],
        }


def salvage(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    shape: tuple[int, ...] | None = None,
    dtype: npt.DTypeLike | Bfloat16 | None = None,
    overwrite: bool = False,
    fresh: bool = False,
    most: int | None = MOST_FINDINGS,
    workers: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Salvaged:
    """Keep every sound sample of a damaged file of ours, and tell what is lost.

    Parameters
    ----------
    path
        The damaged file, which is only read.
    out
        The file to make.
    shape, dtype
        Of one sample of ``pixels``, where not even the header of the samples is left.
    most
        Losses that are listed; all are counted. None lists all.
    overwrite, fresh, workers, on_progress
        As `pack` has them.

    Returns
    -------
    Salvaged
        What was kept, and what was not.

    Raises
    ------
    FormatError
        Not one sample can be saved.
    ExistsError
        `out` is there already.
    OptionError
        The file is not ours: `celeiro.repack` reads those.
    """
    began = time.perf_counter()
    source, target = Path(os.path.abspath(os.fsdecode(path))), Path(os.path.abspath(out))
    how = how_of(
        workers=workers, buffer_size=500, on_error="skip", quarantine=None, on_progress=on_progress
    )
    disk = _opened(source, target)
    try:
        unfinished(target, overwrite=overwrite)
        found = Findings(most)
        rescue = Rescue(source, disk, found, how.workers, on_progress)
        rest = rescue.rest(shape, dtype)
        job = job_of(rest, disk)
        report = pack_job(job, target, how, overwrite=overwrite, fresh=fresh)
        disk.check()
    finally:
        disk.close()
    for key, reason in report.refused:
        found.add(rest.stream.name, f"{key}: {reason}")
    return Salvaged(
        path=source,
        out=target,
        store=report.store,
        how=rescue.how,
        samples=rest.count,
        kept=report.samples,
        columns=tuple(sorted(rest.columns)),
        faults=found.faults,
        findings=tuple(found.kept),
        remarks=tuple(found.remarks),
        file_bytes=report.file_bytes,
        seconds=time.perf_counter() - began,
    )


def _opened(source: Path, target: Path) -> File:
    if not source.is_file():
        what = "this is a folder" if source.is_dir() else "no such file"
        raise FormatError(f"{source}: {what}. Give the name of the damaged file.")
    if target.exists() and os.path.samefile(source, target):
        raise OptionError(
            f"{target} is the damaged file itself. Give another name for the new one."
        )
    try:
        return File(source)
    except OSError as error:
        raise FormatError(f"{source}: cannot be read ({error.strerror}).") from error
