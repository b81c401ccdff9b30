"""One output in the making: a folder beside it with the bytes so far and a journal.

    OUT.partial/lock      held while somebody writes
                job.json  what is being made, to refuse to go on with something else
                notes.json what its maker wants remembered
                journal   what is decided so far
                data      the file itself: payload from byte 4096, the rest at publish
                NAME.side what another data set of the file will hold, copied in at publish

The invariant: nothing stands under the final name until the file is whole and on the disk,
and what the journal holds is in `data`. Everything celeiro deletes is in that folder, by name.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from typing import TYPE_CHECKING, Any

from celeiro.errors import ExistsError, OptionError, ResumeError, SpaceError
from celeiro.format import layout
from celeiro.format.checksum import crc32c
from celeiro.packing.journal import Frame, Journal
from celeiro.storage import local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from typing_extensions import Buffer

log = logging.getLogger(__name__)

DATA = "data"
"""Name of the main payload stream, and of its file."""

_JOB_VERSION = 1


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
    if os.path.lexists(out) and not overwrite and not local.same_file(folder / DATA, out):
        raise _exists(out)
    return _read_json(folder / "job.json") if (folder / DATA).exists() else None


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
        self._fds: dict[str, int] = {}
        self.journal: Journal | None = None
        self._check_output()
        try:
            self.folder.mkdir(exist_ok=True)
        except FileNotFoundError:
            raise OptionError(
                f"the folder {out.parent} does not exist. Make it, or choose another output."
            ) from None
        except FileExistsError:
            raise ExistsError(
                f"{self.folder} is a file; celeiro works in a folder of that name. "
                "Move it away, or choose another output."
            ) from None
        self._lock = local.Lock(self.folder / "lock").acquire()
        try:
            # Killed between giving the file its name and cleaning up? Then `data` is `out`, and
            # only the cleaning is left: not a byte may be written.
            self.published = self._is_published()
            if fresh:
                self._forget(overwrite)
            self._adopt(identity, resume=resume)
            self.journal = Journal(self.folder / "journal")
            for name in (DATA, *self.sides):
                flags = local.READ_WRITE | os.O_CREAT
                self._fds[name] = os.open(self._stream(name), flags, 0o666)
            self.ends = {DATA: layout.PAYLOAD_OFFSET} | dict.fromkeys(self.sides, 0)
            self._recover()
        except BaseException:
            self.close()
            raise

    def commit(self, frame: Frame, payload: Mapping[str, Sequence[Buffer]]) -> None:
        """Write the payload of some tasks, then the frame that makes it count.

        Raises
        ------
        SpaceError
            The disk is full; nothing committed before is lost.
        """
        assert self.journal is not None
        try:
            for name, buffers in payload.items():
                local.write_at(self._fds[name], buffers, self.ends[name])
            self.journal.append(frame)
        except OSError as error:
            if error.errno in _FULL:
                raise SpaceError(
                    f"the disk of {self.out.parent} is full. Everything packed so far is kept: "
                    "make room and give the same command again."
                ) from error
            raise
        self.ends = dict(frame.ends)

    def sync(self) -> None:
        """Return once everything committed would survive a power cut."""
        assert self.journal is not None
        for fd in self._fds.values():
            local.sync_data(fd)
        self.journal.sync()
        local.sync_folder(self.folder)
        self.journal.append(Frame(0, self.ends, durable=True))

    def keep(self, name: str, value: Any) -> None:
        """Remember a JSON value with the work, such as names of classes."""
        path = self.folder / "notes.json"
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
            os.ftruncate(fd, self.ends[DATA])
            local.write_at(fd, [bytes(layout.PAYLOAD_OFFSET)], 0)
            finish(fd)
            os.fsync(fd)
            self._close_streams()
            local.publish(self._stream(DATA), self.out, overwrite=self.overwrite)
        self._close_streams()
        self._clear()
        self._remove_folder()

    def close(self) -> None:
        """Let go of everything; the work stays for the next time."""
        self._close_streams()
        lock = getattr(self, "_lock", None)
        if lock is not None:
            lock.release()

    def discard(self) -> None:
        """Throw the work away, and let go."""
        self._close_streams()
        self._clear()
        self._remove_folder()
        self.close()

    # -- helpers, in the order in which they are called --

    def _check_output(self) -> None:
        if os.path.lexists(self.out) and not self.overwrite and not self._is_published():
            raise _exists(self.out)

    def _is_published(self) -> bool:
        return local.same_file(self._stream(DATA), self.out)

    def _forget(self, overwrite: bool) -> None:
        """Throw away what was begun; of a published file only the second name."""
        self._clear()
        if self.published:
            self.published = False
            if not overwrite:
                raise _exists(self.out)

    def _stream(self, name: str) -> Path:
        return self.folder / (name if name == DATA else f"{name}.side")

    def _adopt(self, identity: Mapping[str, Any], *, resume: bool) -> None:
        path = self.folder / "job.json"
        wanted = {"version": _JOB_VERSION, **identity}
        begun = _read_json(path)
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
                f"{k} was {begun.get(k)!r}, is {wanted.get(k)!r}" for k in sorted(different)
            )
            raise ResumeError(
                f"{self.folder} was begun with other options: {changes}. Give the same ones to "
                "go on, or --fresh to start anew (what was packed is then thrown away)."
            )

    def _recover(self) -> None:
        """Cut off what is not committed, and what a power cut may have taken."""
        assert self.journal is not None
        suspects: list[tuple[int, Frame, dict[str, int]]] = []
        ends = dict(self.ends)
        for number, frame in enumerate(self.journal.frames()):
            if frame.durable:
                suspects.clear()
            else:
                suspects.append((number, frame, dict(ends)))
            ends = dict(frame.ends)
        for number, frame, begins in suspects:
            if not self._holds(frame, begins):
                log.warning(
                    "%s: the last samples did not reach the disk; packing them again.", self.folder
                )
                self.journal.truncate(number)
                ends = begins
                break
        self.ends = ends
        if not self.published:
            for name, fd in self._fds.items():
                os.ftruncate(fd, ends[name])

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
        """Remove what a job makes in its folder, by name; never anything else."""
        names = ["job.json", "notes.json", "journal", DATA]
        names += [p.name for kind in ("*.side", "*.new") for p in self.folder.glob(kind)]
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def _remove_folder(self) -> None:
        (self.folder / "lock").unlink(missing_ok=True)
        try:
            self.folder.rmdir()
        except OSError:
            log.warning("%s holds files that celeiro did not make; they are left.", self.folder)
        local.sync_folder(self.out.parent)


def _exists(out: Path) -> ExistsError:
    return ExistsError(
        f"{out} already exists, and nothing is overwritten unasked. Choose another name, "
        "move it away, or replace it with --overwrite (overwrite=True)."
    )


# No room: disk, quota, or largest file.
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


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
