"""`celeiro.bench`: how fast a file is read here, beside what this machine could do at best.

    celeiro │ bare fetch │ bare decode │ celeiro │ bare fetch │ …      runs take turns

Whatever else the machine does then meets all of them alike. All read the same batches, planned
before the first run; the invariant: the plan is the same for the same file and options.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from celeiro.care.measuring import ceiling, pace
from celeiro.care.measuring.ceiling import Copy, Decode, Fetch, Plan, Pool
from celeiro.care.measuring.figures import (
    IN_ORDER,
    SHUFFLED,
    Ceiling,
    Order,
    Spread,
    limit,
    ratio_to_lowest,
)
from celeiro.errors import OptionError
from celeiro.reading.cache import Cache, available_memory
from celeiro.reading.dataset import open as open_dataset
from celeiro.reading.samples.chunks import ChunkSamples
from celeiro.reading.samples.rows import RowSamples
from celeiro.storage.local import available_cores

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from celeiro.care.measuring.figures import Limit
    from celeiro.reading.dataset import Dataset

_RUNS = 7
_SEED = 0
# Samples that take part, and their stored bytes; what is decoded bare is held in memory.
_MOST = 1 << 14
_BUDGET = 512 << 20
# What is planned before the clock starts: some 200 bytes for each chunk of each sample.
_MOST_PIECES = 200_000
# How many readers a disk may want at once, and whether they ask for all before they read.
_DEPTHS = ((1, False), (4, False), (8, False), (16, False), (32, False), (2, True), (8, True))
# Of the rate from memory: what is so fast from a disk was none.
_AS_FAST = 0.7
_SINGLES = 200
_OPENINGS = 7


@dataclass(frozen=True, slots=True)
class Bench:
    """The result of `celeiro.bench`."""

    path: Path
    """The file."""
    store: str
    """``pixels``, ``jpeg``, ``lossless``, ``encoded``; ``hdf5`` of a file that is not ours."""
    shape: tuple[int | None, ...]
    """Samples first."""
    dtype: str
    """Of the values."""
    batch: int
    """Samples of a batch."""
    samples: int
    """How many of the file's took part."""
    workers: int
    """Threads of celeiro, and of bare reading."""
    cores: int
    """Threads of bare decoding."""
    cache: str | None
    """``memory``, where the file was held in memory."""
    cold: bool
    """Whether the system's cache was told to forget the file before each run."""
    orders: tuple[Order, ...]
    """Shuffled, and in order."""
    single: Spread
    """Of one ``ds[i]``, seconds."""
    single_bare: Spread | None
    """Of the bare stages of the same samples, one after the other, seconds."""
    open: Spread
    """Opening the file, seconds."""
    first_batch: Spread
    """The first batch of a dataset just opened, seconds."""
    notes: tuple[str, ...]
    """What should be known about the figures."""

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return asdict(self) | {"path": str(self.path)}


def bench(
    path: str | os.PathLike[str],
    key: str | None = None,
    *,
    batch_size: int = pace.BATCH,
    seconds: float = 10.0,
    workers: int | None = None,
    cache: Literal["memory"] | None = None,
    cold: bool = False,
) -> Bench:
    """Measure how fast a file is read, and what limits it.

    Parameters
    ----------
    path, key, cache
        As `celeiro.open` takes them; `cache` is loaded before anything is measured.
    batch_size
        Samples of a batch; fewer where they would take more than 64 MiB.
    seconds
        Of all runs together, about.
    workers
        Threads that read a batch; by default as many as cores. Bare decoding takes all cores.
    cold
        Have the system forget this file before each run, so that the disk is measured (Linux).

    Raises
    ------
    FormatError
        It is no HDF5 file, is damaged, or holds no samples.

    Examples
    --------
    >>> import celeiro, numpy as np, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> _ = celeiro.pack(np.zeros((64, 8, 8, 3), np.uint8), folder.name + "/a.h5")
    >>> found = bench(folder.name + "/a.h5", batch_size=16, seconds=0.1)
    >>> found.orders[0].order, [each.stage for each in found.orders[0].ceilings]
    ('shuffled', ['memory'])
    >>> folder.cleanup()
    """
    _check(batch_size, seconds, cold, cache)
    with open_dataset(path, key, workers=workers, cache=cache) as ds:
        held = ds.cache is not None and ds.cache.wait()
        _check_samples(ds)
        run = _Bench(ds, batch_size, seconds, workers or available_cores(), held=held, cold=cold)
        try:
            return run.measured(Path(os.fsdecode(path)))
        finally:
            run.close()


# Which samples, in which batches


def planned_rows(count: int, taking_part: int, order: str) -> npt.NDArray[np.int64]:
    """Samples of a run: drawn at random and shuffled, or one stretch of the file in order.

    Examples
    --------
    >>> planned_rows(10, 4, "in order")
    array([3, 4, 5, 6])
    >>> sorted(planned_rows(3, 3, "shuffled").tolist())
    [0, 1, 2]
    """
    if order == IN_ORDER:
        first = (count - taking_part) // 2
        return np.arange(first, first + taking_part)
    drawn = np.random.default_rng(_SEED).choice(count, taking_part, replace=False)
    return drawn.astype(np.int64)


def _taking_part(ds: Dataset, batch: int, budget: int, most: int) -> int:
    """Samples whose stored bytes fit into a budget, in whole batches; one batch at least."""
    stored = ds._opened.file.size / len(ds)
    most = min(len(ds), _MOST, most, int(budget // max(1.0, stored)))
    return max(batch, most // batch * batch)


def _check(batch_size: int, seconds: float, cold: bool, cache: str | None) -> None:
    if batch_size < 1:
        raise OptionError(f"batch_size {batch_size!r}: wanted at least 1.")
    if not seconds > 0:
        raise OptionError(f"seconds {seconds!r}: wanted more than 0.")
    if cold and cache is not None:
        raise OptionError("cold, with a cache in memory: no run would touch the disk. Leave one.")
    if cold and not hasattr(os, "posix_fadvise"):
        raise OptionError(
            "cold: this system has no posix_fadvise, by which a file is forgotten. Leave it out; "
            "the first run after a restart is cold."
        )


def _check_samples(ds: Dataset) -> None:
    """Refuse to measure nothing, and what would not fit into memory."""
    if not len(ds):
        raise OptionError(f"{ds.path}: it has no samples, so that there is nothing to measure.")
    samples = ceiling.stored_samples(ds)
    shapes = [samples.shape or ()]
    if isinstance(samples, ChunkSamples):
        shapes.append(samples._codec.shape)
    largest = max(math.prod(shape) for shape in shapes) * ds.dtype.itemsize
    if largest > pace.LARGEST:
        raise OptionError(
            f"{ds.path}: a sample or a chunk of it takes {largest:,} bytes, at most "
            f"{pace.LARGEST:,} are measured. `celeiro doctor` tells what to do."
        )


# Measuring


@dataclass(frozen=True, slots=True)
class _Way:
    """A bare stage of reading."""

    stage: Limit
    """``disk``, ``memory`` or ``decode``."""
    what: str
    """How it is done, for people."""
    read: Callable[[Plan], object]
    """Does it for one batch."""


class _Bench:
    """What is read, and by whom."""

    def __init__(
        self, ds: Dataset, batch_size: int, seconds: float, workers: int, *, held: bool,
        cold: bool,
    ) -> None:  # fmt: skip
        self.ds = ds
        self.seconds = seconds
        self.workers = workers
        self.cores = available_cores()
        self.cold = cold
        self.held = held
        self.file = ds._opened.file
        self.notes: list[str] = []
        self.bytes = _sample_bytes(ds)
        pieces = _MOST_PIECES // ceiling.pieces_a_sample(ds)
        self.batch = min(pace.batch_size(self.bytes, most=batch_size), len(ds), max(1, pieces))
        free = available_memory()
        budget = _BUDGET if free is None else min(_BUDGET, free // 4)
        self.count = _taking_part(ds, self.batch, budget, pieces)
        sample: Any = ds.shape[1:]
        self.out = None if ds.shapes is not None else np.zeros((self.batch, *sample), ds.dtype)
        self.readers, self.decoders = Pool(workers), Pool(self.cores)
        self.decoding = ceiling.decoder(ds) if ceiling.can_plan(ds) else None
        self._note()

    def close(self) -> None:
        """End the bare threads."""
        self.readers.close()
        self.decoders.close()

    def measured(self, path: Path) -> Bench:
        """All of it."""
        orders = tuple(self._order(order) for order in (SHUFFLED, IN_ORDER))
        single, bare = self._single()
        opening, first = self._openings()
        ds = self.ds
        return Bench(
            path=ds.path, store=ds.store, shape=ds.shape, dtype=ds.stored_dtype, batch=self.batch,
            samples=self.count, workers=self.workers, cores=self.cores,
            cache="memory" if self.held else None, cold=self.cold, orders=orders, single=single,
            single_bare=bare, open=opening, first_batch=first, notes=tuple(self.notes),
        )  # fmt: skip

    def _note(self) -> None:
        if self.ds.cache is not None and not self.held:
            self.notes.append("the file does not fit into memory, and was read from the file")
        if self.count < len(self.ds):
            self.notes.append(f"{self.count:,} of {len(self.ds):,} samples took part")
        if not ceiling.can_plan(self.ds):
            self.notes.append("this layout has no bare reading to compare with")

    # Reading by celeiro

    def _read(self, plan: Plan) -> None:
        self.ds.read(plan.rows, self.out)

    # One order

    def _order(self, order: str) -> Order:
        batches = pace.batches(planned_rows(len(self.ds), self.count, order), self.batch)
        known = ceiling.can_plan(self.ds)
        plans = [ceiling.plan(self.ds, b) if known else Plan(b, ()) for b in batches]
        bare = self._bare(plans, order) if known else []
        ours, *theirs = self._take_turns(plans, [self._read, *(way.read for way in bare)])
        ceilings = tuple(
            Ceiling(way.stage, way.what, Spread.of(rates))
            for way, rates in zip(bare, theirs, strict=True)
        )
        rate = Spread.of(ours)
        stored = sum(piece.length for plan in plans for piece in plan.pieces)
        limited_by, why = limit(rate.median, {each.stage: each.rate.median for each in ceilings})
        return Order(
            order=order,
            rate=rate,
            value_bytes=rate.median * self.bytes,
            stored_bytes=rate.median * stored / (len(plans) * self.batch),
            ceilings=ceilings,
            ratio=ratio_to_lowest(ours, theirs),
            limit=limited_by,
            why=why,
        )

    def _bare(self, plans: list[Plan], order: str) -> list[_Way]:
        """The bare stages."""
        ways = []
        plain = self.decoding is None
        if not self.held:
            ways.append(self._disk(plans, order) if self.cold else self._memory(plans))
        elif plain and isinstance(self._samples, RowSamples):
            ways.append(self._copying(self._samples))
        if self.decoding is not None:
            one, room, name = self.decoding
            decode = Decode(one, room, self.decoders, ceiling.hold(self.file, plans))
            what = f"{name} of bytes in memory, {self.cores} threads"
            ways.append(_Way("decode", what, lambda plan: decode(plan.pieces)))
        return ways

    def _copying(self, samples: RowSamples) -> _Way:
        assert self.out is not None
        assert isinstance(self.ds.cache, Cache)
        copy = Copy(self.ds.cache, samples, self.readers, self.out)
        what = f"copying out of memory, {self.workers} threads"
        return _Way("memory", what, lambda plan: copy(plan.rows))

    def _memory(self, plans: list[Plan]) -> _Way:
        what = f"preadv, {self.workers} threads"
        return _Way("memory", what, self._fetching(plans, self.readers))

    def _disk(self, plans: list[Plan], order: str) -> _Way:
        """Reading from the disk in the way that it likes best: tried, one after the other."""
        part = self.seconds / 50
        rates = {}
        for depth, ahead in _DEPTHS:
            with Pool(depth) as pool:
                read = self._fetching(plans, pool, ahead=ahead)
                self._forget()
                rates[depth, ahead] = pace.run(read, plans, part, again=False).rate
        best = max(rates, key=lambda way: rates[way])
        depth, ahead = best
        self.readers.close()
        self.readers = Pool(depth)
        read = self._fetching(plans, self.readers, ahead=ahead)
        self._note_if_warm(read, plans[:3], rates[best])
        kind = "random" if order == SHUFFLED else "sequential"
        how = f"{depth} at once, asked for ahead" if ahead else f"{depth} at once"
        return _Way("disk", f"{kind} preadv, {how}", read)

    def _note_if_warm(self, read: Callable[[Plan], object], plans: list[Plan], cold: float) -> None:
        """Say so where a file that was forgotten comes as fast as one that was not."""
        for plan in plans:
            read(plan)
        warm = pace.run(read, plans, self.seconds / 50).rate
        note = "forgotten or not, the file came as fast: the system may have kept it in memory"
        if cold > _AS_FAST * warm and note not in self.notes:
            self.notes.append(note)

    def _fetching(
        self, plans: list[Plan], pool: Pool, *, ahead: bool = False
    ) -> Callable[[Plan], object]:
        """The bare reading of stored bytes; neighbours in the file are one piece."""
        pieces = {id(plan): ceiling.merged(plan.pieces) for plan in plans}
        out = None
        if self.out is not None and isinstance(self._samples, RowSamples):
            out = self.out.reshape(-1).view(np.uint8)
        fetch = Fetch(self.file, pool, out, ahead=ahead)
        return lambda plan: fetch(pieces[id(plan)])

    def _take_turns(
        self, plans: list[Plan], ways: list[Callable[[Plan], object]]
    ) -> list[list[float]]:
        """Rates of each way, run by run."""
        part = 0.8 * self.seconds / (2 * _RUNS * len(ways))
        if not self.cold:
            for read in ways:  # pages, threads and libraries come once
                pace.run(read, plans, part, again=False)
        rates: list[list[float]] = [[] for _ in ways]
        for turn in range(_RUNS):
            first = turn * len(plans) // _RUNS
            turned = plans[first:] + plans[:first]
            for read, so_far in zip(ways, rates, strict=True):
                if self.cold:
                    self._forget()
                so_far.append(pace.run(read, turned, part, again=not self.cold).rate)
        return rates

    # One sample, and the first batch

    def _single(self) -> tuple[Spread, Spread | None]:
        """One sample after the other, celeiro and the bare stages in turn, seconds."""
        rows = planned_rows(len(self.ds), self.count, SHUFFLED)[:_SINGLES]
        bare = self._bare_single(rows)
        ours, theirs = [], []
        if self.cold:
            self._forget()
        began = time.perf_counter()
        for row in rows.tolist():
            before = time.perf_counter()
            self.ds[row]
            ours.append(time.perf_counter() - before)
            if bare is not None and not self.cold:
                before = time.perf_counter()
                bare(row)
                theirs.append(time.perf_counter() - before)
            if time.perf_counter() - began > 0.1 * self.seconds:
                break
        return Spread.of(ours), Spread.of(theirs) if theirs else None

    def _bare_single(self, rows: npt.NDArray[np.int64]) -> Callable[[int], object] | None:
        if not ceiling.can_plan(self.ds) or self.held:
            return None
        plans = {row: ceiling.plan(self.ds, np.array([row])) for row in rows.tolist()}
        alone = Pool(1)
        fetch = Fetch(self.file, alone, None)
        if self.decoding is None:
            return lambda row: fetch(plans[row].pieces)
        one, room, _ = self.decoding
        decode = Decode(one, room, alone, ceiling.hold(self.file, plans.values()))

        def both(row: int) -> None:
            fetch(plans[row].pieces)
            decode(plans[row].pieces)

        return both

    def _openings(self) -> tuple[Spread, Spread]:
        """Opening, and the first batch then; seconds."""
        openings, batches = [], []
        rows = planned_rows(len(self.ds), self.count, SHUFFLED)
        began = time.perf_counter()
        for turn in range(_OPENINGS):
            if self.cold:
                self._forget()
            before = time.perf_counter()
            with open_dataset(self.ds.path, self.ds.key, workers=self.workers) as ds:
                opened = time.perf_counter()
                ds.read(np.roll(rows, turn * self.batch)[: self.batch], self.out)
                done = time.perf_counter()
            openings.append(opened - before)
            batches.append(done - opened)
            if done - began > 0.2 * self.seconds:
                break
        return Spread.of(openings), Spread.of(batches)

    # The system's cache

    def _forget(self) -> None:
        """Tell the system to forget the file's bytes."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.file.fd, 0, 0, os.POSIX_FADV_DONTNEED)

    @property
    def _samples(self) -> Any:
        return self.ds._opened.contents.samples


def _sample_bytes(ds: Dataset) -> float:
    """Bytes of the values of a sample; the mean where they differ in size."""
    shapes = ds.shapes
    if shapes is None:
        return float(np.prod([side or 1 for side in ds.shape[1:]]) * ds.dtype.itemsize)
    return float(shapes.astype(np.float64).prod(axis=1).mean())
