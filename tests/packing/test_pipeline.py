"""The pipeline: in order, bounded, and everybody home when it is left."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeiro.packing import pipeline
from celeiro.packing.pipeline import Budget, Stopped, Turns, in_order, in_turn
from celeiro.storage.local import available_cores

if TYPE_CHECKING:
    from collections.abc import Iterator


def threads() -> set[str]:
    return {t.name for t in threading.enumerate() if t.name.startswith("celeiro-pack")}


@given(n=st.integers(0, 40), workers=st.integers(1, 8), window=st.integers(1, 12))
@settings(max_examples=30)
def test_results_come_in_the_order_of_the_blocks(n: int, workers: int, window: int) -> None:
    found = in_order(range(n), lambda b, stop: b * b, workers=workers, window=window)
    assert list(found) == [b * b for b in range(n)]
    assert not threads()


@pytest.mark.parametrize("window", [1, 2, 5])
def test_no_more_than_a_window_is_begun_ahead_of_who_takes(window: int) -> None:
    pulled, begun = 0, 0

    def blocks() -> Iterator[int]:
        nonlocal pulled
        for block in range(50):
            pulled += 1
            yield block

    def work(block: int, stop: threading.Event) -> int:
        nonlocal begun
        begun += 1
        return block

    for taken, result in enumerate(in_order(blocks(), work, workers=1, window=window)):
        assert result == taken
        assert begun <= taken + window
        assert pulled <= taken + window + 1


def test_slow_blocks_do_not_let_later_ones_overtake() -> None:
    later = threading.Event()

    def work(block: int, stop: threading.Event) -> int:
        if block == 0:
            assert later.wait(30)  # until another block is done
        else:
            later.set()
        return block

    assert list(in_order(range(9), work, workers=2, window=4)) == list(range(9))


def test_an_error_in_a_thread_comes_out_in_its_turn_and_ends_the_others() -> None:
    def work(block: int, stop: threading.Event) -> int:
        if block == 3:
            raise ZeroDivisionError
        return block

    found = in_order(range(100), work, workers=4, window=8)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert not threads()


def test_an_error_of_the_source_comes_out_and_ends_the_threads() -> None:
    def blocks() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(in_order(blocks(), lambda b, stop: b, workers=2, window=4))
    assert not threads()


@pytest.mark.parametrize("leave", ["close", "throw"])
def test_leaving_early_stops_the_tasks_in_hand_and_begins_no_other(leave: str) -> None:
    begun: list[int] = []
    running = threading.Event()

    def work(block: int, stop: threading.Event) -> int:
        begun.append(block)
        if block == 0:
            return 0
        running.set()
        assert stop.wait(30), "never told to stop"
        raise Stopped

    found = in_order(range(100), work, workers=2, window=8)
    assert next(found) == 0
    assert running.wait(30)
    if leave == "close":
        found.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            found.throw(KeyboardInterrupt)
    assert not threads()
    assert len(begun) <= 4


@given(n=st.integers(0, 20))
@settings(max_examples=10)
def test_in_turn_works_here_and_takes_elsewhere_in_order(n: int) -> None:
    here, worked, taken = threading.current_thread(), [], []

    def work(block: int, stop: threading.Event) -> int:
        assert threading.current_thread() is here
        worked.append(block)
        return block * block

    def take(result: int) -> None:
        assert threading.current_thread() is not here
        taken.append(result)

    for count, _ in enumerate(in_turn(range(n), work, take), start=1):
        assert count <= len(taken) <= len(worked) <= count + 1
    assert taken == [b * b for b in range(n)]
    assert not threads()


def test_in_turn_takes_one_block_beside_the_next_ones_work() -> None:
    began, ended = threading.Event(), threading.Event()

    def work(block: int, stop: threading.Event) -> int:
        if block == 1:
            assert began.wait(30)
            ended.set()
        return block

    def take(result: int) -> None:
        began.set()
        assert ended.wait(30), "the next block waits for this one"

    assert len(list(in_turn(range(2), work, take))) == 2


@pytest.mark.parametrize("worse", [False, True])
def test_in_turn_tells_first_what_befell_the_earlier_block(worse: bool) -> None:
    taken = []

    def work(block: int, stop: threading.Event) -> int:
        if block == 3 and worse:
            raise ZeroDivisionError
        return block

    def take(result: int) -> None:
        if result == 2:
            raise LookupError
        taken.append(result)

    with pytest.raises(LookupError):
        list(in_turn(range(9), work, take))
    assert taken == [0, 1]
    assert not threads()


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_in_turn_takes_what_was_made_before_an_error(error: type[BaseException]) -> None:
    taken = []

    def work(block: int, stop: threading.Event) -> int:
        if block == 3:
            raise error
        return block

    with pytest.raises(error):
        list(in_turn(range(9), work, taken.append))
    assert taken == [0, 1, 2]
    assert not threads()


def test_in_turn_is_left_only_when_nothing_is_taken_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken, left = [], threading.Event()
    shutdown = pipeline.ThreadPoolExecutor.shutdown
    interrupts = iter([True, True, False])

    def interrupted(pool: Any, *given: Any, **options: Any) -> None:
        if next(interrupts):
            raise KeyboardInterrupt
        left.set()
        shutdown(pool, *given, **options)

    def take(result: int) -> None:
        assert left.wait(30)
        taken.append(result)

    def work(block: int, stop: threading.Event) -> int:
        if block == 1:
            raise KeyboardInterrupt
        return block

    monkeypatch.setattr(pipeline.ThreadPoolExecutor, "shutdown", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(in_turn(range(9), work, take))
    assert taken == [0]
    assert not threads()


def test_a_budget_is_never_overdrawn_and_a_large_request_is_granted_alone() -> None:
    budget = Budget(100)
    used, most, alone = 0, 0, True
    lock = threading.Lock()

    def take(size: int, _: Any) -> None:
        nonlocal used, most, alone
        with budget.take(size):
            with lock:
                used += size
                most = max(most, min(used, 100) if size > 100 else used)
                alone &= size <= 100 or used == size
            with lock:
                used -= size

    sizes = [30, 60, 250, 10, 99, 0, 100, 45] * 20
    list(in_order(sizes, take, workers=7, window=14))
    assert most <= 100
    assert alone
    with budget.take(100):
        pass  # all was given back


def test_a_budget_is_given_back_after_an_error() -> None:
    budget = Budget(10)
    with pytest.raises(ZeroDivisionError), budget.take(10):
        raise ZeroDivisionError
    with budget.take(10):
        pass


def test_there_is_a_core_to_work_on() -> None:
    assert available_cores() >= 1


def test_who_waits_for_a_budget_leaves_once_told_to_stop_and_nobody_gets_any_more() -> None:
    stop = threading.Event()
    budget = Budget(10, stop)
    waiting = threading.Event()
    left: list[bool] = []

    def wait() -> None:
        waiting.set()
        try:
            with budget.take(10):
                left.append(False)
        except Stopped:
            left.append(True)

    thread = threading.Thread(target=wait)
    with budget.take(10):
        thread.start()
        assert waiting.wait(30)
        stop.set()
        thread.join(30)
        assert left == [True]
    with pytest.raises(Stopped):
        budget.take(1)
    with budget.take(0):
        pass  # what is small does not ask


@pytest.mark.parametrize("needed", [True, False])
def test_turns_are_taken_one_at_a_time_where_they_are_needed(
    needed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(perf_counter=lambda: 0.0, thread_time=lambda: 0.0)
    monkeypatch.setattr(pipeline, "time", clock)  # nobody is seen to wait
    turns = Turns(needed=needed)
    inside, most = 0, 0
    everybody = threading.Barrier(1 if needed else 4)

    def work(block: int, stop: threading.Event) -> None:
        nonlocal inside, most
        with turns.take():
            inside += 1
            everybody.wait(30)  # all four are in, where no turns are taken
            for _ in range(200):
                time.sleep(0)  # gives the GIL away
                most = max(most, inside)
            inside -= 1

    list(in_order(range(8), work, workers=4, window=8))
    assert most == (1 if needed else 4)


@pytest.mark.parametrize(("worked", "free"), [(0.9, False), (0.1, True)])
def test_turns_end_once_a_thread_waits_more_than_it_works(
    worked: float, free: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"real": 0.0, "thread": 0.0}
    monkeypatch.setattr(
        pipeline,
        "time",
        SimpleNamespace(perf_counter=lambda: clock["real"], thread_time=lambda: clock["thread"]),
    )
    turns = Turns(needed=True)
    with turns.take():
        clock["real"] += 1.0
        clock["thread"] += worked
    second = threading.Event()

    def enter() -> None:
        with turns.take():
            second.set()

    thread = threading.Thread(target=enter)
    with turns.take():
        thread.start()
        assert second.wait(30 if free else 0.05) == free
    thread.join(30)
    assert second.is_set()


def test_an_error_gives_the_turn_back() -> None:
    turns = Turns(needed=True)
    with pytest.raises(ZeroDivisionError), turns.take():
        raise ZeroDivisionError
    with turns.take():
        pass
