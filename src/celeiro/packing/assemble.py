"""Record and plan -> what the finished file holds; pure, but for reading what was spooled.

The invariant: everything that reaches the file is a function of its arguments, in a fixed order,
so the same job gives the same bytes.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from celeiro.format import layout
from celeiro.format.codecs import filter_pipeline
from celeiro.format.names import Names
from celeiro.format.ragged import Ragged
from celeiro.packing.listing import NO_SPLIT
from celeiro.packing.publish import Contents, SampleSet, offsets_of
from celeiro.packing.recipe import BOXES, MASK
from celeiro.packing.work import DATA

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from celeiro.format.codecs import Codec
    from celeiro.packing.outcome import Record
    from celeiro.packing.recipe import FieldKind, MaskKind

    Column = npt.NDArray[Any] | Ragged | Names
    SideReader = Callable[[str], Callable[[int, int], bytes]]


def assemble(
    record: Record,
    *,
    store: layout.Store,
    key: str,
    codec: Codec | None,
    columns: Mapping[str, Column],
    splits: Mapping[str, npt.NDArray[np.uint64]],
    color: layout.Color,
    measured: str,
    provenance: Mapping[str, Any],
    mask: MaskKind | None = None,
    made: Sequence[FieldKind] = (),
    read_side: SideReader | None = None,
) -> Contents:
    """The contents of a finished file.

    Parameters
    ----------
    record
        What became of the tasks.
    codec
        Of the store; None for `encoded`.
    columns
        Data sets with one row a sample (or a few in all), by path.
    splits
        Row numbers, ascending, by name.
    measured
        What mean and deviation were taken of.
    provenance
        What shaped the content, as JSON.
    mask, made
        Where samples have masks, their kind; and of each field that the recipe made.
    read_side
        A reader of the spooled bytes of masks, boxes and such fields.
    """
    streams = _Streams(record)
    auxiliary: dict[str, npt.NDArray[Any]] = {}
    for name, column in columns.items():
        auxiliary |= _plain(name, column)
    for name, rows in splits.items():
        auxiliary[layout.split(name)] = rows
    if record.progress.sums.count:
        auxiliary[layout.MEAN] = record.progress.sums.mean()
        auxiliary[layout.STD] = record.progress.sums.std()
    measurements = (layout.MEAN, layout.STD)
    notes = {n: {layout.ATTR_MEASURED: measured} for n in measurements if n in auxiliary}
    auxiliary |= streams.beside(DATA, key)
    auxiliary[layout.CRC] = streams.crc(DATA)
    sides = []
    if read_side is not None and f"{BOXES}_length" in record.columns:
        auxiliary |= _boxes(streams, read_side(BOXES))
    if read_side is not None and f"{MASK}_length" in record.columns:
        sides.append((_mask_set(streams, mask), read_side(MASK)))
        auxiliary |= streams.beside(MASK, layout.field(MASK))
        auxiliary[layout.field_crc(MASK)] = streams.crc(MASK)
    if read_side is not None:
        sides += [(_made_set(streams, kind), read_side(kind.stream)) for kind in made]
    return Contents(
        samples=_sample_set(streams, key, codec),
        sides=tuple(sides),
        auxiliary=auxiliary,
        notes=notes,
        attributes={
            layout.ATTR_VERSION: layout.VERSION,
            layout.ATTR_STORE: store,
            layout.ATTR_KEY: key,
            layout.ATTR_COLOR: color,
            layout.ATTR_PROVENANCE: json.dumps(provenance, sort_keys=True, ensure_ascii=False),
        },
    )


def listing_columns(
    labels: npt.NDArray[Any] | None,
    label_names: Sequence[str],
    keys: Names | None,
    fields: Mapping[str, Column],
) -> dict[str, Column]:
    """The columns of a source under the names that the format gives them."""
    columns: dict[str, Column] = {}
    if labels is not None:
        columns[layout.LABELS] = labels
    if label_names:
        columns[layout.LABEL_NAMES] = text_column(label_names)
    if keys is not None:
        columns[layout.KEYS] = keys
    return columns | {layout.field(name): column for name, column in fields.items()}


def split_rows(
    codes: npt.NDArray[np.uint8] | None, names: Sequence[str]
) -> dict[str, npt.NDArray[np.uint64]]:
    """Row numbers of each split, ascending, from one code a row."""
    if codes is None:
        return {}
    assert len(names) <= NO_SPLIT
    return {n: np.flatnonzero(codes == c).astype(np.uint64) for c, n in enumerate(names)}


def text_column(texts: Sequence[str]) -> npt.NDArray[np.bytes_]:
    """Strings as fixed-length UTF-8, padded with zeros."""
    encoded = [t.encode() for t in texts]
    width = max(1, *map(len, encoded))
    return np.array(encoded, dtype=h5py.string_dtype("utf-8", width))


class _Streams:
    """The columns of one record, by stream."""

    def __init__(self, record: Record) -> None:
        self._columns = record.columns

    def lengths(self, stream: str) -> npt.NDArray[np.uint64]:
        return self._columns.get(f"{stream}_length", np.zeros(0, np.uint64))

    def crc(self, stream: str) -> npt.NDArray[np.uint32]:
        return self._columns.get(f"{stream}_crc", np.zeros(0, np.uint32))

    def beside(self, stream: str, name: str) -> dict[str, npt.NDArray[Any]]:
        """Offsets, shapes, orientations and marks of an `encoded` stream; else nothing."""
        if f"{stream}_shape" not in self._columns:
            return {}
        made = {
            layout.offsets(name): offsets_of(self.lengths(stream)),
            layout.shapes(name): self._columns[f"{stream}_shape"],
            layout.orientations(name): self._columns[f"{stream}_orientation"],
        }
        marks = self._columns[f"{stream}_reencoded"]
        return made | ({layout.reencoded(name): marks} if marks.any() else {})


def _sample_set(streams: _Streams, key: str, codec: Codec | None) -> SampleSet:
    lengths = streams.lengths(DATA)
    if codec is None:
        total = int(lengths.sum(dtype=np.uint64))
        return SampleSet(key, (total,), np.dtype(np.uint8), lengths)
    filters = filter_pipeline(codec)
    index = layout.INDEX if filters else None
    shape = (len(lengths), *codec.shape)
    if not filters:
        # `pixels` has rows of one size, also where there is no row yet.
        assert not len(lengths) or lengths[0] == codec.stored.itemsize * math.prod(codec.shape)
    return SampleSet(key, shape, codec.stored, lengths, filters, index)


def _mask_set(streams: _Streams, mask: MaskKind | None) -> SampleSet:
    name, lengths = layout.field(MASK), streams.lengths(MASK)
    if mask is None:
        return SampleSet(name, (int(lengths.sum(dtype=np.uint64)),), np.dtype(np.uint8), lengths)
    pipeline = filter_pipeline(mask.codec)
    shape = (len(lengths), *mask.shape)
    return SampleSet(name, shape, mask.dtype, lengths, pipeline, layout.field_index(MASK))


def _made_set(streams: _Streams, kind: FieldKind) -> SampleSet:
    lengths = streams.lengths(kind.stream)
    shape = (len(lengths), *kind.shape)
    return SampleSet(layout.field(kind.name), shape, kind.dtype, lengths, checksum=True)


def _boxes(streams: _Streams, read: Callable[[int, int], bytes]) -> dict[str, npt.NDArray[Any]]:
    lengths = streams.lengths(BOXES)
    raw = read(int(lengths.sum(dtype=np.uint64)), 0)
    boxes = np.frombuffer(raw, "<f8").reshape(-1, 4)
    return _plain(layout.field(BOXES), Ragged(boxes, offsets_of(lengths // np.uint64(32))))


def _plain(name: str, column: Column) -> dict[str, npt.NDArray[Any]]:
    """A column as the plain data sets that hold it."""
    if isinstance(column, Ragged):
        return {name: column.values, layout.offsets(name): column.offsets}
    if isinstance(column, Names):
        fixed = len(column) * max(1, column.max_length)
        flat = column.total_bytes + 8 * (len(column) + 1)
        if fixed <= flat:
            return {name: column.fixed()}
        return {name: column.blob, layout.offsets(name): column.offsets}
    return {name: column}


def raw_bytes(record: Record, codec: Codec | None) -> int:
    """Bytes that the same samples would take as raw pixels."""
    if codec is not None:
        return record.progress.kept * codec.stored.itemsize * math.prod(codec.shape)
    shapes = record.columns.get(f"{DATA}_shape", np.zeros((0, 3)))
    return int(np.prod(shapes.astype(np.uint64), axis=1).sum())
