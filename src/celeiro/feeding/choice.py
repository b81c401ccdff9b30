"""Which order the options of a loader ask for, and whether it suits the file."""

from __future__ import annotations

import math
import operator
import warnings
from typing import TYPE_CHECKING

import numpy as np

from celeiro.errors import OptionError
from celeiro.feeding import order

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.reading.dataset import Dataset


def at_least(least: int, value: int, name: str) -> int:
    """A whole number that is no smaller than `least`; OptionError says which option is."""
    value = operator.index(value)
    if value < least:
        raise OptionError(f"{name} {value!r}: wanted at least {least}.")
    return value


def order_of(
    ds: Dataset,
    shuffle: bool | str,
    weights: npt.ArrayLike | None,
    samples: int | None,
    block: int | None,
    mixed: int | None,
    *,
    together: int,
) -> order.Order:
    """The order that the options ask for."""
    if not len(ds):
        raise OptionError(f"{ds.path}: there are no samples to feed.")
    if (block or mixed) and shuffle != "blocks":
        raise OptionError("block and mixed are of shuffle='blocks'; leave them out, or say that.")
    drawn = weights is not None or shuffle == "balanced"
    if samples is not None and not drawn:
        raise OptionError("samples is of weights or shuffle='balanced': else an epoch is all.")
    draws = len(ds) if samples is None else at_least(1, samples, "samples")
    if weights is not None:
        if shuffle is not True:
            raise OptionError(f"weights and shuffle={shuffle!r}: give one of them.")
        given = np.array(weights, np.float64)
        if given.shape != (len(ds),):
            raise OptionError(f"weights of {given.shape}: wanted one for each of {len(ds):,}.")
        return order.Weighted(given, draws)
    if shuffle is True:
        return order.Shuffled(len(ds))
    if shuffle is False:
        return order.InOrder(len(ds))
    if shuffle == "balanced":
        return order.Balanced(_classes(ds), draws)
    if shuffle == "blocks":
        usual = _usual_blocks(ds, together)
        return order.Blocks(len(ds), block or usual[0], mixed or usual[1])
    raise OptionError(f"shuffle {shuffle!r}: wanted True, False, 'blocks' or 'balanced'.")


def _classes(ds: Dataset) -> npt.NDArray[np.int64]:
    labels = ds.labels
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "iub":
        found = "no labels" if labels is None else f"labels of {labels.dtype} {labels.shape}"
        raise OptionError(
            f"{ds.path}: {found}; shuffle='balanced' wants one class number a sample. Give weights="
            " instead."
        )
    return labels.astype(np.int64)


# Bytes of a block, which a disk reads as fast one after the other as all over the file; and of all
# blocks that are mixed, which the system's cache shall hold.
_BLOCK, _MIXED = 1 << 20, 1 << 30


def _usual_blocks(ds: Dataset, together: int) -> tuple[int, int]:
    """Neighbours in a block, and blocks mixed: four times as many as a global batch has samples."""
    lengths = ds.stored_lengths
    usual = math.prod(side or 1 for side in ds.shape[1:]) * ds.dtype.itemsize
    length = max(1.0, float(usual if lengths is None else lengths[:4096].mean()))
    per_chunk = ds.per_chunk
    block = max(1, round(_BLOCK / length / per_chunk)) * per_chunk
    return block, max(2, min(4 * together, int(_MIXED / (block * length))))


# Half as many changes of label between neighbours as there would be in a random order.
_SORTED = 0.5
_POOR = 0.9


def warn_of_local_order(ds: Dataset, found: order.Order, together: int) -> None:
    """Say it where classes stand together in the file, and batches are drawn from near by."""
    if not isinstance(found, order.Blocks) or (quality := found.quality(together)) >= _POOR:
        return
    labels = ds.labels
    if labels is None or labels.ndim != 1 or len(labels) < 2:
        return
    _, counts = np.unique(labels, return_counts=True)
    expected = 1 - float(((counts / len(labels)) ** 2).sum())
    changes = float((labels[1:] != labels[:-1]).mean())
    if changes < _SORTED * expected:
        warnings.warn(
            f"{ds.path}: classes stand together in the file, and shuffle='blocks' mixes blocks near"
            f" each other: a batch of {together} is worth {quality * together:.0f} drawn at random."
            " Use shuffle=True, raise mixed=, or pack with --order shuffled.",
            stacklevel=3,
        )
