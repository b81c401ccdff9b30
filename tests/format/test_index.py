"""Where samples stand: as HDF5 says, and within the file whatever anybody says."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeiro.errors import FormatError
from celeiro.format import index
from celeiro.format.checksum import crc32c
from celeiro.format.index import MISSING, Chunks, Rows

if TYPE_CHECKING:
    from pathlib import Path


def open_with(path: Path, *args: Any, values: Any = None, **options: Any) -> h5py.File:
    """A file with one data set ``x``, open."""
    with h5py.File(path, "w", userblock_size=options.pop("user_block", 0)) as file:
        data = file.create_dataset("x", *args, **options)
        if values is not None:
            data[...] = values
    return h5py.File(path)


class Stated:
    """A data set of which HDF5 says what we like."""

    name = "/x"

    def __init__(self, shape: tuple[int, ...], storage: int, offset: int | None) -> None:
        self.shape = shape
        self.id = self
        self.get_type = lambda: self
        self.get_size = lambda: 2
        self.get_storage_size = lambda: storage
        self.get_offset = lambda: offset


# Contiguous


@pytest.mark.parametrize("user_block", [0, 1024])
def test_rows_stand_where_their_bytes_are(user_block: int, tmp_path: Path) -> None:
    values = np.arange(60, dtype=">u2").reshape(5, 4, 3)
    with open_with(tmp_path / "a.h5", data=values, user_block=user_block) as file:
        whole = (tmp_path / "a.h5").read_bytes()
        rows = index.rows_of(file["x"], len(whole))
    assert (rows.length, rows.count) == (24, 5)
    for i in range(5):
        first = rows.base + i * rows.length
        assert whole[first : first + rows.length] == values[i].tobytes()


@pytest.mark.parametrize("shape", [(5, 4), (0, 4), (5, 0), (2**40, 2**20)])
def test_what_was_never_written_has_no_place(shape: tuple[int, ...], tmp_path: Path) -> None:
    with open_with(tmp_path / "a.h5", shape, "u2") as file:
        assert index.rows_of(file["x"], 10_000) is None


@pytest.mark.parametrize(
    ("storage", "offset", "message"),
    [
        (20, None, "20 bytes are stored for 5 samples of 4 bytes"),
        (19, 100, "19 bytes are stored"),
        (40, 100, "40 bytes are stored"),
        (20, 81, "20 bytes from byte 81 on, in a file of 100"),
        (20, 2**64 - 10, "in a file of 100"),
        (20, -1, "in a file of 100"),
    ],
)
def test_rows_outside_the_file_are_refused(storage: int, offset: int | None, message: str) -> None:
    with pytest.raises(FormatError, match=f"'/x': .*{message}.*damaged"):
        index.rows_of(Stated((5, 2), storage, offset), 100)
    assert index.rows_of(Stated((5, 2), 20, 80), 100) == Rows(80, 4, 5)


# One after the other


def flat(offsets: list[int], size: int = 100) -> index.Flat:
    return index.flat_of(Rows(50, 1, size), np.array(offsets, np.uint64), "x")


def test_flat_samples_are_as_many_as_their_offsets_say() -> None:
    assert (len(flat([0, 10, 10, 100])), flat([0, 100]).base) == (3, 50)
    assert len(index.flat_of(Rows(0, 1, 0), np.zeros(1, np.uint64), "x")) == 0


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([0, 99], "go from 0 to 99, wanted 0 to 100"),
        ([0, 101], "go from 0 to 101"),
        ([1, 100], "go from 1 to 100"),
        ([0, 2**64 - 1], "wanted 0 to 100"),
        ([0, 50, 40, 100], "fall at sample 1"),
        ([0, 2**64 - 1, 100], "fall at sample 1"),
    ],
)
def test_offsets_that_contradict_the_bytes_are_refused(offsets: list[int], message: str) -> None:
    with pytest.raises(FormatError, match=f"'x'.*{message}|{message}"):
        flat(offsets)


# Chunks


@pytest.mark.parametrize("user_block", [0, 512])
@pytest.mark.parametrize("libver", ["earliest", "v110", "latest"])
@pytest.mark.parametrize("maxshape", [(7, 5), (None, 5), (None, None)])
def test_chunks_are_counted_as_a_book_counts_its_words(
    maxshape: Any, libver: str, user_block: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    values = np.arange(35, dtype="i4").reshape(7, 5)
    with h5py.File(path, "w", libver=libver, userblock_size=user_block) as file:
        file.create_dataset("x", data=values, chunks=(3, 2), maxshape=maxshape)
    whole = path.read_bytes()
    with h5py.File(path) as file:
        chunks = index.chunks_of(file["x"], len(whole))
    assert (chunks.grid, chunks.per_row, len(chunks), chunks.masks) == ((3, 3), 3, 9, None)
    for number, (row, column) in enumerate(itertools.product(range(3), range(3))):
        offset, length = chunks.place(number)
        found = np.frombuffer(whole[offset : offset + length], "i4").reshape(3, 2)
        expected = values[3 * row : 3 * row + 3, 2 * column : 2 * column + 2]
        np.testing.assert_array_equal(found[: expected.shape[0], : expected.shape[1]], expected)


def test_missing_chunks_and_masks_are_told(tmp_path: Path) -> None:
    with open_with(tmp_path / "a.h5", (6, 2), "u1", chunks=(2, 2), compression="gzip") as file:
        none = index.chunks_of(file["x"], 10**6)
    assert (none.offsets == MISSING).all()
    assert none.masks is None
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["x"][2:4] = 1
        file["x"].id.write_direct_chunk((4, 0), b"1234", 1)
        some = index.chunks_of(file["x"], 10**6)
    assert (some.offsets == MISSING).tolist() == [True, False, False]
    assert some.masks.tolist() == [0, 0, 1]
    assert some.place(2)[1] == 4
    assert not some.same_places(none)
    assert some.same_places(Chunks(some.grid, some.offsets.copy(), some.lengths.copy()))


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_no_samples_have_no_chunks(shape: tuple[int, ...], tmp_path: Path) -> None:
    with open_with(tmp_path / "a.h5", shape, "u1", chunks=(2, 2), maxshape=(None, None)) as file:
        assert len(index.chunks_of(file["x"], 10**6)) == 0


def test_a_data_set_that_became_smaller_has_fewer_chunks(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset(
            "x", data=np.ones((9, 4), "u1"), chunks=(2, 4), maxshape=(None, 4)
        )
        data.resize(3, axis=0)
        assert len(index.chunks_of(data, 10**6)) == 2


def test_progress_is_told_now_and_then(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    count = 70_000
    with open_with(
        tmp_path / "a.h5", data=np.zeros(count, "u1"), chunks=(1,), maxshape=(None,)
    ) as file:
        index.chunks_of(file["x"], 10**9, lambda done, of: told.append((done, of)))
    assert told == [(65_536, count)]


class Listed:
    """A data set whose list of chunks is ours to make."""

    name, shape, chunks = "/x", (6, 4), (2, 2)

    def __init__(self, *chunks: tuple[tuple[int, int], int, int]) -> None:
        self._listed = chunks
        self.id = self
        self.get_num_chunks = lambda: len(chunks)

    def chunk_iter(self, note: Any) -> None:
        for place, offset, size in self._listed:
            info = h5py.h5d.StoreInfo(place, 0, offset, size)
            if note(info) is not None:
                return


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([((6, 0), 0, 4)], "beyond the data set"),
        ([((0, 4), 0, 4)], "beyond the data set"),
        ([((2**63, 0), 0, 4)], "beyond the data set"),
        ([((2, 0), 0, 4), ((2, 0), 8, 4)], "two chunks at"),
        ([((0, 0), 97, 4)], "stands at byte 97 and is 4 bytes long, in a file of 100"),
        ([((0, 0), 0, 101)], "in a file of 100"),
        ([((0, 0), 2**64 - 2, 4)], "in a file of 100"),
        ([((0, 0), 50, 2**64 - 10)], "in a file of 100"),
    ],
)
def test_chunks_that_cannot_be_are_refused(chunks: list[Any], message: str) -> None:
    with pytest.raises(FormatError, match=f"'/x'.*{message}.*damaged|{message}"):
        index.chunks_of(Listed(*chunks), 100)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 50, 99, 100, 101, 2**32, 2**63, 2**64 - 2, 2**64 - 1]),
            st.sampled_from([0, 1, 50, 99, 100, 101, 2**32, 2**63, 2**64 - 1]),
        ),
        max_size=4,
    )
)
def test_a_table_passes_only_if_every_range_is_in_the_file(ranges: list[tuple[int, int]]) -> None:
    table = np.array(ranges, np.uint64).reshape(-1, 2)
    sound = all(start == 2**64 - 1 or start + length <= 100 for start, length in ranges)
    try:
        index.check_table(table, 100, "x")
    except FormatError:
        assert not sound
    else:
        assert sound


def test_a_few_bytes_are_kept_for_each_chunk() -> None:
    table = np.array([[5, 7], [12, 2**32 - 1]], np.uint64)
    chunks = Chunks.of_table((2,), table)
    assert chunks.offsets.nbytes + chunks.lengths.nbytes == 24
    assert [chunks.place(i) for i in range(2)] == [(5, 7), (12, 2**32 - 1)]
    table[0, 1] = 2**32
    assert Chunks.of_table((2,), table).place(0) == (5, 2**32)


# Chunks that may stand without filters


@pytest.mark.parametrize(
    ("shape", "lengths", "masks", "expected"),
    [
        ((4, 4), [4, 4, 4, 4], None, False),  # none reaches over an end
        ((3, 4), [9, 9, 4, 4], None, True),
        ((3, 4), [9, 9, 4, 9], None, False),  # one that was compressed
        ((3, 4), [9, 9, 4, 4], [0, 0, 1, 1], False),  # masks tell of these
        ((3, 3), [9, 4, 4, 4], None, True),
        ((1, 1), [4], None, True),
        ((3, 4), [9, 9, 0, 0], None, False),
    ],
)
def test_edges_that_have_just_the_bytes_of_their_values_are_noticed(
    shape: tuple[int, int], lengths: list[int], masks: Any, expected: bool, tmp_path: Path
) -> None:
    with open_with(tmp_path / "a.h5", shape, "u1", chunks=(2, 2), maxshape=(None, None)) as file:
        chunks = Chunks(
            index.grid_of(file["x"]),
            np.where(np.array(lengths) > 0, np.uint64(1), MISSING),
            np.array(lengths, np.uint32),
            None if masks is None else np.array(masks, np.uint32),
        )
        assert index.bare_edges(file["x"], chunks) is expected


def test_a_data_set_is_sparse_where_a_table_would_be_far_larger_than_the_file(
    tmp_path: Path,
) -> None:
    with open_with(tmp_path / "a.h5", (2**30,), "u1", chunks=(1,)) as file:
        assert index.too_sparse(file["x"])
    with open_with(tmp_path / "b.h5", (2**30,), "u1", chunks=(2**10,)) as file:
        assert not index.too_sparse(file["x"])


# The table that a file carries

TABLE = np.array([[10, 5], [15, 5], [20, 80]], np.uint64)


def reason(table: Any = TABLE, **changed: Any) -> str | None:
    options = {
        "count": 3, "stored_crc": crc32c(np.ascontiguousarray(table).tobytes()),
        "file_end": 100, "file_size": 100,
    }  # fmt: skip
    return index.hint(table, **{**options, **changed})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"count": 4}, "the shape (3, 2), for 4 samples"),
        ({"file_size": 101}, "when the file had 100 bytes, and now it has 101"),
        ({"file_end": None}, "when the file had None bytes"),
        ({"stored_crc": 1}, "its checksum"),
        ({"stored_crc": None}, "its checksum"),
        ({"table": TABLE + np.uint64(1)}, "chunk 2 of 'the index' stands at byte 21"),
        ({"table": np.full((3, 2), MISSING)}, "no place for some samples"),
    ],
)
def test_a_table_is_believed_only_if_nothing_speaks_against_it(
    changed: dict[str, Any], message: str
) -> None:
    assert reason() is None
    assert message in (reason(**changed) or "")
