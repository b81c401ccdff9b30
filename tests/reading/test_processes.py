"""Many readers at once: processes however they were made, threads, and readers who are stopped."""

from __future__ import annotations

import gc
import multiprocessing
import operator
import os
import pickle
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin
import numpy as np
import pytest

import celeiro
from celeiro.errors import FormatError

if TYPE_CHECKING:
    from conftest import Nursery

COUNT = 10


@pytest.fixture(scope="session")
def files(packed: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each way to read: of ours, a foreign one in chunks, and one that only HDF5 reads."""
    folder = tmp_path_factory.mktemp("foreign")
    rows = np.random.default_rng(0).integers(0, 256, (COUNT, 24, 32), np.uint8)
    with h5py.File(folder / "chunked.h5", "w") as file:
        file.create_dataset("images", data=rows, chunks=(3, 10, 32), compression="gzip")
        file["labels"] = np.arange(COUNT)
    with h5py.File(folder / "fallback.h5", "w") as file:
        file.create_dataset("images", data=rows, chunks=(1, 24, 32), **hdf5plugin.Blosc2())
        file["labels"] = np.arange(COUNT)
    names = ("pixels", "jpeg", "encoded")
    return {name: packed[name] for name in names} | {
        name: folder / f"{name}.h5" for name in ("chunked", "fallback")
    }


KINDS = ["pixels", "jpeg", "encoded", "chunked", "fallback"]


def contents(ds: Any) -> list[tuple[bytes, int]]:
    return [(image.tobytes(), int(label)) for image, label in ds]


# What a forked process of the nursery does first. A sum stands for what was read.
HEADER = """
import contextlib, os, signal, sys, threading, time, zlib
import numpy as np
import celeiro

signal.alarm(60)  # whoever waits for ever is killed

def sums(ds):
    return [(zlib.crc32(image.tobytes()), int(label)) for image, label in ds]

def in_child(work):
    # Run in a forked process; its error, None if all is well, "hangs" if it does not end.
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(20)
        try:
            work()
            os.write(writer, b"-")
        except BaseException as error:
            os.write(writer, repr(error).encode())
        os._exit(0)
    os.close(writer)
    answer = b"".join(iter(lambda: os.read(reader, 1000), b""))
    os.close(reader)
    os.waitpid(child, 0)
    return None if answer == b"-" else answer.decode() or "hangs"

def assert_reads(ds, expected):
    for _ in range(3):
        assert sums(ds) == expected, "other data"
        images = ds.read([9, 0, 0, 5])
        assert [zlib.crc32(i.tobytes()) for i in images] == [expected[i][0] for i in (9, 0, 0, 5)]
"""


def result_of(nursery: Nursery, code: str, **names: Any) -> Any:
    end = nursery.run(HEADER + code, **names)
    assert (end.error, end.killed) == (None, False), end.message
    return end.result


# Processes


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_that_are_sent_the_dataset_read_the_same(
    method: str, files: dict[str, Path]
) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("not on this system")
    with multiprocessing.get_context(method).Pool(2) as pool:
        for kind in KINDS:
            with celeiro.open(files[kind], workers=2) as ds:
                expected = contents(ds)
                view = ds.select([3, 1, 1])
                found = pool.starmap(operator.getitem, [(ds, i) for i in range(COUNT)])
                assert [(i.tobytes(), int(label)) for i, label in found] == expected
                batches = pool.starmap(operator.getitem, [(view, [0, 2]), (view, [1])])
                images = [i.tobytes() for batch, _ in batches for i in batch]
                assert images == [expected[i][0] for i in (3, 1, 1)]
        pool.close()
        pool.join()


@pytest.mark.parametrize("kind", KINDS)
def test_forked_workers_read_the_same_as_their_parent_and_beside_it(
    kind: str, files: dict[str, Path], nursery: Nursery
) -> None:
    code = """
ds = celeiro.open(path, workers=2)
expected = sums(ds)
threads = [threading.Thread(target=lambda: result.append(in_child(work))) for _ in range(4)]
def work():
    assert_reads(ds, expected)
    assert_reads(ds.select(range(10)), expected)
result = []
for thread in threads:
    thread.start()
assert_reads(ds, expected)
for thread in threads:
    thread.join()
assert_reads(ds, expected)
"""
    assert result_of(nursery, code, path=files[kind]) == [None] * 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_fork_in_the_middle_of_a_read_harms_neither(
    kind: str, files: dict[str, Path], nursery: Nursery
) -> None:
    code = """
ds = celeiro.open(path, workers=2)
expected = sums(ds)
stop, wrong = threading.Event(), []
def go_on_reading():
    while not stop.is_set():
        if sums(ds) != expected:
            wrong.append("other data")
thread = threading.Thread(target=go_on_reading)
thread.start()
result = []
for pause in range(6):
    time.sleep(pause / 500)
    result.append(in_child(lambda: assert_reads(ds, expected)))
stop.set()
thread.join()
assert_reads(ds, expected)
result += wrong
"""
    assert result_of(nursery, code, path=files[kind]) == [None] * 6


def test_a_fork_while_a_column_is_read_first_leaves_no_lock_behind(
    files: dict[str, Path], nursery: Nursery
) -> None:
    code = """
from celeiro.storage.local import File
ds = celeiro.open(path)
read_into, entered, go_on = File.read_into, threading.Event(), threading.Event()
def slow(self, view, offset):
    entered.set()
    go_on.wait(30)
    read_into(self, view, offset)
File.read_into = slow
thread = threading.Thread(target=lambda: ds.labels)
thread.start()
entered.wait(30)
def work():
    File.read_into = read_into
    assert len(ds.labels) == 10
result = in_child(work)
go_on.set()
thread.join()
assert len(ds.labels) == 10
"""
    assert result_of(nursery, code, path=files["pixels"]) is None


def test_forked_workers_share_what_is_in_memory(files: dict[str, Path], nursery: Nursery) -> None:
    code = """
result = []
for wait in (True, False):
    ds = celeiro.open(path, cache="memory")
    if wait:
        assert ds.cache.wait(30)
    expected = sums(ds)
    def work():
        if wait:
            # Nothing comes from the file any more.
            os.dup2(os.open(os.devnull, os.O_RDONLY), ds._opened.file.fd)
            ds._opened.file.check = lambda: None
        assert_reads(ds, expected)
        ds.cache.wait(1)
    result.append(in_child(work))
"""
    assert result_of(nursery, code, path=files["jpeg"]) == [None, None]


# Threads


@pytest.mark.parametrize("kind", KINDS)
def test_sixteen_threads_read_at_once(kind: str, files: dict[str, Path]) -> None:
    errors: list[BaseException] = []
    with celeiro.open(files[kind], workers=2) as ds, celeiro.open(files[kind]) as other:
        expected = contents(other)
        start = threading.Barrier(16)

        def work(seed: int) -> None:
            try:
                rng = np.random.default_rng(seed)
                start.wait(30)
                for _ in range(10):
                    rows = rng.integers(0, COUNT, 6)
                    images, labels = ds[rows]
                    found = [(i.tobytes(), int(n)) for i, n in zip(images, labels, strict=True)]
                    assert found == [expected[row] for row in rows]
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []


def test_many_threads_that_ask_first_read_a_column_once(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from celeiro.reading import ours

    checked: list[str] = []
    check = ours._checked
    monkeypatch.setattr(
        ours, "_checked", lambda v, c, n, p: (checked.append(n), check(v, c, n, p))[1]
    )
    with celeiro.open(files["pixels"]) as ds:
        checked.clear()
        start = threading.Barrier(8)
        threads = [threading.Thread(target=lambda: (start.wait(30), ds.labels)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert checked == ["labels"]


# The process that reads what only HDF5 can


def child_of(ds: Any) -> Any:
    return ds._opened.contents.samples._child._process


def test_a_process_that_was_killed_is_an_error_and_the_next_one_reads(
    files: dict[str, Path],
) -> None:
    with celeiro.open(files["fallback"]) as ds:
        expected = contents(ds)
        child_of(ds).kill()
        child_of(ds).wait()
        with pytest.raises(FormatError, match=r"fallback.h5: HDF5 crashed \(SIGKILL\)"):
            ds.read([0, 1])
        assert contents(ds) == expected
        child_of(ds).send_signal(signal.SIGINT)  # Ctrl-C goes to it too, and is not meant for it
        assert contents(ds) == expected


def test_the_other_process_ends_with_the_dataset(files: dict[str, Path]) -> None:
    ds = celeiro.open(files["fallback"])
    assert len(ds.read([1])) == 1
    child = child_of(ds)
    ds.close()
    assert child.poll() is not None
    ds = celeiro.open(files["fallback"])
    assert len(ds.read([1])) == 1
    child = child_of(ds)
    del ds
    gc.collect()
    assert child.poll() is not None


@pytest.mark.parametrize("way", ["kill()", "sys.exit()", "os._exit(1)"])
def test_the_other_process_ends_with_this_one(
    way: str, files: dict[str, Path], tmp_path: Path, nursery: Nursery
) -> None:
    code = f"""
ds = celeiro.open(path)
ds.read([1])
open(note, "w").write(str(ds._opened.contents.samples._child._process.pid))
{way}
"""
    nursery.run(HEADER + code, path=files["fallback"], note=tmp_path / "note")
    pid = int((tmp_path / "note").read_text())
    until = time.monotonic() + 20
    while is_alive(pid):
        assert time.monotonic() < until
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody waited for is dead."""
    try:
        os.kill(pid, 0)
        if not Path("/proc/self/stat").exists():
            return True
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"


def test_a_forked_worker_leaves_its_parent_s_process_alone(
    files: dict[str, Path], nursery: Nursery
) -> None:
    code = """
import gc, warnings
warnings.simplefilter("error")
unraisable = []
sys.unraisablehook = lambda what: unraisable.append(repr(what.exc_value))
ds = celeiro.open(path)
expected = sums(ds)
def child():
    return ds._opened.contents.samples._child._process.pid
mine = child()
def work():
    assert_reads(ds, expected)
    assert child() != mine
    ds.close()
    gc.collect()
    assert not unraisable, unraisable
result = [in_child(work), in_child(lambda: ds.close())]
assert_reads(ds, expected)
assert child() == mine
"""
    assert result_of(nursery, code, path=files["fallback"]) == [None, None]


# Ctrl-C


@pytest.mark.parametrize("kind", KINDS)
def test_ctrl_c_in_a_read_leaves_everything_usable(
    kind: str, files: dict[str, Path], nursery: Nursery
) -> None:
    code = """
signal.signal(signal.SIGINT, signal.default_int_handler)
ds = celeiro.open(path, workers=3)
expected = sums(ds)
rows = list(range(10)) * 20
out = np.empty((len(rows), *ds.shape[1:]), ds.dtype) if None not in ds.shape else None
result = 0
for turn in range(turns):
    sent = threading.Event()
    def interrupt():
        time.sleep(turn % 7 / 1500)
        os.kill(os.getpid(), signal.SIGINT)
        sent.set()
    thread = threading.Thread(target=interrupt)
    try:
        thread.start()
        while not sent.is_set():
            ds.read(rows, out)
        time.sleep(5)
    except KeyboardInterrupt:
        result += 1
    thread.join()
    if out is not None:
        # Nobody writes into the caller's memory any more.
        out[...] = 7
        time.sleep(0.005)
        assert (out == 7).all(), "written to"
    assert_reads(ds, expected)
"""
    turns = 4 if kind == "fallback" else 25
    assert result_of(nursery, code, path=files[kind], turns=turns) == turns


def test_an_error_in_one_thread_reaches_the_caller_when_all_are_at_rest() -> None:
    from celeiro.reading import threads

    at_work = 0
    lock = threading.Lock()

    def work(first: int, last: int) -> None:
        nonlocal at_work
        with lock:
            at_work += 1
        time.sleep(0.01)
        with lock:
            at_work -= 1
        if first > 3:
            raise ValueError(f"span {first}")

    with pytest.raises(ValueError, match="span"):
        threads.share(work, 100, workers=4)
    assert at_work == 0


@pytest.mark.parametrize("workers", [1, 2, 5, 300])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 100])
def test_spans_cover_everything_once(count: int, workers: int) -> None:
    from celeiro.reading import threads

    seen: list[int] = []
    threads.share(lambda first, last: seen.extend(range(first, last)), count, workers=workers)
    assert sorted(seen) == list(range(count))


def test_a_pickled_dataset_is_small_whatever_the_file(files: dict[str, Path]) -> None:
    with celeiro.open(files["jpeg"], cache="memory") as ds:
        assert len(pickle.dumps(ds)) < 1000
        assert sys.getsizeof(ds) < 1000
