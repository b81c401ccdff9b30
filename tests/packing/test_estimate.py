"""What a dry run promises is what packing keeps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import celeiro
from celeiro.format import layout
from celeiro.packing import estimate as module
from celeiro.packing import pack as packing
from celeiro.packing.estimate import estimate, forecast
from celeiro.packing.options import PackOptions


def job_of(source, store="pixels", **options):
    return packing.prepare(source, PackOptions(store, **options))


def of_store(told, store):
    return next(each for each in told.stores if each.store == store)


@pytest.mark.parametrize("total", [0, 1, 7, 1000, 1_000_003])
@pytest.mark.parametrize("sample", [1, 6, 200])
def test_a_sample_has_no_number_twice_and_reaches_everywhere(total, sample):
    chosen = module._spread(total, sample)
    assert len(chosen) == len(set(chosen)) == min(total, sample)
    assert all(0 <= number < total for number in chosen)


def test_any_beginning_of_a_sample_is_spread_evenly():
    chosen = module._spread(100_000, 200)
    for tried in (10, 25, 50, 120):
        begun = np.histogram(chosen[:tried], bins=5, range=(0, 100_000))[0]
        assert begun.min() >= tried / 5 - 2
        assert begun.max() <= tried / 5 + 2


def test_a_forecast_counts_what_the_source_holds(photo_folder):
    folder = photo_folder(8)
    (folder / "notes.txt").write_text("x")
    job = job_of(folder, size=(8, 8), split={"train": 0.5, "val": 0.5})
    told = forecast(job, workers=2)
    assert (told.pictures, told.ignored, told.labels_from) == (8, 1, "name")
    assert told.classes == {"cat": 4, "dog": 4}
    assert told.splits == {"train": 4, "val": 4}
    assert told.source_bytes == sum(path.stat().st_size for path in folder.glob("*.jpg"))
    assert [each.store for each in told.stores] == list(layout.STORES)
    assert told.store == "pixels"
    assert all(each.rate > 0 and each.seconds > 0 for each in told.stores)


def test_a_forecast_names_masks_boxes_and_fields(tmp_path):
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1])
    (tmp_path / "s.csv").write_text('path,mask,boxes,age\na.png,a.png,"[0,0,1,1]",3\n')
    told = forecast(job_of(tmp_path / "s.csv", size=(8, 8)), workers=1)
    assert told.fields == ("mask", "boxes", "age")


@pytest.mark.parametrize(
    ("store", "color"),
    [
        ("pixels", "RGB"),
        ("pixels", "BGR"),
        ("lossless", "GRAY"),
        ("jpeg", "GRAY"),
        ("jpeg", "RGB"),
        ("encoded", "RGB"),
    ],
)
def test_sizes_are_right_within_a_tenth(photo_folder, tmp_path, store, color):
    folder = photo_folder(60, size=(90, 120))
    told = forecast(job_of(folder, size=(64, 64), color=color), workers=2)
    size = None if store == "encoded" else 64
    report = celeiro.pack(folder, tmp_path / "o.h5", size=size, store=store, color=color)
    assert of_store(told, store).file_bytes == pytest.approx(report.file_bytes, rel=0.1)


def test_bad_pictures_are_named_in_order_and_not_counted_in_the_size(photo_folder):
    folder = photo_folder(20)
    whole = estimate(job_of(folder, size=(64, 64)), workers=2)
    for number in range(0, 20, 2):
        (folder / f"cat.{number}.jpg").write_bytes(b"")
    half = estimate(job_of(folder, size=(64, 64)), workers=2)
    assert [name for name, _ in half.bad] == sorted(f"cat.{n}.jpg" for n in range(0, 20, 2))
    assert half.bad[0][1] == "empty file: it has no bytes"
    assert half.sampled == 20
    assert half.file_bytes == pytest.approx(whole.file_bytes / 2, rel=0.2)


def test_nothing_good_is_no_size(photo_folder):
    folder = photo_folder(4)
    for path in folder.iterdir():
        path.write_bytes(b"<html>")
    told = estimate(job_of(folder, size=(8, 8)), workers=1)
    assert (told.file_bytes, told.rate, len(told.bad)) == (0, 0.0, 4)
    assert told.why_not == "no picture that was tried can be packed"


def test_pictures_of_many_sizes_need_one(photo_folder):
    folder = photo_folder(4)
    (folder / "dog.9.png").write_bytes(cv2.imencode(".png", np.zeros((9, 9), np.uint8))[1])
    told = forecast(job_of(folder, "encoded"), workers=1)
    for store in ("pixels", "jpeg", "lossless"):
        assert of_store(told, store).why_not.startswith("pictures of many sizes (40x48, 9x9, …)")
    assert not of_store(told, "encoded").why_not


def test_pictures_of_one_size_do_not_need_one(photo_folder):
    told = forecast(job_of(photo_folder(4), "encoded"), workers=1)
    assert [each.why_not for each in told.stores] == [""] * 4


def test_time_up_is_time_up(photo_folder, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    told = estimate(job_of(photo_folder(30), size=(8, 8)), workers=1, seconds=3)
    assert told.sampled == 4  # each a second by this clock
    assert told.rate == pytest.approx(4 / 5)  # and one more to look at it
    assert told.seconds == pytest.approx(30 * 5 / 4)


def test_a_forecast_lists_the_source_once(photo_folder, monkeypatch):
    job = job_of(photo_folder(4), size=(8, 8))
    monkeypatch.setattr(packing, "list_source", lambda *_, **__: pytest.fail("listed again"))
    forecast(job, workers=1)
