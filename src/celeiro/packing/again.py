"""Samples that are packed already -> another store, size or type: recipes for a second time.

    stored bytes ──────────────────────────────────> StoredRecipe   jpeg to jpeg of the same size
    picture files (`encoded`, `jpeg`) ─> recipe.py's own recipes, as if they stood in a folder
    arrays ─> convert -> resize -> encode ─────────> ArrayRecipe    anything else

The invariant is the job's: what a task becomes depends on the sample and the options alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from celeiro.errors import FormatError, OptionError, PictureError
from celeiro.format import pictures
from celeiro.format.bfloat16 import Bfloat16, rounded
from celeiro.format.checksum import crc32c
from celeiro.format.codecs import Bfloat16Codec, JpegCodec
from celeiro.packing import resize, stats
from celeiro.packing.outcome import Made, Piece
from celeiro.packing.recipe import BOXES, MASK, boxes_piece, piece_of
from celeiro.packing.work import DATA

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.format.bfloat16 import StoredType
    from celeiro.format.codecs import Codec
    from celeiro.packing.plan import Plan
    from celeiro.packing.recipe import MaskKind

# How far from a whole number a scaled value may be; more where the source's type knows no better,
# but never so far that a neighbour might have been meant.
_TOLERANCE = 1e-3
_TOLERANCE_AT_MOST = 0.25
_EXACT_IN_FLOAT64 = 2.0**53


class Arrays(Protocol):
    """Samples of a dataset, by task; PictureError where one is damaged."""

    def sample(self, task: int) -> npt.NDArray[Any]:
        """One sample."""
        ...

    def mask_array(self, task: int) -> npt.NDArray[Any]:
        """Its mask, (H, W) or (H, W, C)."""
        ...


class Stored(Arrays, Protocol):
    """Samples whose stored bytes can be had as they are."""

    def stored(self, task: int) -> bytes:
        """The bytes of one sample, checked against their checksum."""
        ...


@dataclass(frozen=True, slots=True)
class Conversion:
    """From the values that are there to those that are wanted, and not one of them rounded.

    But for products that are to be floats: those are rounded as every product of floats is.
    """

    dtype: StoredType
    """Type to end with; of bfloat16 the values as float32."""
    scale: float = 1.0
    """Factor before the type changes: 255 makes bytes of values from 0 to 1."""
    flip: bool = False
    """Whether the channels, the last axis, are turned round."""

    def __call__(self, sample: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The sample converted; PictureError where a value would become another."""
        if self.flip:
            sample = sample[..., ::-1]
        if self.scale != 1.0:
            return self._scaled(sample)
        if not isinstance(self.dtype, Bfloat16) and sample.dtype == self.dtype:
            return sample
        made = _cast(sample, self.dtype)
        same = _same(sample, made)
        if not same.all():
            raise PictureError(
                f"its value {_first(sample, ~same)!r} is none of {self.dtype}. Choose another "
                "dtype, or a scale that makes whole numbers of them"
            )
        return made

    def _scaled(self, sample: npt.NDArray[Any]) -> npt.NDArray[Any]:
        wide = sample.astype(np.result_type(sample.dtype, np.float64))
        exact = _same(sample, wide)
        if not exact.all():
            raise PictureError(
                f"its value {_first(sample, ~exact)!r} is too large to be multiplied by "
                f"{self.scale:g}. Choose another dtype, and no scale"
            )
        with np.errstate(invalid="ignore", over="ignore"):
            scaled = wide * self.scale
        if self.dtype.kind in "fc":
            made = _cast(scaled, self.dtype)
            lost = np.isfinite(scaled) & ~np.isfinite(made)
            if scaled.dtype.kind == "c" != self.dtype.kind:
                lost |= scaled.imag != 0
        else:
            whole = self._whole(scaled, sample.dtype)
            made = _cast(whole, self.dtype)
            lost = ~_same(whole, made)
        if lost.any():
            raise PictureError(
                f"scaled by {self.scale:g}, it has the value {_first(scaled, lost):.6g}, which is "
                f"none of {self.dtype}. Choose another dtype or scale"
            )
        return made

    def _whole(self, scaled: npt.NDArray[Any], source: np.dtype[Any]) -> npt.NDArray[Any]:
        """The whole numbers that were meant: float32 knows 1/255 only nearly."""
        with np.errstate(invalid="ignore"):
            whole: npt.NDArray[Any] = np.rint(scaled)
            step = np.finfo(source).eps if source.kind in "fc" else 0.0
            allowed = np.clip(np.abs(scaled) * step, _TOLERANCE, _TOLERANCE_AT_MOST)
            far = ~(np.abs(scaled - whole) <= allowed) | (np.abs(whole) > _EXACT_IN_FLOAT64)
        if far.any():
            raise PictureError(
                f"scaled by {self.scale:g}, it has the value {_first(scaled, far):.6g}, which is "
                f"no whole number as {self.dtype} wants it. Choose another scale, or no dtype"
            )
        return whole


def _cast(sample: npt.NDArray[Any], dtype: StoredType) -> npt.NDArray[Any]:
    """Another type, whatever becomes of the values; of complex ones the real part may be left."""
    if sample.dtype.kind == "c" != dtype.kind:
        sample = sample.real
    with np.errstate(invalid="ignore", over="ignore"):
        if isinstance(dtype, Bfloat16):
            return rounded(sample if sample.dtype.kind == "f" else sample.astype(np.float64))
        return sample.astype(dtype)


def _same(sample: npt.NDArray[Any], made: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Where the values are equal, as numbers and not as bits: -1 of int8 is not 255 of uint8."""
    if "c" in (sample.dtype.kind, made.dtype.kind):
        return _same(sample.real, made.real) & _same(sample.imag, made.imag)
    back = _cast(made, sample.dtype)
    same: npt.NDArray[np.bool_] = (back == sample) | (np.isnan(back) & np.isnan(sample))
    kinds = made.dtype.kind, sample.dtype.kind
    if "b" in kinds:
        return same
    if "f" not in kinds:
        same &= (made < 0) == (sample < 0)
    elif kinds != ("f", "f"):
        floats, whole = (made, sample) if kinds[0] == "f" else (sample, made)
        same &= _inside(floats.astype(np.float64), np.iinfo(whole.dtype))
    return same


def _inside(floats: npt.NDArray[np.float64], limits: np.iinfo[Any]) -> npt.NDArray[np.bool_]:
    """Where floats are in the range of a type of whole numbers; beyond it a cast may do anything.

    Its largest number plus one is a power of two, which a float holds.
    """
    inside: npt.NDArray[np.bool_] = floats >= float(limits.min)
    return inside & (floats < 2.0 ** int(limits.max).bit_length())


def _first(sample: npt.NDArray[Any], where: npt.NDArray[np.bool_]) -> Any:
    return sample[where][0].item()


@dataclass(frozen=True, slots=True)
class ArrayRecipe:
    """Every sample becomes an array of one shape, and then what the codec makes of it."""

    plan: Plan
    """The tasks."""
    codec: Codec
    """Of the store."""
    arrays: Arrays
    """Where samples are."""
    convert: Conversion
    """From what is there to what is stored."""
    mask: MaskKind | None = None
    """Where samples have masks."""
    wide: tuple[str, ...] = ()
    """None: everything has one shape."""
    sums_of_rows: bool = False
    """They are summed one by one: not every type can be."""

    def make(self, task: int, row: npt.NDArray[Any] | None) -> Made:
        """Pack one sample, its mask and its boxes."""
        options = self.plan.options
        sample = self.convert(self.arrays.sample(task))
        placement = None
        if options.size is not None:
            placement = resize.place(sample.shape[:2], self.codec.shape[:2], options.resize)
            sample = resize.apply(sample, placement)
            if isinstance(self.codec, Bfloat16Codec):
                sample = rounded(sample)
        if sample.shape != self.codec.shape:
            raise PictureError(
                f"its shape is {sample.shape}, wanted {self.codec.shape} as of the first. Give "
                "--size, or --store encoded"
            )
        if row is None or not row.shape:  # a single value, which is none of the block's memory
            row = np.asarray(sample, order="C")
        else:
            row[...] = sample
        pieces = {DATA: piece_of(self.codec, row)}
        _add_beside(pieces, self.plan, task, placement, self.arrays, self.mask)
        if isinstance(self.codec, JpegCodec) and options.check == "decode":
            row = self.codec.decode(bytes(pieces[DATA].data))
        return Made(pieces, stats.sums_of(row) if stats.countable(row.dtype) else stats.NOTHING)


@dataclass(frozen=True, slots=True)
class StoredRecipe:
    """Every sample stays the bytes that it was: a JPEG of one size."""

    plan: Plan
    """The tasks."""
    codec: JpegCodec
    """What the bytes are; they are decoded only with `check` "decode"."""
    arrays: Stored
    """Where samples are."""
    mask: MaskKind | None = None
    """Where samples have masks."""
    wide: tuple[str, ...] = ()
    """None: everything has one shape."""
    sums_of_rows: bool = False
    """There are no rows."""

    def make(self, task: int, row: npt.NDArray[Any] | None) -> Made:
        """Take one sample over, with its mask and boxes."""
        del row
        data = self.arrays.stored(task)
        self._check(data)
        pieces = {DATA: Piece(data, len(data), crc32c(data))}
        _add_beside(pieces, self.plan, task, None, self.arrays, self.mask)
        return Made(pieces, self._sums(data))

    def _check(self, data: bytes) -> None:
        """Refuse what the new file would promise and not hold; a checksum does not tell that."""
        header = pictures.check(data, max_pixels=self.plan.options.max_pixels)
        found = (header.height, header.width, header.channels)
        if header.kind != "jpeg" or found != self.codec.shape:
            raise PictureError(f"it is a {header.kind} of {found}, wanted JPEG {self.codec.shape}")

    def _sums(self, data: bytes) -> stats.Sums:
        if self.plan.options.check != "decode":
            return stats.NOTHING
        try:
            return stats.sums_of(self.codec.decode(data))
        except FormatError as error:
            raise PictureError(str(error)) from error


def _add_beside(
    pieces: dict[str, Piece],
    plan: Plan,
    task: int,
    placement: resize.Placement | None,
    arrays: Arrays,
    mask: MaskKind | None,
) -> None:
    """Mask and boxes of one sample, moved as it was."""
    listing = plan.listing
    if listing.masks is not None and mask is not None:
        found = arrays.mask_array(task)
        if placement is not None:
            if found.shape[:2] != placement.source:
                raise PictureError(
                    f"its mask is {found.shape[:2]}, and the sample {placement.source}"
                )
            found = resize.apply(found, placement, nearest=True)
        if found.shape != mask.shape or found.dtype != mask.dtype:
            raise PictureError(
                f"its mask is {found.dtype} {found.shape}, wanted {mask.dtype} {mask.shape} as of "
                "the first"
            )
        pieces[MASK] = piece_of(mask.codec, np.ascontiguousarray(found))
    if listing.boxes is not None:
        boxes = listing.boxes[task]
        moved = boxes if placement is None else resize.move_boxes(boxes, placement)
        pieces[BOXES] = boxes_piece(moved)


def check_flip(color: str | None, stored: str, channels: int) -> bool:
    """Whether samples of the colour order `stored` are to be turned round to become `color`.

    Raises
    ------
    OptionError
        That is no matter of turning round.
    """
    if color is None or color == stored:
        return False
    if {color, stored} == {"RGB", "BGR"} and channels == 3:
        return True
    raise OptionError(
        f"colour {color!r} of samples whose channels are {stored or 'unknown'!r}. Leave it out, or "
        "pack the pictures again from their sources."
    )
