"""What a dataset tells a plan, and how its samples come as files, arrays and stored bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import h5py
import numpy as np
import pytest

import celeiro
from celeiro.care.repack import repack
from celeiro.care.source import SamplesOf, listing_of
from celeiro.errors import PictureError
from celeiro.format import layout
from celeiro.format.ragged import Ragged
from celeiro.packing.listing import NO_SPLIT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def samples_of(ds: Any) -> SamplesOf:
    return SamplesOf(ds, np.arange(len(ds)), ds.reencoded)


def test_a_listing_has_every_column_of_the_dataset(originals: Callable[[str], Any]) -> None:
    with celeiro.open(originals("jpeg").path) as ds:
        listing = listing_of(ds)
        assert [key.decode() for key in listing.keys] == list(ds.keys)
        assert listing.labels.tolist() == ds.labels.tolist()
        assert listing.label_names == ("cat", "dog")
        assert listing.split_names == ("train", "val")
        assert listing.splits.tolist() == [0] * 5 + [1] * 2
        assert set(listing.fields) == {"age", "colour"}
        assert listing.fields["age"].tolist() == ds["age"].tolist()
        assert [t.decode() for t in listing.fields["colour"].tolist()] == list(ds["colour"])
        assert [len(listing.boxes[row]) for row in range(7)] == [0, 1, 2, 0, 1, 2, 0]
        assert listing.masks is not None
        assert listing.sizes.tolist() == ds.stored_lengths.tolist()
        assert listing.labels_from == "dataset"


@pytest.mark.parametrize("store", ["pixels", "encoded"])
def test_a_view_lists_its_own_rows_in_its_own_order(
    originals: Callable[[str], Any], store: str
) -> None:
    with celeiro.open(originals(store).path) as ds:
        view = ds.select([6, 0, 3])
        listing = listing_of(view)
        assert [key.decode() for key in listing.keys] == [ds.keys[row] for row in (6, 0, 3)]
        assert listing.labels.tolist() == [0, 0, 1]
        assert listing.splits.tolist() == [1, 0, 0]
        assert listing.fields["age"].tolist() == [9, 0, 4.5]
        assert listing.sizes.tolist() == ds.stored_lengths[[6, 0, 3]].tolist()


def test_a_sample_that_a_view_has_twice_is_twice_in_its_split(
    originals: Callable[[str], Any],
) -> None:
    with celeiro.open(originals("pixels").path) as ds:
        assert listing_of(ds.select([0, 6, 0])).splits.tolist() == [0, 1, 0]


def test_a_split_lists_itself_alone(originals: Callable[[str], Any]) -> None:
    with celeiro.open(originals("pixels").path) as ds:
        listing = listing_of(ds.split("val"))
        assert listing.splits.tolist() == [1, 1]


def test_a_sample_in_no_split_stays_in_none(tmp_path: Path) -> None:
    celeiro.pack(np.zeros((3, 2, 2), np.uint8), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["splits/train"] = np.array([1], np.uint64)
    with celeiro.open(tmp_path / "a.h5", verify=False) as ds:
        assert listing_of(ds).splits.tolist() == [NO_SPLIT, 0, NO_SPLIT]


def test_without_keys_samples_are_called_by_their_number_in_the_file(tmp_path: Path) -> None:
    celeiro.pack(np.zeros((3, 2, 2), np.uint8), tmp_path / "a.h5")
    with celeiro.open(tmp_path / "a.h5") as ds:
        listing = listing_of(ds.select([2, 0]))
        assert list(listing.keys) == [b"sample 2", b"sample 0"]
        assert listing.labels is None
        assert listing.splits is None


def test_what_changes_with_a_sample_changes_its_mark(
    originals: Callable[[str], Any], tmp_path: Path
) -> None:
    with celeiro.open(originals("jpeg").path) as ds:
        before = listing_of(ds).mtimes
        assert before.dtype == np.int64
        assert len(set(before.tolist())) == len(ds)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["x"] = np.zeros((3, 4), np.float32)
    with celeiro.open(tmp_path / "f.h5") as ds:
        assert set(listing_of(ds).mtimes.tolist()) == {(tmp_path / "f.h5").stat().st_mtime_ns}


@pytest.mark.parametrize("store", ["pixels", "jpeg", "lossless", "encoded"])
def test_another_mask_is_another_mark(packed: Callable[[str], Any], store: str) -> None:
    path = packed(store).path
    with celeiro.open(path) as ds:
        before = listing_of(ds).mtimes
    with h5py.File(path, "r+") as file:
        crcs = file[layout.field_crc("mask")]
        crcs[3] = crcs[3] ^ np.uint32(1)
    with celeiro.open(path, verify=False) as ds:
        after = listing_of(ds).mtimes
    assert np.flatnonzero(before != after).tolist() == [3]


def test_labels_of_other_types_become_those_of_the_format(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["images"] = np.zeros((3, 4, 4, 3), np.uint8)
        file["labels"] = np.array([2, 0, 1], np.uint8)
    with celeiro.open(tmp_path / "f.h5") as ds:
        assert listing_of(ds).labels.dtype == np.int64
    with celeiro.open(tmp_path / "f.h5", labels=np.array([0.5, 1, 2], np.float32)) as ds:
        assert listing_of(ds).labels.tolist() == [0.5, 1, 2]
        assert listing_of(ds).labels.dtype == np.float64


def test_texts_of_very_unequal_length_take_no_more_than_their_bytes(tmp_path: Path) -> None:
    count = 1000
    lengths = np.full(count, 1)
    lengths[3] = 1 << 20
    celeiro.pack(np.zeros((count, 1), np.uint8), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["fields/text"] = np.full(lengths.sum(), ord("a"), np.uint8)
        file["fields/text_offsets"] = np.append(0, lengths.cumsum()).astype(np.uint64)
    with celeiro.open(tmp_path / "a.h5", verify=False) as ds:
        column = listing_of(ds).fields["text"]
        assert isinstance(column, Ragged)
        assert column.values.nbytes == lengths.sum()
        repack(ds, tmp_path / "b.h5", store="lossless")
        with celeiro.open(tmp_path / "b.h5") as made:
            assert list(made["text"]) == list(ds["text"])


# Samples


def test_picture_files_come_as_they_are_and_their_masks_too(
    originals: Callable[[str], Any],
) -> None:
    found = originals("encoded")
    with celeiro.open(found.path) as ds:
        samples = samples_of(ds)
        for row in range(len(ds)):
            assert samples.picture(row) == (found.source.parent / ds.keys[row]).read_bytes()
            assert samples.mask(row) == (found.source.parent / f"m{row}.png").read_bytes()
            assert not samples.reencoded(row)


def test_arrays_come_as_pngs_of_exactly_their_values(originals: Callable[[str], Any]) -> None:
    with celeiro.open(originals("pixels").path) as ds:
        samples = samples_of(ds)
        picture = cv2.imdecode(np.frombuffer(samples.picture(2), np.uint8), cv2.IMREAD_COLOR_RGB)
        assert np.array_equal(picture, ds[2][0])
        mask = cv2.imdecode(np.frombuffer(samples.mask(2), np.uint8), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(mask, ds["mask"][2])
        assert samples.reencoded(2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)])
def test_a_png_holds_8_and_16_bits_and_alpha(
    tmp_path: Path, dtype: Any, channels: tuple[int, ...]
) -> None:
    top = np.iinfo(dtype).max
    values = np.random.default_rng(0).integers(0, top, (1, 5, 6, *channels), dtype, endpoint=True)
    celeiro.pack(values, tmp_path / "a.h5")
    with celeiro.open(tmp_path / "a.h5") as ds:
        data = np.frombuffer(samples_of(ds).picture(0), np.uint8)
    found = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    assert found.dtype == dtype
    if channels in [(3,), (4,)]:
        found = found[..., [2, 1, 0, 3][: channels[0]]]
    assert np.array_equal(found.reshape(values[0].shape), values[0])


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((1, 4, 4, 3), np.float32),
        np.zeros((1, 4, 4, 3), bool),
        np.zeros((1, 4, 4, 2), np.uint8),
        np.zeros((1, 4, 4, 7), np.uint8),
        np.zeros((1, 4, 4, 4, 3), np.uint8),
        np.zeros((1, 9), np.uint8),
        np.zeros((1, 4, 4, 3), np.int16),
    ],
    ids=lambda values: f"{values.dtype}{values.shape}",
)
def test_what_no_png_holds_is_refused_with_what_to_do(tmp_path: Path, values: Any) -> None:
    celeiro.pack(values, tmp_path / "a.h5")
    with (
        celeiro.open(tmp_path / "a.h5") as ds,
        pytest.raises(PictureError, match="Choose --store lossless"),
    ):
        samples_of(ds).picture(0)


@pytest.mark.parametrize("store", ["jpeg", "lossless", "encoded"])
def test_a_damaged_sample_is_a_bad_picture(
    packed: Callable[[str], Any], flip: Callable[..., None], store: str
) -> None:
    found = packed(store)
    with celeiro.open(found.path) as ds:
        offset, length = ds._opened.contents.samples.place(3)
    flip(found.path, offset + length // 2)
    with celeiro.open(found.path) as ds:
        samples = samples_of(ds)
        for read in (samples.sample, samples.stored, samples.picture):
            with pytest.raises(PictureError, match="^its bytes are not those of its checksum$"):
                read(3)
        assert samples.sample(2).shape == (16, 20, 3)


@pytest.mark.parametrize("store", ["lossless", "encoded"])
def test_a_damaged_mask_is_a_bad_picture(
    packed: Callable[[str], Any], flip: Callable[..., None], store: str
) -> None:
    found = packed(store)
    with celeiro.open(found.path) as ds:
        offset, length = ds["mask"]._samples.place(3)
    flip(found.path, offset + length // 2)
    with celeiro.open(found.path) as ds:
        with pytest.raises(PictureError, match="^its mask: its bytes are not"):
            samples_of(ds).mask(3)
        with pytest.raises(PictureError, match="^its mask: its bytes are not"):
            samples_of(ds).mask_array(3)


def test_a_sample_that_hdf5_cannot_read_is_a_bad_picture(
    tmp_path: Path, flip: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """Of filters that only HDF5 knows, samples are read by another process."""
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", (3, 64), "i4", chunks=(1, 64), scaleoffset=4,
                                   compression="gzip")  # fmt: skip
        data[...] = np.arange(192).reshape(3, 64) % 16
        offset = data.id.get_chunk_info(1).byte_offset
    flip(path, offset + 8)
    with celeiro.open(path) as ds:
        assert "read by HDF5 itself" in caplog.text
        assert samples_of(ds).sample(0).tolist() == [n % 16 for n in range(64)]
        with pytest.raises(PictureError, match="HDF5 says"):
            samples_of(ds).sample(1)


def test_samples_follow_the_rows_of_the_tasks(originals: Callable[[str], Any]) -> None:
    with celeiro.open(originals("encoded").path) as ds:
        samples = SamplesOf(ds, np.array([4, 1]), ds.reencoded)
        assert np.array_equal(samples.sample(0), ds[4][0])
        assert samples.picture(1) == ds.stored(1)
