"""What `celeiro.neighbours`, `celeiro.duplicates` and `celeiro.suspects` give.

Where there may be as many items as samples, they stand in sequences (items.py) that make each when
it is asked for. Texts of a file may hold anything; `to_json` gives them as what can be printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celeiro.care.checking.verdict import printed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample, and what the file says of it."""

    number: int
    """In the file, 0 ≤ number < N."""
    key: str | None = None
    """Where it comes from."""
    split: str | None = None
    """The split that it is in."""
    label: int | float | None = None
    """Its class number or target."""
    label_name: str | None = None
    """The name of its class."""

    @property
    def name(self) -> str:
        """Its key, or else its number, as text that can be printed."""
        return f"sample {self.number:,}" if self.key is None else printed(self.key)

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return {
            "number": self.number,
            "key": None if self.key is None else printed(self.key),
            "split": None if self.split is None else printed(self.split),
            "label": self.label,
            "label_name": None if self.label_name is None else printed(self.label_name),
        }


@dataclass(frozen=True, slots=True)
class Similar:
    """A sample and how similar it is to another."""

    sample: Sample
    """The sample."""
    similarity: float
    """The cosine of the angle between the two, -1 … 1; 1 for the same direction."""

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return {**self.sample.to_json(), "similarity": round(self.similarity, 6)}


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The samples most similar to one, or to a vector."""

    path: Path
    """The file."""
    of: Sample | None
    """Whose neighbours they are; None of a vector that is not in the file."""
    found: Sequence[Similar]
    """The most similar first; of equal ones the lower number."""
    samples: int
    """How many were compared with it."""
    seconds: float
    """Time that it took."""

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON."""
        told = self.to_json_stream()
        return told | {"found": list(told["found"])}

    def to_json_stream(self) -> dict[str, Any]:
        """The same, its found samples in an iterator, which makes one after the other."""
        return {
            "path": str(self.path),
            "of": None if self.of is None else self.of.to_json(),
            "found": (each.to_json() for each in self.found),
            "samples": self.samples,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, slots=True)
class Group:
    """Samples that are the same, or nearly so: each is like another one of them."""

    members: Sequence[Similar]
    """In the order of the file, each with its similarity to the one that is most like it."""
    exact: bool
    """Whether the features of all of them are the same to the last bit."""

    similarity: float
    """That of the member which is least like any other of them."""
    splits: tuple[str, ...]
    """The splits that they are in, in the order of the members."""
    labels_differ: bool
    """Whether they are of different classes: at least one label is wrong, or ambiguous."""

    @property
    def is_leak(self) -> bool:
        """Whether they are in several splits, so that what is tested was learned."""
        return len(self.splits) > 1

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON."""
        told = self.to_json_stream()
        return told | {"members": list(told["members"])}

    def to_json_stream(self) -> dict[str, Any]:
        """The same, its members in an iterator, which makes one after the other."""
        return {
            "exact": self.exact,
            "similarity": round(self.similarity, 6),
            "leak": self.is_leak,
            "splits": [printed(split) for split in self.splits],
            "labels_differ": self.labels_differ,
            "members": (each.to_json() for each in self.members),
        }


@dataclass(frozen=True, slots=True)
class Duplicates:
    """The result of `celeiro.duplicates`."""

    path: Path
    """The file."""
    samples: int
    """How many it holds."""
    threshold: float
    """Cosine from which two samples count as nearly the same."""
    groups: Sequence[Group]
    """Leaks first, then those whose labels differ, then the most similar."""
    exact: int
    """Groups whose features are the same to the last bit."""
    leaks: int
    """Groups with members in several splits."""
    surplus: int
    """Samples that could go, so that one of each group is left."""
    exact_search: bool
    """Whether every pair was compared; if not, a few near duplicates may be missing."""
    notes: tuple[str, ...]
    """What is worth knowing."""
    seconds: float
    """Time that it took."""

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON."""
        told = self.to_json_stream()
        return told | {"groups": [group.to_json() for group in self.groups]}

    def to_json_stream(self) -> dict[str, Any]:
        """The same, its groups in an iterator, and the members of each in another."""
        return {
            "path": str(self.path),
            "samples": self.samples,
            "threshold": self.threshold,
            "leaks": self.leaks,
            "surplus": self.surplus,
            "exact_search": self.exact_search,
            "groups": (group.to_json_stream() for group in self.groups),
            "notes": list(self.notes),
            "seconds": self.seconds,
        }


@dataclass(frozen=True, slots=True)
class Suspect:
    """A sample whose neighbours are of another class than its label says."""

    sample: Sample
    """The sample, with the label that it has."""
    said: int
    """The class number that most of its neighbours have."""
    said_name: str | None
    """The name of that class."""
    share: float
    """The share of its neighbours that have it, weighted by similarity, 0 … 1."""
    given: float
    """The same of the label that the sample has."""
    neighbours: tuple[int, ...]
    """Numbers of the neighbours, the most similar first."""

    @property
    def score(self) -> float:
        """`share` – `given`: 1 where all neighbours agree on another class, near 0 in doubt."""
        return self.share - self.given

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return {
            **self.sample.to_json(),
            "said": self.said,
            "said_name": None if self.said_name is None else printed(self.said_name),
            "score": round(self.score, 6),
            "share": round(self.share, 6),
            "given": round(self.given, 6),
            "neighbours": list(self.neighbours),
        }


@dataclass(frozen=True, slots=True)
class Suspects:
    """The result of `celeiro.suspects`."""

    path: Path
    """The file."""
    samples: int
    """How many it holds."""
    k: int
    """Neighbours that were asked of each."""
    found: Sequence[Suspect]
    """The most suspicious first."""
    exact_search: bool
    """Whether every pair was compared; if not, a few neighbours may be others."""
    notes: tuple[str, ...]
    """What is worth knowing."""
    seconds: float
    """Time that it took."""

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON."""
        told = self.to_json_stream()
        return told | {"found": list(told["found"])}

    def to_json_stream(self) -> dict[str, Any]:
        """The same, its suspects in an iterator, which makes one after the other."""
        return {
            "path": str(self.path),
            "samples": self.samples,
            "k": self.k,
            "exact_search": self.exact_search,
            "found": (each.to_json() for each in self.found),
            "notes": list(self.notes),
            "seconds": self.seconds,
        }
