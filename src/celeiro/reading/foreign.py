"""What is what in an HDF5 file of somebody else: the samples, their labels, the classes' names.

    what stands in the file ─> candidates ─> choice.py ─> Found

The file is untrusted: it is looked at as hdf5.py has it, so many links and no more.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py

from celeiro.errors import FormatError
from celeiro.reading import choice, hdf5
from celeiro.reading.choice import MOST_CLASSES, Candidate
from celeiro.reading.heap import variable_texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import numpy as np

    from celeiro.reading.choice import Kind

log = logging.getLogger(__name__)

_MOST_LINKS = 2_000
_MOST_DEPTH = 16
_LONGEST_NAME = 1_024  # bytes, of one part of a path; HDF5 allows 64 KiB and more

_WEIGHT_ATTRIBUTES = ("layer_names", "weight_names", "nb_layers", "keras_version")
_COMPLEX_PAIRS = (("r", "i"), ("re", "im"), ("real", "imag"))


@dataclass(frozen=True, slots=True)
class Found:
    """Where the samples and what belongs to them stand."""

    key: str
    """Path of the samples' data set, without a slash before it."""
    labels: str | None = None
    """Path of the labels' data set: in `labels_file` if that is given, else in this file."""
    labels_file: Path | None = None
    """Another file that holds the labels."""
    label_names: str | None = None
    """Path of the data set of the classes' names."""


def find(
    file: h5py.File, path: Path, *, key: str | None = None, labels: str | None = None
) -> Found:
    """The samples of a file, their labels and the names of the classes.

    Samples are chosen by `choose_samples`, labels by `choose_labels`, names by `choose_names`,
    unless `key` and `labels` name a data set. Where the file has no labels and is called
    ``..._x.h5``, with the samples ``x``, the data set ``y`` of ``..._y.h5`` beside it is taken if
    it fits: so PatchCamelyon comes.

    Raises
    ------
    FormatError
        `key` or `labels` names nothing that can be used, or there is nothing to choose: the
        message lists what there is.
    """
    candidates = _listed(file)
    samples = choice.choose_samples(candidates) if key is None else _asked(file, key)
    if samples is None or not choice.usable(samples):
        raise _no_samples(path, key, samples, candidates)
    if others := choice.passed_over(samples, candidates):
        log.info("%s: the samples are %s; passed over: %s", path, samples, choice.shown(others))
    names = choice.choose_names(samples, candidates)
    label_names = names.path if names else None
    if labels is not None:
        chosen = _asked(file, labels)
        if chosen is None or not choice.fits(chosen, samples):
            raise _no_labels(path, labels, chosen, samples, candidates)
    else:
        chosen = choice.choose_labels(samples, candidates)
    if chosen is not None:
        return Found(samples.path, chosen.path, None, label_names)
    beside = _file_of_labels(path, samples)
    if beside is not None:
        return Found(samples.path, "y", beside, label_names)
    if turned := choice.reversed_labels(samples, candidates):
        log.warning(
            "%s: %s has %d samples, for they stand along the first axis; but %s are as many as its "
            "last. If the samples stand along the last, transpose the data set.",
            path,
            samples,
            samples.shape[0],
            turned,
        )
    return Found(samples.path, label_names=label_names)


def names_of_classes(file: h5py.File, path_in_file: str) -> tuple[str, ...]:
    """The texts of a data set, of fixed or variable length; empty where it is not that.

    At most 100,000 names and 1 MiB in all. Chunks are not decoded, so chunked ones are empty too.
    """
    data = hdf5.found(file, path_in_file)
    if not isinstance(data, h5py.Dataset):
        return ()
    try:
        shape: tuple[int, ...] = data.shape or ()
        if len(shape) != 1 or shape[0] > MOST_CLASSES:
            return ()
        names = _fixed_texts(file, path_in_file) or variable_texts(file, data)
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        log.warning("%s: the names of the classes cannot be read: %s", file.filename, error)
        return ()
    return tuple(names) if sum(map(len, names)) <= hdf5.MOST_TEXT else ()


def _file_of_labels(path: Path, samples: Candidate) -> Path | None:
    """The other file of a pair ``..._x.h5`` and ``..._y.h5``, if its `y` fits our `x`."""
    named = re.fullmatch(r"(.*)_x(\.[^.]+)", path.name, re.DOTALL)
    if named is None or samples.path != "x":
        return None
    beside = path.with_name(f"{named[1]}_y{named[2]}")
    if not beside.is_file():
        return None
    try:
        with hdf5.reading(beside) as file:
            labels = _asked(file, "y")
    except FormatError as error:
        log.warning(
            "%s: opened without labels, for those beside it cannot be read: %s", path, error
        )
        return None
    if labels is None or not choice.fits(labels, samples):
        log.warning("%s: its 'y' does not fit %s, so there are no labels.", beside, samples)
        return None
    return beside


# What stands in the file


def _listed(file: h5py.File) -> list[Candidate]:
    """The data sets of a file, at most so many and so deep, nearest to the root first.

    Of more links than are looked at, the root's usual names are still looked up. The groups of a
    tool's own bookkeeping (PyTables: ``_i_...``, MATLAB: ``#refs#``) are passed by.
    """
    found: dict[str, Candidate] = {}
    todo: list[tuple[h5py.Group, str, int, bool]] = [(file, "", 0, False)]
    seen = {hash(file["/"].id)}
    links = 0
    for group, prefix, depth, within in todo:  # grows while it is gone through
        names, aside = _look_into(group, prefix, _MOST_LINKS - links)
        links += len(names)
        if group is file and links >= _MOST_LINKS:
            names += choice.usual_names()
        for name in names:
            path = prefix + name.decode("utf-8", "surrogateescape")
            odd = b"/" in name or len(name) > _LONGEST_NAME or path in found
            item = None if odd else hdf5.opened(group, name)
            if isinstance(item, h5py.Dataset):
                if candidate := _candidate(path, item, aside=aside or within):
                    found[path] = candidate
            elif isinstance(item, h5py.Group) and _is_new(item, name, seen) and depth < _MOST_DEPTH:
                todo.append((item, f"{path}/", depth + 1, aside or within))
    return list(found.values())


def _look_into(group: h5py.Group, prefix: str, most: int) -> tuple[list[bytes], bool]:
    """The names in a group, and whether a network's parameters are in it.

    A damaged group has none, but for the root: then so is the file.
    """
    try:
        names = hdf5.names_in(group, most)
        return names, any(name in group.attrs for name in _WEIGHT_ATTRIBUTES)
    except (KeyError, OSError, RuntimeError, ValueError) as error:
        if not prefix:
            raise
        log.warning("%s: the group %r is damaged: %s", group.file.filename, prefix, error)
        return [], False


def _is_new(group: h5py.Group, name: bytes, seen: set[int]) -> bool:
    """Whether a group is worth entering: no tool's own, and not reached before."""
    if name.startswith(b"_i_") or name in (b"#refs#", b"#subsystem#") or hash(group.id) in seen:
        return False
    seen.add(hash(group.id))
    return True


def _asked(file: h5py.File, name: str) -> Candidate | None:
    """The data set that the user names."""
    path = name.strip("/")
    data = hdf5.found(file, path) if path else None
    return _candidate(path, data) if isinstance(data, h5py.Dataset) else None


def _candidate(path: str, data: h5py.Dataset, *, aside: bool = False) -> Candidate | None:
    """What a choice needs to know of a data set; None if it is damaged."""
    try:
        if data.shape is None:
            return None
        dtype = hdf5.dtype_of(data)
        kind = _kind(dtype)
        return Candidate(
            path=path,
            shape=data.shape,
            kind=kind,
            dtype=kind if kind == "text" else str(dtype or "of a type that NumPy does not have"),
            raw_bytes=hdf5.raw_bytes(data),
            aside=aside or _says_it_is_aside(data),
        )
    except (KeyError, OSError, RuntimeError, TypeError, ValueError):
        return None


def _kind(dtype: np.dtype[Any] | None) -> Kind:
    if dtype is None:
        return ""
    if dtype.kind in "biuf":
        return "real"
    if dtype.kind == "c":
        return "complex"
    if dtype.kind == "S" or h5py.check_string_dtype(dtype) is not None:
        return "text"
    if dtype.names in _COMPLEX_PAIRS:
        parts = [dtype[name] for name in dtype.names]
        if parts[0] == parts[1] and parts[0].kind in "iuf":
            return "complex"
    return ""


def _says_it_is_aside(data: h5py.Dataset) -> bool:
    """The scale of an axis; in MATLAB's files text, or the shape of an empty array."""
    return (
        "MATLAB_empty" in data.attrs
        or hdf5.attribute(data, "CLASS") == "DIMENSION_SCALE"
        or hdf5.attribute(data, "MATLAB_class") == "char"
    )


# Texts


def _fixed_texts(file: h5py.File, path: str) -> list[str]:
    data = hdf5.plain(file, path, "S", 1)
    # Names are padded to the longest: 16 times what they may be themselves.
    if data is None or hdf5.raw_bytes(data) > hdf5.MOST_TEXT * 16:
        return []
    return [hdf5.printable(name) for name in data[:].tolist()]


# What is said


def _no_samples(
    path: Path, key: str | None, asked: Candidate | None, candidates: Iterable[Candidate]
) -> FormatError:
    usable = [c for c in candidates if choice.usable(c)]
    if key is None:
        what = "no data set looks like samples"
    elif asked is None:
        what = (
            f"no data set is called {choice.short(key)!r} (links out of the file are not followed)"
        )
    else:
        what = f"{asked} cannot be samples"
    return FormatError(
        f"{path}: {what}; wanted numbers whose first axis is the sample. "
        f"{_advice('key', usable, candidates)}"
    )


def _no_labels(
    path: Path,
    labels: str,
    asked: Candidate | None,
    samples: Candidate,
    candidates: Iterable[Candidate],
) -> FormatError:
    fitting = [c for c in candidates if c.path != samples.path and choice.fits(c, samples)]
    what = (
        f"no data set is called {choice.short(labels)!r}"
        if asked is None
        else f"{asked} cannot be it"
    )
    return FormatError(
        f"{path}: labels: {what}; wanted {samples.shape[0]} numbers, one for each of {samples}. "
        f"{_advice('labels', fitting, candidates)}"
    )


def _advice(option: str, usable: Sequence[Candidate], all_of_them: Iterable[Candidate]) -> str:
    if usable:
        return f"Name one with --{option} ({option}=): {choice.shown(usable)}."
    there = choice.shown(list(all_of_them))
    return f"Choose another file; in this one there is: {there}." if there else "It has none."
