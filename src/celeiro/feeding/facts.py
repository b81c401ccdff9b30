"""What feeding asks of a dataset: its samples' shape and sizes, classes, and names for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError
from celeiro.feeding.transforms.chain import Chain
from celeiro.format.ragged import Ragged
from celeiro.reading.columns import Pictures

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from celeiro.reading.dataset import Dataset


MOST_SIDE = 1 << 20
"""Pixels a side: more than any kind of picture file holds."""


def named(ds: Dataset, sample: int) -> str:
    """A sample for people: its number in the file, and its key."""
    number = int(ds.rows[sample]) if ds.is_view else sample
    key = f" ({ds.keys[sample]!r})" if ds.keys is not None else ""
    return f"sample {number:,}{key} of {ds.path.name}"


class InTransform(Exception):
    """What a transform raised, which is no damage of the file, whatever it is."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def blamed(error: Exception, name: str) -> InTransform:
    """What a transform raised, with a note of which sample it was given."""
    error.add_note(f"celeiro: in the transform of {name}")
    return InTransform(error)


def chain_of(ds: Dataset, steps: Sequence[Any], *, fast: bool) -> Chain:
    """The steps, made ready for the samples of a dataset."""
    return Chain(
        steps,
        shape=shape_of(ds),
        channels=_channels(ds),
        dtype=ds.dtype,
        mean=None if ds.mean is None else ds.mean.tolist(),
        std=None if ds.std is None else ds.std.tolist(),
        classes=_classes(ds),
        fast=fast,
    )


def sizes(
    ds: Dataset, shapes: npt.NDArray[Any] | None, samples: npt.NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Height and width of some samples; `shapes` are the dataset's, which it gathers each time."""
    if shapes is not None:
        return [(height, width) for height, width, _ in shapes[samples].tolist()]
    shape = ds.shape
    return [((shape[1] or 1), (shape[2] or 1) if len(shape) > 2 else 1)] * len(samples)


def moves(column: Any) -> bool:
    """Whether a column says where something is in the picture: a mask, or boxes."""
    return isinstance(column, Pictures) or (
        isinstance(column, Ragged) and column.values.ndim == 2 and column.values.shape[1] == 4
    )


def shape_of(ds: Dataset) -> tuple[int, ...] | None:
    """Shape of every sample; None where they differ."""
    if ds.shape[1] is not None:
        return tuple(int(side or 0) for side in ds.shape[1:])
    shapes = ds.shapes
    if shapes is None or (shapes[:, :2] != shapes[0, :2]).any():
        return None
    return (int(shapes[0, 0]), int(shapes[0, 1]), _channels(ds))


def _channels(ds: Dataset) -> int:
    return int(ds.shape[3] or 1) if len(ds.shape) == 4 else 1


def _classes(ds: Dataset) -> int | None:
    if ds.label_names:
        return len(ds.label_names)
    labels = ds.labels
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "iub" or not len(labels):
        return None
    return int(labels.max()) + 1


def several_sizes(ds: Dataset) -> OptionError:
    """The error for pictures that do not go into one batch; names two of them."""
    shapes = ds.shapes
    assert shapes is not None
    other = int(np.flatnonzero((shapes[:, :2] != shapes[0, :2]).any(axis=1))[0])
    one, two = ("×".join(map(str, shapes[at, :2].tolist())) for at in (0, other))
    return OptionError(
        f"{named(ds, 0)} is {one} and {named(ds, other)} {two}: a batch needs one size. Add a "
        "transform that makes one, such as transform=[RandomResizedCrop(224)] or "
        "[Resize((224, 224))]."
    )
