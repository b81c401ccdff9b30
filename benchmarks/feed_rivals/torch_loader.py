"""PyTorch's DataLoader as the rivals below use it; no rival itself.

Its epochs are endless here, so that what starting an epoch costs it (a wait of a batch or two) is
not held against it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from feed_rivals import BATCH, WORKERS

if TYPE_CHECKING:
    from collections.abc import Iterator


class Passes:
    """A sampler: one shuffle of all numbers after another."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        """Numbers, for ever."""
        rng = np.random.default_rng(0)
        while True:
            yield from rng.permutation(self.count).tolist()


def fed(dataset: Any) -> Iterator[Any]:
    """Batches of a map-style dataset, by two worker processes."""
    from torch.utils.data import DataLoader

    loader = DataLoader(dataset, BATCH, sampler=Passes(len(dataset)), num_workers=WORKERS)
    yield from loader


def name_torchvision_operators() -> None:
    """Let torchvision be imported beside a build of torch that its own operators were not made for.

    Its wheels for one kind of torch (with CUDA, without) do not load in the other, and its import
    fails when operators that it describes are not there. None of them is used here.
    """
    import importlib
    import sys

    import torch

    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        KEPT.append(library)  # what it defines goes when it goes


KEPT: list[Any] = []
