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
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError, ResumeError, RowError, SourceError
from celeiro.format import layout
from celeiro.format.codecs import JpegCodec
from celeiro.packing import assemble, resize, stats
from celeiro.packing.job import made_by
from celeiro.packing.outcome import Made, Outcome, Progress, Refused, frame_of, read_record
from celeiro.packing.pipeline import Stopped, available_cores, in_order
from celeiro.packing.publish import write_structure
from celeiro.packing.recipe import codec_for, piece_of
from celeiro.packing.report import Report, count_classes
from celeiro.packing.splits import assign_splits
from celeiro.packing.work import DATA, Work

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

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
    dtype: np.dtype[Any]
    """Type of its values."""

    @classmethod
    def of(cls, row: npt.NDArray[Any]) -> Kind:
        """The kind of a first row, which the others follow.

        Raises
        ------
        RowError
            Values that are no numbers.
        """
        if row.dtype.kind not in "buifc":
            raise RowError(f"row 0 holds {row.dtype}; wanted numbers. Convert it first.")
        return cls(
            row.shape, row.dtype.newbyteorder("<") if row.dtype.byteorder == ">" else row.dtype
        )

    def misfit(self, row: npt.NDArray[Any]) -> str | None:
        """Why a row does not fit, or None."""
        if row.shape != self.shape:
            return f"its shape is {row.shape}, wanted {self.shape}"
        if row.dtype != self.dtype and not np.can_cast(row.dtype, self.dtype, "safe"):
            return (
                f"its dtype is {row.dtype}, wanted {self.dtype} as in the first row; "
                f"convert it with .astype({str(self.dtype)!r}) if nothing is lost by that"
            )
        return None


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
        choices: dict[str, Any] = json.loads(json.dumps(options.to_json()))
        wanted = choices | {
            "rows": [list(kind.shape), kind.dtype.str],
            "made_by": made_by(),
            **(identity or {}),
        }
        self.work = Work(out, wanted, overwrite=overwrite, fresh=fresh, resume=resume)
        self.progress = Progress(total=total)
        for frame in self.work.frames():
            self.progress.take(frame)
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
        workers = workers or available_cores()
        weight = max(1, math.prod(self.kind.shape) * self.kind.dtype.itemsize)
        limit = max(1, buffer_size // (2 * workers))
        per_block = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // weight, limit))
        results = in_order(
            _blocks(rows, per_block), self._make, workers=workers, window=2 * workers
        )
        try:
            for outcomes in results:
                self._commit(outcomes, skip=skip)
                if on_progress:
                    on_progress(self.progress)
        finally:
            results.close()

    def check_same(self, row: npt.NDArray[Any]) -> None:
        """See that `row` is the last one committed; ResumeError if it is another.

        Arrays have no name and no time of change: this is what can be checked cheaply.
        """
        last = None
        for frame in self.work.frames():
            last = frame
        if last is None or not len(last.arrays[f"{DATA}_crc"]):
            return
        outcome = self._one(row, None)
        crc = int(last.arrays[f"{DATA}_crc"][-1])
        if last.note["refused"] or (isinstance(outcome, Made) and outcome.pieces[DATA].crc == crc):
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
        kept = record.kept
        if labels is not None:
            labels = labels[kept]
        elif "label" in record.columns:
            labels, found = number_labels(record.columns["label"])
            label_names = tuple(label_names) or found
        codes, names = None, tuple(self.options.split)
        if names:
            codes = assign_splits(labels, self.options.split, self.options.seed, count=len(kept))
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
            provenance={"made_by": made_by(), "options": self.options.to_json()},
        )
        self.work.publish(lambda fd: write_structure(fd, contents))
        out = self.work.out
        return Report(
            path=out,
            store=self.options.store,
            samples=len(kept),
            shape=self.codec.shape,
            dtype=str(self.codec.dtype),
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

    def read(self, index: int) -> npt.NDArray[Any]:
        """A row that is committed, as a reader of the finished file will see it."""
        first, at = 0, layout.PAYLOAD_OFFSET
        for frame in self.work.frames():
            lengths = frame.arrays[f"{DATA}_length"]
            if index < first + len(lengths):
                start = at + int(lengths[: index - first].sum(dtype=np.uint64))
                return self.codec.decode(self.work.read(int(lengths[index - first]), start))
            first += len(lengths)
            at = frame.ends[DATA]
        raise IndexError(f"row {index} of {first}")

    def close(self) -> None:
        """Let go; what is committed stays for the next time."""
        self.work.close()

    def _make(self, block: list[Row], stop: threading.Event) -> list[Outcome]:
        outcomes = []
        for row, label in block:
            if stop.is_set():
                raise Stopped
            outcomes.append(self._one(row, label))
        return outcomes

    def _one(self, row: npt.NDArray[Any], label: Any) -> Outcome:
        reason = self.kind.misfit(row)
        if reason:
            return Refused(reason)
        row = np.ascontiguousarray(row, self.kind.dtype)
        if self.options.size is not None:
            placement = resize.place(row.shape[:2], self.options.size, self.options.resize)
            row = np.ascontiguousarray(resize.apply(row, placement))
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
    given, found = (None, ()) if labels is None else number_labels(np.asarray(labels))
    if given is not None and count is not None and len(given) != count:
        raise SourceError(f"{len(given)} labels for {count} arrays: wanted one each.")
    first, pull = _rows_of(source, options, count)
    kind = Kind.of(first[0])
    identity = {"count": count, "labels": None if given is None else _digest(given)}
    color = _color_of(kind, options)
    writer = RowWriter(
        out, options, kind, total=count, identity=identity, color=color,
        overwrite=overwrite, fresh=fresh,
    )  # fmt: skip
    try:
        done = writer.progress.done
        rows = pull(max(0, done - 1))
        if done:
            writer.check_same(next(rows)[0])
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
        return writer.publish(
            labels=_ordered(given, options), label_names=tuple(label_names or found), began=began
        )
    finally:
        writer.close()


def split_rows_of(rows: Any, row_ndim: int) -> tuple[list[npt.NDArray[Any]], bool]:
    """Rows as a list of arrays, and whether it was one row that came without a list around.

    `row_ndim` is the number of axes of one row: an array with just so many is one row.
    """
    if isinstance(rows, (list, tuple)):
        batch = [np.asarray(row) for row in rows]
        if batch and batch[0].ndim == row_ndim - 1:
            return [np.asarray(rows)], True  # one row, given as a list
        return batch, False
    array = np.asarray(rows)
    if array.ndim == row_ndim:
        return [array], True
    return list(array), False


def number_labels(column: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """Labels as the format keeps them, and their names.

    Strings become their place in the sorted list of all; whole numbers int64; floats float64;
    several a sample (N, K) uint8 where they are 0 and 1, else as they are.

    Examples
    --------
    >>> number_labels(np.array(["dog", "cat", "dog"]))
    (array([1, 0, 1]), ('cat', 'dog'))
    """
    if column.dtype.kind in "US":
        names, numbers = np.unique(column, return_inverse=True)
        texts = [n.decode() if isinstance(n, bytes) else str(n) for n in names]
        return numbers.astype(np.int64), tuple(texts)
    if column.dtype.kind == "f":
        return column.astype(np.float64), ()
    if column.dtype.kind not in "bui":
        raise SourceError(
            f"labels of type {column.dtype}: wanted whole numbers, floats or strings, one a "
            "sample (or as many columns for every sample)."
        )
    if column.ndim == 2 and column.min(initial=0) >= 0 and column.max(initial=0) <= 1:
        return column.astype(np.uint8), ()
    return column.astype(np.int64), ()


def _rows_of(
    source: Iterable[Any], options: PackOptions, count: int | None
) -> tuple[Row, Callable[[int], Iterator[Row]]]:
    """The first row, and a function that gives the rows from a number on."""
    nothing = SourceError("the source holds no array: there is nothing to pack.")
    if count is not None and hasattr(source, "__getitem__"):
        if not count:
            raise nothing
        order = range(count)
        if options.shuffle:
            order = np.random.default_rng(options.seed).permutation(count)  # type: ignore[assignment]

        def pull(start: int) -> Iterator[Row]:
            return (_row(source[int(i)]) for i in order[start:])

        return _row(source[int(order[0])]), pull
    if options.shuffle:
        raise OptionError(
            "shuffle needs a source that gives any row by number (len and []), and this one only "
            "gives one after the other. Leave it out, or pass a list."
        )
    items = iter(source)
    try:
        first = _row(next(items))
    except StopIteration:
        raise nothing from None

    def pull_on(start: int) -> Iterator[Row]:
        rows = itertools.chain([first], map(_row, items))
        return itertools.islice(rows, start, None)

    return first, pull_on


def _row(item: Any) -> Row:
    """An array, or a pair of an array and its label, as people's data sets give them."""
    if isinstance(item, tuple) and len(item) == 2:
        return np.asarray(item[0]), item[1]
    return np.asarray(item), None


def _blocks(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    items = iter(rows)
    while block := list(itertools.islice(items, size)):
        yield block


def _ordered(labels: npt.NDArray[Any] | None, options: PackOptions) -> npt.NDArray[Any] | None:
    if labels is None or not options.shuffle:
        return labels
    return labels[np.random.default_rng(options.seed).permutation(len(labels))]


def _color_of(kind: Kind, options: PackOptions) -> layout.Color:
    """Arrays say nothing of their colours: what the caller says, where it can be true."""
    if len(kind.shape) != 3 or kind.shape[2] not in (1, 3):
        return ""
    return "GRAY" if kind.shape[2] == 1 else options.color


def _digest(labels: npt.NDArray[Any]) -> str:
    import hashlib

    return hashlib.blake2b(labels.tobytes(), digest_size=16).hexdigest()
