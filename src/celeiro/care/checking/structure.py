"""A file of ours against docs/format.md: every MUST that can be seen without decoding a sample.

    root attributes ─> samples ─> columns beside them ─> index ─> do their places overlap?

The invariant: one fault does not hide another. Whatever a look at one thing raises is a fault of
that thing, and the next one is looked at. No chunk goes through HDF5.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from celeiro.care.checking.columns import NUMBERS, SMALL_FLOATS, without
from celeiro.care.checking.streams import Stream, Streams
from celeiro.errors import FormatError
from celeiro.format import layout
from celeiro.packing.stats import channels
from celeiro.reading import hdf5
from celeiro.reading.header import read_header

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from celeiro.care.checking.verdict import Findings
    from celeiro.reading.columns import Texts
    from celeiro.reading.header import Header
    from celeiro.storage.local import File

_MOST_FIELDS = 4096
_COLORS = ("RGB", "BGR", "GRAY", "")


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
    page = _Page(file, path, disk, found, count=count)
    page.hints = hints
    return page.read(header)


class _Page(Streams):
    """One look at one file: columns, samples, and what they mean together."""

    def read(self, header: Header | None) -> Structure | None:
        if header is None:
            self._attributes()
            try:
                header = read_header(self.file, self.path)
            except FormatError as error:
                self.found.add("/", without(str(error), self.path))
                return None
        data = self.look(header.key)
        stream = None
        if not isinstance(data, h5py.Dataset) or not data.shape:
            self.found.add(header.key, "this should be the samples, and is no data set of them")
            self.count = self.count_of(layout.CRC)
            self.crcs(layout.CRC)
        else:
            with self.about(header.key):
                if header.store == "encoded":
                    stream = self.files(header.key, layout.CRC, mask=False)
                else:
                    stream = self.sized(data, header.store)
        streams = [] if stream is None else [stream]
        with self.about(layout.FIELDS):
            streams += self._fields(header.store)
        sized = isinstance(data, h5py.Dataset) and header.store != "encoded"
        shape = tuple(data.shape[1:]) if sized else None
        self._beside((0, 0, 3) if header.store == "encoded" else shape)
        keys = None
        with self.about(layout.KEYS):
            keys = self.texts(layout.KEYS)
        if streams or self.places:
            self._apart(streams)
        if stream is not None:
            self._whole_file(header.key, stream)
        return Structure(header.store, header, self.count, shape, tuple(streams), keys, self.sound)

    # The root

    def _attributes(self) -> None:
        with self.about("/"):
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

    # What stands beside them

    def _beside(self, shape: tuple[int, ...] | None) -> None:
        """Labels, names of classes, splits, statistics."""
        names = None
        with self.about(layout.LABEL_NAMES):
            names = self.column(layout.LABEL_NAMES, ("S",), (None,))
        with self.about(layout.LABELS):
            self._labels(None if names is None else len(names))
        with self.about(layout.SPLITS):
            self._splits()
        width = None if shape is None else channels(shape)
        for name in (layout.MEAN, layout.STD):
            with self.about(name):
                self._statistics(name, width)

    def _labels(self, classes: int | None) -> None:
        data = self.look(layout.LABELS)
        if data is None:
            return
        several = isinstance(data, h5py.Dataset) and len(data.shape or ()) == 2
        kinds = NUMBERS if several else ("<i8", "<f8")
        rows = (self.count, None) if several else (self.count,)
        labels = self.column(layout.LABELS, kinds, rows)
        if labels is None:
            return
        if labels.dtype == np.uint8:
            self.within(layout.LABELS, labels, 0, 1)
        if classes is not None and labels.dtype == np.int64 and not several:
            self.within(layout.LABELS, labels, 0, classes - 1, soft=True)

    def _splits(self) -> None:
        group = self.look(layout.SPLITS)
        if group is None:
            return
        if not isinstance(group, h5py.Group):
            self.found.add(layout.SPLITS, "no group of splits")
            return
        taken = np.zeros(self.count, bool)
        for raw in hdf5.names_in(group, 256):
            name = layout.split(raw.decode("utf-8", "surrogateescape"))
            with self.about(name):
                rows = self.column(name, ("<u8",), (None,))
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
        values = self.column(name, ("<f8",), (width,))
        if values is None:
            return
        measured = hdf5.attribute(self.look(name), layout.ATTR_MEASURED)
        if measured not in (layout.MEASURED_STORED, layout.MEASURED_INPUT):
            self.found.add(
                name, f"measured of {measured!r}, which is nothing that the format knows"
            )

    def _fields(self, store: str) -> list[Stream]:
        group = self.look(layout.FIELDS)
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
            with self.about(layout.field(name)):
                stream = self._field(name, store)
                if stream is not None:
                    streams.append(stream)
        return streams

    def _field(self, name: str, store: str) -> Stream | None:
        path = layout.field(name)
        data = self.look(path)
        if not isinstance(data, h5py.Dataset):
            if data is not None:
                self.found.add(path, "no data set")
        elif self.look(layout.field_crc(name)) is not None:
            return self.pictures(name, data, store)
        elif self.look(layout.offsets(path)) is not None:
            self.ragged(path, data)
        elif name.endswith(tuple(part("") for part in layout.BESIDE)):
            self.found.add(path, "a field's name must not end so")
        elif data.chunks is not None:
            self.found.add(
                path, f"the checksums of its pictures are lost: {layout.field_crc(name)}"
            )
        else:
            several = len(data.shape or ()) == 2
            rows = (self.count, None) if several else (self.count,)
            self.column(path, (*NUMBERS, *SMALL_FLOATS) if several else (*NUMBERS, "S"), rows)
        return None

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
