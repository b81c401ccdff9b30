"""From a path to everything that a `Dataset` needs: samples, and columns beside them.

HDF5 is asked once, here; the file is closed before the first sample is read.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from celeiro.errors import FormatError, OptionError
from celeiro.format import layout
from celeiro.reading import foreign, hdf5
from celeiro.reading.belief import Belief
from celeiro.reading.columns import Lazy
from celeiro.reading.contents import Contents
from celeiro.reading.header import is_ours, read_header
from celeiro.reading.layouts import Way, samples_in
from celeiro.reading.ours import Ours
from celeiro.reading.source import FileSource
from celeiro.storage.local import File

if TYPE_CHECKING:
    from pathlib import Path


# Labels may be compressed so well; beyond that a claim is not believed.
_MOST_EXPANSION = 4096
_LEAST_LABELS = 64 << 20


def open_contents(
    path: Path,
    way: Way,
    *,
    key: str | None = None,
    labels: str | None = None,
    color: str | None = None,
    verify: bool | None = None,
) -> Contents:
    """See what a file holds, and how it is to be read.

    Raises
    ------
    FormatError
        It is no HDF5 file, damaged, of an unknown version, or holds no samples.
    """
    with hdf5.reading(path) as file:
        if is_ours(file):
            header = read_header(file, path)
            ours = Ours(file, path, header, way, verify)
            if key in (None, header.key) and not (verify is False and ours.is_rewritten()):
                contents = ours.contents(color)
                if labels in (None, layout.LABELS):
                    return contents
                chosen = _chosen(file, path, str(labels), way, len(contents.samples))
                return replace(contents, labels=chosen)
        return _foreign(file, path, way, key=key, labels=labels, color=color)


def _chosen(file: h5py.File, path: Path, name: str, way: Way, count: int) -> Lazy[Any]:
    """Labels that the user names, in a file of ours."""
    data = hdf5.found(file, name.strip("/"))
    if not isinstance(data, h5py.Dataset) or not data.shape or data.shape[0] != count:
        raise FormatError(
            f"{path}: labels {name!r}: wanted a data set with one row for each of {count:,} "
            f"samples, such as {layout.LABELS!r} or one of {layout.FIELDS!r}."
        )
    return _whole(data, way, count)


def _foreign(
    file: h5py.File, path: Path, way: Way, *, key: str | None, labels: str | None,
    color: str | None,
) -> Contents:  # fmt: skip
    if color is not None:
        raise OptionError(
            f"{path}: color {color!r} of a file that does not say what its channels are. Turn them "
            "round yourself: images[..., ::-1]."
        )
    found = foreign.find(file, path, key=key, labels=labels)
    samples = samples_in(file[found.key], way)
    names = foreign.names_of_classes(file, found.label_names) if found.label_names else ()
    return Contents(
        store="hdf5",
        key=found.key,
        samples=samples,
        labels=_labels_of(file, found, way, len(samples)),
        label_names=names,
    )


def _labels_of(file: h5py.File, found: foreign.Found, way: Way, count: int) -> Lazy[Any] | None:
    if found.labels is None:
        return None
    if found.labels_file is None:
        return _whole(file[found.labels], way, count)
    beside = File(found.labels_file)
    with hdf5.reading(found.labels_file) as other:
        column = _whole(other[found.labels], Way(FileSource(beside), way.workers), count)
        values = column()  # now: the other file is then done with
    beside.close()
    return Lazy(lambda: values)


def _whole(data: h5py.Dataset, way: Way, count: int) -> Lazy[Any]:
    """All values of a data set, one a sample; axes of length 1 are dropped.

    Raises
    ------
    FormatError
        It claims to hold far more than the file does: it would be read as so many zeros.
    """
    size = hdf5.raw_bytes(data)
    if size > max(_LEAST_LABELS, way.source.file.size * _MOST_EXPANSION):
        raise FormatError(
            f"{way.source.file.path}: {data.name!r} claims {size:,} bytes in a file of "
            f"{way.source.file.size:,}. Give the labels themselves: labels=, an array."
        )
    samples = samples_in(data, way)
    believed = Belief(way.source.file, what=f"{data.name!r}, row")

    def load() -> Any:
        values = np.empty((len(samples), *(samples.shape or ())), samples.dtype)
        believed(lambda: samples.read(np.arange(len(samples)), values))
        narrow = tuple(axis for axis, side in enumerate(values.shape) if side == 1)
        values = values.squeeze(narrow).reshape(count, -1)
        return values[:, 0] if values.shape[1] == 1 else values

    return Lazy(load)
