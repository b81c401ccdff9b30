"""A table in a file: its rows as columns, each with the type that its cells have.

    CSV, TSV        text; what a column holds is told from all of its cells
    JSON Lines      one object a line; types are JSON's
    Parquet         types are its own; needs pyarrow

No dictionary a row is kept, and text that comes again and again is held once.
"""

from __future__ import annotations

import csv
import importlib
import itertools
import json
import os
import re
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TextIO

from celeiro.errors import MissingExtraError, SourceError
from celeiro.format.pictures import EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["SUFFIXES", "Table", "read_table"]

# A leading zero says that it is a name, such as a postcode, and no number.
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(
    r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|nan|[+-]?inf", re.IGNORECASE
)
# Cells that are alike are held once, as long as there are not more kinds than this.
_SHARED_CELLS = 65_536


@dataclass(frozen=True, slots=True)
class Table:
    """The cells of a table, column by column."""

    path: Path
    """The file."""

    unit: Literal["line", "row"]
    """What its rows are counted in."""

    typed: bool
    """Whether cells have types; else they are text."""

    columns: dict[str, list[Any]] = field(default_factory=dict)
    """Cells by column, all of one length; None where there is none."""

    numbers: array[int] = field(default_factory=lambda: array("q"))
    """Line or row of each row, from 1, as an editor shows it."""

    def where(self, row: int) -> str:
        """Say where a row stands, for messages."""
        return f"{self.path}: {self.unit} {self.numbers[row]}"

    def values(self, cells: list[Any]) -> list[Any]:
        """Give the cells of a column with the types that they have."""
        return cells if self.typed else _typed(cells)


def read_table(path: Path) -> Table:
    """Read a table of at least one row; SourceError if it is none."""
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


def _read_csv(path: Path) -> Table:
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


def _csv_table(path: Path, reader: Any) -> Table:
    header = [name.strip() for name in next(reader, [])]
    _check_header(path, header)
    table = Table(path, "line", typed=False, columns={name: [] for name in header})
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


def _read_json_lines(path: Path) -> Table:
    table = Table(path, "line", typed=True)
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                _add_record(table, number, line)
    return table


def _add_record(table: Table, number: int, line: str) -> None:
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


def _read_parquet(path: Path) -> Table:
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
        arrow_error: Any = importlib.import_module("pyarrow").ArrowException
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: reading Parquet needs pyarrow, which is not installed. "
            "Type: pip install 'celeiro[parquet]'"
        ) from error
    table = Table(path, "row", typed=True)
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


_READERS: Mapping[str, Callable[[Path], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
}
SUFFIXES = tuple(_READERS)


# From text to what it says


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
