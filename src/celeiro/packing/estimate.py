"""What packing would give, from a sample: sizes and times of each store, and nothing written.

The sample is spread evenly over the plan, and so is every beginning of it: where time is up
before all are tried, sorted classes are still all in it.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError, PictureError, SourceError
from celeiro.format import layout
from celeiro.format.names import printable
from celeiro.packing.assemble import split_rows
from celeiro.packing.job import one_opencv_thread
from celeiro.packing.pack import with_options
from celeiro.packing.pipeline import Stopped, in_order
from celeiro.packing.recipe import BOXES, MASK, recipe_for
from celeiro.packing.report import count_classes
from celeiro.packing.work import DATA

if TYPE_CHECKING:
    import threading

    from celeiro.packing.job import Job
    from celeiro.packing.options import PackOptions

# Bytes a sample beside its payload: checksum, label, index, chunk index; keys come on top.
_BESIDE = 60
# Multiples of the golden ratio, modulo 1, are spread evenly wherever one stops.
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one store would give."""

    store: layout.Store
    """Which."""
    file_bytes: int = 0
    """Size of the file, as far as the sample tells."""
    seconds: float = 0.0
    """Time of packing on this machine, but for waiting on the disk."""
    rate: float = 0.0
    """Pictures a second."""
    sampled: int = 0
    """Pictures that this was learned from."""
    bad: tuple[tuple[str, str], ...] = ()
    """Of those, name and reason of each that this store refuses."""
    why_not: str = ""
    """Why this store cannot be had with these options, or nothing."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What `celeiro pack --dry-run` tells."""

    pictures: int
    """To be packed."""
    classes: dict[str, int]
    """Pictures of each class."""
    splits: dict[str, int]
    """Pictures of each split."""
    fields: tuple[str, ...]
    """What else is stored of each picture."""
    ignored: int
    """Files that are no pictures, or hidden."""
    source_bytes: int
    """Size of the pictures' files."""
    labels_from: str
    """Where labels were read."""
    store: layout.Store
    """The one that the same command without --dry-run would make."""
    stores: tuple[Estimate, ...]
    """Of each store."""

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return asdict(self)


def forecast(job: Job, *, workers: int, sample: int = 200) -> Forecast:
    """Try a sample with every store.

    Parameters
    ----------
    job
        What would be packed.
    sample
        Pictures to try, at most; fewer where they are large (3 s a store).
    """
    found, options = job.plan.listing, job.plan.options
    splits = {name: len(r) for name, r in split_rows(found.splits, found.split_names).items()}
    beside = {MASK: found.masks, BOXES: found.boxes}
    return Forecast(
        pictures=len(found),
        classes=count_classes(found.labels, found.label_names),
        splits=splits,
        fields=(*(name for name, there in beside.items() if there is not None), *found.fields),
        ignored=found.ignored,
        source_bytes=int(found.sizes.sum()),
        labels_from=found.labels_from,
        store=options.store,
        stores=tuple(_of_store(job, store, workers, sample) for store in layout.STORES),
    )


def estimate(job: Job, *, workers: int, sample: int = 200, seconds: float = 3.0) -> Estimate:
    """What a job's store would give, from at most `sample` pictures and `seconds`."""
    tasks = _spread(len(job.plan), sample)
    tried = _try(job, tasks, workers, seconds)
    store = job.plan.options.store
    lengths = [length for length in tried.results if isinstance(length, int)]
    # Not strict: for the last tasks there may have been no time. No two tasks are equal.
    tried_tasks = sorted(zip(tasks, tried.results, strict=False))
    bad = tuple(
        (printable(job.plan.listing.keys[task]), why)
        for task, why in tried_tasks
        if isinstance(why, str)
    )
    if not lengths:
        return Estimate(
            store, sampled=len(bad), bad=bad, why_not="no picture that was tried can be packed"
        )
    share = len(lengths) / len(tried.results)
    beside = _BESIDE + job.plan.listing.keys.max_length
    size = len(job.plan) * share * (sum(lengths) / len(lengths) + beside)
    rate = len(tried.results) / tried.seconds
    return Estimate(
        store,
        file_bytes=int(size) + layout.PAYLOAD_OFFSET,
        seconds=len(job.plan) / rate,
        rate=rate,
        sampled=len(tried.results),
        bad=bad,
    )


@dataclass(frozen=True, slots=True)
class _Tried:
    results: list[int | str]
    """Of each task that there was time for: bytes of payload, or why it was refused."""
    seconds: float
    """How long that took."""


def _try(job: Job, tasks: list[int], workers: int, seconds: float) -> _Tried:
    recipe = recipe_for(job.plan, job.codec, job.mask)

    def one(task: int, stop: threading.Event) -> int | str:
        if stop.is_set():
            raise Stopped
        try:
            return sum(piece.length for piece in recipe.make(task, None).pieces.values())
        except PictureError as error:
            return str(error)

    results: list[int | str] = []
    began = time.perf_counter()
    with one_opencv_thread():
        made = in_order(tasks, one, workers=workers, window=4 * workers)
        for result in made:
            results.append(result)
            if time.perf_counter() - began > seconds:
                break
        elapsed = time.perf_counter() - began
        made.close()
    return _Tried(results, elapsed)


def _spread(total: int, sample: int) -> list[int]:
    """At most `sample` of the numbers 0 ≤ i < total, such that any beginning is spread evenly.

    Examples
    --------
    >>> _spread(1000, 5)
    [100, 500, 900, 300, 700]
    """
    count = min(total, sample)
    even = (2 * np.arange(count, dtype=np.int64) + 1) * total // (2 * max(1, count))
    chosen: list[int] = even[np.argsort(np.arange(count) * _GOLDEN % 1, kind="stable")].tolist()
    return chosen


def _of_store(job: Job, store: layout.Store, workers: int, sample: int) -> Estimate:
    options = job.plan.options
    try:
        other = with_options(job, store=store, **_fitting(options, store))
        if other.codec is not None and options.size is None:
            _check_one_size(job, sample)
    except (OptionError, SourceError) as error:
        return Estimate(store, why_not=str(error))
    return estimate(other, workers=workers, sample=sample)


def _fitting(options: PackOptions, store: layout.Store) -> dict[str, Any]:
    """Options as that store takes them: a size and an order mean nothing to `encoded`."""
    if store == "encoded":
        return {"size": None, "color": "RGB"}
    bgr_jpeg = store == "jpeg" and options.color == "BGR"
    return {"max_side": None, "color": "RGB" if bgr_jpeg else options.color}


def _check_one_size(job: Job, sample: int) -> None:
    """Refuse a store of rows for pictures of many sizes."""
    looking = replace(job.plan.options, store="encoded", color="RGB", check="header")
    recipe = recipe_for(replace(job.plan, options=looking), None, None)
    sizes: Counter[tuple[int, int]] = Counter()
    for task in _spread(len(job.plan), sample):
        try:
            sizes[recipe.make(task, None).pieces[DATA].shape[:2]] += 1
        except PictureError:
            continue
    if len(sizes) > 1:
        shown = ", ".join(f"{height}x{width}" for (height, width), _ in sizes.most_common(2))
        raise OptionError(f"pictures of many sizes ({shown}, …): give --size")
