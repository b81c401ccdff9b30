"""What the root of a file of ours says of itself: version, store, key, colour order."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py

from celeiro.errors import FormatError, OptionError
from celeiro.format import layout
from celeiro.reading import hdf5

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Header:
    """The attributes of the root group, checked."""

    store: layout.Store
    """How samples stand on disk."""
    key: str
    """Name of the samples' data set, which is there."""
    color: str
    """Order of the channels."""
    provenance: dict[str, Any]
    """How the content was made; empty where that cannot be read."""


def is_ours(file: h5py.File) -> bool:
    """Whether a file says that it is celeiro's."""
    return layout.ATTR_VERSION in file.attrs


def read_header(file: h5py.File, path: Path) -> Header:
    """Read the attributes of a file that says it is ours.

    Raises
    ------
    FormatError
        Its version or store is not known, or an attribute is not what it should be.
    """
    version = hdf5.attribute(file, layout.ATTR_VERSION)
    if not isinstance(version, int):
        raise FormatError(f"{path}: format version {version!r}, wanted a number: it is damaged.")
    if version != layout.VERSION:
        raise FormatError(
            f"{path}: format version {version}, this release reads {layout.VERSION}. "
            "Upgrade celeiro."
        )
    store = hdf5.text(file, layout.ATTR_STORE, path)
    if store not in layout.STORES:
        raise FormatError(
            f"{path}: store {store!r}, this release reads {', '.join(layout.STORES)}. "
            "Upgrade celeiro."
        )
    return Header(
        store=store,
        key=_key(file, path),
        color=hdf5.text(file, layout.ATTR_COLOR, path),
        provenance=_provenance(hdf5.text(file, layout.ATTR_PROVENANCE, path)),
    )


def samples_of(file: h5py.File, header: Header) -> h5py.Dataset:
    """The samples' data set of a file whose header was read."""
    return hdf5.found(file, header.key)


def _key(file: h5py.File, path: Path) -> str:
    key = hdf5.text(file, layout.ATTR_KEY, path)
    try:
        layout.check_key(key)
    except OptionError as error:
        raise FormatError(f"{path}: {error} The file is damaged.") from error
    if not isinstance(hdf5.found(file, key), h5py.Dataset):
        raise FormatError(
            f"{path}: its samples should be the data set {key!r}, which is not there."
        )
    return key


def _provenance(text: str) -> dict[str, Any]:
    """How the file was made; empty where that is not what it should be."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(told, dict):
        return {}
    tables = ("options", "made_by")
    return {k: v for k, v in told.items() if k not in tables or isinstance(v, dict)}
