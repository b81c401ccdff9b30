"""`celeiro.verify`: whether a file is sound, down to the last byte.

    ours      structure.py ─> every sample's bytes against its CRC-32C, in threads
    foreign   every data set whose chunks can be decoded, decoded

The invariant: nothing is written, and nothing that a file holds ends the process: chunks go through
celeiro's own codecs, or through HDF5 in a process of its own.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celeiro.care.checking import against as comparing
from celeiro.care.checking import foreign
from celeiro.care.checking.samples import check
from celeiro.care.checking.structure import examine
from celeiro.care.checking.verdict import Findings, Verdict
from celeiro.errors import ChangedError, FormatError, OptionError
from celeiro.packing.outcome import Progress
from celeiro.reading import hdf5
from celeiro.reading.header import is_ours
from celeiro.storage.local import File, available_cores

if TYPE_CHECKING:
    from collections.abc import Callable

    from celeiro.care.checking.streams import Stream
    from celeiro.care.checking.structure import Structure
    from celeiro.reading.columns import Texts

MOST_FINDINGS = 1000
"""Faults that a verdict lists where the caller does not ask for more."""


def verify(
    path: str | os.PathLike[str],
    *,
    against: str | os.PathLike[str] | None = None,
    decode: bool = False,
    key: str | None = None,
    most: int | None = MOST_FINDINGS,
    workers: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Verdict:
    """See whether a file is sound: one of ours to the last byte, anybody's as far as it can be.

    Parameters
    ----------
    path
        Of the file, which is only read.
    against
        The folder or manifest that it was packed from: every picture is then packed again, in
        memory, and compared.
    decode
        Decode every sample as well. Its checksum already says that its bytes are those that were
        packed; of files that are not ours, every sample is decoded anyway.
    key
        Of a file that is not ours: look at this data set alone.
    most
        Faults that are listed; all are counted. None lists all.
    workers
        Threads; by default as many as cores.
    on_progress
        Called now and then with a `Progress`, in the calling thread.

    Returns
    -------
    Verdict
        Every fault, by sample and key, or by data set.

    Raises
    ------
    FormatError
        There is no such file, or it may not be read.
    OptionError
        `against` what the file was not packed from.

    Examples
    --------
    >>> import numpy as np, tempfile, celeiro
    >>> folder = tempfile.TemporaryDirectory()
    >>> _ = celeiro.pack(np.zeros((3, 8, 8, 3), np.uint8), folder.name + "/a.h5")
    >>> verify(folder.name + "/a.h5").sound
    True
    >>> folder.cleanup()
    """
    if workers is not None and workers < 1:
        raise OptionError(f"workers {workers!r}: wanted at least 1.")
    if most is not None and most < 0:
        raise OptionError(f"most {most!r}: wanted 0 or more, or None for all.")
    began = time.perf_counter()
    target = Path(os.path.abspath(os.fsdecode(path)))
    look = _Look(target, workers or available_cores(), on_progress, Findings(most))
    disk = look.open()
    try:
        structure = look.at(disk, key=key)
        if against is not None:
            look.compare(disk, structure, against)
        if structure is not None:
            for stream in structure.streams:
                look.samples(disk, stream, structure.keys, decode=decode)
        disk.check()
    finally:
        disk.close()
    return look.verdict(time.perf_counter() - began)


class _Look:
    """One look at one file."""

    def __init__(self, path: Path, workers: int, on_progress: Any, found: Findings) -> None:
        self.path = path
        self.workers = workers
        self.found = found
        self.store = ""
        self.count = 0
        self.checked = 0
        self.progress = Progress()
        self._on_progress = on_progress

    def open(self) -> File:
        """The file's bytes; FormatError where there are none to be had."""
        if not self.path.is_file():
            what = "this is a folder" if self.path.is_dir() else "no such file"
            raise FormatError(f"{self.path}: {what}. Give the name of an HDF5 file.")
        try:
            return File(self.path)
        except OSError as error:
            raise FormatError(f"{self.path}: cannot be read ({error.strerror}).") from error

    def at(self, disk: File, *, key: str | None) -> Structure | None:
        """What HDF5 knows of the file, and for a foreign one all there is to look at."""
        try:
            with hdf5.reading(self.path) as file:
                if is_ours(file) and key is None:
                    structure = examine(file, self.path, disk, self.found)
                    self._takes(structure)
                    return structure
                self.store = "hdf5"
                seen = foreign.examine(
                    file, self.path, disk, self.found, key=key, workers=self.workers,
                    told=self._told,
                )  # fmt: skip
                self.count, self.checked = seen
        except (ChangedError, OptionError):
            raise
        except FormatError as error:
            text = str(error).removeprefix(f"{self.path}: ")
            self.found.add("/", f"{text} `celeiro salvage` may save what is left of it")
        return None

    def compare(self, disk: File, structure: Structure | None, source: Any) -> None:
        """Hold the samples against what they were made of."""
        if structure is None or not structure.streams:
            if self.store == "hdf5":
                raise OptionError(
                    f"{self.path}: --against goes with a file that celeiro packed, and this one is "
                    "not."
                )
            return
        comparing.compare(
            disk, structure, source, self.found, workers=self.workers, told=self._told
        )

    def samples(self, disk: File, stream: Stream, keys: Texts | None, *, decode: bool) -> None:
        """Every sample's bytes against their checksum."""
        if stream.crcs is None and len(stream.numbers):
            self.found.remark(f"{stream.name}: without checksums its bytes cannot be checked")
        results = check(disk, stream, decode=decode, workers=self.workers)
        try:
            for count, size, bad in results:
                for number, problem in bad:
                    self.found.add(stream.name, problem, sample=number, key=key_of(keys, number))
                self._told(count, size, [(number, problem) for number, problem in bad])
        finally:
            results.close()

    def verdict(self, seconds: float) -> Verdict:
        """All that was found."""
        return Verdict(
            path=self.path,
            store=self.store,
            samples=self.count,
            checked=self.checked,
            bad=self.found.bad,
            faults=self.found.faults,
            findings=tuple(self.found.kept),
            remarks=tuple(self.found.remarks),
            bytes_checked=self.progress.bytes_done,
            seconds=seconds,
        )

    def _takes(self, structure: Structure | None) -> None:
        if structure is None:
            return
        self.store = structure.store
        self.count = structure.count
        self.checked = len(structure.streams[0].numbers) if structure.streams else 0
        self.progress.total = sum(len(stream.numbers) for stream in structure.streams)

    def _told(self, count: int, size: int, bad: list[tuple[int, str]], total: int = 0) -> None:
        """Count what was looked at, and say so."""
        if total:
            self.progress.total = (self.progress.total or 0) + total
        self.progress.done += count
        self.progress.bytes_done += size
        room = MOST_FINDINGS - len(self.progress.refused)
        self.progress.refused += bad[: max(0, room)]
        self.progress.kept = self.progress.done - len(self.progress.refused)
        if self._on_progress is not None:
            self._on_progress(self.progress)


def key_of(keys: Texts | None, number: int) -> str | None:
    """The key of a sample, where the file has keys."""
    return None if keys is None else keys[number]
