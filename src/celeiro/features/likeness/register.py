"""What a file says of its samples: keys, splits, labels; looked up only for those that are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.care.checking.verdict import printed
from celeiro.errors import OptionError
from celeiro.features.likeness.result import Sample
from celeiro.format.names import Names

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.reading.dataset import Dataset

_NO_SPLIT = -1


class Register:
    """The samples of a dataset, by their place in it."""

    def __init__(self, ds: Dataset) -> None:
        self._ds = ds
        self._codes = np.full(len(ds), _NO_SPLIT, np.int16)
        self.in_several = 0
        """Samples that are in more than one split."""
        for code, name in enumerate(ds.splits):
            rows = ds.split(name).rows
            places = np.flatnonzero(np.isin(ds.rows, rows)) if ds.is_view else rows
            self.in_several += int((self._codes[places] != _NO_SPLIT).sum())
            self._codes[places] = code

    def sample(self, place: int) -> Sample:
        """One sample."""
        ds = self._ds
        code = int(self._codes[place])
        label = None if ds.labels is None else ds.labels[place]
        plain = label.item() if isinstance(label, np.generic) else None  # several a sample: none
        return Sample(
            number=int(ds.rows[place]),
            key=None if ds.keys is None else ds.keys[place],
            split=None if code == _NO_SPLIT else ds.splits[code],
            label=plain,
            label_name=name_of(ds, plain),
        )

    def are_apart(self, places: npt.NDArray[np.int64]) -> bool:
        """Whether some of these samples are in different splits."""
        codes = self._codes[places]
        return len(np.unique(codes[codes != _NO_SPLIT])) > 1


def name_of(ds: Dataset, label: Any) -> str | None:
    """The name of a class, if it has one."""
    known = isinstance(label, int) and 0 <= label < len(ds.label_names)
    return ds.label_names[label] if known else None


def place_of(ds: Dataset, key: str) -> int:
    """The place of the sample with a key.

    Raises
    ------
    OptionError
        There is none, or several.
    """
    if ds.keys is None:
        raise OptionError(
            f"{ds.path}: it has no keys, so no sample {key!r}. Give its number, "
            f"0 to {len(ds) - 1:,}."
        )
    wanted = key.encode("utf-8", "surrogateescape")
    stored = ds.keys.stored
    if isinstance(stored, Names):
        found = [place for place, each in enumerate(stored) if each == wanted]
    else:
        found = np.flatnonzero(stored == wanted).tolist()
    if len(found) == 1:
        return int(found[0])
    if found:
        raise OptionError(
            f"{ds.path}: {len(found):,} samples have the key {key!r}, the first are "
            f"{', '.join(f'{place:,}' for place in found[:3])}. Give the number of one."
        )
    like = ", ".join(repr(printed(each)) for each in ds.keys[:2])
    raise OptionError(f"{ds.path}: no sample has the key {key!r}; keys are such as {like}.")
