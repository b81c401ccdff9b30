"""What is measured is the same work, in turns; how fast it went is nobody's promise."""

from __future__ import annotations

import json
import os
import sys

import h5py
import hdf5plugin
import numpy as np
import pytest

import celeiro
from celeiro.care import bench as module
from celeiro.care.bench import bench, planned_rows
from celeiro.care.measuring import ceiling, pace
from celeiro.care.measuring.ceiling import Copy, Decode, Fetch, Piece, Plan, Pool, merged
from celeiro.care.measuring.figures import IN_ORDER, SHUFFLED, Spread, limit, ratio_to_lowest
from celeiro.errors import FormatError, OptionError, SampleError
from celeiro.format import layout

QUICK = 0.05  # seconds of all measurements: here it is what is told, not how fast, that matters

needs_fadvise = pytest.mark.skipif(
    not hasattr(os, "posix_fadvise"), reason="only Linux forgets a file on request"
)


def pictures(count=40, shape=(8, 8, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


@pytest.fixture
def packed(photo_folder, tmp_path):
    """A factory: the path of a file of ours."""

    def make(store, count=30):
        size = None if store == "encoded" else 16
        return celeiro.pack(photo_folder(count), tmp_path / "a.h5", size=size, store=store).path

    return make


@pytest.fixture
def foreign(tmp_path):
    """A factory: the path of a file of somebody else."""

    def make(values, **options):
        with h5py.File(tmp_path / "f.h5", "w") as file:
            file.create_dataset("images", data=values, **options)
        return tmp_path / "f.h5"

    return make


# What limits


@pytest.mark.parametrize(
    ("rate", "ceilings", "found", "why"),
    [
        (950, {"memory": 1_000}, "memory", "95 % of bare copying from memory"),
        (1_100, {"memory": 1_000}, "memory", "110 %"),
        (950, {"disk": 1_000}, "disk", "95 % of bare reading from the disk"),
        (950, {"memory": 20_000, "decode": 1_000}, "decode", "95 % of bare decoding"),
        (950, {"disk": 20_000, "decode": 1_000}, "decode", "95 % of bare decoding"),
        (950, {"disk": 1_000, "decode": 20_000}, "disk", "95 % of bare reading"),
        (500, {"memory": 1_200, "decode": 1_000}, "decode", "one after the other; 50 % of"),
        (300, {"memory": 1_000}, "celeiro", "30 % of bare copying"),
        (300, {"memory": 20_000, "decode": 1_000}, "celeiro", "30 % of bare decoding"),
        (300, {}, "unknown", "no bare reading"),
        (0, {"memory": 1_000}, "unknown", "no bare reading"),
    ],
)
def test_the_limit_is_found_from_the_rates(rate, ceilings, found, why):
    told = limit(rate, ceilings)
    assert told[0] == found
    assert why in told[1]


def test_ratios_are_of_runs_side_by_side():
    # The machine was half as fast during the second run, for both.
    assert ratio_to_lowest([90, 45, 90], [[500, 500, 500], [100, 50, 100]]) == Spread(
        0.9, 0.9, 0.9, 3
    )
    assert ratio_to_lowest([90], []) is None


# The plan


@pytest.mark.parametrize("order", [SHUFFLED, IN_ORDER])
@pytest.mark.parametrize(("count", "part"), [(10, 10), (1000, 64), (1_281_167, 256), (1, 1)])
def test_the_same_samples_are_planned_each_time(order, count, part):
    rows = planned_rows(count, part, order)
    assert np.array_equal(rows, planned_rows(count, part, order))
    assert len(set(rows.tolist())) == len(rows) == part
    assert rows.min() >= 0
    assert rows.max() < count
    if order == IN_ORDER:
        assert np.array_equal(rows, np.arange(part) + rows[0])


def test_neighbours_are_merged_only_where_they_are_neighbours_in_memory_too():
    pieces = [Piece(0, 0, 10, 0), Piece(10, 10, 10, 1), Piece(30, 20, 10, 2), Piece(20, 40, 10, 3)]
    assert merged(pieces) == (Piece(0, 0, 20, 0), *pieces[2:])
    assert merged(pieces, most=10) == tuple(pieces)
    apart = [Piece(-1, 0, 10, 0), Piece(-1, 10, 5, 1)]
    assert merged(apart) == (Piece(-1, 0, 15, 0),)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 7, 256])
def test_bare_threads_do_each_piece_once(threads, count):
    done = []
    with Pool(threads) as pool:
        pool.share(lambda first, last: done.extend(range(first, last)), count)
    assert sorted(done) == list(range(count))


@pytest.mark.parametrize("threads", [1, 2])
def test_what_goes_wrong_in_a_bare_thread_is_raised(threads):
    with Pool(threads) as pool, pytest.raises(ZeroDivisionError):
        pool.share(lambda first, last: 1 // 0, 5)


# The ceilings read the same bytes


def planned(ds, order, size=16):
    return ceiling.plan(ds, planned_rows(len(ds), size, order))


@pytest.mark.parametrize("order", [SHUFFLED, IN_ORDER])
@pytest.mark.parametrize("dtype", ["u1", "<f4", ">u2"])
def test_bare_fetching_of_rows_is_reading_them(foreign, order, dtype):
    values = pictures().astype(dtype)
    with celeiro.open(foreign(values)) as ds, Pool(2) as pool:
        plan = planned(ds, order)
        out = np.zeros((16, 8, 8, 3), dtype)
        for ahead in (False, True):
            out[:] = 0
            fetch = Fetch(ds._opened.file, pool, out.reshape(-1).view(np.uint8), ahead=ahead)
            assert fetch(merged(plan.pieces)) == out.nbytes
            assert np.array_equal(out, ds.read(plan.rows))


def test_bare_copying_out_of_memory_is_reading(packed):
    with celeiro.open(packed("pixels"), cache="memory") as ds, Pool(2) as pool:
        assert ds.cache.wait()
        out = np.zeros((16, 16, 16, 3), np.uint8)
        plan = planned(ds, SHUFFLED)
        Copy(ds.cache, ds._opened.contents.samples, pool, out)(plan.rows)
        assert np.array_equal(out, ds.read(plan.rows))


@pytest.mark.parametrize("store", ["jpeg", "lossless", "encoded"])
def test_bare_decoding_gives_the_pixels(packed, store):
    with celeiro.open(packed(store)) as ds:
        plan = planned(ds, SHUFFLED)
        held = ceiling.hold(ds._opened.file, [plan])
        one, length, _ = ceiling.decoder(ds)
        assert {piece.number for piece in plan.pieces} == set(plan.rows.tolist())
        for piece in plan.pieces:
            room = np.zeros(length, np.uint8)
            made = one(held[piece.number], room)
            pixels = made if store == "encoded" else room.reshape(16, 16, 3)
            assert np.array_equal(pixels, ds[piece.number][0])


def test_chunks_of_many_samples_are_decoded_once_a_batch(foreign):
    values = pictures(41)
    path = foreign(values, chunks=(8, 4, 8, 3), compression="gzip")
    with celeiro.open(path) as ds, Pool(2) as pool:
        rows = np.array([40, 0, 9, 8, 3])  # chunks 5, 0, 1, 1, 0: two pieces each
        plan = ceiling.plan(ds, rows)
        assert [piece.number for piece in plan.pieces] == [0, 1, 2, 3, 10, 11]
        held = ceiling.hold(ds._opened.file, [plan])
        one, length, name = ceiling.decoder(ds)
        assert (length, name) == (8 * 4 * 8 * 3, "gzip")
        room = np.zeros(length, np.uint8)
        one(held[3], room)
        assert np.array_equal(room.reshape(8, 4, 8, 3), values[8:16, 4:])
        done = []
        decode = Decode(lambda data, _: done.append(bytes(data)), length, pool, held)
        decode(plan.pieces)
        assert sorted(done) == sorted(held.values())


def test_chunks_that_were_never_written_are_no_bytes(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("images", (8, 4), np.uint8, chunks=(1, 4), compression="gzip")
        data[3] = 7
    with celeiro.open(tmp_path / "a.h5") as ds:
        assert [piece.number for piece in ceiling.plan(ds, np.arange(8)).pieces] == [3]


def test_plain_values_have_nothing_to_decode(foreign):
    for options in ({}, {"chunks": (4, 8, 8, 3)}):
        with celeiro.open(foreign(pictures(), **options)) as ds:
            assert ceiling.decoder(ds) is None


# All of it


@pytest.mark.parametrize("store", layout.STORES)
def test_every_store_is_measured_beside_its_ceilings(packed, store):
    path = packed(store)
    found = bench(path, batch_size=8, seconds=QUICK, workers=2)
    assert (found.path, found.store, found.batch, found.workers) == (path, store, 8, 2)
    assert found.samples == 24  # whole batches
    stages = ["memory"] if store == "pixels" else ["memory", "decode"]
    assert [order.order for order in found.orders] == [SHUFFLED, IN_ORDER]
    for order in found.orders:
        assert [each.stage for each in order.ceilings] == stages
        assert order.limit in (*stages, "celeiro")
        for spread in (order.rate, order.ratio, *(each.rate for each in order.ceilings)):
            assert spread.count == 7
            assert 0 < spread.low <= spread.median <= spread.high
        assert order.value_bytes > 0
        assert order.stored_bytes > 0
    for spread in (found.single, found.single_bare, found.open, found.first_batch):
        assert 0 < spread.low <= spread.median <= spread.high
    json.dumps(found.to_json())


@pytest.mark.parametrize(
    ("options", "stages"),
    [
        ({}, ["memory"]),
        ({"chunks": (4, 8, 8, 3)}, ["memory"]),
        ({"chunks": (4, 8, 8, 3), "compression": "gzip", "shuffle": True}, ["memory", "decode"]),
        ({"chunks": (1, 8, 8, 3), **hdf5plugin.Blosc2()}, []),
    ],
)
def test_files_of_others_are_measured(foreign, options, stages):
    found = bench(foreign(pictures(), **options), batch_size=8, seconds=QUICK)
    for order in found.orders:
        assert [each.stage for each in order.ceilings] == stages
        assert (order.ratio is None) == (order.limit == "unknown") == (not stages)
        assert order.rate.median > 0
    assert any("no bare reading" in note for note in found.notes) == (not stages)


@pytest.mark.parametrize(
    ("store", "stages"), [("pixels", ["memory"]), ("jpeg", ["decode"]), ("encoded", ["decode"])]
)
def test_a_file_held_in_memory_is_measured_beside_memory(packed, store, stages):
    found = bench(packed(store), batch_size=8, seconds=QUICK, cache="memory")
    assert found.cache == "memory"
    assert [each.stage for each in found.orders[0].ceilings] == stages


def test_a_file_too_large_for_memory_is_said_to_be(packed, monkeypatch):
    monkeypatch.setattr("celeiro.reading.cache.available_memory", lambda: 0)
    found = bench(packed("pixels"), batch_size=8, seconds=QUICK, cache="memory")
    assert found.cache is None
    assert any("does not fit into memory" in note for note in found.notes)


def test_where_memory_is_scarce_fewer_samples_take_part(packed, monkeypatch):
    monkeypatch.setattr(module, "available_memory", lambda: 0)
    found = bench(packed("jpeg"), batch_size=8, seconds=QUICK)
    assert found.samples == 8
    assert "8 of 30 samples took part" in found.notes


def test_a_batch_is_never_larger_than_the_file(packed):
    assert bench(packed("pixels", 5), batch_size=500, seconds=QUICK).batch == 5


def test_large_samples_make_small_batches(packed, monkeypatch):
    monkeypatch.setattr(pace, "BATCH_BYTES", 4 * 16 * 16 * 3)
    assert bench(packed("pixels"), batch_size=8, seconds=QUICK).batch == 4


def test_samples_of_many_chunks_make_small_plans(foreign, monkeypatch):
    monkeypatch.setattr(module, "_MOST_PIECES", 48)
    path = foreign(pictures(), chunks=(1, 4, 4, 1), compression="lzf")  # 12 a sample
    found = bench(path, batch_size=8, seconds=QUICK)
    assert (found.batch, found.samples) == (4, 4)


def test_runs_take_turns(packed, monkeypatch):
    ran = []

    def noted(read, plans, seconds, *, again=True):
        if len(plans) and isinstance(plans[0], Plan):
            ran.append((read, plans[0].rows[0]))
        return pace.Pace(1, 1.0)

    monkeypatch.setattr(pace, "run", noted)
    bench(packed("jpeg"), batch_size=8, seconds=QUICK)
    first_order = ran[3 : 3 + 3 * 7]  # after each was warmed once
    turns = [first_order[at : at + 3] for at in range(0, 21, 3)]
    assert {tuple(read for read, _ in turn) for turn in turns} == {
        tuple(read for read, _ in turns[0])
    }
    assert len({read for read, _ in turns[0]}) == 3
    assert all(len({row for _, row in turn}) == 1 for turn in turns)  # the same batches


@needs_fadvise
@pytest.mark.parametrize("store", ["pixels", "jpeg"])
def test_a_cold_file_is_measured_beside_the_disk(packed, store):
    found = bench(packed(store), batch_size=8, seconds=QUICK, cold=True)
    assert found.cold
    for order in found.orders:
        assert order.ceilings[0].stage == "disk"
        assert "at once" in order.ceilings[0].what


@needs_fadvise
def test_the_file_is_forgotten_before_each_run_and_never_read_twice_in_one(packed, monkeypatch):
    events = []
    run, forget = pace.run, module._Bench._forget

    def noted(read, plans, seconds, *, again=True):
        events.append(again)
        return run(read, plans, seconds, again=again)

    def forgot(self):
        events.append("forget")
        forget(self)

    monkeypatch.setattr(pace, "run", noted)
    monkeypatch.setattr(module._Bench, "_forget", forgot)
    bench(packed("pixels"), batch_size=8, seconds=QUICK, cold=True)
    runs = [at for at, event in enumerate(events) if event is False]
    assert len(runs) == 2 * (7 + 7 * 2)  # depths are tried, then turns are taken
    assert all(events[at - 1] == "forget" for at in runs)


def test_what_cannot_be_measured_is_refused(packed, tmp_path, monkeypatch):
    path = packed("pixels")
    for options, message in (
        ({"batch_size": 0}, "batch_size 0"),
        ({"seconds": 0}, "seconds 0"),
        ({"workers": 0}, "workers 0"),
        ({"cold": True, "cache": "memory"}, "no run would touch the disk"),
    ):
        with pytest.raises(OptionError, match=message):
            bench(path, **options)
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    with pytest.raises(OptionError, match="posix_fadvise"):
        bench(path, cold=True)
    with pytest.raises(FormatError, match="cannot be read"):
        bench(tmp_path / "nothing.h5")


def test_a_file_without_samples_is_refused(tmp_path):
    path = celeiro.pack(pictures(1), tmp_path / "a.h5").path
    with h5py.File(path, "r+") as file:
        del file["imagens"]
        file["imagens"] = pictures(0)
    with pytest.raises(OptionError, match="no samples"):
        bench(path, seconds=QUICK)


@pytest.mark.parametrize(("cold", "notes"), [(1e-9, 0), (1e18, 1)])
def test_a_file_that_comes_as_fast_when_forgotten_is_remarked(packed, cold, notes):
    with celeiro.open(packed("pixels")) as ds:
        run = module._Bench(ds, 30, QUICK, 1, held=False, cold=False)
        for _ in range(2):  # for both orders, but said once
            run._note_if_warm(lambda plan: None, [Plan(np.arange(30), ())], cold)
        run.close()
    assert len(run.notes) == notes


@pytest.mark.parametrize(
    ("shape", "chunks"), [((3, 1 << 33), None), ((1 << 20, 1 << 10), (1 << 20, 1 << 10))]
)
def test_what_would_fill_the_memory_is_refused(tmp_path, shape, chunks):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", shape, np.uint8, chunks=chunks)
    with pytest.raises(OptionError, match="celeiro doctor"):
        bench(tmp_path / "a.h5", seconds=QUICK)


def test_a_damaged_sample_is_an_error_that_names_it(packed):
    path = packed("jpeg")
    with celeiro.open(path) as ds:
        offset, length = ds._opened.contents.samples.place(7)
    with path.open("r+b") as file:
        file.seek(offset + length // 2)
        file.write(b"\xff\x00\xff")
    with pytest.raises(SampleError, match="sample 7"):
        bench(path, batch_size=10, seconds=QUICK)


@pytest.mark.skipif(sys.platform == "win32", reason="counts threads by their names")
def test_no_thread_is_left_behind(packed):
    import threading

    bench(packed("jpeg"), batch_size=8, seconds=QUICK)
    assert [t.name for t in threading.enumerate() if t.name.startswith("celeiro-bare")] == []
