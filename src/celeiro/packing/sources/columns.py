"""A column of a table as an array: numbers, text, lists of numbers, boxes.

Each function takes the values row by row, and says of one that does not fit where it stands.
"""

from __future__ import annotations

import itertools
import json
import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import SourceError
from celeiro.format.names import Names
from celeiro.format.ragged import Ragged

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Where", "boxes_of", "encoded", "field_of", "integers", "kind_of", "quoted"]

Where = Callable[[int], str]
"""Says where row i stands, for messages."""

# Strings are stored at the width of the longest: one long caption would make terabytes of a few.
_MAX_FIXED_BYTES = 2**30


def field_of(values: list[Any], name: str, where: Where) -> npt.NDArray[Any] | Ragged:
    """Give a column beside the label: its type follows its values, and a gap is NaN or empty."""
    kind = kind_of(values, name, where)
    gaps = any(value is None for value in values)
    if kind is str:
        return _strings(values, name, where)
    if kind is list:
        return _lists(values, name, where)
    if kind is float or gaps:  # a gap among numbers is NaN
        return np.array([math.nan if value is None else value for value in values], np.float64)
    if kind is bool:
        return np.array(values, dtype=np.uint8)
    return integers(values, name, where)


def _strings(values: list[Any], name: str, where: Where) -> npt.NDArray[np.bytes_]:
    names = Names.of(encoded(text or "", name, row, where) for row, text in enumerate(values))
    if names.max_length * len(names) > _MAX_FIXED_BYTES:
        row = int(np.diff(names.offsets).argmax())
        raise SourceError(
            f"{where(row)}: {name} has {names.max_length} bytes, and {len(names)} rows of that "
            "width are too many. Shorten the text, or remove the column"
        )
    return names.fixed()


def _lists(values: list[Any], name: str, where: Where) -> npt.NDArray[Any] | Ragged:
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


def _list_dtype(rows: Iterable[Sequence[Any]], name: str, where: Where) -> type[np.generic]:
    dtype: type[np.generic] = np.int64
    for row, some in enumerate(rows):
        for value in some:
            if type(value) is float:
                dtype = np.float64
            elif type(value) is not int:
                raise SourceError(
                    f"{where(row)}: {name} holds {quoted(value)}. Wanted: lists of numbers"
                )
    return dtype


def _offsets(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    offsets = np.zeros(len(lengths) + 1, dtype=np.uint64)
    np.cumsum(lengths, out=offsets[1:], dtype=np.uint64)
    return offsets


def boxes_of(values: list[Any], where: Where) -> Ragged:
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


def _checked_boxes(boxes: Any, row: int, where: Where) -> Iterator[list[float]]:
    for box in boxes if isinstance(boxes, list) else [boxes]:
        numbers = isinstance(box, list) and all(type(each) in (int, float) for each in box)
        if not numbers or len(box) != 4:
            raise SourceError(
                f"{where(row)}: box {quoted(box)}. Wanted: lists of [x1, y1, x2, y2] in pixels"
            )
        if box[2] < box[0] or box[3] < box[1]:
            raise SourceError(
                f"{where(row)}: box {quoted(box)} ends before it begins. Wanted: "
                "[x1, y1, x2, y2]; if these are x, y, width and height, convert them"
            )
        yield box


# What every kind of column needs


def kind_of(values: Iterable[Any], what: str, where: Where) -> type | None:
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
                f"{where(row)}: {what} is {quoted(value)}, of another type than in the rows "
                "before. Wanted: one type a column"
            )
    return found


def quoted(value: Any) -> str:
    """Give a value as messages show it: short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def encoded(text: str, what: str, row: int, where: Where) -> bytes:
    """Give text as UTF-8; a zero byte would end it in the file."""
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        encoded = b"\0"
    if b"\0" in encoded:
        raise SourceError(f"{where(row)}: {what} {quoted(text)} is not UTF-8 text. Correct it")
    return encoded


def integers(values: list[Any], what: str, where: Where) -> npt.NDArray[np.int64]:
    """Give whole numbers as int64."""
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError as error:
        row = next(row for row, value in enumerate(values) if not -(2**63) <= value < 2**63)
        raise SourceError(
            f"{where(row)}: {what} {values[row]} does not fit into 64 bits. Write it as text"
        ) from error
