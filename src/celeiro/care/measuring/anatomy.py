"""How a file is laid out, and what its values, channels and labels are: all that needs no clock.

    layout_of   chunks against samples, filters, whether HDF5 must be asked
    values_of   the type against what is in it: float64 that holds 0 to 255
    colors_of   order and axis of the channels, as far as the file says
    labels_of   sorted, so that a local shuffle would spoil training?

The file is untrusted, and looked at as reading/hdf5.py has it; no chunk is decoded here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from celeiro.format import bfloat16, filters, index
from celeiro.format.bfloat16 import Bfloat16
from celeiro.format.chunks import filters_of, unsupported
from celeiro.reading import hdf5
from celeiro.reading.layouts import stored_dtype

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.format.bfloat16 import StoredType
    from celeiro.reading.dataset import Dataset

_MOST_LABELS = 20_000_000
# Between chance (0) and all neighbours alike (1).
_SORTED = 0.5
# Of fewer, chance alone may look sorted.
_FEWEST_LABELS = 20

_FORMS = {
    h5py.h5d.COMPACT: "compact",
    h5py.h5d.CONTIGUOUS: "contiguous",
    h5py.h5d.CHUNKED: "chunked",
    h5py.h5d.VIRTUAL: "virtual",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """How the samples stand in the file."""

    form: str
    """``contiguous``, ``chunked``, ``compact``, ``virtual``, or ``picture files``."""
    chunks: tuple[int, ...] | None
    """Shape of a chunk, samples first."""
    samples_a_chunk: int | None
    """Samples that have values in one chunk; None without chunks."""
    chunks_a_sample: int | None
    """Chunks that hold the values of one sample; None without chunks."""
    amplification: float
    """Values that must be read for each value of one random sample; 1 is best."""
    filters: tuple[str, ...]
    """By name, in the order in which they were applied."""
    stored_bytes: int
    """Of all samples, as they stand in the file."""
    raw_bytes: int
    """Of all samples, as plain values."""
    asks_hdf5: str | None
    """Why celeiro must leave reading to HDF5; None where it need not."""
    plain: bool
    """Whether they stand as in `pixels`, so that no layout is read faster."""


@dataclass(frozen=True, slots=True)
class Values:
    """The type of the values against what a sample of them holds."""

    dtype: str
    """As they stand in the file, or as they are given where that is another NumPy type."""
    low: float | None
    """Smallest that was seen; None where there is no order, or no number."""
    high: float | None
    """Largest that was seen."""
    what: str
    """What they are, for people: ``whole numbers``, ``whole numbers / 255``."""
    fits: str | None
    """A smaller type that holds all that were seen; None where there is none."""
    scale: float
    """What a value is multiplied by, before it fits: 1, or 255."""
    offset: float
    """What is added then: 0, or 127.5 for values from -1 to 1."""


@dataclass(frozen=True, slots=True)
class Colors:
    """The channels, as far as the file says."""

    order: str
    """``RGB``, ``BGR``, ``GRAY``, or empty where it cannot be told."""
    axis: str
    """``last`` (H, W, C), ``first`` (C, H, W), or empty for no channels, or none that we know."""
    why: str
    """How that is known, or why it is not."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The order of the labels in the file."""

    classes: int
    """How many there are."""
    alike: float
    """Part of the neighbours in the file that have the same label, 0 to 1."""
    chance: float
    """What that part would be in a random order."""
    sorted: bool
    """Whether a shuffle of neighbours only would show one class after the other."""


# Layout


def layout_of(ds: Dataset) -> Layout:
    """How the samples of a file stand in it.

    Raises
    ------
    FormatError
        HDF5 cannot open it any more.
    """
    with hdf5.reading(ds.path) as file:
        data = file[ds.key]
        if ds.store == "encoded":
            return _of_picture_files(ds, data)
        found = filters_of(data.id.get_create_plist())
        form = _FORMS.get(data.id.get_create_plist().get_layout(), "unknown")
        grid = index.grid_of(data) if data.chunks else None
        return Layout(
            form=form,
            chunks=data.chunks,
            samples_a_chunk=data.chunks[0] if grid else None,
            chunks_a_sample=math.prod(grid[1:]) if grid else None,
            amplification=_amplification(data, grid),
            filters=tuple(map(str, found)),
            stored_bytes=int(data.id.get_storage_size()),
            raw_bytes=hdf5.raw_bytes(data),
            asks_hdf5=why_hdf5(data),
            plain=_is_plain(data, form),
        )


def why_hdf5(data: h5py.Dataset) -> str | None:
    """Why HDF5 itself must read a data set, for people; None where celeiro does."""
    plist = data.id.get_create_plist()
    form = plist.get_layout()
    if form == h5py.h5d.VIRTUAL:
        return "it is a virtual data set, whose values stand in other places"
    stored = bfloat16.bits_type(data.id.get_type()) or stored_dtype(data)
    if stored is None:
        return "its values are of a type of HDF5's own"
    if form != h5py.h5d.CHUNKED:
        return None
    reason = unsupported(filters_of(plist), stored, data.chunks)
    if reason is None and index.too_sparse(data):
        reason = "most of its chunks were never written"
    return reason


def _is_plain(data: h5py.Dataset, form: str) -> bool:
    stored = bfloat16.bits_type(data.id.get_type()) or stored_dtype(data)
    return form == "contiguous" and stored is not None and stored.isnative and stored.kind != "b"


def _amplification(data: h5py.Dataset, grid: tuple[int, ...] | None) -> float:
    if grid is None:
        return 1.0
    read = int(math.prod(grid[1:]) * math.prod(data.chunks))
    return read / max(1, int(math.prod(data.shape[1:])))


def _of_picture_files(ds: Dataset, data: h5py.Dataset) -> Layout:
    shapes = ds.shapes
    raw = 0 if shapes is None else int(shapes.astype(np.uint64).prod(axis=1).sum())
    return Layout(
        form="picture files", chunks=None, samples_a_chunk=None, chunks_a_sample=None,
        amplification=1.0, filters=(), stored_bytes=int(data.shape[0]), raw_bytes=raw,
        asks_hdf5=None, plain=False,
    )  # fmt: skip


# Values

# Whole numbers that floats were made of: (scale, offset, what), value = (whole - offset) / scale.
_SCALES = (
    (1.0, 0.0, "whole numbers"),
    (255.0, 0.0, "whole numbers / 255"),
    (127.5, 127.5, "whole numbers / 127.5 - 1"),
)
# Of a unit: what rounding to float32 leaves of n / 255 * 255 is a hundredth of this. float16
# keeps 11 bits, and loses an eighth of a unit near 255.
_ROUNDING = 1e-3
_ROUNDING_HALF = 0.2


def values_of(samples: npt.NDArray[Any], stored: StoredType | None = None) -> Values:
    """What is in an array, and the smallest type that would hold it.

    `stored` is the type in the file where that is bfloat16, which knows n / 255 too badly to tell.

    Examples
    --------
    >>> found = values_of(np.array([0.0, 3.0, 255.0]))
    >>> found.what, found.fits
    ('whole numbers', 'uint8')
    """
    dtype = stored or samples.dtype
    if dtype.kind not in "iuf" or not samples.size:
        return Values(str(dtype), None, None, "", None, 1.0, 0.0)
    low, high = float(samples.min()), float(samples.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        return Values(str(dtype), None, None, "some are no numbers, or infinite", None, 1.0, 0.0)
    fine = dtype.kind == "f" and not isinstance(dtype, Bfloat16)
    for scale, offset, what in _SCALES if fine else _SCALES[:1]:
        whole = _whole_numbers(samples, low, high, scale, offset)
        if whole is not None:
            return Values(str(dtype), low, high, what, _narrower(dtype, *whole), scale, offset)
    fits = None
    if samples.dtype == np.float64 and np.array_equal(samples.astype(np.float32), samples):
        fits = "float32"
    return Values(str(dtype), low, high, "", fits, 1.0, 0.0)


def narrowed(samples: npt.NDArray[Any], values: Values) -> npt.NDArray[Any]:
    """Samples in the type that fits, as whole numbers; as they are where none does.

    Examples
    --------
    >>> samples = np.array([0, 51, 255]) / 255
    >>> narrowed(samples, values_of(samples))
    array([  0,  51, 255], dtype=uint8)
    """
    if values.fits is None:
        return samples
    if values.scale == 1.0:
        return samples.astype(values.fits)
    return np.rint(samples.astype(np.float64) * values.scale + values.offset).astype(values.fits)


def _whole_numbers(
    samples: npt.NDArray[Any], low: float, high: float, scale: float, offset: float
) -> tuple[float, float] | None:
    """The range of the whole numbers that the values stand for; None where they are none."""
    first, last = low * scale + offset, high * scale + offset
    if scale != 1.0 and (first < -0.5 or last > 255.5):
        return None
    if samples.dtype.kind == "f":
        if max(abs(first), abs(last)) > 2**53:
            return None
        units = samples.astype(np.float64) * scale + offset
        exact = 0.0 if scale == 1.0 else _ROUNDING_HALF if samples.itemsize == 2 else _ROUNDING
        if float(np.abs(units - np.rint(units)).max()) > exact:
            return None
        # Half of what float16 can tell apart near 1 is whole / 255 by chance.
        if scale != 1.0 and samples.itemsize == 2 and len(np.unique(samples)) > 256:
            return None
    return round(first), round(last)


def _narrower(dtype: StoredType, low: float, high: float) -> str | None:
    for name in "uint8 int8 uint16 int16 uint32 int32".split():
        range_ = np.iinfo(name)
        if range_.min <= low and high <= range_.max:
            return name if np.dtype(name).itemsize < dtype.itemsize else None
    return None


# Colours

_SUBCLASSES = {"IMAGE_GRAYSCALE": "GRAY", "IMAGE_BITMAP": "GRAY"}


def colors_of(ds: Dataset) -> Colors:
    """Order and axis of the channels: what the file says, else what the shape allows."""
    if ds.store != "hdf5":
        why = "the file says it" if ds.color else "the samples are no pictures"
        return Colors(ds.color, "last" if ds.color else "", why)
    shape = ds.shape[1:]
    with hdf5.reading(ds.path) as file:
        data = file[ds.key]
        said = _said_by_attributes(data) or _said_by_filter(data)
        maker = _maker(file, data)
    if said is not None:
        return said
    axis = _axis(shape)
    if maker == "MATLAB":
        return Colors("", axis, "MATLAB writes axes the other way round: (N, C, W, H) stands here")
    if len(shape) == 2 or 1 in shape[-1:] + shape[:1]:
        return Colors("GRAY", axis, "there is one channel")
    if not axis:
        return Colors("", "", "the samples are no pictures of three channels")
    torch = ", with channels first as PyTorch has them" if axis == "first" else ""
    return Colors("", axis, f"RGB or BGR, which the file does not say{torch}")


def _axis(shape: tuple[int | None, ...]) -> str:
    """Where the channels are, by the shape: three or four of them, and larger sides."""
    if len(shape) != 3:
        return ""
    first, last = shape[0] in (1, 3, 4), shape[2] in (1, 3, 4)
    if first == last:  # (3, 3, 3), or (10, 10, 200)
        return "last" if last else ""
    return "first" if first else "last"


def _said_by_attributes(data: h5py.Dataset) -> Colors | None:
    """What the HDF5 image specification has a data set say of itself."""
    if _text(data, "CLASS") != "IMAGE":
        return None
    subclass, why = _text(data, "IMAGE_SUBCLASS"), "its HDF5 image attributes say it"
    if subclass in _SUBCLASSES:
        return Colors(_SUBCLASSES[subclass], "", why)
    if subclass != "IMAGE_TRUECOLOR":
        return None
    order = _text(data, "IMAGE_COLORMODEL") or "RGB"
    axis = "first" if _text(data, "INTERLACE_MODE") == "INTERLACE_PLANE" else "last"
    return Colors(order if order == "RGB" else "", axis, why)


def _said_by_filter(data: h5py.Dataset) -> Colors | None:
    """The JPEG filter's options say what it decodes to."""
    found = filters_of(data.id.get_create_plist())
    if not found or found[0].number != filters.JPEG or len(found[0].options) < 4:
        return None
    order = "RGB" if found[0].options[3] else "GRAY"
    return Colors(order, "last", "the JPEG filter decodes to it")


def _maker(file: h5py.File, data: h5py.Dataset) -> str:
    """MATLAB, where it wrote the data set; PyTables and others keep the axes as NumPy has them."""
    return "MATLAB" if file.userblock_size == 512 and "MATLAB_class" in data.attrs else ""


def _text(data: h5py.Dataset, name: str) -> str:
    """A short text of a data set; empty for anything else."""
    if name not in data.attrs:
        return ""
    stored = data.attrs.get_id(name)
    kind = stored.get_type()
    fixed = isinstance(kind, h5py.h5t.TypeStringID) and not kind.is_variable_str()
    # One of variable length may claim 4 GiB, which HDF5 then takes.
    if not fixed or stored.shape not in ((), (1,)) or stored.get_storage_size() > 64:
        return ""
    value = np.asarray(data.attrs[name]).reshape(-1)[0]
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)


# Labels


def labels_of(labels: npt.NDArray[Any] | None) -> Labels | None:
    """Whether labels are sorted; None where there are none, or they are no classes.

    Examples
    --------
    >>> labels_of(np.repeat([0, 1], 50)).sorted, labels_of(np.tile([0, 1], 50)).sorted
    (True, False)
    """
    if labels is None or len(labels) < 2 or labels.dtype.kind not in "biuf":
        return None
    numbers = _one_column(labels[:_MOST_LABELS])
    if numbers is None:
        return None
    found, counts = np.unique(numbers, return_counts=True)
    if len(found) > max(2, len(numbers) // 2):  # so many are no classes but a target
        return None
    alike = float((numbers[1:] == numbers[:-1]).mean())
    chance = float(((counts / len(numbers)) ** 2).sum())
    excess = (alike - chance) / (1 - chance) if chance < 1 else 0.0
    enough = len(numbers) >= _FEWEST_LABELS
    return Labels(len(found), alike, chance, enough and excess > _SORTED)


def _one_column(labels: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """Class numbers; of one-hot rows their places. None where they are no classes."""
    if labels.ndim == 2:
        rows = labels.astype(bool)
        return rows.argmax(axis=1) if (rows.sum(axis=1) == 1).all() else None
    if labels.ndim != 1 or (labels.dtype.kind == "f" and (labels != np.rint(labels)).any()):
        return None
    return labels
