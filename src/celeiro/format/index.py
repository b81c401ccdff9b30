"""Where sample i stands in a file: offset and length, for our stores and for other people's.

    Rows    contiguous   base + i · length
    Flat    one after    base + offsets[i] … offsets[i + 1]
    Chunks  chunked      a table of (offset, length), chunks counted as a book counts its words

The invariant: a byte range that an index gives lies within the file, whatever the file says. An
index is made of what HDF5 tells, or of the table that a file of ours carries; that table is a hint
and is believed only where `hint` finds nothing against it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import FormatError
from celeiro.format.checksum import crc32c

if TYPE_CHECKING:
    from collections.abc import Callable

    import h5py
    import numpy.typing as npt

MISSING = np.uint64(2**64 - 1)
"""Offset of a chunk that was never written: its values are the data set's fill value."""

# A table takes 16 bytes a chunk, written or not; beyond this a sparse data set is left to HDF5.
_MOST_MISSING = 1 << 24


@dataclass(frozen=True, slots=True)
class Rows:
    """Samples of one length, one after the other."""

    base: int
    """Byte of the file at which the first begins."""
    length: int
    """Bytes of one sample."""
    count: int
    """How many there are."""


@dataclass(frozen=True, slots=True, eq=False)
class Flat:
    """Samples of any length, one after the other."""

    base: int
    """Byte of the file at which the first begins."""
    offsets: npt.NDArray[np.uint64]
    """Sample i is the bytes ``base + offsets[i]`` to ``base + offsets[i + 1]``."""

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.offsets) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Chunks:
    """Chunks of a data set, in C order over the grid that they form."""

    grid: tuple[int, ...]
    """Chunks along each axis."""
    offsets: npt.NDArray[np.uint64]
    """Byte of the file at which each begins, or `MISSING`."""
    lengths: npt.NDArray[Any]
    """Bytes of each: uint32 but for chunks that HDF5 1.10 could not write."""
    masks: npt.NDArray[np.uint32] | None = None
    """Filters that each chunk went without (bit k: the k-th); None where all went through all."""

    @classmethod
    def of_table(
        cls,
        grid: tuple[int, ...],
        table: npt.NDArray[np.uint64],
        masks: npt.NDArray[np.uint32] | None = None,
    ) -> Chunks:
        """From (chunks, 2) offsets and lengths, as a file has them; 12 bytes a chunk are kept."""
        lengths = table[:, 1]
        narrow = int(lengths.max(initial=0)) < 1 << 32
        return cls(
            grid, table[:, 0].copy(), lengths.astype(np.uint32 if narrow else np.uint64), masks
        )

    def __len__(self) -> int:
        """Count the chunks."""
        return len(self.offsets)

    def place(self, number: int) -> tuple[int, int]:
        """Offset (or `MISSING`) and length of one chunk."""
        return int(self.offsets[number]), int(self.lengths[number])

    def same_places(self, other: Chunks) -> bool:
        """Whether all chunks stand where those of `other` do."""
        return np.array_equal(self.offsets, other.offsets) and np.array_equal(
            self.lengths, other.lengths
        )

    @property
    def per_row(self) -> int:
        """Chunks that share their place on the first axis."""
        return math.prod(self.grid[1:])


def rows_of(data: h5py.Dataset, file_size: int) -> Rows | None:
    """Where the samples of a contiguous data set stand; None where nothing was ever written.

    Raises
    ------
    FormatError
        They would stand outside the file.
    """
    count = int(data.shape[0])
    length = math.prod(data.shape[1:]) * int(data.id.get_type().get_size())
    if not data.id.get_storage_size():
        return None
    # Behind a user block, HDF5 gives no "undefined" for what has no place: hence the size above.
    base = data.id.get_offset()
    if base is None or data.id.get_storage_size() != count * length:
        raise FormatError(
            f"{data.name!r}: {data.id.get_storage_size():,} bytes are stored for {count:,} samples "
            f"of {length:,} bytes. The file is damaged."
        )
    _within(int(base), count * length, file_size, data.name)
    return Rows(int(base), length, count)


def flat_of(rows: Rows, offsets: npt.NDArray[np.uint64], name: str) -> Flat:
    """Where files stand that were put one after the other into the bytes of `rows`.

    Raises
    ------
    FormatError
        The offsets do not begin at 0, fall, or do not end with the bytes.
    """
    if int(offsets[0]) != 0 or int(offsets[-1]) != rows.count * rows.length:
        raise FormatError(
            f"the offsets of {name!r} go from {int(offsets[0]):,} to {int(offsets[-1]):,}, wanted "
            f"0 to {rows.count * rows.length:,}. The file is damaged."
        )
    if (offsets[1:] < offsets[:-1]).any():
        at = int(np.argmax(offsets[1:] < offsets[:-1]))
        raise FormatError(f"the offsets of {name!r} fall at sample {at:,}. The file is damaged.")
    return Flat(rows.base, offsets)


def grid_of(data: h5py.Dataset) -> tuple[int, ...]:
    """Chunks along each axis of a chunked data set."""
    return tuple(-(-int(n) // int(c)) for n, c in zip(data.shape, data.chunks, strict=True))


def too_sparse(data: h5py.Dataset) -> bool:
    """Whether a table of all chunks would be far larger than what the file holds."""
    chunks = math.prod(grid_of(data))
    return chunks > _MOST_MISSING and chunks > 4 * int(data.id.get_num_chunks())


def chunks_of(
    data: h5py.Dataset, file_size: int, on_progress: Callable[[int, int], None] | None = None
) -> Chunks:
    """Ask HDF5 for every chunk of a data set: about 2 µs each.

    `on_progress` is told now and then how many of how many chunks were seen.

    Raises
    ------
    FormatError
        A chunk stands outside the file, or twice in the grid.
    """
    grid = grid_of(data)
    table = np.empty((math.prod(grid), 2), np.uint64)
    table[:, 0], table[:, 1] = MISSING, 0
    masks = np.zeros(len(table), np.uint32)
    strides = [math.prod(grid[axis + 1 :]) for axis in range(len(grid))]
    steps = list(zip(data.chunks, grid, strides, strict=True))
    known = int(data.id.get_num_chunks())
    trouble: list[str] = []
    seen = 0

    def note(chunk: Any) -> bool | None:
        nonlocal seen
        seen += 1
        at = 0
        for start, (side, most, stride) in zip(chunk.chunk_offset, steps, strict=True):
            place = start // side
            if place >= most:
                trouble.append(f"a chunk at {chunk.chunk_offset}, beyond the data set")
                return True
            at += place * stride
        if table[at, 0] != MISSING:
            trouble.append(f"two chunks at {chunk.chunk_offset}")
            return True
        table[at] = chunk.byte_offset, chunk.size
        masks[at] = chunk.filter_mask
        if on_progress and not seen % 65_536:
            on_progress(seen, known)
        return None

    if len(table):
        data.id.chunk_iter(note)
    if trouble:
        raise FormatError(f"{data.name!r} has {trouble[0]}. The file is damaged.")
    check_table(table, file_size, data.name)
    return Chunks.of_table(grid, table, masks if masks.any() else None)


def bare_edges(data: h5py.Dataset, chunks: Chunks) -> bool:
    """Whether chunks that reach over the end of an axis may stand without their filters.

    A file may say so for all of them at once (H5Pset_chunk_opts) where h5py does not tell, and no
    mask does; each then has just the bytes of its values.
    """
    edge = np.zeros(chunks.grid, bool)
    for axis, (whole, side) in enumerate(zip(data.shape, data.chunks, strict=True)):
        if whole % side:
            edge[(slice(None),) * axis + (-1,)] = True
    edge = edge.reshape(-1) & (chunks.offsets != MISSING)
    if chunks.masks is not None:
        edge &= chunks.masks == 0
    size = math.prod(data.chunks) * int(data.id.get_type().get_size())
    return bool(edge.any() and (chunks.lengths[edge] == size).all())


def check_table(table: npt.NDArray[np.uint64], file_size: int, name: str) -> None:
    """FormatError where a chunk of a table would not stand within the file."""
    offsets, lengths = table[:, 0], table[:, 1]
    size = np.uint64(file_size)
    if not len(table):
        return
    if max(offsets.max(), lengths.max()) <= size and (offsets + lengths).max() <= size:
        return  # nearly always; the rest takes four times as long
    bad = (offsets != MISSING) & ((lengths > size) | (offsets > size - np.minimum(lengths, size)))
    if bad.any():
        at = int(np.argmax(bad))
        raise FormatError(
            f"chunk {at:,} of {name!r} stands at byte {int(offsets[at]):,} and is "
            f"{int(lengths[at]):,} bytes long, in a file of {file_size:,}. The file is damaged."
        )


def hint(
    table: npt.NDArray[np.uint64], *, count: int, stored_crc: int | None, file_end: int | None,
    file_size: int,
) -> str | None:  # fmt: skip
    """Why the table that a file carries is not to be believed; None where nothing is against it.

    HDF5 knows nothing of the table: whatever rewrites the file leaves it as it was.
    """
    if table.shape != (count, 2):
        return f"it has the shape {table.shape}, for {count:,} samples"
    if file_end != file_size:
        return f"it was written when the file had {file_end} bytes, and now it has {file_size}"
    if stored_crc != crc32c(np.ascontiguousarray(table).data):
        return "its checksum is not that of its bytes"
    if (table[:, 0] == MISSING).any():
        return "it has no place for some samples"
    try:
        check_table(table, file_size, "the index")
    except FormatError as error:
        return str(error)
    return None


def _within(offset: int, length: int, file_size: int, name: str) -> None:
    if offset < 0 or offset + length > file_size:
        raise FormatError(
            f"{name!r}: {length:,} bytes from byte {offset:,} on, in a file of {file_size:,}. The "
            "file is damaged or was cut short."
        )
