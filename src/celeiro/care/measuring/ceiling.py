"""What this machine could do at best with the same bytes: each stage of reading, bare.

    fetch    the stored bytes into reused memory       preadv, or copying out of a cache
    decode   the same bytes, held in memory, to values  the codec and nothing else

Each in a bare pool of threads that share a batch; no index, no checksum, no error handling. Which
bytes a batch takes is planned before the clock starts, and the plan is the same for both stages.
"""

from __future__ import annotations

import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import simplejpeg

from celeiro.format import baseline, index
from celeiro.format.chunks import Number
from celeiro.reading.samples.chunks import ChunkSamples
from celeiro.reading.samples.files import FileSamples
from celeiro.reading.samples.rows import RowSamples
from celeiro.reading.samples.widened import WidenedSamples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Self

    import numpy.typing as npt

    from celeiro.format.chunks import ChunkCodec
    from celeiro.reading.cache import Cache
    from celeiro.reading.dataset import Dataset
    from celeiro.storage.local import File

# Neighbours are read together up to so many bytes, as celeiro does.
_TOGETHER = 4 << 20
# Pieces of a batch for each thread, so that none waits long for the last.
_PIECES = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """Stored bytes that a batch takes, and where they belong."""

    at: int
    """Byte of the batch's memory where they go if they are values; -1 where they are decoded."""
    offset: int
    """In the file."""
    length: int
    """Bytes."""
    number: int
    """Of the chunk or the sample, by which what is held in memory is found."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch: which samples, and which bytes."""

    rows: npt.NDArray[np.int64]
    """The samples, in order."""
    pieces: tuple[Piece, ...]
    """Each once, whatever the batch takes of it."""

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.rows)


def stored_samples(ds: Dataset) -> Any:
    """Who reads the stored bytes: of bfloat16 who reads the bits, for others to widen."""
    samples = ds._opened.contents.samples
    return samples.bits if isinstance(samples, WidenedSamples) else samples


def can_plan(ds: Dataset) -> bool:
    """Whether it is known which bytes a sample is made of."""
    return isinstance(stored_samples(ds), (RowSamples, ChunkSamples, FileSamples))


def pieces_a_sample(ds: Dataset) -> int:
    """How many pieces one sample may be made of."""
    samples = stored_samples(ds)
    return samples.chunks.per_row if isinstance(samples, ChunkSamples) else 1


def plan(ds: Dataset, batch: npt.NDArray[np.int64]) -> Plan:
    """Which bytes a batch takes."""
    samples = stored_samples(ds)
    if isinstance(samples, ChunkSamples):
        return Plan(batch, _chunks(samples, batch))
    assert isinstance(samples, (RowSamples, FileSamples))
    pieces = []
    at = 0
    for number in batch.tolist():
        offset, length = samples.place(number)
        pieces.append(Piece(at if isinstance(samples, RowSamples) else -1, offset, length, number))
        at += length
    return Plan(batch, tuple(pieces))


def _chunks(samples: ChunkSamples, batch: npt.NDArray[np.int64]) -> tuple[Piece, ...]:
    """The chunks that a batch takes, each once; those that were never written are no bytes."""
    chunks = samples.chunks
    grid_rows = np.unique(batch // samples._codec.shape[0]).tolist()
    numbers = [row * chunks.per_row + box for row in grid_rows for box in range(chunks.per_row)]
    places = [(number, *chunks.place(number)) for number in numbers]
    missing = int(index.MISSING)
    return tuple(Piece(-1, o, length, n) for n, o, length in places if o != missing)


# Threads


class Pool:
    """Bare threads that share the pieces of a batch."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="celeiro-bare")

    def share(self, work: Callable[[int, int], None], count: int) -> None:
        """Call `work(first, last)` for spans that cover 0 ≤ i < count once each."""
        if self.threads == 1:
            work(0, count)
            return
        step = max(1, -(-count // (self.threads * _PIECES)))
        spans = [(first, min(first + step, count)) for first in range(0, count, step)]
        for done in [self._executor.submit(work, *span) for span in spans]:
            done.result()

    def close(self) -> None:
        """End the threads."""
        self._executor.shutdown()

    def __enter__(self) -> Self:
        """The pool itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the threads."""
        self.close()


class _Room(threading.local):
    """Memory of one thread, used again and again."""

    buffer = np.empty(0, np.uint8)

    def of(self, length: int) -> npt.NDArray[np.uint8]:
        if length > len(self.buffer):
            self.buffer = np.zeros(2 * length, np.uint8)
        return self.buffer[:length]


# Fetching


class Fetch:
    """Stored bytes, from the file to reused memory.

    Parameters
    ----------
    out
        The batch's memory, as bytes, for samples whose bytes are their values; else each thread
        has a buffer of its own.
    ahead
        Tell the system of all pieces before the first is read, so that it can queue them.
    """

    def __init__(
        self, file: File, pool: Pool, out: npt.NDArray[np.uint8] | None, *, ahead: bool = False
    ) -> None:
        self._file = file
        self._ahead = ahead and hasattr(os, "posix_fadvise")
        self._pool = pool
        self._out = None if out is None else out.data
        self._room = _Room()

    def __call__(self, batch: Sequence[Piece]) -> int:
        """Read the pieces of a batch; the bytes."""
        self._pool.share(lambda first, last: self._read(batch[first:last]), len(batch))
        return sum(piece.length for piece in batch)

    def _read(self, pieces: Sequence[Piece]) -> None:
        bare = getattr(os, "preadv", None)
        fd = self._file.fd
        if self._ahead:
            for piece in pieces:
                os.posix_fadvise(fd, piece.offset, piece.length, os.POSIX_FADV_WILLNEED)
        for piece in pieces:
            if self._out is None or piece.at < 0:
                view = self._room.of(piece.length).data
            else:
                view = self._out[piece.at : piece.at + piece.length]
            if bare is None:
                self._file.read_into(view, piece.offset)
            else:
                bare(fd, (view,), piece.offset)


def merged(pieces: Sequence[Piece], most: int = _TOGETHER) -> tuple[Piece, ...]:
    """Pieces with neighbours in the file, and in memory, as one.

    Examples
    --------
    >>> merged([Piece(0, 100, 10, 0), Piece(10, 110, 10, 1), Piece(20, 300, 10, 2)])
    (Piece(at=0, offset=100, length=20, number=0), Piece(at=20, offset=300, length=10, number=2))
    """
    made: list[Piece] = []
    for piece in pieces:
        last = made[-1] if made else None
        if (
            last is not None
            and last.offset + last.length == piece.offset
            and (last.at < 0 or last.at + last.length == piece.at)
            and last.length + piece.length <= most
        ):
            made[-1] = Piece(last.at, last.offset, last.length + piece.length, last.number)
        else:
            made.append(piece)
    return tuple(made)


class Copy:
    """Rows out of memory that holds the whole file, into the batch's memory."""

    def __init__(self, cache: Cache, samples: RowSamples, pool: Pool, out: npt.NDArray[Any]):
        base, length = samples.place(0)
        held = cache.look(base, length * len(samples))
        assert held is not None
        self._rows = np.frombuffer(held, np.uint8).reshape(len(samples), length)
        self._out = out.reshape(-1).view(np.uint8).reshape(-1, length)
        self._pool = pool

    def __call__(self, rows: npt.NDArray[np.int64]) -> None:
        """Copy the rows of a batch."""

        def work(first: int, last: int) -> None:
            # "clip": "raise" would copy twice.
            np.take(self._rows, rows[first:last], axis=0, out=self._out[first:last], mode="clip")

        self._pool.share(work, len(rows))


# Decoding


class Decode:
    """Held bytes to values, by the codec and nothing else."""

    def __init__(
        self, one: Callable[[bytes, Any], object], room: int, pool: Pool, held: dict[int, bytes]
    ) -> None:
        self._one = one
        self._length = room
        self._pool = pool
        self._held = held
        self._room = _Room()

    def __call__(self, batch: Sequence[Piece]) -> None:
        """Decode the pieces of a batch."""
        held = [self._held[piece.number] for piece in batch]

        def work(first: int, last: int) -> None:
            one, room = self._one, self._room.of(self._length)
            for data in held[first:last]:
                one(data, room)

        self._pool.share(work, len(held))


def decoder(ds: Dataset) -> tuple[Callable[[bytes, Any], object], int, str] | None:
    """What decodes one piece into room for so many bytes, and its name; None for plain values."""
    samples = stored_samples(ds)
    if isinstance(samples, RowSamples) and samples.dtype != ds.dtype:
        return _widen, math.prod(samples.shape) * 4, "shifting bits"
    if isinstance(samples, FileSamples):
        return _picture(ds.color or "RGB"), 0, f"{_jpeg_decoder()} and OpenCV"
    if not isinstance(samples, ChunkSamples):
        return None
    codec = samples._codec
    if samples.chunks.masks is not None:  # each chunk through filters of its own
        return None
    room = math.prod(codec.shape) * codec.dtype.itemsize
    match [step.number for step in codec.filters]:
        case []:
            return None
        case [Number.JPEG]:
            _, width, height, coloured, *_ = codec.filters[0].options
            return _jpeg((height, width, 1 + 2 * coloured)), room, _jpeg_decoder()
        case [Number.BLOSC]:
            return _blosc(), room, "Blosc"
        case _:
            return _any(codec), room, " + ".join(map(str, codec.filters))


def _widen(data: bytes, room: Any) -> object:
    bits = np.frombuffer(data, np.uint16)
    return np.left_shift(bits, 16, out=room.view(np.uint32), dtype=np.uint32)


def _jpeg_decoder() -> str:
    return "libjpeg-turbo" if baseline.compiled() is None else "celeiro's own"


def _jpeg(shape: tuple[int, int, int]) -> Callable[[bytes, Any], object]:
    size, color = math.prod(shape), "GRAY" if shape[2] == 1 else "RGB"

    def one(data: bytes, room: Any) -> object:
        if baseline.decode(data, room[:size].reshape(shape)):
            return None
        # The flags are those of celeiro: the accurate transform, or the pixels would differ.
        return simplejpeg.decode_jpeg(
            data, color, fastdct=False, fastupsample=False, buffer=room, strict=True
        )

    return one


def _blosc() -> Callable[[bytes, Any], object]:
    import imagecodecs

    def one(data: bytes, room: Any) -> object:
        return imagecodecs.blosc_decode(data, numthreads=1, out=room)

    return one


def _any(codec: ChunkCodec) -> Callable[[bytes, Any], object]:
    """Of foreign filters celeiro's own decoders are the bare ones: they are calls of libraries."""

    def one(data: bytes, room: Any) -> None:
        codec.decode(data, room.view(codec.dtype).reshape(codec.shape))

    return one


def _picture(color: str) -> Callable[[bytes, Any], object]:
    import cv2

    flag = cv2.IMREAD_GRAYSCALE if color == "GRAY" else cv2.IMREAD_COLOR
    turned = cv2.IMREAD_IGNORE_ORIENTATION

    def one(data: bytes, _: Any) -> object:
        if data[:2] == b"\xff\xd8":
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
            shape = height, width, 1 if color == "GRAY" else 3
            pixels = baseline.decoded(data, shape)
            if pixels is not None:
                return pixels
            return simplejpeg.decode_jpeg(data, color, fastdct=False, fastupsample=False)
        return cv2.imdecode(np.frombuffer(data, np.uint8), flag | turned)

    return one


def hold(file: File, plans: Iterable[Plan]) -> dict[int, bytes]:
    """The stored bytes of all pieces, in memory."""
    pieces = {piece.number: piece for planned in plans for piece in planned.pieces}
    return {n: file.read(piece.length, piece.offset) for n, piece in pieces.items()}
