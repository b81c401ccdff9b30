"""Samples of bfloat16: whatever reads their bits, float32 comes out, and nothing goes astray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t

import celeiro
from celeiro.format import bfloat16
from celeiro.reading import hdf5
from celeiro.reading.layouts import Way, samples_in
from celeiro.reading.samples import widened
from celeiro.reading.source import FileSource
from celeiro.storage.local import File

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

SHAPE = (12, 4, 3)
VALUES = bfloat16.rounded(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32))


def write(path: Path, *edits: Any, kind: h5t.TypeID | None = None) -> Path:
    """A data set `x` of the values, whose property list the `edits` change."""
    plist = h5p.create(h5p.DATASET_CREATE)
    for edit in edits:
        edit(plist)
    with h5py.File(path, "w") as file:
        space = h5s.create_simple(SHAPE)
        made = h5d.create(file.id, b"x", kind or bfloat16.h5_type(), space, plist)
        h5py.Dataset(made)[...] = VALUES
    return path


def big_endian() -> h5t.TypeID:
    kind = bfloat16.h5_type().copy()
    kind.set_order(h5t.ORDER_BE)
    return kind


LAYOUTS: dict[str, Any] = {
    "contiguous": (),
    "compact": (lambda p: p.set_layout(h5d.COMPACT),),
    "a chunk each": (lambda p: p.set_chunk((1, 4, 3)), lambda p: p.set_deflate(1)),
    "many a chunk": (lambda p: p.set_chunk((4, 4, 3)), lambda p: p.set_shuffle()),
    "pieces": (lambda p: p.set_chunk((2, 3, 2)),),
}


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("cache", [None, "memory"])
def test_every_layout_gives_the_values_without_hdf5(
    name: str, order: str, cache: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.h5", *LAYOUTS[name], kind=big_endian() if order == "big" else None)
    with celeiro.open(path, cache=cache, workers=2) as ds:
        if ds.cache is not None:
            ds.cache.wait()
        assert (ds.dtype, ds.stored_dtype, ds.shape) == (np.float32, "bfloat16", SHAPE)
        wanted = [3, 10, 3, 0, -1]
        assert np.array_equal(ds.read(wanted), VALUES[wanted])
        assert np.array_equal(ds[2:9:3][0], VALUES[2:9:3])
        assert np.array_equal(ds.select([4, 1]).read([0, 1]), VALUES[[4, 1]])
        assert np.array_equal(np.stack([image for image, _ in ds]), VALUES)
        assert not ds.is_raw
    assert not caplog.records


def test_what_hdf5_must_read_is_known_as_bfloat16_as_well(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", lambda p: p.set_chunk((5, 4, 3)), lambda p: p.set_shuffle())
    with celeiro.open(path) as ds:
        assert (ds.dtype, ds.stored_dtype) == (np.float32, "bfloat16")
        assert np.array_equal(ds.read(range(12)), VALUES)


def test_bits_are_read_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widened, "_TOGETHER", 100)  # four samples
    asked = []
    with celeiro.open(write(tmp_path / "a.h5")) as ds:
        bits = ds._opened.contents.samples.bits
        read = bits.read

        def noted(indices: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
            asked.append(len(indices))
            read(indices, out)

        monkeypatch.setattr(bits, "read", noted)
        assert np.array_equal(ds.read(np.arange(12)[::-1]), VALUES[::-1])
    assert asked == [4, 4, 4]


def test_the_stored_bytes_of_a_sample_are_its_bits(tmp_path: Path) -> None:
    with celeiro.open(write(tmp_path / "a.h5")) as ds:
        assert ds.stored(3) == bfloat16.bits_of(VALUES[3]).astype("<u2").tobytes()
        assert ds.stored_lengths is not None
        assert ds.stored_lengths.tolist() == [24] * 12
        ds.will_need(0, 12, 1 << 20)


def test_a_compact_data_set_has_no_place_in_the_file(tmp_path: Path) -> None:
    with celeiro.open(write(tmp_path / "a.h5", *LAYOUTS["compact"])) as ds:
        assert ds.stored_lengths is None


def test_what_was_never_written_is_the_fill_value(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        kind = h5py.Datatype(bfloat16.h5_type())
        file.create_dataset("whole", (5, 2), kind, fillvalue=1.5)
        file.create_dataset("parts", (4, 2), kind, chunks=(2, 2), fillvalue=-2.5)[0:2] = 3
    for key, wanted in (("whole", [1.5] * 5), ("parts", [3, 3, -2.5, -2.5])):
        with celeiro.open(tmp_path / "a.h5", key) as ds:
            assert ds.read(range(len(ds)))[:, 0].tolist() == wanted
            assert ds.dtype == np.float32


def test_labels_of_bfloat16_are_read_as_numbers(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = np.zeros((3, 4), np.uint8)
        kind = h5py.Datatype(bfloat16.h5_type())
        file.create_dataset("labels", (3,), kind)[...] = [0, 0.5, -3]
    with celeiro.open(tmp_path / "a.h5") as ds:
        assert ds.labels is not None
        assert ds.labels.tolist() == [0, 0.5, -3]


def test_batches_through_a_loader_are_float32(tmp_path: Path) -> None:
    with celeiro.open(write(tmp_path / "a.h5", *LAYOUTS["a chunk each"])) as ds:
        batches = list(celeiro.Loader(ds, batch_size=4, shuffle=False, drop_last=False))
        assert all(images.dtype == np.float32 for images, _ in batches)
        assert np.array_equal(np.concatenate([images for images, _ in batches]), VALUES)


def test_an_empty_axis_is_read_as_nothing(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (3, 0), h5py.Datatype(bfloat16.h5_type()))
    file_ = File(tmp_path / "a.h5")
    with hdf5.reading(tmp_path / "a.h5") as file:
        samples = samples_in(file["x"], Way(FileSource(file_), 1))
        out = np.empty((2, 0), np.float32)
        samples.read(np.array([0, 2]), out)
    file_.close()
