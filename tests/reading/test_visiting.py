"""Samples one after the other are the samples that reading gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import celeiro
from celeiro.errors import SampleError
from celeiro.format import baseline
from celeiro.reading.samples.visiting import Part

if TYPE_CHECKING:
    from pathlib import Path

WANTED = [7, 0, 3, 3, -1, 9]


def visited(ds: celeiro.Dataset, wanted: Any, parts: Any = None) -> dict[int, Any]:
    found: dict[int, Any] = {}

    def work(at: int, sample: Any, factor: int) -> None:
        assert at not in found
        found[at] = (sample.copy(), factor)

    ds.visit(wanted, work, parts)
    return found


@pytest.mark.parametrize("cache", [None, "memory"])
def test_visited_samples_are_those_that_are_read(path: Path, cache: Any) -> None:
    with celeiro.open(path, cache=cache) as ds:
        if ds.cache is not None:
            assert ds.cache.wait()
        for view in (ds, ds.select(np.arange(10)[::-1])):
            found = visited(view, WANTED)
            assert sorted(found) == list(range(len(WANTED)))
            for at, image in enumerate(view.read(WANTED)):
                np.testing.assert_array_equal(found[at][0], image, strict=True)
                assert found[at][1] == 1


def test_a_part_of_a_picture_is_its_top(packed: dict[str, Path]) -> None:
    with celeiro.open(packed["encoded"]) as ds:
        found = visited(ds, range(10), [Part(9)] * 10)
        for at, image in enumerate(ds.read(range(10))):
            part, factor = found[at]
            assert factor == 1
            np.testing.assert_array_equal(part[:9], image[:9], strict=True)
        rows = 16 if baseline.compiled() is None else 9
        lengths = [len(part) for part, _ in found.values()]
        assert lengths.count(rows) == 9  # the tenth lies on its side


def test_of_a_crop_the_rest_is_undefined(packed: dict[str, Path]) -> None:
    for store, (height, width) in {"jpeg": (24, 32), "encoded": (40, 40)}.items():
        with celeiro.open(packed[store]) as ds:
            part = Part(height // 2, top=5, columns=(9, width // 2))
            found = visited(ds, range(9), [part] * 9)
            for at, image in enumerate(ds.read(range(9))):
                seen = np.s_[5 : height // 2, 9 : width // 2]
                np.testing.assert_array_equal(found[at][0][seen], image[seen], strict=True)


def test_a_part_of_a_jpeg_chunk_is_its_top(packed: dict[str, Path]) -> None:
    with celeiro.open(packed["jpeg"]) as ds:
        found = visited(ds, range(10), [Part(3)] * 9 + [Part(24, 2)])
        for at, image in enumerate(ds.read(range(9))):
            assert found[at][0].shape == (16 if baseline.compiled() is None else 3, 32, 3)
            np.testing.assert_array_equal(found[at][0][:3], image[:3], strict=True)
        assert found[9][0].shape == (12, 16, 3)
        assert found[9][1] == 2


def test_a_smaller_picture_says_so(packed: dict[str, Path]) -> None:
    with celeiro.open(packed["encoded"]) as ds:
        found = visited(ds, range(10), [Part(40, 2)] * 10)
        for at, (height, width, _) in enumerate(ds.shapes.tolist()):
            part, factor = found[at]
            assert part.shape == (-(-height // factor), -(-width // factor), 3)
        assert [factor for _, factor in found.values()].count(2) == 9


def test_what_no_checksum_speaks_for_is_decoded_whole(packed: dict[str, Path]) -> None:
    with celeiro.open(packed["encoded"], verify=False) as ds:
        for at, (image, _) in visited(ds, range(10), [Part(3)] * 10).items():
            np.testing.assert_array_equal(image, ds[at][0], strict=True)


def test_a_damaged_sample_is_named(path: Path) -> None:
    with celeiro.open(path, verify=True) as ds:
        place = ds._opened.contents.samples.place(4)
    with path.open("r+b") as file:
        file.seek(place[0] + place[1] // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 0x55]))
    with celeiro.open(path, verify=True) as ds, pytest.raises(SampleError) as caught:
        visited(ds, range(10))
    assert caught.value.sample == 4


def test_samples_of_one_chunk_are_visited_too(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 6, 5, 3), np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=images, chunks=(8, 6, 5, 3), compression="gzip")
    with celeiro.open(tmp_path / "a.h5") as ds:
        assert ds.per_chunk == 8
        for at, (image, _) in visited(ds, range(20)).items():
            np.testing.assert_array_equal(image, images[at])
