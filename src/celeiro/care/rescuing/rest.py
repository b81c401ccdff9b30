"""What is left of a damaged file, as a job for packing.

The stored bytes of `jpeg`, `encoded` and `pixels` go untouched into the new file; `lossless` is
compressed anew, to the same values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from celeiro.errors import FormatError, PictureError
from celeiro.format import bfloat16, layout
from celeiro.format.chunks import Number
from celeiro.format.codecs import JpegCodec
from celeiro.format.names import Names
from celeiro.format.ragged import Ragged
from celeiro.packing import stats
from celeiro.packing.again import ArrayRecipe, Conversion, StoredRecipe
from celeiro.packing.job import Job, Origin
from celeiro.packing.listing import NO_SPLIT, Listing
from celeiro.packing.options import PackOptions
from celeiro.packing.plan import Plan
from celeiro.packing.recipe import BOXES, MaskKind, codec_for, recipe_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    from celeiro.care.checking.streams import Stream
    from celeiro.packing.recipe import Recipe
    from celeiro.reading.header import Header
    from celeiro.storage.local import File


@dataclass(frozen=True, slots=True, eq=False)
class Rest:
    """What is left of a file, and sound."""

    header: Header
    """Store, key and colours, known or guessed."""
    count: int | None
    """Samples that there once were."""
    stream: Stream
    """The sound ones."""
    mask: Stream | None
    """Their masks, by the same numbers; None where there are none, or none for each."""
    columns: Mapping[str, npt.NDArray[Any]]
    """By path, with a row for each sample that there was."""
    whole: bool
    """Whether nothing is lost."""
    reencoded: npt.NDArray[np.uint8] | None = None
    """Of `encoded`: 1 where these are not the source's own bytes."""


def job_of(rest: Rest, disk: File) -> Job:
    """The job that packs what is left."""
    stream = rest.stream
    statistics = _statistics(rest)
    options = _options(rest, "header" if statistics or stream.codec is None else "decode")
    plan = Plan(_listing(rest, disk), options)
    held = _Held(disk, rest)
    told = {
        "salvaged_from": {
            "store": rest.header.store,
            "samples": rest.count,
            **{n: v for n, v in rest.header.provenance.items() if n in ("options", "made_by")},
        }
    }
    measured = rest.header.provenance.get("options", {}).get("check") == "decode"
    origin = Origin(
        told,
        has_keys=layout.KEYS in rest.columns,
        statistics=statistics,
        measured=layout.MEASURED_INPUT
        if options.store == "jpeg" and not measured
        else layout.MEASURED_STORED,
    )
    recipe: Recipe
    if stream.codec is None:
        recipe = recipe_for(plan, None, None, held)
        return Job(plan, None, None, recipe, origin)
    codec = codec_for(options, stream.codec.shape[1:], stream.stored.newbyteorder("<"))
    mask = None
    if rest.mask is not None and rest.mask.codec is not None:
        kind = rest.mask.codec
        mask = MaskKind(kind.shape[1:], kind.dtype, _compressor(rest.mask))
    if isinstance(codec, JpegCodec):
        recipe = StoredRecipe(plan, codec, held, mask)
    else:
        recipe = ArrayRecipe(plan, codec, held, Conversion(codec.stored), mask)
    return Job(plan, codec, mask, recipe, origin)


def _options(rest: Rest, check: str) -> PackOptions:
    codec = rest.stream.codec
    quality = 90
    if codec is not None and rest.header.store == "jpeg":
        quality = codec.filters[0].options[0]
    if codec is None or not stats.countable(codec.dtype):
        check = "header"
    return PackOptions(
        store=rest.header.store,
        key=rest.header.key,
        color="RGB" if rest.header.store == "encoded" else cast("Any", rest.header.color),
        quality=quality,
        compressor=cast("Any", _compressor(rest.stream)),
        check=cast("Any", check),
    )


def _compressor(stream: Stream) -> Any:
    filters = () if stream.codec is None else stream.codec.filters
    return "gzip" if any(step.number == Number.GZIP for step in filters) else "zstd"


def _statistics(rest: Rest) -> dict[str, npt.NDArray[np.float64]]:
    """Mean and deviation, which are true as long as no sample is lost."""
    names = (layout.MEAN, layout.STD)
    if not rest.whole or not all(name in rest.columns for name in names):
        return {}
    return {name: rest.columns[name] for name in names}


def _listing(rest: Rest, disk: File) -> Listing:
    """The sound samples with their rows of every sound column."""
    rows, columns = rest.stream.numbers, rest.columns
    names = columns.get(layout.LABEL_NAMES)
    labels = columns.get(layout.LABELS)
    keys = _texts(columns, layout.KEYS)
    fields = dict(_fields(columns))
    boxes = fields.pop(BOXES, None)
    codes, split_names = _splits(columns, int(rows.max()) + 1)
    listed = (
        Names.of(f"sample {row}".encode() for row in rows.tolist())
        if keys is None
        else _as_names(keys).take(rows)
    )
    return Listing(
        root=disk.path,
        keys=listed,
        sizes=rest.stream.lengths.astype(np.int64),
        mtimes=rest.stream.starts.astype(np.int64),
        labels=None if labels is None else labels[rows],
        label_names=()
        if names is None
        else tuple(n.decode("utf-8", "replace") for n in names.tolist()),
        splits=None if codes is None else codes[rows],
        split_names=split_names,
        fields={
            name: column.take(rows) if isinstance(column, Ragged) else column[rows]
            for name, column in fields.items()
        },
        masks=None if rest.mask is None else listed,
        boxes=boxes.take(rows) if isinstance(boxes, Ragged) else None,
        labels_from="dataset",
    )


def _texts(columns: Mapping[str, npt.NDArray[Any]], name: str) -> Names | Any | None:
    values, offsets = columns.get(name), columns.get(layout.offsets(name))
    if values is None or values.dtype.kind == "S":
        return values
    return None if offsets is None else Names(values, offsets)


def _as_names(texts: Any) -> Names:
    return texts if isinstance(texts, Names) else Names.of(texts.tolist())


def _fields(columns: Mapping[str, npt.NDArray[Any]]) -> Iterator[tuple[str, Any]]:
    """The fields beside the samples, each as packing takes it."""
    beside = tuple(part("") for part in layout.BESIDE)  # how the name of no field ends
    for path, values in columns.items():
        group, _, name = path.partition("/")
        if group != layout.FIELDS or not name or name.endswith(beside):
            continue
        offsets = columns.get(layout.offsets(path))
        if offsets is None:
            yield name, values
        elif values.dtype == np.uint8:
            yield name, Names(values, offsets).fixed()
        else:
            yield name, Ragged(values, offsets)


def _splits(
    columns: Mapping[str, npt.NDArray[Any]], count: int
) -> tuple[npt.NDArray[np.uint8] | None, tuple[str, ...]]:
    found = {
        path.partition("/")[2]: rows
        for path, rows in columns.items()
        if path.startswith(f"{layout.SPLITS}/")
    }
    if not found or len(found) >= NO_SPLIT:
        return None, ()
    codes = np.full(count, NO_SPLIT, np.uint8)
    for code, rows in enumerate(found.values()):
        codes[rows[rows < np.uint64(count)]] = code  # of those that are left
    return codes, tuple(found)


@dataclass(frozen=True, slots=True)
class _Held:
    """The bytes of the samples that are left, by task."""

    disk: File
    """The damaged file."""
    rest: Rest
    """Where they are in it."""

    def stored(self, task: int) -> bytes:
        """The bytes of one sample."""
        return self._read(self.rest.stream, task)

    def picture(self, task: int) -> bytes:
        """The same: it is a picture file."""
        return self._read(self.rest.stream, task)

    def mask(self, task: int) -> bytes:
        """Its mask, as a picture file."""
        assert self.rest.mask is not None
        return self._read(self.rest.mask, task)

    def reencoded(self, task: int) -> bool:
        """Whether the picture is not the one that somebody once took."""
        marks = self.rest.reencoded
        return marks is not None and bool(marks[self.rest.stream.numbers[task]])

    def sample(self, task: int) -> npt.NDArray[Any]:
        """Its values."""
        return _decoded(self.rest.stream, self.stored(task))

    def mask_array(self, task: int) -> npt.NDArray[Any]:
        """The values of its mask."""
        assert self.rest.mask is not None
        return _decoded(self.rest.mask, self._read(self.rest.mask, task))

    def _read(self, stream: Stream, task: int) -> bytes:
        return self.disk.read(int(stream.lengths[task]), int(stream.starts[task]))


def _decoded(stream: Stream, data: bytes) -> npt.NDArray[Any]:
    assert stream.codec is not None
    room = np.empty(stream.codec.shape, stream.codec.dtype)
    try:
        stream.codec.decode(data, room)
    except FormatError as error:
        raise PictureError(str(error)) from error
    values: npt.NDArray[Any] = room[0]
    return bfloat16.values_of(values) if stream.is_bfloat16 else values
