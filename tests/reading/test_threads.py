"""Work shared among threads: all of it is done, or an error says so."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeiro.reading import threads


@given(st.integers(0, 2000), st.integers(1, 9))
def testspans_cover_all_of_it_once(count: int, workers: int) -> None:
    seen = [
        number for first, last in threads.spans(count, workers) for number in range(first, last)
    ]
    assert seen == list(range(count))


def test_no_span_but_the_last_is_smaller_than_worth_it() -> None:
    sizes = [last - first for first, last in threads.spans(256, 2, 21)]
    assert sizes[:2] == [64, 48]
    assert all(size >= 21 for size in sizes[:-1])
    assert len(sizes) < 12


def test_who_is_alone_does_all_of_it_himself() -> None:
    seen: list[tuple[int, int, int]] = []

    def work(first: int, last: int) -> None:
        seen.append((threading.get_ident(), first, last))

    with threads.alone():
        threads.share(work, 100, workers=4)
    assert seen == [(threading.get_ident(), 0, 100)]


@given(st.integers(0, 300), st.integers(1, 9))
def test_everything_is_done_once(count: int, workers: int) -> None:
    done = [0] * count

    def work(first: int, last: int) -> None:
        for number in range(first, last):
            done[number] += 1

    threads.share(work, count, workers=workers)
    assert done == [1] * count


def test_an_error_in_any_thread_is_raised() -> None:
    def work(first: int, last: int) -> None:
        if first <= 50 < last:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        threads.share(work, 64, workers=4)


def test_an_error_is_not_lost_where_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`submit` then queues the work all the same, and the thread of another batch takes it."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="celeiro-read")
    begun, go_on, met = threading.Event(), threading.Event(), threading.Event()
    pool.submit(lambda: (begun.set(), go_on.wait(10)))
    begun.wait(10)

    def refuse() -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(pool, "_adjust_thread_count", refuse)
    monkeypatch.setattr(threads, "_pool", pool)
    mine = threading.get_ident()

    def work(_first: int, _last: int) -> None:
        if threading.get_ident() == mine:
            go_on.set()
            met.wait(10)
        else:
            met.set()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        threads.share(work, 8, workers=2)
    pool.shutdown()


def test_a_lock_is_free_after_ctrl_c_in_its_block() -> None:
    lock = threads.Lock()
    with pytest.raises(KeyboardInterrupt), lock.plain:
        raise KeyboardInterrupt
    assert lock.plain.acquire(blocking=False)
