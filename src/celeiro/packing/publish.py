"""Make the bytes of a finished payload a plain HDF5 file, without moving them.

    0        4096                          P
    | head   | payload: already written    | fields, indices, labels, …, chunk index |

The HDF5 library writes all structure, through h5py's file-object driver; the object that it
writes to passes everything on to the file except what falls into the payload, which stands
there already. The library is led to give the data set exactly the payload's place:

1. a stand-in data set as large as the payload is allocated at byte 4096 (by alignment);
2. the gap that alignment left before it is filled, so that nothing later can fall into it;
3. the stand-in is deleted: its place is now the only free one of that kind, and the library
   takes it from the front, sample after sample, in the order of the payload.

For chunked stores chunk 0 is first written once with one byte, while the stand-in still holds
the place: the chunk index is allocated at that moment, behind the payload and not inside it.
Afterwards every address is read back and compared; a library that allocates otherwise is an
error, never a wrong file. 300,000 chunks take about 3 s.

The invariant: the same contents give the same bytes (no times are stamped, nothing depends on
the order of a hash).
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import h5py
import numpy as np
from h5py import h5d, h5f, h5fd, h5g, h5p, h5s, h5t

from celeiro.errors import FormatError
from celeiro.format import bfloat16, layout
from celeiro.format.checksum import crc32c
from celeiro.format.codecs import BLOSC
from celeiro.storage import local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

    import numpy.typing as npt

    from celeiro.format.bfloat16 import StoredType
    from celeiro.format.codecs import FilterPipeline

# Names of what is deleted again begin with a dot, which no data key does.
# The stand-in must be larger than anything that HDF5 puts before it, and the threshold of
# alignment not larger than the stand-in.
_SMALLEST_STAND_IN = 1 << 12
# Bytes of a side that are copied at a time.
_PIECE = 1 << 24


@dataclass(frozen=True, slots=True)
class SampleSet:
    """One data set whose first axis is the sample, and the bytes that it consists of."""

    name: str
    """Path in the file."""
    shape: tuple[int, ...]
    """With the samples first; (bytes,) for an `encoded` one."""
    dtype: StoredType
    """Type of the values."""
    lengths: npt.NDArray[np.uint64]
    """Stored bytes of each sample."""
    filters: FilterPipeline = ()
    """HDF5 filters; with any, each sample is one chunk."""
    index: str | None = None
    """Where the (offset, length) table of a chunked one stands."""
    checksum: bool = False
    """Whether it carries one checksum of all its bytes, as columns do: of a side alone."""

    @property
    def total(self) -> int:
        """Bytes of all samples."""
        return int(self.lengths.sum(dtype=np.uint64))


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a finished file holds."""

    samples: SampleSet
    """The main data set: its bytes stand in the file from `layout.PAYLOAD_OFFSET`."""
    sides: tuple[tuple[SampleSet, Callable[[int, int], bytes]], ...] = ()
    """Further ones, each with a reader (length, offset) of its bytes, which are copied."""
    auxiliary: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """Plain data sets, by path, in the order of writing."""
    notes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Text attributes of auxiliary data sets, by path."""
    attributes: Mapping[str, int | str] = field(default_factory=dict)
    """Attributes of the root group."""


def write_structure(fd: int, contents: Contents) -> None:
    """Complete the HDF5 file whose payload already stands in `fd`.

    Raises
    ------
    FormatError
        The HDF5 library did not place the samples where they are; the payload is untouched.
    OSError
        The file cannot be written, as for want of room; the payload is untouched.
    """
    samples = contents.samples
    filters = [*samples.filters, *(each for side, _ in contents.sides for each in side.filters)]
    if any(number == BLOSC for number, _ in filters):
        import hdf5plugin  # noqa: F401  (HDF5 refuses to make a data set of an unknown filter)
    end = layout.PAYLOAD_OFFSET + samples.total
    target = _Overlay(fd, layout.PAYLOAD_OFFSET, end)
    stand_in = max(samples.total, _SMALLEST_STAND_IN)
    with _interrupts_wait(target), _create(target, threshold=stand_in) as file:
        offsets = _place_samples(file, target, samples, stand_in)
        tables = {samples.index: offsets} if samples.index else {}
        for side, read in contents.sides:
            copied = _copy_side(file, target, side, read)
            if side.index:
                tables[side.index] = copied
        for name, values in contents.auxiliary.items():
            _write_auxiliary(file, name, values, contents.notes.get(name, {}))
            target.check()
        for name, value in contents.attributes.items():
            _write_attribute(file, name, value)
        _write_indices(file, tables)
    target.check()


def offsets_of(lengths: npt.NDArray[Any], base: int = 0) -> npt.NDArray[np.uint64]:
    """N lengths as N+1 offsets, beginning at `base`."""
    offsets = np.full(len(lengths) + 1, base, np.uint64)
    offsets[1:] += np.cumsum(lengths, dtype=np.uint64)
    return offsets


def _place_samples(
    file: h5py.File, target: _Overlay, samples: SampleSet, stand_in: int
) -> npt.NDArray[np.uint64]:
    """Create the main data set so that its bytes are the payload; (N, 2) offset and length."""
    chunked = bool(samples.filters)
    if chunked:
        made = _chunked(file, samples)
    holder = _contiguous(file, b".stand_in", (stand_in,), h5t.STD_U8LE)
    _expect(int(holder.get_offset()), layout.PAYLOAD_OFFSET, "the payload")
    _fill_gap(file)
    if chunked and len(samples.lengths):
        made.write_direct_chunk((0,) * len(samples.shape), b"\0")
    del holder
    del file[".stand_in"]
    starts = offsets_of(samples.lengths, layout.PAYLOAD_OFFSET)[:-1]
    if chunked:
        _write_chunks(made, target, samples, lambda length, _: _zeros(length))
        _expect_chunks(made, starts)
    else:
        made = _contiguous(file, samples.name.encode(), samples.shape, _h5_type(samples.dtype))
        if samples.total:
            _expect(int(made.get_offset()), layout.PAYLOAD_OFFSET, "the data set")
    del file[".gap_a"], file[".gap_b"]
    return np.stack([starts, samples.lengths.astype(np.uint64)], axis=1)


def _fill_gap(file: h5py.File) -> None:
    """Use up what alignment left free before the payload."""
    first = _contiguous(file, b".gap_a", (1,), h5t.STD_U8LE)
    start = int(first.get_offset()) + 1
    if not 0 < start < layout.PAYLOAD_OFFSET:
        raise _misplaced("the gap before the payload", start, layout.PAYLOAD_OFFSET)
    second = _contiguous(file, b".gap_b", (layout.PAYLOAD_OFFSET - start,), h5t.STD_U8LE)
    _expect(int(second.get_offset()), start, "the gap before the payload")


def _write_chunks(
    made: h5d.DatasetID, target: _Overlay, samples: SampleSet, read: Callable[[int, int], Any]
) -> None:
    zeros = (0,) * (len(samples.shape) - 1)
    at = 0
    for row, length in enumerate(samples.lengths.tolist()):
        made.write_direct_chunk((row, *zeros), read(length, at))
        target.check()
        at += length


def _copy_side(
    file: h5py.File, target: _Overlay, side: SampleSet, read: Callable[[int, int], bytes]
) -> npt.NDArray[np.uint64]:
    """Write a data set whose bytes come from elsewhere; (N, 2) offset and length."""
    if side.filters:
        made = _chunked(file, side)
        _write_chunks(made, target, side, read)
        starts = _chunk_offsets(made, len(side.lengths))
    else:
        made = _contiguous(file, side.name.encode(), side.shape, _h5_type(side.dtype))
        _copy_rows(h5py.Dataset(made), target, side, read)
        base = int(made.get_offset() or 0)
        starts = offsets_of(side.lengths, base)[:-1]
    return np.stack([starts, side.lengths.astype(np.uint64)], axis=1)


def _copy_rows(
    made: h5py.Dataset, target: _Overlay, side: SampleSet, read: Callable[[int, int], bytes]
) -> None:
    """Write a contiguous data set some rows at a time, then the checksum of all its bytes."""
    width = side.total // max(1, side.shape[0])
    rows, crc = max(1, _PIECE // max(1, width)), 0
    for first in range(0, side.shape[0], rows):
        last = min(side.shape[0], first + rows)
        part = read((last - first) * width, first * width)
        values = np.frombuffer(part, cast("np.dtype[Any]", side.dtype))  # none is bfloat16
        made[first:last] = values.reshape(last - first, *side.shape[1:])
        crc = crc32c(part, crc)
        target.check()
    if side.checksum:
        made.attrs[layout.ATTR_CRC] = np.uint32(crc)


def _write_auxiliary(
    file: h5py.File, name: str, values: npt.NDArray[Any], notes: Mapping[str, str]
) -> None:
    values = np.ascontiguousarray(_little_endian(values))
    _group_of(file, name)
    made = file.create_dataset(name, data=values, track_times=False)
    made.attrs[layout.ATTR_CRC] = np.uint32(crc32c(values.reshape(-1).view(np.uint8).data))
    for key, text in notes.items():
        _write_attribute(made, key, text)


def _write_attribute(owner: h5py.HLObject, name: str, value: int | str) -> None:
    """A number, or a string of fixed length: HDF5 keeps variable ones without a checksum."""
    if isinstance(value, str):
        data = value.encode()
        owner.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", max(1, len(data))))
    else:
        owner.attrs.create(name, value, dtype=np.int64)


def _write_indices(file: h5py.File, tables: Mapping[str, npt.NDArray[np.uint64]]) -> None:
    """The hints: where each sample stands, and how long the file was when that was true."""
    made = []
    for name, table in tables.items():
        _write_auxiliary(file, name, table, {})
        made.append(file[name])
        # Room for the number first; it is only known once nothing more is allocated.
        made[-1].attrs[layout.ATTR_FILE_END] = np.uint64(0)
    file.flush()
    end = file.id.get_filesize()
    for dataset in made:
        dataset.attrs.modify(layout.ATTR_FILE_END, np.uint64(end))
    file.flush()
    _expect(file.id.get_filesize(), end, "the end of the file")


# -- what h5py does not say in one call --


def _create(target: _Overlay, *, threshold: int) -> h5py.File:
    """A new file in `target` that HDF5 1.10 reads, without times.

    1.10's structures carry checksums of their own (1.8's do not), and one fixed array indexes
    all chunks. "latest" under HDF5 2 would be unreadable to Debian's tools.
    """
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fileobj_driver(h5fd.fileobj_driver, target)
    access.set_libver_bounds(h5f.LIBVER_V110, h5f.LIBVER_V110)
    access.set_alignment(threshold, layout.PAYLOAD_OFFSET)
    creation = h5p.create(h5p.FILE_CREATE)
    creation.set_obj_track_times(False)
    return h5py.File(h5f.create(b"celeiro", h5f.ACC_TRUNC, fcpl=creation, fapl=access))


def _contiguous(
    file: h5py.File, name: bytes, shape: tuple[int, ...], kind: h5t.TypeID
) -> h5d.DatasetID:
    """A contiguous data set whose place is given at once, and never written by HDF5."""
    plist = _dataset_plist()
    plist.set_layout(h5d.CONTIGUOUS)
    plist.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5d.FILL_TIME_NEVER)
    _group_of(file, name.decode())
    return h5d.create(file.id, name, kind, h5s.create_simple(shape), plist)


def _chunked(file: h5py.File, samples: SampleSet) -> h5d.DatasetID:
    """A chunked data set, one sample a chunk."""
    plist = _dataset_plist()
    plist.set_chunk((1, *samples.shape[1:]))
    plist.set_fill_time(h5d.FILL_TIME_IFSET)
    for number, values in samples.filters:
        # Mandatory: an optional filter that fails stores raw pixels and says nothing.
        if number == 2:
            plist.set_shuffle()
        else:
            plist.set_filter(number, h5py.h5z.FLAG_MANDATORY, values)
    _group_of(file, samples.name)
    space = h5s.create_simple(samples.shape)
    return h5d.create(file.id, samples.name.encode(), _h5_type(samples.dtype), space, plist)


def _dataset_plist() -> h5p.PropDCID:
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_obj_track_times(False)
    return plist


def _group_of(file: h5py.File, name: str) -> None:
    """Create the group that `name` stands in, without times."""
    parent, _, _ = name.rpartition("/")
    if parent and parent not in file:
        plist = h5p.create(h5p.GROUP_CREATE)
        plist.set_obj_track_times(False)
        h5g.create(file.id, parent.encode(), gcpl=plist)


def _h5_type(dtype: StoredType) -> h5t.TypeID:
    if isinstance(dtype, bfloat16.Bfloat16):
        return bfloat16.h5_type()
    return h5t.py_create(dtype.newbyteorder("<"), logical=True)


def _little_endian(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if values.dtype.byteorder == ">":
        return values.astype(values.dtype.newbyteorder("<"))
    return values


def _chunk_offsets(made: h5d.DatasetID, count: int) -> npt.NDArray[np.uint64]:
    """Byte offset of every chunk; `chunk_iter` is linear (2 µs a chunk)."""
    starts = np.zeros(count, np.uint64)

    def note(info: Any) -> None:
        starts[info.chunk_offset[0]] = info.byte_offset

    made.chunk_iter(note)
    return starts


def _expect_chunks(made: h5d.DatasetID, starts: npt.NDArray[np.uint64]) -> None:
    found = _chunk_offsets(made, len(starts))
    wrong = np.flatnonzero(found != starts)
    if len(wrong):
        row = int(wrong[0])
        raise _misplaced(f"sample {row}", int(found[row]), int(starts[row]))


def _expect(found: int, wanted: int, what: str) -> None:
    if found != wanted:
        raise _misplaced(what, found, wanted)


def _misplaced(what: str, found: int, wanted: int) -> FormatError:
    return FormatError(
        f"HDF5 {h5py.version.hdf5_version} placed {what} at byte {found}, wanted {wanted}. "
        "What was packed is kept; go on with the HDF5 that celeiro was tested with "
        "(h5py 3.16), and report this."
    )


_blank = bytes(1 << 20)


def _zeros(length: int) -> memoryview | bytes:
    """`length` bytes that nobody will look at."""
    return memoryview(_blank)[:length] if length <= len(_blank) else bytes(length)


@contextlib.contextmanager
def _interrupts_wait(target: _Overlay) -> Iterator[None]:
    """Let Ctrl-C wait for the next `check`: in the midst of the library it becomes other errors."""
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return

    def later(number: int, frame: FrameType | None) -> None:
        try:
            before(number, frame)
        except BaseException as error:
            target.stop(error)

    signal.signal(signal.SIGINT, later)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Overlay(io.RawIOBase):
    """The file as HDF5 sees it: empty at first, and deaf to writes into the payload."""

    def __init__(self, fd: int, start: int, end: int) -> None:
        self._fd = fd
        self._start = start
        self._stop = end
        self._position = 0
        self._size = 0
        self._error: BaseException | None = None

    def check(self) -> None:
        """Raise what came meanwhile."""
        if self._error is not None:
            raise self._error

    def stop(self, error: BaseException) -> None:
        """Let the next `check` raise this."""
        # Without its traceback, whose frames would keep data sets open that are to be deleted.
        self._error = self._error or error.with_traceback(None)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_SET:  # as HDF5 does before each write, 300,000 times
            self._position = offset
        else:
            self._position = offset + (self._size if whence == os.SEEK_END else self._position)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        data = local.read_at(self._fd, len(buffer), self._position)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def write(self, data: Any) -> int:
        size = len(data)
        first, last = self._position, self._position + size
        if last <= self._start or first >= self._stop:
            local.write_at(self._fd, [data], first)
        elif first < self._start or last > self._stop:
            raise _misplaced("a block across the payload's border", first, self._stop)
        self._position = last
        self._size = max(self._size, last)
        return size

    def truncate(self, size: int | None = None) -> int:
        size = self._position if size is None else size
        # A file that is given up early is cut to what the library knows of: not the payload.
        os.ftruncate(self._fd, max(size, self._stop))
        self._size = size
        return size

    def flush(self) -> None:
        """Nothing is held back here."""
