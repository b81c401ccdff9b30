"""What a file holds, without reading its samples: any HDF5 file, ours in full.

The file is untrusted: only what is small, plain and inside it is read, as hdf5.py has it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from celeiro.errors import FormatError
from celeiro.format import layout
from celeiro.reading import hdf5
from celeiro.reading.header import is_ours, read_header, samples_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

_MOST_CLASSES = 100_000
_MOST_CHANNELS = 1 << 16
_MOST_LISTED = 200
_MOST_LINKS = 2_000
_MOST_DEPTH = 16
_MOST_SPLITS = 255  # a split's number is one byte while packing


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `celeiro info` tells, as JSON.

    For a file of ours: ``store``, ``shape`` (samples first; None for each after N where sizes
    differ), ``dtype``, ``classes``, ``splits``, ``mean``, ``std``, ``file_bytes``,
    ``source_bytes``, ``raw_bytes``, ``provenance`` and the ``data_sets``. For any other HDF5
    file what of that can be told.

    Raises
    ------
    FormatError
        The file is no HDF5 file, is damaged, or is of a version that this release does not know.
    """
    path = Path(path)
    with hdf5.reading(path) as file:
        return _describe(file, path)


def _describe(file: h5py.File, path: Path) -> dict[str, Any]:
    data_sets = list(_listed(file))
    told: dict[str, Any] = {"path": str(path), "file_bytes": path.stat().st_size}
    told |= _ours(file, path) if is_ours(file) else _foreign(file, data_sets)
    told["data_sets"] = data_sets
    return told


def _ours(file: h5py.File, path: Path) -> dict[str, Any]:
    header = read_header(file, path)
    data = samples_of(file, header)
    count, shape, raw = _samples(file, header.key, data, header.store, path)
    source_bytes = header.provenance.get("source_bytes")
    return {
        "celeiro_format": layout.VERSION,
        "store": header.store,
        "key": header.key,
        "samples": count,
        "shape": shape,
        "dtype": hdf5.type_name(data),
        "color": header.color,
        "classes": _classes(file, count),
        "splits": _splits(file),
        "fields": _fields(file),
        "mean": _floats(file, layout.MEAN),
        "std": _floats(file, layout.STD),
        "source_bytes": source_bytes if isinstance(source_bytes, int) else None,
        "raw_bytes": raw,
        "provenance": header.provenance,
    }


def _samples(
    file: h5py.File, key: str, data: h5py.Dataset, store: str, path: Path
) -> tuple[int, list[int | None], int | None]:
    """How many, of which shape, and what they would take as raw values."""
    if store != "encoded":
        if not data.shape:
            raise FormatError(f"{path}: {key!r} has no axis of samples: it is damaged.")
        return data.shape[0], list(data.shape), hdf5.raw_bytes(data)
    offsets = hdf5.found(file, layout.offsets(key))
    if not isinstance(offsets, h5py.Dataset) or len(offsets.shape or ()) != 1 or not len(offsets):
        raise FormatError(f"{path}: the data set {layout.offsets(key)!r} is not there.")
    count = len(offsets) - 1
    shapes = hdf5.plain(file, layout.shapes(key), "ui", 2)
    raw = None
    if shapes is not None and shapes.shape == (count, 3):
        raw = sum(int(part.astype(np.uint64).prod(axis=1).sum()) for part in hdf5.blocks(shapes))
    return count, [count, None, None, 3], raw


def _foreign(file: h5py.File, data_sets: list[dict[str, Any]]) -> dict[str, Any]:
    """The largest data set is taken for the samples."""
    largest = max(data_sets, key=lambda d: d["raw_bytes"], default=None)
    if largest is None:
        return {"celeiro_format": None, "samples": 0}
    count = largest["shape"][0] if largest["shape"] else 1
    return {
        "celeiro_format": None,
        "key": largest["name"],
        "samples": count,
        "shape": largest["shape"],
        "dtype": largest["dtype"],
        "classes": _classes(file, count),
        "raw_bytes": largest["raw_bytes"],
    }


def _listed(file: h5py.File) -> Iterator[dict[str, Any]]:
    """The data sets of a file, at most so many and so deep, nearest to the root first."""
    todo: list[tuple[h5py.Group, str, int]] = [(file, "", 0)]
    seen = {hash(file["/"].id)}
    links = listed = 0
    for group, prefix, depth in todo:  # grows while it is gone through
        for name in hdf5.names_in(group, _MOST_LINKS - links):
            links += 1
            item = hdf5.opened(group, name)
            if isinstance(item, h5py.Dataset) and listed < _MOST_LISTED:
                listed += 1
                yield _data_set(f"{prefix}{hdf5.printable(name)}", item)
            elif isinstance(item, h5py.Group) and hash(item.id) not in seen and depth < _MOST_DEPTH:
                seen.add(hash(item.id))
                todo.append((item, f"{prefix}{hdf5.printable(name)}/", depth + 1))


def _data_set(name: str, data: h5py.Dataset) -> dict[str, Any]:
    plist = data.id.get_create_plist()
    return {
        "name": name,
        "shape": list(data.shape or ()),
        "dtype": hdf5.type_name(data),
        "chunks": list(data.chunks) if data.chunks else None,
        "filters": [plist.get_filter(i)[0] for i in range(plist.get_nfilters())],
        "raw_bytes": hdf5.raw_bytes(data),
        "stored_bytes": data.id.get_storage_size(),
    }


def _classes(file: h5py.File, count: int) -> dict[str, int]:
    """Samples of each class, by its name or else its number; empty where there are none."""
    names = _class_names(file)
    several = hdf5.plain(file, layout.LABELS, "biu", 2)
    if several is not None and len(several) == count and several.shape[1] <= _MOST_CLASSES:
        sums = sum(
            (block.astype(bool).sum(axis=0) for block in hdf5.blocks(several)),
            start=np.zeros(several.shape[1], np.int64),
        )
        return {_class_name(names, n): c for n, c in enumerate(sums.tolist())}
    labels = hdf5.plain(file, layout.LABELS, "biu", 1)
    if labels is None or len(labels) != count:
        return {}
    counted = dict.fromkeys(range(len(names)), 0)
    for block in hdf5.blocks(labels):
        values, found = np.unique(block, return_counts=True)
        for value, times in zip(values.tolist(), found.tolist(), strict=True):
            counted[int(value)] = counted.get(int(value), 0) + times
        if len(counted) > _MOST_CLASSES:
            return {}  # so many numbers are no classes but a target
    return {_class_name(names, n): c for n, c in sorted(counted.items())}


def _class_names(file: h5py.File) -> list[str]:
    data = hdf5.plain(file, layout.LABEL_NAMES, "S", 1)
    if data is None or data.dtype.itemsize > hdf5.MOST_TEXT:
        return []
    rows = min(_MOST_CLASSES, hdf5.MOST_TEXT * 16 // data.dtype.itemsize)
    return [hdf5.printable(name) for name in data[:rows].tolist()]


def _class_name(names: list[str], number: int) -> str:
    return names[number] if 0 <= number < len(names) else str(number)


def _splits(file: h5py.File) -> dict[str, int]:
    group = hdf5.found(file, layout.SPLITS)
    if not isinstance(group, h5py.Group):
        return {}
    rows = {
        hdf5.printable(name): hdf5.opened(group, name)
        for name in hdf5.names_in(group, _MOST_SPLITS)
    }
    return {
        name: len(data)
        for name, data in rows.items()
        if isinstance(data, h5py.Dataset) and len(data.shape or ()) == 1
    }


def _fields(file: h5py.File) -> list[str]:
    group = hdf5.found(file, layout.FIELDS)
    if not isinstance(group, h5py.Group):
        return []
    names = [hdf5.printable(name) for name in hdf5.names_in(group, _MOST_LISTED)]
    beside = {part(name) for name in names for part in layout.BESIDE}
    return [name for name in names if name not in beside]


def _floats(file: h5py.File, name: str) -> list[float] | None:
    data = hdf5.plain(file, name, "f", 1)
    if data is None or len(data) > _MOST_CHANNELS:
        return None
    values: list[float] = data[:].tolist()
    return values
