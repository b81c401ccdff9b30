"""Which data set of a file holds the samples, which their labels: pure, from names and shapes.

    candidates (path, shape, kind of values) ─> choose_samples, choose_labels, choose_names

The invariant: the choice is a function of the candidates alone, and not of their order, so that it
is the same on every machine.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from celeiro.format.names import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Kind = Literal["real", "complex", "text", ""]
"""What the values are, as far as it matters here; empty for anything else."""

MOST_CLASSES = 100_000
"""More than so many columns or names are of no classes."""

_MOST_SHOWN = 12

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
# Parts of a sparse matrix, as SciPy and MATLAB call them.
_SPARSE = (("data", "indices", "indptr"), ("data", "ir", "jc"))

_WORD_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_either = "|".join([*_PICTURES, *_SAMPLES, *_LABELS])
_GLUED = re.compile(rf"({_either})?({'|'.join(_SPLITS)})({_either})?")


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
        name = printable(self.path.encode("utf-8", "surrogateescape"))
        return f"{short(name)!r} {self.shape} {short(self.dtype)}"


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
    able = [c for c in candidates if usable(c) and not _is_aside(c, inside)]
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
        and fits(c, samples)
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
        if c.kind == "text" and len(c.shape) == 1 and 1 <= c.shape[0] <= MOST_CLASSES
        if (role := _Name.of(c.path).role) in usual
        if role in _CLASS_NAMES or c.shape[0] != samples.shape[0]
    ]
    return min(able)[-1] if able else None


def passed_over(samples: Candidate, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Other data sets under usual names that could as well have been the samples."""
    inside = {c.path for c in candidates}
    return [
        c
        for c in candidates
        if c.path != samples.path and usable(c) and _tier(c) < 2 and not _is_aside(c, inside)
    ]


def reversed_labels(samples: Candidate, candidates: Iterable[Candidate]) -> Candidate | None:
    """Labels that are as many as the samples' last axis: MATLAB stores N × features so."""
    first, last = samples.shape[0], samples.shape[-1]
    for c in candidates:
        vector = c.kind == "real" and math.prod(c.shape) == last and last in c.shape
        if vector and first != last > 1 and _label_rank(_Name.of(c.path).role) is not None:
            return c
    return None


def usual_names() -> list[bytes]:
    """The spellings under which the root is searched when it has too many names to go through."""
    words = [*_PICTURES, *_SAMPLES, *_LABELS, *_CLASS_NAMES, "X", "Y"]
    splits = [s for w in words for s in (w, f"{w}_train", f"train_{w}", f"train_set_{w}")]
    return [name.encode() for name in (*splits, "train")]


def shown(candidates: Sequence[Candidate]) -> str:
    """Some of them, for a message."""
    more = len(candidates) - _MOST_SHOWN
    shown = "; ".join(map(str, candidates[:_MOST_SHOWN]))
    return f"{shown}; and {more} more" if more > 0 else shown


def short(text: str) -> str:
    """A name that fits into a message."""
    return text if len(text) <= 60 else f"{text[:57]}..."


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


def usable(candidate: Candidate) -> bool:
    """Whether these may be samples, by type and shape."""
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


def fits(candidate: Candidate, samples: Candidate) -> bool:
    """Whether these may be the labels, by length and type."""
    count, shape = samples.shape[0], candidate.shape
    if candidate.kind != "real" or not shape:
        return False
    one_each = math.prod(shape) == count and shape.count(1) >= len(shape) - 1
    return one_each or (len(shape) == 2 and shape[0] == count and 2 <= shape[1] <= MOST_CLASSES)


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
