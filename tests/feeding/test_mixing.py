"""What is mixed is read once, and is what reading gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

import celeiro
from celeiro.feeding.loader import Loader
from celeiro.feeding.mixing import Mixing
from celeiro.feeding.transforms import RandomCrop
from celeiro.storage.local import File

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

COUNT, SIDE = 100, 8


@pytest.fixture
def images() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (COUNT, 6, 5, 3), np.uint8)


@pytest.fixture
def chunked(tmp_path: Path, images: npt.NDArray[np.uint8]) -> Path:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=images, chunks=(SIDE, 6, 5, 3), compression="gzip")
        file["labels"] = np.arange(COUNT)
    return tmp_path / "a.h5"


class Counted:
    """A dataset that counts what is read."""

    def __init__(self, ds: celeiro.Dataset) -> None:
        self.ds, self.per_chunk, self.reads = ds, ds.per_chunk, 0

    def __len__(self) -> int:
        return len(self.ds)

    def read(self, indices: range) -> npt.NDArray[np.uint8]:
        self.reads += 1
        return self.ds.read(indices)


def test_samples_are_those_of_the_file_and_a_chunk_is_read_once(
    chunked: Path, images: npt.NDArray[np.uint8]
) -> None:
    with celeiro.open(chunked) as ds:
        counted = Counted(ds)
        mixing = Mixing(counted, 1000)  # type: ignore[arg-type]
        for number in np.random.default_rng(1).permutation(COUNT).tolist():
            np.testing.assert_array_equal(mixing.sample(number), images[number])
        assert counted.reads == -(-COUNT // SIDE)


def test_no_more_is_held_than_said(chunked: Path) -> None:
    with celeiro.open(chunked) as ds:
        mixing = Mixing(ds, 3 * SIDE)
        for number in range(0, COUNT, 5):
            mixing.sample(number)
            assert len(mixing._chunks) <= 3


@pytest.mark.parametrize("steps", [None, [RandomCrop(6, padding=2)]], ids=["plain", "transform"])
def test_an_epoch_decodes_each_chunk_once(
    chunked: Path, images: npt.NDArray[np.uint8], steps: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    whole = celeiro.Dataset.read

    def read(self: celeiro.Dataset, indices: range, out: object = None) -> object:
        reads.append(indices)
        return whole(self, indices, out)  # type: ignore[arg-type]

    monkeypatch.setattr(celeiro.Dataset, "read", read)
    with Loader(
        chunked, 10, shuffle="blocks", block=SIDE, mixed=4, transform=steps, workers=3, prefetch=1
    ) as loader:
        for found, labels in loader:
            if steps is None:
                np.testing.assert_array_equal(found, images[labels])
    # Batches that lie in two groups at the same time may bring a chunk back.
    assert len(reads) <= -(-COUNT // SIDE) + 6


def test_the_system_is_asked_for_blocks_before_their_samples_come(
    tmp_path: Path, images: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(File, "will_need", lambda _, offset, length: asked.append((offset, length)))
    celeiro.pack(images, tmp_path / "b.h5")
    with Loader(tmp_path / "b.h5", 10, shuffle="blocks", block=7, mixed=3) as loader:
        loader._continues = False
        batches = iter(loader)
        next(batches)
        assert len(asked) >= 6
        for _ in batches:
            pass
    size = images[0].nbytes
    assert len(asked) == len(set(asked)) == -(-COUNT // 7)
    assert sum(length for _, length in asked) == COUNT * size
