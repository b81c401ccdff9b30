"""Arrays that come one after the other -> one HDF5 file: what has no folder and no plan.

    rows -> blocks -> [threads: check, resize, encode, checksum, sums] -> in order -> commit

`celeiro.pack` of a sequence and the classic `HDF5Dataset` are both this. The invariant is the
job's: what is committed is a prefix of the rows, and the file is a function of the rows alone.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from celeiro.errors import OptionError, ResumeError, RowError, SourceError
from celeiro.format import bfloat16, layout
from celeiro.format.bfloat16 import Bfloat16, rounded, spelled
from celeiro.format.codecs import JpegCodec
from celeiro.packing import assemble, resize, stats
from celeiro.packing.order import shuffled
from celeiro.packing.outcome import Made, Outcome, Progress, Refused, frame_of, read_record
from celeiro.packing.pipeline import Stopped, in_order
from celeiro.packing.provenance import shaped_by
from celeiro.packing.publish import write_structure
from celeiro.packing.recipe import codec_for, piece_of
from celeiro.packing.report import Report, count_classes
from celeiro.packing.splits import assign_splits
from celeiro.packing.work import DATA, Work
from celeiro.storage import local

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from celeiro.format.bfloat16 import StoredType
    from celeiro.packing.job import How
    from celeiro.packing.options import PackOptions

Row = tuple["npt.NDArray[Any]", Any]
"""One sample and its label (None where there are none)."""

# Bytes of rows in one block, and rows at most: small rows share the cost of the hand-over.
_BLOCK_BYTES = 4 << 20
_BLOCK_ROWS = 64


@dataclass(frozen=True, slots=True)
class Kind:
    """What all rows of a data set have in common."""

    shape: tuple[int, ...]
    """Shape of one row as it comes."""
    dtype: StoredType
    """Type of its values as they are stored, little-endian."""

    def __post_init__(self) -> None:
        """Refuse values that are no numbers, or that have no size of their own everywhere."""
        object.__setattr__(self, "dtype", bfloat16.type_of(self.dtype))
        if isinstance(self.dtype, Bfloat16):
            return
        if self.dtype.kind not in "buifc" or self.dtype.char in "gG":
            raise RowError(
                f"rows of {self.dtype}: wanted numbers of at most 64 bits. Convert them first."
            )
        object.__setattr__(self, "dtype", self.dtype.newbyteorder("<"))

    @classmethod
    def of(cls, row: npt.NDArray[Any]) -> Kind:
        """The kind of a first row, which the others follow."""
        return cls(row.shape, row.dtype)

    def misfit(self, row: npt.NDArray[Any]) -> str | None:
        """Why a row does not fit, or None."""
        if row.shape != self.shape:
            return f"its shape is {row.shape}, wanted {self.shape}"
        if isinstance(self.dtype, Bfloat16):
            return _not_bfloat16(row)
        if row.dtype != self.dtype and not np.can_cast(row.dtype, self.dtype, "safe"):
            return (
                f"its dtype is {row.dtype}, wanted {self.dtype} as in the first row; "
                f"convert it with .astype({str(self.dtype)!r}) if nothing is lost by that"
            )
        return None


def _not_bfloat16(row: npt.NDArray[Any]) -> str | None:
    """Why bfloat16 does not hold the values of a row, or None."""
    if row.dtype.kind != "f" and bfloat16.type_of(row.dtype) is not bfloat16.BFLOAT16:
        return f"its dtype is {row.dtype}, wanted bfloat16, or floats that it holds"
    at = bfloat16.first_inexact(row)
    if at is None:
        return None
    return (
        f"its value {row[at].item()!r} at {at} is none of bfloat16; round it first, as "
        "ml_dtypes and celeiro.format.bfloat16.rounded do"
    )


@dataclass(frozen=True, slots=True)
class LabelKind:
    """What all labels of a data set have in common."""

    group: Literal["nothing", "number", "text"]
    """What they are."""
    shape: tuple[int, ...] = ()
    """Shape of one: () for a class, (K,) for several numbers."""

    @classmethod
    def of(cls, label: npt.NDArray[Any] | None) -> LabelKind:
        """The kind of a first label, which the others follow."""
        if label is None:
            return cls("nothing")
        return cls("text" if label.dtype.kind == "U" else "number", label.shape)

    def misfit(self, label: npt.NDArray[Any] | None) -> str | None:
        """Why a label does not fit, or None."""
        other = LabelKind.of(label)
        if other == self:
            return None
        if label is None:
            return "it has no label, and the rows before have one each"
        if self.group == "nothing":
            return f"it has the label {label.tolist()!r}, and the rows before have none"
        return f"its label {label.tolist()!r} is {other}, wanted {self} as of the rows before"

    def __str__(self) -> str:
        """As in an error message."""
        return f"a {self.group}" if not self.shape else f"{self.group}s of shape {self.shape}"


def plain_label(label: Any) -> npt.NDArray[Any] | None:
    """A label as int64, float64 or text, whatever it was; None where there is none.

    Raises
    ------
    RowError
        It is something else, or too large.
    """
    if label is None:
        return None
    try:
        found = np.asarray(label)
        if found.dtype.kind == "S":
            found = np.char.decode(found, "utf-8")
        if found.dtype.kind in "UT":
            return found.astype(np.str_)
        if found.dtype.kind in "biuf" and not _beyond_int64(found):
            return found.astype(np.float64 if found.dtype.kind == "f" else np.int64)
    except (TypeError, ValueError):
        pass
    raise RowError(
        f"its label is {label!r}; wanted a whole number, a float or a string, or several of a kind"
    )


def _beyond_int64(numbers: npt.NDArray[Any]) -> bool:
    return numbers.dtype == np.uint64 and int(numbers.max(initial=0)) > np.iinfo(np.int64).max


class RowWriter:
    """Rows into one file, in the order in which they come.

    Parameters
    ----------
    out
        Final name of the file.
    options
        Store, key, size and the like.
    kind
        Of the rows.
    total
        Rows that are expected, or None.
    identity
        What else must be the same to go on with work that was begun.
    """

    def __init__(
        self,
        out: Path,
        options: PackOptions,
        kind: Kind,
        *,
        total: int | None = None,
        identity: dict[str, Any] | None = None,
        color: layout.Color = "",
        overwrite: bool = False,
        fresh: bool = False,
        resume: bool = True,
    ) -> None:
        if options.store == "encoded":
            raise OptionError(
                "store 'encoded' keeps the bytes of picture files, and these are arrays. Choose "
                "'jpeg' for uint8 pictures, 'lossless' for anything, or 'pixels'."
            )
        self.options = options
        self.kind = kind
        self.color = color
        shape = kind.shape if options.size is None else (*options.size, *kind.shape[2:])
        if options.size is not None and len(kind.shape) not in (2, 3):
            raise OptionError(f"rows of shape {kind.shape} are no pictures, so size cannot apply.")
        self.codec = codec_for(options, shape, kind.dtype)
        told = shaped_by(options)
        wanted = told["options"] | {
            "rows": [list(kind.shape), spelled(kind.dtype)],
            "made_by": told["made_by"],
            **(identity or {}),
        }
        self.work = Work(out, wanted, overwrite=overwrite, fresh=fresh, resume=resume)
        self.progress = Progress(total=total)
        self.label_kind: LabelKind | None = None
        self._look()
        self.progress.resumed = self.progress.done

    def write(
        self,
        rows: Iterable[Row],
        *,
        workers: int | None = None,
        buffer_size: int = 500,
        skip: bool = False,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Encode rows in threads and commit them in order.

        Raises
        ------
        RowError
            A row does not fit and `skip` is not set; all rows before it are committed.
        """
        workers = workers or local.available_cores()
        rows = self._with_kind(rows)
        weight = max(1, math.prod(self.kind.shape) * self.kind.dtype.itemsize)
        limit = max(1, buffer_size // (2 * workers))
        per_block = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // weight, limit))
        window = max(1, min(2 * workers, buffer_size // per_block))
        results = in_order(_blocks(rows, per_block), self._make, workers=workers, window=window)
        try:
            for outcomes in results:
                self._commit(outcomes, skip=skip)
                if on_progress:
                    on_progress(self.progress)
                self.work.sync_now_and_then()
        finally:
            results.close()

    def check_space(self) -> None:
        """Refuse to begin what cannot end, where that is known; SpaceError."""
        if self.options.store == "pixels" and self.progress.total is not None:
            weight = math.prod(self.codec.shape) * self.codec.stored.itemsize
            self.work.check_space((self.progress.total - self.progress.done) * weight)

    def reload(self) -> None:
        """Believe the journal, after a call that was interrupted: it knows how far it came."""
        self.work.recover()
        self.progress = Progress(total=self.progress.total, resumed=self.progress.resumed)
        self._look()

    def check_same(self, row: Row | None) -> None:
        """See that `row` is the last one committed; ResumeError if it is another.

        Arrays have no name and no time of change: this is what can be checked cheaply.
        """
        last = None
        for frame in self.work.frames():
            last = frame
        if last is None or not len(last.arrays[f"{DATA}_crc"]):
            return
        outcome = None if row is None else self._one(*row)
        if row is not None and last.note["refused"]:
            return
        crc = int(last.arrays[f"{DATA}_crc"][-1])
        if isinstance(outcome, Made) and outcome.pieces[DATA].crc == crc:
            return
        raise ResumeError(
            f"{self.work.folder} holds {self.progress.done:,} rows, and the last of them is not "
            f"row {self.progress.done - 1} of what is given now. Give the same rows to go on, or "
            "fresh=True to start anew."
        )

    def publish(
        self,
        *,
        labels: npt.NDArray[Any] | None = None,
        label_names: Sequence[str] = (),
        began: float | None = None,
    ) -> Report:
        """Finish the file and give it its name."""
        record = read_record(self.work.frames())
        kept, all_labels = record.kept, labels
        if labels is not None:
            labels = labels[kept]
        elif "label" in record.columns:
            labels, label_names = number_labels(record.columns["label"], label_names)
        codes, names = None, tuple(self.options.split)
        if names and (labels is None or all_labels is not None):
            # Drawn before any row was refused, so that a bad one moves no other.
            done = record.progress.done
            codes = assign_splits(all_labels, self.options.split, self.options.seed, count=done)
            codes = codes[kept]
        elif names:
            codes = assign_splits(labels, self.options.split, self.options.seed)
        splits = assemble.split_rows(codes, names)
        again = isinstance(self.codec, JpegCodec) and self.options.check != "decode"
        contents = assemble.assemble(
            record,
            store=self.options.store,
            key=self.options.key,
            codec=self.codec,
            columns=assemble.listing_columns(labels, label_names, None, {}),
            splits=splits,
            color=self.color,
            measured=layout.MEASURED_INPUT if again else layout.MEASURED_STORED,
            provenance=shaped_by(self.options),
        )
        self.work.publish(lambda fd: write_structure(fd, contents))
        out = self.work.out
        return Report(
            path=out,
            store=self.options.store,
            samples=len(kept),
            shape=self.codec.shape,
            dtype=str(self.codec.stored),
            classes=count_classes(labels, label_names),
            splits={name: len(rows) for name, rows in splits.items()},
            refused=[(f"row {task}", reason) for task, reason in record.progress.refused],
            ignored=0,
            file_bytes=out.stat().st_size,
            payload_bytes=record.progress.bytes_done,
            source_bytes=0,
            raw_bytes=assemble.raw_bytes(record, self.codec),
            seconds=0.0 if began is None else time.perf_counter() - began,
            resumed=self.progress.resumed,
        )

    def read(self, rows: Iterable[int]) -> list[npt.NDArray[Any]]:
        """Rows that are committed, as a reader of the finished file will see them."""
        none = np.zeros(0, np.uint64)
        lengths = [none, *(f.arrays[f"{DATA}_length"] for f in self.work.frames())]
        ends = layout.PAYLOAD_OFFSET + np.cumsum(np.concatenate(lengths), dtype=np.uint64)
        starts = np.concatenate([np.array([layout.PAYLOAD_OFFSET], np.uint64), ends])
        return [
            self.codec.decode(self.work.read(int(ends[row] - starts[row]), int(starts[row])))
            for row in rows
        ]

    def close(self) -> None:
        """Let go; what is committed stays for the next time."""
        self.work.close()

    def _look(self) -> None:
        """See how far the work is, and what labels it has."""
        for frame in self.work.frames():
            if not self.progress.kept and len(frame.arrays[f"{DATA}_crc"]):
                labels = frame.arrays.get("label")
                self.label_kind = LabelKind.of(None if labels is None else labels[0])
            self.progress.take(frame)

    def _with_kind(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows; the first one's label tells what all others' must be."""
        for row, label in rows:
            if self.label_kind is None:
                self.label_kind = LabelKind.of(plain_label(label))
            yield row, label

    def _make(self, block: list[Row], stop: threading.Event) -> list[Outcome]:
        outcomes = []
        for row, label in block:
            if stop.is_set():
                raise Stopped
            outcomes.append(self._one(row, label))
        return outcomes

    def _one(self, row: npt.NDArray[Any], label: Any) -> Outcome:
        try:
            label = plain_label(label)
        except RowError as error:
            return Refused(str(error))
        assert self.label_kind is not None
        reason = self.kind.misfit(row) or self.label_kind.misfit(label)
        if reason:
            return Refused(reason)
        row = np.ascontiguousarray(row, self.codec.dtype)
        if self.options.size is not None:
            placement = resize.place(row.shape[:2], self.options.size, self.options.resize)
            row = np.ascontiguousarray(resize.apply(row, placement))
            row = rounded(row) if isinstance(self.kind.dtype, Bfloat16) else row
        piece = piece_of(self.codec, row)
        if isinstance(self.codec, JpegCodec) and self.options.check == "decode":
            row = self.codec.decode(bytes(piece.data))
        sums = stats.sums_of(row) if stats.countable(row.dtype) else stats.NOTHING
        return Made({DATA: piece}, sums, label)

    def _commit(self, outcomes: list[Outcome], *, skip: bool) -> None:
        bad = next((at for at, o in enumerate(outcomes) if isinstance(o, Refused)), None)
        row = self.progress.done + (bad or 0)
        reason = "" if bad is None else outcomes[bad].reason  # type: ignore[union-attr]
        if not skip:
            outcomes = outcomes[:bad]
        if outcomes:
            frame, payload = frame_of(
                outcomes, ends=self.work.ends, before=self.progress.sums, wide=()
            )
            self.work.commit(frame, payload)
            self.progress.take(frame)
        if bad is not None and not skip:
            raise RowError(
                f"row {row}: {reason}. The {self.progress.kept:,} rows before it are kept in "
                f"{self.work.folder}."
            )


def pack_rows(
    source: Iterable[Any],
    out: Path,
    options: PackOptions,
    how: How,
    *,
    labels: Any = None,
    label_names: Iterable[str] | None = None,
    overwrite: bool = False,
    fresh: bool = False,
) -> Report:
    """Pack a sequence or iterable of arrays, or of (array, label).

    A sequence goes on by number after a kill; an iterable is read again up to where it was.
    """
    began = time.perf_counter()
    if how.on_error.folder is not None:
        raise OptionError("quarantine copies picture files, and these are arrays. Use 'skip'.")
    count = len(source) if isinstance(source, Sized) else None
    names = tuple(str(name) for name in label_names or ())
    given = None
    if labels is not None:
        given, names = number_labels(np.asarray(labels), names)
        if count is not None and len(given) != count:
            raise SourceError(f"{len(given)} labels for {count} arrays: wanted one each.")
    first, pull = _rows_of(source, options, count)
    kind = Kind.of(first[0])
    identity = {"count": count, "labels": None if given is None else _digest(given, names)}
    color = _color_of(kind, options)
    writer = RowWriter(
        out, options, kind, total=count, identity=identity, color=color,
        overwrite=overwrite, fresh=fresh,
    )  # fmt: skip
    try:
        done = writer.progress.done
        rows = pull(max(0, done - 1))
        if given is not None:
            rows = ((row, None) for row, _ in rows)
        if done:
            writer.check_same(next(rows, None))
        writer.check_space()
        writer.write(
            rows,
            workers=how.workers,
            buffer_size=how.buffer_size,
            skip=how.on_error.action == "skip",
            on_progress=how.on_progress,
        )
        if given is not None and len(given) != writer.progress.done:
            raise SourceError(
                f"{len(given)} labels for {writer.progress.done} arrays: wanted one each."
            )
        return writer.publish(labels=_ordered(given, options), label_names=names, began=began)
    finally:
        writer.close()


def split_rows_of(rows: Any, row_ndim: int) -> tuple[list[npt.NDArray[Any]], bool]:
    """Rows as a list of arrays, and whether it was one row that came without a list around.

    `row_ndim` is the number of axes of one row: an array with just so many is one row.
    """
    if isinstance(rows, (list, tuple)):
        batch = [_array(row) for row in rows]
        if batch and batch[0].ndim == row_ndim - 1:
            return [np.asarray(rows)], True  # one row, given as a list
        return batch, False
    array = np.asarray(rows)
    if array.ndim <= row_ndim:
        return [array], True
    return list(array), False


def _array(row: Any) -> npt.NDArray[Any]:
    try:
        return np.asarray(row)
    except ValueError as error:
        raise RowError(f"a row that is no array: {error}") from None


def number_labels(
    column: npt.NDArray[Any], names: Sequence[str] = ()
) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """Labels as the format keeps them, and the names of their classes.

    Strings become their place in `names`, or else in the sorted list of all; whole numbers int64;
    floats float64; several a sample (N, K) uint8 where they are 0 and 1, else as they are.

    Raises
    ------
    SourceError
        A label is none of the `names`, or no label at all.

    Examples
    --------
    >>> number_labels(np.array(["dog", "cat", "dog"]))
    (array([1, 0, 1]), ('cat', 'dog'))
    """
    if column.dtype.kind == "O":  # as a column of text comes from pandas
        column = np.asarray(column.tolist())
    try:
        found = plain_label(column)
    except RowError:
        found = None
    if found is None or not found.ndim:
        raise SourceError(
            f"labels of type {column.dtype}: wanted whole numbers, floats or strings, one a "
            "sample (or as many columns for every sample)."
        )
    if found.dtype.kind == "U":
        return _number_texts(found, tuple(names))
    if found.dtype.kind == "i" and found.ndim == 2 and ((found == 0) | (found == 1)).all():
        found = found.astype(np.uint8)
    return found, tuple(names)


def _number_texts(
    texts: npt.NDArray[np.str_], names: tuple[str, ...]
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    found, numbers = np.unique(texts, return_inverse=True)
    names = names or tuple(found.tolist())
    places = {name: place for place, name in enumerate(names)}
    if unknown := [text for text in found.tolist() if text not in places]:
        raise SourceError(
            f"label {unknown[0]!r} is none of the class names {', '.join(map(repr, names))}. "
            "Name every class, or none."
        )
    order = np.array([places[text] for text in found.tolist()], np.int64)
    return order[numbers.reshape(texts.shape)], names


def _rows_of(
    source: Iterable[Any], options: PackOptions, count: int | None
) -> tuple[Row, Callable[[int], Iterator[Row]]]:
    """The first row, and a function that gives the rows from a number on."""
    nothing = SourceError("the source holds no array: there is nothing to pack.")
    if count is not None and hasattr(source, "__getitem__"):
        if not count:
            raise nothing
        order: Sequence[int] | npt.NDArray[np.int64] = range(count)
        if options.shuffle:
            order = shuffled(count, options.seed)

        # What a list holds stays as it is; whoever makes rows on demand may reuse their memory.
        stays = isinstance(source, (np.ndarray, list, tuple))

        def pull(start: int) -> Iterator[Row]:
            return (_row(source[int(i)], copy=not stays) for i in order[start:])

        return _row(source[int(order[0])], copy=True), pull
    if options.shuffle:
        raise OptionError(
            "shuffle needs a source that gives any row by number (len and []), and this one only "
            "gives one after the other. Leave it out, or pass a list."
        )
    items = iter(source)
    try:
        first = _row(next(items), copy=True)
    except StopIteration:
        raise nothing from None

    def pull_on(start: int) -> Iterator[Row]:
        rows = itertools.chain([first], (_row(item, copy=True) for item in items))
        return itertools.islice(rows, start, None)

    return first, pull_on


def _row(item: Any, *, copy: bool) -> Row:
    """An array, or a pair of an array and its label, as people's data sets give them."""
    row, label = item if isinstance(item, tuple) and len(item) == 2 else (item, None)
    return np.array(row, copy=copy or None), label


def _blocks(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    items = iter(rows)
    while block := list(itertools.islice(items, size)):
        yield block


def _ordered(labels: npt.NDArray[Any] | None, options: PackOptions) -> npt.NDArray[Any] | None:
    if labels is None or not options.shuffle:
        return labels
    return labels[shuffled(len(labels), options.seed)]


def _color_of(kind: Kind, options: PackOptions) -> layout.Color:
    """Arrays say nothing of their colours: what the caller says, where it can be true."""
    if len(kind.shape) != 3 or kind.shape[2] not in (1, 3):
        return ""
    if kind.shape[2] == 3 and options.color == "GRAY":
        raise OptionError(
            "color 'GRAY' turns picture files grey, and these are arrays of 3 channels. Convert "
            "them, or leave it out."
        )
    return "GRAY" if kind.shape[2] == 1 else options.color


def _digest(labels: npt.NDArray[Any], names: Sequence[str]) -> str:
    import hashlib

    digest = hashlib.blake2b(json.dumps([labels.dtype.str, labels.shape, names]).encode())
    digest.update(np.ascontiguousarray(labels).data)
    return digest.hexdigest()[:32]
