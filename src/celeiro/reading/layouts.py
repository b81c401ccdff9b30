"""From a data set of any HDF5 file to the `Samples` that read it.

    contiguous, plain values            rows.py
    chunked, filters that we vouch for  chunks.py
    compact, never written              held.py
    any other filter, type or layout    fallback.py, said once

Refused: data kept in other files, unless virtual and in this file's own folder; and what is no
numbers.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from celeiro.errors import FormatError
from celeiro.format import index
from celeiro.format.chunks import ChunkCodec, filters_of, unsupported
from celeiro.reading.samples.chunks import ChunkSamples
from celeiro.reading.samples.fallback import FallbackSamples
from celeiro.reading.samples.held import HeldSamples
from celeiro.reading.samples.rows import RowSamples

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from celeiro.reading.samples import Samples
    from celeiro.reading.source import Source

log = logging.getLogger(__name__)

# HDF5 keeps compact data sets below 64 KB.
_MOST_COMPACT = 1 << 16


@dataclass(frozen=True, slots=True)
class Way:
    """How samples are to be read, whatever they are."""

    source: Source
    """Where their bytes come from."""
    workers: int
    """Threads."""
    on_progress: Callable[[int, int], None] | None = None
    """Told how many of how many chunks HDF5 has listed."""


def samples_in(
    data: h5py.Dataset, way: Way, *, crcs: npt.NDArray[np.uint32] | None = None
) -> Samples:
    """The samples of a data set, its first axis counting them.

    Raises
    ------
    FormatError
        They are no numbers, are kept where we do not look, or stand outside the file.
    """
    path = way.source.file.path
    if not data.shape:
        raise FormatError(
            f"{path}: {data.name!r} has no axis of samples. Choose another with key=."
        )
    plist = data.id.get_create_plist()
    if plist.get_external_count():
        raise FormatError(
            f"{path}: the values of {data.name!r} are kept in other files (external storage), "
            "which celeiro does not read. Copy it into one file with `h5repack`."
        )
    values = _values(data)
    stored = stored_dtype(data)
    form = plist.get_layout()
    if form == h5py.h5d.VIRTUAL:
        _check_virtual(plist, data, path)
        return _fallback(data, values, path, "it is a virtual data set")
    if stored is None:
        return _fallback(data, values, path, f"its values are of HDF5's own type {values}")
    if form == h5py.h5d.COMPACT and _bytes(data) <= _MOST_COMPACT:
        return HeldSamples(np.asarray(data[()], values))
    if form == h5py.h5d.CONTIGUOUS:
        rows = index.rows_of(data, way.source.file.size)
        if rows is None:
            return HeldSamples(np.broadcast_to(np.asarray(data.fillvalue, values), data.shape))
        return RowSamples(way.source, rows, data.shape[1:], stored, crcs=crcs, workers=way.workers)
    return _chunked(data, values, stored, way, crcs)


def stored_dtype(data: h5py.Dataset) -> np.dtype[Any] | None:
    """Type of the values as they stand in the file; None where only HDF5 can turn them into one.

    NumPy's types stand as they are; of custom ones (bfloat16, 12 bits in 16) h5py shows another.
    """
    kind = data.id.get_type()
    if isinstance(kind, h5py.h5t.TypeEnumID) and data.dtype.kind != "b":
        kind = kind.get_super()
    values = data.dtype
    if values.kind == "V" or values.shape:
        return None
    if isinstance(kind, h5py.h5t.TypeEnumID):
        same = kind.get_super().equal(h5py.h5t.NATIVE_INT8)
    elif isinstance(kind, h5py.h5t.TypeBitfieldID):
        same = True
    else:
        plain = np.dtype(values.str)  # without what h5py notes on it
        same = kind.equal(h5py.h5t.py_create(plain, logical=True))
    return np.dtype(values.str) if same else None


def _values(data: h5py.Dataset) -> np.dtype[Any]:
    """Type of the values as h5py gives them; FormatError where they are no numbers."""
    try:
        found: np.dtype[Any] = data.dtype
    except (TypeError, ValueError) as error:
        raise FormatError(
            f"{data.name!r} is of a type that NumPy has none for: {error}."
        ) from error
    if found.kind not in "buifc" or found.shape:
        raise FormatError(
            f"the values of {data.name!r} are {found}, wanted numbers. Choose another data set "
            "with key=."
        )
    return np.dtype(found.str)


def _chunked(
    data: h5py.Dataset,
    values: np.dtype[Any],
    stored: np.dtype[Any],
    way: Way,
    crcs: npt.NDArray[np.uint32] | None,
) -> Samples:
    filters = filters_of(data.id.get_create_plist())
    reason = unsupported(filters, stored, data.chunks)
    if reason is None and index.too_sparse(data):
        reason = "most of its chunks were never written"
    if reason is not None:
        return _fallback(data, values, way.source.file.path, reason)
    chunks = index.chunks_of(data, way.source.file.size, way.on_progress)
    return ChunkSamples(
        way.source,
        chunks,
        ChunkCodec(data.chunks, stored, filters),
        data.shape,
        fill=data.fillvalue,
        crcs=crcs,
        workers=way.workers,
    )


def _fallback(data: h5py.Dataset, values: np.dtype[Any], path: Any, reason: str) -> Samples:
    log.warning(
        "%s: %r is read by HDF5 itself, one sample at a time, for %s. `celeiro doctor` tells what "
        "that costs and what to do.",
        path,
        data.name,
        reason,
    )
    return FallbackSamples(path, data.name, data.shape, values)


def _check_virtual(plist: Any, data: h5py.Dataset, path: Any) -> None:
    """Refuse sources outside the file's own folder: a file may name any path of the machine."""
    for at in range(plist.get_virtual_count()):
        name = plist.get_virtual_filename(at)
        parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
        far = PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()
        if far or ".." in parts or PureWindowsPath(name).drive:
            raise FormatError(
                f"{path}: {data.name!r} is made of {name!r}, which is not in its folder. celeiro "
                "does not follow it; copy the values into one file with `h5repack`."
            )


def _bytes(data: h5py.Dataset) -> int:
    return int(math.prod(data.shape) * data.id.get_type().get_size())
