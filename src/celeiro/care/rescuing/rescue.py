"""Look for what is left of a damaged file: as HDF5 has it, mended, or carved.

The invariant: a sample is kept if its bytes are those of its checksum, or, where checksums are
lost, if it decodes; of pixels without checksums it is said that they are taken on trust.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from celeiro.care.checking import decoding
from celeiro.care.checking.samples import check
from celeiro.care.checking.streams import Stream
from celeiro.care.checking.structure import Structure, examine
from celeiro.care.checking.verdict import Findings
from celeiro.care.rescuing.carve import BloscChunks, Pictures, Piece, Walker, ZlibChunks, pieces
from celeiro.care.rescuing.mended import find_headers, mended
from celeiro.care.rescuing.rest import Rest
from celeiro.errors import FormatError, OptionError, PictureError
from celeiro.format import layout, pictures
from celeiro.format.bfloat16 import BITS, Bfloat16, type_of
from celeiro.format.chunks import ChunkCodec, Filter, Number
from celeiro.packing.outcome import Progress
from celeiro.packing.recipe import MASK
from celeiro.reading import hdf5
from celeiro.reading.header import Header, is_ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from celeiro.format.bfloat16 import StoredType
    from celeiro.storage.local import File


class Rescue:
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
            if not name.startswith(layout.MACHINE) and _goes_along(name, structure)
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
        bad = list(self._bad(stream, progress, decode=trusted))
        if len(bad) == len(stream.numbers) > 2 and not trusted:
            # Not one is right: then it is the checksums that are wrong.
            self.found.add(layout.CRC, "not one sample has the bytes of its checksum")
            return self._good(replace(stream, crcs=None), structure, progress)
        for number, problem in bad:
            good[number] = False
            key = structure.keys[number] if structure.keys is not None else None
            self.found.add(stream.name, problem, sample=number, key=key)
        return good

    def _bad(
        self, stream: Stream, progress: Progress, *, decode: bool
    ) -> Iterator[tuple[int, str]]:
        results = check(self.disk, stream, decode=decode, workers=self.workers)
        try:
            for count, weight, bad in results:
                yield from bad
                progress.done += count
                progress.bytes_done += weight
                progress.kept = progress.done
                if self._on_progress is not None:
                    self._on_progress(progress)
        finally:
            results.close()

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
            stream = self._cut_rows(shape, type_of(np.uint8 if dtype is None else dtype), crcs)
        elif store == "pixels" or (store == "lossless" and codec is None):
            raise FormatError(
                f"{self.path}: where its samples are is lost, and with it their shape. "
                + ("Give --shape and --dtype of one." if store == "pixels" else "Look for a copy.")
            )
        elif store == "lossless":
            assert codec is not None
            assert before is not None
            stream = replace(self._cut_chunks(codec, crcs), is_bfloat16=before.is_bfloat16)
        else:
            stream, store = self._cut_pictures(store, codec, crcs)
        if crcs is not None and not len(stream.numbers) and shape is None and structure is not None:
            # Not one is right: then it may be the checksums that are wrong.
            rest = {n: v for n, v in structure.columns.items() if n != layout.CRC}
            return self._carved(replace(structure, columns=rest), shape, dtype)
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
        self, shape: tuple[int, ...], dtype: StoredType, crcs: npt.NDArray[np.uint32] | None
    ) -> Stream:
        """Rows of one length."""
        half = isinstance(dtype, Bfloat16)
        values = BITS if isinstance(dtype, Bfloat16) else dtype.newbyteorder("<")
        codec = ChunkCodec((1, *shape), values)
        length = math.prod(shape) * dtype.itemsize
        end = self.disk.size
        if crcs is None:
            behind = [at for at in find_headers(self.disk)[0] if at >= layout.PAYLOAD_OFFSET]
            end = min(behind, default=end)
            self.found.remark("how many samples there were is not known: the last may be none")
        count = max(0, end - layout.PAYLOAD_OFFSET) // length
        if crcs is not None:
            count = min(count, len(crcs))
        rows = np.arange(count, dtype=np.int64)
        starts = np.uint64(layout.PAYLOAD_OFFSET) + rows.astype(np.uint64) * np.uint64(length)
        lengths = np.full(count, length, np.uint64)
        return Stream(
            layout.DATA_KEY, rows, starts, lengths, crcs, None, codec, is_bfloat16=half
        )  # fmt: skip

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
    rows = np.isin(stream.numbers, np.flatnonzero(good))
    return replace(
        stream,
        numbers=stream.numbers[rows],
        starts=stream.starts[rows],
        lengths=stream.lengths[rows],
    )


def _goes_along(name: str, structure: Structure) -> bool:
    """Whether a column is of use in a new file.

    What only tells more of another needs that one, and rows of any length need their offsets.
    """
    columns = structure.columns
    told_of = [each for each in columns if name in (part(each) for part in layout.BESIDE)]
    if name.endswith(tuple(part("") for part in layout.BESIDE)):
        return bool(told_of)
    one_a_row = name == layout.KEYS or name.startswith(f"{layout.FIELDS}/")
    has_rows = layout.offsets(name) in columns or len(columns[name]) == structure.count
    return has_rows or not one_a_row
