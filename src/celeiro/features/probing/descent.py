"""L-BFGS that is told losses and gradients, so that many minima are sought in one pass.

    point ─(a pass over the samples, for all descents at once)─> loss, gradient ─> next point

The invariant: the loss at `at` never rises within one problem.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

# Armijo: so much of the promised fall must come; below the noise of float32 sums all is accepted.
_FALL = 1e-4
_NOISE = 1e-7
# A step this short finds no better point.
_SHORTEST = 1e-8


class Descent:
    """The way down to one minimum.

    Parameters
    ----------
    start
        Where to begin.
    kept
        Pairs of steps and changes of the gradient that tell the curvature.
    """

    def __init__(self, start: npt.NDArray[np.float64], *, kept: int) -> None:
        self.at = start
        """The best point yet."""
        self.point = start
        """Where loss and gradient are wanted."""
        self.done = False
        """Whether nothing better is to be found."""
        self._kept = kept
        self._pairs: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], float]] = []
        self._loss = np.inf
        self._gradient: npt.NDArray[np.float64] | None = None
        self._way = np.zeros_like(start)
        self._step = 1.0

    def go_on(self) -> None:
        """Begin again from here with a problem much like the last: what curves it is kept."""
        self.point = self.at
        self.done = False
        self._gradient = None

    def tell(self, loss: float, gradient: npt.NDArray[np.float64], *, tolerance: float) -> None:
        """Take what was found at `point`; `done` once no slope is steeper than `tolerance`."""
        if self._gradient is None:
            self._arrive(loss, gradient, tolerance)
            return
        slope = float(np.vdot(self._gradient, self._way))
        wanted = self._loss + _FALL * self._step * slope + _NOISE * abs(self._loss)
        if not loss <= wanted:  # NaN as well
            self._shorten(loss, slope)
            return
        self._remember(gradient)
        self._arrive(loss, gradient, tolerance)

    def _arrive(self, loss: float, gradient: npt.NDArray[np.float64], tolerance: float) -> None:
        self.at, self._loss, self._gradient = self.point, loss, gradient
        self.done = bool(np.abs(gradient).max() <= tolerance)
        if self.done:
            return
        self._way = self._downhill(gradient)
        self._step = 1.0 if self._pairs else min(1.0, 1 / float(np.linalg.norm(gradient)))
        self.point = self.at + self._step * self._way

    def _shorten(self, loss: float, slope: float) -> None:
        """Go less far: to the lowest point of the parabola through what is known."""
        rise = loss - self._loss - self._step * slope
        best = -slope * self._step / (2 * rise) if np.isfinite(rise) and rise > 0 else 0.1
        self._step *= float(np.clip(best, 0.1, 0.5))
        if self._step < _SHORTEST:
            self.done = True
            return
        self.point = self.at + self._step * self._way

    def _remember(self, gradient: npt.NDArray[np.float64]) -> None:
        assert self._gradient is not None
        moved = self.point - self.at
        change = gradient - self._gradient
        curved = float(np.vdot(moved, change))
        if curved > 1e-12 * float(np.vdot(change, change)):
            self._pairs.append((moved.astype(np.float32), change.astype(np.float32), curved))
            del self._pairs[: -self._kept]

    def _downhill(self, gradient: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Nocedal's two loops."""
        way = -gradient
        shares = []
        for moved, change, curved in reversed(self._pairs):
            share = float(np.vdot(moved, way)) / curved
            way -= share * change
            shares.append(share)
        if self._pairs:
            _, change, curved = self._pairs[-1]
            way *= curved / float(np.vdot(change, change))
        for (moved, change, curved), share in zip(self._pairs, reversed(shares), strict=True):
            way += (share - float(np.vdot(change, way)) / curved) * moved
        return way
