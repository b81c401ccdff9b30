"""`celeiro.salvage`: what is sound is kept as it was, and what is not is named."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import celeiro
from celeiro.care.rescuing import carve, mended
from celeiro.care.salvage import salvage
from celeiro.care.verify import verify
from celeiro.errors import CeleiroError, ExistsError, FormatError, OptionError
from celeiro.format import layout
from celeiro.storage.local import File

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STORES = ("pixels", "jpeg", "lossless", "gzip", "encoded")
MANY = 640


def damaged(path: Path, folder: Path, change: Callable[[bytearray], Any]) -> Path:
    """A damaged copy; `change` alters the bytes, or gives other ones."""
    data = bytearray(path.read_bytes())
    changed = change(data)
    made = folder / "broken.h5"
    made.write_bytes(data if changed is None else changed)
    return made


def stored(path: Path) -> dict[str, bytes]:
    """The stored bytes of every sample, by key."""
    with celeiro.open(path) as ds:
        samples, keys = ds._opened.contents.samples, ds.keys
        places = [samples.place(number) for number in range(len(ds))]
        data = path.read_bytes()
        names = [str(n) for n in range(len(ds))] if keys is None else list(keys)
    return {name: data[at : at + size] for name, (at, size) in zip(names, places, strict=True)}


def rows(path: Path) -> dict[str, tuple[Any, ...]]:
    """All that a file says of each sample, by key: pixels, label, split, fields, mask."""
    told = {}
    with celeiro.open(path) as ds:
        splits = {n: name for name in ds.splits for n in ds._opened.contents.splits[name]()}
        for number, key in enumerate(ds.keys):
            image, label = ds[number]
            told[key] = (
                image.tobytes(),
                ds.label_names[label] if ds.label_names and label is not None else label,
                splits.get(number),
                {
                    name: np.asarray(column[number]).tobytes()
                    if not isinstance(column[number], str)
                    else column[number]
                    for name, column in ds.fields.items()
                },
            )
    return told


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Enough small pictures that every column stands behind the samples, as in any real file."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    lines = []
    for number in range(MANY):
        kind = "png" if number % 9 == 4 else "jpg"
        name = f"{('cat', 'dog')[number % 2]}.{number}.{kind}"
        coarse = rng.integers(0, 256, (3, 3, 3), np.uint8)
        cv2.imwrite(str(folder / name), cv2.resize(coarse, (16, 16)))
        row = {"path": name, "label": ("cat", "dog")[number % 2], "age": number * 1.5}
        lines.append(json.dumps(row | {"split": ("train", "val")[number // 500]}))
    (folder / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    made: dict[str, Path] = {}

    def make(store: str) -> Path:
        if store not in made:
            path = folder / f"{store}.h5"
            options: dict[str, Any] = {} if store == "encoded" else {"size": 16}
            if store == "gzip":
                options["compressor"] = "gzip"
            kind = "lossless" if store == "gzip" else store
            celeiro.pack(folder / "t.jsonl", path, store=kind, **options)
            made[store] = path
        return made[store]

    return make


def payload_end(path: Path) -> int:
    with celeiro.open(path) as ds:
        at, size = ds._opened.contents.samples.place(len(ds) - 1)
    return at + size


# HDF5 opens it


@pytest.mark.parametrize("store", STORES)
def test_a_sound_file_comes_out_as_it_was(originals, tmp_path, store):
    path = originals(store).path
    saved = salvage(path, tmp_path / "out.h5")
    assert (saved.how, saved.samples, saved.kept, saved.faults) == ("read", 7, 7, 0)
    assert saved.remarks == ()
    assert rows(tmp_path / "out.h5") == rows(path)
    assert verify(tmp_path / "out.h5", decode=True).sound
    if store in ("jpeg", "encoded", "pixels"):
        assert stored(tmp_path / "out.h5") == stored(path)
    with h5py.File(path) as old, h5py.File(tmp_path / "out.h5") as new:
        assert sorted(old) == sorted(new)
        for name in ("mean", "std"):
            if name in old:
                assert (old[name][:] == new[name][:]).all()
                assert old[name].attrs["measured"] == new[name].attrs["measured"]


@pytest.mark.parametrize("store", STORES)
def test_damaged_samples_are_left_out_and_named(packed, flip, tmp_path, store):
    found = packed(store)
    whole = rows(found.path)
    places = sorted(found.places["imagens"])
    first = 4096 if store in ("pixels", "encoded") else places[0][0]
    flip(found.path, first + 30)
    before = hashlib.sha256(found.path.read_bytes()).digest()
    saved = salvage(found.path, tmp_path / "out.h5")
    assert (saved.how, saved.samples, saved.kept) == ("read", 7, 6)
    assert [(f.sample, f.key) for f in saved.findings] == [(0, "0.jpg")]
    kept = rows(tmp_path / "out.h5")
    assert kept == {key: row for key, row in whole.items() if key != "0.jpg"}
    assert verify(tmp_path / "out.h5", decode=True).sound
    assert hashlib.sha256(found.path.read_bytes()).digest() == before


@pytest.mark.parametrize("name", ["labels", "keys", "splits/val", "fields/age", "label_names"])
def test_a_damaged_column_is_lost_alone(packed, flip, tmp_path, name):
    found = packed("jpeg")
    flip(found.path, found.places[name][0][0])
    saved = salvage(found.path, tmp_path / "out.h5")
    assert saved.kept == 7
    assert name in {f.name for f in saved.findings}
    assert name not in saved.columns
    with celeiro.open(tmp_path / "out.h5") as ds:
        assert (ds.labels is None) == (name == "labels")
        assert (ds.keys is None) == (name == "keys")
        assert len(ds.read(range(7))) == 7


@pytest.mark.parametrize("store", STORES)
def test_without_checksums_what_decodes_is_kept(packed, flip, tmp_path, store):
    found = packed(store)
    flip(found.path, found.places[layout.CRC][0][0])
    saved = salvage(found.path, tmp_path / "out.h5")
    assert saved.kept == 7
    trusted = any("taken on trust" in remark for remark in saved.remarks)
    assert trusted == (store == "pixels")


def test_a_damaged_mask_takes_its_sample_along_and_says_so(packed, flip, tmp_path):
    found = packed("jpeg")
    flip(found.path, found.places["fields/mask"][2][0] + 20)
    saved = salvage(found.path, tmp_path / "out.h5")
    assert saved.kept == 6
    assert "for the loss of their masks" in saved.remarks[0]


def test_mean_and_deviation_are_of_what_is_kept(packed, flip, tmp_path):
    found = packed("pixels")
    flip(found.path, 4096 + 30)
    salvage(found.path, tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        images = file["imagens"][:].reshape(-1, 3)
        np.testing.assert_allclose(file["mean"][:], images.mean(0))
        np.testing.assert_allclose(file["std"][:], images.std(0))


# HDF5 refuses it


@pytest.mark.parametrize("store", ["pixels", "gzip", "encoded"])
@pytest.mark.parametrize(
    "harm",
    {
        "no superblock": lambda data: data.__setitem__(slice(0, 48), bytes(48)),
        "no root": lambda data: data.__setitem__(60, data[60] ^ 0xFF),
        "no last byte": lambda data: data[:-1],
        "marked as open": lambda data: data.__setitem__(11, 5),
    }.items(),
    ids=lambda harm: harm[0],
)
def test_a_lost_superblock_root_or_end_costs_nothing(many, tmp_path, store, harm):
    path = damaged(many(store), tmp_path, harm[1])
    with pytest.raises((OSError, RuntimeError)):
        len(h5py.File(path))
    saved = salvage(path, tmp_path / "out.h5")
    assert (saved.how, saved.samples, saved.kept) == ("mended", MANY, MANY)
    assert rows(tmp_path / "out.h5") == rows(many(store))
    assert verify(tmp_path / "out.h5").sound


@pytest.mark.parametrize("store", STORES)
def test_a_file_cut_in_the_samples_gives_those_before_the_cut(many, tmp_path, store):
    end = (layout.PAYLOAD_OFFSET + payload_end(many(store))) // 2
    path = damaged(many(store), tmp_path, lambda data: data[:end])
    saved = salvage(path, tmp_path / "out.h5")
    whole = list(stored(many(store)).values())
    kept = list(stored(tmp_path / "out.h5").values())
    assert 0.4 * MANY < saved.kept < 0.6 * MANY
    assert verify(tmp_path / "out.h5", decode=True).sound
    if store not in ("lossless", "gzip"):
        assert kept == whole[: saved.kept]
    with celeiro.open(many(store)) as old, celeiro.open(tmp_path / "out.h5") as new:
        for number in (0, saved.kept - 1):
            assert (old[number][0] == new[number][0]).all()


def test_columns_of_which_nothing_tells_the_name_become_fields(tmp_path):
    values = np.random.default_rng(0).random(600)
    celeiro.pack(np.zeros((600, 8, 8), np.uint8), tmp_path / "a.h5", labels=values)
    end = (tmp_path / "a.h5").stat().st_size - 1000  # the names
    path = damaged(tmp_path / "a.h5", tmp_path, lambda data: data[:end])
    saved = salvage(path, tmp_path / "out.h5")
    assert saved.kept == 600
    with celeiro.open(tmp_path / "out.h5") as ds:
        assert ds.labels is None
        assert (ds["unnamed 1"] == values).all()


@pytest.mark.parametrize("store", STORES)
def test_a_file_cut_behind_the_samples_keeps_all_of_them(many, tmp_path, store):
    whole = many(store).stat().st_size
    end = payload_end(many(store))
    images = {key: row[0] for key, row in rows(many(store)).items()}
    for share in (0.0, 0.4, 0.8):
        cut = int(end + share * (whole - end))
        path = damaged(many(store), tmp_path, lambda data, cut=cut: data[:cut])
        saved = salvage(path, tmp_path / "out.h5", overwrite=True)
        assert saved.kept == MANY, share
        with celeiro.open(tmp_path / "out.h5") as ds:
            if ds.keys is not None:  # then they are the right ones
                assert {key: ds[n][0].tobytes() for n, key in enumerate(ds.keys)} == images
            if ds.labels is not None and ds.keys is not None:
                names = [key.split(".")[0] for key in ds.keys]
                assert [("cat", "dog")[label] for label in ds.labels] == names


@pytest.mark.parametrize("store", ["jpeg", "encoded", "pixels"])
def test_without_the_first_page_samples_are_found_and_told_by_their_checksums(
    many, tmp_path, store
):
    end = payload_end(many(store))
    harmed = [4096 + (end - 4096) * part // 7 + 9 for part in range(1, 7)]

    def change(data):
        data[:4096] = bytes(4096)
        for at in harmed:
            data[at] ^= 0x55

    path = damaged(many(store), tmp_path, change)
    options = {"shape": (16, 16, 3)} if store == "pixels" else {}
    saved = salvage(path, tmp_path / "out.h5", **options)
    assert (saved.how, saved.samples, saved.kept) == ("carved", MANY, MANY - 6)
    assert saved.store == store
    lost = {f.key for f in saved.findings if f.sample is not None}
    before = rows(many(store))
    after = rows(tmp_path / "out.h5")
    assert len(lost) == 6
    assert set(after) == set(before) - lost
    assert all(after[key][0] == before[key][0] for key in after)
    assert all(after[key][3] == before[key][3] for key in after)
    if store != "pixels":
        whole = stored(many(store))
        assert stored(tmp_path / "out.h5") == {key: whole[key] for key in after}


def test_pixels_of_which_nothing_is_known_ask_for_their_shape(many, tmp_path):
    path = damaged(many("pixels"), tmp_path, lambda data: bytes(4096) + data[4096:])
    with pytest.raises(FormatError, match="--shape and --dtype"):
        salvage(path, tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_pixels_of_another_type_by_their_shape(tmp_path):
    images = np.random.default_rng(0).random((50, 6, 5)).astype(np.float32)
    celeiro.pack(images, tmp_path / "a.h5")
    path = damaged(tmp_path / "a.h5", tmp_path, lambda data: bytes(4096) + data[4096:5800])
    saved = salvage(path, tmp_path / "out.h5", shape=(6, 5), dtype="f4")
    with h5py.File(tmp_path / "out.h5") as file:
        assert (file["imagens"][:] == images[: saved.kept]).all()
    assert saved.kept == 1704 // 120


@pytest.mark.parametrize("store", ["pixels", "jpeg", "encoded"])
@settings(max_examples=8)
@given(data=st.data())
def test_whatever_the_damage_the_result_is_sound_or_there_is_none(
    originals, tmp_path_factory, store, data
):
    """Zeros, noise and cuts anywhere: an error or a sound file of samples that once were in it."""
    path = originals(store).path
    whole = path.read_bytes()
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole) - 1))
        size = data.draw(st.sampled_from([1, 50, 3000]))
        noise = data.draw(st.booleans())
        part = np.random.default_rng(at).bytes(size) if noise else bytes(size)
        broken[at : at + size] = part[: len(broken[at : at + size])]
    broken = broken[: data.draw(st.integers(len(whole) // 2, len(whole)))]
    folder = tmp_path_factory.mktemp("any")
    (folder / "x.h5").write_bytes(broken)
    try:
        saved = salvage(folder / "x.h5", folder / "out.h5")
    except CeleiroError:
        assert not (folder / "out.h5").exists()
    else:
        assert verify(folder / "out.h5", decode=True).sound
        if "keys" in saved.columns:
            found = rows(folder / "out.h5")
            assert found.keys() <= rows(path).keys()
            if "labels" in saved.columns:
                names = {0: 0, 1: 1, "cat": 0, "dog": 1}
                assert all(names[row[1]] == int(key[-5]) % 2 for key, row in found.items())
    shutil.rmtree(folder)


def test_a_picture_without_checksum_and_shape_must_decode(originals, tmp_path):
    # Zeros in the third JPEG, and a cut that takes checksums and shapes: found by the test above.
    broken = bytearray(originals("encoded").path.read_bytes())
    broken[6033:6083] = bytes(50)
    (tmp_path / "x.h5").write_bytes(broken[:13257])
    saved = salvage(tmp_path / "x.h5", tmp_path / "out.h5")
    assert saved.kept == 6
    assert verify(tmp_path / "out.h5", decode=True).sound


# The new file


def test_an_output_that_is_there_stays(originals, tmp_path):
    (tmp_path / "out.h5").write_text("mine")
    with pytest.raises(ExistsError):
        salvage(originals("jpeg").path, tmp_path / "out.h5")
    assert (tmp_path / "out.h5").read_text() == "mine"
    salvage(originals("jpeg").path, tmp_path / "out.h5", overwrite=True)
    assert verify(tmp_path / "out.h5").sound


def test_the_damaged_file_is_never_the_output(packed):
    path = packed("jpeg").path
    with pytest.raises(OptionError, match="the damaged file itself"):
        salvage(path, path, overwrite=True)


def test_a_file_of_somebody_else_s_is_sent_to_repack(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"] = np.zeros((4, 3, 3))
    with pytest.raises(OptionError, match="celeiro repack"):
        salvage(tmp_path / "x.h5", tmp_path / "out.h5")


@pytest.mark.parametrize("content", [b"", b"hello", bytes(10_000)])
def test_of_nothing_nothing_is_made(tmp_path, content):
    (tmp_path / "x.h5").write_bytes(content)
    with pytest.raises(FormatError):
        salvage(tmp_path / "x.h5", tmp_path / "out.h5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.h5"]


def test_progress_and_json(packed, tmp_path):
    seen = []
    saved = salvage(packed("jpeg").path, tmp_path / "o.h5", on_progress=lambda p: seen.append(1))
    assert seen
    told = json.loads(json.dumps(saved.to_json()))
    assert (told["kept"], told["how"], told["findings"]) == (7, "read", [])


def test_the_provenance_tells_where_it_comes_from(packed, flip, tmp_path):
    found = packed("jpeg")
    flip(found.path, found.places["imagens"][0][0] + 30)
    salvage(found.path, tmp_path / "out.h5")
    with celeiro.open(tmp_path / "out.h5") as ds:
        told = ds.provenance["salvaged_from"]
        assert (told["store"], told["samples"]) == ("jpeg", 7)
        assert told["options"]["quality"] == 90


# The parts


def test_the_superblock_is_byte_for_byte_hdf5_s(originals):
    data = originals("jpeg").path.read_bytes()
    assert mended.superblock(48, len(data)) == data[:48]


def test_headers_are_found_where_hdf5_put_them(originals):
    path = originals("encoded").path
    with h5py.File(path) as file:
        places = [h5py.h5o.get_info(file.id).addr]
        file.visititems(lambda _, item: places.append(h5py.h5o.get_info(item.id).addr))
    disk = File(path)
    assert sorted(places) == mended.find_headers(disk)[0]
    disk.close()


def pictures_of_every_kind() -> list[bytes]:
    image = np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8)
    kinds = [".jpg", ".png", ".webp", ".bmp", ".gif", ".tiff"]
    made = [cv2.imencode(kind, image)[1].tobytes() for kind in kinds]
    progressive = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    restarts = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_RST_INTERVAL, 1])[1].tobytes()
    return [*made, progressive, restarts, made[0] + b"more behind it", made[1]]


@pytest.mark.parametrize("known", [True, False], ids=["checksums", "no checksums"])
def test_pictures_of_every_kind_are_cut_where_they_end(tmp_path, known):
    wanted = pictures_of_every_kind()
    (tmp_path / "x").write_bytes(b"junk" + b"".join(wanted))
    disk = File(tmp_path / "x")
    crcs = [carve.crc32c(data) for data in wanted] if known else None
    found = list(carve.pieces(carve.Pictures(), disk, 0, disk.size, crcs=crcs))
    data = [disk.read(piece.length, piece.start) for piece in found]
    disk.close()
    if known:
        assert data == wanted
        # Equal files are told apart by their order.
        assert [piece.number for piece in found] == list(range(len(wanted)))
    else:
        assert data[:8] == wanted[:8]


def test_a_thumbnail_in_a_damaged_photograph_is_no_sample(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    small = cv2.imencode(".jpg", image[:8, :8])[1].tobytes()
    large = cv2.imencode(".jpg", image)[1].tobytes()
    exif = b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small
    photo = large[:2] + exif + large[2:]
    crcs = [carve.crc32c(photo), carve.crc32c(large)]
    broken = bytearray(photo)
    broken[-40] ^= 0xFF
    (tmp_path / "x").write_bytes(bytes(broken) + large)
    disk = File(tmp_path / "x")
    found = list(carve.pieces(carve.Pictures(), disk, 0, disk.size, crcs=crcs))
    disk.close()
    assert [piece.number for piece in found] == [1]


@given(noise=st.binary(max_size=300), start=st.sampled_from([b"\xff\xd8\xff\xe0", b"GIF89a", b""]))
def test_noise_is_walked_to_its_end(tmp_path_factory, noise, start):
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes(start + noise)
    disk = File(path)
    for walker in (carve.Pictures(), carve.BloscChunks(64), carve.ZlibChunks(64)):
        for piece in carve.pieces(walker, disk, 0, disk.size):
            assert 0 < piece.length <= disk.size - piece.start
    disk.close()
