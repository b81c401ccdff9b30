"""`celeiro.verify`: every flipped byte is found, and named by sample and key or by data set."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import celeiro
from celeiro.care.checking import samples as module
from celeiro.care.verify import verify
from celeiro.errors import FormatError, OptionError
from celeiro.format import layout
from celeiro.format.checksum import crc32c

if TYPE_CHECKING:
    from collections.abc import Callable

STORES = ("pixels", "jpeg", "lossless", "gzip", "encoded")


def rewrite(path: Path, change: Callable[[h5py.File], object]) -> Path:
    """Change a file as its owner would, with plain h5py."""
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def names(verdict) -> set[str]:
    return {finding.name for finding in verdict.findings}


def told(verdict) -> str:
    return "\n".join(f"{f.name} {f.sample} {f.problem}" for f in verdict.findings)


# Sound ones


@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize("store", STORES)
def test_a_fresh_file_is_sound(originals, store, decode):
    found = originals(store)
    verdict = verify(found.path, decode=decode, against=found.source)
    assert (verdict.sound, verdict.findings, verdict.remarks) == (True, (), ())
    assert (verdict.samples, verdict.checked, verdict.bad) == (7, 7, 0)
    assert verdict.store == ("lossless" if store == "gzip" else store)
    parts = found.places["imagens"] + found.places["fields/mask"]
    assert verdict.bytes_checked >= sum(size for _, size in parts)


@pytest.mark.parametrize("store", ["pixels", "lossless"])
@pytest.mark.parametrize("dtype", ["?", "u2", "i8", "f2", "f8", "c16"])
def test_arrays_of_any_type_without_keys_are_sound(tmp_path, store, dtype):
    celeiro.pack(np.arange(24).reshape(3, 8).astype(dtype), tmp_path / "a.h5", store=store)
    verdict = verify(tmp_path / "a.h5", decode=True)
    assert told(verdict) == ""
    assert verdict.remarks == ()


def test_the_golden_files_are_sound(subtests):
    for path in sorted(Path(__file__).parents[1].glob("golden/*.h5")):
        with subtests.test(path.name):
            verdict = verify(path, decode=True)
            assert told(verdict) == ""


def test_the_verdict_is_json(packed, flip):
    found = packed("jpeg")
    flip(found.path, found.places["imagens"][3][0] + 40)
    verdict = verify(found.path)
    read = json.loads(json.dumps(verdict.to_json()))
    assert read["sound"] is False
    assert read["path"] == str(found.path)
    assert read["findings"] == [
        {
            "name": "imagens",
            "problem": "its bytes are not those of its checksum",
            "sample": 3,
            "key": "long" * 9 + "3.jpg",
        }
    ]


# Every flip


@pytest.mark.parametrize("store", STORES)
@settings(max_examples=15)
@given(data=st.data())
def test_a_flip_anywhere_in_samples_or_columns_is_found(
    originals, tmp_path_factory, flip, store, data
):
    found = originals(store)
    name = data.draw(st.sampled_from(sorted(found.places)))
    part = data.draw(st.integers(0, len(found.places[name]) - 1))
    start, length = found.places[name][part]
    at = start + data.draw(st.integers(0, length - 1))
    path = tmp_path_factory.mktemp("flip") / "x.h5"
    shutil.copy(found.path, path)
    flip(path, at, 1 << data.draw(st.integers(0, 7)))
    verdict = verify(path)
    assert not verdict.sound
    assert name in names(verdict)
    if name in ("imagens", "fields/mask"):
        assert len(verdict.findings) == verdict.bad == 1
        assert verdict.findings[0].sample is not None
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("store", STORES)
def test_every_region_is_covered_by_one_flip_each(originals, tmp_path, flip, store, subtests):
    found = originals(store)
    for name, parts in found.places.items():
        with subtests.test(name):
            path = tmp_path / "x.h5"
            shutil.copy(found.path, path)
            start, length = parts[-1]
            flip(path, start + length - 1)
            assert name in names(verify(path))


@pytest.mark.parametrize("store", ["pixels", "jpeg"])
def test_a_flip_anywhere_is_harmless_or_found_and_never_more(originals, tmp_path, flip, store):
    """HDF5's own structures carry checksums; what no fault is told of reads as before."""
    found = originals(store)
    whole = found.path.read_bytes()
    rng = np.random.default_rng(0)
    with celeiro.open(found.path) as before:
        images, labels = before[:]
        keys = list(before.keys)
    for at in rng.integers(0, len(whole), 40).tolist():
        path = tmp_path / "x.h5"
        path.write_bytes(whole)
        flip(path, at)
        if verify(path).sound:
            with celeiro.open(path) as after:
                assert (after[:][0] == images).all()
                assert (after[:][1] == labels).all()
                assert list(after.keys) == keys


@pytest.mark.parametrize("store", STORES)
def test_a_file_that_was_cut_is_not_sound_and_says_what_may_help(originals, tmp_path, store):
    whole = originals(store).path.read_bytes()
    for share in (0, 10, 4000, len(whole) // 3, len(whole) - 1):
        path = tmp_path / "cut.h5"
        path.write_bytes(whole[:share])
        verdict = verify(path)
        assert not verdict.sound
        assert verdict.findings[0].name == "/"
        assert "celeiro salvage" in verdict.findings[0].problem


def test_all_damaged_samples_are_named_and_only_the_first_are_listed(tmp_path, flip):
    images = np.arange(300 * 12, dtype=np.uint8).reshape(300, 12)
    celeiro.pack(images, tmp_path / "a.h5")
    with (tmp_path / "a.h5").open("r+b") as file:
        file.seek(layout.PAYLOAD_OFFSET)
        file.write(bytes(images.nbytes))
    first = verify(tmp_path / "a.h5", most=10)
    assert (first.faults, first.bad, len(first.findings)) == (300, 300, 10)
    assert [f.sample for f in verify(tmp_path / "a.h5", most=None).findings] == list(range(300))
    assert verify(tmp_path / "a.h5").to_json()["faults"] == 300


def test_a_sample_with_a_damaged_picture_and_mask_counts_once(packed, flip):
    found = packed("encoded")
    for name in ("imagens", "fields/mask"):
        flip(found.path, found.places[name][0][0])
    verdict = verify(found.path)
    assert [(f.name, f.sample) for f in verdict.findings] == [("imagens", 0), ("fields/mask", 0)]
    assert verdict.bad == 1


def test_progress_goes_up_to_the_end_in_the_calling_thread(originals):
    seen: list[tuple[int, int | None]] = []
    verify(originals("jpeg").path, on_progress=lambda p: seen.append((p.done, p.total)))
    assert seen[-1] == (14, 14)  # pictures and masks


def test_large_samples_are_checked_in_pieces(tmp_path, flip, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 1000)
    images = np.random.default_rng(0).integers(0, 255, (3, 2500), np.uint8)
    celeiro.pack(images, tmp_path / "a.h5")
    assert verify(tmp_path / "a.h5").sound
    flip(tmp_path / "a.h5", layout.PAYLOAD_OFFSET + 2500 + 2499)
    assert [f.sample for f in verify(tmp_path / "a.h5").findings] == [1]


# What another program did


def test_labels_rewritten_with_h5py_are_told(packed):
    path = rewrite(packed("jpeg").path, lambda file: file["labels"].write_direct(np.ones(7, "i8")))
    verdict = verify(path)
    assert names(verdict) == {"labels"}
    assert "another program wrote to it" in told(verdict)


def test_a_row_rewritten_with_h5py_is_told_by_number(packed):
    def change(file):
        file["imagens"][4] = 7

    for store in ("pixels", "jpeg", "lossless"):
        path = rewrite(packed(store).path, change)
        assert [f.sample for f in verify(path).findings if f.sample is not None] == [4], store


def test_a_file_that_h5repack_rewrote_is_sound_and_remarked_on(packed, tmp_path):
    found = packed("jpeg")
    with h5py.File(found.path) as old, h5py.File(tmp_path / "new.h5", "w") as new:
        new.create_dataset("ballast", data=np.zeros(5000))
        for name in old:
            old.copy(name, new)
        for name, value in old.attrs.items():
            new.attrs.create(name, value, dtype=old.attrs.get_id(name).dtype)
    verdict = verify(tmp_path / "new.h5")
    assert verdict.sound, told(verdict)
    remarks = "\n".join(verdict.remarks)
    assert "celeiro/index is out of date" in remarks
    assert "superblock" in remarks
    assert "begins at byte" in remarks


def test_an_index_that_disagrees_with_hdf5_is_a_fault(packed):
    found = packed("jpeg")

    def swap(file):
        index = file[layout.INDEX]
        table = index[:]
        table[[1, 2]] = table[[2, 1]]
        index[:] = table
        index.attrs.modify(layout.ATTR_CRC, np.uint32(crc32c(table.data)))

    rewrite(found.path, swap)
    verdict = verify(found.path)
    assert names(verdict) == {layout.INDEX}
    assert "2 of 7 entries" in told(verdict)


def fixed(file: h5py.File, name: str, text: str) -> None:
    """Text of fixed length, as the format has it."""
    data = text.encode()
    file.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", len(data)))


def other_labels(file: h5py.File) -> None:
    del file["labels"]
    file["labels"] = np.arange(7)


STRUCTURE: list[tuple[str, Any, str, str]] = [
    ("pixels", lambda f: f.attrs.__setitem__("celeiro_format", 9), "/", "format version 9"),
    ("pixels", lambda f: f.attrs.__delitem__("celeiro_store"), "/", "celeiro_store"),
    ("pixels", lambda f: fixed(f, "celeiro_color", "XYZ"), "/", "colour order 'XYZ'"),
    ("pixels", lambda f: f.attrs.__setitem__("celeiro_color", "RGB"), "/", "fixed length"),
    ("pixels", lambda f: fixed(f, "celeiro_provenance", "[1]"), "/", "no JSON object"),
    ("pixels", lambda f: fixed(f, "celeiro_data", "nothing"), "/", "not there"),
    ("pixels", other_labels, "labels", "no checksum"),
    ("jpeg", lambda f: f.__delitem__("celeiro/crc32c"), "celeiro/crc32c", "not there"),
    ("jpeg", lambda f: f.__delitem__("celeiro/index"), "celeiro/index", "not there"),
    ("jpeg", lambda f: f["celeiro/index"].attrs.__delitem__("file_end"), "celeiro/index",
     "file_end"),
    ("encoded", lambda f: f.__delitem__("imagens_shapes"), "imagens_shapes", "not there"),
    ("pixels", lambda f: f["mean"].attrs.__delitem__("measured"), "mean", "measured"),
    ("pixels", lambda f: f.move("labels", "else") or f.__setitem__(
        "labels", h5py.SoftLink("/else")), "labels", "soft or external link"),
    ("jpeg", lambda f: f["imagens"].resize(8, 0) if f["imagens"].maxshape[0] is None
     else f.__setitem__("fields/age_offsets", np.zeros(3, "u8")), "fields/age_offsets", "shape"),
]  # fmt: skip


@pytest.mark.parametrize(("store", "change", "name", "text"), STRUCTURE)
def test_structure_that_the_page_forbids_is_told(packed, store, change, name, text):
    verdict = verify(rewrite(packed(store).path, change))
    assert not verdict.sound
    assert any(f.name == name and text in f.problem for f in verdict.findings), told(verdict)


def replaced(file: h5py.File, name: str, values: np.ndarray) -> None:
    """A column with other values and a checksum that is right for them."""
    old = dict(file[name].attrs) if name in file else {}
    if name in file:
        del file[name]
    made = file.create_dataset(name, data=values)
    for key, value in old.items():
        made.attrs[key] = value
    made.attrs[layout.ATTR_CRC] = np.uint32(
        crc32c(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    )


COLUMNS: list[tuple[str, str, np.ndarray, str]] = [
    ("pixels", "labels", np.zeros(6, np.int64), "its shape is (6,), wanted (7,)"),
    ("pixels", "labels", np.zeros(7, np.int32), "values of int32, wanted"),
    ("pixels", "labels", np.zeros(7, ">i8"), "big-endian"),
    ("pixels", "labels", np.full((7, 2), 3, np.uint8), "values from 3 to 3, wanted 0 to 1"),
    ("pixels", "splits/train", np.array([0, 9], np.uint64), "numbers of samples below 7"),
    ("pixels", "splits/train", np.array([2, 1], np.uint64), "each larger"),
    ("pixels", "splits/train", np.array([5, 6], np.uint64), "in another split"),
    ("pixels", "mean", np.zeros(2), "its shape is (2,), wanted (3,)"),
    ("pixels", "keys_offsets", np.zeros(8, np.uint64), "wanted 0 to"),
    ("pixels", "celeiro/crc32c", np.zeros(6, np.uint32), "its shape is (6,)"),
    ("pixels", "fields/boxes_offsets", np.arange(8, dtype=np.uint64), "wanted 0 to"),
    ("pixels", "fields/age", np.zeros(8), "its shape is (8,)"),
    ("pixels", "fields/x_shapes", np.zeros(7), "must not end so"),
    ("encoded", "imagens_orientations", np.full(7, 9, np.uint8), "values from 9 to 9"),
    ("encoded", "imagens_reencoded", np.full(7, 2, np.uint8), "values from 2 to 2"),
    ("encoded", "imagens_shapes", np.ones((6, 3), np.uint32), "its shape is (6, 3)"),
    ("encoded", "imagens_offsets", np.arange(8, dtype=np.uint64), "wanted 0 to"),
    ("jpeg", "celeiro/mask_crc32c", np.zeros(6, np.uint32), "its shape is (6,)"),
    ("jpeg", "celeiro/index", np.zeros((7, 3), np.uint64), "its shape is (7, 3)"),
]


@pytest.mark.parametrize(("store", "name", "values", "text"), COLUMNS)
def test_columns_that_contradict_the_samples_are_told(packed, store, name, values, text):
    path = rewrite(packed(store).path, lambda file: replaced(file, name, values))
    verdict = verify(path)
    wanted = [f for f in verdict.findings if text in f.problem]
    assert wanted, told(verdict)
    assert wanted[0].name.startswith(name.rpartition("/")[0])


def test_a_class_without_a_name_is_a_remark(packed):
    path = packed("pixels").path
    rewrite(path, lambda file: replaced(file, "labels", np.full(7, 5, np.int64)))
    verdict = verify(path)
    assert verdict.sound
    assert "labels: values from 5 to 5, wanted 0 to 1" in verdict.remarks


def test_filters_that_are_not_the_store_s_are_told(packed, tmp_path, subtests):
    found = packed("lossless")
    for options, text in [
        ({"compression": "gzip"}, "filters (1,), wanted"),
        ({"chunks": (2, 16, 20, 3), "compression": "gzip"}, "chunks (2, 16, 20, 3), wanted"),
        ({"compression": hdf5plugin.Blosc(cname="lz4", shuffle=2)}, "options"),
    ]:
        with subtests.test(text):
            path = tmp_path / "x.h5"
            shutil.copy(found.path, path)

            def change(file, options=options):
                values = file["imagens"][:]
                del file["imagens"]
                options = {"chunks": (1, 16, 20, 3)} | options
                file.create_dataset("imagens", data=values, **options)

            verdict = verify(rewrite(path, change))
            assert any(f.name == "imagens" and text in f.problem for f in verdict.findings)


def test_missing_chunks_and_filter_masks_are_told_by_sample(packed):
    def change(file):
        values = [file["imagens"].id.read_direct_chunk((i, 0, 0, 0)) for i in range(7)]
        plist = file["imagens"].id.get_create_plist()
        del file["imagens"]
        made = h5py.h5d.create(
            file.id, b"imagens", h5py.h5t.STD_U8LE, h5py.h5s.create_simple((7, 16, 20, 3)), plist
        )
        for number in (0, 1, 3, 4, 5, 6):
            mask = 1 if number == 4 else 0
            made.write_direct_chunk((number, 0, 0, 0), values[number][1], mask)

    verdict = verify(rewrite(packed("jpeg").path, change))
    problems = {f.sample: f.problem for f in verdict.findings if f.sample is not None}
    assert "never written" in problems[2]
    assert "went without a filter (mask 1)" in problems[4]
    assert set(problems) == {2, 4}


def test_a_checksum_that_is_right_for_bytes_that_do_not_decode_is_found_by_decoding(packed):
    found = packed("jpeg")
    start, length = found.places["imagens"][2]
    junk = np.random.default_rng(0).bytes(length)
    with found.path.open("r+b") as file:
        file.seek(start)
        file.write(junk)

    def mend(file):
        crcs = file[layout.CRC][:]
        crcs[2] = crc32c(junk)
        replaced(file, layout.CRC, crcs)

    rewrite(found.path, mend)
    assert not [f for f in verify(found.path).findings if f.sample == 2]
    deep = [f for f in verify(found.path, decode=True).findings if f.sample == 2]
    assert "does not decode" in deep[0].problem


def test_an_orientation_that_is_not_the_picture_s_is_found_by_decoding(packed):
    path = packed("encoded").path
    turns = np.array([1, 1, 1, 6, 1, 1, 1], np.uint8)
    rewrite(path, lambda file: replaced(file, "imagens_orientations", turns))
    assert verify(path).sound
    assert [f.sample for f in verify(path, decode=True).findings] == [3]


# Against the source


@pytest.mark.parametrize("store", STORES)
def test_a_picture_that_changed_since_is_named(originals, tmp_path, store):
    folder = tmp_path / "copy"
    shutil.copytree(originals(store).source.parent, folder)
    cv2.imwrite(str(folder / "4.jpg"), np.zeros((16, 20, 3), np.uint8))
    (folder / "6.jpg").unlink()
    cv2.imwrite(str(folder / "new.jpg"), np.zeros((16, 20, 3), np.uint8))
    source = folder if store != "encoded" else folder / "table.jsonl"
    verdict = verify(originals(store).path, against=source)
    assert {(f.sample, f.key) for f in verdict.findings} == {(4, "4.jpg"), (6, "6.jpg")}
    if store != "encoded":
        assert "not in the file" in "\n".join(verdict.remarks)


def test_pictures_that_were_shrunk_are_compared_by_presence(photo_folder, tmp_path):
    folder = photo_folder(4)
    celeiro.pack(folder, tmp_path / "a.h5", max_side=20)
    cv2.imwrite(str(folder / "cat.0.jpg"), np.zeros((40, 48, 3), np.uint8))
    assert verify(tmp_path / "a.h5", against=folder).sound
    (folder / "cat.0.jpg").unlink()
    assert [f.sample for f in verify(tmp_path / "a.h5", against=folder).findings] == [0]


def test_what_was_packed_from_arrays_has_no_source(tmp_path, photo_folder):
    celeiro.pack(np.zeros((3, 4, 4, 3), np.uint8), tmp_path / "a.h5")
    with pytest.raises(OptionError, match="from arrays"):
        verify(tmp_path / "a.h5", against=photo_folder(2))


def test_options_that_the_file_does_not_tell_are_said(packed):
    found = packed("pixels")
    rewrite(found.path, lambda file: fixed(file, "celeiro_provenance", "{}"))
    verdict = verify(found.path, against=found.source)
    assert verdict.sound
    assert "does not tell how it was packed" in "".join(verdict.remarks)


def test_other_versions_are_said_beside_differences(packed):
    found = packed("pixels")

    def change(file):
        told = json.loads(file.attrs["celeiro_provenance"])
        told["made_by"]["opencv"] = "1.0"
        fixed(file, "celeiro_provenance", json.dumps(told))

    verdict = verify(rewrite(found.path, change), against=found.source)
    assert verdict.sound
    assert "opencv 1.0 then" in "".join(verdict.remarks)


# Anybody's files


@pytest.fixture
def foreign(tmp_path):
    """A file of somebody else's, by a function that fills it."""

    def make(fill):
        path = tmp_path / "foreign.h5"
        with h5py.File(path, "w") as file:
            fill(file)
        return path

    return make


def test_a_foreign_file_is_decoded(foreign):
    def fill(file):
        images = np.random.default_rng(0).integers(0, 9, (50, 8, 8, 3), np.uint8)
        file.create_dataset("images", data=images, chunks=(8, 8, 4, 3), compression="gzip")
        file["labels"] = np.arange(50)
        file["names"] = [b"a", b"b"]

    verdict = verify(foreign(fill))
    found = (verdict.sound, verdict.store, verdict.samples, verdict.checked)
    assert found == (True, "hdf5", 50, 50)
    assert verdict.remarks == ("names: values of text, which are not looked at",)


def test_a_chunk_that_does_not_decode_is_told_with_its_samples(foreign, flip):
    def fill(file):
        images = np.random.default_rng(0).integers(0, 9, (50, 8, 8), np.uint8)
        file.create_dataset("images", data=images, chunks=(8, 8, 8), compression="gzip")

    path = foreign(fill)
    with h5py.File(path) as file:
        chunk = file["images"].id.get_chunk_info(3)
    flip(path, chunk.byte_offset + 9)
    verdict = verify(path)
    assert verdict.bad == 8
    assert [(f.name, f.sample) for f in verdict.findings] == [("images", 24)]
    assert "the chunk of samples 24 to 31" in verdict.findings[0].problem


def test_damage_beside_the_samples_is_told_by_data_set(foreign, flip):
    def fill(file):
        file["images"] = np.zeros((50, 8, 8), np.uint8)
        file.create_dataset("beside/y", data=np.arange(500), chunks=(50,), compression="gzip")

    path = foreign(fill)
    with h5py.File(path) as file:
        chunk = file["beside/y"].id.get_chunk_info(2)
    flip(path, chunk.byte_offset + 5)
    verdict = verify(path)
    assert names(verdict) == {"beside/y"}
    assert "row 100" in verdict.findings[0].problem
    assert verify(path, key="images").sound


def test_chunks_that_crash_hdf5_are_faults_and_no_crash(foreign):
    """A virtual data set is read by HDF5; its chunk claims to be smaller than it is."""

    def fill(file):
        made = file.create_dataset("inner", shape=(4, 100), dtype="u1", chunks=(1, 100),
                                   compression="gzip")  # fmt: skip
        import zlib

        for number in range(4):
            size = 100_000_000 if number == 2 else 100
            made.id.write_direct_chunk((number, 0), zlib.compress(bytes(size)))
        shown = h5py.VirtualLayout((4, 100), "u1")
        shown[:] = h5py.VirtualSource(made)
        file.create_virtual_dataset("images", shown)

    path = foreign(fill)
    code = f"from celeiro.care.verify import verify; print(verify({str(path)!r}).faults)"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) >= 1


def test_a_data_set_that_is_not_there_is_wrong_usage(foreign):
    path = foreign(lambda file: file.create_dataset("images", data=np.zeros((3, 4, 4))))
    with pytest.raises(OptionError, match="nothing"):
        verify(path, key="nothing")


def test_a_source_for_a_foreign_file_is_wrong_usage(foreign, photo_folder):
    path = foreign(lambda file: file.create_dataset("images", data=np.zeros((3, 4, 4))))
    with pytest.raises(OptionError, match="celeiro packed"):
        verify(path, against=photo_folder(2))


def test_huge_promises_cost_nothing(foreign):
    def fill(file):
        file.create_dataset("images", shape=(1 << 40, 64, 64), dtype="u1", chunks=(1, 64, 64))

    assert verify(foreign(fill)).sound


def test_circles_of_links_end(foreign):
    def fill(file):
        file["images"] = np.zeros((3, 4, 4), np.uint8)
        file["a/b/c"] = np.zeros(4)
        file["a/b/again"] = file["a"]
        file["soft"] = h5py.SoftLink("/images")

    verdict = verify(foreign(fill))
    assert verdict.sound
    assert "soft: a link to elsewhere, which is not followed" in verdict.remarks


# Wrong usage


def test_what_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FormatError, match="no such file"):
        verify(tmp_path / "none.h5")
    with pytest.raises(FormatError, match="a folder"):
        verify(tmp_path)


@pytest.mark.parametrize("options", [{"workers": 0}, {"most": -1}])
def test_options_that_mean_nothing_are_refused(originals, options):
    with pytest.raises(OptionError):
        verify(originals("pixels").path, **options)
