"""One output in the making: a folder beside it with the bytes so far and a journal.

    OUT.partial/lock      held while somebody writes
                job.json  what is being made, to refuse to go on with something else
                notes.json what its maker wants remembered
                journal   what is decided so far
                data      the file itself: payload from byte 4096, the rest at publish
                NAME.side what another data set of the file will hold, copied in at publish

The invariant: nothing stands under the final name until the file is whole and on the disk,
and what the journal holds is in `data`. Everything celeiro deletes is in that folder, by name,
and only where job.json says that the folder is celeiro's.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import time
from typing import TYPE_CHECKING, Any

from celeiro.errors import CeleiroError, ExistsError, OptionError, ResumeError, SpaceError
from celeiro.format import layout
from celeiro.format.checksum import crc32c
from celeiro.packing.journal import Frame, Journal
from celeiro.storage import local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from typing_extensions import Buffer

log = logging.getLogger(__name__)

DATA = "data"
"""Name of the main payload stream, and of its file."""

_MARK = "celeiro_job"
"""What makes a job.json ours; its value is the version of what stands in the folder."""

_VERSION = 1
# A table of so many characters is told part by part.
_LONG_TABLE = 120
# How often everything so far is put on the disk itself, seconds: what a power cut can take.
_DURABLE_EVERY = 10.0


def work_folder(out: Path) -> Path:
    """Where work on `out` stands until it is published."""
    return out.with_name(out.name + ".partial")


def unfinished(out: Path, *, overwrite: bool) -> Mapping[str, Any] | None:
    """The identity of work on `out` that was begun, or None.

    Raises
    ------
    ExistsError
        `out` is there already, and is not to be replaced.
    """
    folder = work_folder(out)
    _check_output(out, local.Lock(folder / "lock"), overwrite=overwrite)
    return _begun(folder) if (folder / DATA).exists() else None


class Work:
    """The work folder of one output, locked.

    Parameters
    ----------
    out
        Final name of the file.
    identity
        What is being made, as JSON: work goes on only on the same.
    sides
        Names of payload streams beside the main one.
    overwrite
        Whether `out` may exist, and is replaced once the new file is whole.
    fresh
        Whether work that was begun before is thrown away.
    resume
        Whether work that was begun before is gone on with; otherwise it is an error.

    Raises
    ------
    ExistsError, BusyError, ResumeError
        In that order of looking.
    """

    def __init__(
        self,
        out: Path,
        identity: Mapping[str, Any],
        *,
        sides: Sequence[str] = (),
        overwrite: bool = False,
        fresh: bool = False,
        resume: bool = True,
    ) -> None:
        self.out = out
        self.folder = work_folder(out)
        self.overwrite = overwrite
        self.sides = tuple(sides)
        self.published = False
        self.ends: dict[str, int] = {}
        self._fds: dict[str, int] = {}
        self.journal: Journal | None = None
        self._synced = time.monotonic()
        self._lock = local.Lock(self.folder / "lock")
        _check_output(out, self._lock, overwrite=overwrite)
        with self._room():
            self._take_lock()
        try:
            # Somebody may have published since we looked: the lock was theirs until now.
            _check_output(out, self._lock, overwrite=overwrite)
            self._check_folder()
            # Killed between giving the file its name and cleaning up? Then `data` is `out`, and
            # only the cleaning is left: not a byte may be written.
            self.published = _is_published(out)
            if fresh:
                self._forget(overwrite)
            with self._room():
                self._adopt(identity, resume=resume)
                self._open()
                self.recover()
        except BaseException:
            self.close()
            raise

    def commit(self, frame: Frame, payload: Mapping[str, Sequence[Buffer]]) -> None:
        """Write the payload of some tasks, then the frame that makes it count.

        Raises
        ------
        SpaceError
            The disk is full; nothing committed before is lost.
        ExistsError
            The file is finished and has its name; it is not written to any more.
        """
        assert self.journal is not None
        if self.published:
            raise ExistsError(f"{self.out} is finished: nothing can be added to it.")
        with self._room():
            for name, buffers in payload.items():
                local.write_at(self._fds[name], buffers, self.ends[name])
            self.journal.append(frame)
        self.ends = dict(frame.ends)

    def sync(self) -> None:
        """Return once everything committed would survive a power cut."""
        assert self.journal is not None
        with self._room():
            for fd in self._fds.values():
                local.sync_data(fd)
            self.journal.sync()
            local.sync_folder(self.folder)
            self.journal.append(Frame(0, self.ends, durable=True))
        self._synced = time.monotonic()

    def sync_now_and_then(self) -> None:
        """As `sync`, if the last time is long enough ago."""
        if time.monotonic() - self._synced > _DURABLE_EVERY:
            self.sync()

    def check_space(self, need: int) -> None:
        """Refuse to begin what cannot end: `need` more bytes; SpaceError."""
        free = local.free_bytes(self.folder)
        if need > free:
            raise SpaceError(
                f"{self.out} needs about {need / 1e9:.2f} GB more, and {free / 1e9:.2f} GB are "
                "free. Make room, choose another disk, or a smaller --store (jpeg) or --size."
            )

    def keep(self, name: str, value: Any) -> None:
        """Remember a JSON value with the work, such as names of classes."""
        path = self.folder / "notes.json"
        with self._room():
            _write_json(path, (_read_json(path) or {}) | {name: value})

    def kept(self, name: str) -> Any:
        """A value that `keep` remembered, or None."""
        return (_read_json(self.folder / "notes.json") or {}).get(name)

    def read(self, length: int, offset: int) -> bytes:
        """Bytes of the main payload that are committed."""
        return local.read_at(self._fds[DATA], length, offset)

    def frames(self) -> Iterator[Frame]:
        """All frames committed, from the first."""
        assert self.journal is not None
        return (frame for frame in self.journal.frames() if frame.tasks)

    def read_side(self, name: str) -> Callable[[int, int], bytes]:
        """A function (length, offset) -> bytes over a side stream."""
        fd = self._fds[name]
        return lambda length, offset: local.read_at(fd, length, offset)

    def publish(self, finish: Callable[[int], None]) -> None:
        """Let `finish` complete the file (it gets the descriptor), then give it its name.

        May be killed anywhere and called again: the payload is only read.
        """
        if not self.published:
            fd = self._fds[DATA]
            with self._room():
                os.ftruncate(fd, self.ends[DATA])
                local.write_at(fd, [bytes(layout.PAYLOAD_OFFSET)], 0)
                finish(fd)
                local.sync_data(fd)
            self._close_streams()
            try:
                local.publish(self._stream(DATA), self.out, overwrite=self.overwrite)
            except BaseException:
                self._open()  # so that it can be tried again
                raise
        self._close_streams()
        self._clear()
        _remove(self.folder, self._lock)

    def close(self) -> None:
        """Let go of everything; work stays for the next time, if there is any."""
        if self._is_empty():
            self.discard()
        self._close_streams()
        self._lock.release()

    def discard(self) -> None:
        """Throw the work away, and let go."""
        self._close_streams()
        self._clear()
        _remove(self.folder, self._lock)

    def recover(self) -> None:
        """Believe the journal: cut off what is not in it, and what a power cut may have taken."""
        assert self.journal is not None
        self.journal.reread()
        trusted, self.ends = self._trusted()
        if self.published:
            return
        for number, frame in enumerate(self.journal.frames()):
            if number < trusted:
                continue
            if not self._holds(frame, self.ends):
                log.warning(
                    "%s: the last samples did not reach the disk; packing them again.", self.folder
                )
                self.journal.truncate(number)
                break
            self.ends = dict(frame.ends)
        for name, fd in self._fds.items():
            os.ftruncate(fd, self.ends[name])

    # -- helpers, in the order in which they are called --

    def _is_empty(self) -> bool:
        return bool(self._fds) and not self.published and next(self.frames(), None) is None

    def _take_lock(self) -> None:
        """Lock the folder, and make it where it is not there yet."""
        tries = 100
        while True:
            try:
                self._make_folder()
                self._lock.acquire()
                return
            except CeleiroError:
                raise
            except OSError as error:
                tries -= 1
                if isinstance(error, FileNotFoundError) and tries:
                    continue  # its last user removed the folder after we saw it
                if error.errno in _FULL:
                    raise
                raise OptionError(
                    f"{self.folder} cannot be written ({error.strerror}), and celeiro works there. "
                    "Choose another output, or give yourself the right to write."
                ) from error

    def _make_folder(self) -> None:
        if not self.out.parent.is_dir():
            raise OptionError(
                f"the folder {self.out.parent} does not exist. Make it, or choose another output."
            )
        try:
            self.folder.mkdir()
        except FileExistsError:
            if not self.folder.is_dir():
                raise ExistsError(
                    f"{self.folder} is a file; celeiro works in a folder of that name. "
                    "Move it away, or choose another output."
                ) from None
        else:
            local.sync_folder(self.out.parent)

    def _check_folder(self) -> None:
        """Refuse a folder with files of our names that we did not make."""
        foreign = _foreign(self.folder, self.sides)
        if not foreign:
            return
        if "lock" not in foreign:
            self._lock.remove()
        raise ExistsError(
            f"{self.folder} holds {foreign[0]!r}, and not by celeiro, which works in a folder of "
            "that name. Move it away, or choose another output."
        )

    @contextlib.contextmanager
    def _room(self) -> Iterator[None]:
        """Say it in words where the disk is full."""
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise SpaceError(
                f"the disk of {self.out.parent} is full. Everything packed so far is kept: "
                "make room and give the same command again."
            ) from error

    def _forget(self, overwrite: bool) -> None:
        """Throw away what was begun; of a published file only the second name."""
        self._clear()
        if self.published:
            self.published = False
            if not overwrite:
                _remove(self.folder, self._lock)
                raise _exists(self.out)

    def _stream(self, name: str) -> Path:
        return self.folder / (name if name == DATA else f"{name}.side")

    def _adopt(self, identity: Mapping[str, Any], *, resume: bool) -> None:
        path = self.folder / "job.json"
        wanted = {**identity, _MARK: _VERSION, "sides": list(self.sides)}
        begun = _begun(self.folder)
        if begun is None or not self._stream(DATA).exists():
            # Nothing committed, or a publish by replacing that was killed before cleaning up.
            self._clear()
            _write_json(path, wanted)
            return
        if not resume:
            raise ExistsError(
                f"{self.folder} holds unfinished work on {self.out}. Go on with it "
                "(resume=True), or throw it away (fresh=True)."
            )
        different = [k for k in {**begun, **wanted} if begun.get(k) != wanted.get(k)]
        if different and self.published:
            # It is another job's file, whole; that job left only its folder.
            self._forget(self.overwrite)
            _write_json(path, wanted)
            return
        if different:
            changes = "; ".join(
                change for k in sorted(different) for change in _changes(k, begun, wanted)
            )
            raise ResumeError(
                f"{self.folder} was begun with other options: {changes}. Give the same ones to "
                "go on, or --fresh to start anew (what was packed is then thrown away)."
            )

    def _open(self) -> None:
        self.journal = Journal(self.folder / "journal")
        for name in (DATA, *self.sides):
            flags = local.READ_WRITE | os.O_CREAT
            self._fds[name] = os.open(self._stream(name), flags, 0o666)

    def _trusted(self) -> tuple[int, dict[str, int]]:
        """How many frames stand on the disk for sure, with their payload, and its ends.

        Those before a mark of durability do, unless a stream is too short for it.
        """
        assert self.journal is not None
        sizes = {name: os.fstat(fd).st_size for name, fd in self._fds.items()}
        trusted, ends = 0, {DATA: layout.PAYLOAD_OFFSET} | dict.fromkeys(self.sides, 0)
        for number, frame in enumerate(self.journal.frames(), 1):
            if frame.durable and all(sizes[n] >= end for n, end in frame.ends.items()):
                trusted, ends = number, dict(frame.ends)
        return trusted, ends

    def _holds(self, frame: Frame, begins: Mapping[str, int]) -> bool:
        """Whether the streams hold the bytes whose checksums the frame has."""
        for name, fd in self._fds.items():
            at = begins[name]
            lengths = frame.arrays.get(f"{name}_length", ())
            crcs = frame.arrays.get(f"{name}_crc", ())
            for length, crc in zip(lengths, crcs, strict=True):
                if crc32c(local.read_at(fd, int(length), at)) != int(crc):
                    return False
                at += int(length)
            if at != frame.ends[name]:
                return False
        return True

    def _close_streams(self) -> None:
        if self.journal is not None:
            self.journal.close()
        while self._fds:
            os.close(self._fds.popitem()[1])

    def _clear(self) -> None:
        _clear(self.folder, self.sides)


def _check_output(out: Path, lock: local.Lock, *, overwrite: bool) -> None:
    """Refuse an output that is there and shall stay; what is left of its making goes."""
    if out.is_dir():
        raise ExistsError(f"{out} is a folder. Choose the name of a file in it.")
    if overwrite or not os.path.lexists(out) or _is_published(out):
        return
    if not local.is_claim(work_folder(out) / DATA, out):
        _sweep(work_folder(out), lock)
        raise _exists(out)


def _is_published(out: Path) -> bool:
    return local.same_file(work_folder(out) / DATA, out)


def _sweep(folder: Path, lock: local.Lock) -> None:
    """Remove a work folder where a publish was killed while removing it."""
    try:
        rest = set(os.listdir(folder))
    except OSError:
        return
    if rest <= _names(folder) - {DATA} and not _foreign(folder):
        with contextlib.suppress(OSError):  # such as somebody else's lock
            lock.acquire()
            _clear(folder)
            _remove(folder, lock)


def _clear(folder: Path, sides: Iterable[str] = ()) -> None:
    """Remove what a job makes in its folder, by name; never anything else.

    First `data`, which only a finished file can do without, and last job.json, by which the next
    one knows the rest for ours.
    """
    last = ["job.json", "job.new"]
    rest = _names(folder, sides) - {DATA, "lock", *last}
    for name in [DATA, *sorted(rest), *last]:
        (folder / name).unlink(missing_ok=True)


def _names(folder: Path, sides: Iterable[str] = ()) -> set[str]:
    """All names that celeiro gives in a work folder, now or when the work was begun."""
    streams = {*sides, *(_begun(folder) or {}).get("sides", ())}
    return {f"{stream}.side" for stream in streams} | {
        "lock", "job.json", "job.new", "notes.json", "notes.new", "journal", DATA,
        local.claim(folder / DATA).name,
    }  # fmt: skip


def _foreign(folder: Path, sides: Iterable[str] = ()) -> list[str]:
    """Files with names of ours, in a folder where no job of ours was begun."""
    if _begun(folder) is not None:
        return []
    lock = folder / "lock"
    names = _names(folder, sides) - {lock.name, "job.new"}
    found = [name for name in names if os.path.lexists(folder / name)]
    if lock.exists() and lock.stat().st_size:
        found.append(lock.name)
    return sorted(found)


def _remove(folder: Path, lock: local.Lock) -> None:
    """Remove a work folder that is cleared, and its lock with it."""
    lock.remove()
    try:
        folder.rmdir()
    except OSError:
        log.warning("%s holds files that celeiro did not make; they are left.", folder)
    local.sync_folder(folder.parent)


def _exists(out: Path) -> ExistsError:
    return ExistsError(
        f"{out} already exists, and nothing is overwritten unasked. Choose another name, "
        "move it away, or replace it with --overwrite (overwrite=True)."
    )


# No room: disk, quota, or largest file.
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def _begun(folder: Path) -> dict[str, Any] | None:
    """What stands in the folder's job.json, if it is one of ours."""
    found = _read_json(folder / "job.json")
    return found if found and _MARK in found else None


def _changes(name: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What changed of one entry; of a long table no more than that."""
    before, after = was.get(name), now.get(name)
    long = len(f"{before}{after}") > _LONG_TABLE
    if long and isinstance(before, dict) and isinstance(after, dict):
        for part in sorted({**before, **after}):
            if before.get(part) != after.get(part):
                yield from _changes(part, before, after)
    else:
        yield f"{name} was {before!r}, is {after!r}"


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a small file at once: a kill leaves the old or the new one, whole."""
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(value, indent=1, sort_keys=True))
    with local.opened(beside, local.READ_WRITE) as fd:
        local.sync_data(fd)
    os.replace(beside, path)
