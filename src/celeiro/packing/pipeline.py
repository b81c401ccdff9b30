"""Blocks of tasks done by threads, handed back in order, with a bounded number in flight.

    in_order    blocks -> [thread] [thread] … -> results, in the order of the blocks
    in_turn     blocks -> [this thread] -> [one that takes the result, beside the next block]

The invariant: at most `window` blocks are begun and not yet handed back (two, in turn), whatever
the speed of the threads, so memory does not depend on how many there are. Leaving early (an
exception, Ctrl-C, `break`) cancels what is not begun and waits only for the tasks in hand.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from concurrent.futures import Future

# A block that takes this many times its work waits for the disk (or the machine is busy).
_MOSTLY_WAITING = 1.5
# How often a thread that waits for memory looks whether it shall stop, seconds.
_LOOK_EVERY = 0.1

Block = TypeVar("Block")
Result = TypeVar("Result")


class Stopped(Exception):
    """Raised in a thread to leave a block early; never reaches the caller."""


def in_order(
    blocks: Iterable[Block],
    work: Callable[[Block, threading.Event], Result],
    *,
    workers: int,
    window: int,
    cost: Callable[[Block], int] = lambda _: 0,
    limit: int = 0,
    stop: threading.Event | None = None,
) -> Generator[Result, None, None]:
    """Results of `work(block, stop)` in the order of `blocks`.

    At most `window` blocks are in flight, and no more than cost `limit` together (or one alone).
    `work` looks at `stop` between its tasks and raises `Stopped` once it is set; who has more
    that waits for it (a `Budget`) hands the event in. `blocks` is iterated in the calling thread,
    so a user's iterator need not be safe for threads.
    """
    stop = stop or threading.Event()
    pending: deque[tuple[Future[Result], int]] = deque()
    spent = 0
    pool = ThreadPoolExecutor(workers, thread_name_prefix="celeiro-pack")
    try:
        for block in blocks:
            price = cost(block)
            while pending and (len(pending) >= window or spent + price > limit):
                spent -= pending[0][1]
                yield pending.popleft()[0].result()
            pending.append((pool.submit(work, block, stop), price))
            spent += price
        while pending:
            yield pending.popleft()[0].result()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def in_turn(
    blocks: Iterable[Block],
    work: Callable[[Block, threading.Event], Result],
    take: Callable[[Result], object],
    *,
    stop: threading.Event | None = None,
) -> Generator[None, None, None]:
    """`work(block, stop)` of each in this thread, and `take` of its result in another.

    Yields whenever a result was taken. For work that is bound to its caller's thread: OpenMP keeps
    threads for each that calls it, and once they are more than the cores none waits in a loop.
    """
    stop = stop or threading.Event()
    taking: Future[object] | None = None
    pool = ThreadPoolExecutor(1, thread_name_prefix="celeiro-pack")
    try:
        for block in blocks:
            try:
                result = work(block, stop)
            except Exception:
                if taking is not None:
                    taking.result()  # what befell an earlier block is told first
                raise
            if taking is not None:
                taking.result()
                yield
            taking = pool.submit(take, result)
        if taking is not None:
            taking.result()
            yield
    finally:
        stop.set()
        _wait_for(pool)


def _wait_for(pool: ThreadPoolExecutor) -> None:
    """Until its threads are done, whatever comes: who calls closes what they write to."""
    interrupt: KeyboardInterrupt | None = None
    while True:
        try:
            pool.shutdown(wait=True)
            break
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


class Turns:
    """One thread at a time, until it is seen to wait for the disk: then all at once.

    Short calls that give the GIL away make threads wait for each other more than they work.

    Parameters
    ----------
    needed
        Whether to begin so; otherwise all threads work at once from the beginning.
    """

    def __init__(self, *, needed: bool) -> None:
        self._needed = needed
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        """Wait for the turn, where turns are taken; it ends with the `with` block."""
        if not self._needed:
            yield
            return
        with self._lock:
            began, worked = time.perf_counter(), time.thread_time()
            yield
            worked = time.thread_time() - worked
            if time.perf_counter() - began > _MOSTLY_WAITING * worked:
                self._needed = False


class Budget:
    """A shared allowance of bytes: large pictures take turns, small ones do not wait.

    A request larger than the whole allowance is granted alone, and none is once `stop` is set:
    who waits then leaves by `Stopped`.
    """

    def __init__(self, total: int, stop: threading.Event | None = None) -> None:
        self._total = total
        self._used = 0
        self._stop = stop or threading.Event()
        self._changed = threading.Condition()

    def take(self, size: int) -> Budget.Grant:
        """Wait until `size` bytes are free; give them back by leaving the `with` block."""
        if not size:
            return Budget.Grant(self, 0)
        size = min(size, self._total)
        with self._changed:
            while not self._stop.is_set() and self._used + size > self._total:
                self._changed.wait(_LOOK_EVERY)
            if self._stop.is_set():
                raise Stopped
            self._used += size
        return Budget.Grant(self, size)

    def _give_back(self, size: int) -> None:
        with self._changed:
            self._used -= size
            self._changed.notify_all()

    class Grant:
        """Bytes taken from a budget."""

        def __init__(self, budget: Budget, size: int) -> None:
            self._budget = budget
            self._size = size

        def __enter__(self) -> None:
            """Nothing more: the bytes are taken already."""

        def __exit__(self, *_: object) -> None:
            if self._size:
                self._budget._give_back(self._size)
