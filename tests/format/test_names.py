from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeiro.format import ragged as module
from celeiro.format.names import Names, NamesBuilder, printable
from celeiro.format.ragged import gather

SOME = [b"cat.0.jpg", b"", b"caf\xe9.jpg", b"dog.0.jpg"]


def test_names_come_back_as_they_went_in():
    names = Names.of(SOME)
    assert list(names) == SOME
    assert [names[i] for i in range(len(names))] == SOME
    assert names[-1] == SOME[-1]


def test_an_index_outside_is_an_index_error():
    names = Names.of(SOME)
    for index in (4, -5):
        with pytest.raises(IndexError, match="of 4"):
            names[index]


def test_length_and_weight_are_told():
    names = Names.of(SOME)
    assert (len(names), names.max_length, names.total_bytes) == (4, 9, 26)
    assert repr(names) == "Names(4 names, 26 bytes)"


def test_no_names_at_all_are_fine():
    names = Names.of([])
    assert (len(names), names.max_length, names.total_bytes) == (0, 0, 0)
    assert list(names) == []
    assert len(names.take([])) == 0
    assert names.fixed().shape == (0,)


def test_equal_names_are_equal_and_others_are_not():
    assert Names.of(SOME) == Names.of(SOME)
    assert Names.of([b"ab", b"c"]) != Names.of([b"a", b"bc"])
    assert Names.of(SOME) != SOME


def test_names_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        Names.of(SOME).blob[0] = 0


def test_fixed_pads_to_the_longest():
    assert Names.of(SOME).fixed().dtype == "S9"
    assert Names.of(SOME).fixed().tolist() == SOME


@given(st.lists(st.binary(max_size=20)), st.data())
def test_take_agrees_with_a_list(some, data):
    indices = data.draw(st.lists(st.integers(-len(some), len(some) - 1))) if some else []
    taken = Names.of(some).take(np.array(indices, dtype=np.int64))
    assert list(taken) == [some[i] for i in indices]


def test_take_refuses_what_is_outside():
    with pytest.raises(IndexError):
        Names.of(SOME).take([4])


def test_take_by_mask_keeps_the_order():
    assert list(Names.of(SOME).take([True, False, False, True])) == [SOME[0], SOME[3]]


def test_gather_works_in_small_steps_and_on_rows_longer_than_a_step(monkeypatch):
    monkeypatch.setattr(module, "_GATHER_ROWS", 5)
    values = np.arange(40, dtype=np.float64).reshape(20, 2)
    offsets = np.array([0, 2, 2, 14, 15, 20], dtype=np.uint64)
    taken, ends = gather(values, offsets, [2, 0, 1, 4, 3, 0])
    rows = [values[2:14], values[0:2], values[2:2], values[15:20], values[14:15], values[0:2]]
    assert np.array_equal(taken, np.concatenate(rows))
    assert ends.tolist() == [0, 12, 14, 14, 19, 20, 22]


def test_building_and_taking_cost_under_120_bytes_a_name():
    count = 50_000
    tracemalloc.start()
    builder = NamesBuilder()
    for i in range(count):
        builder.append(b"photographs/n%09d.jpg" % i)
    names = builder.build()
    built = tracemalloc.get_traced_memory()[1]
    names.take(np.arange(count)[::-1])
    taken = tracemalloc.get_traced_memory()[1] - 4_000_000 * 2  # the steps of gather
    tracemalloc.stop()
    assert built < 120 * count
    assert taken < 200 * count


def test_printable_never_fails():
    assert printable(b"\xff\xc3\xa9") == "\\xff\u00e9"
