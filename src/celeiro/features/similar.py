"""`celeiro.neighbours`, `celeiro.duplicates`, `celeiro.suspects`: what is like what in a file.

    neighbours    of one sample, or of a vector: one pass over the file
    duplicates    the same to the bit, or nearly so; leaks between splits first
    suspects      labels that the samples around do not share

How similar two samples are is the cosine between their features, computed in float32. Nothing
takes memory in the square of the number of samples.
"""

from __future__ import annotations

import operator
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError
from celeiro.features.classes import class_name, class_numbers
from celeiro.features.likeness.directions import Directions, rows_in, unit
from celeiro.features.likeness.found import Alike, Grouped, Suspected
from celeiro.features.likeness.nearest import is_affordable, nearest
from celeiro.features.likeness.pairs import Groups, join_similar
from celeiro.features.likeness.register import Register, place_of
from celeiro.features.likeness.result import (
    Duplicates,
    Group,
    Neighbours,
    Sample,
    Similar,
    Suspect,
    Suspects,
)
from celeiro.packing.outcome import Progress
from celeiro.reading.dataset import Dataset
from celeiro.reading.dataset import open as open_dataset

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from celeiro.features.likeness.directions import Step, Survey
    from celeiro.features.likeness.nearest import Found

    Tell = Callable[[Progress], None]

__all__ = [
    "Duplicates", "Group", "Neighbours", "Sample", "Similar", "Suspect", "Suspects",
    "duplicates", "neighbours", "suspects",
]  # fmt: skip

THRESHOLD = 0.95
"""Cosine from which two samples are nearly the same.

Of 1,280 features of EfficientNet-Lite0, a JPEG of quality 50 of a photograph was that like it in
94 of 100 cases, a mirrored one in 95; of 499,500 pairs of photographs one was, and it was the same
picture twice. The nearest other photograph is at 0.68 (median), at most 0.83.
"""

MEMORY = 1_000_000_000
"""Bytes of the blocks that are compared, where the caller does not say."""

_LEAST_MEMORY = 16_000_000
_BLOCK = 64_000_000
# Votes that are counted at a time, some 60 bytes each.
_MOST_VOTES = 1_000_000
_WHY = "suspects are labels that disagree"


def neighbours(
    source: str | os.PathLike[str] | Dataset,
    which: int | str | npt.ArrayLike,
    k: int = 10,
    *,
    key: str | None = None,
    layer: str | None = None,
) -> Neighbours:
    """Give the k samples most similar to one.

    Parameters
    ----------
    source
        A file of features, or a dataset of them: floats, one row a sample. More axes are
        flattened.
    which
        A sample, by its number in the dataset or by its key; or D numbers, the features of
        something that is not in the file. A sample is not its own neighbour.
    k
        How many; all of them, where there are fewer.
    key
        Of a path: as for `celeiro.open`.
    layer
        Name of a field with further features, in the place of the samples.

    Raises
    ------
    OptionError
        There is no such sample, or the vector does not fit.
    SampleError
        A sample's features are not finite.

    Examples
    --------
    >>> import numpy as np, tempfile, celeiro
    >>> folder = tempfile.TemporaryDirectory()
    >>> rows = np.array([[1, 0], [1, 0.1], [0, 1]], np.float32)
    >>> path = celeiro.pack(rows, folder.name + "/a.h5").path
    >>> [(each.sample.number, round(each.similarity, 3)) for each in neighbours(path, 0).found]
    [(1, 0.995), (2, 0.0)]
    >>> folder.cleanup()
    """
    _check_k(k)
    began = time.perf_counter()
    with _opened(source, key) as ds:
        of, register = Directions(ds, layer), Register(ds)
        place = _place(ds, which)
        vector = _vector(of, which) if place is None else of.read(np.array([place]))[0]
        if not vector.any():
            name = "the vector" if place is None else register.sample(place).name
            raise OptionError(f"{ds.path}: {name} is all zeros; wanted features, to compare them.")
        places, similarity = _nearest_to(of, vector, k, place)
        found = Alike(register, places, similarity).items()
        asked = None if place is None else register.sample(place)
        compared = len(ds) - (place is not None)
        return Neighbours(ds.path, asked, found, compared, time.perf_counter() - began)


def duplicates(
    source: str | os.PathLike[str] | Dataset,
    threshold: float | None = THRESHOLD,
    *,
    between_splits: bool = False,
    exact: bool | None = None,
    memory: int = MEMORY,
    key: str | None = None,
    layer: str | None = None,
    on_progress: Tell | None = None,
) -> Duplicates:
    """Find samples that are there twice, or nearly so, and tell which are in several splits.

    Groups are connected: where a is like b and b like c, all three are one group, though a and c
    may be less alike. Samples of nothing but zeros are left out.

    Parameters
    ----------
    source, key, layer
        As for `neighbours`.
    threshold
        Cosine from which two are nearly the same, 0 < threshold ≤ 1. None: only what is the same
        to the bit, which is quick.
    between_splits
        Tell only groups that are in several splits.
    exact
        True compares every pair; False only those in cells near each other, and misses a few. By
        default every pair, up to some four minutes on two cores (100,000 samples of 1,280).
    memory
        Bytes of the blocks that are compared. Beside them stand some 60 bytes a sample.
    on_progress
        Told how many samples are done.

    Examples
    --------
    >>> import numpy as np, tempfile, celeiro
    >>> folder = tempfile.TemporaryDirectory()
    >>> rows = np.array([[1, 0], [0, 1], [1, 0.1], [0, 1]], np.float32)
    >>> path = celeiro.pack(rows, folder.name + "/a.h5").path
    >>> for group in duplicates(path).groups:
    ...     print(group.exact, [each.sample.number for each in group.members])
    True [1, 3]
    False [0, 2]
    >>> folder.cleanup()
    """
    if threshold is not None and not 0 < threshold <= 1:
        raise OptionError(f"threshold {threshold!r}: wanted a cosine above 0, up to 1; or None.")
    _check_memory(memory)
    began = time.perf_counter()
    with _opened(source, key) as ds:
        if between_splits and not ds.splits:
            raise OptionError(
                f"{ds.path}: it has no splits, so nothing is between them. Leave between_splits "
                "out, or split it: celeiro repack --split."
            )
        of, register = Directions(ds, layer), Register(ds)
        step = _step(on_progress, of)
        survey = of.survey(memory=memory, digests=True, step=step)
        first = survey.first_alike()
        groups = Groups(len(of))
        copies = np.flatnonzero((first != np.arange(len(of))) & ~survey.zero)
        groups.join(copies, first[copies], np.ones(len(copies), np.float32))
        distinct = np.flatnonzero((first == np.arange(len(of))) & ~survey.zero)
        searched = exact if exact is not None else is_affordable(len(distinct), of.dim)
        if threshold is not None:
            join_similar(groups, of, distinct, threshold, memory=memory, exact=searched, step=step)
        found = Grouped.of(groups, first, register, only_leaks=between_splits)
        return Duplicates(
            path=ds.path,
            samples=len(ds),
            threshold=1.0 if threshold is None else threshold,
            groups=found.items(),
            exact=int(found.exact.sum()),
            leaks=int(found.leaks.sum()),
            surplus=found.surplus,
            exact_search=searched or threshold is None,
            notes=_notes(register, survey),
            seconds=time.perf_counter() - began,
        )


def suspects(
    source: str | os.PathLike[str] | Dataset,
    k: int = 15,
    *,
    exact: bool | None = None,
    memory: int = MEMORY,
    key: str | None = None,
    labels: str | npt.ArrayLike | None = None,
    layer: str | None = None,
    on_progress: Tell | None = None,
) -> Suspects:
    """Find labels that are likely wrong: those that the k nearest samples do not share.

    Each neighbour votes for its own label, with its similarity. A sample is suspect where another
    label gets more votes than its own.

    Parameters
    ----------
    source, key, layer
        As for `neighbours`.
    k
        Neighbours of each. More of them judge better, as long as classes are larger than that.
    exact, memory, on_progress
        As for `duplicates`.
    labels
        Of a path: as for `celeiro.open`.

    Raises
    ------
    OptionError
        There are no labels, or they are no classes.
    MissingExtraError
        faiss is not installed.
    """
    _check_k(k)
    _check_memory(memory)
    began = time.perf_counter()
    with _opened(source, key, labels) as ds:
        of, register = Directions(ds, layer), Register(ds)
        classes, codes = np.unique(class_numbers(ds, _WHY), return_inverse=True)
        step = _step(on_progress, of)
        survey = of.survey(memory=memory, digests=False, step=step)
        rows = survey.rows
        k = max(0, min(k, len(rows) - 1))
        searched = exact if exact is not None else is_affordable(len(rows), of.dim)
        near = nearest(of, rows, k, memory=memory, exact=searched, step=step) if k else ()
        parts = (part for some in near for part in _disagreeing(some, classes, codes))
        found = Suspected.sorted(parts, register, k).items(register)
        notes = (*_notes(register, survey), *_small_classes(ds, classes, codes, k))
        return Suspects(ds.path, len(ds), k, found, searched, notes, time.perf_counter() - began)


# What is asked


@contextmanager
def _opened(
    source: str | os.PathLike[str] | Dataset, key: str | None, labels: Any = None
) -> Iterator[Dataset]:
    if not isinstance(source, Dataset):
        with open_dataset(source, key, labels=labels) as ds:
            yield ds
        return
    if key is not None or labels is not None:
        raise OptionError(
            f"{source.path}: key or labels of a dataset that is open already: give them to "
            "celeiro.open."
        )
    yield source


def _check_k(k: int) -> None:
    if k < 1:
        raise OptionError(f"k {k!r}: wanted at least 1 neighbour.")


def _check_memory(memory: int) -> None:
    if memory < _LEAST_MEMORY:
        raise OptionError(f"memory {memory:,} bytes: wanted at least {_LEAST_MEMORY:,}.")


def _place(ds: Dataset, which: Any) -> int | None:
    """The place of a sample; None of a vector."""
    if isinstance(which, str):
        return place_of(ds, which)
    if np.ndim(which):
        return None
    place = operator.index(which)
    if not -len(ds) <= place < len(ds):
        raise OptionError(
            f"{ds.path}: no sample {place:,}; wanted a number from 0 to {len(ds) - 1:,}, or a key."
        )
    return place % len(ds)


def _vector(of: Directions, which: Any) -> npt.NDArray[np.float32]:
    given = np.array(which, np.float32).reshape(-1)
    if len(given) != of.dim or not np.isfinite(given).all():
        raise OptionError(
            f"{of.path}: a vector of {len(given):,} values; wanted {of.dim:,} finite ones, made as "
            "those of the file were."
        )
    row: npt.NDArray[np.float32] = unit(given[None])[0]
    return row


def _step(on_progress: Tell | None, of: Directions) -> Step:
    """Tell a caller how far it is."""

    def step(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(
                Progress(total=total, done=done, bytes_done=done * of.dim * of.dtype.itemsize)
            )

    return step


# What is found


def _nearest_to(
    of: Directions, vector: npt.NDArray[np.float32], k: int, place: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Places and cosines of the k most similar; of equal ones the first."""
    places, best = np.zeros(0, np.int64), np.zeros(0, np.float32)
    for at, block in of.blocks(np.arange(len(of)), rows_in(_BLOCK, of.dim)):
        mine = np.arange(at, at + len(block))
        similarity = np.clip(block @ vector, -1, 1)
        asked = block.any(axis=1) & (mine != (-1 if place is None else place))
        places = np.concatenate([places, mine[asked]])
        best = np.concatenate([best, similarity[asked]])
        order = np.lexsort((places, -best))[:k]
        places, best = places[order], best[order]
    return places, best


def _disagreeing(
    near: Found, classes: npt.NDArray[np.int64], codes: npt.NDArray[np.int64]
) -> Iterator[Suspected]:
    """Those whose neighbours vote for another class."""
    few = max(1, _MOST_VOTES // near.nearest.shape[1])
    small = np.int32 if len(codes) <= np.iinfo(np.int32).max else np.int64
    for at in range(0, len(near.rows), few):
        rows, them = near.rows[at : at + few], near.nearest[at : at + few]
        said, share, given = _vote(
            them, near.similarity[at : at + few], codes, codes[rows], len(classes)
        )
        odd = np.flatnonzero(share > given)
        yield Suspected(
            rows[odd], classes[said[odd]], share[odd], given[odd], them[odd].astype(small)
        )


def _vote(
    them: npt.NDArray[np.int64],
    similarity: npt.NDArray[np.float32],
    codes: npt.NDArray[np.int64],
    own: npt.NDArray[np.int64],
    classes: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Of each row the class with most votes, the lowest of equal ones; its share; that of `own`."""
    # What is not alike at all has the least of voices, and what is not there has none.
    weights = np.where(them >= 0, np.maximum(similarity, 1e-6), 0).astype(np.float64)
    # The classes that got a vote, row by row, and the lowest first: as many as neighbours at most.
    ballots = codes[them] + np.arange(len(them))[:, None] * classes
    lists, which = np.unique(ballots, return_inverse=True)
    votes = np.bincount(which.ravel(), weights.ravel())
    of, code = np.divmod(lists, classes)
    begins = np.flatnonzero(np.diff(of, prepend=-1))
    most = np.maximum.reduceat(votes, begins)
    winners = np.flatnonzero(votes == most[of])
    _, first = np.unique(of[winners], return_index=True)
    given = np.zeros(len(them))
    theirs = code == own[of]
    given[of[theirs]] = votes[theirs]
    sums = weights.sum(axis=1)
    sums[sums == 0] = 1
    return code[winners[first]], most / sums, given / sums


def _notes(register: Register, survey: Survey) -> tuple[str, ...]:
    notes = []
    zeros = np.flatnonzero(survey.zero)
    if len(zeros):
        notes.append(
            f"{len(zeros):,} of {len(survey.zero):,} samples are all zeros, the first is "
            f"{register.sample(int(zeros[0])).name}: they are like nothing and were left out"
        )
    if register.in_several:
        notes.append(
            f"{register.in_several:,} times a sample is in a further split: each is a leak; the "
            "last split is told"
        )
    return tuple(notes)


def _small_classes(
    ds: Dataset, classes: npt.NDArray[np.int64], codes: npt.NDArray[np.int64], k: int
) -> tuple[str, ...]:
    """Classes whose samples are outvoted whatever they look like."""
    counts = np.bincount(codes, minlength=len(classes))
    small = np.flatnonzero(counts - 1 <= k // 2)
    if not len(small):
        return ()
    shown = ", ".join(
        f"{class_name(ds.label_names, int(classes[code])) or classes[code]} {counts[code]}"
        for code in small[:5].tolist()
    )
    more = f" and {len(small) - 5:,} more" if len(small) > 5 else ""
    return (
        f"classes with too few samples for {k} neighbours: {shown}{more}; theirs are easily "
        f"suspect. Ask for fewer neighbours",
    )
