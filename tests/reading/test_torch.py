"""A dataset in PyTorch's own DataLoader: the right samples from forked and spawned workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from torch.utils.data import DataLoader

import celeiro

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 24


def packed(tmp_path: Path, store: str) -> Path:
    # Flat pictures: each is its number, whatever the store does to it.
    images = np.repeat(np.arange(COUNT, dtype=np.uint8) * 10, 16 * 16 * 3)
    images = images.reshape(COUNT, 16, 16, 3)
    return celeiro.pack(images, tmp_path / "a.h5", store=store, labels=range(COUNT)).path


# Spawned workers import torch again, 4 s each: once is enough.
@pytest.mark.parametrize(
    ("store", "start"),
    [("pixels", "fork"), ("jpeg", "fork"), ("lossless", "fork"), ("jpeg", "spawn")],
)
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of forking with threads
def test_workers_read_the_right_samples(tmp_path: Path, store: str, start: str) -> None:
    ds = celeiro.open(packed(tmp_path, store))
    ds[0]  # threads and descriptors are there before the workers are
    loader = DataLoader(
        ds, batch_size=5, shuffle=True, num_workers=2, multiprocessing_context=start
    )
    seen = []
    for images, labels in loader:
        expected = np.stack([ds[i][0] for i in labels.tolist()])
        np.testing.assert_array_equal(images.numpy(), expected)
        seen += labels.tolist()
    assert sorted(seen) == list(range(COUNT))


def test_a_view_is_a_dataset_too(tmp_path: Path) -> None:
    view = celeiro.open(packed(tmp_path, "jpeg")).select([7, 3, 3])
    labels = [label for _, batch in DataLoader(view, batch_size=2) for label in batch.tolist()]
    assert labels == [7, 3, 3]
