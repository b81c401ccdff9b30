"""A file of ours against docs/format.md: every MUST that can be seen without decoding a sample.

    root attributes ─> samples ─> columns beside them ─> index ─> do their places overlap?

The invariant: one fault does not hide another. Whatever a look at one thing raises is a fault of
that thing, and the next one is looked at. No chunk goes through HDF5.
"""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from celeiro.care import decoding
from celeiro.errors import FormatError
from celeiro.format import filters, layout
from celeiro.format.checksum import crc32c
from celeiro.format.chunks import ChunkCodec, Number, filters_of
from celeiro.format.index import MISSING
from celeiro.format.names import Names
from celeiro.packing.stats import channels
from celeiro.reading import hdf5
from celeiro.reading.columns import Texts
from celeiro.reading.header import read_header
from celeiro.reading.layouts import stored_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from celeiro.care.verdict import Findings
    from celeiro.format.chunks import Filter
    from celeiro.reading.header import Header
    from celeiro.storage.local import File

# Bytes of a column that are read at once for its checksum.
_PIECE = 1 << 20
_MOST_FIELDS = 4096
# A sample takes a byte at least; what is promised beyond that (of a file that was cut, all) is
# believed up to here.
_MOST_BEYOND = 1 << 24
_NUMBERS = ("<i8", "<f8", "|u1")
# Filters of a store, in the order in which they are applied.
_PIPELINES: dict[str, list[tuple[int, ...]]] = {"jpeg": [(32019,)], "lossless": [(32001,), (2, 1)]}
_COLORS = ("RGB", "BGR", "GRAY", "")


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


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """What a file of ours turned out to hold."""

    store: str
    """How samples stand on disk."""
    header: Header
    """What its root says."""
    count: int
    """Samples that there should be."""
    shape: tuple[int, ...] | None
    """Of one; None where each has its own."""
    streams: tuple[Stream, ...]
    """What has a checksum a sample: the samples, and masks where there are any."""
    keys: Texts | None
    """Where each sample comes from."""
    columns: Mapping[str, npt.NDArray[Any]]
    """Every plain data set of the format that is sound, by path."""


def examine(
    file: h5py.File, path: Path, disk: File, found: Findings, *, header: Header | None = None,
    count: int = 0, hints: bool = True,
) -> Structure | None:  # fmt: skip
    """Hold a file to the page; None where it cannot be told what its samples are.

    `header` stands for the attributes of a root that is lost, `count` for the number of samples
    where they do not tell it; without `hints` the file's own index is not looked at.
    """
    return _Page(file, path, disk, found, count, hints).read(header)


class _Page:
    """One look at one file."""

    def __init__(
        self, file: h5py.File, path: Path, disk: File, found: Findings, count: int,
        hints: bool,
    ) -> None:  # fmt: skip
        self.hints = hints
        self.file = file
        self.path = path
        self.disk = disk
        self.found = found
        self.count = count
        self.columns: dict[str, npt.NDArray[Any]] = {}
        # Name, first byte and length of everything that stands in the file.
        self.places: list[tuple[str, int, int]] = []

    def read(self, header: Header | None) -> Structure | None:
        if header is None:
            self._attributes()
            try:
                header = read_header(self.file, self.path)
            except FormatError as error:
                self.found.add("/", _without(str(error), self.path))
                return None
        data = self._look(header.key)
        stream = None
        if not isinstance(data, h5py.Dataset) or not data.shape:
            self.found.add(header.key, "this should be the samples, and is no data set of them")
            self.count = self._count_of(layout.CRC)
            self._crcs(layout.CRC)
        else:
            with self._about(header.key):
                if header.store == "encoded":
                    stream = self._files(header.key, layout.CRC, mask=False)
                else:
                    stream = self._sized(data, header.store)
        streams = [] if stream is None else [stream]
        with self._about(layout.FIELDS):
            streams += self._fields(header.store)
        sized = isinstance(data, h5py.Dataset) and header.store != "encoded"
        shape = tuple(data.shape[1:]) if sized else None
        self._columns((0, 0, 3) if header.store == "encoded" else shape)
        keys = None
        with self._about(layout.KEYS):
            keys = self._texts(layout.KEYS)
        if streams or self.places:
            self._apart(streams)
        if stream is not None:
            self._whole_file(header.key, stream)
        return Structure(
            header.store, header, self.count, shape, tuple(streams), keys, self.columns
        )

    @contextlib.contextmanager
    def _about(self, name: str) -> Iterator[None]:
        """Whatever is raised within is a fault of `name`."""
        try:
            yield
        except MemoryError:
            raise
        except FormatError as error:
            self.found.add(name, _without(str(error), self.path))
        except Exception as error:  # h5py has another error for everything that may be wrong
            self.found.add(name, f"HDF5 cannot read it: {error}")

    # The root

    def _attributes(self) -> None:
        with self._about("/"):
            text = (layout.ATTR_STORE, layout.ATTR_KEY, layout.ATTR_COLOR, layout.ATTR_PROVENANCE)
            for name in text:
                if name in self.file.attrs and not _is_fixed_text(self.file.attrs.get_id(name)):
                    self.found.add(
                        "/", f"the attribute {name!r} is not text of fixed length in UTF-8"
                    )
            color = hdf5.attribute(self.file, layout.ATTR_COLOR)
            if isinstance(color, str) and color not in _COLORS:
                self.found.add("/", f"colour order {color!r}, wanted RGB, BGR, GRAY or nothing")
            told = hdf5.attribute(self.file, layout.ATTR_PROVENANCE)
            if isinstance(told, str) and not _is_table(told):
                self.found.add("/", "the provenance is no JSON object")

    # The samples

    def _sized(self, data: h5py.Dataset, store: str) -> Stream | None:
        """Samples of one shape: rows, or a chunk each."""
        name = self.file_name(data)
        dtype = self._values_of(data, name)
        self.count = int(data.shape[0])
        if dtype is None or not self._is_kept_here(data, name):
            return None
        if self.count > max(self.disk.size, _MOST_BEYOND):
            self.found.add(name, f"{self.count:,} samples in {self.disk.size:,} bytes")
            self.count = 0
            return None
        if store == "pixels":
            return self._rows(data, name, dtype)
        return self._chunks(data, name, dtype, store, layout.INDEX, layout.CRC)

    def file_name(self, data: h5py.Dataset) -> str:
        return str(data.name).lstrip("/")

    def _values_of(self, data: h5py.Dataset, name: str) -> np.dtype[Any] | None:
        found = stored_dtype(data)
        sizes = {"b": (1,), "u": (1, 2, 4, 8), "i": (1, 2, 4, 8), "f": (2, 4, 8), "c": (8, 16)}
        if found is None or found.itemsize not in sizes.get(found.kind, ()):
            self.found.add(name, f"values of type {data.dtype}, which the format does not hold")
            return None
        if found.byteorder == ">":
            self.found.add(name, "its numbers are big-endian, wanted little-endian")
        return found

    def _is_kept_here(self, data: h5py.Dataset, name: str) -> bool:
        plist = data.id.get_create_plist()
        if plist.get_external_count() or plist.get_layout() == h5py.h5d.VIRTUAL:
            self.found.add(name, "its values are kept in other files, wanted in this one")
            return False
        return True

    def _rows(self, data: h5py.Dataset, name: str, dtype: np.dtype[Any]) -> Stream | None:
        plist = data.id.get_create_plist()
        if plist.get_layout() != h5py.h5d.CONTIGUOUS or plist.get_nfilters():
            self.found.add(name, "not contiguous, as 'pixels' is. Another program rewrote it")
            return None
        length = math.prod(data.shape[1:]) * dtype.itemsize
        crcs = self._crcs(layout.CRC)
        if not self.count:
            return _nothing(name)
        base = self._contiguous(data, name)
        if base is None or length < 1:
            return None
        # Of a file that was cut short, the rows before the cut.
        count = min(self.count, max(0, self.disk.size - base) // length)
        self.found.expect(count)
        rows = np.arange(count, dtype=np.int64)
        starts = np.uint64(base) + rows.astype(np.uint64) * np.uint64(length)
        lengths = np.full(count, length, np.uint64)
        codec = ChunkCodec((1, *data.shape[1:]), dtype)
        return Stream(name, rows, starts, lengths, crcs, None, codec)

    def _contiguous(self, data: h5py.Dataset, name: str) -> int | None:
        """Where a contiguous data set begins; a fault where it is not all in the file."""
        wanted = hdf5.raw_bytes(data)
        stored, base = int(data.id.get_storage_size()), data.id.get_offset()
        if base is None or base < 0 or stored != wanted:
            self.found.add(name, f"{stored:,} bytes are stored, wanted {wanted:,}")
            return None
        if base + wanted > self.disk.size:
            self.found.add(
                name,
                f"its {wanted:,} bytes begin at byte {base:,}, and the file has "
                f"{self.disk.size:,}: cut short",
            )
        return int(base)

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
        crcs = self._crcs(crc)
        codec = None
        with self._about(name):
            codec = ChunkCodec(wanted, dtype, pipeline)
        decode = None if codec is None else partial(decoding.chunk, codec)
        self.found.expect(self.count)
        table, masks = self._listed(data, name)
        sound = self._stored_chunks(name, table, masks)
        if self.hints:
            self._index(index, table)
        return Stream(name, sound, table[sound, 0], table[sound, 1], crcs, decode, codec)

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

        with self._about(name):
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
        stored = self._column(name, ("<u8",), (self.count, 2), needed=True)
        if stored is None:
            return
        data = self._look(name)
        end = _number(data, layout.ATTR_FILE_END, np.uint64)
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

    def _files(self, name: str, crc: str, *, mask: bool) -> Stream | None:
        """Picture files one after the other."""
        data = self._look(name)
        if not isinstance(data, h5py.Dataset) or data.dtype != np.uint8 or data.ndim != 1:
            self.found.add(name, "these should be the bytes of picture files (uint8)")
            return None
        plist = data.id.get_create_plist()
        if not self._is_kept_here(data, name):
            return None
        if plist.get_layout() != h5py.h5d.CONTIGUOUS or plist.get_nfilters():
            self.found.add(name, "not contiguous, as 'encoded' is. Another program rewrote it")
            return None
        if not mask:
            self.count = self._count_of(crc)
            self.found.expect(self.count)
        # Without checksums to count, the offsets themselves say how many there are.
        rows = self.count + 1 if self.count else None
        offsets = self._column(layout.offsets(name), ("<u8",), (rows,), needed=True)
        if offsets is None or not len(offsets):
            return None
        self.count = len(offsets) - 1
        shapes = self._column(layout.shapes(name), ("<u4",), (self.count, 3), needed=True)
        turns = self._column(layout.orientations(name), ("|u1",), (self.count,), needed=True)
        marks = self._column(layout.reencoded(name), ("|u1",), (self.count,))
        self._within(layout.orientations(name), turns, 1, 8)
        self._within(layout.reencoded(name), marks, 0, 1)
        crcs = self._crcs(crc)
        if not self._are_offsets(layout.offsets(name), offsets, len(data)):
            return None
        if not len(data):
            return _nothing(name)
        base = self._contiguous(data, name)
        if base is None:
            return None
        decode = None
        if shapes is not None and turns is not None:
            decode = partial(decoding.mask if mask else decoding.picture, shapes, turns)
        starts, lengths = offsets[:-1] + np.uint64(base), np.diff(offsets)
        there = np.flatnonzero(starts + lengths <= np.uint64(self.disk.size))
        return Stream(name, there, starts[there], lengths[there], crcs, decode)

    def _count_of(self, name: str) -> int:
        data = self._look(name)
        there = isinstance(data, h5py.Dataset) and len(data.shape or ()) == 1
        return len(data) if there else self.count

    def _are_offsets(self, name: str, offsets: npt.NDArray[np.uint64], end: int) -> bool:
        if int(offsets[0]) != 0 or int(offsets[-1]) != end:
            self.found.add(
                name, f"from {int(offsets[0]):,} to {int(offsets[-1]):,}, wanted 0 to {end:,}"
            )
        elif (offsets[1:] < offsets[:-1]).any():
            at = int(np.argmax(offsets[1:] < offsets[:-1]))
            self.found.add(name, f"they fall at row {at:,}")
        else:
            return True
        return False

    # What stands beside them

    def _columns(self, shape: tuple[int, ...] | None) -> None:
        """Labels, names of classes, splits, statistics."""
        names = None
        with self._about(layout.LABEL_NAMES):
            names = self._column(layout.LABEL_NAMES, ("S",), (None,))
        with self._about(layout.LABELS):
            self._labels(None if names is None else len(names))
        with self._about(layout.SPLITS):
            self._splits()
        width = None if shape is None else channels(shape)
        for name in (layout.MEAN, layout.STD):
            with self._about(name):
                self._statistics(name, width)

    def _labels(self, classes: int | None) -> None:
        data = self._look(layout.LABELS)
        if data is None:
            return
        several = isinstance(data, h5py.Dataset) and len(data.shape or ()) == 2
        kinds = _NUMBERS if several else ("<i8", "<f8")
        rows = (self.count, None) if several else (self.count,)
        labels = self._column(layout.LABELS, kinds, rows)
        if labels is None:
            return
        if labels.dtype == np.uint8:
            self._within(layout.LABELS, labels, 0, 1)
        if classes is not None and labels.dtype == np.int64 and not several:
            self._within(layout.LABELS, labels, 0, classes - 1, soft=True)

    def _splits(self) -> None:
        group = self._look(layout.SPLITS)
        if group is None:
            return
        if not isinstance(group, h5py.Group):
            self.found.add(layout.SPLITS, "no group of splits")
            return
        taken = np.zeros(self.count, bool)
        for raw in hdf5.names_in(group, 256):
            name = layout.split(raw.decode("utf-8", "surrogateescape"))
            with self._about(name):
                rows = self._column(name, ("<u8",), (None,))
                if rows is None or not len(rows):
                    continue
                if int(rows.max()) >= self.count or (rows[1:] <= rows[:-1]).any():
                    self.found.add(
                        name,
                        f"wanted numbers of samples below {self.count:,}, each larger than the one "
                        "before",
                    )
                    continue
                if taken[rows].any():
                    self.found.add(name, "a sample of it is in another split as well")
                taken[rows] = True

    def _statistics(self, name: str, width: int | None) -> None:
        values = self._column(name, ("<f8",), (width,))
        if values is None:
            return
        measured = self._look(name).attrs.get(layout.ATTR_MEASURED)
        told = measured.decode("utf-8", "replace") if isinstance(measured, bytes) else measured
        if told not in (layout.MEASURED_STORED, layout.MEASURED_INPUT):
            self.found.add(name, f"measured of {told!r}, which is nothing that the format knows")

    def _fields(self, store: str) -> list[Stream]:
        group = self._look(layout.FIELDS)
        if group is None:
            return []
        if not isinstance(group, h5py.Group):
            self.found.add(layout.FIELDS, "no group of fields")
            return []
        names = [
            raw.decode("utf-8", "surrogateescape") for raw in hdf5.names_in(group, _MOST_FIELDS)
        ]
        beside = {part(name) for name in names for part in layout.BESIDE}
        streams = []
        for name in names:
            if name in beside:
                continue
            with self._about(layout.field(name)):
                stream = self._field(name, store)
                if stream is not None:
                    streams.append(stream)
        return streams

    def _field(self, name: str, store: str) -> Stream | None:
        path = layout.field(name)
        data = self._look(path)
        if not isinstance(data, h5py.Dataset):
            if data is not None:
                self.found.add(path, "no data set")
        elif self._look(layout.field_crc(name)) is not None:
            return self._pictures(name, data, store)
        elif self._look(layout.offsets(path)) is not None:
            self._ragged(path, data)
        elif name.endswith(tuple(part("") for part in layout.BESIDE)):
            self.found.add(path, "a field's name must not end so")
        else:
            several = len(data.shape or ()) == 2
            rows = (self.count, None) if several else (self.count,)
            self._column(path, _NUMBERS if several else (*_NUMBERS, "S"), rows)
        return None

    def _pictures(self, name: str, data: h5py.Dataset, store: str) -> Stream | None:
        path, crc = layout.field(name), layout.field_crc(name)
        if store == "encoded":
            return self._files(path, crc, mask=True)
        dtype = self._values_of(data, path)
        if dtype is None or not self._is_kept_here(data, path):
            return None
        if len(data) != self.count:
            self.found.add(path, f"{len(data):,} pictures for {self.count:,} samples")
            return None
        return self._chunks(data, path, dtype, "lossless", layout.field_index(name), crc)

    def _ragged(self, name: str, data: h5py.Dataset) -> npt.NDArray[np.uint64] | None:
        """Rows of unequal length: their offsets, where they are sound."""
        shape = (None, 4) if len(data.shape or ()) == 2 else (None,)
        values = self._column(name, _NUMBERS, shape)
        offsets = self._column(layout.offsets(name), ("<u8",), (self.count + 1,), needed=True)
        if values is None or offsets is None:
            return None
        return offsets if self._are_offsets(layout.offsets(name), offsets, len(values)) else None

    def _texts(self, name: str) -> Texts | None:
        data = self._look(name)
        if data is None:
            return None
        if isinstance(data, h5py.Dataset) and self._look(layout.offsets(name)) is not None:
            offsets = self._ragged(name, data)
            return None if offsets is None else Texts(Names(self.columns[name], offsets))
        column = self._column(name, ("S",), (self.count,))
        return None if column is None else Texts(column)

    def _crcs(self, name: str) -> npt.NDArray[np.uint32] | None:
        return self._column(name, ("<u4",), (self.count,), needed=True)

    # One column

    def _column(
        self, name: str, kinds: tuple[str, ...], shape: tuple[int | None, ...], *,
        needed: bool = False,
    ) -> npt.NDArray[Any] | None:  # fmt: skip
        """The values of a plain data set; None where it is not there, or a fault."""
        data = self._look(name)
        if data is None:
            if needed:
                self.found.add(name, "it is not there")
            return None
        if not isinstance(data, h5py.Dataset):
            self.found.add(name, "no data set")
            return None
        problem = _unlike(data, kinds, shape)
        if problem:
            self.found.add(name, problem)
            return None
        crc = _number(data, layout.ATTR_CRC, np.uint32)
        if crc is None:
            self.found.add(name, f"it has no checksum ({layout.ATTR_CRC!r}, uint32)")
        values = self._load(data, name)
        if values is None or crc is None:
            return None
        if _crc_of(values) != crc:
            self.found.add(
                name,
                "its bytes are not those of its checksum: damaged, or another program wrote to it",
            )
            return None
        self.columns[name] = values
        return values

    def _load(self, data: h5py.Dataset, name: str) -> npt.NDArray[Any] | None:
        """All values, from the disk itself."""
        values = np.empty(data.shape, np.dtype(data.dtype.str))
        if data.id.get_create_plist().get_layout() == h5py.h5d.COMPACT:
            return np.asarray(data[()], values.dtype).reshape(values.shape)
        if not values.nbytes:
            return values
        base = self._contiguous(data, name)
        if base is None or base + values.nbytes > self.disk.size:
            return None
        self.disk.read_into(values.reshape(-1).view(np.uint8).data, base)
        self.places.append((name, base, values.nbytes))
        return values

    def _look(self, name: str) -> Any:
        """What stands under a name of the format; None where nothing does, or a fault."""
        at: Any = self.file
        for part in name.split("/"):
            raw = part.encode("utf-8", "surrogateescape")
            if not isinstance(at, h5py.Group) or not at.id.links.exists(raw):
                return None
            if at.id.links.get_info(raw).type != h5py.h5l.TYPE_HARD:
                self.found.add(name, "a soft or external link, wanted the thing itself")
                return None
            try:
                at = at[raw]
            except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
                self.found.add(name, f"HDF5 cannot open it: {error}")
                return None
        return at

    def _within(
        self, name: str, values: npt.NDArray[Any] | None, low: int, high: int, *, soft: bool = False
    ) -> None:
        if values is None or not values.size:
            return
        least, most = int(values.min()), int(values.max())
        if low <= least and most <= high:
            return
        text = f"values from {least:,} to {most:,}, wanted {low:,} to {high:,}"
        if soft:
            self.found.remark(f"{name}: {text}")
        else:
            self.found.add(name, text)

    # All together

    def _apart(self, streams: list[Stream]) -> None:
        """Nothing may stand where something else does."""
        names = [stream.name for stream in streams] + [name for name, _, _ in self.places]
        starts = [s.starts for s in streams] + [np.array([b], np.uint64) for _, b, _ in self.places]
        sizes = [s.lengths for s in streams] + [np.array([n], np.uint64) for _, _, n in self.places]
        whose = np.repeat(np.arange(len(names)), [len(part) for part in starts])
        rows = np.concatenate([*(s.numbers for s in streams), np.full(len(self.places), -1)])
        first, length = np.concatenate(starts), np.concatenate(sizes)
        order = np.argsort(first, kind="stable")
        order = order[length[order] > 0]
        ends = np.maximum.accumulate(first[order] + length[order])
        for at in (np.flatnonzero(first[order][1:] < ends[:-1]) + 1).tolist():
            one, other = int(order[at]), int(order[at - 1])
            row = int(rows[one])
            self.found.add(
                names[whose[one]],
                f"its bytes from {int(first[one]):,} on stand where {names[whose[other]]}"
                + (f", sample {int(rows[other]):,}" if rows[other] >= 0 else "")
                + " does",
                sample=row if row >= 0 else None,
            )

    def _whole_file(self, key: str, stream: Stream) -> None:
        """What another program that rewrote the file leaves otherwise: remarks, no faults."""
        version = self.file.id.get_create_plist().get_version()[0]
        if version != 3:
            self.found.remark(
                f"its HDF5 superblock is of version {version}, celeiro writes 3: another program "
                "rewrote the file"
            )
        if not len(stream.starts):
            return
        if int(stream.starts.min()) != layout.PAYLOAD_OFFSET:
            self.found.remark(
                f"{key} begins at byte {int(stream.starts.min()):,}, celeiro writes it from "
                f"{layout.PAYLOAD_OFFSET:,} on: another program rewrote the file"
            )
        end = int((stream.starts + stream.lengths).max())
        free = end - int(stream.starts.min()) - int(stream.lengths.sum(dtype=np.uint64))
        if free > 0:
            self.found.remark(f"{free:,} bytes between samples of {key} belong to none of them")
        if (np.diff(stream.starts.astype(np.int64)) < 0).any():
            self.found.remark(f"samples of {key} do not stand in their order")


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


def _unlike(
    data: h5py.Dataset, kinds: tuple[str, ...], shape: tuple[int | None, ...]
) -> str | None:
    """Why a data set is not a plain column of such values and such a shape; None where it is."""
    dtype = hdf5.dtype_of(data)
    told = "text" if dtype is not None and dtype.kind == "S" else str(dtype)
    if dtype is None or (dtype.str not in kinds and dtype.kind not in kinds):
        wanted = " or ".join("text" if k == "S" else str(np.dtype(k)) for k in kinds)
        order = ", big-endian" if dtype is not None and dtype.byteorder == ">" else ""
        return f"values of {told}{order}, wanted {wanted}, little-endian"
    found = data.shape
    if found is None or len(found) != len(shape) or any(
        want is not None and want != side for want, side in zip(shape, found, strict=True)
    ):  # fmt: skip
        return f"its shape is {found}, wanted {_sides(shape)}"
    plist = data.id.get_create_plist()
    if plist.get_external_count():
        return "its values are kept in other files, wanted in this one"
    inside = plist.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
    if not inside or plist.get_nfilters():
        return "it is chunked or filtered, wanted contiguous and plain"
    stored, wanted_bytes = int(data.id.get_storage_size()), hdf5.raw_bytes(data)
    if stored != wanted_bytes:
        return f"{stored:,} bytes are stored, wanted {wanted_bytes:,}"
    return None


def _sides(shape: tuple[int | None, ...]) -> str:
    inner = ", ".join("any" if side is None else f"{side:,}" for side in shape)
    return f"({inner},)" if len(shape) == 1 else f"({inner})"


def _crc_of(values: npt.NDArray[Any]) -> int:
    """Some bytes at a time, so that other threads run between."""
    flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    crc = 0
    for at in range(0, len(flat), _PIECE):
        crc = crc32c(flat[at : at + _PIECE].data, crc)
    return crc


def _number(data: h5py.Dataset, name: str, kind: Any) -> int | None:
    """A whole number of just this type that a data set carries; None for anything else."""
    if name not in data.attrs:
        return None
    stored = data.attrs.get_id(name)
    if stored.shape != () or stored.dtype != kind:
        return None
    return int(data.attrs[name])


def _is_fixed_text(stored: Any) -> bool:
    kind = stored.get_type()
    return (
        stored.shape == ()
        and isinstance(kind, h5py.h5t.TypeStringID)
        and not kind.is_variable_str()
        and kind.get_cset() == h5py.h5t.CSET_UTF8
    )


def _is_table(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _nothing(name: str) -> Stream:
    none = np.zeros(0, np.uint64)
    return Stream(name, np.zeros(0, np.int64), none, none, None, None)


def _without(text: str, path: Path) -> str:
    """A message without the file's name before it, which is told once for all."""
    return text.removeprefix(f"{path}: ")
