"""What is what in an HDF5 file of somebody else: the samples, their labels, the classes' names.

The invariant: the choice is a pure function of names, shapes and types, so it is the same on every
machine; and the file is untrusted, so it is looked at as hdf5.py has it, so many links and no more.

    what stands in the file -> candidates -> a choice -> Found
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import h5py

from celeiro.errors import FormatError
from celeiro.reading import hdf5

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import numpy as np

log = logging.getLogger(__name__)

Kind = Literal["real", "complex", "text", ""]
"""What the values are, as far as it matters here; empty for anything else."""

_MOST_LINKS = 2_000
_MOST_DEPTH = 16
_LONGEST_NAME = 1_024  # bytes, of one part of a path; HDF5 allows 64 KiB and more
_MOST_CLASSES = 100_000
_MOST_SHOWN = 12
_MOST_HEAP = 16 << 20  # bytes of the heaps that hold the names of the classes

_PICTURES = "imagens imagem images image imgs img pictures photos".split()
_SAMPLES = "x xs data features feature samples inputs input patches frames".split()
# `ans` is Galaxy10's.
_LABELS = (
    "labels label y ys targets target classes class category categories fine_labels ans".split()
)
_CLASS_NAMES = (
    "label_names labels_names class_names class_labels category_names target_names list_classes "
    "labelnames classnames"
).split()
# These may as well be the names of the samples.
_PERHAPS_CLASS_NAMES = "classes categories names".split()

# Labels that go with samples of a name; the first that is there.
_PAIRS = {
    "x": ("y",),
    "xs": ("ys",),
    "image": ("label",),
    "images": ("labels",),
    "features": ("labels", "targets"),
    "inputs": ("targets", "labels"),
    "input": ("target", "label"),
    "data": ("labels", "label", "target"),
}

_SPLITS = {
    **dict.fromkeys("train training tr".split(), "train"),
    **dict.fromkeys("val valid validation dev".split(), "val"),
    **dict.fromkeys("test testing te".split(), "test"),
}
_SPLIT_RANK = {"": 0, "train": 0, "val": 1, "test": 2}

# Last words of names of what is no sample: statistics, parameters of a network, numbers of rows.
_ASIDE = frozenset(
    "mean std weight weights bias biases kernel gamma beta variance ids id idx index indices "
    "indptr offsets shapes keys".split()
)
# Groups that hold the parameters of a network.
_ASIDE_GROUPS = frozenset(
    "model_weights optimizer_weights vars _layer_checkpoint_dependencies".split()
)
_WEIGHT_ATTRIBUTES = ("layer_names", "weight_names", "nb_layers", "keras_version")
# Parts of a sparse matrix, as SciPy and MATLAB call them.
_SPARSE = (("data", "indices", "indptr"), ("data", "ir", "jc"))
_COMPLEX_PAIRS = (("r", "i"), ("re", "im"), ("real", "imag"))

_WORD_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_either = "|".join([*_PICTURES, *_SAMPLES, *_LABELS])
_GLUED = re.compile(rf"({_either})?({'|'.join(_SPLITS)})({_either})?")


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


@dataclass(frozen=True, slots=True)
class Candidate:
    """A data set, as far as a choice needs to know it."""

    path: str
    """Without a slash before it."""
    shape: tuple[int, ...]
    """Empty for a single value."""
    kind: Kind = "real"
    """What the values are."""
    dtype: str = ""
    """Type of the values, to be shown."""
    raw_bytes: int = 0
    """Bytes of all values."""
    aside: bool = False
    """Whether its attributes say that it is neither samples nor labels."""

    def __str__(self) -> str:
        """Name, shape and type, short enough for a message."""
        name = hdf5.printable(self.path.encode("utf-8", "surrogateescape"))
        return f"{_short(name)!r} {self.shape} {_short(self.dtype)}"


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
    samples = choose_samples(candidates) if key is None else _asked(file, key)
    if samples is None or not _usable(samples):
        raise _no_samples(path, key, samples, candidates)
    _say_what_was_passed_over(path, samples, candidates)
    names = choose_names(samples, candidates)
    label_names = names.path if names else None
    if labels is not None:
        chosen = _asked(file, labels)
        if chosen is None or not _fits(chosen, samples):
            raise _no_labels(path, labels, chosen, samples, candidates)
    else:
        chosen = choose_labels(samples, candidates)
    if chosen is not None:
        return Found(samples.path, chosen.path, None, label_names)
    beside = _file_of_labels(path, samples)
    if beside is not None:
        return Found(samples.path, "y", beside, label_names)
    _warn_of_reversed_axes(path, samples, candidates)
    return Found(samples.path, label_names=label_names)


def choose_samples(candidates: Sequence[Candidate]) -> Candidate | None:
    """The samples among the data sets of a file; None where nothing looks like samples.

    1. Only numbers (complex ones too) with an axis and not empty; no labels, statistics, or
       parameters of a network, by their names; no sparse matrix, whose `data` is no row of samples.
    2. A usual name for pictures goes before a usual name for samples, before any other. A name
       counts with two axes or more: `x` with one may be a coordinate. Case and what splits are
       called do not matter: ``X_train``, ``train_set_x``, ``trainX`` and ``train/x`` are all `x`.
    3. Training goes before validation before test.
    4. The largest; then the nearest to the root, then the first by name.
    """
    inside = {c.path for c in candidates}
    able = [c for c in candidates if _usable(c) and not _is_aside(c, inside)]
    return min(able, key=_sample_order, default=None)


def choose_labels(samples: Candidate, candidates: Iterable[Candidate]) -> Candidate | None:
    """The labels of the samples; None where nothing has both the length and the name.

    1. Real numbers, one a sample ((N,), or with further axes of 1, wherever the N is) or a row a
       sample (N, K), as one-hot labels are; under a usual name, or one that ends in `labels` or
       the like.
    2. Of the same split as the samples; at a pinch one of the two is of no split. Test labels
       never go with training samples.
    3. In the same group, or the nearest.
    4. The name that goes with the samples' (`y` with `x`, `labels` with `images`), then the most
       usual name.
    """
    able = [
        c
        for c in candidates
        if not c.aside
        and c.path != samples.path
        and _fits(c, samples)
        and _label_rank(_Name.of(c.path).role) is not None
        and _split_misfit(samples, c) is not None
    ]
    return min(able, key=lambda c: _label_order(samples, c), default=None)


def choose_names(samples: Candidate, candidates: Iterable[Candidate]) -> Candidate | None:
    """The names of the classes; None where there are none.

    Text along one axis under a usual name. `classes`, `categories` and `names` only if they are
    not as many as the samples: else they may tell something of each sample. The nearest to the
    samples, then the most usual name.
    """
    usual = [*_CLASS_NAMES, *_PERHAPS_CLASS_NAMES]
    able = [
        (_distance(samples, c), usual.index(role), c.path, c)
        for c in candidates
        if c.kind == "text" and len(c.shape) == 1 and 1 <= c.shape[0] <= _MOST_CLASSES
        if (role := _Name.of(c.path).role) in usual
        if role in _CLASS_NAMES or c.shape[0] != samples.shape[0]
    ]
    return min(able)[-1] if able else None


def names_of_classes(file: h5py.File, path_in_file: str) -> tuple[str, ...]:
    """The texts of a data set, of fixed or variable length; empty where it is not that.

    At most 100,000 names and 1 MiB in all. Chunks are not decoded, so chunked ones are empty too.
    """
    data = hdf5.found(file, path_in_file)
    if not isinstance(data, h5py.Dataset):
        return ()
    try:
        shape: tuple[int, ...] = data.shape or ()
        if len(shape) != 1 or shape[0] > _MOST_CLASSES:
            return ()
        names = _fixed_texts(file, path_in_file) or _variable_texts(file, data)
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        log.warning("%s: the names of the classes cannot be read: %s", file.filename, error)
        return ()
    return tuple(names) if sum(map(len, names)) <= hdf5.MOST_TEXT else ()


# Names


@dataclass(frozen=True, slots=True)
class _Name:
    """What a path says: ``train/labels``, ``labels/train`` and ``trainLabels`` say the same."""

    role: str
    """Its words, but for the split's: of the last part of the path that has any."""
    split: str
    """``train``, ``val``, ``test`` or empty: of the last part of the path that says so."""

    @classmethod
    def of(cls, path: str) -> _Name:
        role = split = ""
        for part in reversed(path.split("/")):
            words, of_part = _words(part)
            split = split or of_part
            role = role or "_".join(words)
        return cls(role, split)


def _words(part: str) -> tuple[list[str], str]:
    """The words of one part of a path, and the split that it tells."""
    words: list[str] = []
    split = ""
    for word in re.split(r"[\W_]+", _WORD_BORDER.sub("_", part).lower()):
        glued = _GLUED.fullmatch(word)
        if glued and not split:
            split = _SPLITS[glued[2]]
            words += filter(None, (glued[1], glued[3]))
        elif word not in ("", "set"):
            words.append(word)
    return words, split


def _label_rank(role: str) -> int | None:
    """How usual a name for labels is, 0 the most; None if it is none."""
    if role in _LABELS:
        return _LABELS.index(role)
    last = role.rpartition("_")[2]
    return len(_LABELS) if last in ("labels", "label", "targets", "target") else None


def _tier(candidate: Candidate) -> int:
    """0 named as pictures are, 1 named as samples are, 2 any other."""
    name = _Name.of(candidate.path)
    if len(candidate.shape) < 2:
        return 2
    if name.role in _PICTURES:
        return 0
    return 1 if name.role in _SAMPLES or (name.split and not name.role) else 2


# Samples


def _usable(candidate: Candidate) -> bool:
    return candidate.kind in ("real", "complex") and math.prod(candidate.shape or (0,)) > 0


def _is_aside(candidate: Candidate, inside: set[str]) -> bool:
    """Whether it can be told that these are no samples; `inside` are all paths of the file."""
    group, _, leaf = candidate.path.rpartition("/")
    role = _Name.of(candidate.path).role
    if candidate.aside or _label_rank(role) is not None or role in _CLASS_NAMES:
        return True
    if role.rpartition("_")[2] in _ASIDE or re.search(r":\d+$", leaf):  # kernel:0
        return True
    if not _ASIDE_GROUPS.isdisjoint(group.split("/")):
        return True
    prefix = candidate.path.removesuffix(leaf)
    return any(leaf in parts and inside.issuperset(prefix + p for p in parts) for parts in _SPARSE)


def _sample_order(candidate: Candidate) -> tuple[int, int, int, int, str]:
    path = candidate.path
    split = _SPLIT_RANK[_Name.of(path).split]
    return _tier(candidate), split, -candidate.raw_bytes, path.count("/"), path


# Labels


def _fits(candidate: Candidate, samples: Candidate) -> bool:
    """Whether these may be the labels, by length and type."""
    count, shape = samples.shape[0], candidate.shape
    if candidate.kind != "real" or not shape:
        return False
    one_each = math.prod(shape) == count and shape.count(1) >= len(shape) - 1
    return one_each or (len(shape) == 2 and shape[0] == count and 2 <= shape[1] <= _MOST_CLASSES)


def _split_misfit(samples: Candidate, labels: Candidate) -> int | None:
    """0 of one split, 1 perhaps, None never."""
    of_samples, of_labels = _Name.of(samples.path).split, _Name.of(labels.path).split
    if of_samples == of_labels:
        return 0
    return 1 if not of_labels or (not of_samples and of_labels == "train") else None


def _label_order(samples: Candidate, labels: Candidate) -> tuple[int, int, int, int, str]:
    role = _Name.of(labels.path).role
    pairs = _PAIRS.get(_Name.of(samples.path).role, ())
    return (
        _split_misfit(samples, labels) or 0,
        _distance(samples, labels),
        pairs.index(role) if role in pairs else len(pairs),
        _label_rank(role) or 0,
        labels.path,
    )


def _distance(a: Candidate, b: Candidate) -> int:
    """Steps from one group to the other."""
    one, other = (c.path.split("/")[:-1] for c in (a, b))
    pairs = zip(one, other, strict=False)  # the deeper one has more
    common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    return len(one) + len(other) - 2 * common


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
    if labels is None or not _fits(labels, samples):
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
            names += _usual_names()
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


def _usual_names() -> list[bytes]:
    """The spellings under which the root is searched when it has too many names to go through."""
    words = [*_PICTURES, *_SAMPLES, *_LABELS, *_CLASS_NAMES, "X", "Y"]
    splits = [s for w in words for s in (w, f"{w}_train", f"train_{w}", f"train_set_{w}")]
    return [name.encode() for name in (*splits, "train")]


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


def _variable_texts(file: h5py.File, data: h5py.Dataset) -> list[str]:
    """Texts of variable length, read past HDF5.

    In a damaged file HDF5 takes memory for whatever length it finds, up to 4 GiB for each text,
    and goes round for ever in a heap with an empty piece of free space.
    """
    texts = h5py.check_string_dtype(data.dtype)
    plist = data.id.get_create_plist()
    start = data.id.get_offset()
    if texts is None or texts.length is not None or start is None:
        return []
    if plist.get_layout() != h5py.h5d.CONTIGUOUS or plist.get_external_count():
        return []
    of_address, of_length = file.id.get_create_plist().get_sizes()
    size = 4 + of_address + 4  # the text's length; address of a heap, number of the piece in it
    with open(file.filename, "rb") as raw:
        raw.seek(start)
        column = raw.read(size * len(data))
        entries = [column[at : at + size] for at in range(0, len(column), size)]
        if sum(_number(entry[:4]) for entry in entries) > hdf5.MOST_TEXT:
            return []
        heaps = _heaps(raw, {_number(e[4:-4]) for e in entries}, file.userblock_size, of_length)
    return [_text(entry, heaps) for entry in entries]


def _text(entry: bytes, heaps: dict[int, dict[int, bytes]]) -> str:
    length, heap, piece = _number(entry[:4]), _number(entry[4:-4]), _number(entry[-4:])
    text = heaps.get(heap, {}).get(piece, b"")
    if len(text) != length:
        raise ValueError(f"a text of {length} bytes has {len(text)}")
    return hdf5.printable(text.partition(b"\0")[0])


def _heaps(
    raw: BinaryIO, addresses: set[int], base: int, of_length: int
) -> dict[int, dict[int, bytes]]:
    """The pieces of global heaps by address and number (HDF5's file format, III.E).

    `base` is where addresses are counted from, `of_length` the bytes of a length in this file.
    """
    heaps: dict[int, dict[int, bytes]] = {}
    left = _MOST_HEAP
    end = os.fstat(raw.fileno()).st_size
    for address in sorted(addresses):
        if not 0 < address < end - base:  # of an empty text
            continue
        raw.seek(base + address)
        head = raw.read(8 + of_length)
        total = _number(head[8:])
        left -= max(total, len(head))
        if not head.startswith(b"GCOL\1") or left < 0:
            raise ValueError(f"no heap of text at {address}, or too large a one")
        heaps[address] = _pieces(head + raw.read(max(0, total - len(head))), of_length)
    return heaps


def _pieces(heap: bytes, of_length: int) -> dict[int, bytes]:
    """A head, then pieces: number (2), references (2), nothing (4), length, bytes; 8 by 8."""
    pieces: dict[int, bytes] = {}
    head = at = _up_to_8(8 + of_length)
    while number := _number(heap[at : at + 2]):  # 0 is free space, or the end
        start = at + head
        length = _number(heap[at + 8 : at + 8 + of_length])
        pieces[number] = heap[start : start + length]
        at = start + _up_to_8(length)
    return pieces


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _up_to_8(length: int) -> int:
    return -(-length // 8) * 8


# What is said


def _say_what_was_passed_over(
    path: Path, samples: Candidate, candidates: Sequence[Candidate]
) -> None:
    inside = {c.path for c in candidates}
    others = [
        c
        for c in candidates
        if c.path != samples.path and _usable(c) and _tier(c) < 2 and not _is_aside(c, inside)
    ]
    if others:
        log.info("%s: the samples are %s; passed over: %s", path, samples, _shown(others))


def _warn_of_reversed_axes(path: Path, samples: Candidate, candidates: Iterable[Candidate]) -> None:
    """MATLAB stores a matrix of N × features as features × N."""
    first, last = samples.shape[0], samples.shape[-1]
    for c in candidates:
        vector = c.kind == "real" and math.prod(c.shape) == last and last in c.shape
        if vector and first != last > 1 and _label_rank(_Name.of(c.path).role) is not None:
            log.warning(
                "%s: %s has %d samples, for they stand along the first axis; but %s are as many "
                "as its last. If the samples stand along the last, transpose the data set.",
                path,
                samples,
                first,
                c,
            )
            return


def _no_samples(
    path: Path, key: str | None, asked: Candidate | None, candidates: Iterable[Candidate]
) -> FormatError:
    usable = [c for c in candidates if _usable(c)]
    if key is None:
        what = "no data set looks like samples"
    elif asked is None:
        what = f"no data set is called {_short(key)!r} (links out of the file are not followed)"
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
    fitting = [c for c in candidates if c.path != samples.path and _fits(c, samples)]
    what = f"no data set is called {_short(labels)!r}" if asked is None else f"{asked} cannot be it"
    return FormatError(
        f"{path}: labels: {what}; wanted {samples.shape[0]} numbers, one for each of {samples}. "
        f"{_advice('labels', fitting, candidates)}"
    )


def _advice(option: str, usable: Sequence[Candidate], all_of_them: Iterable[Candidate]) -> str:
    if usable:
        return f"Name one with {option}=: {_shown(usable)}."
    there = _shown(list(all_of_them))
    return f"Choose another file; in this one there is: {there}." if there else "It has none."


def _shown(candidates: Sequence[Candidate]) -> str:
    more = len(candidates) - _MOST_SHOWN
    shown = "; ".join(map(str, candidates[:_MOST_SHOWN]))
    return f"{shown}; and {more} more" if more > 0 else shown


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
