"""A list of steps, made ready for the samples of one file; what a loader calls.

Neighbouring steps that are known are fused, so that a pixel is touched once:

    Resize, CenterCrop, HorizontalFlip │ ToFloat, Normalize │ ToCHW
    └──────────── window ────────────┘   └───── table ────┘   └ layout: one call of `resample`

The invariant: what is fused has the very bits of one step after the other. And nothing in a chain
changes once it is made, so that many threads use it at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from celeiro.errors import OptionError
from celeiro.feeding.resample import Table, box_needed, nearest, resample, rows_needed
from celeiro.feeding.transforms.compose import flat
from celeiro.feeding.transforms.foreign import Foreign
from celeiro.feeding.transforms.kinds import Batch, Change, Layout, Move, Pictures, Values
from celeiro.feeding.transforms.one_hot import OneHot
from celeiro.feeding.transforms.random_crop import RandomCrop
from celeiro.feeding.window import Window
from celeiro.reading.samples.visiting import Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from celeiro.feeding.transforms.kinds import Arithmetic, Size

__all__ = ["Chain", "Plan"]

_BYTES = np.dtype(np.uint8)


class Plan(NamedTuple):  # rather than a frozen dataclass: made once a sample
    """Everything that happens to one sample, decided before its pixels are there."""

    height: int
    """Of the picture."""
    width: int
    """Of the picture."""
    parts: tuple[Window | Sequence[float], ...]
    """For each part of the chain its window; or the uniforms that it will use."""


class Chain:
    """A list of steps, made ready for the samples of one file.

    Parameters
    ----------
    shape
        Of all samples, (H, W) or (H, W, C); None where they differ.
    channels, dtype
        Of all samples.
    mean, std
        Of each channel, over the file, in units of the values as they are stored.
    classes
        How many labels there are.
    fast
        Let `factor` be more than 1.
    """

    def __init__(
        self,
        steps: Any,
        *,
        shape: tuple[int, ...] | None,
        channels: int,
        dtype: npt.DTypeLike,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        classes: int | None = None,
        fast: bool = False,
    ) -> None:
        pictures = Pictures(
            channels,
            np.dtype(dtype),
            None if mean is None else tuple(map(float, mean)),
            None if std is None else tuple(map(float, std)),
        )
        self.fast = fast
        self._classes = classes
        singles, self._batch = _divided(flat(steps))
        self._parts = _parts(singles, pictures)
        last = self._parts[-1] if self._parts else None
        self.draws: int = last.end if last else 0
        """Uniforms that `plan` wants for each sample."""
        self.batch_draws: int = sum(step.draws for step in self._batch)
        """Uniforms that `finish` wants for each batch."""
        self.chw: bool = last.chw if last else False
        """Whether channels come first in the results."""
        self.pairs: bool = any(getattr(step, "pairs", False) for step in self._batch)
        """Whether samples are mixed two by two: 0 and 1, 2 and 3, … of a batch."""
        self.moves_batch: str | None = next(
            (_name(step) for step in self._batch if not isinstance(step, OneHot)), None
        )
        """The step of a batch that may move pixels, whose masks and boxes `finish` leaves."""
        strangers = [part.step for part in self._parts if isinstance(part, _Strange)]
        self.strange: bool = bool(strangers)
        """Whether a transform is not celeiro's: masks then want `together`, boxes stay behind."""
        self.moves_masks: bool = all(stranger.moves_masks for stranger in strangers)
        """Whether `together` can move a mask through all steps of a sample."""
        after = last.after if last else pictures
        self.dtype: np.dtype[Any] | None = after.dtype if after else None
        """Of the results; None where a stranger's transform decides it."""
        if shape is not None and len(shape) in (2, 3):
            self.plan(shape[0], shape[1], (0.5,) * self.draws)  # what cannot be is said now
        self.shape: tuple[int, ...] | None = self._shape(shape, after)
        """Of every result; None where it is not known, or not always the same."""

    def plan(self, height: int, width: int, u: Sequence[float]) -> Plan:
        """Decide what happens to a picture of this size, by `draws` uniforms."""
        if isinstance(u, np.ndarray):
            u = u.tolist()  # Python's floats: NumPy's take five times as long, one by one
        parts: list[Window | Sequence[float]] = []
        size: Size | None = (height, width)
        for part in self._parts:
            numbers = u[part.start : part.end]
            if size is None or not isinstance(part, _Shows):
                parts.append(numbers)
                if isinstance(part, _Strange):
                    size = None
                continue
            window = part.window(size, numbers)
            parts.append(window)
            size = window.shown
        return Plan(height, width, tuple(parts))

    def rows(self, plan: Plan) -> int:
        """How many rows of the picture are needed, from its top."""
        first = plan.parts[0] if plan.parts else None
        if not isinstance(first, Window):
            return plan.height
        if self.fast and self.factor(plan) > 1:
            # The last pixels of a smaller picture are made of all rows that its box holds.
            top, _, height, _ = first.first.box
            return top + height
        return rows_needed(first)

    def part(self, plan: Plan) -> Part:
        """As much of the picture as will be looked at."""
        first, factor = plan.parts[0] if plan.parts else None, self.factor(plan)
        if not isinstance(first, Window) or factor > 1:
            return Part(self.rows(plan), factor, self.fast)
        top, left, bottom, right = box_needed(first)
        return Part(bottom, factor, self.fast, top, (left, right))

    def factor(self, plan: Plan) -> int:
        """1, 2, 4 or 8: a JPEG may be decoded at 1/factor and still is large enough; 1 if exact."""
        first = plan.parts[0] if self.fast and plan.parts else None
        if not isinstance(first, Window):
            return 1
        window = first.first
        if not window.resized:
            return 1
        (_, _, height, width), (rows, columns) = window.box, window.grid
        possible = (f for f in (8, 4, 2) if height >= f * rows and width >= f * columns)
        return next(possible, 1)

    def apply(
        self,
        image: npt.NDArray[Any],
        plan: Plan,
        out: npt.NDArray[Any] | None = None,
        factor: int = 1,
    ) -> npt.NDArray[Any]:
        """Do what is planned to a picture; the result is `out` where that is given.

        The picture may be cut below `rows(plan)`, and decoded at 1/factor where
        `factor(plan)` says so. It is left as it is.
        """
        return self.together(image, None, plan, out, factor)[0]

    def together(
        self,
        image: npt.NDArray[Any],
        mask: npt.NDArray[Any] | None,
        plan: Plan,
        out: npt.NDArray[Any] | None = None,
        factor: int = 1,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
        """Do it to a picture and its mask: strangers' transforms want both at once."""
        if mask is not None and mask.shape[:2] != (plan.height, plan.width):
            raise OptionError(
                f"a mask of shape {mask.shape}, wanted ({plan.height}, {plan.width}): it must be "
                "as large as its picture"
            )
        bare = image.ndim == 2
        if bare:
            image = image[..., np.newaxis]
            if out is not None and out.ndim == 2:
                out = out[..., np.newaxis]
        last = len(self._parts) - 1
        for i, (part, decided) in enumerate(zip(self._parts, plan.parts, strict=True)):
            into = out if i == last else None
            image, mask = part.apply(image, mask, decided, into, factor)
            factor = 1
        if out is not None and image is not out:
            if out.shape != image.shape:
                raise OptionError(
                    f"a result of shape {image.shape}, wanted {out.shape}: every result of a "
                    "batch must have one shape. End with a step that gives one size"
                )
            out[...] = image
            image = out
        if bare and not self.chw and image.ndim == 3 and image.shape[2] == 1:
            image = image[..., 0]
        return image, mask

    def mask(self, mask: npt.NDArray[Any], plan: Plan) -> npt.NDArray[Any]:
        """Move a mask (H, W) or (H, W, C) as the picture was: nearest pixels, 0 outside."""
        for window in self._windows(plan, "masks: pass picture and mask together"):
            mask = nearest(mask, window)
        return mask

    def boxes(self, boxes: npt.ArrayLike, plan: Plan) -> npt.NDArray[np.float64]:
        """Move boxes (n, 4) of x1, y1, x2, y2 in pixels as the picture was, and clip them.

        One that lies outside becomes one of no area on the border: rows stay beside their labels.
        """
        moved: npt.NDArray[np.float64] = np.array(boxes, dtype=np.float64).reshape(-1, 4)
        for window in self._windows(plan, "boxes: move them in a transform of your own"):
            moved = window.move_boxes(moved)
        return moved

    def finish(
        self, images: npt.NDArray[Any], labels: npt.NDArray[Any] | None, u: Sequence[float]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
        """What is left to be done to a whole batch, by `batch_draws` uniforms; may be in place."""
        if isinstance(u, np.ndarray):
            u = u.tolist()
        start = 0
        for step in self._batch:
            numbers = u[start : start + step.draws]
            start += step.draws
            images, labels = step.batch(
                images, labels, numbers, chw=self.chw, classes=self._classes
            )
        return images, labels

    def _windows(self, plan: Plan, whose: str) -> list[Window]:
        if self.strange:
            raise OptionError(f"a transform that is not celeiro's does not move {whose}")
        return [part for part in plan.parts if isinstance(part, Window)]

    def _shape(
        self, shape: tuple[int, ...] | None, after: Pictures | None
    ) -> tuple[int, ...] | None:
        if after is None:
            return None
        if shape is not None and len(shape) not in (2, 3):
            return shape
        size = None if shape is None else (shape[0], shape[1])
        for part in self._parts:
            size = part.size_after(size)
        if size is None:
            return None
        if self.chw:
            return (after.channels, *size)
        return size if shape is not None and len(shape) == 2 else (*size, after.channels)


def _divided(steps: tuple[Any, ...]) -> tuple[list[Any], list[Batch]]:
    """Steps of one sample, then those of a batch."""
    singles: list[Any] = []
    batch: list[Batch] = []
    for step in steps:
        if isinstance(step, Batch):
            batch.append(step)
        elif batch:
            raise OptionError(
                f"{_name(step)} works on single samples and stands behind {_name(batch[0])}, which "
                "works on batches. Put it before"
            )
        else:
            singles.append(step)
    return singles, batch


def _name(step: Any) -> str:
    return getattr(step, "__name__", type(step).__name__)


def _parts(steps: list[Any], pictures: Pictures) -> list[_Part]:
    """Steps, fused as far as can be."""
    parts: list[_Part] = []
    moves: list[Move] = []
    values: list[Values] = []
    chw = False
    known: Pictures | None = pictures

    def add(part: _Part) -> None:
        nonlocal chw, known
        parts.append(part)
        chw, known = part.chw, part.after

    def close(layout: bool) -> None:
        if moves or values or layout != chw:
            start = parts[-1].end if parts else 0
            add(_Shows(tuple(moves), tuple(values), start, chw, layout, pictures, known))
        moves.clear()
        values.clear()

    wanted = False  # channels first, from now on
    for step in steps:
        if isinstance(step, Layout):
            wanted = True
        elif isinstance(step, Values):
            values.append(step)
        elif isinstance(step, Move):
            if values:  # resizing comes after them: it is of their results
                close(wanted)
            moves.append(step)
        else:
            close(wanted)
            start = parts[-1].end if parts else 0
            if isinstance(step, Change):
                add(_Changes(step, start, start + step.draws, chw, known))
            else:
                foreign = Foreign(step)
                add(_Strange(foreign, start, start + foreign.draws, chw))
            wanted = chw
    close(wanted)
    return parts


class _Shows:
    """Moves, values and layout in one pass."""

    def __init__(
        self,
        moves: tuple[Move, ...],
        values: tuple[Values, ...],
        start: int,
        was_chw: bool,
        chw: bool,
        original: Pictures,
        known: Pictures | None,
    ) -> None:
        self.start = start
        self._moves: list[tuple[Move, int, int]] = []
        at = 0
        for move in moves:
            self._moves.append((move, at, at + move.draws))
            at += move.draws
        self.end = start + at
        self.chw = chw
        self._was_chw = was_chw
        self._values = values
        self._original = original
        self._known = known
        self._become = lru_cache(maxsize=16)(self._becoming)
        self._usual = self._become(known) if known else None
        self.after = self._usual.after if self._usual else None

    def window(self, size: Size, u: Sequence[float]) -> Window:
        """What the moves come to for a picture of this size."""
        if size[0] < 1 or size[1] < 1:
            raise OptionError(
                f"a picture of {size[0]}x{size[1]} pixels: wanted one at least. Leave such samples "
                "out, or mend the transform that made it so"
            )
        window = Window.whole(*size)
        for move, start, end in self._moves:
            window = move.move(window, u[start:end])
        return window

    def size_after(self, size: Size | None) -> Size | None:
        for move, _, _ in self._moves:
            size = move.size_after(size)
        return size

    def apply(
        self,
        image: npt.NDArray[Any],
        mask: npt.NDArray[Any] | None,
        decided: Window | Sequence[float],
        out: npt.NDArray[Any] | None,
        factor: int,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
        if self._was_chw:
            image = np.moveaxis(image, 0, -1)
        become = self._usual or self._become(self._seen(image))
        if image.ndim != 3:  # no picture: only its values can be changed
            return self._of_values(image, become), mask
        window = decided if isinstance(decided, Window) else self.window(image.shape[:2], decided)
        if mask is not None:
            mask = nearest(mask, window)
        if become.table is not None or not become.functions:
            shown = resample(
                image, window, table=become.table, chw=self.chw, out=out, factor=factor
            )
            return shown, mask
        image = self._of_values(resample(image, window, factor=factor), become)
        if self.chw:
            image = np.moveaxis(image, -1, 0)
        return image if out is not None else np.ascontiguousarray(image), mask

    def _of_values(self, image: npt.NDArray[Any], become: _Become) -> npt.NDArray[Any]:
        for function in become.functions:
            image = function(image)
        return image

    def _seen(self, image: npt.NDArray[Any]) -> Pictures:
        """What comes out of a stranger's transform; of the file's type still, it has its mean."""
        original = self._original
        channels = image.shape[-1]
        if image.dtype == original.dtype and channels == original.channels:
            return original
        return Pictures(channels, image.dtype)

    def _becoming(self, pictures: Pictures) -> _Become:
        for move, _, _ in self._moves:
            if isinstance(move, RandomCrop):
                move.check(pictures)
        functions: list[Arithmetic] = []
        after = pictures
        for step in self._values:
            function, after = step.arithmetic(after)
            functions.append(function)
        table = None
        if functions and pictures.dtype == _BYTES:
            # Each level of each channel through the very functions that single values go through.
            table = np.arange(256, dtype=np.uint8)[:, np.newaxis].repeat(pictures.channels, axis=1)
            for function in functions:
                table = function(table)
            table = np.ascontiguousarray(table.T)
        return _Become(tuple(functions), None if table is None else Table(table), after)


@dataclass(frozen=True, slots=True)
class _Become:
    """What values become."""

    functions: tuple[Arithmetic, ...]
    """One after the other."""
    table: Table | None
    """The same for uint8."""
    after: Pictures
    """What the pictures are then."""


@dataclass(frozen=True, slots=True)
class _Changes:
    """Other colours."""

    step: Change
    start: int
    end: int
    chw: bool
    after: Pictures | None

    def size_after(self, size: Size | None) -> Size | None:
        return size

    def apply(
        self,
        image: npt.NDArray[Any],
        mask: npt.NDArray[Any] | None,
        decided: Window | Sequence[float],
        out: npt.NDArray[Any] | None,
        factor: int,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
        assert not isinstance(decided, Window)
        if self.chw:
            image = np.ascontiguousarray(np.moveaxis(image, 0, -1))
            return np.moveaxis(self.step.change(image, decided), -1, 0), mask
        return self.step.change(image, decided), mask


@dataclass(frozen=True, slots=True)
class _Strange:
    """A transform of somebody else's."""

    step: Foreign
    start: int
    end: int
    was_chw: bool

    @property
    def chw(self) -> bool:
        return self.was_chw or self.step.gives_chw

    @property
    def after(self) -> Pictures | None:
        return None

    def size_after(self, size: Size | None) -> Size | None:
        return None

    def apply(
        self,
        image: npt.NDArray[Any],
        mask: npt.NDArray[Any] | None,
        decided: Window | Sequence[float],
        out: npt.NDArray[Any] | None,
        factor: int,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
        assert not isinstance(decided, Window)
        return self.step(image, mask, decided, chw=self.was_chw)


_Part = _Shows | _Changes | _Strange
