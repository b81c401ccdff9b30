"""A manifest: a table with one picture a row, in CSV, JSON Lines or Parquet.

    path,label,split,age         the first line names the columns
    cats/1.jpg,cat,train,3       a path, relative to the manifest, and whatever is known of it
    dogs/1.jpg,dog,val,7

Here is told which column means what; tables.py reads them, columns.py and targets.py make arrays
of them. Whether the pictures are there shows when they are packed: a missing one has size 0.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError, SourceError
from celeiro.format import layout
from celeiro.format.names import Names, NamesBuilder, printable
from celeiro.packing.listing import Listing
from celeiro.packing.sources.columns import Where, boxes_of, field_of, quoted
from celeiro.packing.sources.tables import SUFFIXES, Table, read_table
from celeiro.packing.sources.targets import labels_of, splits_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from celeiro.format.ragged import Ragged

__all__ = ["SUFFIXES", "list_manifest"]

# What a column is for, by its name in lower case; of several, the first in this order.
_PATH_NAMES = ("path", "file", "filename", "image", "file_name")
_LABEL_NAMES = ("label", "labels", "class", "target", "y")
_SPLIT_NAMES = ("split", "subset")
_MASK_NAMES = ("mask",)
_BOXES_NAMES = ("boxes", "bbox", "bboxes")

# Between the parts of an HDF5 path, or the whole of one; and endings of data sets that tell of
# another one.
_NOT_IN_NAMES = "/."
_NOT_AT_THE_END = tuple(part("") for part in layout.BESIDE)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


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
    table = read_table(manifest)
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
    labels, label_names = (None, ()) if targets is None else labels_of(table.values(targets), where)
    codes, split_names = (None, ()) if splits is None else splits_of(table.values(splits), where)
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
        boxes=None if boxes is None else boxes_of(boxes, where),
        labels_from="none" if labels is None else "manifest",
    )


def _claim(columns: Mapping[str, Any], names: Sequence[str], chosen: str | None) -> str | None:
    """Find the column for a purpose: the one that is asked for, or else the first by name."""
    if chosen is not None:
        if chosen not in columns:
            raise OptionError(f"no column {chosen!r}. Wanted: one of {', '.join(columns)}")
        return chosen
    by_name = {name.strip().lower(): name for name in reversed(list(columns))}
    return next((by_name[name] for name in names if name in by_name), None)


def _paths(cells: list[Any], column: str, where: Where) -> Names:
    """The paths of a column, whose cells are let go one by one: both would not fit 200 bytes."""
    builder = NamesBuilder()
    for row, cell in enumerate(cells):
        cells[row] = None
        if not isinstance(cell, str) or not cell.strip():
            raise SourceError(f"{where(row)}: {column} is {quoted(cell)}. Wanted: a path")
        if _URL.match(cell):
            raise SourceError(
                f"{where(row)}: {column} is {quoted(cell)}. Wanted: a file. Fetch it first"
            )
        try:
            path = cell.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            path = b"\0"
        if b"\0" in path:
            raise SourceError(f"{where(row)}: {column} {quoted(cell)} cannot be a file's name")
        builder.append(path)
    return builder.build()


def _sizes_and_mtimes(
    root: Path, keys: Names, where: Where
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


def _fields(
    columns: dict[str, list[Any]], table: Table, where: Where
) -> dict[str, npt.NDArray[Any] | Ragged]:
    fields: dict[str, npt.NDArray[Any] | Ragged] = {}
    for name in list(columns):
        _check_field_name(name, table)
        fields[name] = field_of(table.values(columns.pop(name)), name, where)
    return fields


def _check_field_name(name: str, table: Table) -> None:
    if not name or not name.isprintable() or any(mark in name for mark in _NOT_IN_NAMES):
        raise SourceError(
            f"{table.path}: column {quoted(name)} cannot be stored under this name. Wanted: "
            "letters of any script, digits, spaces and signs, but neither '/' nor '.'. Rename it"
        )
    if name.endswith(_NOT_AT_THE_END):
        raise SourceError(
            f"{table.path}: column {quoted(name)} ends like a data set that tells of another one. "
            f"Wanted: a name that does not end in {', '.join(_NOT_AT_THE_END)}. Rename it"
        )
