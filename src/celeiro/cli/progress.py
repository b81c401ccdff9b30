"""Progress of long work: a bar on a terminal, a log line every few seconds elsewhere.

    listing photos/ ━━━━━━━━━━━━━━━━━━━━━━
    packing ━━━━━━━━━━━╸━━━━━━━━━━  51% 3,712/s, 607 MB, 12 s left, 3 bad

Everything here goes to stderr; the bar is wiped away when the work is over.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from celeiro.cli.words import rate_of, say, size_of, time_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celeiro.packing.outcome import Progress

# Where nobody watches, a line this often; where somebody does, a change this often.
_LINE_EVERY = 5.0
_SHOW_EVERY = 0.1
# The rate is that of so many seconds: steady, and yet the machine's present one.
_WINDOW = 30.0
# Of less time than this no rate is told.
_TOO_EARLY = 0.3


class Watch(Protocol):
    """What shows progress."""

    def begin(self, what: str) -> None:
        """Say what is being done from now on."""
        ...

    def __call__(self, progress: Progress) -> None:
        """Say how far it is."""
        ...


@contextmanager
def watched(*, quiet: bool) -> Iterator[Watch]:
    """Whatever suits the place: nothing, a bar, or lines."""
    if quiet:
        yield _Silence()
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _bar() as bar:
            yield bar
    else:
        yield _Lines()


class Pace:
    """Tasks a second over the last half minute, and the time left at that rate."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._marks: list[tuple[float, int]] = []

    def describe(self, progress: Progress, now: float) -> str:
        """The rate, the bytes, the time left, and the bad ones so far; `now` in seconds."""
        if not self._marks or now - self._marks[-1][0] >= _SHOW_EVERY:
            self._marks.append((now, progress.done))
        while len(self._marks) > 2 and now - self._marks[0][0] > _WINDOW:
            del self._marks[0]  # of some 300
        since, before = self._marks[0]
        spent, done = now - since, progress.done - before
        parts = [size_of(progress.bytes_done)]
        if progress.done == progress.total:
            parts.append("finishing")
        elif spent > _TOO_EARLY and done:
            parts.insert(0, rate_of(done / spent))
            if progress.total is not None:
                parts.append(f"{time_of((progress.total - progress.done) * spent / done)} left")
        if progress.refused:
            parts.append(f"{len(progress.refused):,} bad")
        return ", ".join(parts)


class _Silence:
    """Nothing is shown."""

    def begin(self, what: str) -> None:
        """Nothing."""

    def __call__(self, progress: Progress) -> None:
        """Nothing."""


class _Lines:
    """One line every few seconds."""

    def __init__(self) -> None:
        self._what = ""
        self._pace = Pace()
        self._last = time.monotonic()

    def begin(self, what: str) -> None:
        self._what = what

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        told = self._pace.describe(progress, now)
        if now - self._last < _LINE_EVERY:
            return
        self._last = now
        of = "" if progress.total is None else f" of {progress.total:,}"
        say(f"{self._what} {progress.done:,}{of}, {told}")


class _Bar:
    """A bar that moves."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None, detail="")
        self._pace = Pace()
        self._last = 0.0

    def begin(self, what: str) -> None:
        self._bar.update(self._task, description=what)

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last < _SHOW_EVERY and progress.done != progress.total:
            return
        self._last = now
        told = self._pace.describe(progress, now)
        self._bar.update(
            self._task, total=progress.total, completed=progress.done, detail=told, refresh=True
        )


@contextmanager
def _bar() -> Iterator[_Bar]:
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        rich.TaskProgressColumn(),
        rich.TextColumn("{task.fields[detail]}", markup=False),
    )
    console = Console(stderr=True, highlight=False)
    with rich.Progress(*columns, console=console, transient=True, refresh_per_second=8) as bar:
        yield _Bar(bar)
