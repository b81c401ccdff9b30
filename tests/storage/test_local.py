"""Local files: whole reads and writes, locks that the dead do not hold, names given at once."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeiro.errors import BusyError, ChangedError, ExistsError, FormatError
from celeiro.storage import local

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Nursery


@pytest.fixture(params=["as it is", "without pread and pwritev"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """This system, and one that lacks what Windows lacks."""
    if request.param != "as it is":
        for name in ("pread", "pwritev", "fdatasync"):
            monkeypatch.delattr(os, name, raising=False)
    return request.param


@pytest.fixture
def fd(tmp_path: Path) -> Any:
    with local.opened(tmp_path / "file", local.READ_WRITE | os.O_CREAT) as fd:
        yield fd


@pytest.mark.parametrize("hint", [0, 1, 999, 1000, 1001, 5000])
def test_a_file_is_read_whole_whatever_its_size_was_said_to_be(hint: int, tmp_path: Path) -> None:
    data = os.urandom(1000)
    (tmp_path / "file").write_bytes(data)
    assert local.read_file(os.fsencode(tmp_path / "file"), hint) == data
    (tmp_path / "empty").touch()
    assert local.read_file(str(tmp_path / "empty"), hint) == b""


def test_a_large_file_is_read_in_several_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(data)
    assert local.read_file(str(tmp_path / "file")) == data
    read = os.read
    monkeypatch.setattr(os, "read", lambda fd, size: read(fd, min(size, 100_000)))
    assert local.read_file(str(tmp_path / "file"), 3_000_000) == data


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "missing"])
def test_what_is_no_file_is_an_error_and_not_a_wait(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    if kind == "folder":
        path.mkdir()
    if kind == "device":
        path.symlink_to("/dev/zero")
    with pytest.raises(OSError, match=r"regular|directory|No such"):
        local.read_file(os.fsencode(path))


@given(
    sizes=st.lists(st.integers(0, 50), max_size=30),
    offset=st.integers(0, 100),
    limit=st.integers(1, 40),
)
def test_everything_is_written_however_little_the_system_takes_at_a_time(
    sizes: list[int], offset: int, limit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    buffers = [np.random.default_rng(i).bytes(size) for i, size in enumerate(sizes)]
    path = tmp_path_factory.mktemp("w") / "file"
    pwritev = os.pwritev

    def little(fd: int, views: Any, position: int) -> int:
        return pwritev(fd, [b"".join(views)[:limit]], position)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwritev", little)
        with local.opened(path, local.READ_WRITE | os.O_CREAT) as fd:
            assert local.write_at(fd, buffers, offset) == sum(sizes)
            assert local.read_at(fd, 10_000, offset) == b"".join(buffers)


def test_more_buffers_than_one_call_takes_are_written(fd: int, system: str) -> None:
    buffers: list[Any] = [bytes([i % 256]) * (i % 5) for i in range(5000)]
    assert local.write_at(fd, buffers, 7) == sum(map(len, buffers))
    assert local.read_at(fd, 1 << 20, 7) == b"".join(buffers)


def test_any_buffer_can_be_written(fd: int, system: str) -> None:
    buffers = [
        np.arange(6, dtype="<u2").reshape(2, 3), bytearray(b"ab"), memoryview(b"cd"),
        np.zeros((0, 3)), b"", np.array(5, "u1"),
    ]  # fmt: skip
    local.write_at(fd, buffers, 0)
    assert local.read_at(fd, 99, 0) == np.arange(6, dtype="<u2").tobytes() + b"abcd\5"


def test_reading_past_the_end_gives_what_is_there(fd: int, system: str) -> None:
    local.write_at(fd, [b"abc"], 0)
    assert local.read_at(fd, 10, 1) == b"bc"
    assert local.read_at(fd, 10, 3) == local.read_at(fd, 10, 50) == local.read_at(fd, 0, 0) == b""


def test_syncing_takes_files_and_folders(fd: int, tmp_path: Path, system: str) -> None:
    local.sync_data(fd)
    local.sync_folder(tmp_path)


def test_a_folder_that_cannot_be_synced_is_no_error_on_network_file_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(code: int) -> None:
        monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(code, "no")))

    refuse(errno.EINVAL)
    local.sync_folder(tmp_path)
    refuse(errno.EIO)
    with pytest.raises(OSError, match="no"):
        local.sync_folder(tmp_path)


def test_same_file_sees_through_names(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    os.link(tmp_path / "a", tmp_path / "c")
    assert local.same_file(tmp_path / "a", tmp_path / "c")
    assert not local.same_file(tmp_path / "a", tmp_path / "b")
    assert not local.same_file(tmp_path / "a", tmp_path / "none")
    assert not local.same_file(tmp_path / "none", tmp_path / "a")


@pytest.fixture(params=["hard links", "none"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system with hard links, and one without."""

    def link(source: Any, target: Any) -> None:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "exists")
        raise OSError(errno.EPERM, "no hard links here")

    if request.param == "none":
        monkeypatch.setattr(os, "link", link)


@pytest.mark.usefixtures("links")
def test_publishing_moves_the_file_to_its_name(tmp_path: Path) -> None:
    (tmp_path / "made").write_bytes(b"new")
    local.publish(tmp_path / "made", tmp_path / "final", overwrite=False)
    assert (tmp_path / "final").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["final"]


@pytest.mark.usefixtures("links")
def test_publishing_never_replaces_unasked(tmp_path: Path) -> None:
    (tmp_path / "made").write_bytes(b"new")
    for old in (b"old", b""):
        (tmp_path / "final").write_bytes(old)
        with pytest.raises(ExistsError, match="appeared while it was being packed"):
            local.publish(tmp_path / "made", tmp_path / "final", overwrite=False)
        assert (tmp_path / "final").read_bytes() == old
    assert sorted(os.listdir(tmp_path)) == ["final", "made"]
    local.publish(tmp_path / "made", tmp_path / "final", overwrite=True)
    assert (tmp_path / "final").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["final"]


@pytest.mark.usefixtures("links")
def test_a_file_is_written_whole_and_alone(tmp_path: Path) -> None:
    final = tmp_path / ("f" * 255)
    old = os.umask(0o027)
    try:
        with local.whole(final, overwrite=False) as made:
            made.write_bytes(b"new")
            assert made.parent == tmp_path
            assert not final.exists()
    finally:
        os.umask(old)
    assert final.read_bytes() == b"new"
    assert os.listdir(tmp_path) == [final.name]
    if os.name == "posix":
        assert final.stat().st_mode & 0o777 == 0o640


@pytest.mark.usefixtures("links")
def test_what_appeared_meanwhile_stays_and_nothing_else(tmp_path: Path) -> None:
    final = tmp_path / "final"

    def write() -> None:
        with local.whole(final, overwrite=False) as made:
            made.write_bytes(b"new")
            final.write_bytes(b"theirs")

    with pytest.raises(ExistsError, match="final appeared meanwhile. Choose"):
        write()
    assert final.read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["final"]
    with local.whole(final, overwrite=True) as made:
        made.write_bytes(b"new")
    assert final.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["final"]


def test_what_could_not_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(error: type[BaseException] | None = None) -> None:
        with local.whole(tmp_path / "a", overwrite=False) as made:
            made.write_bytes(b"half")
            if error is not None:
                raise error

    with pytest.raises(KeyboardInterrupt):
        write(KeyboardInterrupt)
    assert os.listdir(tmp_path) == []

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(os, "link", fail)  # no hard links, so the name is claimed first
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(PermissionError):
        write()
    assert os.listdir(tmp_path) == []


def test_two_who_write_one_file_do_not_share_what_they_write(tmp_path: Path) -> None:
    with (
        local.whole(tmp_path / "a", overwrite=True) as one,
        local.whole(tmp_path / "a", overwrite=True) as other,
    ):
        assert one != other
        one.write_bytes(b"1")
        other.write_bytes(b"2")
    assert (tmp_path / "a").read_bytes() == b"1"


def test_bytes_are_on_the_disk_before_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(local, "sync_data", lambda fd: seen.append((tmp_path / "a").exists()))
    with local.whole(tmp_path / "a", overwrite=False) as made:
        made.write_bytes(b"new")
    assert seen == [False]


def test_other_errors_of_publishing_come_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made").write_bytes(b"new")

    def link(source: Any, target: Any) -> None:
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OSError, match="broken disk"):
        local.publish(tmp_path / "made", tmp_path / "final", overwrite=False)
    assert os.listdir(tmp_path) == ["made"]


def test_a_lock_excludes_another_until_it_is_released(tmp_path: Path) -> None:
    first, second = local.Lock(tmp_path / "lock"), local.Lock(tmp_path / "lock")
    with first:
        assert first.acquire() is first  # once more is harmless
        with pytest.raises(BusyError, match="another celeiro"):
            second.acquire()
    with second:
        pass
    second.release()


def test_a_lock_excludes_another_process_and_dies_with_its_own(
    tmp_path: Path, nursery: Nursery
) -> None:
    code = """
    from pathlib import Path
    from celeiro.storage import local
    lock = local.Lock(Path(path)).acquire()
    kill()
    """
    with local.Lock(tmp_path / "lock"):
        assert nursery.run(code, path=tmp_path / "lock").error == "BusyError"
    assert nursery.run(code, path=tmp_path / "lock").killed
    with local.Lock(tmp_path / "lock"):
        pass


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_taken_on_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    flock, removed = fcntl.flock, []

    def flock_and_remove(fd: int, how: int) -> None:
        flock(fd, how)
        if not removed:
            removed.append(os.fstat(fd).st_ino)
            os.unlink(tmp_path / "lock")

    monkeypatch.setattr(fcntl, "flock", flock_and_remove)
    with local.Lock(tmp_path / "lock"):
        assert (tmp_path / "lock").exists()
        with pytest.raises(BusyError):
            local.Lock(tmp_path / "lock").acquire()


def test_removing_a_lock_leaves_nothing_and_nobody_slips_in(tmp_path: Path) -> None:
    lock = local.Lock(tmp_path / "lock").acquire()
    lock.remove()
    assert os.listdir(tmp_path) == []
    lock.remove()
    with lock:
        assert os.listdir(tmp_path) == ["lock"]


@pytest.mark.skipif(sys.platform == "win32", reason="flock")
def test_a_file_system_without_locks_is_told_once_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import fcntl

    def refuse(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with local.Lock(tmp_path / "lock"):
        pass
    assert "has no locks" in caplog.text


def test_descriptors_are_closed_whatever_happens(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        local.opened(tmp_path / "x", local.READ_WRITE | os.O_CREAT) as fd,
    ):
        raise ZeroDivisionError
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_free_space_is_a_number_of_bytes(tmp_path: Path) -> None:
    assert local.free_bytes(tmp_path) > 0


# Reading at positions


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    data = os.urandom(100_000)
    (tmp_path / "data").write_bytes(data)
    return data


@pytest.fixture(params=["as it is", "without preadv", "no answer about memory"])
def reader(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: bytes
) -> Any:
    """A file on this system, on one like Windows, and on a file system that tells nothing."""
    if request.param == "without preadv":
        for name in ("pread", "preadv", "posix_fadvise", "RWF_NOWAIT"):
            monkeypatch.delattr(os, name, raising=False)
    elif request.param == "no answer about memory" and hasattr(os, "RWF_NOWAIT"):
        preadv = os.preadv

        def refuse(fd: int, views: Any, offset: int, flags: int = 0) -> int:
            if flags:
                raise OSError(errno.EOPNOTSUPP, "not here")
            return preadv(fd, views, offset)

        monkeypatch.setattr(os, "preadv", refuse)
    file = local.File(tmp_path / "data")
    yield file
    file.close()


PLACES = [(0, 10), (5, 0), (99_990, 10), (0, 100_000), (4_095, 2), (100_000, 0)]


@pytest.mark.parametrize(("offset", "length"), PLACES)
def test_a_view_is_filled_from_its_place(
    offset: int, length: int, reader: local.File, data: bytes
) -> None:
    for _ in range(2):
        view = memoryview(bytearray(length))
        reader.read_into(view, offset)
        assert view == data[offset : offset + length]
        view = memoryview(bytearray(length))
        if reader.try_into(view, offset):
            assert view == data[offset : offset + length]
        assert reader.read(length, offset) == data[offset : offset + length]


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="this system does not tell")
def test_bytes_that_are_in_memory_come_at_once_and_others_do_not_wait(
    tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = local.File(tmp_path / "data")
    view = memoryview(bytearray(1000))
    if not file.try_into(view, 500):
        pytest.skip("this file system does not tell")
    assert view == data[500:1500]
    asked = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *args: asked.append(args))

    def not_there(*args: Any) -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "preadv", not_there)
    assert not file.try_into(view, 500)
    monkeypatch.setattr(os, "preadv", lambda *args: 400)  # as far as it is there
    assert not file.try_into(view, 500)
    assert asked == [(file.fd, 500, 1000, os.POSIX_FADV_WILLNEED)] * 2
    file.close()


@pytest.mark.parametrize(("offset", "length"), [(99_990, 11), (100_000, 1), (200_000, 5)])
def test_a_place_beyond_the_end_is_an_error(offset: int, length: int, reader: local.File) -> None:
    message = f"{length:,} bytes were wanted from byte {offset:,} on, and it ends before"
    with pytest.raises(ChangedError, match=message):
        reader.read_into(memoryview(bytearray(length)), offset)
    with pytest.raises(ChangedError, match=message):
        reader.read(length, offset)
    with contextlib.suppress(ChangedError):  # who does not tell what is in memory only says no
        assert not reader.try_into(memoryview(bytearray(length)), offset)


def test_a_read_that_comes_in_parts_is_put_together(
    tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(os, "preadv"):
        pytest.skip("no preadv here")
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, views, at: preadv(fd, [views[0][:999]], at))
    view = memoryview(bytearray(10_000))
    file = local.File(tmp_path / "data")
    file.read_into(view, 77)
    file.close()
    assert view == data[77:10_077]


def test_reads_move_no_offset_that_others_share(reader: local.File) -> None:
    if not hasattr(os, "preadv"):
        return  # a lock is what keeps them apart there
    before = os.lseek(reader.fd, 0, os.SEEK_CUR)
    reader.read_into(memoryview(bytearray(100)), 50)
    reader.read(100, 50)
    assert os.lseek(reader.fd, 0, os.SEEK_CUR) == before


@pytest.mark.parametrize("change", ["longer", "shorter", "written to", "touched"])
def test_a_file_that_changed_is_noticed(
    change: str, reader: local.File, tmp_path: Path, data: bytes
) -> None:
    path = tmp_path / "data"
    reader.check()
    if change == "longer":
        with path.open("ab") as file:
            file.write(b"x")
    elif change == "shorter":
        os.truncate(path, 99_999)
    elif change == "written to":
        with path.open("r+b") as file:
            file.write(b"x")
    # A clock of a file system may stand still for some milliseconds.
    os.utime(path, ns=(0, reader.stamp + (change in ("written to", "touched"))))
    with pytest.raises(ChangedError, match="changed since .*Open it again"):
        reader.check()


def test_a_name_that_leads_elsewhere_is_noticed(reader: local.File, tmp_path: Path) -> None:
    reader.check_name()
    os.rename(tmp_path / "data", tmp_path / "old")
    with pytest.raises(ChangedError, match="another file|Open it again"):
        reader.check_name()
    (tmp_path / "data").write_bytes(b"new")
    with pytest.raises(ChangedError, match="another file has this name"):
        reader.check_name()
    reader.check()  # what is open is as it was
    os.rename(tmp_path / "old", tmp_path / "data")
    reader.check_name()


def test_a_closed_file_says_so(reader: local.File) -> None:
    reader.close()
    reader.close()
    for call in (reader.check, reader.check_open):
        with pytest.raises(FormatError, match="is closed"):
            call()


def test_many_threads_read_at_once(reader: local.File, data: bytes) -> None:
    def read(seed: int) -> bool:
        rng = np.random.default_rng(seed)
        for offset in rng.integers(0, 90_000, 50).tolist():
            view = memoryview(bytearray(10_000))
            reader.read_into(view, offset)
            if view != data[offset : offset + 10_000]:
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_opened_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    local.File(tmp_path / "pipe").close()
