"""Run a plan: threads make samples, one thread commits them in order, then publish.

    plan -> blocks -> [threads: recipe] -> in order -> Work.commit … -> Work.publish

The invariant: what is committed is a prefix of the plan, so going on means beginning behind it.
The threads share nothing but the plan; only the calling thread writes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import math
import os
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError, PictureError, ResumeError, SourceError
from celeiro.format import layout
from celeiro.format.codecs import JpegCodec, filter_pipeline
from celeiro.format.names import printable
from celeiro.packing import assemble
from celeiro.packing.outcome import Made, Outcome, Progress, Refused, frame_of, read_record
from celeiro.packing.pipeline import Stopped, Turns, in_order, in_turn
from celeiro.packing.provenance import shaped_by
from celeiro.packing.publish import write_structure
from celeiro.packing.recipe import BOXES, MASK, recipe_for
from celeiro.packing.report import Report, count_classes
from celeiro.packing.stats import NOTHING, sums_of
from celeiro.packing.work import DATA, Work
from celeiro.storage import local

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from celeiro.format.codecs import Codec
    from celeiro.packing.outcome import Record
    from celeiro.packing.plan import Plan
    from celeiro.packing.recipe import FieldKind, MaskKind, Recipe

log = logging.getLogger(__name__)

# Rows of blocks in flight, bytes: with the threads' own scratch, well below 400 MB in all.
_IN_FLIGHT = 96 << 20
# Tasks that a thread takes at a time: enough that the hand-over and the frame (1 ms) do not count,
# and fewer than make Ctrl-C wait. Files that are not decoded take 50 µs each, pictures 1 ms.
_BLOCK = 16
_BLOCK_OF_FILES = 128
_BLOCK_BYTES = 4 << 20
# Files below this on average are read faster by one thread than by two, if the disk keeps up:
# 8 kB took 42 µs a file with one, 60 with two and 85 with four.
_SMALL_FILE = 32 << 10


@dataclass(frozen=True, slots=True)
class OnError:
    """What happens with a picture that cannot be packed."""

    action: str = "raise"
    """`raise`, `skip` or `quarantine`."""
    folder: Path | None = None
    """Where `quarantine` copies it to."""

    def __post_init__(self) -> None:
        """Refuse an action that does not exist, or a quarantine without a folder."""
        if self.action not in ("raise", "skip", "quarantine"):
            raise OptionError(
                f"on_error {self.action!r}: wanted 'raise', 'skip' or 'quarantine' with a folder."
            )
        if (self.action == "quarantine") != (self.folder is not None):
            raise OptionError("on_error 'quarantine' goes with a folder to copy bad pictures to.")
        if self.folder is not None and self.folder.exists() and not self.folder.is_dir():
            raise OptionError(
                f"quarantine {str(self.folder)!r} is a file; wanted a folder to copy to."
            )


@dataclass(frozen=True, slots=True)
class How:
    """What does not shape the content: speed, memory, manners."""

    workers: int
    """Threads."""
    buffer_size: int = 500
    """Samples that may be in memory at once, at most."""
    on_error: OnError = field(default_factory=OnError)
    """What happens with bad pictures."""
    on_progress: Callable[[Progress], None] | None = None
    """Called after each block, in the calling thread."""
    block: int = 0
    """Samples that a thread takes at a time, at most; 0: as many as suits the store."""
    here: bool = False
    """Whether samples are made in the calling thread, and written by another beside the next."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What samples that come from another dataset bring with them."""

    told: Mapping[str, Any]
    """Of its provenance and of what was asked, as JSON; part of the job's identity."""
    has_keys: bool = True
    """Whether the keys of the listing are names of its own, and not just numbers."""
    statistics: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    """Mean and deviation, which stay true if every sample is kept as it is."""
    measured: str = layout.MEASURED_STORED
    """What those were taken of."""
    noted: Mapping[str, Any] = field(default_factory=dict)
    """For the provenance as well, but no part of the identity: what mending a sample may change."""
    in_files: bool = False
    """Whether samples are picture files after all, which can be mended one by one."""


@dataclass(frozen=True, slots=True)
class Job:
    """A plan with everything that its samples have in common."""

    plan: Plan
    """The tasks."""
    codec: Codec | None
    """Of the store; None for `encoded`."""
    mask: MaskKind | None
    """Of the masks, where there are any and the store is not `encoded`."""
    recipe: Recipe | None = None
    """How samples are made, where they do not come from files on the disk."""
    origin: Origin | None = None
    """What is known of the samples, where they come from another dataset."""
    made: tuple[FieldKind, ...] = ()
    """Fields that the recipe makes of each sample, beside those that the plan lists."""

    @property
    def sides(self) -> tuple[str, ...]:
        """Payload streams beside the main one."""
        found = self.plan.listing
        listed = ((MASK, found.masks), (BOXES, found.boxes))
        return (
            *(name for name, there in listed if there is not None),
            *(kind.stream for kind in self.made),
        )

    @property
    def row_shape(self) -> tuple[int, ...] | None:
        """Shape of the rows that go to the file as they are; None for the other stores."""
        return None if self.codec is None or filter_pipeline(self.codec) else self.codec.shape


def run(job: Job, work: Work, how: How) -> Report:
    """Make what is not made yet, publish, and tell.

    Raises
    ------
    PictureError
        The first bad picture, with `on_error` "raise"; everything before it is committed.
    ResumeError
        Sources of what is committed changed since.
    SpaceError
        The disk is, or would be, full.
    KeyboardInterrupt
        Within a second, or the picture in hand; everything committed stays.
    """
    began = time.perf_counter()
    _check_quarantine(job, how)
    progress = _resume(job, work)
    if not work.published:
        _check_space(job, work, progress)
        _pack(job, work, how, progress)
    record = read_record(work.frames())
    if not record.progress.kept:
        reasons = _named(job.plan, record.progress.refused[:3])
        work.discard()
        raise SourceError(
            "not one picture could be packed: "
            + "; ".join(f"{name}: {reason}" for name, reason in reasons)
        )
    contents = _contents(job, work, record)
    work.publish(lambda fd: write_structure(fd, contents))
    return _report(job, work.out, record, time.perf_counter() - began, progress.resumed)


def _check_quarantine(job: Job, how: How) -> None:
    """Refuse one below the source: the next run would find the bad pictures there once more."""
    folder, found = how.on_error.folder, job.plan.listing
    if folder is None or found.labels_from not in ("folder", "name"):
        return  # a manifest names its pictures, and finds no others
    root = found.root.resolve()
    if folder.resolve().is_relative_to(root):
        raise OptionError(
            f"quarantine {str(folder)!r} stands in the source {str(root)!r}, where its pictures "
            "would be found again. Choose a folder outside."
        )


def _resume(job: Job, work: Work) -> Progress:
    """Where an earlier run stopped, once its sources are seen to be the same."""
    progress = Progress(total=len(job.plan))
    for frame in work.frames():
        first = progress.done
        last = first + frame.tasks
        now = job.plan.entries(first, min(last, len(job.plan)))
        then = frame.arrays["entry"]
        if len(now) < len(then) or (now != then).any():
            same = now == then[: len(now)]
            at = first + (int(np.argmin(same)) if not same.all() else len(now))
            name = printable(job.plan.listing.keys[at]) if at < len(job.plan) else "the end"
            raise ResumeError(
                f"the sources of {work.out} changed since packing began; the first change is at "
                f"picture {at + 1}, now {name!r}. Put them back to go on, or give --fresh to start "
                "anew (what was packed is then thrown away)."
            )
        progress.take(frame)
    progress.resumed = progress.done
    if progress.resumed:
        log.info("going on with %s at picture %d of %d", work.out, progress.done + 1, len(job.plan))
    return progress


def _check_space(job: Job, work: Work, progress: Progress) -> None:
    """Refuse to begin what cannot end; `jpeg` and `lossless` by their sources' size."""
    left = len(job.plan) - progress.done
    if job.codec is not None and job.row_shape is not None:
        need = left * math.prod(job.row_shape) * job.codec.stored.itemsize
        # Rows of a side stand on the disk twice while they are copied into the file.
        need += (left + len(job.plan)) * sum(kind.row_bytes for kind in job.made)
    elif job.codec is None:
        need = int(job.plan.listing.sizes[progress.done :].sum())
    else:
        # Nothing is known before encoding; a tenth of the raw pixels is what photographs take.
        need = left * math.prod(job.codec.shape) * job.codec.stored.itemsize // 10
    work.check_space(need)


def _pack(job: Job, work: Work, how: How, progress: Progress) -> None:
    most, window = _blocks(job, how)
    blocks = _cut(job, progress.done, most)
    rows = _Rows(job.codec, most)
    stop = threading.Event()
    turns = Turns(needed=_holds_the_lock(job))
    recipe = job.recipe or recipe_for(job.plan, job.codec, job.mask, stop=stop)
    maker = _Maker(job.plan, recipe, rows, turns)

    def take(made: _Block) -> None:
        tasks, outcomes, row_block = made
        _commit(job, work, how, progress, tasks, outcomes)
        rows.give_back(row_block)
        work.sync_now_and_then()

    def taken() -> Generator[None, None, None]:
        made = in_order(
            blocks, maker, workers=how.workers, window=window, cost=_bytes_of(job),
            limit=_IN_FLIGHT, stop=stop,
        )  # fmt: skip
        with contextlib.closing(made):
            yield from map(take, made)

    steps = in_turn(blocks, maker, take, stop=stop) if how.here else taken()
    with one_opencv_thread(), contextlib.closing(steps):
        if how.on_progress:
            how.on_progress(progress)
        for _ in steps:
            if how.on_progress:
                how.on_progress(progress)


def _holds_the_lock(job: Job) -> bool:
    """Whether the work is many short calls, for each of which a thread gives the GIL away."""
    options, sizes = job.plan.options, job.plan.listing.sizes
    decodes = job.codec is not None or options.check == "decode" or options.max_side is not None
    return not decodes and int(sizes.sum()) < len(sizes) * _SMALL_FILE


def _blocks(job: Job, how: How) -> tuple[int, int]:
    """Tasks a block, and blocks in flight, at most."""
    if job.codec is None:
        most = _BLOCK_OF_FILES if job.plan.options.check == "header" else _BLOCK
        in_flight = how.buffer_size
    else:
        weight = math.prod(job.codec.shape) * job.codec.dtype.itemsize
        most = how.block or _BLOCK
        in_flight = max(1, min(how.buffer_size, _IN_FLIGHT // max(1, weight)))
    most = max(1, min(most, in_flight // (2 * how.workers)))
    return most, max(1, min(4 * how.workers, in_flight // most))


def _bytes_of(job: Job) -> Callable[[range], int]:
    """What the files of a block weigh, which the samples of `encoded` then do as well."""
    sizes = job.plan.listing.sizes
    return lambda tasks: int(sizes[tasks.start : tasks.stop].sum())


def _cut(job: Job, first: int, most: int) -> Iterator[range]:
    """Blocks of at most so many tasks, and fewer where their files are large."""
    sizes = job.plan.listing.sizes
    while first < len(sizes):
        ends = np.cumsum(sizes[first : first + most])
        count = max(1, int(np.searchsorted(ends, _BLOCK_BYTES, side="right")))
        yield range(first, first + count)
        first += count


class _Rows:
    """Memory for the rows of one block, used again and again."""

    def __init__(self, codec: Codec | None, per_block: int) -> None:
        self._codec = codec
        self._per_block = per_block
        self._free: list[npt.NDArray[Any]] = []

    def take(self) -> npt.NDArray[Any] | None:
        if self._codec is None:
            return None
        try:
            return self._free.pop()
        except IndexError:
            return np.empty((self._per_block, *self._codec.shape), self._codec.dtype)

    def give_back(self, block: npt.NDArray[Any] | None) -> None:
        if block is not None:
            self._free.append(block)


_Block = tuple[range, list[Outcome], "npt.NDArray[Any] | None"]


class _Maker:
    """What a thread does with a block."""

    def __init__(self, plan: Plan, recipe: Recipe, rows: _Rows, turns: Turns) -> None:
        self._plan = plan
        self._recipe = recipe
        self._rows = rows
        self._turns = turns

    def __call__(self, tasks: range, stop: threading.Event) -> _Block:
        with self._turns.take():
            return self._make(tasks, stop)

    def _make(self, tasks: range, stop: threading.Event) -> _Block:
        block = self._rows.take()
        outcomes: list[Outcome] = []
        for at, task in enumerate(tasks):
            if stop.is_set():
                raise Stopped
            try:
                outcomes.append(self._recipe.make(task, None if block is None else block[at]))
            except PictureError as error:
                outcomes.append(Refused(str(error)))
            except Exception as error:
                # Nobody's fault but ours: whoever reports it should be able to say where.
                error.add_note(f"while packing {printable(self._plan.listing.path(task))}")
                raise
        if block is not None and self._recipe.sums_of_rows:
            outcomes = _with_sums(outcomes, block)
        return tasks, outcomes, block


def _with_sums(outcomes: list[Outcome], block: npt.NDArray[Any]) -> list[Outcome]:
    """The outcomes with the sums over their rows: all in one on the last, if none is bad.

    Each call of OpenCV gives the GIL away and waits to get it back, and a picture took five.
    """
    made = [at for at, o in enumerate(outcomes) if isinstance(o, Made)]
    if len(made) < len(outcomes):
        sums = {at: sums_of(block[at]) for at in made}
    else:
        height, *rest = block.shape[1:]
        rows = block[: len(outcomes)].reshape(len(outcomes) * height, *rest)
        sums = {made[-1]: sums_of(rows)}
    return [
        replace(o, sums=sums.get(at, NOTHING)) if isinstance(o, Made) else o
        for at, o in enumerate(outcomes)
    ]


def _commit(
    job: Job, work: Work, how: How, progress: Progress, tasks: range, outcomes: list[Outcome]
) -> None:
    """Commit a block; with `on_error` "raise", the good ones before the first bad one."""
    refused = [(at, o.reason) for at, o in enumerate(outcomes) if isinstance(o, Refused)]
    bad, reason = refused[0] if refused else (None, "")
    if how.on_error.action == "raise":
        outcomes = outcomes[:bad]
    if outcomes:
        frame, payload = frame_of(
            outcomes,
            ends=work.ends,
            before=progress.sums,
            wide=() if job.codec is not None else (DATA, MASK),
            entries=job.plan.entries(tasks.start, tasks.start + len(outcomes)),
        )
        if how.on_error.folder is not None:
            for at, why in refused:
                _quarantine(job.plan, tasks.start + at, why, how.on_error.folder)
        work.commit(frame, payload)
        progress.take(frame)
    if bad is not None and how.on_error.action == "raise":
        raise _stopping_error(job, work, tasks.start + bad, reason)


def _stopping_error(job: Job, work: Work, task: int, reason: str) -> PictureError:
    """The error that stops the job at a bad picture, with what can be done about it."""
    path = printable(job.plan.listing.path(task))
    done = f"({task:,} of {len(job.plan):,} done)"
    if job.origin is not None and not job.origin.in_files:
        # A sample of a dataset cannot be mended, nor put somewhere else.
        kept = f" What was packed before it is kept in {work.folder} {done}." if task else ""
        return PictureError(f"{path}: {reason}.{kept} Leave bad ones out with --on-error skip.")
    kept = (
        f"What was packed before it is kept in {work.folder} {done}: mend or remove this one and "
        "give the same command again to go on"
        if task
        else "It is the first one: mend or remove it"
    )
    quarantine = "" if job.origin is not None else " (or quarantine DIR)"
    return PictureError(
        f"{path}: {reason}. {kept}, or leave bad ones out with --on-error skip{quarantine}."
    )


def _quarantine(plan: Plan, task: int, reason: str, folder: Path) -> None:
    """Copy a bad picture to a folder, under its own name, and say why in a list beside it.

    Nothing is moved: the source stays as it is. A name that would lead out of the folder (a
    manifest may hold "../x.jpg") loses the parts that do, and what stands there already stays.
    """
    key = plan.listing.keys[task]
    parts = [p for p in os.fsdecode(key).split("/") if p not in ("", ".", "..")]
    target = folder.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        data = local.read_file(plan.listing.path(task))
    except OSError:
        pass  # bad may mean that it is not there, or cannot be read
    else:
        _write_beside(target, data)
    with (folder / "reasons.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"path": printable(key), "reason": reason}) + "\n")


def _write_beside(path: Path, data: bytes) -> None:
    """Write a file under this name, or another where it is taken; not again if it is there."""
    others = (path.with_stem(f"{path.stem}~{number}") for number in itertools.count(2))
    for free in itertools.chain([path], others):
        try:
            with free.open("xb") as file:
                file.write(data)
            return
        except FileExistsError:
            if free.is_file() and free.read_bytes() == data:
                return


@contextlib.contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Our threads each do a picture; OpenCV's own would only get in their way."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _named(plan: Plan, refused: list[tuple[int, str]]) -> list[tuple[str, str]]:
    return [(printable(plan.listing.keys[task]), reason) for task, reason in refused]


def _contents(job: Job, work: Work, record: Record) -> Any:
    plan, options = job.plan, job.plan.options
    found = plan.listing.take(record.kept)
    origin = job.origin or Origin({})
    columns = assemble.listing_columns(
        found.labels, found.label_names, found.keys if origin.has_keys else None, found.fields
    )
    measured = layout.MEASURED_STORED
    if not record.progress.sums.count and len(record.kept) == len(plan):
        columns |= origin.statistics
        measured = origin.measured
    elif isinstance(job.codec, JpegCodec) and options.check != "decode":
        measured = layout.MEASURED_INPUT
    return assemble.assemble(
        record,
        store=options.store,
        key=options.key,
        codec=job.codec,
        columns=columns,
        splits=assemble.split_rows(found.splits, found.split_names),
        color=options.color,
        measured=measured,
        provenance={
            **shaped_by(options, masks=job.mask is not None),
            "labels_from": found.labels_from,
            "source_bytes": int(found.sizes.sum()),
            "refused": len(record.progress.refused),
            **origin.told,
            **origin.noted,
        },
        mask=job.mask,
        made=job.made,
        read_side=work.read_side,
    )


def identity(job: Job) -> dict[str, Any]:
    """What a job must have in common with one that was begun to go on with it."""
    shape = None if job.codec is None else list(job.codec.shape)
    told = shaped_by(job.plan.options, masks=job.mask is not None)
    shared = {"sample_shape": shape, "sides": list(job.sides), "made_by": told["made_by"]}
    origin = {} if job.origin is None else {"origin": dict(job.origin.told)}
    made = {kind.name: [list(kind.shape), kind.dtype.str] for kind in job.made}
    return {**told["options"], **shared, **origin, **({"made": made} if made else {})}


def _report(job: Job, out: Path, record: Record, seconds: float, resumed: int) -> Report:
    found = job.plan.listing.take(record.kept)
    file_bytes = out.stat().st_size
    return Report(
        path=out,
        store=job.plan.options.store,
        samples=record.progress.kept,
        shape=None if job.codec is None else job.codec.shape,
        dtype="uint8" if job.codec is None else str(job.codec.stored),
        classes=count_classes(found.labels, found.label_names),
        splits={
            name: len(rows)
            for name, rows in assemble.split_rows(found.splits, found.split_names).items()
        },
        refused=_named(job.plan, record.progress.refused),
        ignored=found.ignored,
        file_bytes=file_bytes,
        payload_bytes=record.progress.bytes_done,
        source_bytes=int(found.sizes.sum()),
        raw_bytes=assemble.raw_bytes(record, job.codec),
        seconds=seconds,
        resumed=resumed,
    )
