"""A probe whose features do not fit in memory: the same minimum, block by block from the file.

    one pass       mean and deviation of every feature, and whether all is finite
    in memory      as many random samples as fit: every C goes most of its way down on them
    more passes    every C at once goes the rest, with what it knows of the curvature
    the best C     by the accuracy on samples that were held back; then with those as well

What is sought is what scikit-learn seeks: mean log-loss, and half the squared weights over C · N.
L-BFGS over whole passes needs no step size, and minds no order of the samples in the file, where
stochastic steps need both; that it begins near the minimum makes the passes few.

The invariant: memory is bounded by the caller's figure, whatever the number of samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from celeiro.errors import OptionError
from celeiro.features.probing.descent import Descent
from celeiro.features.probing.learned import Learned, Score, at_the_edge, best
from celeiro.features.probing.parts import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from celeiro.features.probing.parts import Parts
    from celeiro.features.vectors import Vectors

# No slope of the mean loss is steeper: where C is chosen, and in the end. scikit-learn goes on to
# 1e-4, which took 61 passes over 22,500 samples of 640 features, and was right as often.
_ROUGHLY, _TOLERANCE = 1e-3, 3e-4
_MOST_IN_MEMORY = 150
_MOST_PASSES = 40
# Pairs that tell the curvature: as many as scikit-learn keeps, fewer where weights are large.
_MOST_PAIRS, _LEAST_PAIRS = 10, 3
# Held back for the choice of C.
_HELD_SHARE, _MOST_HELD = 0.1, 50_000
_LEAST_ROWS = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """How memory is shared out."""

    block: int
    """Samples that are gone through together."""
    sample: int
    """Samples that are held in memory, as stored."""
    pairs: int
    """That each descent keeps."""


def plan(*, memory: int, dim: int, stored: int, columns: int, grid: int) -> Plan:
    """Share `memory` bytes out; OptionError where not even the weights have room.

    Parameters
    ----------
    stored
        Bytes of a sample in the file.
    columns
        Of weights: one a class, or one for two classes.
    """
    weights = (dim + 1) * columns * grid
    for pairs in range(_MOST_PAIRS, _LEAST_PAIRS - 1, -1):
        # In float64 the point, the best one, gradients and the way; in float32 pairs and a copy.
        fixed = weights * (6 * 8 + 2 * 4 * pairs + 2 * 4)
        if fixed <= memory // 2:
            break
    else:
        raise OptionError(
            f"memory: {memory:,} bytes of it are left for learning, and the weights of {grid} "
            f"values of C for {columns:,} classes of {dim:,} features want {2 * fixed:,}. Give "
            f"{2 * fixed - memory:,} more, or fewer values of C."
        )
    a_row = dim * 4 + 5 * stored + columns * grid * 12
    return Plan(
        block=max(_LEAST_ROWS, min(8192, memory // 8 // a_row)),
        sample=max(4 * _LEAST_ROWS, memory // 4 // stored),
        pairs=pairs,
    )


def learn(
    vectors: Vectors,
    parts: Parts,
    *,
    grid: tuple[float, ...],
    memory: int,
    seed: int,
    told: Callable[[int, int], None],
) -> Learned:
    """Choose C and learn from all of the training part."""
    count = len(parts.classes)
    columns = count if count > 2 else 1
    shares = plan(
        memory=memory, dim=vectors.dim, stored=vectors.stored_bytes, columns=columns,
        grid=len(grid),
    )  # fmt: skip
    held = _held(parts, seed) if len(grid) > 1 and parts.val is None else None
    fit = parts.train if held is None else _without(parts.train, held)
    scaler = _scaler(vectors, parts.train.rows, shares.block, told)
    course = _Course(vectors, Objective(scaler, columns, shares.block), shares, told)
    descents = [Descent(np.zeros((vectors.dim + 1, columns)), kept=shares.pairs) for _ in grid]
    course.descend(descents, grid, fit, np.random.default_rng(seed))
    chosen, chosen_on = grid[0], "nothing: there was one C"
    scores: tuple[Score, ...] = ()
    judged = parts.val or held
    if judged is not None and len(grid) > 1:
        scores = course.judge(descents, grid, judged)
        chosen, chosen_on = best(scores), judged.name
    descent = descents[grid.index(chosen)]
    descents.clear()  # the others' memory
    ended = course.finish([descent], (chosen,), parts.train, _TOLERANCE)
    model = _model(scaler, descent.at, parts.classes, chosen, course.passes)
    notes = at_the_edge(chosen, grid)
    if not ended:
        notes += (f"C {chosen:g}: the solver was not done after {course.passes} passes",)
    return Learned(model, chosen, scores, chosen_on, course.passes, notes)


class _Course:
    """What is done with descents and samples, one thing after the other."""

    def __init__(
        self, vectors: Vectors, objective: Objective, shares: Plan,
        told: Callable[[int, int], None],
    ) -> None:  # fmt: skip
        self.passes = 1
        """Times that the file was gone through; the first was for means and deviations."""
        self._vectors = vectors
        self._objective = objective
        self._shares = shares
        self._told = told

    def descend(
        self, descents: Sequence[Descent], grid: Sequence[float], part: Part,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        """Go down, about, on a sample in memory, and then on all of `part`."""
        size = self._shares.sample
        if size < len(part.rows):
            at = np.sort(rng.choice(len(part.rows), size, replace=False))
            sample = self._held(part.rows[at], part.codes[at])
            self._go(descents, grid, sample, len(part.rows), _MOST_IN_MEMORY, _ROUGHLY)
            del sample
            self.finish(descents, grid, part, _ROUGHLY)
        else:
            sample = self._held(part.rows, part.codes)
            self.passes += 1
            self._go(descents, grid, sample, len(part.rows), _MOST_IN_MEMORY, _ROUGHLY)

    def finish(
        self, descents: Sequence[Descent], grid: Sequence[float], part: Part, tolerance: float
    ) -> bool:
        """Go down on all of `part`, from the file; whether that came to an end."""
        blocks = _InFile(self._vectors, part, self._shares.block, self._told)
        ended = self._go(descents, grid, blocks, len(part.rows), _MOST_PASSES, tolerance)
        self.passes += blocks.passes
        return ended

    def judge(
        self, descents: Sequence[Descent], grid: Sequence[float], part: Part
    ) -> tuple[Score, ...]:
        """The accuracy of each on other samples."""
        right = np.zeros(len(descents), np.int64)
        blocks = _InFile(self._vectors, part, self._shares.block, self._told)
        weights = [descent.at for descent in descents]
        for values, codes in blocks:
            right += self._objective.right(values, codes, weights)
        return tuple(
            Score(C, float(count) / len(part.rows)) for C, count in zip(grid, right, strict=True)
        )

    def _go(
        self, descents: Sequence[Descent], grid: Sequence[float], blocks: Blocks, count: int,
        most: int, tolerance: float,
    ) -> bool:  # fmt: skip
        """All descents together, in so many passes at most; whether each is done."""
        for descent in descents:
            descent.go_on()
        going = list(zip(descents, grid, strict=True))
        for _ in range(most):
            penalties = [1 / (C * count) for _, C in going]
            points = [descent.point for descent, _ in going]
            found = self._objective(blocks, points, penalties)
            for (descent, _), (loss, gradient) in zip(going, found, strict=True):
                descent.tell(loss, gradient, tolerance=tolerance)
            going = [pair for pair in going if not pair[0].done]
            if not going:
                return True
        return False

    def _held(self, rows: npt.NDArray[np.int64], codes: npt.NDArray[np.int64]) -> _InMemory:
        """Samples as stored, in memory."""
        values: npt.NDArray[Any] = np.empty((len(rows), self._vectors.dim), self._vectors.ds.dtype)
        per = self._shares.block
        for at in range(0, len(rows), per):
            values[at : at + per] = self._vectors.stored(rows[at : at + per])
            self._told(len(rows[at : at + per]), len(rows[at : at + per]) * values.strides[0])
        return _InMemory(values, codes, per)


# Samples


class Blocks(Protocol):
    """Samples as stored, and their classes, block by block; as often as one asks."""

    def __iter__(self) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]:
        """Go through them once."""
        ...


class _InMemory:
    """Samples that are held."""

    def __init__(self, values: npt.NDArray[Any], codes: npt.NDArray[np.int64], per: int) -> None:
        self._values = values
        self._codes = codes
        self._per = per

    def __iter__(self) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]:
        for at in range(0, len(self._codes), self._per):
            yield self._values[at : at + self._per], self._codes[at : at + self._per]


class _InFile:
    """Samples that are read each time."""

    def __init__(
        self, vectors: Vectors, part: Part, per: int, told: Callable[[int, int], None]
    ) -> None:
        self.passes = 0
        """Times that they were gone through."""
        self._vectors = vectors
        self._part = part
        self._per = per
        self._told = told

    def __iter__(self) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]:
        self.passes += 1
        for at, block in self._vectors.blocks(self._part.rows, self._per):
            yield block, self._part.codes[at : at + len(block)]
            self._told(len(block), block.nbytes)


def _held(parts: Parts, seed: int) -> Part:
    """Training samples that C is chosen on, some of every class."""
    from sklearn.model_selection import train_test_split

    train = parts.train
    classes = len(parts.classes)
    size = min(max(_MOST_HELD, classes), max(classes, round(_HELD_SHARE * len(train.rows))))
    _, at = train_test_split(
        np.arange(len(train.rows)), test_size=size, stratify=train.codes, random_state=seed
    )
    at.sort()
    return Part(f"{len(at):,} samples of {train.name}", train.rows[at], train.codes[at])


def _without(part: Part, held: Part) -> Part:
    rest = ~np.isin(part.rows, held.rows)
    return Part(part.name, part.rows[rest], part.codes[rest])


# What is sought


class Objective:
    """Mean log-loss and its gradient, for several sets of weights in one pass.

    Parameters
    ----------
    scaler
        Fitted; samples are standardised by it.
    columns
        Of weights: one a class, or one for two classes.
    block
        Samples of a block, at most.
    """

    def __init__(self, scaler: Any, columns: int, block: int) -> None:
        self._mean = scaler.mean_.astype(np.float32)
        self._factor = (1 / scaler.scale_).astype(np.float32)
        self._columns = columns
        self._room = np.empty((block, len(self._mean)), np.float32)

    def __call__(
        self, blocks: Blocks, points: Sequence[npt.NDArray[np.float64]],
        penalties: Sequence[float],
    ) -> list[tuple[float, npt.NDArray[np.float64]]]:  # fmt: skip
        """Loss and gradient at each of `points`, (D + 1, columns), the last row the intercepts."""
        weights, intercepts = _side_by_side(points)
        slopes = np.zeros((len(weights) + 1, weights.shape[1]))
        losses = np.zeros(len(points))
        count = 0
        for values, codes in blocks:
            x = self._standardised(values)
            z = x @ weights
            z += intercepts
            losses += _residuals(z.reshape(len(z), len(points), self._columns), codes)
            slopes[:-1] += x.T @ z
            slopes[-1] += z.sum(0, dtype=np.float64)
            count += len(z)
        slopes /= count
        each = np.split(slopes, len(points), axis=1)
        return [
            _penalised(loss / count, slope, point, penalty)
            for loss, slope, point, penalty in zip(losses, each, points, penalties, strict=True)
        ]

    def right(
        self, values: npt.NDArray[Any], codes: npt.NDArray[np.int64],
        points: Sequence[npt.NDArray[np.float64]],
    ) -> npt.NDArray[np.int64]:  # fmt: skip
        """How many samples of a block each of `points` takes for what they are."""
        weights, intercepts = _side_by_side(points)
        z = self._standardised(values) @ weights + intercepts
        z = z.reshape(len(z), len(points), self._columns)
        told = (z[..., 0] > 0) if self._columns == 1 else z.argmax(-1)
        found: npt.NDArray[np.int64] = (told == codes[:, None]).sum(0)
        return found

    def _standardised(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        x = self._room[: len(values)]
        np.subtract(values, self._mean, out=x, casting="same_kind")
        x *= self._factor
        return x


def _side_by_side(
    points: Sequence[npt.NDArray[np.float64]],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """All weights in one matrix, so that one product serves them all; and all intercepts."""
    weights = np.concatenate([point[:-1] for point in points], axis=1, dtype=np.float32)
    return weights, np.concatenate([point[-1] for point in points], dtype=np.float32)


def _residuals(z: npt.NDArray[np.float32], codes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Sum of log-losses of scores z, (samples, points, columns); z becomes what they are off by."""
    rows = np.arange(len(z))
    if z.shape[2] == 1:
        scores = z[..., 0]
        true = codes[:, None].astype(np.float32)
        losses = np.logaddexp(0, scores) - true * scores
        np.subtract(_expit(scores), true, out=scores)
        return _sums(losses)
    z -= z.max(2, keepdims=True)
    losses = -z[rows, :, codes]
    np.exp(z, out=z)
    sums = z.sum(2, keepdims=True)
    losses += np.log(sums[..., 0])
    z /= sums
    z[rows, :, codes] -= 1
    return _sums(losses)


def _sums(losses: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = losses.sum(0, dtype=np.float64)
    return found


def _expit(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    from scipy.special import expit

    found: npt.NDArray[np.float32] = expit(scores)
    return found


def _penalised(
    loss: float, slope: npt.NDArray[np.float64], point: npt.NDArray[np.float64], penalty: float
) -> tuple[float, npt.NDArray[np.float64]]:
    """With half the squared weights; intercepts are free."""
    weights = point[:-1]
    loss += penalty / 2 * float(np.vdot(weights, weights))
    slope = slope.copy()
    slope[:-1] += penalty * weights
    return float(loss), slope


# From and to scikit-learn


def _scaler(
    vectors: Vectors, rows: npt.NDArray[np.int64], block: int, told: Callable[[int, int], None]
) -> Any:
    """Mean and deviation of every feature, in one pass; SampleError where one is not finite."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    # It takes memory of its own, in float64.
    for at, values in vectors.blocks(rows, max(_LEAST_ROWS, block // 4)):
        scaler.partial_fit(vectors.checked(values, rows[at:]))
        told(len(values), values.nbytes)
    return scaler


def _model(
    scaler: Any, point: npt.NDArray[np.float64], classes: npt.NDArray[np.int64], C: float,
    passes: int,
) -> Any:  # fmt: skip
    """As if scikit-learn had fitted it."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = LogisticRegression(C=C)
    model.classes_ = classes
    model.coef_ = np.ascontiguousarray(point[:-1].T, np.float32)
    model.intercept_ = point[-1].astype(np.float32)
    model.n_features_in_ = len(point) - 1
    model.n_iter_ = np.array([passes], np.int32)
    return make_pipeline(scaler, model)
