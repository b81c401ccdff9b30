"""What a probe found: how often it is right, class by class, and what it takes for what."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from celeiro.features.probing.learned import Score

RANK = 5
"""The other rank that is told."""


@dataclass(frozen=True, slots=True)
class ClassReport:
    """How well one class is told from the others."""

    name: str
    """Its name, or its number where it has none."""
    precision: float
    """Of the samples that were taken for it, how many are of it: 0 to 1."""
    recall: float
    """Of its samples, how many were found: 0 to 1."""
    f1: float
    """Harmonic mean of both; 0 where both are."""
    support: int
    """Samples of it that were tested on."""


@dataclass(frozen=True, slots=True)
class Confused:
    """One class taken for another."""

    true: str
    """What the samples are."""
    taken_for: str
    """What they were taken for."""
    count: int
    """How many."""
    share: float
    """Of all samples of `true` that were tested on: 0 to 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """The result of `celeiro.probe`."""

    path: Path
    """The file."""
    key: str
    """Name of the features' data set."""
    dim: int
    """Features of a sample."""
    trained_on: str
    """In words: ``split train``."""
    tested_on: str
    """In words: ``split test``."""
    train_samples: int
    """How many were learned from."""
    test_samples: int
    """How many were tested on."""
    C: float
    """Inverse strength of the regularisation, as scikit-learn has it."""
    chosen_on: str
    """What C was chosen on, in words; never on what is tested on."""
    scores: tuple[Score, ...]
    """Accuracy of each C where it was chosen; none where there was no choice."""
    passes: int
    """Times that the file was gone through to learn; 0 where all was in memory."""
    rank1: float
    """Share of the tested samples whose class came first: 0 to 1."""
    rank5: float
    """Share of them whose class was among the first five."""
    classes: tuple[ClassReport, ...]
    """One for each class, in the order of their numbers."""
    confusion: npt.NDArray[np.int64]
    """(K, K) counts: rows what samples are, columns what they were taken for."""
    tested: npt.NDArray[np.int64]
    """Numbers, in the dataset, of the samples that were tested on."""
    predicted: npt.NDArray[np.int64]
    """The class number that each of them was taken for."""
    model: Any
    """A `sklearn.pipeline.Pipeline`, which takes features as they are in the file."""
    seconds: float
    """Time that it took."""
    notes: tuple[str, ...]
    """What is worth knowing and no fault."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of rows and columns of `confusion`."""
        return tuple(each.name for each in self.classes)

    def most_confused(self, most: int = 20) -> list[Confused]:
        """Pairs of classes, those that are taken for each other most often first."""
        errors = self.confusion.copy()
        np.fill_diagonal(errors, 0)
        order = np.argsort(-errors, axis=None, kind="stable")[:most]
        pairs = zip(*np.unravel_index(order, errors.shape), strict=True)
        return [
            Confused(
                self.names[true], self.names[other], int(errors[true, other]),
                float(errors[true, other] / self.confusion[true].sum()),
            )
            for true, other in pairs
            if errors[true, other]
        ]  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """All of it but the classifier and the single samples, as JSON."""
        left_out = ("model", "tested", "predicted")
        told = {name: getattr(self, name) for name in self.__slots__ if name not in left_out}
        return told | {
            "path": str(self.path),
            "scores": [asdict(score) for score in self.scores],
            "classes": [asdict(each) for each in self.classes],
            "confusion": self.confusion.tolist(),
            "most_confused": [asdict(pair) for pair in self.most_confused()],
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        """One line."""
        return (
            f"<celeiro.Probe {self.path.name!r} {len(self.classes)} classes, rank-1 "
            f"{100 * self.rank1:.2f} % of {self.test_samples:,}>"
        )


def class_reports(
    confusion: npt.NDArray[np.int64], names: tuple[str, ...]
) -> tuple[ClassReport, ...]:
    """Precision, recall and F1 of each class; 0 where nothing is divided by nothing.

    Examples
    --------
    >>> cat, dog = class_reports(np.array([[3, 1], [0, 4]]), ("cat", "dog"))
    >>> cat.precision, cat.recall, dog.precision, dog.recall
    (1.0, 0.75, 0.8, 1.0)
    """
    found = np.diagonal(confusion)
    taken, support = confusion.sum(0), confusion.sum(1)
    counts = zip(names, found.tolist(), taken.tolist(), support.tolist(), strict=True)
    return tuple(
        ClassReport(name, _share(hit, said), _share(hit, own), _share(2 * hit, said + own), own)
        for name, hit, said, own in counts
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
