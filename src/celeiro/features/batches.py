"""Samples of a source as a model wants them, batch by batch in the plan's order.

    tasks    0 1 2 3 │ 4 5 6 7 │ 8 9          batch k is [k·B, (k+1)·B), whoever asks, and when
             └ threads: read, decode, transform ┘ ─> Batches.take(k)

The invariant: what stands at a place of a batch depends on the plan and the samples alone. In the
place of a damaged one stands another of the batch, so that those beside it are computed in a batch
of the same size, as if it were sound.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from celeiro.care.source import reason
from celeiro.errors import FormatError, OptionError, PictureError
from celeiro.feeding import draws, facts
from celeiro.feeding.ahead import Ahead
from celeiro.feeding.memory import Memory
from celeiro.feeding.transforms.chain import Chain
from celeiro.format import pictures
from celeiro.format.names import printable
from celeiro.packing.recipe import FilesOnDisk
from celeiro.reading import threads
from celeiro.reading.samples.visiting import room

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from celeiro.feeding.transforms.chain import Plan
    from celeiro.packing.listing import Listing
    from celeiro.reading.dataset import Dataset

    Give = Callable[[int, npt.NDArray[Any], Plan, int], None]
    """Told the task, its picture or what is needed of it, what happens to it, and its factor."""

# Batches that are made before the model asks for them.
_PREFETCH = 2
# Samples that a thread is handed at least: a call takes 60 µs.
_FEW = 4
_BYTES = np.dtype(np.uint8)
# Random numbers, for transforms that want some, are always the same: of no epoch, of no seed.
_KEY = draws.key(0, 0, 0)


class Samples(Protocol):
    """Where the samples of a plan are."""

    @property
    def chain(self) -> Chain:
        """What happens to each."""
        ...

    @property
    def floats(self) -> bool:
        """Whether there may be values that are no finite numbers."""
        ...

    @property
    def shared(self) -> bool:
        """Whether threads share a batch, or it is best read all at once."""
        ...

    def each(self, tasks: range, u: Sequence[Sequence[float]], give: Give) -> None:
        """Give some, in this thread; PictureError or FormatError where one is damaged."""
        ...


class OfDataset:
    """Samples of a dataset, given `steps`."""

    def __init__(self, ds: Dataset, steps: Sequence[Any]) -> None:
        if len(ds.shape) < 2:
            raise OptionError(
                f"{ds.path}: its samples are single values ({ds.shape} {ds.dtype}), and a model "
                "wants pictures, or vectors at least."
            )
        self._ds = ds
        self._shapes = ds.shapes
        self.shared = ds.per_chunk == 1
        self.floats = ds.dtype.kind not in "bui"
        self.chain = facts.chain_of(ds, steps, fast=False)

    def each(self, tasks: range, u: Sequence[Sequence[float]], give: Give) -> None:
        """Give some samples, in the order in which they are read."""
        chain = self.chain
        plans = []
        for size, drawn in zip(
            facts.sizes(self._ds, self._shapes, np.array(tasks)), u, strict=True
        ):
            if not all(0 < side <= facts.MOST_SIDE for side in size):
                raise PictureError(f"it is {size[0]}x{size[1]} pixels, says the file")
            plans.append(chain.plan(*size, drawn))
        parts = [chain.part(plan) for plan in plans]

        def work(at: int, picture: npt.NDArray[Any], factor: int) -> None:
            give(tasks[at], picture, plans[at], factor)

        self._ds.visit(np.arange(tasks.start, tasks.stop), work, parts)


@dataclass(frozen=True, slots=True)
class Kind:
    """What picture files on the disk are decoded to: as a dataset of the store `encoded` has it."""

    shape: tuple[int | None, ...]
    """Count first."""
    color: str = "RGB"
    """Order of the channels."""
    dtype: np.dtype[Any] = _BYTES
    """Of their values."""


class OfFiles:
    """Picture files on the disk, decoded as those of a packed file are, and given `steps`."""

    shared = True
    floats = False

    def __init__(self, listing: Listing, steps: Sequence[Any]) -> None:
        self._files = FilesOnDisk(listing)
        self.chain = Chain(
            steps, shape=None, channels=3, dtype=np.uint8, classes=len(listing.label_names) or None
        )

    def each(self, tasks: range, u: Sequence[Sequence[float]], give: Give) -> None:
        """Give some pictures, one after the other."""
        for task, drawn in zip(tasks, u, strict=True):
            data = self._files.picture(task)
            header = pictures.check(data)
            plan = self.chain.plan(*header.upright, drawn)
            # Memory of this thread, which the next picture takes.
            buffer = room(3 * header.height * header.width)
            give(task, pictures.decode(data, buffer=buffer, header=header), plan, 1)


@dataclass(slots=True)
class Batch:
    """Some samples, one after the other in the plan."""

    images: npt.NDArray[Any] | None
    """(b, …); another in the place of a damaged one. None where all are."""
    refused: dict[int, str] = field(default_factory=dict)
    """By place in the batch, why there is none."""


class Batches:
    """The batches of a plan.

    Parameters
    ----------
    size
        Samples of a batch.
    workers
        Threads.
    """

    def __init__(self, samples: Samples, listing: Listing, size: int, workers: int) -> None:
        self._samples = samples
        self.listing = listing
        """What is known of each."""
        self.size = size
        self._workers = workers
        self._memory = Memory()
        self._ahead: Ahead[Batch] | None = None
        self._next = 0

    def __len__(self) -> int:
        """Count them."""
        return -(-len(self.listing) // self.size)

    def tasks(self, number: int) -> range:
        """The tasks of a batch."""
        return range(number * self.size, min(len(self.listing), (number + 1) * self.size))

    def take(self, number: int) -> Batch:
        """A batch; those that follow it are made meanwhile."""
        if self._ahead is None or number != self._next:
            self.stop()
            self._ahead = Ahead(
                lambda at, _: _Making(self, number + at), len(self) - number,
                workers=self._workers, prefetch=_PREFETCH,
            )  # fmt: skip
        self._next = number + 1
        return self._ahead.take()

    def stop(self) -> None:
        """End the threads; another `take` starts them again."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.stop()

    # For the work of one batch

    @property
    def samples(self) -> Samples:
        """Where they are."""
        return self._samples

    def room(self, count: int) -> npt.NDArray[Any] | None:
        """Memory of a batch; None where nothing tells beforehand how large samples are."""
        chain = self._samples.chain
        if chain.shape is None or chain.dtype is None:
            return None
        return self._memory.lend((count, *chain.shape), chain.dtype)

    def named(self, task: int) -> str:
        """A sample for people."""
        return printable(self.listing.keys[task])


class _Making:
    """The work of one batch, an `ahead.Job`."""

    least = _FEW

    def __init__(self, batches: Batches, number: int) -> None:
        self._batches = batches
        self._samples = batches.samples
        self._tasks = tasks = batches.tasks(number)
        self.count = len(tasks) if self._samples.shared else 1
        self._out = batches.room(len(tasks))
        self._made: list[Any] = [None] * len(tasks)
        self._refused: dict[int, str] = {}
        wanted = self._samples.chain.draws
        self._drawn: Any = [()] * len(tasks)
        if wanted:
            self._drawn = draws.uniforms(_KEY, np.array(tasks, np.uint64), wanted).tolist()

    def work(self, first: int, last: int) -> None:
        """Make the samples at these places of the batch."""
        try:
            if not self._samples.shared:
                self._make(0, len(self._tasks))
                return
            with threads.alone():
                self._make(first, last)
        except facts.InTransform as raised:
            raise raised.error from None

    def finish(self) -> Batch:
        """All of them."""
        images = self._out if self._out is not None else self._stacked()
        if images is None or len(self._refused) == len(self._tasks):
            return Batch(None, self._refused)
        there = next(at for at in range(len(images)) if at not in self._refused)
        for at in self._refused:
            images[at] = images[there]
        wanted = self._samples.chain.batch_draws
        drawn = draws.uniforms(_KEY, np.array([self._tasks.start]), wanted)[0].tolist()
        return Batch(self._samples.chain.finish(images, None, drawn)[0], self._refused)

    def _make(self, first: int, last: int) -> None:
        """Some samples; one by one where one of them is damaged."""
        try:
            self._samples.each(self._tasks[first:last], self._drawn[first:last], self._put)
        except (FormatError, PictureError) as error:
            if last - first == 1:
                self._refused[first] = reason(error)
                return
            for at in range(first, last):
                self._make(at, at + 1)

    def _put(self, task: int, picture: npt.NDArray[Any], plan: Plan, factor: int) -> None:
        at, chain = task - self._tasks.start, self._samples.chain
        out = None if self._out is None else self._out[at]
        try:
            found = chain.apply(picture, plan, out, factor)
        except Exception as error:
            raise facts.blamed(error, self._batches.named(task)) from error
        if self._samples.floats and not np.isfinite(found).all():
            raise PictureError("its values are not all finite numbers, so nothing follows of them")
        if out is None:  # it may be the very picture, whose memory is used again
            self._made[at] = np.array(found)

    def _stacked(self) -> npt.NDArray[Any] | None:
        """One array of samples that turned out to be of one shape; None where there is none."""
        there = [at for at in range(len(self._made)) if at not in self._refused]
        if not there:
            return None
        first = self._made[there[0]]
        images = np.zeros((len(self._made), *first.shape), first.dtype)
        for at in there:
            one = self._made[at]
            if one.shape != first.shape or one.dtype != first.dtype:
                names = [self._batches.named(self._tasks[i]) for i in (there[0], at)]
                raise OptionError(
                    f"{names[0]} comes as {first.shape} {first.dtype}, {names[1]} as {one.shape} "
                    f"{one.dtype}; a model wants one shape. Give --size (size=), or a transform "
                    "that makes one, such as Resize((224, 224))."
                )
            images[at] = one
        return images
