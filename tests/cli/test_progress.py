"""What a user sees while packing: numbers that mean something, and no others."""

from __future__ import annotations

import pytest

from celeiro.cli import progress as module
from celeiro.cli.progress import Pace, watched
from celeiro.packing.outcome import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until told otherwise: `clock(5)` is five seconds later."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def later(seconds):
        now[0] += seconds

    return later


def test_before_anything_is_done_no_rate_and_no_time_are_told():
    assert Pace().describe(Progress(total=10), 0.0) == "0 B"
    assert Pace().describe(Progress(total=10, done=3, bytes_done=2000), 0.0) == "2.00 kB"


def test_the_rate_gives_the_time_left():
    pace = Pace()
    pace.describe(Progress(total=1000), 0.0)
    told = pace.describe(Progress(total=1000, done=200, bytes_done=5_000_000), 2.0)
    assert told == "100/s, 5.00 MB, 8.0 s left"


def test_what_an_earlier_run_did_does_not_count_as_speed():
    pace = Pace()
    pace.describe(Progress(total=1000, done=800, resumed=800), 0.0)
    assert pace.describe(Progress(total=1000, done=810), 5.0).startswith("2.0/s, ")


def test_the_rate_is_that_of_the_last_half_minute():
    pace = Pace()
    for second in range(60):
        pace.describe(Progress(total=9999, done=1000 * min(second, 10)), float(second))
    assert pace.describe(Progress(total=99999, done=10_300), 60.0).startswith("10/s")


def test_pictures_that_take_a_minute_each_have_a_rate_too():
    pace = Pace()
    for done in range(4):
        told = pace.describe(Progress(total=10, done=done), 60.0 * done)
    assert told == "0.0/s, 0 B, 7.0 min left"


def test_bad_ones_are_counted_and_an_unknown_total_has_no_time_left():
    pace = Pace()
    pace.describe(Progress(), 0.0)
    told = pace.describe(Progress(done=50, refused=[(1, "x"), (2, "y")]), 1.0)
    assert told == "50/s, 0 B, 2 bad"


def test_the_last_step_has_a_name():
    assert Pace().describe(Progress(total=5, done=5), 9.0) == "0 B, finishing"


def test_without_a_terminal_a_line_comes_every_five_seconds(capsys, clock):
    with watched(quiet=False) as watch:
        watch.begin("packing")
        for done in range(120):
            watch(Progress(total=1200, done=done * 10))
            clock(0.125)
    assert capsys.readouterr().err.splitlines() == [
        "packing 400 of 1,200, 80/s, 0 B, 10 s left",
        "packing 800 of 1,200, 80/s, 0 B, 5.0 s left",
    ]


def test_quiet_is_silent(capsys, clock):
    with watched(quiet=True) as watch:
        watch.begin("packing")
        clock(60)
        watch(Progress(total=10, done=5))
    assert capsys.readouterr().err == ""
