"""Stored bytes, of the file or of memory: all of them, whatever their order and length."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from celeiro.errors import ChangedError
from celeiro.format.checksum import crc32c
from celeiro.reading import source
from celeiro.reading.source import FileSource
from celeiro.storage import fetch
from celeiro.storage.fetch import DAMAGED, FOUND, LATE, Pieces
from celeiro.storage.local import File

if TYPE_CHECKING:
    from pathlib import Path


class PartlyInMemory(FileSource):
    """Has the first thousand bytes in memory."""

    def __init__(self, file: File, data: bytes) -> None:
        super().__init__(file)
        self._data = data

    def look(self, offset: int, length: int) -> memoryview | None:  # type: ignore[override]
        if offset + length > 1000:
            return None
        return memoryview(self._data)[offset : offset + length]


@pytest.fixture
def data() -> bytes:
    return os.urandom(700_000)


@pytest.fixture(params=["kernel", "no kernel"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "no kernel":
        monkeypatch.setattr(fetch, "compiled", lambda: None)
    elif fetch.compiled() is None:
        pytest.skip("no C compiler")
    return str(request.param)


@pytest.fixture(params=[FileSource, PartlyInMemory])
def bytes_in(request: pytest.FixtureRequest, tmp_path: Path, data: bytes, way: str) -> Any:
    del way
    (tmp_path / "data").write_bytes(data)
    file = File(tmp_path / "data")
    yield FileSource(file) if request.param is FileSource else request.param(file, data)
    file.close()


PLACES = [(0, 10), (40_000, 5), (999, 2), (5, 0), (0, 700_000), (0, 10), (300_000, 200_000)]
PLACES += [(at * 11, 30_000 + at) for at in range(40)]  # more than one fetch


def pieces_of(places: list[tuple[int, int]], data: bytes | None = None) -> Pieces:
    offsets, lengths = np.array(places, np.int64).T
    crcs = None
    if data is not None:
        crcs = np.array([crc32c(data[at : at + n]) for at, n in places], np.uint32)
    return Pieces(offsets, lengths, crcs)


def test_every_place_is_given_once(bytes_in: Any, data: bytes) -> None:
    found = [(i, bytes(view), ok) for i, view, ok in source.each(bytes_in, pieces_of(PLACES))]
    assert sorted(found) == [(i, data[a : a + n], True) for i, (a, n) in enumerate(PLACES)]
    assert list(source.each(bytes_in, pieces_of([(0, 1)]).part(0, 0))) == []


def test_damage_is_told_of_its_own_piece_alone(bytes_in: Any, data: bytes) -> None:
    pieces = pieces_of(PLACES, data)
    assert all(sound for _, _, sound in source.each(bytes_in, pieces))
    for bad in (0, 3, 4, len(PLACES) - 1):
        crcs = pieces.crcs.copy()  # type: ignore[union-attr]
        crcs[bad] ^= 1 << 20
        wrong = pieces._replace(crcs=crcs)
        assert {i for i, _, sound in source.each(bytes_in, wrong) if not sound} == {bad}
        room = np.empty(int(pieces.lengths.sum()), np.uint8)
        places = np.cumsum(pieces.lengths) - pieces.lengths
        assert source.fill(bytes_in, wrong, room, places) == bad
        assert source.fill(bytes_in, pieces, room, places) is None
        assert room.tobytes() == b"".join(data[a : a + n] for a, n in PLACES)


def test_what_the_disk_must_find_comes_last(
    bytes_in: Any, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = source.fetched

    def some_late(file: File, memory: Any, table: Any, room: Any, address: int) -> int:
        unchecked = table.copy()
        unchecked[:, 3] = -1
        assert fetched(file, memory, unchecked, room, address) == 0
        found = 0
        for at, (offset, length, place, _) in enumerate(table.tolist()):
            if offset == 0:
                found |= LATE << 2 * at
                room[place : place + length] = 0
        return found

    monkeypatch.setattr(source, "fetched", some_late)
    places = [(at, 1500) for at in [0, 2000, 0, 4000]]
    pieces = pieces_of(places, data)
    found = [(i, bytes(view), ok) for i, view, ok in source.each(bytes_in, pieces)]
    assert found == [(i, data[places[i][0] :][:1500], True) for i in (1, 3, 0, 2)]
    room = np.empty(6000, np.uint8)
    assert source.fill(bytes_in, pieces, room, np.arange(4) * 1500) is None
    assert room.tobytes() == b"".join(data[at:][:1500] for at, _ in places)
    wrong = pieces._replace(crcs=pieces.crcs ^ np.array([0, 0, 1, 0], np.uint32))  # type: ignore[operator]
    assert [i for i, _, ok in source.each(bytes_in, wrong) if not ok] == [2]
    assert source.fill(bytes_in, wrong, room, np.arange(4) * 1500) == 2


def test_who_reads_while_it_looks_at_a_piece_spoils_none(bytes_in: Any, data: bytes) -> None:
    inner = pieces_of([(500_000 + at, 20_000) for at in range(30)])
    found = {}
    for i, view, _ in source.each(bytes_in, pieces_of(PLACES)):
        for j, other, _ in source.each(bytes_in, inner):
            assert other == data[500_000 + j :][:20_000]
        found[i] = bytes(view)
    assert [found[i] for i in range(len(PLACES))] == [data[a : a + n] for a, n in PLACES]


def test_a_file_that_ends_before_is_an_error(bytes_in: Any, tmp_path: Path, data: bytes) -> None:
    pieces = pieces_of([(2000, 3000), (690_000, 10_000), (400_000, 300_000)])
    bytes_in.file.mapped()
    os.truncate(tmp_path / "data", 500_000)
    with pytest.raises(ChangedError, match="ends before"):
        list(source.each(bytes_in, pieces))
    with pytest.raises(ChangedError, match="ends before"):
        source.fill(bytes_in, pieces, np.empty(313_000, np.uint8), np.array([0, 3000, 13_000]))
    assert source.bytes_of(bytes_in, 2000, 3000) == data[2000:5000]


def test_damaged_and_late_are_told_apart(bytes_in: Any, data: bytes) -> None:
    pieces = pieces_of([(0, 5), (10, 5)], data)
    pieces = pieces._replace(crcs=pieces.crcs ^ np.array([0, 1], np.uint32))  # type: ignore[operator]
    room = np.empty(10, np.uint8)
    address = fetch.address_of(room)
    found = source.fetched(bytes_in.file, None, pieces.table([0, 5]), room, address)
    assert fetch.states(found, 2) == [FOUND, DAMAGED]


@pytest.mark.parametrize("length", [0, 1, 40_000])
def test_a_thread_may_begin_with_any_length(length: int, bytes_in: Any, data: bytes) -> None:
    found: list[Any] = []

    def read() -> None:
        try:
            found.append(source.bytes_of(bytes_in, 2000, length))
            found.extend(bytes(view) for _, view, _ in source.each(bytes_in, pieces))
        except BaseException as error:
            found.append(error)

    pieces = pieces_of([(2000, length)])
    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert found == [data[2000 : 2000 + length]] * 2


def test_what_is_very_long_is_not_kept(
    bytes_in: Any, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = source._Scratch()
    monkeypatch.setattr(source, "_KEPT", 3000)
    monkeypatch.setattr(source, "_scratch", scratch)
    for length, kept in [(30_000, None), (1100, 2200), (1500, 2200), (2500, 3000)]:
        [(_, view, _)] = source.each(bytes_in, pieces_of([(5, length)]))
        assert view == data[5 : 5 + length]
        assert (None if scratch._room is None else len(scratch._room.bytes)) == kept
