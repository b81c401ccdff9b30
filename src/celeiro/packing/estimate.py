"""What packing would give, from a sample: sizes and times of each store, and nothing written.

The sample is spread evenly over the plan, so that sorted classes are all in it.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from celeiro.errors import OptionError, PictureError, SourceError
from celeiro.format import layout
from celeiro.packing.assemble import split_rows
from celeiro.packing.job import one_opencv_thread
from celeiro.packing.outcome import Made
from celeiro.packing.pipeline import Stopped, in_order
from celeiro.packing.recipe import recipe_for
from celeiro.packing.report import count_classes
from celeiro.packing.work import DATA

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from celeiro.packing.job import Job
    from celeiro.packing.options import PackOptions

# Bytes a sample beside its payload: checksum, label, index, chunk index; keys come on top.
_BESIDE = 60


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one store would give."""

    store: layout.Store
    """Which."""
    file_bytes: int
    """Size of the file, as far as the sample tells."""
    seconds: float
    """Time of packing on this machine, but for waiting on the disk."""
    rate: float
    """Pictures a second."""
    sampled: int
    """Pictures that this was learned from."""
    refused: int
    """Of those, the bad ones."""
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


def forecast(
    prepare: Callable[[PackOptions], Job], options: PackOptions, *, workers: int, sample: int = 200
) -> Forecast:
    """Try a sample with every store.

    Parameters
    ----------
    prepare
        Makes a job of options, over the same source.
    sample
        Pictures to try, at most; fewer where they are large (3 s a store).
    """
    job = prepare(options)
    found = job.plan.listing
    estimates = []
    for store in layout.STORES:
        try:
            wanted = replace(options, store=store, **_fitting(options, store))
            other = job if store == options.store else prepare(wanted)
        except (OptionError, SourceError) as error:
            estimates.append(Estimate(store, 0, 0.0, 0.0, 0, 0, str(error)))
            continue
        estimates.append(estimate(other, workers=workers, sample=sample))
    splits = {name: len(r) for name, r in split_rows(found.splits, found.split_names).items()}
    return Forecast(
        pictures=len(found),
        classes=count_classes(found.labels, found.label_names),
        splits=splits,
        ignored=found.ignored,
        source_bytes=int(found.sizes.sum()),
        labels_from=found.labels_from,
        store=options.store,
        stores=tuple(estimates),
    )


def estimate(job: Job, *, workers: int, sample: int = 200, seconds: float = 3.0) -> Estimate:
    """What a job's store would give, from at most `sample` pictures and `seconds`."""
    total = len(job.plan)
    step = max(1, total // sample)
    tasks = list(range(step // 2, total, step))[:sample]
    recipe = recipe_for(job.plan, job.codec, job.mask)

    def one(task: int, stop: threading.Event) -> int | None:
        if stop.is_set():
            raise Stopped
        try:
            made = recipe.make(task, None)
        except PictureError:
            return None
        assert isinstance(made, Made)
        return sum(piece.length for name, piece in made.pieces.items() if name == DATA)

    began = time.perf_counter()
    lengths: list[int | None] = []
    with one_opencv_thread():
        results = in_order(tasks, one, workers=workers, window=4 * workers)
        for length in results:
            lengths.append(length)
            if time.perf_counter() - began > seconds:
                break
        results.close()
    elapsed = time.perf_counter() - began
    good = [length for length in lengths if length is not None]
    store = job.plan.options.store
    if not good:
        return Estimate(store, 0, 0.0, 0.0, len(lengths), len(lengths), "no picture was good")
    kept = total * len(good) / len(lengths)
    beside = _BESIDE + job.plan.listing.keys.max_length
    size = int(kept * (sum(good) / len(good) + beside)) + layout.PAYLOAD_OFFSET
    rate = len(lengths) / elapsed
    refused = len(lengths) - len(good)
    return Estimate(store, size, total / rate, rate, len(lengths), refused)


def _fitting(options: PackOptions, store: layout.Store) -> dict[str, Any]:
    """Options as that store takes them: a size and an order mean nothing to `encoded`."""
    if store == "encoded":
        return {"size": None, "color": "RGB"}
    return {"max_side": None, "color": "RGB" if store == "jpeg" and options.color == "BGR"
            else options.color}  # fmt: skip
