"""An HDF5 file of anybody's: every data set of numbers whose bytes can be found, decoded.

There is no checksum to hold them against, but for those of filters (gzip's, fletcher32): so what is
seen is that all chunks are within the file and decode to what they should.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from celeiro.errors import ChangedError, FormatError, OptionError
from celeiro.format import index
from celeiro.reading import foreign, hdf5
from celeiro.reading.layouts import Way, samples_in
from celeiro.reading.samples.fallback import FallbackSamples
from celeiro.reading.samples.held import HeldSamples
from celeiro.reading.source import FileSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from celeiro.care.checking.verdict import Findings
    from celeiro.reading.samples import Samples
    from celeiro.storage.local import File

_MOST_DATA_SETS = 4096
_MOST_DEPTH = 32
# Values that are read at once, bytes.
_BATCH = 16 << 20
# Each crash of HDF5's process costs a third of a second to begin another.
_MOST_CRASHES = 20
# Virtual samples may be promised without end, and stand nowhere.
_MOST_VIRTUAL = 1_000_000


def examine(
    file: h5py.File, path: Path, disk: File, found: Findings, *, key: str | None, workers: int,
    told: Callable[..., None],
) -> tuple[int, int]:  # fmt: skip
    """Decode what can be decoded; samples of the main data set, and how many were looked at.

    `told` is called with (samples, bytes, bad ones, and how many more there are in all).
    """
    main = _main(file, path, found, key=key)
    way = Way(FileSource(disk), workers)
    sizes: dict[str, int] = {}
    for name, data in _data_sets(file, found, only=key):
        try:
            samples = samples_in(data, way) if _has_values(name, data, found) else None
        except FormatError as error:
            found.add(name, str(error).removeprefix(f"{path}: "))
            continue
        if samples is None:
            continue
        stride = int(data.chunks[0]) if data.chunks else 1
        units = _units(name, data, samples, stride, found)
        told(0, 0, [], total=len(units))
        sizes[name] = len(samples)
        _Reading(name, samples, stride, found, told).run(units, whole=name == main)
        disk.check()
    count = sizes.get(main or "", 0)
    return count, count


def _main(file: h5py.File, path: Path, found: Findings, *, key: str | None) -> str | None:
    """Name of the data set that holds the samples."""
    try:
        return foreign.find(file, path, key=key, labels=None).key
    except OptionError:
        raise
    except FormatError as error:
        if key is not None:
            raise OptionError(str(error)) from error
        found.remark("which data set holds the samples cannot be told; all are looked at alike")
        return None


def _data_sets(
    file: h5py.File, found: Findings, *, only: str | None
) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every data set by its path, each once, however many links lead to it."""
    if only is not None:
        yield only.strip("/"), hdf5.found(file, only.strip("/"))
        return
    todo: list[tuple[h5py.Group, str, int]] = [(file, "", 0)]
    seen = {hash(file["/"].id)}
    met = 0
    for group, prefix, depth in todo:  # grows while it is gone through
        for raw in hdf5.names_in(group, _MOST_DATA_SETS):
            name = prefix + raw.decode("utf-8", "surrogateescape")
            if group.id.links.get_info(raw).type != h5py.h5l.TYPE_HARD:
                found.remark(f"{name}: a link to elsewhere, which is not followed")
                continue
            item = hdf5.opened(group, raw)
            if item is None:
                found.add(name, "HDF5 cannot open it: its header is damaged")
                continue
            met += 1
            if met > _MOST_DATA_SETS:
                found.remark(f"of more than {_MOST_DATA_SETS:,} data sets the others are passed by")
                return
            if hash(item.id) in seen:
                continue
            seen.add(hash(item.id))
            if isinstance(item, h5py.Dataset):
                yield name, item
            elif isinstance(item, h5py.Group) and depth < _MOST_DEPTH:
                todo.append((item, f"{name}/", depth + 1))


def _has_values(name: str, data: h5py.Dataset, found: Findings) -> bool:
    """Whether there are numbers in it to be looked at."""
    dtype = hdf5.dtype_of(data)
    if not data.shape:
        return False
    if dtype is None or dtype.kind not in "buifc" or dtype.shape:
        what = "text" if dtype is not None and dtype.kind in "SO" else str(dtype)
        found.remark(f"{name}: values of {what}, which are not looked at")
        return False
    return True


def _units(
    name: str, data: h5py.Dataset, samples: Samples, stride: int, found: Findings
) -> range | npt.NDArray[np.int64]:
    """Numbers of the samples that are to be read: one of each row of chunks that holds any."""
    if isinstance(samples, HeldSamples):
        return range(0)
    if data.chunks and index.too_sparse(data):
        written: set[int] = set()
        data.id.chunk_iter(lambda chunk: written.add(chunk.chunk_offset[0]))
        return np.array(sorted(written), np.int64)
    if data.is_virtual and len(samples) > _MOST_VIRTUAL:
        found.remark(f"{name}: of its virtual samples the first {_MOST_VIRTUAL:,} are looked at")
        return range(_MOST_VIRTUAL)
    return range(0, len(samples), stride)


class _Reading:
    """One data set, from its first sample to its last: one of each row of chunks decodes them."""

    def __init__(
        self, name: str, samples: Samples, stride: int, found: Findings, told: Callable[..., None]
    ) -> None:
        self.name = name
        self.samples = samples
        self.stride = stride
        self.found = found
        self.told = told
        self.whole = False
        self.crashes = 0

    def run(self, units: range | npt.NDArray[np.int64], *, whole: bool) -> None:
        """Read those; `whole`: whether the rows are the samples of the file."""
        self.whole = whole
        weight = int(np.prod(self.samples.shape or ())) * self.samples.dtype.itemsize
        if not weight:
            return
        step = max(1, min(4096, _BATCH // weight))
        for first in range(0, len(units), step):
            numbers = np.asarray(units[first : first + step], np.int64)
            self.told(len(numbers), self._bytes(numbers, weight), self._bad(numbers))
            if self.crashes >= _MOST_CRASHES:
                self.found.add(self.name, "HDF5 crashed so often that the rest was not looked at")
                break
        close = getattr(self.samples, "close", None)
        if close is not None:
            close()

    def _bytes(self, numbers: npt.NDArray[np.int64], weight: int) -> int:
        rows = min(len(numbers) * self.stride, len(self.samples) - int(numbers[0]))
        return rows * weight

    def _bad(self, numbers: npt.NDArray[np.int64]) -> list[tuple[int, str]]:
        """Those that cannot be read, found by halving; each is told."""
        if self.crashes >= _MOST_CRASHES:
            return []
        problem = self._problem(numbers)
        if problem is None:
            return []
        if len(numbers) > 1:
            half = len(numbers) // 2
            return self._bad(numbers[:half]) + self._bad(numbers[half:])
        first = int(numbers[0])
        last = min(first + self.stride, len(self.samples))
        if isinstance(self.samples, FallbackSamples) and "crashed" in problem:
            self.crashes += 1
        if not self.whole:
            self.found.add(self.name, f"row {first:,}: {problem}")
        elif self.stride == 1:
            self.found.add(self.name, problem, sample=first)
        else:
            text = f"the chunk of samples {first:,} to {last - 1:,}: {problem}"
            self.found.add(self.name, text, sample=first, until=last)
        return [(first, problem)]

    def _problem(self, numbers: npt.NDArray[np.int64]) -> str | None:
        room: Any = np.empty((len(numbers), *(self.samples.shape or ())), self.samples.dtype)
        try:
            self.samples.read(numbers, room)
        except ChangedError:
            raise
        except FormatError as error:
            return str(error)
        except OSError as error:
            return f"it cannot be read: {error.strerror}"
        return None
