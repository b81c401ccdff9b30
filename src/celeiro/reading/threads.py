"""Threads that share the work of one batch, the caller's among them.

    share(work, 256, workers=2)  ->  work(0, 64) · work(64, 112) · … in whichever thread is free

The invariant: when `share` returns or raises, no thread is at work any more, so the memory that
they fill is the caller's again. The threads wait for the next batch; a forked process, where no
thread survives, makes new ones.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Never more at work than callers ask for; this bounds what all of them ask for together.
_MOST_THREADS = 256
# The smallest span is a thread's share by so many, for work as short as copying a row.
_FINEST = 64

_pool: ThreadPoolExecutor | None = None


class _Mine(threading.local):
    alone = False


_mine = _Mine()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """What this thread shares in here it does itself: it is already one of several at work."""
    before, _mine.alone = _mine.alone, True
    try:
        yield
    finally:
        _mine.alone = before


def share(work: Callable[[int, int], None], count: int, *, workers: int) -> None:
    """Call `work(first, last)` for spans that cover 0 ≤ i < count once each.

    Raises
    ------
    Exception
        The first that `work` raised; spans that were not begun are left out.
    """
    workers = 1 if _mine.alone else min(workers, count)
    if workers <= 1:
        if count:
            work(0, count)
        return
    left = deque(spans(count, workers))
    busy: list[int] = []  # who may be at work
    failed: list[BaseException] = []

    def run() -> None:
        busy.append(threading.get_ident())
        try:
            while left:
                try:
                    first, last = left.popleft()
                except IndexError:
                    return
                work(first, last)
        except BaseException as error:
            failed.append(error)
            left.clear()
        finally:
            busy.remove(threading.get_ident())

    others: list[Future[None]] = []
    interrupt: BaseException | None = None
    try:
        _start(run, workers - 1, others)
        run()
        wait(others)
    finally:
        # Ctrl-C may come at any call, in here too and within `_start`, so that `others` may lack
        # one, as it does of a thread that could not be started. Whoever begins from now on finds
        # nothing left; whoever is busy is waited for.
        while True:
            try:
                left.clear()
                while _anybody_else(busy):
                    time.sleep(0.0002)
                break
            except BaseException as error:
                interrupt = error
    if interrupt is not None:
        raise interrupt
    if failed:
        raise failed[0]


def _anybody_else(busy: list[int]) -> bool:
    me = threading.get_ident()
    return any(who != me for who in tuple(busy))


def spans(count: int, workers: int, least: int = 1) -> Iterator[tuple[int, int]]:
    """Spans that shrink: large ones cost nothing, and small ones let all threads end together.

    In 16 spans of 16 pictures one thread waits while the other decodes the last: 3 % of a batch.
    No span but the last is smaller than `least`.
    """
    first, least = 0, max(least, count // (workers * _FINEST))
    while first < count:
        last = min(count, first + max(least, (count - first) // (2 * workers)))
        yield first, last
        first = last


def _start(run: Callable[[], None], count: int, others: list[Future[None]]) -> None:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="celeiro-read")
    with contextlib.suppress(RuntimeError):  # Python is ending and starts no thread: ours does it
        others.extend(_pool.submit(run) for _ in range(count))


class Lock:
    """A lock that nobody holds in a process that was just forked, whoever held it at that moment.

    What it guards must be whole whenever the lock is taken, also where its holder never ended.
    """

    _all: ClassVar[weakref.WeakSet[Lock]] = weakref.WeakSet()

    def __init__(self) -> None:
        self.plain = threading.Lock()
        """To be taken by ``with lock.plain:``. With a method of ours in between, Ctrl-C after it
        took the lock and before the block began would leave it taken for ever."""
        Lock._all.add(self)

    @classmethod
    def free_all(cls) -> None:
        """Make every lock anew."""
        for lock in cls._all:
            lock.plain = threading.Lock()


def _forget() -> None:
    global _pool
    _pool = None
    Lock.free_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
