"""The samples of a file of ours as they stand in it: every place and length, filters, the index.

    rows     contiguous            pixels
    chunks   one a sample          jpeg, lossless, masks beside them
    files    one after the other   encoded, and its masks

No chunk goes through HDF5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from celeiro.care.checking import decoding
from celeiro.care.checking.columns import Columns, number
from celeiro.errors import FormatError
from celeiro.format import bfloat16, filters, layout
from celeiro.format.bfloat16 import BFLOAT16
from celeiro.format.chunks import ChunkCodec, Number, filters_of
from celeiro.format.index import MISSING
from celeiro.reading.layouts import stored_dtype

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from celeiro.format.bfloat16 import StoredType
    from celeiro.format.chunks import Filter

# A sample takes a byte at least; what is promised beyond that (of a file that was cut, all) is
# believed up to here.
_MOST_BEYOND = 1 << 24
# Filters of a store, in the order in which they are applied.
_PIPELINES: dict[str, list[tuple[int, ...]]] = {"jpeg": [(32019,)], "lossless": [(32001,), (2, 1)]}


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """The samples, or the masks beside them, as they stand in the file."""

    name: str
    """Path of their data set."""
    numbers: npt.NDArray[np.int64]
    """Of the samples that have a place within the file."""
    starts: npt.NDArray[np.uint64]
    """Byte of the file at which each of those begins."""
    lengths: npt.NDArray[np.uint64]
    """Bytes of each."""
    crcs: npt.NDArray[np.uint32] | None
    """CRC-32C of every sample, by number; None where that column is not to be had."""
    decode: Callable[[int, bytes], None] | None
    """Decode one sample by number and bytes; raises where it is not what it should be."""
    codec: ChunkCodec | None = None
    """Shape, type and filters where all samples have the same; None of picture files."""
    is_bfloat16: bool = False
    """Whether the codec gives the bits of bfloat16, for which NumPy has no type."""

    @property
    def stored(self) -> StoredType:
        """Type of the values in the file."""
        assert self.codec is not None
        return BFLOAT16 if self.is_bfloat16 else self.codec.dtype


class Streams(Columns):
    """The same look, at what has a checksum a sample."""

    hints = True
    """Whether the file's own index is looked at."""

    def sized(self, data: h5py.Dataset, store: str) -> Stream | None:
        """Samples of one shape: rows, or a chunk each."""
        name = str(data.name).lstrip("/")
        dtype = self._values_of(data, name)
        self.count = int(data.shape[0])
        if dtype is None or not self.is_kept_here(data, name):
            return None
        if self.count > max(self.disk.size, _MOST_BEYOND):
            self.found.add(name, f"{self.count:,} samples in {self.disk.size:,} bytes")
            self.count = 0
            return None
        if store == "pixels":
            return self._rows(data, name, dtype)
        return self._chunks(data, name, dtype, store, layout.INDEX, layout.CRC)

    def _values_of(self, data: h5py.Dataset, name: str) -> np.dtype[Any] | None:
        found = bfloat16.bits_type(data.id.get_type()) or stored_dtype(data)
        sizes = {"b": (1,), "u": (1, 2, 4, 8), "i": (1, 2, 4, 8), "f": (2, 4, 8), "c": (8, 16)}
        if found is None or found.itemsize not in sizes.get(found.kind, ()):
            self.found.add(name, f"values of type {data.dtype}, which the format does not hold")
            return None
        if found.byteorder == ">":
            self.found.add(name, "its numbers are big-endian, wanted little-endian")
        return found

    def _rows(self, data: h5py.Dataset, name: str, dtype: np.dtype[Any]) -> Stream | None:
        plist = data.id.get_create_plist()
        if plist.get_layout() != h5py.h5d.CONTIGUOUS or plist.get_nfilters():
            self.found.add(name, "not contiguous, as 'pixels' is. Another program rewrote it")
            return None
        length = math.prod(data.shape[1:]) * dtype.itemsize
        crcs = self.crcs(layout.CRC)
        if not self.count:
            return _nothing(name)
        base = self.contiguous(data, name)
        if base is None or length < 1:
            return None
        # Of a file that was cut short, the rows before the cut.
        count = min(self.count, max(0, self.disk.size - base) // length)
        self.found.expect(count)
        rows = np.arange(count, dtype=np.int64)
        starts = np.uint64(base) + rows.astype(np.uint64) * np.uint64(length)
        lengths = np.full(count, length, np.uint64)
        codec = ChunkCodec((1, *data.shape[1:]), dtype)
        half = bfloat16.is_stored(data)
        return Stream(name, rows, starts, lengths, crcs, None, codec, is_bfloat16=half)

    def _chunks(
        self, data: h5py.Dataset, name: str, dtype: np.dtype[Any], store: str, index: str, crc: str
    ) -> Stream | None:
        """One chunk a sample."""
        plist = data.id.get_create_plist()
        wanted = (1, *data.shape[1:])
        if plist.get_layout() != h5py.h5d.CHUNKED or data.chunks != wanted:
            self.found.add(
                name, f"chunks {data.chunks}, wanted {wanted}. Another program rewrote it"
            )
            return None
        pipeline = filters_of(plist)
        for problem in wrong_filters(pipeline, store, wanted, dtype):
            self.found.add(name, problem)
        crcs = self.crcs(crc)
        codec = None
        with self.about(name):
            codec = ChunkCodec(wanted, dtype, pipeline)
        decode = None if codec is None else partial(decoding.chunk, codec)
        self.found.expect(self.count)
        table, masks = self._listed(data, name)
        sound = self._stored_chunks(name, table, masks)
        if self.hints:
            self._index(index, table)
        half = bfloat16.is_stored(data)
        starts, lengths = table[sound, 0], table[sound, 1]
        return Stream(name, sound, starts, lengths, crcs, decode, codec, is_bfloat16=half)

    def _listed(
        self, data: h5py.Dataset, name: str
    ) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
        """Offset and length of every chunk, and its filter mask, as HDF5 has them."""
        table = np.zeros((self.count, 2), np.uint64)
        table[:, 0] = MISSING
        masks = np.zeros(self.count, np.uint32)
        odd: list[str] = []

        def note(chunk: Any) -> None:
            row, *others = chunk.chunk_offset
            if row >= len(table) or any(others):
                odd.append(f"a chunk at {chunk.chunk_offset}, beyond the data set")
            elif table[row, 0] != MISSING:
                odd.append(f"two chunks for sample {row:,}")
            else:
                table[row] = chunk.byte_offset, chunk.size
                masks[row] = chunk.filter_mask

        with self.about(name):
            if self.count:
                data.id.chunk_iter(note)
        for problem in odd:
            self.found.add(name, problem)
        return table, masks

    def _stored_chunks(
        self, name: str, table: npt.NDArray[np.uint64], masks: npt.NDArray[np.uint32]
    ) -> npt.NDArray[np.int64]:
        """Numbers of the samples whose chunk is where it can be; the others are faults."""
        offsets, lengths = table[:, 0], table[:, 1]
        size = np.uint64(self.disk.size)
        missing = offsets == MISSING
        if missing.all() and len(table):
            self.found.add(name, "not one of its chunks is there")
            return np.zeros(0, np.int64)
        outside = ~missing & ((lengths > size) | (offsets > size - np.minimum(lengths, size)))
        for row in np.flatnonzero(missing).tolist():
            self.found.add(name, "its chunk was never written", sample=row)
        for row in np.flatnonzero(outside).tolist():
            at, length = table[row].tolist()
            self.found.add(
                name,
                f"its chunk of {length:,} bytes begins at byte {at:,}, and the file has "
                f"{self.disk.size:,}",
                sample=row,
            )
        for row in np.flatnonzero(masks != 0).tolist():
            self.found.add(
                name, f"its chunk went without a filter (mask {int(masks[row])})", sample=row
            )
        return np.flatnonzero(~missing & ~outside)

    def _index(self, name: str, table: npt.NDArray[np.uint64]) -> None:
        """The file's own table of chunks against HDF5's."""
        stored = self.column(name, ("<u8",), (self.count, 2), needed=True)
        if stored is None:
            return
        data = self.look(name)
        end = number(data, layout.ATTR_FILE_END, np.uint64)
        if end is None:
            self.found.add(name, f"no {layout.ATTR_FILE_END!r} that tells the length of the file")
            return
        wrong = np.flatnonzero((stored != table).any(axis=1))
        if end != self.disk.size:
            self.found.remark(
                f"{name} is out of date: it was written when the file had {end:,} bytes, and it "
                f"has {self.disk.size:,} now; {len(wrong):,} of {self.count:,} entries differ from "
                "HDF5's. Readers ask HDF5 instead; `celeiro repack` renews it"
            )
        elif len(wrong):
            row = int(wrong[0])
            self.found.add(
                name,
                f"{len(wrong):,} of {self.count:,} entries are not what HDF5 says; the first is "
                f"sample {row:,}: {tuple(stored[row].tolist())}, HDF5 says "
                f"{tuple(table[row].tolist())}",
            )

    def files(self, name: str, crc: str, *, mask: bool) -> Stream | None:
        """Picture files one after the other."""
        data = self.look(name)
        if not isinstance(data, h5py.Dataset) or data.dtype != np.uint8 or data.ndim != 1:
            self.found.add(name, "these should be the bytes of picture files (uint8)")
            return None
        plist = data.id.get_create_plist()
        if not self.is_kept_here(data, name):
            return None
        if plist.get_layout() != h5py.h5d.CONTIGUOUS or plist.get_nfilters():
            self.found.add(name, "not contiguous, as 'encoded' is. Another program rewrote it")
            return None
        if not mask:
            self.count = self.count_of(crc)
            self.found.expect(self.count)
        # Without checksums to count, the offsets themselves say how many there are.
        rows = self.count + 1 if self.count else None
        offsets = self.column(layout.offsets(name), ("<u8",), (rows,), needed=True)
        if offsets is None or not len(offsets):
            return None
        self.count = len(offsets) - 1
        shapes = self.column(layout.shapes(name), ("<u4",), (self.count, 3), needed=True)
        turns = self.column(layout.orientations(name), ("|u1",), (self.count,), needed=True)
        marks = self.column(layout.reencoded(name), ("|u1",), (self.count,))
        self.within(layout.orientations(name), turns, 1, 8)
        self.within(layout.reencoded(name), marks, 0, 1)
        crcs = self.crcs(crc)
        if not self.are_offsets(layout.offsets(name), offsets, len(data)):
            return None
        if not len(data):
            return _nothing(name)
        base = self.contiguous(data, name)
        if base is None:
            return None
        # Where it is lost what stands beside them, files must decode at least.
        decode: Callable[[int, bytes], None] = decoding.any_mask if mask else decoding.any_picture
        if shapes is not None and turns is not None:
            decode = partial(decoding.mask if mask else decoding.picture, shapes, turns)
        starts, lengths = offsets[:-1] + np.uint64(base), np.diff(offsets)
        there = np.flatnonzero(starts + lengths <= np.uint64(self.disk.size))
        return Stream(name, there, starts[there], lengths[there], crcs, decode)

    def pictures(self, name: str, data: h5py.Dataset, store: str) -> Stream | None:
        """A field of pictures, one a sample."""
        path, crc = layout.field(name), layout.field_crc(name)
        if store == "encoded":
            return self.files(path, crc, mask=True)
        if bfloat16.is_stored(data):
            self.found.add(path, "values of bfloat16, which no mask has")
            return None
        dtype = self._values_of(data, path)
        if dtype is None or not self.is_kept_here(data, path):
            return None
        if len(data) != self.count:
            self.found.add(path, f"{len(data):,} pictures for {self.count:,} samples")
            return None
        return self._chunks(data, path, dtype, "lossless", layout.field_index(name), crc)


def wrong_filters(
    pipeline: tuple[Filter, ...], store: str, chunk: tuple[int, ...], dtype: np.dtype[Any]
) -> list[str]:
    """What in a pipeline is not as the store has it, in words."""
    found = tuple(step.number for step in pipeline)
    if found not in _PIPELINES[store]:
        wanted = " or ".join(map(str, _PIPELINES[store]))
        return [f"filters {found}, wanted {wanted} as {store!r} has them"]
    # Shuffling cannot fail, and HDF5's own call makes it optional.
    problems = [
        f"{step} is optional, wanted mandatory"
        for step in pipeline
        if step.flags & 1 and step.number != Number.SHUFFLE
    ]
    size = dtype.itemsize * math.prod(chunk)
    for step in pipeline:
        problem = _wrong_options(step, chunk, dtype, size)
        if problem:
            problems.append(problem)
    return problems


def _wrong_options(
    step: Filter, chunk: tuple[int, ...], dtype: np.dtype[Any], size: int
) -> str | None:
    options = step.options
    if step.number == Number.JPEG:
        try:
            filters.check_chunk_shape(options, chunk, dtype)
        except FormatError as error:
            return str(error)
        height, width, depth = (*chunk, 0, 0, 0)[1:4]
        right = (width, height, 1 if depth == 3 else 0)
        if not 1 <= options[0] <= 100 or options[1:4] != right:
            return f"options {options} of {step}, wanted (quality, {', '.join(map(str, right))})"
    if step.number == Number.BLOSC:
        level = options[4:5] if options[4:5] and options[4] <= 9 else (5,)
        wanted = (2, 2, dtype.itemsize, size, *level, 2, 5)
        if options != wanted:
            return f"options {options} of {step}, wanted {wanted}"
    if step.number == Number.SHUFFLE and options != (dtype.itemsize,):
        return f"options {options} of {step}, wanted {(dtype.itemsize,)}"
    if step.number == Number.GZIP and not (len(options) == 1 and options[0] <= 9):
        return f"options {options} of {step}, wanted one level, 0 to 9"
    return None


def _nothing(name: str) -> Stream:
    none = np.zeros(0, np.uint64)
    return Stream(name, np.zeros(0, np.int64), none, none, None, None)
