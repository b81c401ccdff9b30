"""`celeiro.pack` of folders: the file when all goes well, and the promises when it does not."""

from __future__ import annotations

import errno
import json
import os
import shutil
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cv2
import h5py
import hdf5plugin  # noqa: F401  (reads `lossless`)
import numpy as np
import pytest
import simplejpeg

import celeiro
from celeiro.errors import (
    BusyError,
    CeleiroError,
    ExistsError,
    OptionError,
    PictureError,
    ResumeError,
    SourceError,
    SpaceError,
)
from celeiro.packing import recipe
from celeiro.storage import local
from celeiro.storage.local import available_cores

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Nursery, PhotoFolder

STORES: dict[str, dict[str, Any]] = {
    "pixels": {"store": "pixels", "size": 16},
    "jpeg": {"store": "jpeg", "size": 16},
    "lossless": {"store": "lossless", "size": 16},
    "encoded": {},
}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.h5"


def work(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def names(out: Path) -> list[str]:
    with h5py.File(out) as file:
        if "keys_offsets" not in file:
            return [key.decode() for key in file["keys"][:]]
        blob, ends = file["keys"][:].tobytes(), file["keys_offsets"][:]
        return [blob[a:b].decode() for a, b in pairwise(ends)]


def interrupt(source: Path, out: Path, *, after: int, **options: Any) -> None:
    """Begin to pack, and stop by Ctrl-C after some pictures."""

    def stop(progress: celeiro.Progress) -> None:
        if progress.done >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        celeiro.pack(source, out, on_progress=stop, buffer_size=4, **options)


def spoil(picture: Path) -> None:
    picture.write_bytes(b"<html>not a picture</html>")


# What is in the file


@pytest.mark.parametrize("store", STORES)
def test_the_file_is_read_with_h5py_alone(store: str, photo_folder: PhotoFolder, out: Path) -> None:
    source = photo_folder(9)
    report = celeiro.pack(source, out, **STORES[store])
    paths = sorted(source.iterdir())
    assert names(out) == [p.name for p in paths]
    with h5py.File(out) as file:
        assert file["labels"][:].tolist() == [0] * 5 + [1] * 4
        assert file["label_names"][:].tolist() == [b"cat", b"dog"]
        data = file["imagens"]
        pictures = [cv2.imread(str(p))[..., ::-1] for p in paths]
        if store == "encoded":
            ends = file["imagens_offsets"][:]
            stored = [data[a:b].tobytes() for a, b in pairwise(ends)]
            assert stored == [p.read_bytes() for p in paths]
            assert file["imagens_shapes"][:].tolist() == [[40, 48, 3]] * 9
        else:
            wanted = np.stack(
                [cv2.resize(p, (16, 16), interpolation=cv2.INTER_AREA) for p in pictures]
            )
            apart = abs(data[:].astype(int) - wanted).max()
            assert apart <= (60 if store == "jpeg" else 0)
            np.testing.assert_allclose(file["mean"], wanted.mean(axis=(0, 1, 2)), rtol=1e-12)
            np.testing.assert_allclose(file["std"], wanted.std(axis=(0, 1, 2)), rtol=1e-9)
        assert ("mean" in file) == (store != "encoded")
    assert report.path == out
    assert report.samples == 9
    assert report.classes == {"cat": 5, "dog": 4}
    assert report.file_bytes == out.stat().st_size
    assert report.source_bytes == sum(p.stat().st_size for p in paths)
    assert json.loads(json.dumps(report.to_json()))["path"] == str(out)
    assert report.rate > 0


def test_statistics_are_of_what_a_reader_decodes_when_that_is_checked(
    photo_folder: PhotoFolder, out: Path
) -> None:
    celeiro.pack(photo_folder(5), out, store="jpeg", size=16, quality=20, check="decode")
    with h5py.File(out) as file:
        decoded = file["imagens"][:]
        np.testing.assert_allclose(file["mean"], decoded.mean(axis=(0, 1, 2)), rtol=1e-12)
        np.testing.assert_allclose(file["std"], decoded.std(axis=(0, 1, 2)), rtol=1e-9)
        assert file["mean"].attrs["measured"] == b"pixels as a reader decodes them"


def test_statistics_of_encoded_pictures_are_those_of_all_their_pixels(
    photo_folder: PhotoFolder, out: Path
) -> None:
    small = photo_folder(3, size=(9, 7), name="small", classes=())
    for path in photo_folder(2, size=(30, 20), name="large", classes=()).iterdir():
        shutil.copy(path, small / f"large {path.name}")
    celeiro.pack(small, out, check="decode")
    pixels = [
        simplejpeg.decode_jpeg(p.read_bytes()).reshape(-1, 3) for p in sorted(small.iterdir())
    ]
    with h5py.File(out) as file:
        np.testing.assert_allclose(file["mean"], np.concatenate(pixels).mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(file["std"], np.concatenate(pixels).std(axis=0), rtol=1e-9)


def test_the_same_pictures_packed_twice_elsewhere_give_the_same_bytes(
    photo_folder: PhotoFolder, tmp_path: Path
) -> None:
    source = photo_folder(7)
    moved = shutil.copytree(source, tmp_path / "moved")
    for name, folder in [("a.h5", source), ("b.h5", moved)]:
        celeiro.pack(folder, tmp_path / name, store="jpeg", size=16, workers=len(name))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


# Bad pictures


@pytest.mark.parametrize("store", STORES)
def test_the_first_bad_picture_stops_it_and_once_mended_it_goes_on(
    store: str, photo_folder: PhotoFolder, out: Path, tmp_path: Path
) -> None:
    source = photo_folder(30, classes=())
    celeiro.pack(source, tmp_path / "whole.h5", **STORES[store])
    order = sorted(source.iterdir())
    good, bad = order[17].read_bytes(), order[17]
    when = os.stat(bad)
    for path in (bad, order[25]):
        spoil(path)
    with pytest.raises(PictureError) as caught:
        celeiro.pack(source, out, workers=7, **STORES[store])
    message = str(caught.value)
    assert str(bad) in message
    assert "(17 of 30 done)" in message
    assert "--on-error skip" in message
    assert not out.exists()
    bad.write_bytes(good)
    os.utime(bad, ns=(when.st_atime_ns, when.st_mtime_ns))
    shutil.copy(tmp_path / "photos" / order[0].name, order[25])
    assert celeiro.pack(source, out, on_error="skip", **STORES[store]).resumed == 17
    assert len(names(out)) == 30


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("workers", [1, 7])
def test_bad_pictures_are_left_out_on_request_and_rows_close_up(
    store: str, workers: int, photo_folder: PhotoFolder, out: Path
) -> None:
    source = photo_folder(40, classes=("cat", "dog"))
    order = sorted(source.iterdir())
    bad = [order[i] for i in (0, 1, 17, 39)]
    for path in bad:
        spoil(path)
    report = celeiro.pack(
        source, out, on_error="skip", workers=workers, split={"a": 0.5, "b": 0.5}, **STORES[store]
    )
    assert [name for name, _ in report.refused] == [p.name for p in bad]
    assert all("not a picture" in reason for _, reason in report.refused)
    kept = [p for p in order if p not in bad]
    assert names(out) == [p.name for p in kept]
    assert report.samples == 36
    with h5py.File(out) as file:
        assert file["labels"][:].tolist() == [int(p.name.startswith("dog")) for p in kept]
        rows = sorted([*file["splits/a"][:].tolist(), *file["splits/b"][:].tolist()])
        assert rows == list(range(36))


def test_quarantine_copies_bad_pictures_with_their_reasons_and_moves_nothing(
    photo_folder: PhotoFolder, out: Path, tmp_path: Path
) -> None:
    source = photo_folder(10, flat=False)
    bad = [source / "cat/4.jpg", source / "dog/7.jpg"]
    for path in bad:
        spoil(path)
    report = celeiro.pack(source, out, quarantine=tmp_path / "bad", size=8)
    assert report.samples == 8
    for path in bad:
        aside = tmp_path / "bad" / path.relative_to(source)
        assert aside.read_bytes() == path.read_bytes()
    lines = (tmp_path / "bad/reasons.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == ["cat/4.jpg", "dog/7.jpg"]
    assert all(json.loads(line)["reason"] for line in lines)


def test_quarantine_never_leads_out_of_its_folder_nor_replaces_what_is_there(
    photo_folder: PhotoFolder, out: Path, tmp_path: Path
) -> None:
    photos = photo_folder(2, classes=())
    (tmp_path / "deep").mkdir()
    places = ["../up.jpg", "up.jpg", "./a/../up.jpg", str(tmp_path / "absolute.jpg")]
    for number, place in enumerate(places):
        path = tmp_path / "deep" / place
        path.parent.mkdir(exist_ok=True)
        (tmp_path / "deep/a").mkdir(exist_ok=True)
        path.write_bytes(b"bad" + bytes([number]))
    lines = [{"path": place} for place in [*places, str(photos / "0.jpg"), "missing.jpg"]]
    manifest = tmp_path / "deep/all.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    bad = tmp_path / "deep/bad"
    bad.mkdir()
    (bad / "up.jpg").write_bytes(b"mine")
    report = celeiro.pack(manifest, out, quarantine=bad, size=8)
    assert report.samples == 1
    assert len(report.refused) == 5
    assert (bad / "up.jpg").read_bytes() == b"mine"
    aside = {p.read_bytes() for p in bad.rglob("*") if p.is_file() and p.suffix == ".jpg"}
    assert aside == {b"mine", *(data for p, data in before.items() if data.startswith(b"bad"))}
    assert {p: p.read_bytes() for p in before} == before
    new = {p for p in tmp_path.rglob("*") if p.is_file()} - set(before) - {out}
    assert all(p.is_relative_to(bad) for p in new)


def test_quarantine_twice_copies_once(photo_folder: PhotoFolder, out: Path, tmp_path: Path) -> None:
    source = photo_folder(5, classes=())
    spoil(source / "3.jpg")
    for _ in range(2):
        celeiro.pack(source, out, quarantine=tmp_path / "bad", overwrite=True)
    assert sorted(os.listdir(tmp_path / "bad")) == ["3.jpg", "reasons.jsonl"]


def test_a_quarantine_in_the_source_or_on_a_file_is_refused_before_anything_is_done(
    photo_folder: PhotoFolder, out: Path, tmp_path: Path
) -> None:
    source = photo_folder(5)
    (tmp_path / "file").touch()
    for folder in (source, source / "bad", tmp_path / "file"):
        with pytest.raises(OptionError, match="quarantine"):
            celeiro.pack(source, out, quarantine=folder)
    assert not out.exists()


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_where_all_pictures_are_bad_it_says_so_and_leaves_nothing(
    store: str, on_error: Any, photo_folder: PhotoFolder, out: Path
) -> None:
    source = photo_folder(20)
    for path in source.iterdir():
        spoil(path)
    with pytest.raises(SourceError, match="not a picture"):
        celeiro.pack(source, out, on_error=on_error, **STORES[store])
    assert os.listdir(out.parent) == ["photos"]


def test_what_goes_wrong_beyond_pictures_tells_at_which_one(
    photo_folder: PhotoFolder, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = photo_folder(3, classes=())
    monkeypatch.setattr(recipe.resize, "apply", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError) as caught:
        celeiro.pack(source, out, size=8)
    assert caught.value.__notes__ == [f"while packing {source / '0.jpg'}"]


# Outputs


def test_an_existing_output_is_refused_before_the_source_is_looked_at(out: Path) -> None:
    out.write_bytes(b"mine")
    with pytest.raises(ExistsError, match="already exists"):
        celeiro.pack("no such folder", out)
    assert out.read_bytes() == b"mine"
    assert os.listdir(out.parent) == ["out.h5"]


def test_overwriting_reads_the_old_file_to_the_end(photo_folder: PhotoFolder, out: Path) -> None:
    out.write_bytes(b"old")
    seen = set()
    celeiro.pack(
        photo_folder(9), out, overwrite=True, on_progress=lambda p: seen.add(out.read_bytes())
    )
    assert seen == {b"old"}
    assert len(names(out)) == 9
    assert sorted(os.listdir(out.parent)) == ["out.h5", "photos"]


def test_a_killed_overwriting_leaves_the_old_file_and_goes_on(
    photo_folder: PhotoFolder, out: Path, tmp_path: Path, nursery: Nursery
) -> None:
    source = photo_folder(20)
    celeiro.pack(source, tmp_path / "whole.h5")
    out.write_bytes(b"old")
    code = """
    import celeiro
    celeiro.pack(source, out, overwrite=True, buffer_size=2,
                 on_progress=lambda p: p.done > 10 and kill())
    """
    assert nursery.run(code, source=source, out=out).killed
    assert out.read_bytes() == b"old"
    assert celeiro.pack(source, out, overwrite=True).resumed > 10
    assert out.read_bytes() == (tmp_path / "whole.h5").read_bytes()


@pytest.mark.parametrize("name", ["out.h5", "dog.h5", "ação.h5", b"caf\xe9.h5", "a b.partial"])
def test_the_output_may_stand_in_the_source_under_any_name(
    name: str | bytes, photo_folder: PhotoFolder, out: Path
) -> None:
    source = photo_folder(20)
    celeiro.pack(source, out)
    inside = source / os.fsdecode(name)
    interrupt(source, inside, after=10)
    report = celeiro.pack(source, inside)
    assert report.resumed >= 10
    assert inside.read_bytes() == out.read_bytes()
    assert len(os.listdir(source)) == 21


def test_packing_in_a_thread_is_packing(photo_folder: PhotoFolder, out: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    source = photo_folder(9)
    with ThreadPoolExecutor(3) as pool:
        outs = [out.with_name(f"{i}.h5") for i in range(3)]
        list(pool.map(lambda o: celeiro.pack(source, o, store="jpeg", size=8), outs))
    assert len({o.read_bytes() for o in outs}) == 1


@pytest.mark.parametrize("target", ["folder", "missing/out.h5", "file/out.h5"])
def test_a_target_that_cannot_be_is_told_and_nothing_is_left(
    target: str, photo_folder: PhotoFolder, tmp_path: Path
) -> None:
    source = photo_folder(3)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for overwrite in (False, True):
        with pytest.raises(CeleiroError, match=r"is a folder|does not exist"):
            celeiro.pack(source, tmp_path / target, overwrite=overwrite)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "photos"]


@pytest.mark.parametrize("source", ["missing", "empty", "junk", "file.txt"])
def test_a_source_without_pictures_is_told_and_nothing_is_left(source: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk/readme.txt").touch()
    (tmp_path / "file.txt").touch()
    with pytest.raises(SourceError):
        celeiro.pack(tmp_path / source, tmp_path / "out.h5")
    assert sorted(os.listdir(tmp_path)) == ["empty", "file.txt", "junk"]


def test_a_pipe_in_the_source_is_no_endless_wait(photo_folder: PhotoFolder, out: Path) -> None:
    source = photo_folder(3, classes=())
    os.mkfifo(source / "9.jpg")
    manifest = source / "all.csv"
    manifest.write_text("path\n0.jpg\n9.jpg\n")
    assert celeiro.pack(source, out).samples == 3
    with pytest.raises(SourceError, match=r"9\.jpg"):
        celeiro.pack(manifest, out, overwrite=True)


def test_pictures_that_cannot_be_read_are_bad_ones(
    photo_folder: PhotoFolder, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = photo_folder(5, classes=())
    read = local.read_file

    def broken(path: bytes, *hint: int) -> bytes:
        if path.endswith(b"3.jpg"):
            raise OSError(errno.EIO, "Input/output error")
        return read(path, *hint)

    monkeypatch.setattr(local, "read_file", broken)
    report = celeiro.pack(source, out, quarantine=tmp_path / "bad")
    assert report.refused == [("3.jpg", "cannot be read (Input/output error)")]
    assert os.listdir(tmp_path / "bad") == ["reasons.jsonl"]


# Going on


@pytest.mark.parametrize("store", STORES)
def test_ctrl_c_ends_the_threads_and_keeps_what_is_done(
    store: str, photo_folder: PhotoFolder, out: Path
) -> None:
    import threading

    source = photo_folder(60)
    interrupt(source, out, after=30, workers=2, **STORES[store])
    assert not [t for t in threading.enumerate() if t.name.startswith("celeiro-pack")]
    assert not out.exists()
    report = celeiro.pack(source, out, **STORES[store])
    assert report.resumed >= 30
    assert report.samples == 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 17}, r"size was \[16, 16\], is \[17, 17\]"),
        ({"resize": "crop"}, "resize was 'stretch', is 'crop'"),
        ({"color": "BGR"}, "color was 'RGB', is 'BGR'"),
        ({"store": "lossless"}, "store was 'pixels', is 'lossless'"),
        ({"key": "x"}, "key was 'imagens', is 'x'"),
        ({"shuffle": True}, "shuffle was False, is True"),
        ({"split": "a=0.5,b=0.5"}, "split was {}"),
        ({"max_pixels": 10**6}, "max_pixels was"),
        ({"labels": "none"}, "sources of .* changed"),
    ],
)
def test_changed_options_are_refused_by_name_and_fresh_starts_anew(
    change: dict[str, Any], message: str, photo_folder: PhotoFolder, out: Path
) -> None:
    source = photo_folder(20)
    interrupt(source, out, after=10, **STORES["pixels"])
    with pytest.raises(ResumeError, match=message) as caught:
        celeiro.pack(source, out, **STORES["pixels"] | change)
    assert "--fresh" in str(caught.value)
    report = celeiro.pack(source, out, fresh=True, **STORES["pixels"] | change)
    assert (report.resumed, report.samples) == (0, 20)


def touched(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def grown(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


@pytest.mark.parametrize(
    "change", [touched, grown, os.unlink, lambda p: p.rename(p.with_stem(f"{p.stem}~"))]
)
@pytest.mark.parametrize("store", ["pixels", "encoded"])
def test_a_source_that_changed_is_noticed_where_it_is_packed_already(
    store: str, change: Any, photo_folder: PhotoFolder, out: Path, tmp_path: Path
) -> None:
    source = photo_folder(40, classes=())
    order = sorted(source.iterdir())
    interrupt(source, out, after=20, **STORES[store])
    kept = shutil.copytree(work(out), tmp_path / "kept")
    # Behind what is packed: taken as it is now.
    change(order[-1])
    assert celeiro.pack(source, out, on_error="skip", **STORES[store]).resumed >= 20
    whole = tmp_path / "whole.h5"
    celeiro.pack(source, whole, on_error="skip", **STORES[store])
    assert out.read_bytes() == whole.read_bytes()
    # Within what is packed: refused, by the first that changed.
    out.unlink()
    kept.rename(work(out))
    change(order[3])
    with pytest.raises(ResumeError, match=r"the first change is at picture 4, now '.*'.*--fresh"):
        celeiro.pack(source, out, **STORES[store])
    assert celeiro.pack(source, out, fresh=True, on_error="skip", **STORES[store]).resumed == 0


def test_a_mask_or_a_box_that_changed_is_noticed_too(photo_folder: PhotoFolder, out: Path) -> None:
    source = photo_folder(20, classes=(), kind="png")
    lines = [{"path": f"{i}.png", "mask": f"{i}.png", "boxes": [[0, 0, i, i]]} for i in range(20)]
    manifest = source / "all.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    shutil.copy(source / "3.png", source / "mask.png")
    lines[3]["mask"] = "mask.png"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    interrupt(manifest, out, after=10, size=8)
    os.utime(source / "mask.png", ns=(1, 1))
    with pytest.raises(ResumeError, match="picture 4, now '3.png'"):
        celeiro.pack(manifest, out, size=8)
    lines[3]["boxes"] = [[0, 0, 3, 4]]
    manifest.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(ResumeError, match="picture 4, now '3.png'"):
        celeiro.pack(manifest, out, size=8)


def test_pictures_that_came_behind_what_is_packed_are_packed_too(
    photo_folder: PhotoFolder, out: Path
) -> None:
    source = photo_folder(20, classes=())
    interrupt(source, out, after=10)
    shutil.copy(source / "0.jpg", source / "zebra.jpg")
    assert celeiro.pack(source, out).samples == 21
    assert names(out)[-1] == "zebra.jpg"


def test_fewer_pictures_than_are_packed_is_a_change(photo_folder: PhotoFolder, out: Path) -> None:
    source = photo_folder(20, classes=())
    interrupt(source, out, after=15)
    for path in sorted(source.iterdir())[5:]:
        path.unlink()
    with pytest.raises(ResumeError, match="now 'the end'"):
        celeiro.pack(source, out)


def test_a_second_packer_is_refused_while_the_first_lives(
    photo_folder: PhotoFolder, out: Path, nursery: Nursery
) -> None:
    source = photo_folder(20)
    ends = []

    def another(progress: celeiro.Progress) -> None:
        if len(ends) < 2:
            code = "import celeiro; celeiro.pack(source, out, fresh=len(source) % 2 == 0)"
            ends.append(nursery.run(code, source=source, out=out))
            with pytest.raises(BusyError):
                celeiro.pack(source, out)

    celeiro.pack(source, out, on_progress=another, buffer_size=2)
    assert {end.error for end in ends} == {"BusyError"}
    assert all(isinstance(BusyError(end.message), BlockingIOError) for end in ends)
    assert len(names(out)) == 20


# Full disks


@pytest.mark.parametrize("store", STORES)
def test_a_full_disk_at_any_write_is_told_and_the_same_call_goes_on(
    store: str, photo_folder: PhotoFolder, out: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    source = photo_folder(6)
    celeiro.pack(source, tmp_path / "whole.h5", **STORES[store])
    write, left = local.write_at, 0

    def full(fd: int, buffers: Any, offset: int) -> int:
        nonlocal left
        left -= 1
        if left >= 0:
            return write(fd, buffers, offset)
        data = b"".join(bytes(memoryview(b).cast("B")) for b in buffers)
        write(fd, [data[: len(data) // 2]], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(local, "write_at", full)
    for times in range(100):
        left = times
        try:
            celeiro.pack(source, out, buffer_size=1, workers=2, **STORES[store])
        except SpaceError as error:
            assert "make room and give the same command again" in str(error)  # noqa: PT017
            assert not out.exists()
        else:
            break
    assert times > 10
    assert out.read_bytes() == (tmp_path / "whole.h5").read_bytes()


@pytest.mark.parametrize("store", STORES)
def test_a_limit_on_the_size_of_files_is_told_too(
    store: str, photo_folder: PhotoFolder, out: Path, tmp_path: Path, nursery: Nursery
) -> None:
    source = photo_folder(20)
    celeiro.pack(source, tmp_path / "whole.h5", **STORES[store])
    size = (tmp_path / "whole.h5").stat().st_size
    code = """
    import resource, signal, celeiro
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    celeiro.pack(source, out, buffer_size=4, **options)
    """
    for limit in (2000, 5000, size // 2, size - 1500, size - 1):
        end = nursery.run(code, source=source, out=out, options=STORES[store], limit=limit)
        assert end.error == "SpaceError", end.message
        assert not out.exists()
    celeiro.pack(source, out, **STORES[store])
    assert out.read_bytes() == (tmp_path / "whole.h5").read_bytes()


@pytest.mark.parametrize("store", STORES)
def test_free_space_is_compared_before_packing(
    store: str, photo_folder: PhotoFolder, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = photo_folder(9)
    monkeypatch.setattr(local, "free_bytes", lambda folder: 100)
    with pytest.raises(SpaceError, match=r"out\.h5 needs about .* are free"):
        celeiro.pack(source, out, **STORES[store])
    assert not out.exists()


# Progress, memory, options


@pytest.mark.parametrize("workers", [1, 3])
def test_progress_counts_up_to_the_end(workers: int, photo_folder: PhotoFolder, out: Path) -> None:
    source = photo_folder(23, classes=())
    spoil(source / "5.jpg")
    seen = []
    celeiro.pack(
        source, out, on_error="skip", workers=workers, buffer_size=6, size=8,
        on_progress=lambda p: seen.append((p.total, p.done, p.kept, p.bytes_done, len(p.refused))),
    )  # fmt: skip
    assert seen[0] == (23, 0, 0, 0, 0)
    assert seen[-1] == (23, 23, 22, 22 * 8 * 8 * 3, 1)
    assert seen == sorted(seen)


@pytest.mark.parametrize("options", [{"size": 32}, {}])
def test_peak_memory_does_not_grow_with_the_number_of_pictures(
    options: dict[str, Any], photo_folder: PhotoFolder, tmp_path: Path
) -> None:
    import tracemalloc

    peaks = []
    for n in (100, 800):
        source = photo_folder(1, name=f"{n}", classes=())
        for i in range(1, n):
            os.link(source / "0.jpg", source / f"{i}.jpg")
        tracemalloc.start()
        celeiro.pack(source, tmp_path / f"{n}.h5", buffer_size=50, workers=2, **options)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 700 * 500, "more than 500 bytes a picture"


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": "big"}, {"store": "zip"}, {"quality": 0}, {"on_error": "ignore"},
        {"on_error": "quarantine"}, {"split": "train"}, {"split": {"a": 0.4}}, {"seed": -1},
        {"workers": 0}, {"buffer_size": -1}, {"key": "labels"}, {"label_names": ["a"]},
        {"size": 8, "store": "encoded"}, {"max_side": 8, "store": "jpeg"}, {"labels": "magic"},
    ],
)  # fmt: skip
def test_wrong_options_are_refused_and_leave_nothing(
    wrong: dict[str, Any], photo_folder: PhotoFolder, out: Path
) -> None:
    source = photo_folder(3)
    with pytest.raises(OptionError):
        celeiro.pack(source, out, **wrong)
    assert os.listdir(out.parent) == ["photos"]


def test_workers_are_as_many_as_there_are_cores(
    photo_folder: PhotoFolder, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    in_order = celeiro.packing.job.in_order

    def spy(*args: Any, workers: int, **options: Any) -> Any:
        seen.append(workers)
        return in_order(*args, workers=workers, **options)

    monkeypatch.setattr(celeiro.packing.job, "in_order", spy)
    celeiro.pack(photo_folder(3), out)
    assert seen == [available_cores()]


def test_a_list_of_labels_for_a_folder_is_refused_with_the_choices(
    photo_folder: PhotoFolder, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="labels of type list for a folder"):
        celeiro.pack(photo_folder(2), tmp_path / "out.h5", labels=[0, 1])


def test_a_path_of_bytes_is_a_path(photo_folder: PhotoFolder, tmp_path: Path) -> None:
    report = celeiro.pack(os.fsencode(photo_folder(4)), tmp_path / "out.h5")
    assert report.samples == 4
