"""Batches made ahead: all of them, in order, errors in their place, and threads that end."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeiro.feeding.ahead import Ahead


@dataclass
class Count:
    """A job that notes which parts were done."""

    number: int
    count: int
    least: int = 1
    done: list[int] = field(default_factory=list)
    fail: str = ""

    def work(self, first: int, last: int) -> None:
        if self.fail == "work":
            raise ZeroDivisionError(self.number)
        self.done.extend(range(first, last))

    def finish(self) -> tuple[int, list[int]]:
        if self.fail == "finish":
            raise ZeroDivisionError(self.number)
        return self.number, sorted(self.done)


def feeders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("celeiro-feed")]


@settings(max_examples=50)
@given(st.integers(0, 12), st.integers(0, 70), st.integers(1, 5), st.integers(1, 4))
def test_all_parts_of_all_batches_are_done_in_order(
    batches: int, parts: int, workers: int, prefetch: int
) -> None:
    ahead = Ahead(lambda n, _: Count(n, parts), batches, workers=workers, prefetch=prefetch)
    found = [ahead.take() for _ in range(batches)]
    ahead.stop()
    assert found == [(number, list(range(parts))) for number in range(batches)]
    assert not feeders()


def test_no_more_is_begun_than_asked_for() -> None:
    begun: list[int] = []

    def begin(number: int, _is_wanted: object) -> Count:
        begun.append(number)
        return Count(number, 3)

    ahead = Ahead(begin, 100, workers=3, prefetch=2)
    for number in range(10):
        assert ahead.take()[0] == number
        assert len(begun) <= number + 1 + 2
    ahead.stop()
    assert begun == sorted(begun)


@pytest.mark.parametrize("where", ["begin", "work", "finish"])
def test_an_error_comes_in_its_batchs_place(where: str) -> None:
    def begin(number: int, _is_wanted: object) -> Count:
        if where == "begin" and number == 2:
            raise ZeroDivisionError(2)
        return Count(number, 9, fail=where if number == 2 else "")

    ahead = Ahead(begin, 5, workers=2, prefetch=3)
    assert [ahead.take()[0] for _ in range(2)] == [0, 1]
    with pytest.raises(ZeroDivisionError, match="2"):
        ahead.take()
    ahead.stop()
    assert not feeders()


def test_stopping_in_the_middle_leaves_no_thread_and_no_batch() -> None:
    begun: list[weakref.ref[Count]] = []

    def begin(number: int, _is_wanted: object) -> Count:
        job = Count(number, 1000)
        begun.append(weakref.ref(job))
        return job

    ahead = Ahead(begin, 1000, workers=4, prefetch=8)
    ahead.take()
    ahead.stop()
    ahead.stop()
    assert not feeders()
    gc.collect()
    assert begun
    assert not [job for job in begun if job() is not None]


def test_what_is_garbage_in_one_of_its_own_threads_waits_for_nobody() -> None:
    """Collected there, whichever lock that thread holds; the others may be waiting for it."""
    lock = threading.Lock()
    ended = threading.Event()

    class Holding:
        count = 4
        least = 1

        def work(self, first: int, last: int) -> None:
            with lock:
                if cycle:
                    cycle.clear()
                    gc.collect()  # stops the very threads that wait for the lock
                    ended.set()
                time.sleep(0.001)

        def finish(self) -> None:
            return None

    class Owner:
        def __init__(self) -> None:
            self.ahead = Ahead(lambda n, _: Holding(), 100, workers=3, prefetch=2)
            self.me = self

        def __del__(self) -> None:
            self.ahead.stop()

    cycle: list[Owner] = []
    owner = Owner()
    owner.ahead.take()
    cycle.append(owner)
    del owner
    assert ended.wait(20)
    deadline = time.monotonic() + 20
    while feeders() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not feeders()


def test_batches_are_made_for_a_thread_that_outlives_the_main_one() -> None:
    program = """
import threading, time
from celeiro.feeding.ahead import Ahead
class Job:
    count = 5
    least = 1
    def work(self, first, last): pass
    def finish(self): return 1
def train():
    ahead = Ahead(lambda n, is_wanted: Job(), 5, workers=2, prefetch=2)
    found = [ahead.take()]
    threading.main_thread().join()
    time.sleep(1.2)  # longer than threads wait before they look who is there
    print(sum(found + [ahead.take() for _ in range(4)]))
threading.Thread(target=train).start()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert done.stdout == b"5\n", done.stderr


def test_python_ends_while_batches_wait_to_be_taken() -> None:
    program = """
from celeiro.feeding.ahead import Ahead
class Job:
    count = 5
    least = 1
    def work(self, first, last): pass
    def finish(self): return 1
ahead = Ahead(lambda n, is_wanted: Job(), 1000, workers=2, prefetch=2)
print(ahead.take())
"""
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert done.stdout == b"1\n"
    assert done.returncode == 0
    assert not done.stderr
    assert time.monotonic() - begun < 30
