"""A probe whose features fit in memory: scikit-learn's own solver, as one would call it by hand.

    folds of train ─> accuracy of each C ─> the best, on all of train
    or val         ─> accuracy of each C, learned from all of train ─> the best of them

The invariant: the result is that of `StandardScaler` and `LogisticRegression(C, max_iter=1000)`
fitted on the training part; nothing that it is judged by was standardised with itself.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.features.probing.learned import Learned, Score, at_the_edge, best

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from celeiro.features.probing.parts import Parts
    from celeiro.features.vectors import Vectors

FOLDS = 3
"""As many as in Rosebrock's book."""

MOST_ITERATIONS = 1000
"""Of L-BFGS; scikit-learn's own 100 are few for features of a network."""


def needs(count: int, dim: int, classes: int, judged: int = 0) -> int:
    """Bytes that learning takes of so many samples, and choosing C on so many others.

    All features, a copy of a fold, and what standardising makes of one in float64; what is judged,
    and its copy; what the solver keeps.
    """
    columns = classes if classes > 2 else 1
    return (12 * count + 8 * judged) * dim + 16 * count * columns + 30 * 8 * dim * columns


def work(parts: Parts, grid: tuple[float, ...]) -> int:
    """Samples that will be gone through, reading and testing not counted."""
    count = len(parts.train.rows)
    if len(grid) == 1:
        return count
    if parts.val is not None:
        return count * len(grid)
    return count * len(grid) * (FOLDS - 1) + count


def learn(
    vectors: Vectors,
    parts: Parts,
    *,
    grid: tuple[float, ...],
    seed: int,
    told: Callable[[int, int], None],
) -> Learned:
    """Choose C and learn from all of the training part."""
    features = vectors.read(parts.train.rows)
    told(len(features), len(features) * vectors.stored_bytes)
    labels = parts.classes[parts.train.codes]
    scores: tuple[Score, ...] = ()
    model: Any = None
    chosen = grid[0]
    chosen_on = "nothing: there was one C"
    if len(grid) > 1 and parts.val is not None:
        chosen_on = parts.val.name
        scores, models = _on_val(vectors, parts, features, grid, told)
        chosen = best(scores)
        model = models[grid.index(chosen)]
    elif len(grid) > 1:
        chosen_on = f"{FOLDS} folds of {parts.train.name}"
        scores = _on_folds(features, labels, grid, seed, told)
        chosen = best(scores)
    if model is None:
        model = _fit(features, labels, chosen)
        told(len(features), 0)
    notes = at_the_edge(chosen, grid)
    if model[-1].n_iter_.max() >= MOST_ITERATIONS:
        notes += (f"C {chosen:g}: the solver was not done after {MOST_ITERATIONS:,} iterations",)
    return Learned(model, chosen, scores, chosen_on, notes=notes)


def _on_folds(
    features: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], grid: tuple[float, ...],
    seed: int, told: Callable[[int, int], None],
) -> tuple[Score, ...]:  # fmt: skip
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    found = np.zeros((FOLDS, len(grid)))
    for fold, (rest, held) in enumerate(folds.split(np.zeros(len(labels)), labels)):
        models = _fits(features[rest], labels[rest], grid, told)
        judged = features[held]
        found[fold] = [model.score(judged, labels[held]) for model in models]
    return tuple(Score(C, float(mean)) for C, mean in zip(grid, found.mean(0), strict=True))


def _on_val(
    vectors: Vectors, parts: Parts, features: npt.NDArray[np.float32], grid: tuple[float, ...],
    told: Callable[[int, int], None],
) -> tuple[tuple[Score, ...], list[Any]]:  # fmt: skip
    assert parts.val is not None
    judged = vectors.read(parts.val.rows)
    labels = parts.classes[parts.val.codes]
    models = _fits(features, parts.classes[parts.train.codes], grid, told)
    return tuple(
        Score(C, float(model.score(judged, labels))) for C, model in zip(grid, models, strict=True)
    ), models


def _fits(
    features: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], grid: tuple[float, ...],
    told: Callable[[int, int], None],
) -> list[Any]:  # fmt: skip
    """A classifier for each C; `features` are standardised in place."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler(copy=False)
    scaled = scaler.fit_transform(features)
    models = []
    for C in grid:
        models.append(make_pipeline(_copying(scaler), _classifier(scaled, labels, C)))
        told(len(labels), 0)
    return models


def _fit(features: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], C: float) -> Any:
    """A classifier for one C; `features` are standardised in place."""
    return _fits(features, labels, (C,), lambda _count, _size: None)[0]


def _copying(scaler: Any) -> Any:
    """The scaler as it is given away: it must not write into what it is shown."""
    return scaler.set_params(copy=True)


def _classifier(scaled: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], C: float) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=C, max_iter=MOST_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told of the chosen one alone
        model.fit(scaled, labels)
    return model
