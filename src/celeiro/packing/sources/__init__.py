"""Where samples come from: one kind of source a file, each giving a `Listing`.

    folder.py      a folder of pictures
    manifest.py    a table of them: tables.py reads it, columns.py and targets.py type its columns

No picture is opened here.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import h5py

from celeiro.errors import OptionError, SourceError
from celeiro.packing.sources.folder import LABELS, list_folder
from celeiro.packing.sources.manifest import SUFFIXES, list_manifest

if TYPE_CHECKING:
    from celeiro.packing.listing import Listing

__all__ = ["list_source"]


def list_source(
    src: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] = "auto",
    label_pattern: str | None = None,
) -> Listing:
    """List a folder or a manifest, whichever `src` is.

    Parameters
    ----------
    labels
        ``auto``, ``folder``, ``name`` or ``none``, as `list_folder` has it; or the path of a
        manifest, whose paths are then relative to the folder `src`.
    label_pattern
        As `list_folder` has it.
    """
    source = Path(src)
    if not source.is_dir():
        return _from_manifest(source, labels, label_pattern)
    if isinstance(labels, str) and labels in LABELS:
        return list_folder(source, labels=labels, label_pattern=label_pattern)
    if not _is_manifest(labels):
        raise OptionError(
            f"labels {os.fspath(labels)!r}: wanted {', '.join(LABELS)}, or the path of a manifest "
            f"({', '.join(SUFFIXES)})"
        )
    if label_pattern is not None:
        raise OptionError("a label pattern and a manifest contradict each other. Drop one")
    return list_manifest(labels, root=source)


def _from_manifest(
    source: Path, labels: str | os.PathLike[str], label_pattern: str | None
) -> Listing:
    if not source.exists():
        raise SourceError(f"{source}: no such folder or manifest. Check the path")
    if not _is_manifest(source):
        wanted = f"Wanted: a folder of pictures, or a file that ends in {', '.join(SUFFIXES)}"
        with contextlib.suppress(OSError):
            if h5py.is_hdf5(source):
                wanted += ". It is an HDF5 file, whose samples `celeiro repack` writes again"
        raise SourceError(f"{source}: neither a folder nor a manifest. {wanted}")
    if label_pattern is not None or labels not in ("auto", "none"):
        raise OptionError(
            f"{source}: the labels of a manifest stand in its columns. "
            "Drop labels and label pattern, or choose labels 'none'"
        )
    listing = list_manifest(source)
    if labels == "none":
        return replace(listing, labels=None, label_names=(), labels_from="none")
    return listing


def _is_manifest(path: str | os.PathLike[str]) -> bool:
    return Path(path).suffix.lower() in SUFFIXES
