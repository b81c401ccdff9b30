"""`celeiro.salvage`: every sound sample of a damaged file, into a new one.

    HDF5 opens it       read      structure.py tells what is sound
    HDF5 refuses it     mended    as before, once it is shown groups that are whole
    no place is known   carved    pictures by their own structure, pixels by their shape

What is sound then goes through the machinery of packing, its bytes untouched: so the new file is an
ordinary one, and stands under its name only when it is whole. The damaged one is only read.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from celeiro.care import decoding
from celeiro.care.carve import BloscChunks, Pictures, Piece, Walker, ZlibChunks, pieces
from celeiro.care.mended import find_headers, mended
from celeiro.care.samples import check
from celeiro.care.structure import Stream, Structure, examine
from celeiro.care.verdict import Finding, Findings
from celeiro.errors import FormatError, OptionError, PictureError
from celeiro.format import layout, pictures
from celeiro.format.chunks import ChunkCodec, Filter, Number
from celeiro.format.codecs import JpegCodec
from celeiro.format.names import Names
from celeiro.format.ragged import Ragged
from celeiro.packing import stats
from celeiro.packing.again import ArrayRecipe, Conversion, StoredRecipe
from celeiro.packing.job import Job, Origin
from celeiro.packing.listing import NO_SPLIT, Listing
from celeiro.packing.options import PackOptions
from celeiro.packing.outcome import Progress
from celeiro.packing.pack import how_of, pack_job
from celeiro.packing.plan import Plan
from celeiro.packing.recipe import BOXES, MASK, MaskKind, codec_for, recipe_for
from celeiro.packing.work import unfinished
from celeiro.reading import hdf5
from celeiro.reading.header import Header, is_ours
from celeiro.storage.local import File

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy.typing as npt

    from celeiro.packing.recipe import Recipe

MOST_FINDINGS = 1000
"""Losses that are listed where the caller does not ask for more."""


@dataclass(frozen=True, slots=True)
class Salvaged:
    """The result of `celeiro.salvage`."""

    path: Path
    """The damaged file."""
    out: Path
    """The new one."""
    store: str
    """How its samples stand on disk."""
    how: str
    """``read``, ``mended`` or ``carved``."""
    samples: int | None
    """How many the damaged file once held; None where nothing is left that says so."""
    kept: int
    """How many are in the new one."""
    columns: tuple[str, ...]
    """What goes with them: labels, keys, and so on."""
    faults: int
    """All that is lost or damaged."""
    findings: tuple[Finding, ...]
    """Each of it; of very much only the first."""
    remarks: tuple[str, ...]
    """What is worth knowing."""
    file_bytes: int
    """Size of the new file."""
    seconds: float
    """Time that it took."""

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return asdict(self) | {
            "path": str(self.path),
            "out": str(self.out),
            "findings": [finding.to_json() for finding in self.findings],
        }


def salvage(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    shape: tuple[int, ...] | None = None,
    dtype: npt.DTypeLike | None = None,
    overwrite: bool = False,
    fresh: bool = False,
    most: int | None = MOST_FINDINGS,
    workers: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Salvaged:
    """Keep every sound sample of a damaged file of ours, and tell what is lost.

    Parameters
    ----------
    path
        The damaged file, which is only read.
    out
        The file to make.
    shape, dtype
        Of one sample of ``pixels``, where not even the header of the samples is left.
    most
        Losses that are listed; all are counted. None lists all.
    overwrite, fresh, workers, on_progress
        As `pack` has them.

    Returns
    -------
    Salvaged
        What was kept, and what was not.

    Raises
    ------
    FormatError
        Not one sample can be saved.
    ExistsError
        `out` is there already.
    OptionError
        The file is not ours: `celeiro.repack` reads those.
    """
    began = time.perf_counter()
    source, target = Path(os.path.abspath(os.fsdecode(path))), Path(os.path.abspath(out))
    how = how_of(
        workers=workers, buffer_size=500, on_error="skip", quarantine=None, on_progress=on_progress
    )
    disk = _opened(source, target)
    try:
        unfinished(target, overwrite=overwrite)
        found = Findings(most)
        rescue = _Rescue(source, disk, found, how.workers, on_progress)
        rest = rescue.rest(shape, dtype)
        job = job_of(rest, disk)
        report = pack_job(job, target, how, overwrite=overwrite, fresh=fresh)
        disk.check()
    finally:
        disk.close()
    for key, reason in report.refused:
        found.add(rest.stream.name, f"{key}: {reason}")
    return Salvaged(
        path=source,
        out=target,
        store=report.store,
        how=rescue.how,
        samples=rest.count,
        kept=report.samples,
        columns=tuple(sorted(rest.columns)),
        faults=found.faults,
        findings=tuple(found.kept),
        remarks=tuple(found.remarks),
        file_bytes=report.file_bytes,
        seconds=time.perf_counter() - began,
    )


def _opened(source: Path, target: Path) -> File:
    if not source.is_file():
        what = "this is a folder" if source.is_dir() else "no such file"
        raise FormatError(f"{source}: {what}. Give the name of the damaged file.")
    if target.exists() and os.path.samefile(source, target):
        raise OptionError(
            f"{target} is the damaged file itself. Give another name for the new one."
        )
    try:
        return File(source)
    except OSError as error:
        raise FormatError(f"{source}: cannot be read ({error.strerror}).") from error


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


class _Rescue:
    """One damaged file."""

    def __init__(
        self, path: Path, disk: File, found: Findings, workers: int, on_progress: Any
    ) -> None:
        self.path = path
        self.disk = disk
        self.found = found
        self.workers = workers
        self.how = "read"
        self._on_progress = on_progress

    def rest(self, shape: tuple[int, ...] | None, dtype: Any) -> Rest:
        """All that is sound; FormatError where nothing is."""
        structure = self._structure()
        stream = _stream_of(structure)
        if stream is None or not len(stream.numbers) or shape is not None:
            self.how = "carved"
            structure, stream = self._carved(structure, shape, dtype)
        assert structure is not None
        rest = self._sound(structure, stream)
        if not len(rest.stream.numbers):
            raise FormatError(
                f"{self.path}: not one sound sample is left. If they were pixels, give --shape and "
                "--dtype of one; else look for a copy, or pack the pictures again."
            )
        return rest

    def _structure(self) -> Structure | None:
        """What HDF5 can still tell: of the file as it is, or mended."""
        seen = Findings(None)
        structure = None
        try:
            with hdf5.reading(self.path) as file:
                if not is_ours(file):
                    raise OptionError(
                        f"{self.path}: celeiro did not make this file. What can be read of it goes "
                        "to a new one with `celeiro repack --on-error skip`."
                    )
                structure = examine(file, self.path, self.disk, seen, hints=False)
        except OptionError:
            raise
        except FormatError as error:
            self.found.add("/", str(error).removeprefix(f"{self.path}: "))
        stream = _stream_of(structure)
        if stream is not None and len(stream.numbers):
            self.found.take(seen)
            return structure
        return self._mended() or structure

    def _mended(self) -> Structure | None:
        self.how = "mended"
        try:
            with mended(self.path, self.disk) as again:
                structure = examine(
                    again.file, self.path, self.disk, self.found,
                    header=again.header, count=again.count, hints=False,
                )  # fmt: skip
        except FormatError:
            return None
        if again.header is not None:
            self.found.remark(
                "the names of data sets were lost: what they hold tells what they are"
            )
        if again.unnamed:
            self.found.add(
                "/", f"{again.unnamed:,} data sets are whole, but nothing tells what they are"
            )
        return structure

    def _sound(self, structure: Structure, stream: Stream) -> Rest:
        """The samples whose bytes are right, and with them their masks."""
        masks = [s for s in structure.streams if s.name == layout.field(MASK)]
        mask = masks[0] if masks else None
        total = len(stream.numbers) + (0 if mask is None else len(mask.numbers))
        progress = Progress(total=total)
        good = self._good(stream, structure, progress)
        if mask is not None:
            there = self._good(mask, structure, progress)
            both = np.zeros_like(good)
            size = min(len(good), len(there))
            both[:size] = good[:size] & there[:size]
            if not both.any():
                mask = None
                self.found.add(layout.field(MASK), "not one mask is left that belongs to a sample")
            else:
                lost = int(good.sum() - both.sum())
                if lost:
                    self.found.remark(
                        f"{lost:,} sound samples are left out for the loss of their masks"
                    )
                good = both
        columns = {
            name: values
            for name, values in structure.columns.items()
            if not name.startswith(layout.MACHINE) and _goes_along(name, structure.header.key)
        }
        header = structure.header
        arrays = header.store in ("pixels", "lossless") and header.color == "RGB"
        if self.how != "read" and not header.provenance and arrays:
            self.found.remark("the order of the channels was lost, and is taken for RGB")
        whole = int(good.sum()) == structure.count
        count = structure.count if structure.count else None
        return Rest(
            structure.header,
            count,
            _only(stream, good),
            None if mask is None else _only(mask, good),
            columns,
            whole,
            structure.columns.get(layout.reencoded(structure.header.key)),
        )

    def _good(
        self, stream: Stream, structure: Structure, progress: Progress
    ) -> npt.NDArray[np.bool_]:
        """By number, whether a sample is sound; without checksums, whether it decodes."""
        good = np.zeros(int(stream.numbers.max(initial=-1)) + 1, bool)
        good[stream.numbers] = True
        trusted = stream.crcs is None
        if trusted and stream.decode is None and len(stream.numbers):
            self.found.remark(f"{stream.name}: without checksums its values are taken on trust")
        self._tell_missing(stream, structure)
        results = check(self.disk, stream, decode=trusted, workers=self.workers)
        try:
            for count, weight, bad in results:
                for number, problem in bad:
                    good[number] = False
                    key = structure.keys[number] if structure.keys is not None else None
                    self.found.add(stream.name, problem, sample=number, key=key)
                progress.done += count
                progress.bytes_done += weight
                progress.kept = progress.done
                if self._on_progress is not None:
                    self._on_progress(progress)
        finally:
            results.close()
        return good

    def _tell_missing(self, stream: Stream, structure: Structure) -> None:
        """Those without a place; of the chunks that HDF5 knows, structure.py told."""
        missing = structure.count - len(stream.numbers)
        if missing <= 0 or (stream.codec and stream.codec.filters and self.how != "carved"):
            return
        if self.how == "carved" and stream.crcs is None:
            self.found.add(stream.name, f"{missing:,} of {structure.count:,} were not found")
            return
        there = np.zeros(structure.count, bool)
        there[stream.numbers] = True
        for number in np.flatnonzero(~there).tolist():
            key = structure.keys[number] if structure.keys is not None else None
            self.found.add(stream.name, "it is not there", sample=number, key=key)

    # Without knowing where samples are

    def _carved(
        self, structure: Structure | None, shape: tuple[int, ...] | None, dtype: Any
    ) -> tuple[Structure, Stream]:
        """Samples by what they look like, from the payload's place on."""
        before = _stream_of(structure)
        codec = None if before is None else before.codec
        crcs = None if structure is None else structure.columns.get(layout.CRC)
        store: str = "" if structure is None else structure.header.store
        if shape is not None:
            store = "pixels"
            stream = self._cut_rows(shape, np.dtype(np.uint8 if dtype is None else dtype), crcs)
        elif store == "pixels" or (store == "lossless" and codec is None):
            raise FormatError(
                f"{self.path}: where its samples are is lost, and with it their shape. "
                + ("Give --shape and --dtype of one." if store == "pixels" else "Look for a copy.")
            )
        elif store == "lossless":
            assert codec is not None
            stream = self._cut_chunks(codec, crcs)
        else:
            stream, store = self._cut_pictures(store, codec, crcs)
        return self._as_carved(structure, stream, store, crcs), stream

    def _as_carved(
        self, structure: Structure | None, stream: Stream, store: str, crcs: Any
    ) -> Structure:
        """What is known beside the samples, where it is known of which it speaks."""
        count = 0 if structure is None else structure.count
        known = crcs is not None or (count == len(stream.numbers) > 0)
        header = Header(
            cast("layout.Store", store),
            layout.DATA_KEY if structure is None else structure.header.key,
            _color_of(stream),
            {} if structure is None else structure.header.provenance,
        )
        columns = {} if structure is None else dict(structure.columns)
        streams = () if structure is None else structure.streams
        masks = tuple(each for each in streams if each.name == layout.field(MASK))
        if columns and not known:
            self.found.add("/", "labels and all else: of which sample they speak cannot be told")
            columns, masks = {}, ()
        elif columns and crcs is None:
            self.found.remark("samples are taken to stand in the order of their labels")
        keys = structure.keys if structure is not None and known else None
        sized = None if stream.codec is None else stream.codec.shape[1:]
        return Structure(store, header, count, sized, masks, keys, columns)

    def _cut_rows(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], crcs: npt.NDArray[np.uint32] | None
    ) -> Stream:
        """Rows of one length."""
        codec = ChunkCodec((1, *shape), dtype.newbyteorder("<"))
        length = math.prod(shape) * dtype.itemsize
        end = self.disk.size
        if crcs is None:
            behind = [at for at in find_headers(self.disk) if at >= layout.PAYLOAD_OFFSET]
            end = min(behind, default=end)
            self.found.remark("how many samples there were is not known: the last may be none")
        count = max(0, end - layout.PAYLOAD_OFFSET) // length
        if crcs is not None:
            count = min(count, len(crcs))
        rows = np.arange(count, dtype=np.int64)
        starts = np.uint64(layout.PAYLOAD_OFFSET) + rows.astype(np.uint64) * np.uint64(length)
        lengths = np.full(count, length, np.uint64)
        return Stream(layout.DATA_KEY, rows, starts, lengths, crcs, None, codec)

    def _cut_chunks(self, codec: ChunkCodec, crcs: npt.NDArray[np.uint32] | None) -> Stream:
        """Chunks that a compressor made."""
        size = math.prod(codec.shape) * codec.dtype.itemsize
        gzip = any(step.number == Number.GZIP for step in codec.filters)
        walker: Walker = ZlibChunks(size) if gzip else BloscChunks(size)
        found = [(piece, None) for piece in self._walk(walker, crcs)]
        return _stream(found, crcs, codec, partial(decoding.chunk, codec))

    def _cut_pictures(
        self, store: str, codec: ChunkCodec | None, crcs: npt.NDArray[np.uint32] | None
    ) -> tuple[Stream, str]:
        """Picture files; JPEGs of one size are the store `jpeg` where nothing speaks against it."""
        found: list[tuple[Piece, pictures.Header | None]] = []
        for piece in self._walk(Pictures(), crcs):
            try:
                header = pictures.check(self.disk.read(piece.length, piece.start))
            except PictureError:
                if piece.number is None:
                    self.found.add("/", f"the picture at byte {piece.start:,} is damaged")
                    continue
                header = None
            found.append((piece, header))
        kinds = Counter((h.kind, *_size(h)) for _, h in found if h is not None)
        most, count = kinds.most_common(1)[0] if kinds else (("", 0, 0, 0), 0)
        if not found or (store != "jpeg" and (store or most[0] != "jpeg" or count < len(found))):
            return _stream(found, crcs, None, decoding.any_picture), "encoded"
        codec = codec or _jpeg_codec(most[1:])
        same = [(p, h) for p, h in found if h is None or _size(h) == codec.shape[1:]]
        if len(same) < len(found):
            self.found.remark(f"{len(found) - len(same):,} pictures of another size are left out")
        return _stream(same, crcs, codec, partial(decoding.chunk, codec)), "jpeg"

    def _walk(self, walker: Walker, crcs: npt.NDArray[np.uint32] | None) -> Iterator[Piece]:
        progress = Progress(total=self.disk.size)

        def told(at: int) -> None:
            progress.done = progress.bytes_done = at
            if self._on_progress is not None:
                self._on_progress(progress)

        wanted = None if crcs is None else crcs.tolist()
        first, last = layout.PAYLOAD_OFFSET, self.disk.size
        return pieces(walker, self.disk, first, last, crcs=wanted, told=told)


def _stream(
    found: list[tuple[Piece, Any]],
    crcs: npt.NDArray[np.uint32] | None,
    codec: ChunkCodec | None,
    decode: Callable[[int, bytes], None],
) -> Stream:
    """Pieces as samples: by the numbers that their checksums give them, or in their order."""
    rows = [
        (at if piece.number is None else piece.number, piece.start, piece.length)
        for at, (piece, _) in enumerate(found)
    ]
    table = np.array(sorted(rows), np.int64).reshape(-1, 3)
    places = table[:, 1:].astype(np.uint64)
    name = layout.DATA_KEY
    return Stream(name, table[:, 0], places[:, 0], places[:, 1], crcs, decode, codec)


def _size(header: pictures.Header) -> tuple[int, int, int]:
    return header.height, header.width, header.channels


def _jpeg_codec(size: tuple[int, int, int]) -> ChunkCodec:
    height, width, channels = size
    # The quality is for who writes; which it was is lost.
    step = Filter(Number.JPEG, 0, (90, width, height, 1 if channels == 3 else 0))
    return ChunkCodec((1, height, width, channels), np.dtype(np.uint8), (step,))


def _color_of(stream: Stream) -> layout.Color:
    shape = () if stream.codec is None else stream.codec.shape[1:]
    if stream.codec is not None and (len(shape) != 3 or shape[2] not in (1, 3)):
        return ""
    return "GRAY" if shape[2:] == (1,) else "RGB"


def _stream_of(structure: Structure | None) -> Stream | None:
    """The samples, where they were found."""
    if structure is None:
        return None
    return next((s for s in structure.streams if s.name == structure.header.key), None)


def _only(stream: Stream, good: npt.NDArray[np.bool_]) -> Stream:
    rows = good[stream.numbers]
    return replace(
        stream,
        numbers=stream.numbers[rows],
        starts=stream.starts[rows],
        lengths=stream.lengths[rows],
    )


def _goes_along(name: str, key: str) -> bool:
    """Whether a column is about samples as they are: offsets and shapes are made anew."""
    about = [part(each) for each in (key, layout.field(MASK)) for part in layout.BESIDE]
    return name not in about


# Into a new file


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
    shape, values = stream.codec.shape[1:], stream.codec.dtype.newbyteorder("<")
    codec = codec_for(options, shape, values)
    mask = None
    if rest.mask is not None and rest.mask.codec is not None:
        kind = rest.mask.codec
        mask = MaskKind(kind.shape[1:], kind.dtype, _compressor(rest.mask))
    if isinstance(codec, JpegCodec):
        recipe = StoredRecipe(plan, codec, held, mask)
    else:
        recipe = ArrayRecipe(plan, codec, held, Conversion(codec.dtype), mask)
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
    beside = {part(name) for name in columns for part in layout.BESIDE}
    for path, values in columns.items():
        group, _, name = path.partition("/")
        if group != layout.FIELDS or not name or path in beside:
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
    return values
