"""Where features come from: a quick digest of their source, and whether it has changed since.

    {"name": "photos.h5", "bytes": 580123456, "samples": 25000, "digest": {…, "sha256": …}}

A digest reads no samples. Of a file of ours it is over what speaks for each of them: the checksums.
Of any other file it is over its size and some stretches of its bytes, of a folder over names and
sizes. It tells a change by accident, and is no proof against somebody who means to deceive.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import FormatError
from celeiro.format import layout
from celeiro.reading import hdf5
from celeiro.reading.header import is_ours

if TYPE_CHECKING:
    from collections.abc import Mapping

    import h5py

    from celeiro.packing.listing import Listing
    from celeiro.reading.dataset import Dataset

# Of a file that is not ours: so many stretches of so many bytes, the first and the last among them.
_STRETCHES = 64
_STRETCH = 16 << 10

SOURCE = "source"
"""Name of all this in the provenance."""


def of_dataset(ds: Dataset) -> dict[str, Any]:
    """What is told of a file."""
    return {
        "name": ds.path.name,
        "store": ds.store,
        "samples": len(ds),
        "bytes": ds.path.stat().st_size,
        "digest": digest_of(ds.path),
    }


def of_listing(listing: Listing) -> dict[str, Any]:
    """What is told of a folder of pictures, or of a table of them."""
    digest = hashlib.sha256()
    for at, size in enumerate(listing.sizes.tolist()):
        digest.update(b"%d %b\0" % (size, listing.keys[at]))
    return {
        "name": listing.root.name,
        "store": "folder",
        "samples": len(listing),
        "bytes": int(listing.sizes.sum()),
        "digest": {"of": "names and sizes", "sha256": digest.hexdigest()},
    }


def digest_of(path: Path) -> dict[str, str]:
    """A digest of an HDF5 file, and what it is of."""
    with hdf5.reading(path) as file:
        crcs = hdf5.plain(file, layout.CRC, "u", 1) if is_ours(file) else None
        if crcs is not None:
            return {"of": "checksums", "sha256": _of_checksums(file, crcs)}
    return {"of": "size and stretches", "sha256": _of_stretches(path)}


def change_of(path: str | os.PathLike[str], provenance: Mapping[str, Any]) -> str | None:
    """Why the source of the features in `path` is not what it was; None where nothing says so.

    Looked at is only a file beside `path`, under the name that the source had.
    """
    told = provenance.get(SOURCE)
    if not isinstance(told, dict) or told.get("store") == "folder":
        return None
    name, was = told.get("name"), told.get("digest")
    if not isinstance(name, str) or not isinstance(was, dict) or not is_plain(name):
        return None  # a file may say anything
    found = Path(path).absolute().parent / name
    try:
        if not stat.S_ISREG(found.stat().st_mode):
            return None
    except (OSError, ValueError):  # it is not there, or cannot be
        return None
    try:
        now: Any = digest_of(found)
    except (FormatError, OSError) as error:
        now = str(error)
    if now == was:
        return None
    return (
        f"{name} beside it is no longer the file that these features were made of. Make them again "
        "(celeiro features … --overwrite), or keep in mind that they are of another."
    )


def is_plain(name: str) -> bool:
    """Whether it is the name of a file and nothing that leads elsewhere."""
    return name not in ("", ".", "..") and "\0" not in name and not {"/", "\\"} & set(name)


def _of_checksums(file: h5py.File, crcs: h5py.Dataset) -> str:
    """Over the checksum of every sample, and those of labels and keys."""
    digest = hashlib.sha256()
    told = [hdf5.attribute(file, name) for name in (layout.ATTR_STORE, layout.ATTR_COLOR)]
    for name in (layout.LABELS, layout.LABEL_NAMES, layout.KEYS, layout.offsets(layout.KEYS)):
        column = hdf5.found(file, name)
        told.append(None if column is None else hdf5.attribute(column, layout.ATTR_CRC))
    digest.update(json.dumps([str(each) for each in told]).encode())
    for block in hdf5.blocks(crcs):
        digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()


def _of_stretches(path: Path) -> str:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.sha256(b"%d" % size)
        last = max(0, size - _STRETCH)
        for at in sorted({last * n // (_STRETCHES - 1) for n in range(_STRETCHES)}):
            file.seek(at)
            digest.update(file.read(_STRETCH))
    return digest.hexdigest()
