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

from celeiro.errors import OptionError, PictureError
from celeiro.format.checksum import crc32c
from celeiro.format.codecs import JpegCodec
from celeiro.packing import resize, stats
from celeiro.packing.outcome import Made, Piece
from celeiro.packing.recipe import BOXES, MASK, boxes_piece, piece_of
from celeiro.packing.work import DATA

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.format.codecs import Codec
    from celeiro.packing.plan import Plan
    from celeiro.packing.recipe import MaskKind


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
    """From the values that are there to those that are wanted, and not one of them rounded."""

    dtype: np.dtype[Any]
    """Type to end with."""
    scale: float = 1.0
    """Factor before the type changes: 255 makes bytes of values from 0 to 1."""
    flip: bool = False
    """Whether the channels, the last axis, are turned round."""
    tolerance: float = 1e-3
    """How far from a whole number a scaled value may be, for float32 knows 1/255 no better."""

    def __call__(self, sample: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The sample converted; PictureError where a value would become another."""
        if self.flip:
            sample = sample[..., ::-1]
        if self.scale != 1.0:
            sample = self._whole(np.asarray(sample, np.float64) * self.scale)
        if sample.dtype == self.dtype:
            return sample
        with np.errstate(invalid="ignore", over="ignore"):
            made = sample.astype(self.dtype)
            back = made.astype(sample.dtype)
        same = (back == sample) | (np.isnan(back) & np.isnan(sample))
        if not same.all():
            value = sample[~same].reshape(-1)[0]
            raise PictureError(
                f"its value {value!r} is none of {self.dtype}. Choose another dtype, or a scale "
                "that makes whole numbers of them"
            )
        return made

    def _whole(self, scaled: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if self.dtype.kind not in "iu":
            return scaled
        whole = np.rint(scaled)
        far = ~(np.abs(scaled - whole) <= self.tolerance)
        if far.any():
            raise PictureError(
                f"scaled by {self.scale:g}, it has the value {scaled[far][0]:.6g}, which is no "
                f"whole number as {self.dtype} wants it. Choose another scale, or no dtype"
            )
        return whole


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
        if sample.shape != self.codec.shape:
            raise PictureError(
                f"its shape is {sample.shape}, wanted {self.codec.shape} as of the first. Give "
                "--size, or --store encoded"
            )
        if row is None:
            row = np.ascontiguousarray(sample)
        else:
            row[...] = sample
        pieces = {DATA: piece_of(self.codec, row)}
        _add_beside(pieces, self.plan, task, placement, self.arrays, self.mask)
        if isinstance(self.codec, JpegCodec) and options.check == "decode":
            row = self.codec.decode(bytes(pieces[DATA].data))
        return Made(pieces, stats.sums_of(row) if stats.countable(row.dtype) else stats.NOTHING)


@dataclass(frozen=True, slots=True)
class StoredRecipe:
    """Every sample stays the bytes that it was."""

    plan: Plan
    """The tasks."""
    codec: Codec
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
        pieces = {DATA: Piece(data, len(data), crc32c(data))}
        _add_beside(pieces, self.plan, task, None, self.arrays, self.mask)
        if self.plan.options.check != "decode":
            return Made(pieces)
        return Made(pieces, stats.sums_of(self.codec.decode(data)))


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
