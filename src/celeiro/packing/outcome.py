"""What became of tasks, and the journal frame that says so.

    Made | Refused, … -> Frame (columns of numbers, running sums) -> Record of the whole job

The invariant: a finished file is a function of the record and the plan alone. A job that was
killed reads its record back from the journal and goes on as if nothing had been.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.packing.journal import Frame
from celeiro.packing.stats import NOTHING, Sums, add_up
from celeiro.packing.work import DATA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy.typing as npt
    from typing_extensions import Buffer


@dataclass(frozen=True, slots=True)
class Piece:
    """The bytes of one sample in one payload stream."""

    data: Buffer
    """As they go to the disk."""
    length: int
    """How many, bytes."""
    crc: int
    """Their CRC-32C."""
    shape: tuple[int, int, int] = (0, 0, 0)
    """Height, width, channels when decoded; zeros where all samples have one shape."""
    orientation: int = 1
    """EXIF orientation that decoding applies, 1 to 8."""
    reencoded: bool = False
    """Whether these are not the source's own bytes."""


@dataclass(frozen=True, slots=True)
class Made:
    """A sample that is packed."""

    pieces: Mapping[str, Piece]
    """By payload stream; `DATA` is always there."""
    sums: Sums = NOTHING
    """Of its values, for mean and deviation."""
    label: Any = None
    """Where the label comes with the sample and not with the plan."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A sample that cannot be packed."""

    reason: str
    """What is wrong with it, in words for the user."""


Outcome = Made | Refused

_SUMS = "sums"
"""The one array of a frame that is no column: sums over all samples up to its end."""

_COLUMNS: dict[str, tuple[str, Callable[[Piece], Any]]] = {
    "length": ("<u8", lambda p: p.length),
    "crc": ("<u4", lambda p: p.crc),
    "shape": ("<u4", lambda p: p.shape),
    "orientation": ("u1", lambda p: p.orientation),
    "reencoded": ("u1", lambda p: p.reencoded),
}


@dataclass(slots=True)
class Progress:
    """Where a job stands; also what its caller is told."""

    total: int | None = None
    """Tasks in all; None for a source without a length."""
    done: int = 0
    """Tasks decided, kept and refused ones."""
    kept: int = 0
    """Samples in the file."""
    bytes_done: int = 0
    """Bytes of payload written."""
    refused: list[tuple[int, str]] = field(default_factory=list)
    """Task and reason of each bad one."""
    resumed: int = 0
    """Tasks that an earlier run had decided."""
    sums: Sums = NOTHING
    """Over all samples kept."""

    def take(self, frame: Frame) -> None:
        """Count a frame that is committed."""
        note = frame.note
        self.refused += [(self.done + at, reason) for at, reason in note["refused"]]
        self.done += frame.tasks
        self.kept += frame.tasks - len(note["refused"])
        self.bytes_done += int(frame.arrays[f"{DATA}_length"].sum(dtype=np.uint64))
        self.sums = Sums.from_array(note["count"], frame.arrays[_SUMS])


def frame_of(
    outcomes: Sequence[Outcome],
    *,
    ends: Mapping[str, int],
    before: Sums,
    wide: Sequence[str],
    entries: npt.NDArray[np.uint64] | None = None,
) -> tuple[Frame, dict[str, list[Buffer]]]:
    """The frame and the payload of some outcomes, in order.

    Parameters
    ----------
    outcomes
        Of consecutive tasks.
    ends
        Length of each stream before.
    before
        Sums over all samples before.
    wide
        Streams whose pieces have shapes and orientations of their own.
    entries
        A fingerprint of each task's source, to notice changes when going on.
    """
    made = [o for o in outcomes if isinstance(o, Made)]
    arrays: dict[str, npt.NDArray[Any]] = {}
    payload: dict[str, list[Buffer]] = {}
    after = dict(ends)
    for stream in ends:
        pieces = [m.pieces[stream] for m in made]
        names = _COLUMNS if stream in wide else ("length", "crc")
        for name in names:
            dtype, value = _COLUMNS[name]
            column = np.array([value(p) for p in pieces], dtype)
            arrays[f"{stream}_{name}"] = column.reshape(-1, 3) if name == "shape" else column
        payload[stream] = [p.data for p in pieces]
        after[stream] += sum(p.length for p in pieces)
    if made and made[0].label is not None:
        arrays["label"] = np.array([m.label for m in made])
    if entries is not None:
        arrays["entry"] = entries
    sums = add_up(before, [m.sums for m in made])
    arrays[_SUMS] = sums.to_array()
    refused = [[at, o.reason] for at, o in enumerate(outcomes) if isinstance(o, Refused)]
    note = {"refused": refused, "count": sums.count}
    return Frame(len(outcomes), after, arrays, note), payload


@dataclass(frozen=True, slots=True)
class Record:
    """All that a job decided, as columns."""

    kept: npt.NDArray[np.int64]
    """Number of the task behind each row of the file."""
    columns: Mapping[str, npt.NDArray[Any]]
    """Such as `data_length`, one value a row (or a task, for `entry`)."""
    progress: Progress
    """Counts, refusals and sums."""


def read_record(frames: Iterable[Frame]) -> Record:
    """The whole record from a journal's frames: about 20 bytes a sample."""
    progress = Progress()
    parts: dict[str, list[npt.NDArray[Any]]] = {}
    kept = []
    for frame in frames:
        tasks = np.arange(progress.done, progress.done + frame.tasks)
        kept.append(np.delete(tasks, [at for at, _ in frame.note["refused"]]))
        for name, column in frame.arrays.items():
            if name != _SUMS:
                # A copy, or each column would hold its whole frame in memory.
                parts.setdefault(name, []).append(column.copy())
        progress.take(frame)
    columns = {name: np.concatenate(columns) for name, columns in parts.items()}
    rows = np.concatenate(kept) if kept else np.zeros(0, np.int64)
    return Record(rows, columns, progress)
