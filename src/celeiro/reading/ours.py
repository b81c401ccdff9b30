"""A file of ours, held to docs/format.md while it is opened.

Columns are checked against their checksums when they are read, samples when they are; the file's
own index of chunks is a hint, and HDF5 is asked where something speaks against it.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from celeiro.errors import FormatError, OptionError
from celeiro.format import bfloat16, index, layout
from celeiro.format.checksum import crc32c
from celeiro.format.chunks import ChunkCodec, filters_of
from celeiro.format.names import Names
from celeiro.format.ragged import Ragged
from celeiro.reading import hdf5
from celeiro.reading.belief import Belief
from celeiro.reading.columns import Lazy, Pictures, Texts
from celeiro.reading.contents import Contents
from celeiro.reading.header import Header, samples_of
from celeiro.reading.layouts import Way, samples_in, stored_bits, stored_dtype
from celeiro.reading.samples.chunks import ChunkSamples
from celeiro.reading.samples.files import FileSamples
from celeiro.reading.samples.flipped import FlippedSamples
from celeiro.reading.samples.rows import RowSamples
from celeiro.reading.samples.widened import WidenedSamples
from celeiro.reading.threads import Lock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from celeiro.reading.samples import Samples

log = logging.getLogger(__name__)

# Samples whose checksums are compared, when a file is opened, with the bytes that its index tells.
_PROBED = 16
# Filters of a store, in the order in which they are applied.
_FILTERS: dict[str, list[tuple[int, ...]]] = {"jpeg": [(32019,)], "lossless": [(32001,), (2, 1)]}

_ADVICE = ": `celeiro verify` tells more, `celeiro salvage` keeps what is sound."


class Ours:
    """A file of ours while it is being opened."""

    def __init__(
        self, file: h5py.File, path: Path, header: Header, way: Way, verify: bool | None
    ) -> None:
        self.file = file
        self.path = path
        self.header = header
        self.way = way
        self.check_crcs = verify is not False
        self.verify_rows = verify is True
        self._said = False

    def contents(self, color: str | None) -> Contents:
        """All that it holds, checked; `color` is the order to give channels in."""
        header = self.header
        data = samples_of(self.file, header)
        samples, reindex = self._samples(data, color)
        count = len(samples)
        keys = self._texts(layout.KEYS, count)
        names = self._column(layout.LABEL_NAMES, "S", 1)
        split_names = self._names_in(layout.SPLITS, 256)
        return Contents(
            store=header.store,
            key=header.key,
            samples=samples,
            color=color or header.color,
            labels=self._labels(count),
            label_names=() if names is None else tuple(Texts(names())),
            keys=keys,
            splits={name: self._split(name, count) for name in split_names},
            fields=self._fields(count, keys),
            mean=self._floats(layout.MEAN, color),
            std=self._floats(layout.STD, color),
            provenance=header.provenance,
            checksums=self._column(layout.CRC, "u", 1),
            reencoded=self._column(layout.reencoded(header.key), "u", 1),
            reindex=reindex,
        )

    # The samples

    def _samples(
        self, data: h5py.Dataset, color: str | None
    ) -> tuple[Samples, Callable[[], bool] | None]:
        header = self.header
        if header.store == "encoded":
            return self._files(header.key, layout.CRC, color or header.color), None
        self._check_store(data, header.key, header.store)
        flip = _flips(color, header.color, self.path)
        reindex = None
        samples: Samples
        if header.store == "pixels":
            crcs = self._crcs(layout.CRC, len(data)) if self.verify_rows else None
            samples = self._rows(data, crcs)
        else:
            samples = chunked = self._chunks(data, layout.INDEX, layout.CRC)
            if bfloat16.is_stored(data):
                samples = WidenedSamples(chunked, workers=self.way.workers)
            reindex = _Reindex(chunked, self.path, header.key, self.way)
        if flip:
            samples = FlippedSamples(samples, workers=self.way.workers)
        return samples, reindex

    def is_rewritten(self) -> bool:
        """Whether another program stored the samples in a way that is not the store's."""
        if self.header.store == "encoded":
            return False
        try:
            self._check_store(
                samples_of(self.file, self.header), self.header.key, self.header.store
            )
        except FormatError:
            return True
        return False

    def _check_store(self, data: h5py.HLObject | None, name: str, store: str) -> None:
        """Refuse samples that are not stored as the store has it."""
        if not isinstance(data, h5py.Dataset):
            raise FormatError(f"{self.path}: {name!r} is no data set. It is damaged{_ADVICE}")
        plist = data.id.get_create_plist()
        found = [f.number for f in filters_of(plist)]
        form = plist.get_layout()
        if store == "pixels":
            right = form in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT) and not found
        else:
            wanted = (1, *(data.shape or ())[1:])
            right = (
                form == h5py.h5d.CHUNKED
                and data.chunks == wanted
                and tuple(found) in _FILTERS[store]
            )
        if not right or not data.shape or plist.get_external_count():
            raise FormatError(
                f"{self.path}: {data.name!r} is not stored as {store!r} is (layout {form}, chunks "
                f"{data.chunks}, filters {found}). Another program rewrote it: open it "
                "with verify=False to read it as a file of anybody's, or pack it again."
            )

    def _rows(self, data: h5py.Dataset, crcs: npt.NDArray[np.uint32] | None) -> Samples:
        if data.id.get_create_plist().get_layout() == h5py.h5d.COMPACT:
            return samples_in(data, self.way, crcs=crcs)
        rows = index.rows_of(data, self.way.source.file.size)
        if rows is None and len(data):
            raise FormatError(
                f"{self.path}: {data.name!r} was never written. It is damaged{_ADVICE}"
            )
        if rows is None:
            return samples_in(data, self.way)
        if bfloat16.is_stored(data):
            return samples_in(data, self.way, crcs=crcs)
        return RowSamples(
            self.way.source, rows, data.shape[1:], self._dtype(data), crcs=crcs,
            workers=self.way.workers,
        )  # fmt: skip

    def _chunks(self, data: h5py.Dataset, index_name: str, crc_name: str) -> ChunkSamples:
        stored = bfloat16.bits_type(data.id.get_type()) or self._dtype(data)
        codec = ChunkCodec(data.chunks, stored, filters_of(data.id.get_create_plist()))
        crcs = self._crcs(crc_name, len(data)) if self.check_crcs else None
        chunks = self._index(data, index_name, crcs)
        bad = (chunks.offsets == index.MISSING).any() or chunks.masks is not None
        if bad:
            raise FormatError(
                f"{self.path}: chunks of {data.name!r} are missing or went without their filters. "
                f"It is damaged{_ADVICE}"
            )
        # All were written, so that there is nothing to fill in.
        return ChunkSamples(
            self.way.source, chunks, codec, data.shape, fill=0, crcs=crcs,
            workers=self.way.workers,
        )  # fmt: skip

    def _index(
        self, data: h5py.Dataset, name: str, crcs: npt.NDArray[np.uint32] | None
    ) -> index.Chunks:
        """The table of chunks: the file's own where it can be believed, else HDF5's."""
        reason = "checksums are not looked at"
        stored = hdf5.plain(self.file, name, "u", 2) if crcs is not None else None
        if crcs is not None:
            reason = "it is not there"
        if stored is not None and stored.dtype == np.uint64 and stored.shape == (len(data), 2):
            table = self._read(stored)
            end = _number(stored, layout.ATTR_FILE_END)
            size = self.way.source.file.size
            found = index.hint(
                table, count=len(data), stored_crc=_number(stored, layout.ATTR_CRC),
                file_end=end, file_size=size,
            )  # fmt: skip
            reason = found or self._probe(table, crcs) or ""
            if not reason:
                return index.Chunks.of_table(index.grid_of(data), table)
        if crcs is not None:
            log.log(
                logging.DEBUG if self._said else logging.WARNING,  # that of masks will be the same
                "%s: its index of samples is not used (%s); HDF5 is asked where they are.",
                self.path,
                reason,
            )
            self._said = True
        return index.chunks_of(data, self.way.source.file.size, self.way.on_progress)

    def _probe(self, table: npt.NDArray[np.uint64], crcs: Any) -> str | None:
        """Why some samples speak against the table; None where none does."""
        file = self.way.source.file
        for number in np.unique(np.linspace(0, len(table) - 1, _PROBED).astype(int)).tolist():
            offset, length = table[number].tolist()
            if crc32c(file.read(length, offset)) != crcs[number]:
                return f"sample {number:,} is not where it says"
        return None

    def _files(self, name: str, crc_name: str, color: str | None) -> FileSamples:
        data = hdf5.plain(self.file, name, "u", 1)
        if data is None or data.dtype != np.uint8:
            raise FormatError(
                f"{self.path}: {name!r} is not stored as 'encoded' is. It is damaged{_ADVICE}"
            )
        offsets = self._wanted(layout.offsets(name), "u", 1)
        if offsets.dtype != np.uint64 or not len(offsets):
            raise FormatError(f"{self.path}: {layout.offsets(name)!r} are no offsets.")
        shapes = self._wanted(layout.shapes(name), "u", 2)
        count = len(offsets) - 1
        if shapes.shape != (count, 3):
            raise FormatError(
                f"{self.path}: {layout.shapes(name)!r} is {shapes.shape} for {count:,} samples. "
                f"It is damaged{_ADVICE}"
            )
        rows = self._place(data)
        return FileSamples(
            self.way.source,
            index.flat_of(rows, offsets, name),
            shapes,
            color=None if color is None else _decodable(color, self.path),
            crcs=self._crcs(crc_name, count) if self.check_crcs else None,
            workers=self.way.workers,
        )

    def _place(self, data: h5py.Dataset) -> index.Rows:
        if data.id.get_create_plist().get_layout() == h5py.h5d.COMPACT:
            raise FormatError(
                f"{self.path}: {data.name!r} stands in a header. It is damaged{_ADVICE}"
            )
        rows = index.rows_of(data, self.way.source.file.size)
        return rows or index.Rows(0, 1, 0)

    def _dtype(self, data: h5py.Dataset) -> np.dtype[Any]:
        found = stored_dtype(data)
        if found is None or found.kind not in "buifc":
            raise FormatError(
                f"{self.path}: the values of {data.name!r} are of a type that the format does not "
                f"hold. It is damaged{_ADVICE}"
            )
        return found

    def _crcs(self, name: str, count: int) -> npt.NDArray[np.uint32]:
        crcs = self._wanted(name, "u", 1)
        if crcs.shape != (count,) or crcs.dtype != np.uint32:
            raise FormatError(
                f"{self.path}: {name!r} holds {crcs.shape} {crcs.dtype} for {count:,} samples. It "
                "is damaged."
            )
        return crcs

    # Columns

    def _found(self, path: str) -> h5py.HLObject | None:
        """What stands at a path; FormatError where something does that cannot be looked at.

        Nothing of ours is a soft or external link, so what does not open is damaged.
        """
        found = hdf5.found(self.file, path)
        if found is None and hdf5.is_named(self.file, path):
            raise FormatError(
                f"{self.path}: {path!r} is there, but cannot be opened: it is damaged, or a link "
                "that another program made. Look for a copy, or pack it again."
            )
        return found

    def _names_in(self, path: str, most: int) -> list[str]:
        """Names of what is in a group, if there is one."""
        group = self._found(path)
        if group is None:
            return []
        if not isinstance(group, h5py.Group):
            raise FormatError(f"{self.path}: {path!r} should be a group. It is damaged{_ADVICE}")
        return [name.decode("utf-8", "surrogateescape") for name in hdf5.names_in(group, most)]

    def _column(self, name: str, kinds: str, axes: int) -> Lazy[npt.NDArray[Any]] | None:
        """A plain data set; None where it is not there. FormatError where it is something else."""
        if self._found(name) is None:
            return None
        data = hdf5.plain(self.file, name, kinds, axes)
        if data is None:
            raise FormatError(f"{self.path}: {name!r} is not stored as the format has it.")
        shape, dtype = data.shape, np.dtype(data.dtype.str)
        bits = bfloat16.bits_type(data.id.get_type())
        if bits is not None:
            dtype = bits
        elif dtype.kind in "buifc" and stored_dtype(data) is None:
            raise FormatError(
                f"{self.path}: the values of {name!r} are of a type that the format does not hold. "
                f"It is damaged{_ADVICE}"
            )
        crc = _number(data, layout.ATTR_CRC) if self.check_crcs else None
        if self.check_crcs and crc is None:
            raise FormatError(f"{self.path}: {name!r} has no checksum. It is damaged{_ADVICE}")
        if data.id.get_create_plist().get_layout() == h5py.h5d.COMPACT:
            held = np.asarray(data[()], dtype) if bits is None else stored_bits(data, bits)
            return Lazy(lambda: _widened(_checked(held, crc, name, self.path), bits))
        file, offset = self.way.source.file, data.id.get_offset()
        length = math.prod(shape) * dtype.itemsize
        if length and (offset is None or offset + length > file.size):
            raise FormatError(
                f"{self.path}: {name!r} stands outside the file. It is damaged{_ADVICE}"
            )

        def load() -> npt.NDArray[Any]:
            values = np.empty(shape, dtype)
            file.check_open()
            if length:
                file.read_into(values.reshape(-1).view(np.uint8).data, int(offset))
                file.check()
            return _widened(_checked(values, crc, name, self.path), bits)

        return Lazy(load)

    def _wanted(self, name: str, kinds: str, axes: int) -> npt.NDArray[Any]:
        return self._needed(name, kinds, axes)()

    def _needed(self, name: str, kinds: str, axes: int) -> Lazy[npt.NDArray[Any]]:
        column = self._column(name, kinds, axes)
        if column is None:
            raise FormatError(f"{self.path}: {name!r} is not there. It is damaged{_ADVICE}")
        return column

    def _read(self, data: h5py.Dataset) -> npt.NDArray[np.uint64]:
        values = np.empty(data.shape, np.uint64)
        data.read_direct(values)
        return values

    def _labels(self, count: int) -> Lazy[Any] | None:
        data = self._found(layout.LABELS)
        if data is None:
            return None
        axes = len(data.shape or ()) if isinstance(data, h5py.Dataset) else 0
        column = self._column(layout.LABELS, "biuf", axes) if axes in (1, 2) else None
        if column is None or data.shape[0] != count:
            raise FormatError(
                f"{self.path}: {layout.LABELS!r} does not hold one label for each of {count:,} "
                f"samples. It is damaged{_ADVICE}"
            )
        return column

    def _texts(self, name: str, count: int) -> Lazy[Texts] | None:
        if self._found(layout.offsets(name)) is not None:
            ragged = self._ragged(name, count)
            return Lazy(lambda: Texts(Names(ragged().values, ragged().offsets)))
        column = self._column(name, "S", 1)
        data = self._found(name)
        if column is None or data is None:
            return None
        if data.shape[0] != count:
            raise FormatError(
                f"{self.path}: {name!r} has not {count:,} rows. It is damaged{_ADVICE}"
            )
        return Lazy(lambda: Texts(column()))

    def _ragged(self, name: str, count: int) -> Lazy[Ragged]:
        flat = self._found(name)
        axes = len(flat.shape or ()) if isinstance(flat, h5py.Dataset) else 0
        values = self._column(name, "iuf", axes) if axes in (1, 2) else None
        ends = self._column(layout.offsets(name), "u", 1)
        if values is None or ends is None:
            raise FormatError(f"{self.path}: {name!r} is not stored as the format has it.")

        def load() -> Ragged:
            found, offsets = values(), ends()
            sound = offsets.shape == (count + 1,) and offsets.dtype == np.uint64
            if not sound or offsets[0] != 0 or offsets[-1] != len(found):
                raise FormatError(f"{self.path}: the offsets of {name!r} do not fit its rows.")
            if (offsets[1:] < offsets[:-1]).any():
                raise FormatError(f"{self.path}: the offsets of {name!r} fall.")
            return Ragged(found, offsets)

        return Lazy(load)

    def _split(self, name: str, count: int) -> Lazy[npt.NDArray[np.int64]]:
        path = layout.split(name)
        column = self._needed(path, "u", 1)

        def load() -> npt.NDArray[np.int64]:
            rows = column()
            if len(rows) and (int(rows.max()) >= count or (rows[1:] <= rows[:-1]).any()):
                raise FormatError(
                    f"{self.path}: {path!r} should be numbers of samples below {count:,}, each "
                    f"larger than the one before. It is damaged{_ADVICE}"
                )
            return rows.astype(np.int64)

        return Lazy(load)

    def _floats(self, name: str, color: str | None) -> npt.NDArray[np.float64] | None:
        """One number a channel, in the order in which channels are given."""
        column = self._column(name, "f", 1)
        if column is None or color in (None, self.header.color):
            return None if column is None else column()
        # Of grey there is no mean that could be told from those of colours.
        return column()[::-1] if {color, self.header.color} == {"RGB", "BGR"} else None

    def _fields(self, count: int, keys: Lazy[Texts] | None) -> dict[str, Lazy[Any]]:
        names = self._names_in(layout.FIELDS, 4096)
        beside = {part(name) for name in names for part in layout.BESIDE}
        return {name: self._field(name, count, keys) for name in names if name not in beside}

    def _field(self, name: str, count: int, keys: Lazy[Texts] | None) -> Lazy[Any]:
        path = layout.field(name)
        data = self._found(path)
        if self._found(layout.field_crc(name)) is not None:
            return self._pictures(name, data, keys)
        if self._found(layout.offsets(path)) is not None:
            text = isinstance(data, h5py.Dataset) and data.dtype == np.uint8
            found = self._texts(path, count) if text else self._ragged(path, count)
            assert found is not None
            return found
        if not isinstance(data, h5py.Dataset) or not data.shape or len(data) != count:
            raise FormatError(
                f"{self.path}: {path!r} has not {count:,} rows. It is damaged{_ADVICE}"
            )
        if data.dtype.kind == "S":
            texts = self._texts(path, count)
            assert texts is not None
            return texts
        return self._needed(path, "biuf", len(data.shape))

    def _pictures(self, name: str, data: Any, keys: Lazy[Texts] | None) -> Lazy[Any]:
        path, crc = layout.field(name), layout.field_crc(name)
        samples: Samples
        reindex = None
        if self.header.store == "encoded":
            samples = self._files(path, crc, None)
        else:
            self._check_store(data, path, "lossless")
            if not isinstance(data, h5py.Dataset) or bfloat16.is_stored(data):
                raise FormatError(f"{self.path}: {path!r} are no masks: their values are bfloat16.")
            samples = chunked = self._chunks(data, layout.field_index(name), crc)
            reindex = _Reindex(chunked, self.path, path, self.way)
        file = self.way.source.file
        belief = Belief(file, what=f"{path} of sample", keys=keys, reindex=reindex)
        return Lazy(lambda: Pictures(samples, belief))


class _Reindex:
    """Asks HDF5, once, where the samples of a file are whose index may be stale."""

    def __init__(self, samples: ChunkSamples, path: Path, key: str, way: Way) -> None:
        self._samples = samples
        self._path = path
        self._key = key
        self._way = way
        self._lock = Lock()
        self._was_stale: bool | None = None

    def __call__(self) -> bool:
        with self._lock.plain:
            if self._was_stale is None:
                self._was_stale = self._ask()
            return self._was_stale

    def _ask(self) -> bool:
        self._way.source.file.check()
        with hdf5.reading(self._path) as file:
            self._way.source.file.check_name()
            found = index.chunks_of(file[self._key], self._way.source.file.size)
        stale = not found.same_places(self._samples.chunks)
        if stale:
            log.warning("%s: its index of samples was stale; HDF5 told where they are.", self._path)
            self._samples.chunks = found
        return stale


def _checked(values: npt.NDArray[Any], crc: int | None, name: str, path: Path) -> npt.NDArray[Any]:
    if (
        crc is not None
        and crc32c(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data) != crc
    ):
        raise FormatError(
            f"{path}: the bytes of {name!r} are not those of its checksum: it is damaged, or "
            "another program wrote to it. Open it with verify=False to read it all the same."
        )
    values.setflags(write=False)
    return values


def _widened(values: npt.NDArray[Any], bits: np.dtype[Any] | None) -> npt.NDArray[Any]:
    """Of bits of bfloat16 the values."""
    if bits is None:
        return values
    made = bfloat16.values_of(values)
    made.setflags(write=False)
    return made


def _number(data: h5py.Dataset, name: str) -> int | None:
    """A whole number that a data set carries; None for anything else."""
    if name not in data.attrs:
        return None
    stored = data.attrs.get_id(name)
    if stored.shape != () or stored.dtype.kind not in "iu":
        return None
    return int(data.attrs[name])


def _flips(color: str | None, stored: str, path: Path) -> bool:
    if color is None or color == stored:
        return False
    if {color, stored} == {"RGB", "BGR"}:
        return True
    raise OptionError(
        f"{path}: color {color!r} of samples whose channels are {stored or 'no colours'!r}. Leave "
        "color out, or choose between RGB and BGR for a file of one of them."
    )


def _decodable(color: str, path: Path) -> Any:
    if color not in ("RGB", "BGR", "GRAY"):
        raise OptionError(f"{path}: color {color!r}, wanted RGB, BGR or GRAY.")
    return color
