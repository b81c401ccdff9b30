"""One batch: its samples read, transformed and put in place, part by part, by any thread.

    Recipe   what is made of a sample, the same for all epochs
    Epoch    which samples its batches hold
    _Making  the work of one batch, an `ahead.Job`
    Batch    what came of it

The invariant: what stands at a place of a batch depends on the sample, the epoch and the seed, and
not on who made it or when.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError, SampleError
from celeiro.feeding import draws, facts
from celeiro.feeding.mixing import Mixing, ask_ahead
from celeiro.feeding.order import Blocks
from celeiro.reading import threads
from celeiro.reading.columns import Pictures, Texts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from celeiro.feeding.memory import Memory
    from celeiro.feeding.order import Order
    from celeiro.feeding.place import Place
    from celeiro.feeding.ranks import Ranks
    from celeiro.reading.dataset import Dataset

# Random numbers of samples, and of whole batches.
_OF_SAMPLES, _OF_BATCHES = 0, 1
# Damaged samples in a row after which a file is taken to be damaged as a whole.
_MOST_DAMAGED = 1000
# Samples that a thread is handed at least, so that of decoding calls take 3 %; of copies as many as
# take half a millisecond, in bytes.
_FEW = 4
_COPIED = 4 << 20


@dataclass(slots=True)
class Batch:
    """Images, labels and further columns of some samples."""

    images: Any
    """(b, …) as `Loader` says."""
    labels: Any
    """(b,) or (b, K); None where the file has none."""
    fields: tuple[Any, ...]
    """Each an array (b, …), or a list where rows differ in size."""


class Recipe:
    """What is made of samples.

    Parameters
    ----------
    steps
        Transforms; none where images are given as they are stored.
    skip
        Whether the next sound sample takes the place of a damaged one.
    """

    def __init__(
        self,
        ds: Dataset,
        steps: Sequence[Any],
        fields: Sequence[str],
        *,
        skip: bool,
        fast: bool,
    ) -> None:
        self.ds = ds
        self.skip = skip
        self.labels = ds.labels
        self.shapes = ds.shapes
        """(N, 3) of each sample, where they differ; held, for a view gathers them each time."""
        self.fields = [(name, ds[name]) for name in fields]
        shape = facts.shape_of(ds)
        self.whole = not steps and ds.shape[1] is not None
        """Whether samples are read straight into a batch."""
        self.together = self.whole and ds.per_chunk > 1
        """Whether samples are best read a batch at a time, as where a chunk holds several."""
        self.least = _FEW
        """Samples that are worth being handed to a thread: a call takes 60 µs."""
        if self.whole and ds.is_raw:
            size = math.prod(side or 1 for side in ds.shape[1:]) * ds.dtype.itemsize
            self.least = max(1, _COPIED // max(1, size))
        self.chain = facts.chain_of(ds, steps, fast=fast)
        if shape is None and not steps:
            raise facts.several_sizes(ds)
        self._check_moving()
        self.shape = shape if self.whole else self.chain.shape
        self.dtype = ds.dtype if self.whole else self.chain.dtype

    def _check_moving(self) -> None:
        """Refuse to give masks and boxes that would not be where the image shows them."""
        masks = [name for name, column in self.fields if isinstance(column, Pictures)]
        moving = [name for name, column in self.fields if facts.moves(column)]
        step = self.chain.moves_batch
        if moving and step:
            raise OptionError(
                f"{step} mixes images with each other, and {moving[0]!r} would stay as it is. Mix "
                "them in the training loop, or leave out the field."
            )
        if not self.chain.strange:
            return
        boxes = [name for name in moving if name not in masks]
        if boxes or len(masks) > 1 or (masks and not self.chain.moves_masks):
            raise OptionError(
                f"a transform that is not celeiro's moves one mask with its image, if it is one of "
                f"torchvision's or Albumentations', and no boxes; fields are {moving}. Use "
                "celeiro's transforms, or leave them out."
            )


class Epoch:
    """The batches of one epoch, or of the rest of one."""

    def __init__(
        self,
        recipe: Recipe,
        order: Order,
        ranks: Ranks,
        seed: int,
        place: Place,
        memory: Memory,
        skipped: dict[int, int],
        *,
        turn: int,
    ) -> None:
        self.recipe = recipe
        self.memory = memory
        self.turn = turn
        """Batches that had this memory before."""
        self.skipped = skipped
        self._order = order
        self._ranks = ranks
        self._seed = seed
        self._place = place
        self._samples: npt.NDArray[np.integer] | None = None
        self._blocks = order if isinstance(order, Blocks) else None
        self._asked = -1
        self.mixing: Mixing | None = None
        """Chunks that hold several of the samples that are coming."""
        ds = recipe.ds
        if self._blocks is not None and ds.per_chunk > 1 and not ds.is_view:
            self.mixing = Mixing(ds, self._blocks.block * self._blocks.mixed)
        self._keys = [draws.key(seed, place.epoch, of) for of in (_OF_SAMPLES, _OF_BATCHES)]

    def begin(
        self, number: int, prepared: Callable[[Batch], Any], is_wanted: Callable[[], bool]
    ) -> _Making:
        """The work of the `number`-th batch from here on, at whose end `prepared` gets it."""
        positions = self._ranks.positions(self._place.position, number)
        start = self._place.position + number * self._ranks.together
        return _Making(self, self.turn + number, positions, start, prepared, is_wanted)

    def __len__(self) -> int:
        """Count the positions of the epoch."""
        return len(self._order)

    def samples(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Which samples stand at these positions; the order is made when it is first needed."""
        if self._samples is None:
            self._samples = self._order.epoch(self._seed, self._place.epoch)
        if self._blocks is not None and self.mixing is None and len(positions):
            self._ask_ahead(self._blocks, int(positions[0]))
        return self._samples[positions].astype(np.int64)

    def _ask_ahead(self, blocks: Blocks, position: int) -> None:
        """The group that is being mixed, and the next one, once each."""
        assert self._samples is not None
        together = blocks.block * blocks.mixed
        group = position // together
        for at in range(max(group, self._asked + 1), group + 2):
            ask_ahead(self.recipe.ds, blocks, self._samples, at * together)
            self._asked = at

    def drawn(
        self, positions: npt.NDArray[np.int64], samples: npt.NDArray[np.int64], count: int
    ) -> list[list[float]]:
        """Random numbers for each sample: the same whoever gets it, in whatever batch."""
        if not count:
            return [[]] * len(samples)
        which = self.rows(samples).astype(np.uint64)
        if self._order.repeats:  # drawn twice in an epoch, it shall not look the same twice
            which = which + (positions.astype(np.uint64) + np.uint64(1) << np.uint64(32))
        return draws.uniforms(self._keys[0], which, count).tolist()  # type: ignore[no-any-return]

    def drawn_for_batch(self, start: int, count: int) -> list[float]:
        """Random numbers of the global batch that begins at a position."""
        found: list[float] = draws.uniforms(self._keys[1], np.array([start]), count)[0].tolist()
        return found

    def rows(self, samples: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Numbers in the file, where the dataset is a view of it."""
        ds = self.recipe.ds
        return ds.rows[samples] if ds.is_view else samples

    def instead(self, position: int) -> tuple[int, int]:
        """The next position of the order, and its sample."""
        position = (position + 1) % len(self._order)
        return position, int(self.samples(np.array([position]))[0])


class _Making:
    """The work of one batch."""

    def __init__(
        self,
        epoch: Epoch,
        number: int,
        positions: npt.NDArray[np.int64],
        start: int,
        prepared: Callable[[Batch], Any],
        is_wanted: Callable[[], bool],
    ) -> None:
        recipe = epoch.recipe
        self._epoch = epoch
        self._number = number
        self._is_wanted = is_wanted
        self._recipe = recipe
        self._positions = positions
        self._start = start
        self._prepared = prepared
        self._samples = epoch.samples(positions)
        # Reading itself shares a batch where a chunk holds several samples, each chunk once.
        self.shared = epoch.mixing is not None or not recipe.together
        self.count = len(positions) if self.shared else 1
        self.least = recipe.least
        self._out: npt.NDArray[Any] | None = None
        self._made: list[Any] = []
        if recipe.shape is None or recipe.dtype is None:
            self._made = [None] * len(positions)
        else:
            self._out = epoch.memory.lend(
                (len(positions), *recipe.shape), recipe.dtype, (number, "images")
            )
        self._moved: dict[str, list[Any]] = {
            name: [None] * len(positions) for name, column in recipe.fields if facts.moves(column)
        }
        self._drawn = epoch.drawn(positions, self._samples, recipe.chain.draws)

    def work(self, first: int, last: int) -> None:
        """Make the samples at these places of the batch."""
        if not self.shared:
            self._make(0, len(self._positions))
            return
        with threads.alone():
            self._make(first, last)

    def finish(self) -> Any:
        """The batch, its labels and further columns beside it."""
        recipe, samples = self._recipe, self._samples
        images = self._stacked(self._made, "images") if self._out is None else self._out
        labels = None if recipe.labels is None else recipe.labels[samples]
        drawn = self._epoch.drawn_for_batch(self._start, recipe.chain.batch_draws)
        images, labels = recipe.chain.finish(images, labels, drawn)
        fields = tuple(
            self._stacked(self._moved[name], name) if name in self._moved else _at(column, samples)
            for name, column in recipe.fields
        )
        return self._prepared(Batch(images, labels, fields))

    def _make(self, first: int, last: int) -> None:
        try:
            self._fill(first, last)
        except SampleError:
            if not self._recipe.skip:
                raise
            for at in range(first, last):
                self._fill_or_skip(at)
        except facts.InTransform as raised:
            raise raised.error from None

    def _fill(self, first: int, last: int) -> None:
        recipe, samples = self._recipe, self._samples[first:last]
        mixing = self._epoch.mixing
        if recipe.whole:
            assert self._out is not None
            if mixing is None:
                recipe.ds.read(samples, out=self._out[first:last])
            else:
                for at, number in enumerate(samples.tolist(), first):
                    self._out[at] = mixing.sample(number)
            if self._moved:
                self._move(first, [None] * len(samples))
            return
        chain = recipe.chain
        plans = self._plans(first, last)
        parts = [chain.part(plan) for plan in plans]
        out, made = self._out, self._made
        masks = self._masks_for_strangers(samples)

        def work(at: int, picture: npt.NDArray[Any], factor: int) -> None:
            if not self._is_wanted():
                raise facts.InTransform(RuntimeError("nobody asks for this batch any more"))
            room = None if out is None else out[first + at]
            try:
                if masks is None:
                    found = chain.apply(picture, plans[at], room, factor)
                else:
                    name, rows = masks
                    found, mask = chain.together(picture, rows[at], plans[at], room, factor)
                    self._moved[name][first + at] = mask
            except Exception as error:
                raise facts.blamed(error, self._name(int(samples[at]))) from error
            if room is None:
                # What a function gives may be the very picture it got, whose memory is used again.
                made[first + at] = np.array(found)

        if mixing is None:
            recipe.ds.visit(samples, work, parts)
        else:
            for at, number in enumerate(samples.tolist()):
                sample = mixing.sample(number)
                # A stranger's transform may write into what it is given.
                work(at, sample.copy() if chain.strange else sample, 1)
        if self._moved and masks is None:
            self._move(first, plans)

    def _plans(self, first: int, last: int) -> list[Any]:
        """What happens to each sample, from its size and its random numbers alone."""
        chain, samples = self._recipe.chain, self._samples[first:last]
        plans = []
        shapes = facts.sizes(self._recipe.ds, self._recipe.shapes, samples)
        for at, ((height, width), u) in enumerate(
            zip(shapes, self._drawn[first:last], strict=True)
        ):
            if not 0 < height <= facts.MOST_SIDE or not 0 < width <= facts.MOST_SIDE:
                row = int(self._epoch.rows(samples[at : at + 1])[0])
                raise SampleError(
                    f"{self._name(int(samples[at]))} is {height}×{width} pixels, says the file; "
                    f"wanted 1 to {facts.MOST_SIDE:,} a side",
                    row,
                )
            try:
                plans.append(chain.plan(height, width, u))
            except Exception as error:
                raise facts.blamed(error, self._name(int(samples[at]))) from error
        return plans

    def _masks_for_strangers(self, samples: npt.NDArray[np.int64]) -> tuple[str, list[Any]] | None:
        """The masks that a stranger's transform wants together with their images, if any."""
        if not self._recipe.chain.strange:
            return None
        for name, column in self._recipe.fields:
            if isinstance(column, Pictures):
                return name, column.read_list(samples)
        return None

    def _fill_or_skip(self, at: int) -> None:
        """One sample, or the next of the order that is sound."""
        position = int(self._positions[at])
        tries = min(_MOST_DAMAGED, len(self._epoch))
        for _ in range(tries):
            try:
                self._fill(at, at + 1)
            except SampleError as error:
                damaged = error
                position, sample = self._epoch.instead(position)
                self._samples[at] = sample
                drawn = self._epoch.drawn(
                    np.array([position]), self._samples[at : at + 1], self._recipe.chain.draws
                )
                self._drawn[at] = drawn[0]
                continue
            if position != self._positions[at]:
                given = int(self._epoch.rows(self._samples[at : at + 1])[0])
                self._epoch.skipped[int(self._positions[at])] = given
            return
        raise SampleError(
            f"{tries:,} samples in a row are damaged, the last one: {damaged}",
            damaged.sample,
        )

    def _move(self, first: int, plans: Sequence[Any]) -> None:
        """Masks and boxes of some samples, moved as their images were."""
        chain, samples = self._recipe.chain, self._samples[first : first + len(plans)]
        rows: list[Any]
        move: Callable[..., Any]
        for name, column in self._recipe.fields:
            if isinstance(column, Pictures):
                rows, move = column.read_list(samples), chain.mask
            elif name in self._moved:
                rows, move = [np.array(column[at]) for at in samples.tolist()], chain.boxes
            else:
                continue
            for at, (row, plan) in enumerate(zip(rows, plans, strict=True)):
                try:
                    self._moved[name][first + at] = row if plan is None else move(row, plan)
                except Exception as error:
                    raise facts.blamed(error, self._name(int(samples[at]))) from error

    def _stacked(self, rows: list[Any], name: str) -> Any:
        """One array of rows of one shape; a list of boxes, which differ in number."""
        if name != "images" and not isinstance(self._column(name), Pictures):
            return rows
        first = rows[0]
        for at, row in enumerate(rows):
            if row.shape != first.shape or row.dtype != first.dtype:
                one, other = int(self._samples[0]), int(self._samples[at])
                raise OptionError(
                    f"{name}: {self._name(one)} comes as {first.shape} {first.dtype}, "
                    f"{self._name(other)} as {row.shape} {row.dtype}; a batch needs one shape. "
                    "Add a transform that makes one, such as RandomResizedCrop(224) or "
                    "Resize((224, 224))."
                )
        out = self._epoch.memory.lend((len(rows), *first.shape), first.dtype, (self._number, name))
        return np.stack(rows, out=out)

    def _column(self, name: str) -> Any:
        return dict(self._recipe.fields)[name]

    def _name(self, sample: int) -> str:
        return facts.named(self._recipe.ds, sample)


def _at(column: Any, samples: npt.NDArray[np.int64]) -> Any:
    """Rows of a column that has nothing to do with where things are."""
    if isinstance(column, np.ndarray):
        return column[samples]
    if isinstance(column, Texts):
        return list(column.take(samples))
    return [np.array(column[at]) for at in samples.tolist()]
