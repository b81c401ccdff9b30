"""What was found, as arrays: a row a sample, and an object only for what is asked for.

    Alike      place, similarity                              ─> Similar
    Groups     members of all groups, where each begins       ─> Group
    Suspected  place, what is said, shares, neighbours        ─> Suspect

The invariant: a sample costs bytes of arrays; no list of N objects is ever made.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.features.classes import class_name
from celeiro.features.likeness.items import Items
from celeiro.features.likeness.register import NO_SPLIT
from celeiro.features.likeness.result import Group, Similar, Suspect

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from celeiro.features.likeness.pairs import Groups
    from celeiro.features.likeness.register import Register


@dataclass(frozen=True, slots=True, eq=False)
class Alike:
    """Samples that are like one, or like each other."""

    register: Register
    """What the file says of them."""
    places: npt.NDArray[np.int64]
    """(n,) in the dataset."""
    similarity: npt.NDArray[np.float32]
    """(n,) cosines."""

    def items(self) -> Items[Similar]:
        """All of them."""
        return Items(self.similar, range(len(self.places)))

    def similar(self, at: int) -> Similar:
        """One of them."""
        return Similar(self.register.sample(int(self.places[at])), float(self.similarity[at]))


@dataclass(frozen=True, slots=True, eq=False)
class Grouped:
    """Groups of samples, one run of `members` each; leaks first, then the doubtful labels."""

    register: Register
    """What the file says of the samples."""
    members: npt.NDArray[np.int64]
    """(m,) places in the dataset, group by group."""
    similarity: npt.NDArray[np.float32]
    """(m,) of each to the one most like it."""
    begins: npt.NDArray[np.int64]
    """(g,) where each group begins among the members, in the order in which they are told."""
    ends: npt.NDArray[np.int64]
    """(g,) where it ends."""
    least: npt.NDArray[np.float32]
    """(g,) similarity of the member least like the others."""
    exact: npt.NDArray[np.bool_]
    """(g,) whether all are the same to the bit."""
    leaks: npt.NDArray[np.bool_]
    """(g,) whether they are in several splits."""
    labels_differ: npt.NDArray[np.bool_]
    """(g,) whether they have several labels."""

    @classmethod
    def of(
        cls, groups: Groups, first: npt.NDArray[np.int64], register: Register, *, only_leaks: bool
    ) -> Grouped:
        """Groups in the order in which they are told; `first` is the first row of the same bits."""
        members, begins = groups.runs()
        similarity = groups.similarity[members]
        codes = register.codes[members]
        # Of samples in no split the lowest code is one above all, so that it is less than none.
        above = codes.dtype.type(len(register.splits))
        lowest = _runs(np.minimum, np.where(codes == NO_SPLIT, above, codes), begins)
        leaks = lowest < _runs(np.maximum, codes, begins)
        labels = register.labels
        differ = np.zeros(len(begins), bool)
        if labels is not None and labels.ndim == 1:
            differ = _vary(labels[members], begins)
        least = _runs(np.minimum, similarity, begins)
        order = np.lexsort((-least, ~differ, ~leaks))  # stable: the first member breaks ties
        if only_leaks:
            order = order[leaks[order]]
        ends = np.append(begins[1:], len(members))
        exact = ~_vary(first[members], begins)
        return cls(
            register, members, similarity, begins[order], ends[order], least[order], exact[order],
            leaks[order], differ[order],
        )  # fmt: skip

    @property
    def surplus(self) -> int:
        """Members that could go, so that one of each group is left."""
        return int((self.ends - self.begins).sum()) - len(self.begins)

    def items(self) -> Items[Group]:
        """All groups."""
        return Items(self.group, range(len(self.begins)))

    def group(self, at: int) -> Group:
        """One group."""
        run = slice(int(self.begins[at]), int(self.ends[at]))
        places = self.members[run]
        codes, where = np.unique(self.register.codes[places], return_index=True)
        splits = [code for code in codes[np.argsort(where)].tolist() if code != NO_SPLIT]
        return Group(
            members=Alike(self.register, places, self.similarity[run]).items(),
            exact=bool(self.exact[at]),
            similarity=float(self.least[at]),
            splits=tuple(self.register.splits[code] for code in splits),
            labels_differ=bool(self.labels_differ[at]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Suspected:
    """Samples whose neighbours are of another class."""

    places: npt.NDArray[np.int64]
    """(n,) in the dataset."""
    said: npt.NDArray[np.int64]
    """(n,) the class number that most neighbours have."""
    share: npt.NDArray[np.float64]
    """(n,) of the votes for it."""
    given: npt.NDArray[np.float64]
    """(n,) of the votes for the sample's own."""
    neighbours: npt.NDArray[np.integer]
    """(n, k) places, the most similar first; -1 where there are fewer."""

    @classmethod
    def sorted(cls, parts: Iterable[Suspected], register: Register, k: int) -> Suspected:
        """All that some searches found, the most suspicious first."""
        none = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0)
        found = [cls(*none, np.zeros((0, k), np.int32)), *parts]
        columns = {
            field.name: np.concatenate([getattr(part, field.name) for part in found])
            for field in fields(cls)
        }
        del found
        score = columns["share"] - columns["given"]
        order = np.lexsort((register.numbers(columns["places"]), -score))
        for name in columns:
            columns[name] = columns[name][order]  # one after the other: one copy at a time
        return cls(**columns)

    def items(self, register: Register) -> Items[Suspect]:
        """All of them, with what the file says of them."""
        return Items(partial(self.suspect, register), range(len(self.places)))

    def suspect(self, register: Register, at: int) -> Suspect:
        """One of them."""
        said, near = int(self.said[at]), self.neighbours[at]
        return Suspect(
            register.sample(int(self.places[at])),
            said,
            class_name(register.label_names, said),
            float(self.share[at]),
            float(self.given[at]),
            tuple(register.numbers(near[near >= 0]).tolist()),
        )


def _runs(
    reduce: np.ufunc, values: npt.NDArray[Any], begins: npt.NDArray[np.int64]
) -> npt.NDArray[Any]:
    """One value of each run."""
    found: npt.NDArray[Any] = reduce.reduceat(values, begins) if len(begins) else values[:0]
    return found


def _vary(values: npt.NDArray[Any], begins: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether the values of each run differ."""
    found: npt.NDArray[np.bool_] = _runs(np.minimum, values, begins) != _runs(
        np.maximum, values, begins
    )
    return found
