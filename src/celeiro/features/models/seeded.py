"""Random weights that are the same each time, and leave the caller's random numbers alone."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def torch_seed(seed: int | None) -> Iterator[None]:
    """PyTorch draws from this seed within, and goes on as before after; None: nothing changes."""
    import torch

    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        yield
