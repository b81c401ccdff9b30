"""A file that others write to: the right data or an error, never another sample's data."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin
import numpy as np
import pytest

import celeiro
from celeiro.errors import CeleiroError, ChangedError, FormatError, SampleError

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 10
CHUNKED = ["jpeg", "lossless", "gzip"]


def contents(path: Path, **options: Any) -> list[bytes]:
    with celeiro.open(path, **options) as ds:
        return [image.tobytes() for image, _ in ds]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def tool(name: str, *arguments: Any) -> None:
    """Run one of HDF5's own tools."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    subprocess.run([name, *map(str, arguments)], check=True, capture_output=True, timeout=60)


# While it is open


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("keep", [0, 0.3, 0.9, 1])
def test_a_file_that_is_cut_short_is_an_error(path: Path, keep: float, cached: bool) -> None:
    size = path.stat().st_size
    with celeiro.open(path, cache="memory" if cached else None) as ds:
        if cached:
            ds.cache.wait()
        os.truncate(path, min(size - 1, int(size * keep)))
        for call in (lambda: ds[0], lambda: ds[9], lambda: ds.read([]), lambda: ds["mask"][9]):
            with pytest.raises(ChangedError, match="open it again|Open it again"):
                call()
        with pytest.raises(ChangedError):
            ds.labels  # noqa: B018


def test_a_file_that_is_written_to_is_an_error(path: Path) -> None:
    with celeiro.open(path) as ds:
        with path.open("r+b") as file:
            file.seek(5000)
            file.write(b"x" * 100)
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))  # whatever the file system's clock
        for call in (
            lambda: ds.read(range(COUNT)),
            lambda: ds["mask"].read(range(COUNT)),
            lambda: ds.labels,
            lambda: ds.keys,
            lambda: ds.split("val"),
            lambda: ds["weight"],
        ):
            with pytest.raises(ChangedError, match="Open it again"):
                call()


def test_another_file_under_the_name_leaves_the_open_one_as_it_was(
    path: Path, packed: dict[str, Path], store: str, tmp_path: Path
) -> None:
    other = "pixels" if store != "pixels" else "jpeg"
    expected = contents(path)
    with celeiro.open(path) as ds:
        os.replace(shutil.copy(packed[other], tmp_path / "new.h5"), path)
        assert [image.tobytes() for image, _ in ds] == expected
        assert ds.labels is not None
    assert contents(path) == contents(packed[other])


def test_a_damaged_sample_of_a_replaced_file_is_not_looked_for_in_the_new_one(
    packed: dict[str, Path], tmp_path: Path
) -> None:
    path = shutil.copy(packed["gzip"], tmp_path / "a.h5")
    with h5py.File(path) as file:
        place = file["imagens"].id.get_chunk_info(4)
    with path.open("r+b") as raw:
        raw.seek(place.byte_offset + 10)
        raw.write(b"damage")
    with celeiro.open(path) as ds:
        # Fewer samples, which stand elsewhere.
        celeiro.pack(np.zeros((2, 24, 32, 3), np.uint8), tmp_path / "new.h5", store="lossless")
        os.replace(tmp_path / "new.h5", path)
        with pytest.raises((SampleError, ChangedError)):
            ds[4]
        assert ds[5][0].tobytes() == contents(packed["gzip"])[5]


def test_a_file_that_is_replaced_while_it_is_opened_is_an_error(
    packed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from celeiro.reading import dataset

    path = shutil.copy(packed["jpeg"], tmp_path / "a.h5")
    open_contents = dataset.open_contents

    def replace_first(*args: Any, **options: Any) -> Any:
        os.replace(shutil.copy(packed["gzip"], tmp_path / "new.h5"), path)
        return open_contents(*args, **options)

    monkeypatch.setattr(dataset, "open_contents", replace_first)
    with pytest.raises(CeleiroError):
        celeiro.open(path)


def test_what_only_hdf5_reads_is_not_read_from_a_file_that_came_later(tmp_path: Path) -> None:
    for name, value in (("a.h5", 1), ("b.h5", 2)):
        with h5py.File(tmp_path / name, "w") as file:
            rows = np.full((4, 8, 8), value, np.uint8)
            file.create_dataset("images", data=rows, chunks=(1, 8, 8), **hdf5plugin.Blosc2())
    with celeiro.open(tmp_path / "a.h5") as ds, celeiro.open(tmp_path / "a.h5") as other:
        assert (ds[0][0] == 1).all()
        os.rename(tmp_path / "a.h5", tmp_path / "old.h5")
        shutil.copy(tmp_path / "b.h5", tmp_path / "a.h5")
        for one in (ds, other):  # its process is there already; is made only now
            with pytest.raises(ChangedError, match="Open it again"):
                one[1]
        os.rename(tmp_path / "old.h5", tmp_path / "a.h5")
        for one in (ds, other):
            assert (one[1][0] == 1).all()


def test_a_pickled_dataset_of_a_file_that_changed_is_an_error(path: Path) -> None:
    import pickle

    with celeiro.open(path) as ds:
        data = pickle.dumps(ds)
    with path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(ChangedError, match="since this dataset was pickled"):
        pickle.loads(data)
    path.unlink()
    with pytest.raises(FormatError, match="cannot be read"):
        pickle.loads(data)


# Rewritten before it is opened


@pytest.mark.parametrize("name", CHUNKED)
@pytest.mark.parametrize("edit", ["swapped", "rewritten", "written elsewhere"])
def test_chunks_that_another_program_wrote_are_never_taken_for_others(
    name: str,
    edit: str,
    packed: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = shutil.copy(packed[name], tmp_path / "a.h5")
    before = contents(path)
    with h5py.File(path, "r+") as file:
        data = file["imagens"]
        chunks = [data.id.read_direct_chunk((i, 0, 0, 0))[1] for i in range(COUNT)]
        if edit == "swapped":  # bytes that are whole, under the other's number
            data.id.write_direct_chunk((2, 0, 0, 0), chunks[7])
            data.id.write_direct_chunk((7, 0, 0, 0), chunks[2])
        elif edit == "rewritten":
            data[2], data[7] = data[7], data[2]
        else:  # the same bytes, but elsewhere: larger ones were there in between
            for i in (2, 7):
                data.id.write_direct_chunk((i, 0, 0, 0), chunks[i] + bytes(20_000))
                data.id.write_direct_chunk((i, 0, 0, 0), chunks[i])
    with celeiro.open(path) as ds:
        for i in range(COUNT):
            if i in (2, 7) and edit != "written elsewhere":
                with pytest.raises(SampleError, match=f"sample {i}") as caught:
                    ds[i]
                assert caught.value.sample == i
            else:
                assert ds[i][0].tobytes() == before[i]
    assert len(warnings_of(caplog)) <= 1


def stale(path: Path, store: str, number: int) -> None:
    """Two samples change places in the table, with a checksum that is right."""
    from celeiro.format.checksum import crc32c

    with h5py.File(path, "r+") as file:
        table = file["celeiro/index"][()]
        table[[number, 8]] = table[[8, number]]
        file["celeiro/index"][...] = table
        file["celeiro/index"].attrs["crc32c"] = np.uint32(crc32c(table.tobytes()))


@pytest.mark.parametrize("found", ["on opening", "on reading"])
@pytest.mark.parametrize("name", CHUNKED)
def test_a_table_that_is_stale_is_made_anew_and_that_is_said_once(
    name: str, found: str, packed: dict[str, Path], tmp_path: Path,
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if found == "on reading":
        monkeypatch.setattr("celeiro.reading.ours._PROBED", 2)  # the first and the last
    path = shutil.copy(packed[name], tmp_path / "a.h5")
    stale(path, name, 3)
    expected = contents(packed[name])
    with celeiro.open(path, color="RGB") as ds:
        assert len(warnings_of(caplog)) == (found == "on opening")
        assert [i.tobytes() for i in ds.read([3, 0, 8, 3])] == [expected[i] for i in (3, 0, 8, 3)]
        assert [image.tobytes() for image, _ in ds] == expected
        assert ds.stored(3) == celeiro.open(packed[name]).stored(3)
    assert len(warnings_of(caplog)) == 1
    assert "index of samples" in warnings_of(caplog)[0]


def test_a_stale_table_of_masks_is_made_anew_too(
    packed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from celeiro.format.checksum import crc32c

    monkeypatch.setattr("celeiro.reading.ours._PROBED", 2)
    path = shutil.copy(packed["jpeg"], tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        table = file["celeiro/mask_index"][()]
        table[[3, 8]] = table[[8, 3]]
        file["celeiro/mask_index"][...] = table
        file["celeiro/mask_index"].attrs["crc32c"] = np.uint32(crc32c(table.tobytes()))
    with celeiro.open(path) as ds, celeiro.open(packed["jpeg"]) as sound:
        for i in range(COUNT):
            assert ds["mask"][i].tobytes() == sound["mask"][i].tobytes()
        assert ds["mask"].read([8, 3]).tobytes() == sound["mask"].read([8, 3]).tobytes()


def test_a_damaged_mask_is_named(path: Path, store: str) -> None:
    with h5py.File(path) as file:
        data = file["fields/mask"]
        if store == "encoded":
            at = data.id.get_offset() + int(file["fields/mask_offsets"][4]) + 60
        else:
            at = data.id.get_chunk_info(4).byte_offset + 60
    with path.open("r+b") as raw:
        raw.seek(at)
        byte = raw.read(1)[0]
        raw.seek(at)
        raw.write(bytes([byte ^ 255]))
    with celeiro.open(path) as ds:
        for call in (lambda: ds["mask"][4], lambda: ds.select([4])["mask"].read([0])):
            with pytest.raises(SampleError, match=r"fields/mask of sample 4 \('4.jpg'\)") as caught:
                call()
            assert caught.value.sample == 4
        assert ds["mask"][5].shape == ds[5][0].shape[:2]


def test_a_sample_that_is_gone_is_an_error_and_not_zeros(
    packed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from celeiro.format.checksum import crc32c

    # The last one was cut off and made again without being written; the table knows nothing of it.
    monkeypatch.setattr("celeiro.reading.ours._PROBED", 1)
    path = tmp_path / "a.h5"
    values = np.random.default_rng(0).integers(0, 256, (3, 8, 8), np.uint8)
    celeiro.pack(values, path, store="lossless", compressor="gzip")
    with h5py.File(path, "r+") as file:
        old = file["imagens"]
        chunks = [old.id.read_direct_chunk((i, 0, 0))[1] for i in range(3)]
        del file["imagens"]
        new = file.create_dataset(
            "imagens", (3, 8, 8), "u1", chunks=(1, 8, 8), shuffle=True, compression="gzip"
        )
        for i in (0, 1):
            new.id.write_direct_chunk((i, 0, 0), chunks[i])
        table = [
            (info.byte_offset, info.size)
            for info in (
                new.id.get_chunk_info(0),
                new.id.get_chunk_info(1),
                new.id.get_chunk_info(1),
            )
        ]
        file["celeiro/index"][...] = table
        file["celeiro/index"].attrs["crc32c"] = np.uint32(
            crc32c(file["celeiro/index"][()].tobytes())
        )
        file.flush()
    with h5py.File(path, "r+") as file:
        file["celeiro/index"].attrs["file_end"] = np.uint64(path.stat().st_size)
    with h5py.File(path, "r+") as file:
        file["celeiro/index"].attrs["file_end"] = np.uint64(path.stat().st_size)
    with celeiro.open(path) as ds:
        np.testing.assert_array_equal(ds[0][0], values[0])
        with pytest.raises(SampleError):
            ds[2]


# HDF5's own tools


@pytest.mark.parametrize("options", [[], ["-L"], ["--latest"], ["-b", "512", "-u"]], ids=str)
def test_a_repacked_file_reads_the_same(
    path: Path, tmp_path: Path, options: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "again.h5"
    if "-u" in options:
        (tmp_path / "block").write_bytes(b"b" * 512)
        options = [*options, tmp_path / "block"]
    tool("h5repack", *options, path, out)
    assert contents(out, verify=True) == contents(path)
    with celeiro.open(out) as ds, celeiro.open(path) as sound:
        assert ds.labels.tolist() == sound.labels.tolist()
        assert list(ds.keys) == list(sound.keys)
        assert ds["mask"][3].tobytes() == sound["mask"][3].tobytes()
    said = [text for text in warnings_of(caplog) if "index of samples" in text]
    # Of masks at least, and it was opened twice.
    assert len(said) == (0 if ds.store == "encoded" else 2)


def test_pixels_that_were_repacked_into_chunks_are_refused_and_read_unchecked(
    packed: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "again.h5"
    tool("h5repack", "-l", "imagens:CHUNK=2x24x32x3", "-f", "imagens:GZIP=1", packed["pixels"], out)
    with pytest.raises(FormatError, match="not stored as 'pixels' is.*verify=False"):
        celeiro.open(out)
    with celeiro.open(out, verify=False) as ds:
        assert ds.store == "hdf5"
        assert [image.tobytes() for image, _ in ds] == contents(packed["pixels"])


@pytest.mark.parametrize("name", ["pixels", *CHUNKED])
def test_samples_that_were_copied_alone_are_read_as_a_foreign_file(
    name: str, packed: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "copy.h5"
    for part in ("imagens", "labels"):
        tool("h5copy", "-i", packed[name], "-o", out, "-s", part, "-d", part)
    with celeiro.open(out) as ds:
        assert ds.store == "hdf5"
        assert [image.tobytes() for image, _ in ds] == contents(packed[name])
        with celeiro.open(packed[name]) as sound:
            assert ds.labels.tolist() == sound.labels.tolist()
