"""What both ways of learning give: a classifier of scikit-learn's, and how C was chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Score:
    """How well one strength of regularisation did on the samples that it was chosen on."""

    C: float
    """Inverse of the strength, as scikit-learn has it: small is strong."""
    accuracy: float
    """0 to 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A classifier, and how it came to be."""

    model: Any
    """A `sklearn.pipeline.Pipeline` of `StandardScaler` and `LogisticRegression`."""
    C: float
    """The strength that was chosen."""
    scores: tuple[Score, ...]
    """One for each that was tried; none where there was no choice."""
    chosen_on: str
    """In words: ``3 folds of split train``."""
    passes: int = 0
    """Times that the file was gone through; 0 where all was in memory."""
    notes: tuple[str, ...] = ()
    """What is worth knowing and no fault."""


def best(scores: tuple[Score, ...]) -> float:
    """The C of the best score; of equals the strongest regularisation.

    Examples
    --------
    >>> best((Score(0.1, 0.5), Score(1.0, 0.9), Score(10.0, 0.9)))
    1.0
    """
    return min(scores, key=lambda score: (-score.accuracy, score.C)).C


def at_the_edge(chosen: float, grid: tuple[float, ...]) -> tuple[str, ...]:
    """A note where a better C may lie beyond those that were tried."""
    if len(grid) < 3 or chosen not in (min(grid), max(grid)):
        return ()
    most, more = ("smallest", "smaller") if chosen == min(grid) else ("largest", "larger")
    return (f"C {chosen:g} is the {most} that was tried: try {more} ones",)
