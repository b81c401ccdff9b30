"""Which samples a probe learns from, chooses on and is tested on; and their classes.

    splits train, val, test     learn, choose, test
    splits train, test          learn, and choose there by folds; test
    none                        three quarters and a quarter of every class

The invariant: no sample that is tested on is learned from or chosen on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError
from celeiro.features.classes import class_name, class_numbers
from celeiro.reading.splits import places_in

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.reading.dataset import Dataset

_TEST_SHARE = 0.25
# Of a class that is divided: one to test on, and three, which is as many as there are folds.
_LEAST = 4
_TRAIN, _VAL, _TEST = "train", "val", "test"


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some samples of a dataset."""

    name: str
    """In words: ``split train``."""
    rows: npt.NDArray[np.int64]
    """Their numbers in the dataset."""
    codes: npt.NDArray[np.int64]
    """The class of each, as a position among the classes."""


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The samples of a probe."""

    train: Part
    """Those that are learned from."""
    test: Part
    """Those that are tested on."""
    val: Part | None
    """Those that C is chosen on; None where that is done on `train`."""
    classes: npt.NDArray[np.int64]
    """Numbers of the classes, ascending."""
    names: tuple[str, ...]
    """Their names; the number where there is none."""
    notes: tuple[str, ...] = ()
    """What is worth knowing and no fault."""


def parts_of(ds: Dataset, *, train: str | None, test: str | None, seed: int) -> Parts:
    """Which samples of a dataset serve for what.

    Raises
    ------
    OptionError
        There are no labels that a probe can learn, a split is not there or empty, or classes have
        too few samples.
    """
    labels = class_numbers(ds, "a probe learns them")
    if not len(labels):
        raise OptionError(
            f"{ds.path}: it has no samples; wanted some to learn from and to test on. Give a file "
            "of features, such as `celeiro features` makes."
        )
    if ds.splits:
        drawn = _by_splits(ds, train, test)
    elif train or test:
        raise OptionError(
            f"{ds.path}: it has no splits, so no split {train or test!r}. Leave the option out: a "
            "quarter of every class is then tested on."
        )
    else:
        drawn = _stratified(ds, labels, seed)
    learned = labels[drawn[_TRAIN][1]]
    classes = np.unique(learned)
    names = tuple(name_of(ds, int(number)) for number in classes)
    made = {}
    for role, (name, rows) in drawn.items():
        _check_known(ds, labels[rows], classes, name, drawn[_TRAIN][0])
        made[role] = Part(name, rows, np.searchsorted(classes, labels[rows]))
    _check_several(ds, drawn[_TRAIN][0], len(learned), names)
    notes = _notes(made[_TEST], names)
    return Parts(made[_TRAIN], made[_TEST], made.get(_VAL), classes, names, notes)


def name_of(ds: Dataset, number: int) -> str:
    """The name of a class, or its number."""
    return class_name(ds.label_names, number) or str(number)


def _check_several(ds: Dataset, name: str, count: int, names: tuple[str, ...]) -> None:
    """Refuse samples of one class."""
    if len(names) < 2:
        found = f"all {count:,} samples are" if count > 1 else "its one sample is"
        raise OptionError(
            f"{ds.path}: {name}: {found} of one class, {names[0]!r}; wanted at least two classes "
            "to tell apart. Add samples of another, or name other labels with labels=."
        )


def check_enough(ds: Dataset, part: Part, names: tuple[str, ...], least: int, why: str) -> None:
    """Refuse a class with fewer than `least` samples in a part."""
    counts = np.bincount(part.codes, minlength=len(names))
    few = np.flatnonzero(counts < least)
    if len(few):
        shown = ", ".join(f"{names[code]!r} {counts[code]:,}" for code in few[:5].tolist())
        more = f" and {len(few) - 5:,} more" if len(few) > 5 else ""
        raise OptionError(
            f"{ds.path}: {part.name}: too few samples of {shown}{more}; {why} takes at least "
            f"{least:,} of each class. Leave those classes out with ds.select, or add samples."
        )


_Drawn = dict[str, tuple[str, "npt.NDArray[np.int64]"]]


def _by_splits(ds: Dataset, train: str | None, test: str | None) -> _Drawn:
    """Parts by the file's own splits."""
    train = train or _TRAIN
    if test is None:
        test = next((name for name in (_TEST, _VAL) if name in ds.splits and name != train), _TEST)
    drawn = {_TRAIN: _split(ds, train, "--train"), _TEST: _split(ds, test, "--test")}
    if _VAL in ds.splits and _VAL not in (train, test):
        drawn[_VAL] = _split(ds, _VAL, "--test")
    for role in (_TRAIN, _VAL):
        if role not in drawn:
            continue
        both = np.intersect1d(drawn[role][1], drawn[_TEST][1])
        if len(both):
            raise OptionError(
                f"{ds.path}: {len(both):,} samples are in {drawn[role][0]} and in "
                f"{drawn[_TEST][0]}, the first is {int(ds.rows[both[0]]):,}; wanted none: it would "
                "be tested on what it learned. Choose other splits."
            )
    return drawn


def _split(ds: Dataset, name: str, option: str) -> tuple[str, npt.NDArray[np.int64]]:
    if name not in ds.splits:
        raise OptionError(
            f"{ds.path}: it has no split {name!r}, but {', '.join(map(repr, ds.splits))}. Choose "
            f"one with {option}."
        )
    rows = places_in(ds, name)
    if not len(rows):
        raise OptionError(
            f"{ds.path}: its split {name!r} has no samples here. Choose another with {option}, or "
            "give the whole file."
        )
    return f"split {name}", rows


def _stratified(ds: Dataset, labels: npt.NDArray[np.int64], seed: int) -> _Drawn:
    """A quarter of every class for testing."""
    from sklearn.model_selection import train_test_split

    classes, codes = np.unique(labels, return_inverse=True)
    names = tuple(name_of(ds, int(number)) for number in classes)
    every = Part("the whole file", np.arange(len(labels)), codes)
    _check_several(ds, every.name, len(labels), names)
    check_enough(ds, every, names, _LEAST, "a quarter to test on")
    train, test = train_test_split(
        every.rows, test_size=_TEST_SHARE, stratify=labels, random_state=seed
    )
    return {
        _TRAIN: ("75 % of each class", np.sort(train)),
        _TEST: ("25 % of each class", np.sort(test)),
    }


def _check_known(
    ds: Dataset, labels: npt.NDArray[np.int64], classes: npt.NDArray[np.int64], name: str,
    train: str,
) -> None:  # fmt: skip
    """Refuse samples of a class that nothing is learned of."""
    unknown, counts = np.unique(labels[~np.isin(labels, classes)], return_counts=True)
    if len(unknown):
        shown = ", ".join(repr(name_of(ds, number)) for number in unknown[:5].tolist())
        more = f" and {len(unknown) - 5:,} more" if len(unknown) > 5 else ""
        raise OptionError(
            f"{ds.path}: {name} has {counts.sum():,} samples of {shown}{more}, and {train} has "
            "none to learn from. Split each class alike: celeiro repack --split."
        )


def _notes(test: Part, names: tuple[str, ...]) -> tuple[str, ...]:
    counts: npt.NDArray[Any] = np.bincount(test.codes, minlength=len(names))
    absent = np.flatnonzero(counts == 0)
    if not len(absent):
        return ()
    shown = ", ".join(repr(names[code]) for code in absent[:5].tolist())
    more = f" and {len(absent) - 5:,} more" if len(absent) > 5 else ""
    return (f"{test.name} has no sample of {shown}{more}: nothing is known of them",)
