"""Stored bytes, of the file or of memory: all of them, whatever their order and length."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from celeiro.reading import source
from celeiro.reading.source import FileSource
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
    return os.urandom(50_000)


@pytest.fixture(params=[FileSource, PartlyInMemory])
def bytes_in(request: pytest.FixtureRequest, tmp_path: Path, data: bytes) -> Any:
    (tmp_path / "data").write_bytes(data)
    file = File(tmp_path / "data")
    yield FileSource(file) if request.param is FileSource else request.param(file, data)
    file.close()


PLACES = [(0, 0, 10), (1, 40_000, 5), (2, 999, 2), (3, 5, 0), (4, 0, 50_000), (5, 0, 10)]


def test_every_place_is_given_once(bytes_in: Any, data: bytes) -> None:
    found = {number: bytes(view) for number, view in source.each(bytes_in, iter(PLACES))}
    assert found == {number: data[at : at + length] for number, at, length in PLACES}


def test_what_the_disk_must_find_comes_last(
    bytes_in: Any, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    try_into = File.try_into
    monkeypatch.setattr(
        File, "try_into", lambda self, view, at: at != 0 and try_into(self, view, at)
    )
    places = [(i, at, 1500) for i, at in enumerate([0, 2000, 0, 4000])]
    found = [(number, bytes(view)) for number, view in source.each(bytes_in, places)]
    assert {number for number, _ in found[-2:]} == {0, 2}
    assert found == [(i, data[places[i][1] :][:1500]) for i, _ in found]
    room = [memoryview(bytearray(1500)) for _ in places]
    source.fill(bytes_in, [(view, at) for view, (_, at, _) in zip(room, places, strict=True)])
    assert [bytes(view) for view in room] == [data[at:][:1500] for _, at, _ in places]


@pytest.mark.parametrize("length", [0, 1, 40_000])
def test_a_thread_may_begin_with_any_length(length: int, bytes_in: Any, data: bytes) -> None:
    found: list[Any] = []

    def read() -> None:
        try:
            found.append(source.bytes_of(bytes_in, 2000, length))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert found == [data[2000 : 2000 + length]]


def test_what_is_very_long_is_not_kept(
    bytes_in: Any, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_KEPT", 1000)
    monkeypatch.setattr(source, "_scratch", source._Scratch())
    assert source.bytes_of(bytes_in, 5, 30_000) == data[5:30_005]
    assert len(source._scratch.buffer) == 0
    assert source.bytes_of(bytes_in, 2000, 900) == data[2000:2900]
    assert len(source._scratch.buffer) == 1000
