"""Progress of long work: a bar on a terminal, a log line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from celeiro.cli.words import say, size_of, time_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celeiro.packing.outcome import Progress

# Where nobody watches, a line this often.
_EVERY = 5.0


@contextmanager
def watched(what: str, *, quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """A callback that shows progress; None where nothing is to be shown."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bar(what) as show:
            yield show
    else:
        yield _Lines(what)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[Progress], None]]:
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.TaskProgressColumn(),
        rich.TextColumn("{task.fields[detail]}"),
        rich.TimeElapsedColumn(),
    )
    with rich.Progress(*columns, console=Console(stderr=True), refresh_per_second=5) as bar:
        task = bar.add_task(what, total=None, detail="")
        rate = _Rate()

        def show(progress: Progress) -> None:
            bar.update(
                task, total=progress.total, completed=progress.done, detail=rate.describe(progress)
            )

        yield show


class _Lines:
    """One line every few seconds."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._rate = _Rate()
        self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last < _EVERY:
            return
        self._last = now
        of = "" if progress.total is None else f" of {progress.total:,}"
        say(f"{self._what}: {progress.done:,}{of}, {self._rate.describe(progress)}")


class _Rate:
    """Pictures a second over the last half minute, and the time left at that rate."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, int]] = []
        self._began = time.monotonic()

    def describe(self, progress: Progress) -> str:
        """The rate, the bytes, the time left, and the bad ones so far."""
        now = time.monotonic()
        if not self._marks:
            self._marks.append((self._began, progress.resumed))
        self._marks.append((now, progress.done))
        if len(self._marks) > 2 and (now - self._marks[0][0] > 30 or len(self._marks) > 2000):
            # Halved and not shortened by one, so that this costs nothing however often it is asked.
            del self._marks[: len(self._marks) // 2]
        since, before = self._marks[0]
        rate = (progress.done - before) / (now - since) if now > since else 0.0
        parts = [f"{rate:,.0f}/s", size_of(progress.bytes_done)]
        if rate and progress.total is not None:
            parts.append(f"{time_of((progress.total - progress.done) / rate)} left")
        if progress.refused:
            parts.append(f"{len(progress.refused):,} bad")
        return ", ".join(parts)
