"""What a file holds, without reading its samples: any HDF5 file, ours in full.

The file is untrusted: names and sizes in it are bounded before anything is read, and no chunk is
decoded (HDF5 itself crashes on chunks that decode to another size than their own).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from celeiro.errors import FormatError
from celeiro.format import layout

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

# A data set of more values is not read to count classes.
_MOST_LABELS = 1 << 28
_MOST_CLASSES = 100_000
_MOST_LISTED = 200
_MOST_DEPTH = 16


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
    if not path.is_file():
        raise FormatError(f"{path}: no such file. Give the name of an HDF5 file.")
    if not h5py.is_hdf5(path):
        begins = path.open("rb").read(8)
        raise FormatError(f"{path}: no HDF5 file; it begins with {begins!r}.")
    try:
        with h5py.File(path, "r", locking=False) as file:
            return _describe(file, path)
    except (OSError, KeyError, RuntimeError) as error:
        raise FormatError(
            f"{path}: damaged, HDF5 says: {error}. Look for a copy, or pack it again."
        ) from error


def _describe(file: h5py.File, path: Path) -> dict[str, Any]:
    data_sets = {d["name"]: d for d in _listed(file)}
    told: dict[str, Any] = {"path": str(path), "file_bytes": path.stat().st_size}
    if layout.ATTR_VERSION in file.attrs:
        told |= _ours(file, path)
    else:
        told |= _foreign(data_sets)
    told["data_sets"] = list(data_sets.values())
    return told


def _ours(file: h5py.File, path: Path) -> dict[str, Any]:
    version = _integer(file.attrs[layout.ATTR_VERSION], path)
    if version != layout.VERSION:
        raise FormatError(
            f"{path}: format version {version}, this release reads {layout.VERSION}. "
            "Upgrade celeiro."
        )
    store = _text(file, layout.ATTR_STORE, path)
    if store not in layout.STORES:
        raise FormatError(
            f"{path}: store {store!r}, this release reads {', '.join(layout.STORES)}. "
            "Upgrade celeiro."
        )
    key = _text(file, layout.ATTR_KEY, path)
    data = file.get(key)
    if not isinstance(data, h5py.Dataset):
        raise FormatError(
            f"{path}: its samples should be the data set {key!r}, which is not there."
        )
    count, shape, raw = _samples(file, key, data, store, path)
    provenance = _provenance(file, path)
    return {
        "celeiro_format": version,
        "store": store,
        "key": key,
        "samples": count,
        "shape": shape,
        "dtype": str(data.dtype),
        "color": _text(file, layout.ATTR_COLOR, path),
        "classes": _classes(file, count),
        "splits": _splits(file),
        "fields": _fields(file),
        "mean": _floats(file, layout.MEAN),
        "std": _floats(file, layout.STD),
        "source_bytes": provenance.get("source_bytes"),
        "raw_bytes": raw,
        "provenance": provenance,
    }


def _samples(
    file: h5py.File, key: str, data: h5py.Dataset, store: str, path: Path
) -> tuple[int, list[int | None], int | None]:
    """How many, of which shape, and what they would take as raw values."""
    if store != "encoded":
        return data.shape[0], list(data.shape), int(data.size) * data.dtype.itemsize
    offsets = file.get(layout.offsets(key))
    if not isinstance(offsets, h5py.Dataset) or offsets.ndim != 1 or not len(offsets):
        raise FormatError(f"{path}: the data set {layout.offsets(key)!r} is not there.")
    count = len(offsets) - 1
    shapes = _plain(file, layout.shapes(key))
    raw = None if shapes is None else int(np.prod(shapes.astype(np.uint64), axis=1).sum())
    return count, [count, None, None, 3], raw


def _foreign(data_sets: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The largest data set is taken for the samples."""
    largest = max(data_sets.values(), key=lambda d: d["raw_bytes"], default=None)
    if largest is None:
        return {"celeiro_format": None, "samples": 0}
    return {
        "celeiro_format": None,
        "key": largest["name"],
        "samples": largest["shape"][0] if largest["shape"] else 1,
        "shape": largest["shape"],
        "dtype": largest["dtype"],
        "raw_bytes": largest["raw_bytes"],
    }


def _listed(file: h5py.File) -> Iterator[dict[str, Any]]:
    """The data sets of a file, at most so many and so deep, in the order of their names."""
    todo: list[tuple[h5py.Group, str, int]] = [(file, "", 0)]
    seen = {hash(file.id)}
    listed = 0
    while todo and listed < _MOST_LISTED:
        group, prefix, depth = todo.pop(0)
        for name in group:
            # Soft and external links are named and not followed: they may lead out of the file.
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            item = group.get(name)
            if isinstance(item, h5py.Dataset) and listed < _MOST_LISTED:
                listed += 1
                yield _data_set(prefix + name, item)
            elif isinstance(item, h5py.Group) and depth < _MOST_DEPTH and hash(item.id) not in seen:
                seen.add(hash(item.id))
                todo.append((item, f"{prefix}{name}/", depth + 1))


def _data_set(name: str, data: h5py.Dataset) -> dict[str, Any]:
    plist = data.id.get_create_plist()
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    shape = list(data.shape or ())
    size = int(data.size or 0) * data.dtype.itemsize
    return {
        "name": name,
        "shape": shape,
        "dtype": str(data.dtype),
        "chunks": list(data.chunks) if data.chunks else None,
        "filters": filters,
        "raw_bytes": size,
        "stored_bytes": data.id.get_storage_size(),
    }


def _plain(file: h5py.File, name: str) -> Any:
    """All of a small unfiltered data set, or None."""
    data = file.get(name)
    if not isinstance(data, h5py.Dataset) or data.chunks is not None or data.size is None:
        return None
    return data[()] if data.size <= _MOST_LABELS else None


def _classes(file: h5py.File, count: int) -> dict[str, int]:
    labels, names = _plain(file, layout.LABELS), _plain(file, layout.LABEL_NAMES)
    if labels is None or labels.dtype.kind not in "iu" or len(labels) != count:
        return {}
    texts = [] if names is None else [n.decode("utf-8", "replace") for n in names[:_MOST_CLASSES]]
    if labels.ndim == 2:
        counts = labels.astype(bool).sum(axis=0)[:_MOST_CLASSES].tolist()
        return dict(zip(texts or map(str, range(len(counts))), counts, strict=False))
    values, found = np.unique(labels, return_counts=True)
    counted = dict(zip(values.tolist(), found.tolist(), strict=True))
    if texts:
        return {text: counted.get(number, 0) for number, text in enumerate(texts)}
    # Beyond so many, numbers without names are no classes but a target.
    return {str(v): c for v, c in counted.items()} if len(counted) <= _MOST_CLASSES else {}


def _splits(file: h5py.File) -> dict[str, int]:
    group = file.get(layout.SPLITS)
    if not isinstance(group, h5py.Group):
        return {}
    sets = {name: group.get(name) for name in _names(group)}
    return {n: len(d) for n, d in sets.items() if isinstance(d, h5py.Dataset) and d.ndim == 1}


def _names(group: h5py.Group) -> list[str]:
    """Names in a group, at most 255: a split's number is one byte while packing."""
    return [name for _, name in zip(range(255), group, strict=False)]


def _fields(file: h5py.File) -> list[str]:
    group = file.get(layout.FIELDS)
    return _names(group) if isinstance(group, h5py.Group) else []


def _floats(file: h5py.File, name: str) -> list[float] | None:
    values = _plain(file, name)
    return None if values is None or values.dtype.kind != "f" else values.tolist()


def _provenance(file: h5py.File, path: Path) -> dict[str, Any]:
    try:
        told = json.loads(_text(file, layout.ATTR_PROVENANCE, path))
    except ValueError as error:
        if isinstance(error, FormatError):
            raise
        return {}
    return told if isinstance(told, dict) else {}


def _text(file: h5py.File, name: str, path: Path) -> str:
    value = file.attrs.get(name)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value
    raise FormatError(f"{path}: the attribute {name!r} is {value!r}, wanted text: it is damaged.")


def _integer(value: Any, path: Path) -> int:
    if isinstance(value, (int, np.integer)):
        return int(value)
    raise FormatError(f"{path}: format version {value!r}, wanted a number: it is damaged.")
