"""The journal: whatever is cut off or damaged, what is read back is a prefix of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeiro.packing.journal import Frame, Journal

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = [
    Frame(3, {"data": 4100}, {"data_length": np.array([1, 1, 2], np.uint64)}, {"refused": []}),
    Frame(0, {"data": 4100}, durable=True),
    Frame(2, {"data": 4100}, {"data_length": np.zeros(0, np.uint64)}, {"refused": [[0, "é"]]}),
    Frame(
        1, {"data": 9000, "mask": 7},
        {"a": np.ones((1, 3), "u4"), "text": np.array(["ab"]), "f": np.array([np.nan])},
    ),
]  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    journal = Journal(tmp_path / "journal")
    for frame in FRAMES:
        journal.append(frame)
    journal.close()
    return tmp_path / "journal"


def read(path: Path) -> list[Frame]:
    journal = Journal(path)
    try:
        return list(journal.frames())
    finally:
        journal.close()


def plain(frame: Frame) -> Any:
    arrays = {name: (a.dtype.str, a.tolist()) for name, a in frame.arrays.items()}
    return repr((frame.tasks, dict(frame.ends), arrays, dict(frame.note), frame.durable))


def ends(path: Path) -> list[int]:
    """Where each frame ends."""
    sizes = [len(frame.to_bytes()) for frame in FRAMES]
    return np.cumsum(sizes).tolist()


def test_frames_come_back_as_they_were(path: Path) -> None:
    assert [plain(f) for f in read(path)] == [plain(f) for f in FRAMES]


def test_a_new_journal_has_no_frames(tmp_path: Path) -> None:
    assert read(tmp_path / "new") == []


def test_cut_at_any_byte_the_whole_frames_before_are_there_and_it_goes_on(path: Path) -> None:
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        kept = sum(end <= size for end in ends(path))
        journal = Journal(path)
        assert [plain(f) for f in journal.frames()] == [plain(f) for f in FRAMES[:kept]]
        journal.append(FRAMES[0])
        journal.close()
        assert [plain(f) for f in read(path)] == [plain(f) for f in [*FRAMES[:kept], FRAMES[0]]]


def test_a_flipped_bit_anywhere_ends_the_journal_before_its_frame(path: Path) -> None:
    whole = path.read_bytes()
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        before = sum(end <= at for end in ends(path))
        assert [plain(f) for f in read(path)] == [plain(f) for f in FRAMES[:before]], at


@given(junk=st.binary(max_size=200))
def test_any_bytes_after_the_last_frame_are_ignored(
    junk: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("junk") / "journal"
    path.write_bytes(FRAMES[0].to_bytes() + junk)
    assert [plain(f) for f in read(path)] == [plain(FRAMES[0])]
    assert path.read_bytes() == FRAMES[0].to_bytes()


def test_truncate_forgets_the_last_frames(path: Path) -> None:
    for count in (4, 3, 1, 0):
        journal = Journal(path)
        journal.truncate(count)
        assert [plain(f) for f in journal.frames()] == [plain(f) for f in FRAMES[:count]]
        journal.close()
        assert [plain(f) for f in read(path)] == [plain(f) for f in FRAMES[:count]]


def test_a_shorter_frame_over_a_torn_one_is_the_last(path: Path) -> None:
    journal = Journal(path)
    torn = Frame(9, {}, {"x": np.arange(1000)}).to_bytes()
    with path.open("ab") as file:  # as a full disk leaves it, with the journal still open
        file.write(torn[:5000])
    journal.append(FRAMES[1])
    assert [plain(f) for f in journal.frames()] == [plain(f) for f in [*FRAMES, FRAMES[1]]]
    journal.close()
    assert [plain(f) for f in read(path)] == [plain(f) for f in [*FRAMES, FRAMES[1]]]


def test_reading_again_forgets_what_was_only_believed_written(path: Path) -> None:
    journal = Journal(path)
    path.write_bytes(path.read_bytes()[:-1])
    journal.reread()
    journal.append(FRAMES[0])
    assert [plain(f) for f in journal.frames()] == [plain(f) for f in [*FRAMES[:3], FRAMES[0]]]
    journal.close()


def test_closing_twice_is_harmless(path: Path) -> None:
    journal = Journal(path)
    journal.close()
    journal.close()


def test_a_journal_that_cannot_be_opened_leaves_nothing_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    open_file = os.open

    def noted(*arguments: Any) -> int:
        opened.append(open_file(*arguments))
        return opened[-1]

    def full(fd: int, end: int) -> None:
        raise OSError("no room")

    monkeypatch.setattr(os, "open", noted)
    monkeypatch.setattr(os, "ftruncate", full)
    with pytest.raises(OSError, match="no room"):
        Journal(path)
    assert len(opened) == 1
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(opened[0])
