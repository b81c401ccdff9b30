"""Chunked samples: each wanted chunk is read and decoded once a batch, outside HDF5.

    sample numbers ─> rows of the grid of chunks ─> bytes ─> ChunkCodec ─> into place

One sample a chunk, as in `jpeg` and `lossless`, is decoded straight into the batch.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import FormatError, SampleError
from celeiro.format.chunks import Number
from celeiro.format.index import MISSING
from celeiro.format.partial import decode_part, frame_of
from celeiro.reading import source, threads
from celeiro.reading.samples.checksums import checked_bytes, damaged
from celeiro.reading.samples.visiting import in_groups, room
from celeiro.storage.fetch import Pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from celeiro.format.chunks import ChunkCodec
    from celeiro.format.index import Chunks
    from celeiro.format.pictures import Color
    from celeiro.reading.samples.visiting import Part, Work
    from celeiro.reading.source import Source

# Boxes that are remembered, where a sample is of several chunks.
_MOST_BOXES = 4096
# Decoded samples that are kept for who asks for the next one, bytes at most.
_MOST_KEPT = 64 << 20


class ChunkSamples:
    """Samples of a chunked data set.

    Parameters
    ----------
    shape
        Of the data set, samples first.
    fill
        Value of what was never written.
    crcs
        CRC-32C of each chunk's bytes, where a chunk is a sample; None to check nothing.
    """

    def __init__(
        self,
        source: Source,
        chunks: Chunks,
        codec: ChunkCodec,
        shape: tuple[int, ...],
        *,
        fill: Any,
        crcs: npt.NDArray[np.uint32] | None,
        workers: int,
    ) -> None:
        stored = codec.dtype
        self.shape = shape[1:]
        self.dtype = np.dtype(bool) if stored.kind == "b" else stored.newbyteorder("=")
        self.chunks = chunks
        self._count = shape[0]
        self._source = source
        self._codec = codec
        self._fill = fill
        self._crcs = crcs
        self._workers = workers
        self._per_chunk = codec.shape[0]
        self._whole = codec.shape == (1, *shape[1:])
        self._jpegs = self._whole and [f.number for f in codec.filters] == [Number.JPEG]
        self._direct = self._whole and stored.isnative and stored.kind != "b"
        # For who reads sample by sample: the last row of the grid that was decoded.
        self._last: tuple[int, npt.NDArray[Any]] | None = None
        together = self._per_chunk * math.prod(self.shape) * self.dtype.itemsize
        self._keeps = self._per_chunk > 1 and together <= _MOST_KEPT
        # As they are wanted: a sample may be of more chunks than anybody reads.
        self._box = lru_cache(_MOST_BOXES)(partial(_box, codec.shape[1:], self.shape))

    def __len__(self) -> int:
        """Count the samples."""
        return self._count

    def read(self, indices: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
        """Fill `out` with samples in the order asked."""
        rows, groups = _grouped(indices, self._per_chunk)
        if self._direct:
            self._read_whole(rows, groups, out)
            return
        if len(rows) == 1 and self._keeps:
            try:
                out[...] = self._kept(rows[0])[indices - rows[0] * self._per_chunk]
            except SampleError as error:
                raise SampleError(str(error), int(indices[0])) from error
        else:
            self._share(indices, rows, groups, out)

    def _kept(self, row: int) -> npt.NDArray[Any]:
        """All samples of a row of the grid, which stay until another row is asked for alone."""
        last = self._last
        if last is None or last[0] != row:
            first = row * self._per_chunk
            wanted = np.arange(first, min(first + self._per_chunk, self._count))
            whole = np.empty((len(wanted), *self.shape), self.dtype)
            self._share(wanted, *_grouped(wanted, self._per_chunk), whole)
            last = self._last = row, whole
        return last[1]

    def _share(
        self,
        indices: npt.NDArray[np.int64],
        rows: list[int],
        groups: list[list[int]],
        out: npt.NDArray[Any],
    ) -> None:
        threads.share(
            lambda first, last: self._read(indices, rows[first:last], groups[first:last], out),
            len(rows),
            workers=self._workers,
        )

    def read_list(self, indices: npt.NDArray[np.int64]) -> list[npt.NDArray[Any]]:
        """Samples in the order asked, as views of one array."""
        out = np.empty((len(indices), *self.shape), self.dtype)
        self.read(indices, out)
        return list(out)

    @property
    def per_chunk(self) -> int:
        """Samples of a chunk, which are decoded together."""
        return self._per_chunk

    def visit(
        self, indices: npt.NDArray[np.int64], work: Work, parts: Sequence[Part] | None
    ) -> None:
        """Give each sample to `work` in this thread; of JPEGs as much as is wanted."""
        chunks = self.chunks
        # Damage may go unnoticed in a part, so that a checksum has to speak for it.
        if parts is None or self._crcs is None or not self._jpegs or chunks.masks is not None:
            in_groups(self, self.shape, indices, work)
            return
        if (chunks.offsets[indices] == MISSING).any():
            in_groups(self, self.shape, indices, work)
            return
        pieces, rows = self._pieces(indices), indices.tolist()
        size = math.prod(self.shape)
        color: Color = "RGB" if self.shape[2] == 3 else "GRAY"
        for at, data, sound in source.each(self._source, pieces):
            if not sound:
                raise damaged(rows[at])
            buffer, part, jpeg = room(size), parts[at], bytes(data)
            found = None
            frame = frame_of(jpeg) if part.is_less(*self.shape[:2]) else None
            if frame is not None and (frame.height, frame.width) == self.shape[:2]:
                found = decode_part(
                    jpeg, frame, part.box(frame.width), color=color, buffer=buffer,
                    factor=part.factor, fast=part.fast,
                )  # fmt: skip
            if found is not None:
                work(at, found, part.factor)
                continue
            whole = np.frombuffer(buffer, np.uint8, size)
            try:
                self._codec.fill(data, whole)
            except FormatError as error:
                raise SampleError(str(error), rows[at]) from error
            work(at, whole.reshape(self.shape), 1)

    def lengths(self) -> npt.NDArray[np.int64] | None:
        """Bytes of each sample; None where a chunk is something else."""
        return self.chunks.lengths.astype(np.int64) if self._whole else None

    def place(self, number: int) -> tuple[int, int]:
        """Offset in the file and length of one sample's bytes, where a chunk is a sample.

        Raises
        ------
        FormatError
            Chunks are something else, so that a sample has no bytes of its own.
        """
        if not self._whole:
            raise FormatError(
                f"chunks of {self._codec.shape} hold more or less than one sample of {self.shape}, "
                "so that a sample has no stored bytes of its own."
            )
        offset, length = self.chunks.place(number)
        if offset == MISSING:
            raise FormatError(f"sample {number:,} was never written, so that it has no bytes.")
        return offset, length

    def stored(self, number: int) -> bytes:
        """The bytes of one sample as they stand in the file; SampleError if they are damaged."""
        return checked_bytes(self._source, self.place(number), self._crcs, number)

    def _read(
        self,
        indices: npt.NDArray[np.int64],
        rows: list[int],
        groups: list[list[int]],
        out: npt.NDArray[Any],
    ) -> None:
        """Read the chunks of some rows of the grid, each for the positions that want it."""
        per_row = self.chunks.per_row
        scratch = np.empty(self._codec.shape, self._codec.dtype)
        which, pieces = self._there(rows, groups, out)
        for number, data, sound in source.each(self._source, pieces):
            at, box = divmod(which[number], per_row)
            if not sound:
                raise damaged(rows[at])
            self._put(indices, rows[at], box, groups[at], data, scratch, out)

    def _read_whole(self, rows: list[int], groups: list[list[int]], out: npt.NDArray[Any]) -> None:
        """Decode chunks that are each one sample straight into their places.

        The hot loop of `jpeg` and `lossless`: between two calls of a codec there is as little
        Python as can be. What runs there finds nothing in the processor's cache, and takes five
        times as long; and other threads wait for the GIL.
        """
        if not rows:
            return
        which, pieces = self._there(rows, groups, out)
        flat = out.reshape(len(out), -1).view(np.uint8)
        masks = None if self.chunks.masks is None else self.chunks.masks[rows].tolist()

        def work(first: int, last: int) -> None:
            for some in source.together(self._source, pieces.part(first, last)):
                numbers = [which[first + number] for number, _, _ in some]
                bad = [at for at, (_, _, sound) in zip(numbers, some, strict=True) if not sound]
                if bad:
                    raise damaged(rows[bad[0]])
                data = [view for _, view, _ in some]
                room = [flat[groups[at][0]] for at in numbers]
                if masks is not None or not self._codec.fill_all(data, room):
                    self._fill_each(
                        data,
                        room,
                        [rows[at] for at in numbers],
                        None if masks is None else [masks[at] for at in numbers],
                    )
                for at in numbers:
                    for other in groups[at][1:]:
                        flat[other] = flat[groups[at][0]]

        threads.share(work, len(which), workers=self._workers)

    def _fill_each(
        self,
        data: list[memoryview],
        room: list[npt.NDArray[np.uint8]],
        rows: list[int],
        masks: list[int] | None,
    ) -> None:
        """Decode chunks one by one; SampleError names the first that is damaged."""
        for at, (one, where) in enumerate(zip(data, room, strict=True)):
            try:
                self._codec.fill(one, where, 0 if masks is None else masks[at])
            except FormatError as error:
                raise SampleError(str(error), rows[at]) from error

    def _there(
        self, rows: list[int], groups: list[list[int]], out: npt.NDArray[Any]
    ) -> tuple[Sequence[int], Pieces]:
        """Which of the rows' chunks, and where; what was never written is filled in on the way."""
        chunks, per_row = self.chunks, self.chunks.per_row
        numbers = np.array(rows)
        if per_row != 1:  # none, where samples are empty
            numbers = (numbers[:, np.newaxis] * per_row + np.arange(per_row)).reshape(-1)
        missing = chunks.offsets[numbers] == MISSING
        if not missing.any():
            return range(len(numbers)), self._pieces(numbers)
        for at in np.unique(np.flatnonzero(missing) // per_row).tolist():
            self._put_fill(rows[at], groups[at], out)
        there = np.flatnonzero(~missing)
        return there.tolist(), self._pieces(numbers[there])

    def _pieces(self, numbers: npt.NDArray[np.int64]) -> Pieces:
        """Where chunks are, all of which were written."""
        chunks, crcs = self.chunks, self._crcs
        return Pieces(
            chunks.offsets[numbers].astype(np.int64),
            chunks.lengths[numbers].astype(np.int64),
            None if crcs is None else crcs[numbers],
        )

    def _put(
        self,
        indices: npt.NDArray[np.int64],
        row: int,
        box: int,
        positions: list[int],
        data: memoryview,
        scratch: npt.NDArray[Any],
        out: npt.NDArray[Any],
    ) -> None:
        """Decode one chunk and put what is wanted of it into its places."""
        number = row * self.chunks.per_row + box
        mask = 0 if self.chunks.masks is None else int(self.chunks.masks[number])
        try:
            self._codec.decode(data, scratch, mask)
        except FormatError as error:
            raise SampleError(str(error), int(indices[positions[0]])) from error
        self._place(indices, row, scratch, box, positions, out)

    def _place(
        self,
        indices: npt.NDArray[np.int64],
        row: int,
        decoded: npt.NDArray[Any],
        box: int,
        positions: list[int],
        out: npt.NDArray[Any],
    ) -> None:
        """Put what is wanted of a decoded chunk into its places."""
        inside, outside = self._box(box)
        values = decoded.view(np.uint8) != 0 if decoded.dtype.kind == "b" else decoded
        if len(positions) == 1:
            at = positions[0]
            out[(at, *outside)] = values[(int(indices[at]) - row * self._per_chunk, *inside)]
        else:
            out[(positions, *outside)] = values[
                (indices[positions] - row * self._per_chunk, *inside)
            ]

    def _put_fill(self, row: int, positions: list[int], out: npt.NDArray[Any]) -> None:
        """What a sample is where nothing was written, before the rest of it is."""
        if self._crcs is not None:
            raise damaged(row)
        for at in positions:
            out[at] = self._fill


_Box = tuple[Any, Any]
"""Slices of a chunk, and of a sample."""


def _box(chunk: tuple[int, ...], shape: tuple[int, ...], number: int) -> _Box:
    """What of a chunk of a row of the grid is inside the sample, and where there."""
    inside, outside = [], []
    for side, whole in zip(reversed(chunk), reversed(shape), strict=True):
        number, at = divmod(number, -(-whole // side))
        start = at * side
        stop = min(start + side, whole)
        inside.append(slice(0, stop - start))
        outside.append(slice(start, stop))
    return tuple(inside[::-1]), tuple(outside[::-1])


def _grouped(indices: npt.NDArray[np.int64], per_chunk: int) -> tuple[list[int], list[list[int]]]:
    """Rows of the grid that are wanted, and for each the positions in the batch that want it."""
    if len(indices) == 1:  # ds[i], which would wait 30 µs for what follows
        return [int(indices[0]) // per_chunk], [[0]]
    wanted = indices // per_chunk
    order = np.argsort(wanted, kind="stable")
    rows = wanted[order]
    firsts = np.flatnonzero(np.diff(rows, prepend=-1))
    ends = [*firsts.tolist(), len(rows)][1:]
    positions = order.tolist()
    groups = [positions[a:b] for a, b in zip(firsts.tolist(), ends, strict=True)]
    return rows[firsts].tolist(), groups
