"""The kernel of reading: checksums like everybody's, and no crash where a mapped file is cut."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeiro.format.checksum import crc32c
from celeiro.storage import fetch
from celeiro.storage.fetch import DAMAGED, FOUND, LATE, Map, Pieces

if TYPE_CHECKING:
    from pathlib import Path

needs_kernel = pytest.mark.skipif(fetch.compiled() is None, reason="no C compiler")
needs_map = pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="nothing is mapped here")


def test_a_library_that_is_not_there_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fetch, "LIBRARY", tmp_path / "none.so")
    find = fetch.compiled.__wrapped__
    assert find() is None
    assert "install a C compiler" in caplog.text


def test_nobody_is_told_to_install_a_compiler_where_none_would_help(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(os, "pread", raising=False)  # as on Windows
    assert fetch.compiled.__wrapped__() is None
    assert not caplog.text


def states(fd: int, held: Map | None, pieces: Pieces) -> tuple[list[int], bytes]:
    room = np.zeros(int(pieces.lengths.sum()), np.uint8)
    table = pieces.table(np.cumsum(pieces.lengths) - pieces.lengths)
    found = fetch.fetch(fetch.compiled(), fd, held, table, fetch.address_of(room))
    if held is not None:
        held.note(len(room))
    return fetch.states(found, len(table)), room.tobytes()


@needs_kernel
@given(
    seed=st.integers(0, 99),
    lengths=st.lists(
        st.one_of(st.integers(0, 70), st.sampled_from([4096, 12_287, 12_288, 24_600, 140_000])),
        min_size=1, max_size=fetch.MOST,
    ),
    mapped=st.booleans(),
    wrong=st.integers(0, fetch.MOST - 1),
)  # fmt: skip
def test_pieces_and_checksums_are_right_for_any_length(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    lengths: list[int],
    mapped: bool,
    wrong: int,
) -> None:
    rng = np.random.default_rng(seed)
    data = rng.bytes(200_000)
    path = tmp_path_factory.getbasetemp() / "pieces"
    path.write_bytes(data)
    offsets = rng.integers(0, 60_000, len(lengths))
    wanted = [data[at : at + n] for at, n in zip(offsets.tolist(), lengths, strict=True)]
    crcs = np.array([crc32c(part) for part in wanted], np.uint32)
    fd = os.open(path, os.O_RDONLY)
    try:
        held = Map(fd, len(data)) if mapped else None
        plain = Pieces(offsets, np.array(lengths, np.int64))
        for pieces in (plain, plain._replace(crcs=crcs)):
            assert states(fd, held, pieces) == ([FOUND] * len(lengths), b"".join(wanted))
        if wrong < len(lengths):
            crcs[wrong] ^= 1 << seed % 32
            found, _ = states(fd, held, plain._replace(crcs=crcs))
            assert found == [DAMAGED if at == wrong else FOUND for at in range(len(lengths))]
    finally:
        os.close(fd)


@needs_kernel
@needs_map
def test_a_mapped_file_that_is_cut_short_is_told_and_not_a_crash(tmp_path: Path) -> None:
    # As it happens between the look at the system's cache and the copy: the descriptor is of a
    # whole file, the mapping of one that was cut.
    data = np.random.default_rng(0).bytes(1 << 20)
    for name in ("whole", "cut"):
        (tmp_path / name).write_bytes(data)
    whole, cut = (os.open(tmp_path / name, os.O_RDONLY) for name in ("whole", "cut"))
    held = Map(cut, len(data))
    pieces = Pieces(np.array([0, 300_000, 600_000]), np.array([200_000, 200_000, 400_000]))
    assert states(whole, held, pieces)[0] == [FOUND] * 3
    os.truncate(tmp_path / "cut", 400_000)
    for _ in range(3):  # the guard stands again each time
        found, room = states(whole, held, pieces)
        assert found == [FOUND, LATE, LATE]
        assert room[:200_000] == data[:200_000]
    os.close(whole)
    os.close(cut)


@needs_kernel
@needs_map
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc")
def test_what_was_looked_at_does_not_stay_in_our_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resident() -> int:
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) << 10 for line in lines if "RssFile" in line)

    monkeypatch.setattr(fetch, "_MOST_LOOKED_AT", 4 << 20)
    data = np.random.default_rng(0).bytes(64 << 20)
    (tmp_path / "data").write_bytes(data)
    fd = os.open(tmp_path / "data", os.O_RDONLY)
    held, before = Map(fd, len(data)), resident()
    for at in range(0, len(data), 1 << 20):
        pieces = Pieces(np.arange(5) * 200_000 + at, np.full(5, 200_000))
        assert states(fd, held, pieces) == ([FOUND] * 5, data[at : at + 1_000_000])
    assert resident() - before < 24 << 20
    os.close(fd)


_OF_OTHERS = """
import faulthandler, mmap, os, sys
import numpy as np
from celeiro.storage import fetch
before, after, path = sys.argv[1] == "before", sys.argv[1] == "after", sys.argv[2]
if before:
    faulthandler.enable()
assert fetch.compiled() is not None
if after:
    faulthandler.enable()
fd = os.open(path, os.O_RDONLY)
size = os.path.getsize(path)
held, theirs = fetch.Map(fd, size), mmap.mmap(fd, size, access=mmap.ACCESS_READ)
pieces = fetch.Pieces(np.array([0, 500_000]), np.array([300_000, 300_000]))
table = pieces.table([0, 300_000])
room = np.empty(600_000, np.uint8)
address = fetch.address_of(room)
assert fetch.fetch(fetch.compiled(), fd, held, table, address) == 0
assert room.tobytes() == theirs[:300_000] + theirs[500_000:800_000]
os.truncate(path, 100_000)
found = fetch.states(fetch.fetch(fetch.compiled(), fd, held, table, address), 2)
assert found == [fetch.LATE, fetch.LATE], found
print("told", flush=True)
theirs[500_000]
"""


@needs_kernel
@needs_map
@pytest.mark.parametrize("handler", ["none", "before", "after"])
def test_bus_errors_of_others_stay_what_they_were(tmp_path: Path, handler: str) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(1 << 20))
    done: Any = subprocess.run(
        [sys.executable, "-c", _OF_OTHERS, handler, str(path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == "told\n", done.stderr
    assert done.returncode == -signal.SIGBUS
    assert ("Fatal Python error: Bus error" in done.stderr) == (handler != "none")
