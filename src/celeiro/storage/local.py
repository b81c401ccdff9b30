"""Local files: positioned reads and writes, durability, locks, and publishing under a name.

Everything that differs between Linux, macOS and Windows stands here and nowhere else.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import stat
import sys
import threading
from typing import TYPE_CHECKING

from celeiro.errors import BusyError, ChangedError, ExistsError, FormatError
from celeiro.storage.fetch import Map

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from typing_extensions import Buffer

log = logging.getLogger(__name__)

READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0)
READ_WRITE = os.O_RDWR | getattr(os, "O_BINARY", 0)

# Opening a pipe waits for somebody to write to it.
_DO_NOT_WAIT = getattr(os, "O_NONBLOCK", 0)

# Linux and macOS take at most 1,024 buffers in one call (IOV_MAX).
_VECTOR = 1024

# Windows has neither pread nor pwrite; seek and read are then one step under this lock.
_seek_lock = threading.Lock()


def read_file(path: bytes | str, size_hint: int = 0) -> bytes:
    """All bytes of a file, in one read where `size_hint` (bytes) is its size.

    A bare ``os.read`` costs 16 µs for a small file where ``open().read()`` costs 30. A pipe or a
    device, which may never end, is an OSError.
    """
    fd = os.open(path, READ_ONLY | _DO_NOT_WAIT)
    try:
        data = os.read(fd, size_hint + 1) if size_hint else b""
        if size_hint and len(data) == size_hint:
            return data  # as long as somebody has seen it to be, so it is a file
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fsdecode(path))
        # Another size than was said; or one call gave less, as Linux does beyond 2 GB.
        parts = [data]
        while part := os.read(fd, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def write_at(fd: int, buffers: Sequence[Buffer], offset: int) -> int:
    """Write all `buffers` one after the other from byte `offset`; the bytes written.

    Raises
    ------
    OSError
        As the system says; what was written before stays.
    """
    views = [view.cast("B") for b in buffers if (view := memoryview(b)).nbytes]
    position = offset
    first = 0
    while first < len(views):
        written = _write_some(fd, views[first : first + _VECTOR], position)
        position += written
        while first < len(views) and written >= views[first].nbytes:
            written -= views[first].nbytes
            first += 1
        if written:
            views[first] = views[first][written:]
    return position - offset


def _write_some(fd: int, views: Sequence[memoryview], offset: int) -> int:
    if hasattr(os, "pwritev"):
        return os.pwritev(fd, views, offset)
    with _seek_lock:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, views[0])


def read_at(fd: int, length: int, offset: int) -> bytes:
    """Exactly `length` bytes from byte `offset`, or fewer at the end of the file."""
    parts = []
    while length > 0:
        part = _read_some(fd, min(length, 1 << 30), offset)
        if not part:
            break
        parts.append(part)
        length -= len(part)
        offset += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _read_some(fd: int, length: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(fd, length, offset)
    with _seek_lock:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, length)


class File:
    """A file that many threads, and forked processes, read at positions of their own.

    No read moves an offset that somebody else would share. `check` tells whether the file is still
    the one that was opened: call it after reading and before believing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, READ_ONLY | _DO_NOT_WAIT)
        found = os.fstat(self.fd)
        self.size = found.st_size
        """Bytes, when it was opened."""
        self.stamp = found.st_mtime_ns
        """Time of its last change, when it was opened."""
        self._no_wait = getattr(os, "RWF_NOWAIT", 0)
        self._map: Map | None = None
        self._may_map = bool(self._no_wait) and self.size > 0

    def mapped(self) -> Map | None:
        """The file in our address space, for `fetch`; None where it cannot be there."""
        if self._may_map and self._map is None:
            try:
                self._map = Map(self.fd, self.size)
            except (OSError, ValueError, OverflowError):  # no room for it, or it is shorter by now
                self._may_map = False
        return self._map

    def try_into(self, view: memoryview, offset: int) -> bool:
        """Fill `view` from byte `offset` if the bytes are in memory; False after asking for them.

        The kernel then reads ahead by itself, so that one thread keeps a disk busy that would
        otherwise want eight: 222 µs a row of 196 KB from cold, where waiting takes 360.
        """
        if self._no_wait:
            try:
                if os.preadv(self.fd, (view,), offset, self._no_wait) == len(view):
                    return True
            except BlockingIOError:
                pass
            except OSError as error:  # a file system that cannot tell
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                    raise
                self._no_wait = 0
            else:
                if offset + len(view) > self.size:
                    raise self._short(offset, len(view))
        self.will_need(offset, len(view))
        return False

    def will_need(self, offset: int, length: int) -> None:
        """Let the system read these bytes ahead, where it can; nothing is waited for."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.fd, offset, length, os.POSIX_FADV_WILLNEED)

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill `view` from byte `offset`.

        Raises
        ------
        ChangedError
            The file ends before: it is shorter than it was.
        """
        if not hasattr(os, "preadv"):
            data = read_at(self.fd, len(view), offset)
            if len(data) < len(view):
                raise self._short(offset, len(view))
            view[:] = data
            return
        done = os.preadv(self.fd, (view,), offset)
        while done < len(view):  # one call reads at most 2 GB
            more = os.preadv(self.fd, (view[done:],), offset + done)
            if not more:
                raise self._short(offset, len(view))
            done += more

    def read(self, length: int, offset: int) -> bytes:
        """Exactly `length` bytes from byte `offset`; ChangedError where the file ends before."""
        data = read_at(self.fd, length, offset)
        if len(data) < length:
            raise self._short(offset, length)
        return data

    def check(self) -> None:
        """Refuse to go on with a file that was written to since it was opened.

        Raises
        ------
        ChangedError
            Its size or the time of its last change differ.
        """
        self.check_open()
        now = os.fstat(self.fd)
        if now.st_size != self.size or now.st_mtime_ns != self.stamp:
            raise ChangedError(
                f"{self.path}: it had {self.size:,} bytes when it was opened and was changed since "
                f"(it has {now.st_size:,} now). Open it again."
            )

    def check_open(self) -> None:
        """Refuse to read a file that was closed."""
        if self.fd < 0:
            raise FormatError(f"{self.path} is closed. Open it again.")

    def check_name(self) -> None:
        """Refuse to go on where the name leads to another file by now.

        To be called when somebody opened the file by its name once more.

        Raises
        ------
        ChangedError
            The file was replaced, or removed.
        """
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self.path), os.fstat(self.fd)):
                return
        raise ChangedError(
            f"{self.path}: another file has this name since it was opened. Open it again."
        )

    def close(self) -> None:
        """Give the descriptor back; closing again is harmless."""
        fd, self.fd = self.fd, -1
        self._map, self._may_map = None, False  # who is fetching holds it until then
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        """Give the descriptor back, as Python's own files do."""
        if getattr(self, "fd", -1) >= 0:
            self.close()

    def _short(self, offset: int, length: int) -> ChangedError:
        return ChangedError(
            f"{self.path}: {length:,} bytes were wanted from byte {offset:,} on, and it ends "
            f"before (it had {self.size:,} when it was opened). Look for a copy, or open it again."
        )


def available_cores() -> int:
    """Cores that this process may use, which containers make fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def sync_data(fd: int) -> None:
    """Return once the file's bytes would survive a power cut."""
    if sys.platform == "darwin":
        # fsync on macOS leaves the bytes in the drive's cache; F_FULLFSYNC does not.
        import fcntl

        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        os.fsync(fd)


def sync_folder(path: Path) -> None:
    """Return once the names in a folder would survive a power cut (nothing on Windows)."""
    if sys.platform == "win32":
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some network file systems refuse to sync a folder; the file itself was synced.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)


def free_bytes(folder: Path) -> int:
    """Bytes that an ordinary user may still write below `folder`."""
    return shutil.disk_usage(folder).free


def same_file(a: Path, b: Path) -> bool:
    """Whether both names exist and are one file."""
    try:
        return os.path.samefile(a, b)
    except FileNotFoundError:
        return False


def publish(made: Path, final: Path, *, overwrite: bool) -> None:
    """Give the finished file `made` its final name, at once and whole.

    Without `overwrite` the name must be free: a hard link fails where a rename would
    silently replace. Where the file system has no hard links (exFAT), an empty file claims the
    name first and is then replaced; a note beside `made` tells `is_claim` that it is ours.

    Raises
    ------
    ExistsError
        `final` appeared in the meantime; `made` is untouched.
    """
    if overwrite:
        os.replace(made, final)
    else:
        try:
            os.link(made, final)
        except FileExistsError:
            if not is_claim(made, final):
                raise _appeared(made, final) from None
            _claim_and_replace(made, final)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
            _claim_and_replace(made, final)
        else:
            os.unlink(made)
    sync_folder(final.parent)


@contextlib.contextmanager
def whole(final: Path, *, overwrite: bool) -> Iterator[Path]:
    """A name to write a file under, which becomes `final` at the end: whole, or not at all.

    It stands beside `final`, nobody else's, with the rights of any new file, and is on the disk
    before `final` names it. Whatever ends the block, nothing else is left there.

    Raises
    ------
    ExistsError
        Without `overwrite`: `final` is there by now.
    """
    made = _new_beside(final)
    try:
        yield made
        with opened(made, READ_WRITE) as fd:
            sync_data(fd)
        try:
            publish(made, final, overwrite=overwrite)
        except ExistsError:
            raise ExistsError(
                f"{final} appeared meanwhile. Choose another name, or overwrite."
            ) from None
    finally:
        if is_claim(made, final):  # of a publish that failed
            final.unlink()
        made.unlink(missing_ok=True)
        claim(made).unlink(missing_ok=True)


def _new_beside(final: Path) -> Path:
    """An empty file of ours, whose name is short where that of `final` is as long as may be."""
    while True:
        made = final.with_name(f".{os.urandom(8).hex()}.part")
        with contextlib.suppress(FileExistsError):
            os.close(os.open(made, READ_WRITE | os.O_CREAT | os.O_EXCL, 0o666))
            return made


def is_claim(made: Path, final: Path) -> bool:
    """Whether `final` is the empty file of a `publish` that was killed before it was done."""
    return claim(made).exists() and os.path.lexists(final) and final.lstat().st_size == 0


def claim(made: Path) -> Path:
    """The note that goes before an empty file under the final name of `made`."""
    return made.with_name(f"{made.name}.claim")


def _claim_and_replace(made: Path, final: Path) -> None:
    if not is_claim(made, final):
        claim(made).touch()
        try:
            os.close(os.open(final, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            claim(made).unlink()
            raise _appeared(made, final) from None
    os.replace(made, final)
    claim(made).unlink()


def _appeared(made: Path, final: Path) -> ExistsError:
    return ExistsError(
        f"{final} appeared while it was being packed. The finished file is {made}: move it to "
        "another name, or go on with --overwrite."
    )


class Lock:
    """An exclusive lock on a file, held by this process until released or killed.

    The file may be removed by its last holder, so after locking its name must still lead
    to the same inode; otherwise somebody else made a new one, and we try that.

    Where the file system has no locks (some network mounts), this is said once in the log
    and work goes on without: two packers on one output are then not noticed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def acquire(self) -> Self:
        """Take the lock.

        Raises
        ------
        BusyError
            Another process holds it.
        """
        while self._fd is None:
            fd = os.open(self.path, READ_WRITE | os.O_CREAT, 0o666)
            try:
                _lock_or_fail(fd, self.path)
                if _still_named(fd, self.path):
                    self._fd, fd = fd, -1
            finally:
                if fd >= 0:
                    os.close(fd)
        return self

    def release(self) -> None:
        """Give the lock back; the file stays."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def remove(self) -> None:
        """Remove the file and give the lock back; nobody can take it in between."""
        if sys.platform == "win32":  # where an open file cannot be removed
            self.release()
        with contextlib.suppress(OSError):  # such as another that has it open by now
            os.unlink(self.path)
        self.release()

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _still_named(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _lock_or_fail(fd: int, path: Path) -> None:
    busy = BusyError(f"{path.parent} is being written by another celeiro. Wait for it, or stop it.")
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            raise busy from None
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
            raise
        log.warning(
            "%s: this file system has no locks; a second celeiro on the same output "
            "would not be noticed.",
            path.parent,
        )


@contextlib.contextmanager
def opened(path: Path | bytes, flags: int) -> Iterator[int]:
    """A file descriptor that is closed at the end of the block."""
    fd = os.open(path, flags, 0o666)
    try:
        yield fd
    finally:
        os.close(fd)
