"""bfloat16 from end to end: packed, read by everybody, fed, looked after."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pyfive
import pytest
from crc32c import crc32c
from h5py import h5t

import celeiro
from celeiro.care.doctor import doctor
from celeiro.errors import (
    FormatError,
    OptionError,
    PictureError,
    ResumeError,
    RowError,
    SampleError,
)
from celeiro.format import bfloat16
from celeiro.packing import rows
from celeiro.packing.options import PackOptions
from celeiro.packing.rows import Kind, RowWriter
from celeiro.reading.info import describe

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

PAGE = (Path(__file__).parents[1] / "docs" / "format.md").read_text(encoding="utf-8")
H5DUMP = shutil.which("h5dump")
STORES = {
    "pixels": {"store": "pixels"},
    "zstd": {"store": "lossless"},
    "gzip": {"store": "lossless", "compressor": "gzip"},
}
SHAPE = (23, 37)


@pytest.fixture(scope="module")
def values() -> npt.NDArray[np.float32]:
    """Numbers of every size that bfloat16 holds, infinities, and such as are none."""
    rng = np.random.default_rng(0)
    made = bfloat16.values_of(rng.integers(0, 1 << 16, SHAPE).astype(np.uint16))
    made[0, :4] = [0.0, -0.0, np.inf, np.nan]
    return made


@pytest.fixture(scope="module")
def plain(values: npt.NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of float32."""
    out = tmp_path_factory.mktemp("plain") / "float32.h5"
    labels = np.arange(len(values)) % 3
    celeiro.pack(values, out, key="features", labels=labels, split={"train": 0.7, "val": 0.3})
    return out


@pytest.fixture(scope="module", params=STORES)
def packed(
    request: pytest.FixtureRequest, plain: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A file of bfloat16, in each store that holds it."""
    out = tmp_path_factory.mktemp("packed") / f"{request.param}.h5"
    celeiro.repack(plain, out, dtype="bfloat16", **STORES[request.param])
    return out


@pytest.fixture
def pixels(plain: Path, tmp_path: Path) -> Path:
    """One in store `pixels`, for who means to damage it."""
    celeiro.repack(plain, tmp_path / "pixels.h5", store="pixels", dtype="bfloat16")
    return tmp_path / "pixels.h5"


def same(found: Any, wanted: npt.NDArray[np.float32]) -> bool:
    """The same numbers and zeros; NaN is NaN."""
    return (
        found.dtype == np.float32
        and np.array_equal(found, wanted, equal_nan=True)
        and np.array_equal(np.signbit(found), np.signbit(wanted))
    )


def bits_of(values: npt.NDArray[np.float32]) -> bytes:
    """By hand, the first two bytes of each float32, of a NaN of this file's too."""
    return b"".join(struct.pack("<f", float(v))[2:] for v in values.reshape(-1))


# Who reads it


def test_plain_h5py_gives_float32(packed: Path, values: npt.NDArray[np.float32]) -> None:
    with h5py.File(packed) as file:
        assert same(file["features"][:], values)
        kind = file["features"].id.get_type()
    assert kind.get_fields() == (15, 7, 8, 0, 7)
    assert (kind.get_size(), kind.get_ebias(), kind.get_precision()) == (2, 127, 16)


def test_pixels_are_the_bits_from_byte_4096_on(
    pixels: Path, values: npt.NDArray[np.float32]
) -> None:
    with h5py.File(pixels) as file:
        assert file["features"].id.get_offset() == 4096
        crcs = file["celeiro/crc32c"][:]
    raw = pixels.read_bytes()[4096 : 4096 + 2 * values.size]
    numbers = ~np.isnan(values).reshape(-1)
    found, wanted = (np.frombuffer(b, "<u2") for b in (raw, bits_of(values)))
    assert np.array_equal(found[numbers], wanted[numbers])
    width = 2 * SHAPE[1]
    assert crcs.tolist() == [crc32c(raw[at : at + width]) for at in range(0, len(raw), width)]


@pytest.mark.skipif(H5DUMP is None, reason="h5dump is not installed (Debian: hdf5-tools)")
def test_h5dump_prints_values(pixels: Path, values: npt.NDArray[np.float32]) -> None:
    words = [str(H5DUMP), "-d", "/features", "-m", "%.17g", "-y", "-w", "0", str(pixels)]
    text = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    kind = re.search(r"DATATYPE +(.*)", text)
    assert kind is not None
    assert kind[1] in PAGE
    found = re.search(r"DATA \{(.*?)\}", text, re.DOTALL)
    assert found is not None
    numbers = np.array([float(word) for word in found[1].replace(",", " ").split()], np.float32)
    # The sign of a NaN is nobody's business.
    assert np.array_equal(numbers, values.reshape(-1), equal_nan=True)


@pytest.mark.xfail(strict=True, reason="pyfive 1.3 takes every float of 16 bits for float16")
def test_pyfive_gives_the_values(pixels: Path, values: npt.NDArray[np.float32]) -> None:
    with pyfive.File(pixels) as file:
        found = np.asarray(file["features"][:], np.float32)
    assert np.array_equal(found, values, equal_nan=True)


@pytest.mark.parametrize("cache", [None, "memory"])
@pytest.mark.parametrize("verify", [None, True, False])
def test_celeiro_gives_float32_without_hdf5(
    packed: Path,
    values: npt.NDArray[np.float32],
    cache: Any,
    verify: bool | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with celeiro.open(packed, cache=cache, verify=verify) as ds:
        assert (ds.shape, ds.dtype, ds.stored_dtype) == (SHAPE, np.float32, "bfloat16")
        assert same(ds.read(range(len(ds))), values)
        assert same(ds[5][0], values[5])
        val = ds.split("val")
        assert same(val.read(range(len(val))), values[val.rows])
        assert not ds.is_raw
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_loader_gives_float32(packed: Path, values: npt.NDArray[np.float32]) -> None:
    with celeiro.open(packed) as ds:
        found = {}
        for images, labels in celeiro.Loader(ds.select(range(20)), batch_size=6, seed=1):
            assert images.dtype == np.float32
            for image, label in zip(images, labels, strict=True):
                found[image.tobytes()] = int(label)
    # A NaN may be another by now.
    assert found == {bfloat16.rounded(values[i]).tobytes(): i % 3 for i in range(20)}


def test_channels_can_be_turned_round(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), np.uint8)
    celeiro.pack(pictures, tmp_path / "u1.h5")
    celeiro.repack(tmp_path / "u1.h5", tmp_path / "a.h5", store="pixels", dtype="bfloat16")
    with celeiro.open(tmp_path / "a.h5", color="BGR") as ds:
        assert ds.stored_dtype == "bfloat16"
        assert np.array_equal(ds.read(range(4)), pictures[..., ::-1])


def test_info_names_the_type(packed: Path) -> None:
    told = describe(packed)
    kinds = {data["name"]: data["dtype"] for data in told["data_sets"]}
    assert (told["dtype"], kinds["features"]) == ("bfloat16", "bfloat16")
    assert told["raw_bytes"] == 2 * SHAPE[0] * SHAPE[1]


# Who writes it


@pytest.mark.parametrize("name", STORES)
def test_repacked_it_stays_what_it_is(
    name: str, pixels: Path, values: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    report = celeiro.repack(pixels, tmp_path / "again.h5", **STORES[name])
    assert report.dtype == "bfloat16"
    assert report.raw_bytes == 2 * values.size
    with celeiro.open(tmp_path / "again.h5") as ds:
        assert ds.stored_dtype == "bfloat16"
        assert same(ds.read(range(len(ds))), values)
        assert "repack" not in ds.provenance


def test_repacked_to_float32_it_holds_the_same_values(
    pixels: Path, values: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    assert celeiro.repack(pixels, tmp_path / "f4.h5", store="pixels", dtype="f4").dtype == "float32"
    with celeiro.open(tmp_path / "f4.h5") as ds:
        assert ds.stored_dtype == "float32"
        assert ds.is_raw
        assert same(ds.read(range(len(ds))), values)


@pytest.mark.parametrize("value", [0.1, 257.0, 3.4e38])
def test_repack_rounds_nothing_and_names_the_sample(value: float, tmp_path: Path) -> None:
    given = np.ones((5, 2), np.float32)
    given[3, 1] = value
    celeiro.pack(given, tmp_path / "a.h5")
    said = rf"sample 3: its value {re.escape(str(float(np.float32(value))))} is none of bfloat16"
    with pytest.raises(PictureError, match=said):
        celeiro.repack(tmp_path / "a.h5", tmp_path / "b.h5", store="pixels", dtype="bfloat16")


def test_products_are_rounded_as_products_of_floats_are(tmp_path: Path) -> None:
    given = np.arange(256, dtype=np.uint8).reshape(16, 16)
    celeiro.pack(given, tmp_path / "a.h5")
    celeiro.repack(
        tmp_path / "a.h5", tmp_path / "b.h5", store="pixels", dtype="bfloat16", scale=1 / 255
    )
    with celeiro.open(tmp_path / "b.h5") as ds:
        assert same(ds.read(range(16)), bfloat16.rounded(given * (1 / 255)))


def test_a_product_that_overflows_is_an_error(tmp_path: Path) -> None:
    celeiro.pack(np.full((2, 2), 3e38, np.float32), tmp_path / "a.h5")
    with pytest.raises(PictureError, match=r"sample 0: scaled by 2, .* none of bfloat16"):
        celeiro.repack(
            tmp_path / "a.h5", tmp_path / "b.h5", store="pixels", dtype="bfloat16", scale=2.0
        )


@pytest.mark.parametrize("store", ["jpeg", "encoded"])
def test_stores_of_pictures_refuse_it(store: Any, plain: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError):
        celeiro.repack(plain, tmp_path / "a.h5", store=store, dtype="bfloat16")
    assert not (tmp_path / "a.h5").exists()


def test_what_is_resized_is_rounded_and_measured_so(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 9, 9, 3), np.uint8)
    celeiro.pack(pictures, tmp_path / "u1.h5")
    celeiro.repack(tmp_path / "u1.h5", tmp_path / "a.h5", store="pixels", size=6, dtype="bfloat16")
    with celeiro.open(tmp_path / "a.h5") as ds:
        found = ds.read(range(3))
        assert ds.mean is not None
        assert np.allclose(ds.mean, found.mean((0, 1, 2)), rtol=1e-6)
    assert bfloat16.first_inexact(found) is None
    assert celeiro.verify(tmp_path / "a.h5").faults == 0


def test_work_begun_with_another_type_is_not_gone_on_with(plain: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(progress: Any) -> None:
        if progress.done:
            raise Stop

    out = tmp_path / "a.h5"
    with pytest.raises(Stop):
        celeiro.repack(
            plain, out, store="pixels", dtype="bfloat16", workers=1, buffer_size=4, on_progress=stop
        )
    with pytest.raises(ResumeError, match="bfloat16"):
        celeiro.repack(plain, out, store="pixels")
    celeiro.repack(plain, out, store="pixels", dtype="bfloat16")
    celeiro.repack(plain, tmp_path / "b.h5", store="pixels", dtype="bfloat16")
    assert out.read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize("name", STORES)
def test_arrays_of_ml_dtypes_are_packed_as_they_are(
    name: str, values: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    given = bfloat16.bits_of(values).view(ml_dtypes.bfloat16)
    report = celeiro.pack(given, tmp_path / "a.h5", shuffle=True, seed=3, **STORES[name])
    assert report.dtype == "bfloat16"
    with celeiro.open(tmp_path / "a.h5") as ds:
        order = np.lexsort(bfloat16.bits_of(ds.read(range(len(ds)))).T)
        assert same(ds.read(order), values[np.lexsort(bfloat16.bits_of(values).T)])
    assert celeiro.verify(tmp_path / "a.h5").faults == 0


def test_pictures_of_ml_dtypes_can_be_resized(tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    given = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(ml_dtypes.bfloat16)
    assert celeiro.pack(given, tmp_path / "a.h5", size=5).dtype == "bfloat16"
    with celeiro.open(tmp_path / "a.h5") as ds:
        assert ds.shape == (3, 5, 5, 3)
        assert ds.stored_dtype == "bfloat16"


def test_the_articles_class_takes_rows_of_ml_dtypes(
    values: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    given = bfloat16.bits_of(values).view(ml_dtypes.bfloat16)
    out = tmp_path / "a.h5"
    writer = celeiro.HDF5Dataset(SHAPE, out, data_key="features", buffer_size=5)
    writer.add(given[:9], [0] * 9)
    assert writer.db["features"].dtype == np.float32
    assert same(np.asarray(writer.db["features"][2]), values[2])
    writer.add(given[9:], [1] * (len(given) - 9))
    writer.close()
    with h5py.File(out) as file:
        assert bfloat16.is_stored(file["features"])
        assert same(file["features"][:], values)


# Rows, one after the other


def written(tmp_path: Path, given: Any, **how: Any) -> Path:
    """A file of `given` rows, with the type asked for."""
    out = tmp_path / "rows.h5"
    kind = Kind(given[0].shape, bfloat16.BFLOAT16)
    writer = RowWriter(out, PackOptions(store="pixels", **how), kind, total=len(given))
    try:
        writer.check_space()
        writer.write(((row, None) for row in given), workers=1)
        assert same(writer.read([0])[0], np.asarray(given[0], np.float32))
        writer.publish()
    finally:
        writer.close()
    return out


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f4", "f8"])
def test_floats_that_it_holds_are_rows_of_it(dtype: str, tmp_path: Path) -> None:
    given = [np.array([1, -2.5, 0.75], dtype), np.array([256, 0, np.inf], dtype)]
    with celeiro.open(written(tmp_path, given)) as ds:
        assert ds.stored_dtype == "bfloat16"
        assert np.array_equal(ds.read([0, 1]), np.array(given, np.float32))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (np.array([1, 0.1], np.float32), r"its value 0\.1.* at \(1,\) is none of bfloat16; round"),
        (np.array([1, 1e39]), r"its value 1e\+39 at \(1,\) is none of bfloat16"),
        (np.array([1, 2]), "its dtype is int64, wanted bfloat16, or floats that it holds"),
    ],
)
def test_rows_are_not_rounded(row: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(RowError, match=f"row 1: {said}"):
        written(tmp_path, [np.ones(2, np.float32), row])


def test_its_rows_take_half_the_space(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[int] = []
    monkeypatch.setattr(rows.Work, "check_space", lambda _, need: asked.append(need))
    written(tmp_path, [np.ones(8, np.float32)] * 3)
    assert asked == [3 * 8 * 2]


# Looking after it


def test_a_sound_file_is_found_sound(packed: Path) -> None:
    verdict = celeiro.verify(packed)
    assert (verdict.faults, verdict.checked) == (0, SHAPE[0])


def test_a_bit_that_turned_is_found(pixels: Path) -> None:
    data = bytearray(pixels.read_bytes())
    data[4096 + 2 * SHAPE[1] * 7 + 5] ^= 1
    pixels.write_bytes(data)
    assert [finding.sample for finding in celeiro.verify(pixels).findings] == [7]
    with celeiro.open(pixels, verify=True) as ds, pytest.raises(SampleError):
        ds.read([6, 7])


def test_what_is_left_of_a_damaged_file_is_kept(
    packed: Path, values: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    data = bytearray(packed.read_bytes())
    with celeiro.open(packed) as ds:
        offset, _ = ds._opened.contents.samples.place(4)  # type: ignore[attr-defined]
    data[offset + 20] ^= 0xFF
    data[:8] = bytes(8)  # HDF5 does not open it any more
    (tmp_path / "broken.h5").write_bytes(data)
    saved = celeiro.salvage(tmp_path / "broken.h5", tmp_path / "saved.h5")
    assert saved.kept == SHAPE[0] - 1
    with celeiro.open(tmp_path / "saved.h5", verify=True) as ds:
        assert ds.stored_dtype == "bfloat16"
        assert same(ds.read(range(len(ds))), np.delete(values, 4, 0))


def test_rows_are_cut_out_where_their_header_is_lost(
    pixels: Path, values: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    data = bytearray(pixels.read_bytes())[: 4096 + 2 * values.size]
    data[:4096] = bytes(4096)
    (tmp_path / "broken.h5").write_bytes(data)
    saved = celeiro.salvage(
        tmp_path / "broken.h5", tmp_path / "saved.h5", shape=SHAPE[1:], dtype="bfloat16"
    )
    assert saved.kept == SHAPE[0]
    with celeiro.open(tmp_path / "saved.h5") as ds:
        assert ds.stored_dtype == "bfloat16"
        assert same(ds.read(range(len(ds))), values)


def foreign(path: Path, values: Any, **options: Any) -> Path:
    with h5py.File(path, "w") as file:
        kind = h5py.Datatype(bfloat16.h5_type())
        file.create_dataset("x", values.shape, kind, **options)[...] = values
    return path


@pytest.mark.parametrize("chunks", [None, (1, 64), (50, 64)])
def test_the_doctor_knows_it(chunks: Any, tmp_path: Path) -> None:
    given = np.random.default_rng(0).normal(size=(200, 64)).astype(np.float32)
    found = doctor(foreign(tmp_path / "a.h5", given, chunks=chunks), seconds=0.01)
    assert found.dtype == "bfloat16"
    assert found.layout.asks_hdf5 is None
    assert found.layout.raw_bytes == 200 * 64 * 2
    assert found.layout.plain == (chunks is None)
    assert found.values is not None
    assert (found.values.dtype, found.values.fits) == ("bfloat16", None)
    pixels = next(cost for cost in found.stores if cost.way == "pixels")
    assert pixels.file_bytes < 200 * 64 * 2 + 200 * 48 + 4097  # as bfloat16, and not as float32


def test_the_doctor_does_not_take_rounded_values_for_255ths(tmp_path: Path) -> None:
    given = np.random.default_rng(0).integers(0, 256, (20, 64)) / 255
    found = doctor(foreign(tmp_path / "a.h5", given.astype(np.float32)), seconds=0.01)
    assert found.values is not None
    assert found.values.fits is None


def test_the_doctor_tells_what_a_smaller_type_saves(tmp_path: Path) -> None:
    given = np.random.default_rng(0).integers(0, 256, (20, 64)).astype(np.float32)
    found = doctor(foreign(tmp_path / "a.h5", given), seconds=0.01)
    assert found.values is not None
    assert found.values.fits == "uint8"
    assert any("bfloat16 holds whole numbers that uint8 would hold in 50 %" in f
               for f in found.findings)  # fmt: skip
    given += 300  # which take 16 bits either way
    found = doctor(foreign(tmp_path / "b.h5", bfloat16.rounded(given)), seconds=0.01)
    assert found.values is not None
    assert found.values.fits is None


def test_the_bench_measures_it(packed: Path) -> None:
    found = celeiro.bench(packed, batch_size=8, seconds=0.1)
    assert found.dtype == "bfloat16"
    assert "decode" in [each.stage for each in found.orders[0].ceilings]
    assert not [note for note in found.notes if "no bare reading" in note]


# Types that claim to be it


def like(change: Callable[[Any], None]) -> h5t.TypeID:
    made = bfloat16.h5_type().copy()
    change(made)
    return made


OTHERS = {
    "bias": like(lambda kind: kind.set_ebias(126)),
    "mantissa": like(lambda kind: kind.set_fields(15, 8, 7, 0, 8)),
    "no leading one": like(lambda kind: kind.set_norm(h5t.NORM_NONE)),
    "offset": like(lambda kind: (kind.set_fields(14, 6, 8, 0, 6), kind.set_precision(15))),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_of_ours_with_another_type_is_refused(
    name: str, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bfloat16, "h5_type", lambda: OTHERS[name])
    celeiro.repack(plain, tmp_path / "a.h5", store="pixels", dtype="bfloat16")
    monkeypatch.undo()
    with pytest.raises(FormatError, match="of a type that the format does not hold"):
        celeiro.open(tmp_path / "a.h5")
    assert "the format does not hold" in celeiro.verify(tmp_path / "a.h5").findings[0].problem


@pytest.mark.parametrize("name", OTHERS)
def test_another_type_of_anybody_is_read_as_hdf5_reads_it(name: str, tmp_path: Path) -> None:
    given = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", given.shape, h5py.Datatype(OTHERS[name]))[...] = given
        expected = file["x"][:]
    with celeiro.open(tmp_path / "a.h5") as ds:
        found = ds.read(range(5))
    assert np.array_equal(found, expected.astype(found.dtype))


@pytest.mark.parametrize("name", OTHERS)
def test_a_column_of_another_type_is_refused_checked_or_not(name: str, pixels: Path) -> None:
    with h5py.File(pixels, "r+") as file:
        del file["labels"]
        kind = h5py.Datatype(OTHERS[name])
        file.create_dataset("labels", (SHAPE[0],), kind)[...] = 1
        file["labels"].attrs["crc32c"] = np.uint32(0)
    for verify in (None, False):
        with pytest.raises(FormatError, match="'labels' are of a type that the format does not"):
            celeiro.open(pixels, verify=verify)


@pytest.mark.parametrize("layout", ["contiguous", "compact"])
def test_a_column_of_it_is_read(layout: str, pixels: Path) -> None:
    given = np.arange(SHAPE[0], dtype=np.float32) / 4
    with h5py.File(pixels, "r+") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        if layout == "compact":
            plist.set_layout(h5py.h5d.COMPACT)
        file.require_group("fields")
        space = h5py.h5s.create_simple(given.shape)
        made = h5py.h5d.create(file.id, b"fields/depth", bfloat16.h5_type(), space, plist)
        h5py.Dataset(made)[...] = given
        bits = bfloat16.bits_of(given).astype("<u2").tobytes()
        h5py.Dataset(made).attrs["crc32c"] = np.uint32(crc32c(bits))
    with celeiro.open(pixels) as ds:
        assert ds["depth"].dtype == np.float32
        assert np.array_equal(ds["depth"], given)


def test_masks_of_it_are_refused(plain: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    celeiro.repack(plain, path, store="lossless", compressor="gzip")
    with h5py.File(path, "r+") as file:
        kind = h5py.Datatype(bfloat16.h5_type())
        file.create_dataset(
            "fields/mask", SHAPE, kind, chunks=(1, SHAPE[1]), compression="gzip", shuffle=True
        )[...] = 1
        for name in ("crc32c", "index"):
            file.copy(f"celeiro/{name}", f"celeiro/mask_{name}")
    with pytest.raises(FormatError, match="'fields/mask' are no masks"):
        celeiro.open(path)
    assert any("which no mask has" in f.problem for f in celeiro.verify(path).findings)
