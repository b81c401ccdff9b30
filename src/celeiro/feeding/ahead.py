"""Batches that are made ahead of who asks for them, by threads that share each.

    batch 0  ▓▓▓▓▓▓▓▓ ready        take() ─> batch 0
    batch 1  ▓▓▓▓░░ thread 1, thread 2 …
    batch 2  begun when batch 0 is taken

All threads work at the oldest batch that has work left, so that the first one is there as soon as
can be; who finds none left begins the next, so that none waits for the others at a batch's end.

The invariant: batches are given in their order, an error in place of the batch that it befell; and
`stop` returns when no thread is at work any more.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from celeiro.reading import threads

if TYPE_CHECKING:
    from collections.abc import Callable

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

# Seconds after which who waits looks whether the others are still there.
_LOOK = 0.1
# Seconds in which a thread that was started is seen to run.
_STARTS = 5.0


class Job(Protocol[T_co]):
    """The work of one batch."""

    @property
    def count(self) -> int:
        """Parts of the work, which may be done in any order by any thread."""
        ...

    @property
    def least(self) -> int:
        """Parts that are worth being handed to a thread."""
        ...

    def work(self, first: int, last: int) -> None:
        """Do the parts first ≤ i < last."""
        ...

    def finish(self) -> T_co:
        """The batch, once all parts are done."""
        ...


class _Open(Generic[T]):
    """A batch that was begun and not taken."""

    def __init__(self) -> None:
        self.job: Job[T] | None = None
        self.left = 0
        self.done = False
        self.result: T | None = None
        self.error: BaseException | None = None


class Ahead(Generic[T]):
    """Batches, made by threads.

    Parameters
    ----------
    begin
        Gives the job of a batch by its number; called for one batch after the other. The job may
        ask the function that is passed with it whether its work is still wanted.
    count
        Batches.
    workers
        Threads, which are there from `start` or the first `take` on.
    prefetch
        Batches that may be begun and not yet taken.
    """

    def __init__(
        self,
        begin: Callable[[int, Callable[[], bool]], Job[T]],
        count: int,
        *,
        workers: int,
        prefetch: int,
    ) -> None:
        self._crew = _Crew(begin, count, workers, prefetch)
        # Ctrl-C may come before anybody calls `stop`: threads do not outlive this object.
        self._unstopped = weakref.finalize(self, self._crew.end)
        self._unstopped.atexit = False

    def start(self) -> None:
        """Begin before the first batch is asked for."""
        self._crew.start()

    def take(self) -> T:
        """Give the next batch, when it is ready; raise what went wrong in making it."""
        return self._crew.take()

    def stop(self) -> None:
        """End the threads; what they are at is finished and thrown away."""
        interrupt: BaseException | None = None
        while True:  # Ctrl-C may come at any call in here
            try:
                self._crew.end()
                self._crew.join()
                self._unstopped.detach()  # a Ctrl-C that came in there would be swallowed
                break
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt


class _Crew(Generic[T]):
    """The threads, and what they share; they hold this, and not the `Ahead` that they work for."""

    def __init__(
        self,
        begin: Callable[[int, Callable[[], bool]], Job[T]],
        count: int,
        workers: int,
        prefetch: int,
    ) -> None:
        self._begin = begin
        self._count = count
        self._prefetch = prefetch
        self._workers = workers
        # Who takes batches may be told Ctrl-C at any line of Python, also at one of Condition's,
        # which would then keep the lock. So that thread holds the lock itself, and waits for the
        # queue: both are C.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._ready: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._open: dict[int, _Open[T]] = {}
        self._spans: deque[tuple[_Open[T], int, int]] = deque()
        self._begun = self._taken = 0
        self._beginning = self._stopped = False
        self._threads: list[threading.Thread] = []
        self._taker = threading.current_thread()
        self._process = os.getpid()

    def is_wanted(self) -> bool:
        """Whether batches are still asked for."""
        return not self._stopped

    def start(self) -> None:
        """Start the threads, as far as they are not there yet."""
        with self._lock:
            while len(self._threads) < self._workers and not self._stopped:
                at = len(self._threads)
                thread = threading.Thread(target=self._run, name=f"celeiro-feed-{at}")
                self._threads.append(thread)
                thread.start()

    def take(self) -> T:
        """The next batch, when it is ready; raises what went wrong in making it."""
        if self._process != os.getpid():
            raise RuntimeError(
                "a loader cannot be iterated over in a process that was forked meanwhile: its "
                "threads are in the other one. Begin a new iteration."
            )
        number = self._taken
        self._taker = threading.current_thread()
        self.start()
        while (found := self._finished(number)) is None:
            with contextlib.suppress(queue.Empty):
                self._ready.get(timeout=_LOOK)
        if found.error is not None:
            raise found.error
        result, found.result = found.result, None
        return result  # type: ignore[return-value]

    def _finished(self, number: int) -> _Open[T] | None:
        """A batch that is taken with this, or None where it is not ready."""
        with self._lock:
            found = self._open.get(number)
            if found is not None and found.done:
                del self._open[number]
                self._taken += 1
                self._changed.notify_all()
                return found
            if not any(thread.is_alive() for thread in self._threads):
                raise RuntimeError(
                    f"the threads that make batches ended before batch {number}: the iteration "
                    "was ended, or Python is ending."
                )
        return None

    def end(self) -> None:
        """Let the threads end."""
        if self._process != os.getpid():  # forked: they are not here, and may hold the lock
            return
        with self._lock:
            self._stopped = True
            self._spans.clear()
            self._open.clear()
            self._changed.notify_all()

    def join(self) -> None:
        """Wait until they did."""
        me = threading.current_thread()
        if me in self._threads or self._process != os.getpid():
            # Garbage collection came by in one of the threads themselves, whichever lock it holds:
            # the others may be waiting for that lock.
            return
        for thread in self._threads:
            # Ctrl-C may have kept it from starting, or its starter from seeing that it did.
            until = time.monotonic() + _STARTS
            while (
                thread.ident is None
                and thread in threading.enumerate()
                and time.monotonic() < until
            ):
                time.sleep(0.001)
            if thread.ident is not None:
                thread.join()
        self._open.clear()

    # In the threads

    def _run(self) -> None:
        while True:
            step = self._next()
            if step is None:
                return
            if isinstance(step, int):
                self._start(step)
            else:
                self._do(*step)
            del step  # holds a batch while this thread waits

    def _next(self) -> tuple[_Open[T], int, int] | int | None:
        """A span of an open batch, the number of a batch to begin, or None at the end."""
        with self._changed:
            while not self._stopped:
                if self._spans:
                    return self._spans.popleft()
                if self._begun == self._count and not self._beginning:
                    return None
                if not self._beginning and self._begun - self._taken < self._prefetch:
                    self._beginning = True
                    self._begun += 1
                    return self._begun - 1
                self._changed.wait(_LOOK)
                if self._nobody_asks():
                    return None
        return None

    def _nobody_asks(self) -> bool:
        """Whether Python is ending, and waits for these threads alone."""
        taker = self._taker
        asks = taker.is_alive() and not taker.daemon
        return not asks and not threading.main_thread().is_alive()

    def _start(self, number: int) -> None:
        found: _Open[T] = _Open()
        try:
            job = self._begin(number, self.is_wanted)
        except BaseException as error:
            found.error, found.done = error, True
            spans = []
        else:
            found.job, found.left = job, job.count
            # The first batch is waited for. Of the others none is: who ends early begins the next.
            least = job.least if number == 0 else max(job.least, job.count // (4 * self._workers))
            spans = list(threads.spans(job.count, self._workers, least))
            if not spans:
                self._finish(found)
        with self._changed:
            self._open[number] = found
            if not self._stopped:
                self._spans.extend((found, first, last) for first, last in spans)
            self._beginning = False
            self._changed.notify_all()
        if found.done:
            self._tell()

    def _do(self, found: _Open[T], first: int, last: int) -> None:
        job = found.job
        try:
            if found.error is None and job is not None:
                job.work(first, last)
        except BaseException as error:
            found.error = error
        with self._changed:
            found.left -= last - first
            if found.left:
                return
        self._finish(found)
        self._tell()

    def _tell(self) -> None:
        """Wake who takes batches, who looks at them after taking what stands in the queue."""
        if self._ready.empty():
            self._ready.put(None)

    def _finish(self, found: _Open[T]) -> None:
        job, found.job = found.job, None
        try:
            if found.error is None and job is not None:
                found.result = job.finish()
        except BaseException as error:
            found.error = error
        found.done = True
