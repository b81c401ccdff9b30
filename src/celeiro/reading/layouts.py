"""From a data set of any HDF5 file to the `Samples` that read it.

    contiguous, plain values            rows.py
    chunked, filters that we vouch for  chunks.py
    compact, never written              held.py
    any of these, but of bfloat16       widened.py, around what reads the bits
    any other filter, type or layout    fallback.py, said once

Refused: data kept in other files, unless virtual and in this file's own folder; and what is no
numbers.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from celeiro.errors import FormatError
from celeiro.format import bfloat16, index
from celeiro.format.chunks import ChunkCodec, filters_of, unsupported
from celeiro.reading import hdf5
from celeiro.reading.samples.chunks import ChunkSamples
from celeiro.reading.samples.fallback import FallbackSamples
from celeiro.reading.samples.held import HeldSamples
from celeiro.reading.samples.rows import RowSamples
from celeiro.reading.samples.widened import WidenedSamples

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from celeiro.reading.samples import Samples
    from celeiro.reading.source import Source
    from celeiro.storage.local import File

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
            f"{path}: {data.name!r} has no axis of samples. Choose another with --key (key=)."
        )
    plist = data.id.get_create_plist()
    if plist.get_external_count():
        raise FormatError(
            f"{path}: the values of {data.name!r} are kept in other files (external storage), "
            "which celeiro does not read. Copy it into one file with `h5repack`."
        )
    values = _values(data)
    stored, bits = stored_dtype(data), bfloat16.bits_type(data.id.get_type())
    form = plist.get_layout()
    if form == h5py.h5d.VIRTUAL:
        _check_virtual(plist, data, path)
        return _fallback(data, values, way.source.file, "it is a virtual data set")
    if bits is not None:
        return _widened(data, bits, way, crcs)
    if stored is None:
        return _fallback(
            data, values, way.source.file, f"its values are of HDF5's own type {values}"
        )
    if form == h5py.h5d.COMPACT and _bytes(data) <= _MOST_COMPACT:
        return HeldSamples(np.asarray(data[()], values), crcs)
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


def _widened(
    data: h5py.Dataset, bits: np.dtype[Any], way: Way, crcs: npt.NDArray[np.uint32] | None
) -> Samples:
    """Samples of bfloat16: whatever reads their bits, and float32 made of those."""
    form = data.id.get_create_plist().get_layout()
    found: Samples
    if form == h5py.h5d.COMPACT and _bytes(data) <= _MOST_COMPACT:
        found = HeldSamples(stored_bits(data, bits), crcs)
    elif form == h5py.h5d.CONTIGUOUS:
        rows = index.rows_of(data, way.source.file.size)
        if rows is None:
            fill = np.asarray(data.fillvalue, np.float32)
            return HeldSamples(np.broadcast_to(fill, data.shape))
        found = RowSamples(
            way.source, rows, data.shape[1:], bits, crcs=crcs, workers=way.workers
        )  # fmt: skip
    else:
        found = _chunked(data, np.dtype(np.float32), bits, way, crcs)
    if not isinstance(found, (RowSamples, ChunkSamples, HeldSamples)):
        return found
    return WidenedSamples(found, workers=way.workers)


def stored_bits(data: h5py.Dataset, bits: np.dtype[Any]) -> npt.NDArray[Any]:
    """All values of a data set of bfloat16 as their bits, which HDF5 gives unconverted."""
    found = np.empty(data.shape, bits)
    data.id.read(h5py.h5s.ALL, h5py.h5s.ALL, found, data.id.get_type())
    return found


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
            "with --key (key=)."
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
        return _fallback(data, values, way.source.file, reason)
    chunks = index.chunks_of(data, way.source.file.size, way.on_progress)
    if filters and index.bare_edges(data, chunks):
        reason = "chunks at its edges may stand without their filters"
        return _fallback(data, values, way.source.file, reason)
    return ChunkSamples(
        way.source,
        chunks,
        ChunkCodec(data.chunks, stored, filters),
        data.shape,
        fill=_fill_value(data, stored),
        crcs=crcs,
        workers=way.workers,
    )


def _fill_value(data: h5py.Dataset, stored: np.dtype[Any]) -> Any:
    """What stands where nothing was written, as stored: of bfloat16 its bits."""
    if stored.kind == "u" and data.dtype.kind == "f":
        return bfloat16.bits_of(np.asarray(data.fillvalue))
    return data.fillvalue


def _fallback(data: h5py.Dataset, values: np.dtype[Any], file: File, reason: str) -> Samples:
    log.warning(
        "%s: %r is read by HDF5 itself, one sample at a time, for %s. `celeiro doctor` tells what "
        "that costs and what to do.",
        file.path,
        data.name,
        reason,
    )
    half = bfloat16.NAME if bfloat16.is_stored(data) else None
    return FallbackSamples(file, data.name, data.shape, values, stored_dtype=half)


def _check_virtual(plist: Any, data: h5py.Dataset, path: Path) -> None:
    """Refuse sources outside the file's own folder: a file may name any path of the machine.

    Those in the folder must be plain, or they could lead on to anywhere.
    """
    names: dict[str, set[str]] = {}
    for at in range(plist.get_virtual_count()):
        beside = names.setdefault(plist.get_virtual_filename(at), set())
        beside.add(plist.get_virtual_dsetname(at))
    for name, sources in names.items():
        parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
        far = PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()
        if far or ".." in parts or PureWindowsPath(name).drive:
            raise _leads_out(path, data, f"{name!r}, which is not in its folder")
        if "%b" in name or any("%b" in source for source in sources):
            raise _leads_out(path, data, f"{name!r}, a name for any number of files")
        if name == ".":
            _check_sources(data.file, sources, name, data, path)
        elif (path.parent / name).exists():  # what is missing has the fill value
            with hdf5.reading(path.parent / name) as file:
                _check_sources(file, sources, name, data, path)


def _check_sources(
    file: h5py.File, sources: set[str], name: str, data: h5py.Dataset, path: Path
) -> None:
    for source in sources:
        found = hdf5.found(file, source.strip("/"))
        plist = found.id.get_create_plist() if isinstance(found, h5py.Dataset) else None
        if plist is None:
            raise _leads_out(path, data, f"{source!r} of {name!r}, which is no data set there")
        if plist.get_external_count() or plist.get_layout() == h5py.h5d.VIRTUAL:
            raise _leads_out(path, data, f"{source!r} of {name!r}, itself external or virtual")


def _leads_out(path: Path, data: h5py.Dataset, what: str) -> FormatError:
    return FormatError(
        f"{path}: {data.name!r} is made of {what}. celeiro does not follow it; copy the values "
        "into one file with `h5repack`."
    )


def _bytes(data: h5py.Dataset) -> int:
    return int(math.prod(data.shape) * data.id.get_type().get_size())
