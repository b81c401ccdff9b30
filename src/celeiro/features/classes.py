"""Labels as classes: one whole number a sample, and the names of the numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from celeiro.reading.dataset import Dataset


def has_classes(ds: Dataset) -> bool:
    """Whether there is one whole number a sample."""
    return ds.labels is not None and ds.labels.ndim == 1 and ds.labels.dtype.kind in "bui"


def class_numbers(ds: Dataset, why: str) -> npt.NDArray[np.int64]:
    """One class number a sample; OptionError, which says `why`, where there are none."""
    found = ds.labels
    if found is None:
        raise OptionError(
            f"{ds.path}: it has no labels, and {why}. Name their data set with labels=, or give "
            "them: celeiro.open(path, labels=numbers)."
        )
    if found.ndim != 1:
        raise OptionError(
            f"{ds.path}: its labels are {found.dtype} {found.shape}, several a sample; wanted one "
            "class number each. Give a column of them: celeiro.open(path, labels=column)."
        )
    if not has_classes(ds):
        raise OptionError(
            f"{ds.path}: its labels are {found.dtype}, such as {found[:1].tolist()}; wanted whole "
            "numbers, one class each. If they are classes, say so: "
            "celeiro.open(path, labels=labels.astype(int))."
        )
    return found.astype(np.int64)


def class_name(names: Sequence[str], label: Any) -> str | None:
    """The name of a class, if it has one.

    Examples
    --------
    >>> class_name(("cat", "dog"), 1), class_name(("cat", "dog"), -1), class_name((), 0.5)
    ('dog', None, None)
    """
    known = isinstance(label, int) and 0 <= label < len(names)
    return names[label] if known else None
