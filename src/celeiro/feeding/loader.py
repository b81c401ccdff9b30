"""`celeiro.Loader`: batches for training, at the speed of the machine, from one process.

    for epoch in range(90):
        for images, labels in celeiro.Loader("photos.h5", batch_size=256): ...

    order.py       which sample stands at which position of an epoch, as choice.py says
    ranks.py       which positions are this rank's next batch
    batch.py       those samples, read, transformed, into memory.py's memory
    ahead.py       by threads, some batches ahead

The invariant: what a batch holds depends on (seed, epoch, position) alone. How many threads or
ranks there are, and where training was interrupted, changes nothing.
"""

from __future__ import annotations

import logging
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from celeiro.errors import OptionError
from celeiro.feeding import batch, order, place
from celeiro.feeding.ahead import Ahead
from celeiro.feeding.choice import at_least, order_of, warn_of_local_order
from celeiro.feeding.memory import Memory, Ring, plain
from celeiro.feeding.ranks import Ranks
from celeiro.feeding.transforms.compose import flat
from celeiro.reading.dataset import Dataset
from celeiro.reading.dataset import open as open_dataset
from celeiro.storage.local import available_cores

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    import numpy.typing as npt

    from celeiro.feeding.batch import Batch

__all__ = ["Loader"]

log = logging.getLogger(__name__)


class Loader:
    """Batches of a dataset, epoch after epoch.

    Iterating gives ``(images, labels)``, and a further value for each of `fields`. Images are
    (b, H, W, C) as they are stored, or what `transform` makes of them; labels (b,) or (b, K), None
    where the file has none. A batch is the caller's: its memory is used again once neither it nor
    any view or tensor of it is held.

    Parameters
    ----------
    ds
        A `Dataset`, a view of one, or the path of a file.
    batch_size
        Samples of a batch; of each rank's, where there are several.
    shuffle
        True: a new random order of all samples each epoch. ``"blocks"``: blocks of neighbours in
        random order, for cold disks and for files with many samples a chunk. ``"balanced"``: every
        class as often as any other, drawn with replacement. False: as they stand.
    seed
        Of the order and of the transforms, at least 0.
    transform
        One or several of `celeiro.feeding.transforms`, or any function of an image.
    drop_last
        Leave out the samples that fill no batch of all ranks.
    rank, world_size
        Which of how many processes that train together this is: each is given its part.
    workers
        Threads; by default as many as cores.
    prefetch
        Batches that are made before they are asked for.
    fields
        Names of further columns to give after the labels. Masks and boxes move with the image.
    on_error
        ``"raise"``: a damaged sample is an error that names it. ``"skip"``: the next sample of the
        order that is sound takes its place; `skipped` lists them, and the log tells how many.
    reuse
        A batch is valid only until the next is asked for: its memory is then filled anew, whoever
        holds it. The fastest, and the caller's to get right.
    fast
        Transforms may get JPEGs decoded in a quicker way, which changes pixels a little.
    pad
        Ranks' last batches are made equal by repeating the first samples of the epoch; False: each
        sample comes exactly once, and a rank may have a smaller last batch than another, or none.
    weights
        (N,) how often each sample is drawn, with replacement.
    samples
        Samples of an epoch that is drawn with replacement; by default as many as there are.
    block, mixed
        Of ``shuffle="blocks"``: neighbours in a block, and blocks that are mixed with each other.

    Raises
    ------
    OptionError
        Options that contradict each other or the file, such as samples of several sizes without a
        transform that makes one of them.

    Examples
    --------
    >>> import numpy as np, tempfile, celeiro
    >>> folder = tempfile.TemporaryDirectory()
    >>> images = np.arange(7 * 8 * 8 * 3, dtype=np.uint8).reshape(7, 8, 8, 3)
    >>> _ = celeiro.pack(images, folder.name + "/a.h5", labels=[0, 1, 0, 1, 0, 1, 0])
    >>> with celeiro.Loader(folder.name + "/a.h5", batch_size=4, seed=1) as loader:
    ...     for images, labels in loader:
    ...         print(images.shape, labels.shape)
    (4, 8, 8, 3) (4,)
    (3, 8, 8, 3) (3,)
    >>> folder.cleanup()
    """

    def __init__(
        self,
        ds: Dataset | str | os.PathLike[str],
        batch_size: int,
        *,
        shuffle: bool | Literal["blocks", "balanced"] = True,
        seed: int = 0,
        transform: Callable[..., Any] | Sequence[Any] | None = None,
        drop_last: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
        workers: int | None = None,
        prefetch: int = 2,
        fields: str | Sequence[str] = (),
        on_error: Literal["raise", "skip"] = "raise",
        reuse: bool = False,
        fast: bool = False,
        pad: bool = True,
        weights: npt.ArrayLike | None = None,
        samples: int | None = None,
        block: int | None = None,
        mixed: int | None = None,
    ) -> None:
        if on_error not in ("raise", "skip"):
            raise OptionError(f"on_error {on_error!r}: wanted 'raise' or 'skip'.")
        if (rank is None) != (world_size is None):
            raise OptionError(
                f"rank {rank!r} and world_size {world_size!r}: give both, or neither."
            )
        self._owned = not isinstance(ds, Dataset)
        self.dataset = ds if isinstance(ds, Dataset) else open_dataset(ds)
        """What is read."""
        try:
            self.seed = at_least(0, seed, "seed")
            """Of the order and of the transforms."""
            self._prefetch = at_least(1, prefetch, "prefetch")
            self._workers = at_least(
                1, available_cores() if workers is None else workers, "workers"
            )
            batch_size = at_least(1, batch_size, "batch_size")
            self.order = order_of(
                self.dataset, shuffle, weights, samples, block, mixed,
                together=batch_size * (world_size or 1),
            )  # fmt: skip
            """Which sample stands at which position of an epoch."""
            fields = (fields,) if isinstance(fields, str) else tuple(fields)
            self._recipe = batch.Recipe(
                self.dataset, flat(transform), fields, skip=on_error == "skip", fast=fast
            )
            self._ranks = Ranks(
                len(self.order), batch_size, rank or 0, 1 if world_size is None else world_size,
                drop_last, pad, pairs=self._recipe.chain.pairs,
            )  # fmt: skip
            warn_of_local_order(self.dataset, self.order, self._ranks.together)
        except BaseException:
            self.close()
            raise
        self._reuse = reuse
        self._memory = Memory(_weakly(self._allocate, plain))
        self._upcoming: _Run | None = None
        self._place = place.Place(0, 0)
        self._begun = False
        self.skipped: dict[int, int] = {}
        """Of the last epoch that was begun: the sample that this rank was given instead, by the
        position of each that is damaged. Samples count as in the file."""
        self._skipped_in = 0

    # What it is

    @property
    def batch_size(self) -> int:
        """Samples of a whole batch of this rank."""
        return self._ranks.batch

    @property
    def epoch(self) -> int:
        """The epoch at hand, or where there is none the next one: 0, 1, … ."""
        return self._place.epoch

    @property
    def position(self) -> int:
        """Positions of this epoch that all ranks together were given."""
        return self._place.position

    def __len__(self) -> int:
        """Count the batches of a whole epoch."""
        return self._ranks.batches()

    # Batches

    def __iter__(self) -> Iterator[Any]:
        """Give the batches of the next epoch, or of the rest of one after `load_state_dict`.

        A loop that was left early counts as an epoch: the next one begins the next.
        """
        at = self._place if not self._begun else self._place.next()
        self._place, self._begun = at, True
        run, self._upcoming = self._upcoming, None
        if run is None or run.at != at or run.seed != self.seed:
            if run is not None:
                run.ahead.stop()
            run = self._run(at)
        self.skipped, self._skipped_in = run.skipped, at.epoch
        try:
            for number in range(run.count):
                # No name for the batch in here: it would be held for as long as the next is made.
                found = [run.ahead.take()]
                newest = self._place.epoch == at.epoch
                self._place = place.Place(at.epoch, self._ranks.after(at.position, number))
                if number == run.count - 1 and newest and self._continues:
                    # While the caller is at the last batch of this epoch.
                    self._upcoming = self._run(at.next(), run)
                    self._upcoming.ahead.start()
                yield self._given(found.pop())
        except BaseException:
            run.ahead.stop()
            self._forget()
            run.memory.forget()
            raise
        run.ahead.stop()
        self._finished(at)

    def _run(self, at: place.Place, before: _Run | None = None) -> _Run:
        """The batches of an epoch from a place on, in memory of the one before."""
        skipped = self.skipped if at.position else {}
        memory: Memory = self._memory
        if self._reuse:  # of each iteration its own: blocks are lent whoever holds them
            allocate = _weakly(self._allocate, plain)
            memory = Ring(self._prefetch + 1, allocate) if before is None else before.memory
        turn = 0 if before is None else before.turn + before.count
        epoch = batch.Epoch(
            self._recipe, self.order, self._ranks, self.seed, at, memory, skipped, turn=turn
        )
        # Threads must not hold the loader, or one that is forgotten would never end them.
        prepared = _weakly(self._prepared, _as_made)
        count = self._ranks.batches(at.position)
        ahead: Ahead[Any] = Ahead(
            lambda number, is_wanted: epoch.begin(number, prepared, is_wanted),
            count,
            workers=self._workers,
            prefetch=self._prefetch,
        )
        return _Run(at, self.seed, count, ahead, memory, skipped, turn)

    def _forget(self) -> None:
        """End what is made for an epoch that may never be asked for."""
        run, self._upcoming = self._upcoming, None
        if run is not None:
            run.ahead.stop()
        self._memory.forget()

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be this epoch, from its beginning."""
        self._place, self._begun = place.Place(at_least(0, epoch, "epoch"), 0), False
        self.skipped = {}

    def digest(self, epoch: int | None = None) -> str:
        """SHA-256 of the samples of an epoch in their order, by their number in the file.

        For a paper or a log: it is the same on every machine, and for any number of threads and
        ranks. By default of the last epoch that was begun; of that one with what this rank was
        given for damaged samples.
        """
        last = self._place.epoch if self._begun else max(0, self._place.epoch - 1)
        wanted = last if epoch is None else at_least(0, epoch, "epoch")
        skipped = dict(self.skipped) if wanted == self._skipped_in else {}
        found = self.order.epoch(self.seed, wanted)
        rows = self.dataset.rows[found.astype(np.int64)] if self.dataset.is_view else found
        if skipped:
            rows = rows.astype(np.int64)
            rows[list(skipped)] = list(skipped.values())
        return order.digest([rows])

    # Where training is

    def state_dict(self) -> dict[str, Any]:
        """Where training is: after the last batch that was given, whatever is made ahead.

        Plain numbers, for `json` or `torch.save`. It holds for any number of ranks whose batches
        together are as large.
        """
        at = self._place
        if self._ranks.ended(at.position):
            at = at.next()
        skipped = sorted(self.skipped.items()) if at.position else []
        return {
            "version": 1, "seed": self.seed, "epoch": at.epoch, "position": at.position,
            "order": repr(self.order), "skipped": [list(pair) for pair in skipped],
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a loader was whose `state_dict` this is: the next batch is the next one.

        Raises
        ------
        OptionError
            It is no such state, or one of another dataset or kind of shuffling.
        """
        self.seed, self._place, self.skipped = place.loaded(state, self.order)
        self._skipped_in, self._begun = self._place.epoch, False

    # Life and death

    def close(self) -> None:
        """End threads, let go of memory, and of the file, where the loader opened it."""
        if hasattr(self, "_upcoming"):
            self._forget()
        if self._owned:
            self.dataset.close()

    def __enter__(self) -> Self:
        """The loader itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        """One line."""
        ranks = f", rank {self._ranks.rank} of {self._ranks.world}" if self._ranks.world > 1 else ""
        return (
            f"<{type(self).__module__}.{type(self).__qualname__} {self.dataset.path.name!r} "
            f"{len(self):,} batches of {self.batch_size:,}{ranks}>"
        )

    # What a framework does in its own way

    _continues = True
    """Whether the next epoch is begun while the caller is at the last batch of one."""

    def _allocate(self, size: int) -> npt.NDArray[np.uint8]:
        """Memory of a batch."""
        return plain(size)

    def _prepared(self, made: Batch) -> Any:
        """What a thread does with a batch once it is made."""
        return made

    def _given(self, prepared: Any) -> Any:
        """What is given to the caller, when it is asked for."""
        return (prepared.images, prepared.labels, *prepared.fields)

    def _finished(self, at: place.Place) -> None:
        if self._place.epoch == at.epoch:
            self._place, self._begun = at.next(), False
        if self.skipped:
            log.warning(
                "%s: %d damaged samples of epoch %d were skipped; others took their places",
                self.dataset.path, len(self.skipped), at.epoch,
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Run:
    """The batches of an epoch that is being made."""

    at: place.Place
    seed: int
    count: int
    ahead: Ahead[Any]
    memory: Memory
    skipped: dict[int, int]
    turn: int


def _weakly(method: Callable[[Any], Any], otherwise: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A method of an object that this does not keep alive; without it, `otherwise`."""
    found = weakref.WeakMethod(method)

    def call(value: Any) -> Any:
        return (found() or otherwise)(value)

    return call


def _as_made(made: Batch) -> Any:
    return made
