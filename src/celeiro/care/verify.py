"""`celeiro.verify`: whether a file is sound, down to the last byte.

    ours      structure.py ─> every sample's bytes against its CRC-32C, in threads
    foreign   every data set whose chunks can be decoded, decoded

The invariant: nothing is written, and nothing that a file holds ends the process: chunks go through
celeiro's own codecs, or through HDF5 in a process of its own.
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.care import against as comparing
from celeiro.care import foreign
from celeiro.care.structure import examine
from celeiro.care.verdict import Findings, Verdict
from celeiro.errors import CeleiroError, ChangedError, FormatError, OptionError
from celeiro.format.checksum import crc32c
from celeiro.packing.outcome import Progress
from celeiro.packing.pipeline import Stopped, in_order
from celeiro.reading import hdf5
from celeiro.reading.header import is_ours
from celeiro.storage.local import File, available_cores

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from celeiro.care.structure import Stream, Structure
    from celeiro.reading.columns import Texts

MOST_FINDINGS = 1000
"""Faults that a verdict lists where the caller does not ask for more."""

# One read of neighbours: large enough for a disk, small enough that all threads have some.
_BLOCK = 4 << 20
_MOST_ROWS = 512


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
        blocks = _cut(stream)
        if stream.crcs is None and len(stream.numbers):
            self.found.remark(f"{stream.name}: without checksums its bytes cannot be checked")
        work = partial(_check_block, disk, stream, decode)
        results = in_order(blocks, work, workers=self.workers, window=4 * self.workers)
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


def _cut(stream: Stream) -> Iterator[range]:
    """Positions in a stream, some at a time: few samples, and few bytes."""
    ends = np.cumsum(stream.lengths, dtype=np.uint64)
    first, count = 0, len(ends)
    while first < count:
        before = ends[first - 1] if first else np.uint64(0)
        fits = int(np.searchsorted(ends, before + np.uint64(_BLOCK), side="right"))
        last = min(max(first + 1, fits), first + _MOST_ROWS, count)
        yield range(first, last)
        first = last


_Checked = tuple[int, int, list[tuple[int, str]]]
"""How many samples, of how many bytes, and which of them are bad, with what is wrong."""


def _check_block(
    disk: File, stream: Stream, decode: bool, block: range, stop: threading.Event
) -> _Checked:
    """What is wrong with the samples of one block."""
    numbers = stream.numbers[block.start : block.stop].tolist()
    starts = stream.starts[block.start : block.stop].tolist()
    lengths = stream.lengths[block.start : block.stop].tolist()
    together = _read_together(disk, starts, lengths)
    bad = []
    for number, start, length in zip(numbers, starts, lengths, strict=True):
        if stop.is_set():
            raise Stopped
        try:
            if together is None:
                data: Any = disk.read(length, start) if length <= _BLOCK or decode else None
            else:
                data = together[start - starts[0] : start - starts[0] + length]
            crc = _crc_in_pieces(disk, start, length) if data is None else crc32c(data)
        except ChangedError:
            raise
        except OSError as error:  # a bad sector
            bad.append((number, f"it cannot be read: {error.strerror}"))
            continue
        problem = _problem(stream, number, crc, data if decode else None)
        if problem:
            bad.append((number, problem))
    return len(numbers), sum(lengths), bad


def _problem(stream: Stream, number: int, crc: int, data: Any) -> str | None:
    if stream.crcs is not None and crc != stream.crcs[number]:
        return "its bytes are not those of its checksum"
    if data is None or stream.decode is None:
        return None
    try:
        stream.decode(number, bytes(data))
    except CeleiroError as error:
        return f"it does not decode: {error}"
    return None


def _read_together(disk: File, starts: list[int], lengths: list[int]) -> memoryview | None:
    """The bytes of neighbours in one read; None where they are none, or are too large."""
    total = sum(lengths)
    ends = [start + length for start, length in zip(starts, lengths, strict=True)]
    side_by_side = ends[:-1] == starts[1:]
    if not side_by_side or total > 2 * _BLOCK:
        return None
    try:
        return memoryview(disk.read(total, starts[0]))
    except ChangedError:
        raise
    except OSError:
        return None  # one by one, to see which


def _crc_in_pieces(disk: File, start: int, length: int) -> int:
    """Of a sample that is larger than what is read at once."""
    crc = 0
    for at in range(start, start + length, _BLOCK):
        crc = crc32c(disk.read(min(_BLOCK, start + length - at), at), crc)
    return crc
