"""A manifest: a table with one picture a row, in CSV, JSON Lines or Parquet.

    path,label,split,age         the first line names the columns
    cats/1.jpg,cat,train,3       a path, relative to the manifest, and whatever is known of it
    dogs/1.jpg,dog,val,7

Columns are typed by what stands in them, column by column; no dictionary a row is kept. Whether
the pictures are there shows when they are packed: a missing one is listed with size 0.
"""

from __future__ import annotations

import csv
import importlib
import itertools
import json
import math
import os
import re
import stat
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

import numpy as np

from celeiro.errors import MissingExtraError, OptionError, SourceError
from celeiro.format.pictures import EXTENSIONS
from celeiro.packing.listing import NO_SPLIT, Listing, Ragged
from celeiro.packing.names import Names, NamesBuilder, printable
from celeiro.packing.splits import MAX_SPLITS, check_split_name, sorted_names

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.packing.listing import Labels

__all__ = ["SUFFIXES", "list_manifest"]

# What a column is for, by its name in lower case; of several, the first in this order.
_PATH_NAMES = ("path", "file", "filename", "image", "file_name")
_LABEL_NAMES = ("label", "labels", "class", "target", "y")
_SPLIT_NAMES = ("split", "subset")
_MASK_NAMES = ("mask",)
_BOXES_NAMES = ("boxes", "bbox", "bboxes")

_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_ -]*")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# A leading zero says that it is a name, such as a postcode, and no number.
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(
    r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|nan|[+-]?inf", re.IGNORECASE
)
_SEPARATORS = ("|", ";")
# Strings are stored at the width of the longest: one long caption would make terabytes of a few.
_MAX_FIXED_BYTES = 2**30
# Cells that are alike are held once, as long as there are not more kinds than this.
_SHARED_CELLS = 65_536

_Where = Callable[[int], str]
"""Says where row i stands, for messages."""


def list_manifest(
    path: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
) -> Listing:
    """List the pictures that a manifest names, with all of its columns.

    Parameters
    ----------
    root
        What paths are relative to; the manifest's folder if not given.
    path_column, label_column
        The columns of these names. Otherwise the path is in ``path``, ``file``, ``filename``,
        ``image``, ``file_name`` or else the first column, and the label in ``label``, ``labels``,
        ``class``, ``target`` or ``y`` if there is one.
    """
    manifest = Path(path).absolute()
    table = _read(manifest)
    columns = dict(table.columns)
    name = _claim(columns, _PATH_NAMES, path_column) or next(iter(columns))
    keys = _paths(columns.pop(name), name, table.where)
    top = Path(root).absolute() if root is not None else manifest.parent

    def where(row: int) -> str:
        return f"{table.where(row)} ({printable(keys[row])})"

    def claimed(names: Sequence[str], chosen: str | None = None) -> list[Any] | None:
        name = _claim(columns, names, chosen)
        return None if name is None else columns.pop(name)

    targets, splits = claimed(_LABEL_NAMES, label_column), claimed(_SPLIT_NAMES)
    masks, boxes = claimed(_MASK_NAMES), claimed(_BOXES_NAMES)
    labels, label_names = (None, ()) if targets is None else _labels(table.values(targets), where)
    codes, split_names = (None, ()) if splits is None else _splits(table.values(splits), where)
    sizes, mtimes = _sizes_and_mtimes(top, keys, where)
    return Listing(
        root=top,
        keys=keys,
        sizes=sizes,
        mtimes=mtimes,
        labels=labels,
        label_names=label_names,
        splits=codes,
        split_names=split_names,
        fields=_fields(columns, table, where),
        masks=None if masks is None else _paths(masks, "mask", where),
        boxes=None if boxes is None else _boxes(boxes, where),
        labels_from="none" if labels is None else "manifest",
    )


# Tables: from a file to columns


@dataclass(frozen=True, slots=True)
class _Table:
    """The cells of a manifest, column by column."""

    path: Path
    """The manifest."""

    unit: Literal["line", "row"]
    """What its rows are counted in."""

    typed: bool
    """Whether cells have types; else they are text."""

    columns: dict[str, list[Any]] = field(default_factory=dict)
    """Cells by column, all of one length; None where there is none."""

    numbers: array[int] = field(default_factory=lambda: array("q"))
    """Line or row of each row, from 1, as an editor shows it."""

    def where(self, row: int) -> str:
        return f"{self.path}: {self.unit} {self.numbers[row]}"

    def values(self, cells: list[Any]) -> list[Any]:
        return cells if self.typed else _typed(cells)


def _read(path: Path) -> _Table:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise SourceError(f"{path}: not a manifest. Wanted: a file in {', '.join(SUFFIXES)}")
    try:
        table = reader(path)
    except OSError as error:
        raise SourceError(
            f"{path}: {error.strerror or error}. The manifest must be readable"
        ) from error
    if not table.numbers or not table.columns:
        raise SourceError(f"{path}: no rows. Wanted: one row a picture, and a column for its path")
    return table


def _open(path: Path) -> TextIO:
    """Open as UTF-8 with or without its mark; paths keep bytes that are something else."""
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _read_csv(path: Path) -> _Table:
    with _open(path) as file:
        first = file.readline()
        if "\0" in first:
            raise SourceError(f"{path}: not UTF-8 text. Save the table as CSV in UTF-8")
        delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(first)
        reader = csv.reader(itertools.chain([first], file), delimiter=delimiter, strict=True)
        try:
            return _csv_table(path, reader)
        except csv.Error as error:
            raise SourceError(
                f"{path}: line {reader.line_num}: {error}. Mend the quotes of this line"
            ) from error


def _delimiter(header: str) -> str:
    return max(",;\t", key=lambda mark: len(next(csv.reader([header], delimiter=mark), [])))


def _csv_table(path: Path, reader: Any) -> _Table:
    header = [name.strip() for name in next(reader, [])]
    _check_header(path, header)
    table = _Table(path, "line", typed=False, columns={name: [] for name in header})
    columns = list(table.columns.values())
    shared: dict[str, str] = {}
    line = reader.line_num
    for cells in reader:
        begins, line = line + 1, reader.line_num
        if not cells:
            continue
        if len(cells) != len(header):
            raise SourceError(
                f"{path}: line {begins} has {len(cells)} cells, the first line has {len(header)}. "
                'A cell that holds the delimiter needs "quotes"'
            )
        table.numbers.append(begins)
        for column, cell in zip(columns, cells, strict=True):
            known = len(shared) >= _SHARED_CELLS
            column.append(shared.get(cell, cell) if known else shared.setdefault(cell, cell))
    return table


def _check_header(path: Path, header: Sequence[str]) -> None:
    for number, name in enumerate(header, 1):
        if not name:
            raise SourceError(
                f"{path}: column {number} has no name. Name it or remove it "
                "(pandas: to_csv(..., index=False))"
            )
        if os.path.splitext(name)[1].lower() in EXTENSIONS:
            raise SourceError(
                f"{path}: the first line holds {name!r}, and wanted are the names of the columns. "
                "Add a line such as path,label"
            )
        if header.index(name) != number - 1:
            raise SourceError(f"{path}: two columns are named {name!r}. Rename one")
    if not header:
        raise SourceError(f"{path}: empty. Wanted: a line with the names of the columns")


def _read_json_lines(path: Path) -> _Table:
    table = _Table(path, "line", typed=True)
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                _add_record(table, number, line)
    return table


def _add_record(table: _Table, number: int, line: str) -> None:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise SourceError(f"{table.path}: line {number} is no JSON: {error}. Mend it") from error
    if not isinstance(record, dict):
        raise SourceError(
            f"{table.path}: line {number} is no JSON object. Wanted: one a line, such as "
            '{"path": "cats/1.jpg", "label": "cat"}'
        )
    for name in record:  # in the order of the file, or the output would differ from run to run
        if name not in table.columns:
            table.columns[name] = [None] * len(table.numbers)
    for name, column in table.columns.items():
        column.append(record.get(name))
    table.numbers.append(number)


def _read_parquet(path: Path) -> _Table:
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
        arrow_error: Any = importlib.import_module("pyarrow").ArrowException
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: reading Parquet needs pyarrow, which is not installed. "
            "Type: pip install 'celeiro[parquet]'"
        ) from error
    table = _Table(path, "row", typed=True)
    try:
        with parquet.ParquetFile(path) as file:
            for name in file.schema_arrow.names:
                if name in table.columns:
                    raise SourceError(f"{path}: two columns are named {name!r}. Rename one")
                table.columns[name] = []
            for batch in file.iter_batches():
                for name, column in zip(batch.schema.names, batch.columns, strict=True):
                    table.columns[name].extend(column.to_pylist())
            table.numbers.extend(range(1, file.metadata.num_rows + 1))
    except arrow_error as error:
        raise SourceError(f"{path}: {error}. Wanted: a Parquet file that is whole") from error
    return table


_READERS: Mapping[str, Callable[[Path], _Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
}
SUFFIXES = tuple(_READERS)


def _claim(columns: Mapping[str, Any], names: Sequence[str], chosen: str | None) -> str | None:
    """Find the column for a purpose: the one that is asked for, or else the first by name."""
    if chosen is not None:
        if chosen not in columns:
            raise OptionError(f"no column {chosen!r}. Wanted: one of {', '.join(columns)}")
        return chosen
    by_name = {name.strip().lower(): name for name in reversed(list(columns))}
    return next((by_name[name] for name in names if name in by_name), None)


# Types: from text to what it says


def _typed(cells: Iterable[str | None]) -> list[Any]:
    """Read a column of text: whole numbers, numbers, true and false, JSON lists, or text."""
    texts = [(cell or "").strip() or None for cell in cells]
    for matches, read in _TEXT_TYPES:
        if all(text is None or matches(text) for text in texts):
            try:
                return [None if text is None else read(text) for text in texts]
            except ValueError:
                continue
    return texts


_TEXT_TYPES: tuple[tuple[Callable[[str], Any], Callable[[str], Any]], ...] = (
    (_INTEGER.fullmatch, int),
    (_NUMBER.fullmatch, float),
    (lambda text: text.lower() in ("true", "false"), lambda text: text.lower() == "true"),
    (lambda text: text.startswith("["), json.loads),
)


def _kind(values: Iterable[Any], what: str, where: _Where) -> type | None:
    """Give the one type of a column (int and float are float); None if nothing stands in it."""
    found: type | None = None
    for row, value in enumerate(values):
        kind = type(value)
        if value is None or kind is found:
            continue
        if kind not in (bool, int, float, str, list):
            raise SourceError(
                f"{where(row)}: {what} is of type {kind.__name__}. Wanted: numbers, text, true and "
                "false, or lists of numbers. Convert the column, or remove it"
            )
        if found is None or {kind, found} == {int, float}:
            found = kind if found is None else float
        else:
            raise SourceError(
                f"{where(row)}: {what} is {_quoted(value)}, of another type than in the rows "
                "before. Wanted: one type a column"
            )
    return found


def _quoted(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _encoded(text: str, what: str, row: int, where: _Where) -> bytes:
    """Give text as UTF-8; a zero byte would end it in the file."""
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        encoded = b"\0"
    if b"\0" in encoded:
        raise SourceError(f"{where(row)}: {what} {_quoted(text)} is not UTF-8 text. Correct it")
    return encoded


# Paths


def _paths(cells: Iterable[Any], column: str, where: _Where) -> Names:
    builder = NamesBuilder()
    for row, cell in enumerate(cells):
        if not isinstance(cell, str) or not cell.strip():
            raise SourceError(f"{where(row)}: {column} is {_quoted(cell)}. Wanted: a path")
        if _URL.match(cell):
            raise SourceError(
                f"{where(row)}: {column} is {_quoted(cell)}. Wanted: a file. Fetch it first"
            )
        try:
            path = cell.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            path = b"\0"
        if b"\0" in path:
            raise SourceError(f"{where(row)}: {column} {_quoted(cell)} cannot be a file's name")
        builder.append(path)
    return builder.build()


def _sizes_and_mtimes(
    root: Path, keys: Names, where: _Where
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Ask each file; one that is not there has 0 bytes, and is reported when it is packed."""
    top = os.fsencode(root)
    sizes = np.zeros(len(keys), dtype=np.int64)
    mtimes = np.zeros(len(keys), dtype=np.int64)
    for row, key in enumerate(keys):
        try:
            about = os.stat(os.path.join(top, key))
        except OSError:
            continue
        if not stat.S_ISREG(about.st_mode):  # opening a pipe would wait for ever
            raise SourceError(f"{where(row)}: this is a folder or device. Wanted: a picture's file")
        sizes[row], mtimes[row] = about.st_size, about.st_mtime_ns
    return sizes, mtimes


# Labels and splits


def _labels(values: list[Any], where: _Where) -> tuple[Labels, tuple[str, ...]]:
    """Tell classes, numbers, regression and several labels a picture from each other."""
    for row, value in enumerate(values):
        if value is None or (isinstance(value, str) and not value.strip()):
            raise SourceError(
                f"{where(row)}: no label, and other rows have one. Fill it in, or remove the row"
            )
    kind = _kind(values, "label", where)
    if kind is int:
        return _integers(values, "label", where), ()
    if kind is float:
        return _finite(values, where), ()
    if kind is list:
        return _multi_hot(values, where)
    texts = [str(value).lower() if kind is bool else value.strip() for value in values]
    separator = next((mark for mark in _SEPARATORS if any(mark in text for text in texts)), None)
    if separator is not None:
        return _multi_hot([_parts(text, separator) for text in texts], where)
    names = _sorted_names(((row, text) for row, text in enumerate(texts)), where)
    numbers = {name: number for number, name in enumerate(names)}
    return np.fromiter((numbers[text] for text in texts), np.int64, len(texts)), names


def _parts(text: str, separator: str) -> list[str]:
    if text == "[]":
        return []
    return [part.strip() for part in text.split(separator) if part.strip()]


def _sorted_names(labels: Iterable[tuple[int, str]], where: _Where) -> tuple[str, ...]:
    first_row: dict[str, int] = {}
    for row, label in labels:
        first_row.setdefault(label, row)
    for label, row in first_row.items():
        _encoded(label, "label", row, where)
    return tuple(sorted(first_row))


def _integers(values: list[Any], what: str, where: _Where) -> npt.NDArray[np.int64]:
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError as error:
        row = next(row for row, value in enumerate(values) if not -(2**63) <= value < 2**63)
        raise SourceError(
            f"{where(row)}: {what} {values[row]} does not fit into 64 bits. Write it as text"
        ) from error


def _finite(values: list[Any], where: _Where) -> npt.NDArray[np.float64]:
    numbers = np.array(values, dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        row = int(wrong[0])
        raise SourceError(f"{where(row)}: label is {values[row]}. Wanted: a finite number")
    return numbers


def _multi_hot(values: list[Any], where: _Where) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """Give one column a class, 1 where the picture has it."""
    rows = [row for row, some in enumerate(values) for _ in some]
    kind = _kind(itertools.chain.from_iterable(values), "label", lambda i: where(rows[i]))
    if kind not in (str, int):
        raise SourceError(
            f"{where(rows[0] if rows else 0)}: label is {_quoted(values[rows[0] if rows else 0])}. "
            "Wanted: lists of class names. A column of another name may hold lists of numbers"
        )
    names: Sequence[Any]
    if kind is str:
        names = _sorted_names(
            ((row, name) for row, some in enumerate(values) for name in some), where
        )
    else:
        names = sorted({number for some in values for number in some})
    columns = {name: column for column, name in enumerate(names)}
    hot = np.zeros((len(values), len(names)), dtype=np.uint8)
    for row, some in enumerate(values):
        hot[row, [columns[name] for name in some]] = 1
    return hot, tuple(str(name) for name in names)


def _splits(
    values: list[Any], where: _Where
) -> tuple[npt.NDArray[np.uint8] | None, tuple[str, ...]]:
    """Give each row the code of its split; an empty cell is in none."""
    if _kind(values, "split", where) not in (str, int, None):
        raise SourceError(f"{where(0)}: split is {_quoted(values[0])}. Wanted: a name")
    texts = [str(value).strip() if value is not None else "" for value in values]
    names = sorted_names({text for text in texts if text})
    if len(names) > MAX_SPLITS:
        raise SourceError(f"{where(0)}: {len(names)} splits. Wanted: up to {MAX_SPLITS}")
    for name in names:
        try:
            check_split_name(name)
        except OptionError as error:
            raise SourceError(f"{where(texts.index(name))}: {error}") from error
    codes = {name: code for code, name in enumerate(names)} | {"": NO_SPLIT}
    return np.fromiter((codes[text] for text in texts), np.uint8, len(texts)), names


# Fields


def _fields(
    columns: dict[str, list[Any]], table: _Table, where: _Where
) -> dict[str, npt.NDArray[Any] | Ragged]:
    fields: dict[str, npt.NDArray[Any] | Ragged] = {}
    for name in list(columns):
        if not _FIELD_NAME.fullmatch(name):
            raise SourceError(
                f"{table.path}: column {_quoted(name)} cannot be stored under this name. Wanted: "
                "ASCII letters, digits, '_', '-' and ' ', beginning with a letter. Rename it"
            )
        fields[name] = _field(table.values(columns.pop(name)), name, where)
    return fields


def _field(values: list[Any], name: str, where: _Where) -> npt.NDArray[Any] | Ragged:
    kind = _kind(values, name, where)
    gaps = any(value is None for value in values)
    if kind is str:
        return _strings(values, name, where)
    if kind is list:
        return _lists(values, name, where)
    if kind is float or gaps:  # a gap among numbers is NaN
        return np.array([math.nan if value is None else value for value in values], np.float64)
    if kind is bool:
        return np.array(values, dtype=np.uint8)
    return _integers(values, name, where)


def _strings(values: list[Any], name: str, where: _Where) -> npt.NDArray[np.bytes_]:
    names = Names.of(_encoded(text or "", name, row, where) for row, text in enumerate(values))
    if names.max_length * len(names) > _MAX_FIXED_BYTES:
        row = int(np.diff(names.offsets).argmax())
        raise SourceError(
            f"{where(row)}: {name} has {names.max_length} bytes, and {len(names)} rows of that "
            "width are too many. Shorten the text, or remove the column"
        )
    return names.fixed()


def _lists(values: list[Any], name: str, where: _Where) -> npt.NDArray[Any] | Ragged:
    """Give lists of one length as rows of a table, others as `Ragged`."""
    rows = [value or () for value in values]
    dtype = _list_dtype(rows, name, where)
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    try:
        flat = np.fromiter(itertools.chain.from_iterable(rows), dtype, int(lengths.sum()))
    except OverflowError as error:
        raise SourceError(f"{where(0)}: {name} has numbers beyond 64 bits. Shorten them") from error
    if lengths[0] > 0 and (lengths == lengths[0]).all():
        return flat.reshape(len(rows), -1)
    return Ragged(flat, _offsets(lengths))


def _list_dtype(rows: Iterable[Sequence[Any]], name: str, where: _Where) -> type[np.generic]:
    dtype: type[np.generic] = np.int64
    for row, some in enumerate(rows):
        for value in some:
            if type(value) is float:
                dtype = np.float64
            elif type(value) is not int:
                raise SourceError(
                    f"{where(row)}: {name} holds {_quoted(value)}. Wanted: lists of numbers"
                )
    return dtype


def _offsets(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    offsets = np.zeros(len(lengths) + 1, dtype=np.uint64)
    np.cumsum(lengths, out=offsets[1:], dtype=np.uint64)
    return offsets


def _boxes(values: list[Any], where: _Where) -> Ragged:
    """Give the boxes of each row; a single list of four numbers is one box."""
    flat = array("d")
    lengths = np.zeros(len(values), dtype=np.int64)
    for row, value in enumerate(values):
        boxes = _list_of(value)
        if isinstance(boxes, list) and boxes and not isinstance(boxes[0], list):
            boxes = [boxes]
        for box in _checked_boxes(boxes, row, where):
            flat.extend(box)
        lengths[row] = len(boxes)
    corners = np.frombuffer(flat, dtype=np.float64) if flat else np.zeros(0)
    return Ragged(corners.reshape(-1, 4), _offsets(lengths))


def _list_of(cell: Any) -> Any:
    """Read a cell of text as JSON, if it is; an empty one is the empty list."""
    if not isinstance(cell, str):
        return [] if cell is None else cell
    try:
        return json.loads(cell or "[]")
    except ValueError:
        return cell


def _checked_boxes(boxes: Any, row: int, where: _Where) -> Iterator[list[float]]:
    for box in boxes if isinstance(boxes, list) else [boxes]:
        numbers = isinstance(box, list) and all(type(each) in (int, float) for each in box)
        if not numbers or len(box) != 4:
            raise SourceError(
                f"{where(row)}: box {_quoted(box)}. Wanted: lists of [x1, y1, x2, y2] in pixels"
            )
        if box[2] < box[0] or box[3] < box[1]:
            raise SourceError(
                f"{where(row)}: box {_quoted(box)} ends before it begins. Wanted: "
                "[x1, y1, x2, y2]; if these are x, y, width and height, convert them"
            )
        yield box
