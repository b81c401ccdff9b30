"""What a network shall learn, and in which part of the data: the label and split columns."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError, SourceError
from celeiro.packing.listing import NO_SPLIT
from celeiro.packing.sources.columns import encoded, integers, kind_of, quoted
from celeiro.packing.splits import MAX_SPLITS, check_split_name, sorted_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from celeiro.packing.listing import Labels
    from celeiro.packing.sources.columns import Where

__all__ = ["labels_of", "splits_of"]

# Between the labels of one picture.
_SEPARATORS = ("|", ";")


def labels_of(values: list[Any], where: Where) -> tuple[Labels, tuple[str, ...]]:
    """Tell classes, numbers, regression and several labels a picture from each other."""
    for row, value in enumerate(values):
        if value is None or (isinstance(value, str) and not value.strip()):
            raise SourceError(
                f"{where(row)}: no label, and other rows have one. Fill it in, or remove the row"
            )
    kind = kind_of(values, "label", where)
    if kind is int:
        return integers(values, "label", where), ()
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


def _sorted_names(labels: Iterable[tuple[int, str]], where: Where) -> tuple[str, ...]:
    first_row: dict[str, int] = {}
    for row, label in labels:
        first_row.setdefault(label, row)
    for label, row in first_row.items():
        encoded(label, "label", row, where)
    return tuple(sorted(first_row))


def _finite(values: list[Any], where: Where) -> npt.NDArray[np.float64]:
    numbers = np.array(values, dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        row = int(wrong[0])
        raise SourceError(f"{where(row)}: label is {values[row]}. Wanted: a finite number")
    return numbers


def _multi_hot(values: list[Any], where: Where) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """Give one column a class, 1 where the picture has it."""
    rows = [row for row, some in enumerate(values) for _ in some]
    kind = kind_of(itertools.chain.from_iterable(values), "label", lambda i: where(rows[i]))
    if kind not in (str, int):
        raise SourceError(
            f"{where(rows[0] if rows else 0)}: label is {quoted(values[rows[0] if rows else 0])}. "
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


def splits_of(
    values: list[Any], where: Where
) -> tuple[npt.NDArray[np.uint8] | None, tuple[str, ...]]:
    """Give each row the code of its split; an empty cell is in none."""
    if kind_of(values, "split", where) not in (str, int, None):
        raise SourceError(f"{where(0)}: split is {quoted(values[0])}. Wanted: a name")
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
