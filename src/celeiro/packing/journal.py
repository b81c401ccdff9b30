"""What is decided so far, as frames appended to one file: the memory of a packing job.

    frame = magic, length of head, length of body, CRC-32C | head (JSON) | body (arrays)

The invariant: a frame counts only if it is whole and its checksum holds, and then so do all
frames before it. A kill can cut the last frame; reading stops there, and the rest is cut off.
"""

from __future__ import annotations

import json
import math
import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.format.checksum import crc32c
from celeiro.storage import local

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

_HEAD = struct.Struct("<4sIQI")
_MAGIC = b"clro"


@dataclass(frozen=True, slots=True)
class Frame:
    """Some tasks of the plan, in plan order: what became of them."""

    tasks: int
    """How many tasks this frame decides, kept and refused ones."""
    ends: Mapping[str, int]
    """Length of each payload stream once this frame's bytes are in it."""
    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """Columns of numbers, such as the lengths and checksums of the samples kept."""
    note: Mapping[str, Any] = field(default_factory=dict)
    """Whatever JSON the job wants back: refused pictures, running statistics."""
    durable: bool = False
    """Everything up to here is on the disk itself (`tasks` is then 0)."""

    def to_bytes(self) -> bytes:
        """The frame as it stands in the journal."""
        columns = {name: np.ascontiguousarray(a) for name, a in self.arrays.items()}
        head = json.dumps(
            {
                "tasks": self.tasks,
                "ends": dict(self.ends),
                "arrays": [[n, a.dtype.str, list(a.shape)] for n, a in columns.items()],
                "note": dict(self.note),
                "durable": self.durable,
            },
            separators=(",", ":"),
        ).encode()
        body = b"".join(a.tobytes() for a in columns.values())
        crc = crc32c(body, crc32c(head))
        return _HEAD.pack(_MAGIC, len(head), len(body), crc) + head + body

    @classmethod
    def from_bytes(cls, head: bytes, body: bytes) -> Frame:
        """The frame again, once its checksum has been seen to hold."""
        fields = json.loads(head)
        arrays = {}
        at = 0
        for name, dtype, shape in fields.pop("arrays"):
            kind = np.dtype(dtype)
            count = math.prod(shape)
            arrays[name] = np.frombuffer(body, kind, count, at).reshape(shape)
            at += count * kind.itemsize
        return cls(arrays=arrays, **fields)


class Journal:
    """The file of frames; one writer at a time, which holds the job's lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        flags = local.READ_WRITE | os.O_CREAT
        self._fd = os.open(path, flags, 0o666)
        self._end = 0
        try:
            self.reread()
        except BaseException:
            self.close()  # nobody else can, and on Windows an open file cannot be removed
            raise

    def reread(self) -> None:
        """Find the last sound frame, and cut off what follows it."""
        end = 0
        for _, after in self._scan():
            end = after
        os.ftruncate(self._fd, end)
        self._end = end

    def append(self, frame: Frame) -> None:
        """Add a frame; it survives a kill from here on, a power cut after `sync`."""
        self._end += local.write_at(self._fd, [frame.to_bytes()], self._end)

    def frames(self) -> Iterator[Frame]:
        """All frames, from the first; one at a time, so memory stays small."""
        for frame, _ in self._scan():
            yield frame

    def sync(self) -> None:
        """Return once all frames would survive a power cut."""
        local.sync_data(self._fd)

    def truncate(self, frames: int) -> None:
        """Forget all but the first `frames` frames."""
        end = 0
        for _, (_, after) in zip(range(frames), self._scan(), strict=False):
            end = after
        os.ftruncate(self._fd, end)
        self._end = end

    def close(self) -> None:
        """Close the file; it stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _scan(self) -> Iterator[tuple[Frame, int]]:
        """Each sound frame and where it ends, up to the first that is not."""
        at = 0
        size = os.fstat(self._fd).st_size
        while at + _HEAD.size <= size:
            magic, head_size, body_size, crc = _HEAD.unpack(local.read_at(self._fd, _HEAD.size, at))
            end = at + _HEAD.size + head_size + body_size
            if magic != _MAGIC or end > size:
                return
            head = local.read_at(self._fd, head_size, at + _HEAD.size)
            body = local.read_at(self._fd, body_size, at + _HEAD.size + head_size)
            if crc32c(body, crc32c(head)) != crc:
                return
            yield Frame.from_bytes(head, body), end
            at = end
