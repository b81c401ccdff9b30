"""What a file says of its samples: keys, splits, labels; told only of those that are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from celeiro.care.checking.verdict import printed
from celeiro.errors import OptionError
from celeiro.features.classes import class_name
from celeiro.features.likeness.result import Sample
from celeiro.format.names import Names
from celeiro.reading.splits import places_in

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.reading.dataset import Dataset

NO_SPLIT = -1
"""Code of a sample that is in none."""


class Register:
    """The samples of a dataset, by their place in it; it outlives the dataset."""

    def __init__(self, ds: Dataset) -> None:
        self.labels = ds.labels
        """(N,) or (N, K), or None."""
        self.label_names = ds.label_names
        """Of the classes 0, 1, …"""
        self.splits = ds.splits
        """Their names."""
        self.codes = np.full(len(ds), NO_SPLIT, np.int16)
        """(N,) which of `splits` each sample is in; the last one, where it is in several."""
        self.in_several = 0
        """Samples that are in more than one split."""
        self._rows = ds.rows if ds.is_view else None
        self._keys = ds.keys
        for code, name in enumerate(ds.splits):
            places = places_in(ds, name)
            self.in_several += int((self.codes[places] != NO_SPLIT).sum())
            self.codes[places] = code

    def number(self, place: int) -> int:
        """The number in the file of one sample."""
        return place if self._rows is None else int(self._rows[place])

    def numbers(self, places: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
        """Numbers in the file of samples."""
        return places if self._rows is None else self._rows[places]

    def of_number(self, number: int) -> Sample:
        """The sample with a number in the file, which is one of these."""
        return self.sample(
            number if self._rows is None else int(np.flatnonzero(self._rows == number)[0])
        )

    def sample(self, place: int) -> Sample:
        """One sample."""
        code = int(self.codes[place])
        label = None if self.labels is None else self.labels[place]
        plain = label.item() if isinstance(label, np.generic) else None  # several a sample: none
        return Sample(
            number=self.number(place),
            key=None if self._keys is None else self._keys[place],
            split=None if code == NO_SPLIT else self.splits[code],
            label=plain,
            label_name=class_name(self.label_names, plain),
        )


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
