"""Publishing: the payload stays where it is, and every HDF5 reader finds it there."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin  # noqa: F401  (reads Blosc)
import numpy as np
import pyfive
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeiro.errors import FormatError
from celeiro.format import layout
from celeiro.format.checksum import crc32c
from celeiro.format.codecs import (
    Codec,
    JpegCodec,
    LosslessCodec,
    PixelCodec,
    filter_pipeline,
)
from celeiro.packing import publish
from celeiro.packing.publish import Contents, SampleSet, write_structure
from celeiro.storage import local

if TYPE_CHECKING:
    from pathlib import Path

U1 = np.dtype(np.uint8)
CODECS = {
    "pixels": lambda shape: PixelCodec(shape, U1),
    "zstd": lambda shape: LosslessCodec(shape, U1),
    "gzip": lambda shape: LosslessCodec(shape, U1, "gzip"),
    "jpeg": lambda shape: JpegCodec(shape),
}


def make(
    path: Path, codec: Codec | None, samples: list[Any], **contents: Any
) -> tuple[list[bytes], Contents]:
    """Write the payload of samples (bytes for no codec), and the structure around it."""
    stored = [bytes(s if codec is None else codec.encode(s)) for s in samples]
    lengths = np.array([len(s) for s in stored], np.uint64)
    if codec is None:
        kind = SampleSet("imagens", (sum(map(len, stored)),), U1, lengths)
    else:
        filters = filter_pipeline(codec)
        shape = (len(stored), *codec.shape)
        index = layout.INDEX if filters else None
        kind = SampleSet("imagens", shape, codec.dtype, lengths, filters, index)
    found = Contents(kind, **contents)
    with local.opened(path, local.READ_WRITE | os.O_CREAT | os.O_TRUNC) as fd:
        local.write_at(fd, [bytes(layout.PAYLOAD_OFFSET), *stored], 0)
        write_structure(fd, found)
    return stored, found


def noise(n: int, shape: tuple[int, ...], seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (n, *shape), np.uint8))


@pytest.mark.parametrize("store", CODECS)
@pytest.mark.parametrize(
    ("n", "shape"), [(1, (1, 1, 1)), (1, (64, 64, 3)), (2, (1, 1, 1)), (5000, (1, 2, 1)),
                     (300, (9, 7, 3)), (1025, (3, 3, 3)), (3, (700, 900, 3))],
)  # fmt: skip
def test_samples_stand_one_after_the_other_from_byte_4096(
    store: str, n: int, shape: tuple[int, ...], tmp_path: Path
) -> None:
    samples = noise(n, shape)
    codec = CODECS[store](shape)
    stored, _ = make(tmp_path / "f.h5", codec, samples)
    at = np.cumsum([0, *map(len, stored)])[:-1] + 4096
    with h5py.File(tmp_path / "f.h5") as file:
        data = file["imagens"]
        if store == "pixels":
            assert data.id.get_offset() == 4096
            assert data.chunks is None
            np.testing.assert_array_equal(data[:], samples)
        else:
            chunks: list[Any] = []
            data.id.chunk_iter(chunks.append)
            assert [c.byte_offset for c in chunks] == at.tolist()
            assert [c.size for c in chunks] == [len(s) for s in stored]
            index = file["celeiro/index"]
            assert index[:].tolist() == [
                [a, len(s)] for a, s in zip(at.tolist(), stored, strict=True)
            ]
            assert index.attrs["file_end"] == (tmp_path / "f.h5").stat().st_size
            some = range(0, n, max(1, n // 50))
            for i in some:
                np.testing.assert_array_equal(data[i], codec.decode(stored[i]))
        assert sorted(file) == ["imagens"] if store == "pixels" else ["celeiro", "imagens"]
    whole = (tmp_path / "f.h5").read_bytes()
    assert whole[4096 : 4096 + sum(map(len, stored))] == b"".join(stored)


@given(
    lengths=st.lists(st.integers(1, 3000), min_size=1, max_size=40),
    store=st.sampled_from(["encoded", "zstd"]),
)
@settings(max_examples=40)
def test_samples_of_any_lengths_stand_where_they_were(
    lengths: list[int], store: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "f.h5"
    rng = np.random.default_rng(len(lengths))
    if store == "encoded":
        stored, _ = make(path, None, [rng.bytes(length) for length in lengths])
        with h5py.File(path) as file:
            assert file["imagens"].id.get_offset() == 4096
            assert file["imagens"][:].tobytes() == b"".join(stored)
    else:
        samples = [rng.integers(0, 1 + length % 255, (50,), np.uint8) for length in lengths]
        make(path, LosslessCodec((50,), U1), samples)
        with h5py.File(path) as file:
            np.testing.assert_array_equal(file["imagens"][:], samples)


def everything() -> dict[str, Any]:
    masks = [bytes(LosslessCodec((4, 4), U1).encode(m)) for m in noise(30, (4, 4), 1)]
    lengths = np.array([len(m) for m in masks], np.uint64)
    pipeline = filter_pipeline(LosslessCodec((4, 4), U1))
    blob = b"".join(masks)
    side = SampleSet("fields/mask", (30, 4, 4), U1, lengths, pipeline, "celeiro/mask_index")
    raw = SampleSet("fields/raw", (len(blob),), U1, lengths)
    each = np.full(30, 20, np.uint64)
    rows = SampleSet("fields/rows", (30, 5), np.dtype("<f4"), each, checksum=True)
    sides = ((side, blob), (raw, blob), (rows, rows_of_floats().tobytes()))
    return {
        "sides": tuple(
            (s, lambda length, at, data=data: data[at : at + length]) for s, data in sides
        ),
        "auxiliary": {
            "labels": np.arange(30),
            "label_names": np.array([b"a", "é".encode()], h5py.string_dtype("utf-8", 2)),
            "splits/train": np.arange(7, dtype=np.uint64),
            "fields/big": np.arange(30, dtype=">f8"),
            "fields/none": np.zeros((0, 4)),
            "fields/strided": np.arange(60)[::2],
        },
        "notes": {"labels": {"measured": "by eye"}},
        "attributes": {"celeiro_format": 1, "text": "ação", "empty": ""},
    }


def rows_of_floats() -> Any:
    return np.random.default_rng(1).normal(size=(30, 5)).astype("<f4")


@pytest.mark.parametrize("piece", [1, 20, 50, 1 << 24])
def test_rows_beside_the_samples_stand_as_a_plain_column(
    tmp_path: Path, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "_PIECE", piece)
    make(tmp_path / "f.h5", PixelCodec((2,), U1), noise(30, (2,)), **everything())
    with h5py.File(tmp_path / "f.h5") as file:
        rows = file["fields/rows"]
        np.testing.assert_array_equal(rows[:], rows_of_floats())
        assert rows.chunks is None
        assert rows.attrs["crc32c"] == crc32c(rows_of_floats().tobytes())
        assert "crc32c" not in file["fields/raw"].attrs


def test_all_that_stands_beside_the_samples_is_there(tmp_path: Path) -> None:
    _, contents = make(
        tmp_path / "f.h5", LosslessCodec((5, 5, 3), U1), noise(30, (5, 5, 3)), **everything()
    )
    with h5py.File(tmp_path / "f.h5") as file:
        for name, values in contents.auxiliary.items():
            np.testing.assert_array_equal(file[name][()], values)
            stored = np.ascontiguousarray(file[name][()]).tobytes()
            assert file[name].attrs["crc32c"] == crc32c(stored)
        np.testing.assert_array_equal(file["fields/mask"][:], noise(30, (4, 4), 1))
        blob = file["fields/raw"][:].tobytes()
        for (at, length), mask in zip(file["celeiro/mask_index"][:], noise(30, (4, 4), 1),
                                      strict=True):  # fmt: skip
            chunk = (tmp_path / "f.h5").read_bytes()[at : at + length]
            np.testing.assert_array_equal(LosslessCodec((4, 4), U1).decode(chunk), mask)
            assert chunk in blob
        assert file["labels"].attrs["measured"].decode() == "by eye"
        assert file.attrs["celeiro_format"] == 1
        assert file.attrs["text"].decode() == "ação"
        assert file.attrs["empty"] == b""
        ends = {file[n].attrs["file_end"] for n in ("celeiro/index", "celeiro/mask_index")}
        assert ends == {(tmp_path / "f.h5").stat().st_size}


@pytest.mark.parametrize("store", CODECS)
def test_the_same_contents_give_the_same_bytes(store: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make(tmp_path / name, CODECS[store]((5, 5, 3)), noise(30, (5, 5, 3)), **everything())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("store", CODECS)
def test_what_an_unfinished_attempt_left_changes_no_byte(store: str, tmp_path: Path) -> None:
    codec, samples = CODECS[store]((5, 5, 3)), noise(30, (5, 5, 3))
    stored, contents = make(tmp_path / "a", codec, samples, **everything())
    end = layout.PAYLOAD_OFFSET + sum(map(len, stored))
    data = bytearray((tmp_path / "a").read_bytes()[:end])
    (tmp_path / "b").write_bytes(data)
    with local.opened(tmp_path / "b", local.READ_WRITE) as fd:
        local.write_at(fd, [bytes(4096)], 0)
        write_structure(fd, contents)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_second_reader_finds_the_same(tmp_path: Path) -> None:
    # pyfive reads no chunks that are indexed as HDF5 1.10 does.
    samples = noise(1500, (4, 4, 3))
    make(tmp_path / "f.h5", CODECS["pixels"]((4, 4, 3)), samples,
         auxiliary={"labels": np.arange(1500)})  # fmt: skip
    with pyfive.File(tmp_path / "f.h5") as file:
        np.testing.assert_array_equal(file["labels"][:], np.arange(1500))
        np.testing.assert_array_equal(file["imagens"][:], samples)


@pytest.mark.skipif(shutil.which("h5dump") is None, reason="needs h5dump")
@pytest.mark.parametrize("store", ["pixels", "gzip"])
def test_the_tools_of_hdf5_1_10_dump_the_data(store: str, tmp_path: Path) -> None:
    samples = noise(2000, (1, 2, 3))
    make(tmp_path / "f.h5", CODECS[store]((1, 2, 3)), samples)
    command = ["h5dump", "-d", "/imagens", "-o", tmp_path / "raw", "-b", "LE", tmp_path / "f.h5"]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "raw").read_bytes() == np.stack(samples).tobytes()


@pytest.mark.parametrize("store", CODECS)
def test_a_file_can_be_written_to_by_h5py_afterwards(store: str, tmp_path: Path) -> None:
    # Plain and not tiny: where Blosc gains nothing, its filter fails, and HDF5 2.0 with it.
    samples = [np.full((16, 16, 3), i, np.uint8) for i in range(30)]
    make(tmp_path / "f.h5", CODECS[store]((16, 16, 3)), samples, **everything())
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        file["more"] = np.arange(10_000)
        file["imagens"][3] = 7
        file["splits/new"] = [1, 2]
        del file["labels"]
    with h5py.File(tmp_path / "f.h5") as file:
        assert (file["imagens"][3] == 7).all()
        others = [i for i in range(30) if i != 3]
        np.testing.assert_array_equal(file["imagens"][others], np.stack(samples)[others])
        np.testing.assert_array_equal(file["more"][:], np.arange(10_000))
        np.testing.assert_array_equal(file["fields/mask"][:], noise(30, (4, 4), 1))


def test_a_library_that_places_samples_elsewhere_is_an_error_and_the_payload_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_little(file: h5py.File) -> None:
        for name in (".gap_a", ".gap_b"):
            file.create_dataset(name, data=np.zeros(1, np.uint8))

    monkeypatch.setattr(publish, "_fill_gap", fill_little)
    samples = [np.zeros((30, 30), np.uint8)] * 3
    codec = LosslessCodec((30, 30), U1)
    with pytest.raises(FormatError, match="What was packed is kept"):
        make(tmp_path / "f.h5", codec, samples)
    stored = b"".join(bytes(codec.encode(s)) for s in samples)
    assert (tmp_path / "f.h5").read_bytes()[4096 : 4096 + len(stored)] == stored


@pytest.mark.parametrize("store", ["pixels", "zstd"])
def test_an_error_while_writing_comes_out_as_it_is_and_the_payload_stays(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec, samples = CODECS[store]((5, 5, 3)), noise(30, (5, 5, 3))
    stored, contents = make(tmp_path / "f.h5", codec, samples, **everything())
    whole = (tmp_path / "f.h5").read_bytes()
    write, left = local.write_at, 0

    def full(fd: int, buffers: Any, offset: int) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, buffers, offset)

    payload = b"".join(stored)
    for writes in range(0, 200, 3):
        left = writes
        with local.opened(tmp_path / "f.h5", local.READ_WRITE) as fd:
            monkeypatch.setattr(local, "write_at", full)
            try:
                write_structure(fd, contents)
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017
            else:
                break
            finally:
                monkeypatch.undo()
            assert local.read_at(fd, len(payload), 4096) == payload
    assert writes > 5
    with local.opened(tmp_path / "f.h5", local.READ_WRITE) as fd:
        os.ftruncate(fd, 4096 + len(payload))
        local.write_at(fd, [bytes(4096)], 0)
        write_structure(fd, contents)
    assert (tmp_path / "f.h5").read_bytes() == whole


@pytest.mark.parametrize("store", CODECS)
@pytest.mark.parametrize("where", ["seek", "write", "_contiguous", "_dataset_plist"])
def test_ctrl_c_at_any_moment_is_told_as_such_and_the_payload_stays(
    store: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec, samples = CODECS[store]((5, 5, 3)), noise(30, (5, 5, 3))
    stored, contents = make(tmp_path / "f.h5", codec, samples, **everything())
    whole, payload = (tmp_path / "f.h5").read_bytes(), b"".join(stored)
    owner = publish if where.startswith("_") else publish._Overlay
    original, calls = getattr(owner, where), 0

    def interrupted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == moment:
            signal.raise_signal(signal.SIGINT)
        return original(*args)

    monkeypatch.setattr(owner, where, interrupted)
    for moment in (1, 2, 3, 5, 8, 13, 1_000_000):
        calls = 0
        with local.opened(tmp_path / "f.h5", local.READ_WRITE) as fd:
            try:
                write_structure(fd, contents)
                assert calls < moment
            except KeyboardInterrupt:
                assert calls >= moment
            assert local.read_at(fd, len(payload), 4096) == payload
            if calls >= moment:
                os.ftruncate(fd, 4096 + len(payload))
                local.write_at(fd, [bytes(4096)], 0)
    assert (tmp_path / "f.h5").read_bytes() == whole
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
