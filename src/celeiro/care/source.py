"""A dataset as a source of packing: what it lists, and its samples by task.

    Dataset ─> Listing (keys, labels, splits, fields)      what the plan is made of
            ─> SamplesOf (files, arrays, stored bytes)     what the recipes ask for

Packing knows nothing of datasets, and reading nothing of packing: here they meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import FormatError, PictureError, SampleError
from celeiro.format import layout
from celeiro.format.names import Names, printable
from celeiro.format.ragged import Ragged
from celeiro.packing.listing import NO_SPLIT, Listing
from celeiro.packing.recipe import BOXES, MASK
from celeiro.packing.rows import number_labels
from celeiro.reading import hdf5
from celeiro.reading.columns import Pictures, Texts
from celeiro.reading.splits import places_in

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.reading.dataset import Dataset


def listing_of(ds: Dataset) -> Listing:
    """All that a dataset tells of its samples, as a source of packing tells it."""
    labels, names = None, ds.label_names
    if ds.labels is not None:
        labels, names = number_labels(ds.labels, names)
    codes, split_names = _splits(ds)
    keys = _keys(ds)
    return Listing(
        root=ds.path,
        keys=keys,
        sizes=_lengths(ds),
        # In the place of times: what changes when a sample does.
        mtimes=_marks(ds),
        labels=labels,
        # Of a name that is not UTF-8, what `celeiro info` shows: the format has UTF-8 alone.
        label_names=tuple(printable(name.encode("utf-8", "surrogateescape")) for name in names),
        splits=codes,
        split_names=split_names,
        fields={name: _column(ds.fields[name]) for name in ds.fields if name not in (MASK, BOXES)},
        masks=keys if has_masks(ds) else None,
        boxes=ds.fields.get(BOXES),
        labels_from="dataset",
    )


@dataclass(frozen=True, slots=True)
class SamplesOf:
    """The samples of a dataset by task: as files, as arrays, or as they are stored."""

    ds: Dataset
    """Sample `rows[task]` is that of a task."""
    rows: npt.NDArray[np.int64]
    """In the order of the plan."""
    marks: npt.NDArray[np.uint8] | None = None
    """1 for picture files that are not their sources' own bytes, by sample."""

    def stored(self, task: int) -> bytes:
        """The bytes of one sample."""
        try:
            return self.ds.stored(int(self.rows[task]))
        except FormatError as error:  # of HDF5's own process it is no SampleError
            raise PictureError(reason(error)) from error

    def sample(self, task: int) -> npt.NDArray[Any]:
        """One sample."""
        try:
            found: npt.NDArray[Any] = self.ds.read([int(self.rows[task])])[0]
        except FormatError as error:  # of HDF5's own process it is no SampleError
            raise PictureError(reason(error)) from error
        return found

    def mask_array(self, task: int) -> npt.NDArray[Any]:
        """The mask of one sample."""
        try:
            found: npt.NDArray[Any] = self.ds[MASK][int(self.rows[task])]
        except FormatError as error:
            raise PictureError(f"its mask: {reason(error)}") from error
        return found

    def picture(self, task: int) -> bytes:
        """One sample as a picture file: its own, or a PNG of its values."""
        if self.ds.store in ("encoded", "jpeg"):
            return self.stored(task)
        return _png(self.sample(task), self.ds.color)

    def mask(self, task: int) -> bytes:
        """The mask of one sample as a picture file."""
        if self.ds.store != "encoded":
            return _png(self.mask_array(task), "")
        try:
            found: bytes = self.ds[MASK].stored(int(self.rows[task]))
        except FormatError as error:
            raise PictureError(f"its mask: {reason(error)}") from error
        return found

    def reencoded(self, task: int) -> bool:
        """Whether the picture file is not the one that somebody once took."""
        if self.ds.store != "encoded":
            return True
        return self.marks is not None and bool(self.marks[self.rows[task]])


def reason(error: FormatError | PictureError) -> str:
    """What is wrong with one sample, without its name: who packs says that."""
    return str(error.__cause__ if isinstance(error.__cause__, SampleError) else error)


def _keys(ds: Dataset) -> Names:
    """Keys as bytes; numbers where there are none, for messages."""
    if ds.keys is None:
        return Names.of(f"sample {row}".encode() for row in ds.rows.tolist())
    stored = ds.keys.stored
    return stored if isinstance(stored, Names) else Names.of(stored.tolist())


def _lengths(ds: Dataset) -> npt.NDArray[np.int64]:
    """Stored bytes of each sample; an even share of the file where a sample has none of its own."""
    lengths = ds.stored_lengths
    if lengths is not None:
        return lengths
    return np.full(len(ds), ds.path.stat().st_size // max(1, len(ds)), np.int64)


def _marks(ds: Dataset) -> npt.NDArray[np.int64]:
    """Checksums of a sample and its mask; of a foreign file, when it was last written to."""
    crcs = ds.checksums
    if crcs is None:
        return np.full(len(ds), ds.path.stat().st_mtime_ns, np.int64)
    marks = crcs.astype(np.int64)
    if has_masks(ds):
        with hdf5.reading(ds.path) as file:
            masks = hdf5.plain(file, layout.field_crc(MASK), "u", 1)
            if masks is not None and masks.dtype == np.uint32:
                marks ^= masks[:].astype(np.int64)[ds.rows] << 31
    return marks


def has_masks(ds: Dataset) -> bool:
    """Whether there is a second picture beside each sample."""
    return isinstance(ds.fields.get(MASK), Pictures)


def _splits(ds: Dataset) -> tuple[npt.NDArray[np.uint8] | None, tuple[str, ...]]:
    if not ds.splits:
        return None, ()
    codes = np.full(len(ds), NO_SPLIT, np.uint8)
    for code, name in enumerate(ds.splits):
        codes[places_in(ds, name)] = code
    return codes, ds.splits


def _column(column: Any) -> npt.NDArray[Any] | Ragged:
    if isinstance(column, Texts):
        stored = column.stored
        # As they stand: of a fixed length, one long text would make all of them long.
        return Ragged(stored.blob, stored.offsets) if isinstance(stored, Names) else stored
    found: npt.NDArray[Any] | Ragged = column
    return found


def _png(values: npt.NDArray[Any], color: str) -> bytes:
    """A PNG of exactly these values; PictureError where it cannot hold them."""
    import cv2

    channels = values.shape[2] if values.ndim == 3 else 1
    flat = values.ndim in (2, 3) and channels in (1, 3, 4)
    if values.dtype not in (np.uint8, np.uint16) or not flat:
        raise PictureError(
            f"it holds {values.dtype} {values.shape}, and a picture file 8 or 16 bits of 1, 3 or 4 "
            "channels. Choose --store lossless"
        )
    if channels == 3 and color != "BGR":
        values = values[..., ::-1]  # OpenCV writes blue first
    elif channels == 4:
        values = values[..., [2, 1, 0, 3]]
    _, data = cv2.imencode(".png", np.ascontiguousarray(values))
    return bytes(data.tobytes())
