"""Samples that stand in the file as they stand in memory: read straight into place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.reading import source, threads
from celeiro.reading.samples.checksums import check, checked_bytes, damaged
from celeiro.storage import fetch
from celeiro.storage.coalesce import runs
from celeiro.storage.fetch import Pieces

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from celeiro.format.index import Rows
    from celeiro.reading.source import Source

# Neighbours are read together up to so many bytes, so that threads still share a batch in order.
_MOST_TOGETHER = 4 << 20
# Rows of so many bytes are copied past the processor's cache, which a batch of them would flush.
_LARGE = 128 << 10


class RowSamples:
    """Contiguous samples.

    Parameters
    ----------
    stored
        Type of the values as they stand in the file, byte order included.
    crcs
        CRC-32C of each sample, to be checked on every read; None to check nothing.
    """

    def __init__(
        self,
        source: Source,
        rows: Rows,
        shape: tuple[int, ...],
        stored: np.dtype[Any],
        *,
        crcs: npt.NDArray[np.uint32] | None,
        workers: int,
    ) -> None:
        self.shape = shape
        self.dtype = np.dtype(bool) if stored.kind == "b" else stored.newbyteorder("=")
        self._source = source
        self._rows = rows
        self._stored = stored
        self._crcs = crcs
        self._workers = workers
        # Bytes that NumPy may not take for a truth value as they stand are looked at one by one.
        self._direct = stored.isnative and stored.kind != "b"

    def __len__(self) -> int:
        """Count the samples."""
        return self._rows.count

    def read(self, indices: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
        """Fill `out` with samples in the order asked."""
        if not self._rows.length or not len(indices):
            return
        kept = self._kept() if self._direct else None
        if kept is not None:
            flat = out.reshape(len(out), -1).view(np.uint8)
            self._share(len(out), lambda a, b: self._take(kept, indices[a:b], flat[a:b]))
        elif self._direct:
            room = out.reshape(-1).view(np.uint8)
            firsts, pieces = self._pieces(indices)
            self._share(
                len(firsts),
                lambda a, b: self._fill(room, indices, firsts[a:b], pieces.part(a, b)),
            )
        else:
            firsts, pieces = self._pieces(indices)
            self._share(
                len(firsts),
                lambda a, b: self._convert(indices, firsts[a:b], pieces.part(a, b), out),
            )

    def read_list(self, indices: npt.NDArray[np.int64]) -> list[npt.NDArray[Any]]:
        """Samples in the order asked, as views of one array."""
        out = np.empty((len(indices), *self.shape), self.dtype)
        self.read(indices, out)
        return list(out)

    def lengths(self) -> npt.NDArray[np.int64]:
        """Bytes of each sample."""
        return np.full(self._rows.count, self._rows.length, np.int64)

    def place(self, number: int) -> tuple[int, int]:
        """Offset in the file and length of one sample's bytes."""
        return self._rows.base + number * self._rows.length, self._rows.length

    def stored(self, number: int) -> bytes:
        """The bytes of one sample as they stand in the file; SampleError if they are damaged."""
        return checked_bytes(self._source, self.place(number), self._crcs, number)

    def _share(self, count: int, work: Callable[[int, int], None]) -> None:
        threads.share(work, count, workers=self._workers)

    def _kept(self) -> npt.NDArray[Any] | None:
        """The bytes of all samples, (N, length), where all are in memory.

        Bytes and not values: those may stand unaligned, and NumPy would copy all of them first.
        """
        rows = self._rows
        found = self._source.look(rows.base, rows.count * rows.length)
        if found is None:
            return None
        return np.frombuffer(found, np.uint8).reshape(rows.count, rows.length)

    def _pieces(self, indices: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Pieces]:
        """Positions in the batch at which runs of neighbours begin, and where those are.

        Each sample for itself where it has a checksum of its own.
        """
        rows, crcs = self._rows, self._crcs
        if crcs is None and len(indices) > 1:
            firsts, counts = runs(indices, most=max(1, _MOST_TOGETHER // rows.length))
        else:
            firsts, counts = np.arange(len(indices)), np.ones(len(indices), np.int64)
        offsets = indices[firsts] * rows.length + rows.base
        return firsts, Pieces(
            offsets, counts * rows.length, None if crcs is None else crcs[indices]
        )

    def _fill(
        self,
        room: npt.NDArray[np.uint8],
        indices: npt.NDArray[np.int64],
        firsts: npt.NDArray[np.int64],
        pieces: Pieces,
    ) -> None:
        bad = source.fill(self._source, pieces, room, firsts * self._rows.length)
        if bad is not None:
            raise damaged(int(indices[firsts[bad]]))

    def _take(
        self, kept: npt.NDArray[Any], indices: npt.NDArray[np.int64], out: npt.NDArray[Any]
    ) -> None:
        """Out of memory: one call without the GIL."""
        length = self._rows.length
        function = fetch.compiled() if length >= _LARGE and len(indices) > 1 else None
        if function is None:
            np.take(kept, indices, axis=0, out=out, mode="clip")  # "raise" would copy twice
        else:
            lengths, places = np.full(len(indices), length), np.arange(len(indices)) * length
            table = Pieces(indices * length, lengths).table(places)
            held, room = fetch.Held(kept.reshape(-1)), fetch.address_of(out)
            for first in range(0, len(table), fetch.MOST):
                fetch.fetch(function, -1, held, table[first : first + fetch.MOST], room)
        if self._crcs is not None:
            self._check(indices, out.reshape(-1).view(np.uint8).data)

    def _convert(
        self,
        indices: npt.NDArray[np.int64],
        firsts: npt.NDArray[np.int64],
        pieces: Pieces,
        out: npt.NDArray[Any],
    ) -> None:
        """Through the stored type, a run of neighbours at a time."""
        places = zip(firsts.tolist(), pieces.offsets.tolist(), pieces.lengths.tolist(), strict=True)
        for at, offset, size in places:
            count = size // self._rows.length
            raw = np.empty((count, *self.shape), self._stored)
            view = raw.reshape(-1).view(np.uint8).data
            source.read_into(self._source, view, offset)
            if self._crcs is not None:
                self._check(indices[at : at + count], view)
            out[at : at + count] = raw.view(np.uint8) != 0 if raw.dtype.kind == "b" else raw

    def _check(self, indices: npt.NDArray[np.int64], view: memoryview) -> None:
        length = self._rows.length
        for at, number in enumerate(indices.tolist()):
            check(view[at * length : (at + 1) * length], self._crcs, number)
