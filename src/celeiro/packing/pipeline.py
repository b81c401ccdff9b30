"""Blocks of tasks done by threads, handed back in order, with a bounded number in flight.

    blocks -> [thread] [thread] … -> results, in the order of the blocks

The invariant: at most `window` blocks are begun and not yet handed back, whatever the speed of
the threads, so memory does not depend on how many there are. Leaving early (an exception, Ctrl-C,
`break`) cancels what is not begun and waits only for the tasks in hand.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from concurrent.futures import Future

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
) -> Generator[Result, None, None]:
    """Results of `work(block, stop)` in the order of `blocks`.

    At most `window` blocks are in flight, and no more than cost `limit` together (or one alone).
    `work` looks at `stop` between its tasks and raises `Stopped` once it is set. `blocks` is
    iterated in the calling thread, so a user's iterator need not be safe for threads.
    """
    stop = threading.Event()
    pending: deque[tuple[Future[Result], int]] = deque()
    spent = 0
    pool = ThreadPoolExecutor(workers, thread_name_prefix="celeiro")
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


class Budget:
    """A shared allowance of bytes: large pictures take turns, small ones do not wait.

    A request larger than the whole allowance is granted alone.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._used = 0
        self._changed = threading.Condition()

    def take(self, size: int) -> Budget.Grant:
        """Wait until `size` bytes are free; give them back by leaving the `with` block."""
        if not size:
            return Budget.Grant(self, 0)
        size = min(size, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._used + size <= self._total)
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
