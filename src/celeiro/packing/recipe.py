"""One picture of the plan -> the bytes that stand for it in the file.

    read -> decode -> resize -> encode -> checksum, statistics         (pixels, jpeg, lossless)
    read -> look at the header ----------> checksum                    (encoded)

The invariant: the result depends on the source's bytes and the options alone, so it does not
matter which thread makes it, or when. All heavy calls release the GIL.
"""

from __future__ import annotations

import contextlib
import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from celeiro.errors import OptionError, PictureError
from celeiro.format import pictures
from celeiro.format.bfloat16 import BITS, Bfloat16, StoredType
from celeiro.format.checksum import crc32c
from celeiro.format.codecs import Bfloat16Codec, JpegCodec, LosslessCodec, PixelCodec
from celeiro.format.names import printable
from celeiro.packing import resize, stats
from celeiro.packing.outcome import Made, Piece
from celeiro.packing.pipeline import Budget
from celeiro.packing.work import DATA
from celeiro.storage import local

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from celeiro.format.codecs import Codec, Compressor
    from celeiro.packing.listing import Listing
    from celeiro.packing.options import PackOptions
    from celeiro.packing.plan import Plan

MASK = "mask"
"""Payload stream of the second picture beside the first."""
BOXES = "boxes"
"""Payload stream of the boxes that follow the resize."""

# Decoded pictures that may be held at once, beside the small ones that do not count.
_LARGE_BYTES = 8 << 20
_BUDGET = 96 << 20


class Files(Protocol):
    """Where the picture files of a plan are: on the disk, or in another dataset."""

    def picture(self, task: int) -> bytes:
        """The file of one task; PictureError where it cannot be read."""
        ...

    def mask(self, task: int) -> bytes:
        """The file of its mask; PictureError where it cannot be read."""
        ...

    def reencoded(self, task: int) -> bool:
        """Whether the file is already not the one that somebody once took."""
        ...


@dataclass(frozen=True, slots=True)
class FilesOnDisk:
    """The files that a listing names."""

    listing: Listing
    """In the order of the tasks."""

    def picture(self, task: int) -> bytes:
        """Read one picture."""
        return _read(self.listing.path(task), int(self.listing.sizes[task]))

    def mask(self, task: int) -> bytes:
        """Read one mask."""
        return _read(self.listing.mask_path(task), 0)

    def reencoded(self, task: int) -> bool:
        """Never: these are the sources."""
        del task
        return False


class Recipe(Protocol):
    """How one task of a plan is made."""

    @property
    def wide(self) -> tuple[str, ...]:
        """Streams whose samples have sizes of their own."""
        ...

    @property
    def sums_of_rows(self) -> bool:
        """Whether statistics are of the rows that were handed in, and left to the caller."""
        ...

    def make(self, task: int, row: npt.NDArray[Any] | None) -> Made:
        """Pack one task, into `row` where the store holds rows; PictureError if it is bad."""
        ...


@dataclass(frozen=True, slots=True)
class MaskKind:
    """What all masks of a data set have in common."""

    shape: tuple[int, ...]
    """Shape of one: (H, W), or (H, W, C)."""
    dtype: np.dtype[Any]
    """Type of its values."""
    compressor: Compressor = "zstd"
    """What its chunks are compressed with."""

    @property
    def codec(self) -> LosslessCodec:
        """The codec of masks, whatever the store of the pictures."""
        return LosslessCodec(self.shape, self.dtype, self.compressor)


@dataclass(frozen=True, slots=True)
class FieldKind:
    """A field that the recipe makes, one row of a fixed size a sample."""

    name: str
    """What it is called in the file."""
    stream: str
    """Payload stream of its rows."""
    shape: tuple[int, ...]
    """Of one row."""
    dtype: np.dtype[Any]
    """Of its values, little-endian."""

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class SizedRecipe:
    """Every picture becomes an array of one shape, and then what the codec makes of it."""

    plan: Plan
    """The tasks."""
    codec: Codec
    """Of the store; its shape is the frame's."""
    files: Files
    """Where the pictures are."""
    budget: Budget
    """Shared by the threads."""
    mask: MaskKind | None = None
    """Where pictures have masks."""
    wide: tuple[str, ...] = ()
    """None: everything has one shape."""

    def make(self, task: int, row: npt.NDArray[Any] | None) -> Made:
        """Pack one picture, its mask and its boxes."""
        options, listing = self.plan.options, self.plan.listing
        data = self.files.picture(task)
        header = pictures.check(data, max_pixels=options.max_pixels)
        placement = self._place(header.upright)
        whose = row
        row = _row(self.codec.shape) if row is None else row
        with self.budget.take(_cost(header)):
            image = pictures.decode(data, color=self.color, buffer=_scratch(), header=header)
            resize.apply(image, placement, out=row)
        pieces = {DATA: piece_of(self.codec, row)}
        if listing.masks is not None and self.mask is not None:
            with _about_the_mask(listing.masks[task]), self.budget.take(_cost(header)):
                pieces[MASK] = self._mask(self.files.mask(task), placement)
        if listing.boxes is not None:
            pieces[BOXES] = boxes_piece(resize.move_boxes(listing.boxes[task], placement))
        later = whose is not None and self.sums_of_rows
        return Made(pieces, stats.NOTHING if later else self._sums(row, pieces[DATA]))

    @property
    def sums_of_rows(self) -> bool:
        """Whether statistics are of the rows: who hands rows in then sums a block at once."""
        return not (isinstance(self.codec, JpegCodec) and self.plan.options.check == "decode")

    @property
    def color(self) -> pictures.Color:
        """Order of the channels that pictures are decoded to."""
        return self.plan.options.color or "RGB"

    def _place(self, size: tuple[int, int]) -> resize.Placement:
        target = self.codec.shape[:2]
        options = self.plan.options
        if options.size is None and size != target:
            raise PictureError(
                f"its size is {size[0]}x{size[1]}, and without --size all must be as the first, "
                f"{target[0]}x{target[1]}. Give --size, or --store encoded"
            )
        return resize.place(size, target, options.resize)

    def _mask(self, data: bytes, placement: resize.Placement) -> Piece:
        assert self.mask is not None
        image = pictures.decode_mask(data, max_pixels=self.plan.options.max_pixels)
        if image.dtype != self.mask.dtype or image.shape[2:] != self.mask.shape[2:]:
            raise PictureError(
                f"it holds {_kind(image.dtype, image.shape)}, and the first mask "
                f"{_kind(self.mask.dtype, self.mask.shape)}. All must be alike"
            )
        if image.shape[:2] != placement.source:
            raise _other_size(image.shape[:2], placement.source)
        small = resize.apply(image, placement, nearest=True)
        return piece_of(self.mask.codec, small)

    def _sums(self, row: npt.NDArray[Any], piece: Piece) -> stats.Sums:
        if not self.sums_of_rows:
            row = self.codec.decode(bytes(piece.data))
        return stats.sums_of(row)


@dataclass(frozen=True, slots=True)
class EncodedRecipe:
    """Every picture stays the bytes that it was; only its header is looked at."""

    plan: Plan
    """The tasks."""
    files: Files
    """Where the pictures are."""
    budget: Budget
    """Shared by the threads."""
    wide: tuple[str, ...] = (DATA, MASK)
    """Pictures and masks have sizes of their own."""
    sums_of_rows: bool = False
    """There are no rows."""

    def make(self, task: int, row: npt.NDArray[Any] | None) -> Made:
        """Take one picture, its mask and its boxes over."""
        del row  # nothing here has a row of fixed size
        options, listing = self.plan.options, self.plan.listing
        data = self.files.picture(task)
        header = pictures.check(data, max_pixels=options.max_pixels)
        placement = self._shrunk(header.upright)
        if placement is None:
            shape, again = (*header.upright, 3), self.files.reencoded(task)
            piece = Piece(data, len(data), crc32c(data), shape, header.orientation, again)
        else:
            piece = self._encode_again(data, header, placement)
        pieces = {DATA: piece}
        if listing.masks is not None:
            with _about_the_mask(listing.masks[task]), self.budget.take(_cost(header)):
                pieces[MASK] = self._mask(self.files.mask(task), header.upright, placement)
        if listing.boxes is not None:
            boxes = listing.boxes[task]
            boxes = boxes if placement is None else resize.move_boxes(boxes, placement)
            pieces[BOXES] = boxes_piece(boxes)
        return Made(pieces, self._sums(bytes(piece.data)))

    def _shrunk(self, size: tuple[int, int]) -> resize.Placement | None:
        longest = self.plan.options.max_side
        if longest is None or max(size) <= longest:
            return None
        height, width = (max(1, round(side * longest / max(size))) for side in size)
        return resize.place(size, (height, width), "stretch")

    def _encode_again(
        self, data: bytes, header: pictures.Header, placement: resize.Placement
    ) -> Piece:
        options, shape = self.plan.options, (*placement.target, 3)
        with self.budget.take(_cost(header)):
            image = pictures.decode(data, buffer=_scratch(), header=header)
            small = resize.apply(image, placement)
        piece = piece_of(JpegCodec(shape, options.quality, options.subsampling), small)
        return Piece(piece.data, piece.length, piece.crc, shape, 1, True)

    def _sums(self, stored: bytes) -> stats.Sums:
        """Of the pixels as a reader decodes them, where they are looked at at all."""
        if self.plan.options.check != "decode":
            return stats.NOTHING
        header = pictures.read_header(stored)
        with self.budget.take(_cost(header)):
            return stats.sums_of(pictures.decode(stored, buffer=_scratch(), header=header))

    def _mask(
        self, data: bytes, size: tuple[int, int], placement: resize.Placement | None
    ) -> Piece:
        options = self.plan.options
        header = pictures.check(data, max_pixels=options.max_pixels)
        if header.upright != size:
            raise _other_size(header.upright, size)
        # Grey with alpha is decoded to four channels, as OpenCV does.
        shape = (*header.upright, 4 if header.channels == 2 else header.channels)
        if placement is None:
            return Piece(data, len(data), crc32c(data), shape, header.orientation)
        image = pictures.decode_mask(data, max_pixels=options.max_pixels)
        png = _png(resize.apply(image, placement, nearest=True))
        shape = (*placement.target, image.shape[2] if image.ndim == 3 else 1)
        return Piece(png, len(png), crc32c(png), shape, 1, True)


def recipe_for(
    plan: Plan,
    codec: Codec | None,
    mask: MaskKind | None,
    files: Files | None = None,
    *,
    stop: threading.Event | None = None,
) -> Recipe:
    """The recipe of the plan's store; without `files`, of the files that the plan lists.

    Large pictures wait for each other, until `stop` is set.
    """
    files, budget = files or FilesOnDisk(plan.listing), Budget(_BUDGET, stop)
    if codec is None:
        return EncodedRecipe(plan, files, budget)
    return SizedRecipe(plan, codec, files, budget, mask)


def codec_for(options: PackOptions, shape: tuple[int, ...], dtype: StoredType) -> Codec:
    """The codec of a store with samples of one shape."""
    if isinstance(dtype, Bfloat16):
        if options.store == "lossless":
            return Bfloat16Codec(LosslessCodec(shape, BITS, options.compressor))
        if options.store == "pixels":
            return Bfloat16Codec(PixelCodec(shape, BITS))
        raise OptionError(
            f"store {options.store!r} holds pictures of 8 bits; these are bfloat16. Choose --store "
            "pixels or --store lossless."
        )
    match options.store:
        case "jpeg":
            return JpegCodec(shape, options.quality, options.subsampling, dtype)
        case "lossless":
            return LosslessCodec(shape, dtype, options.compressor)
        case _:
            return PixelCodec(shape, dtype)


def piece_of(codec: Codec, sample: npt.NDArray[Any]) -> Piece:
    """The stored bytes of one sample, with their checksum."""
    data = codec.encode(sample)
    return Piece(data, memoryview(data).nbytes, crc32c(data))


def boxes_piece(boxes: npt.NDArray[np.float64]) -> Piece:
    """Boxes (n, 4) as little-endian float64."""
    data = np.ascontiguousarray(boxes, "<f8").tobytes()
    return Piece(data, len(data), crc32c(data))


def _read(path: bytes, size: int) -> bytes:
    try:
        return local.read_file(path, size)
    except OSError as error:
        raise PictureError(f"cannot be read ({error.strerror})") from error


def _cost(header: pictures.Header) -> int:
    """Bytes that a picture takes from the budget while it is decoded: none if it is small."""
    size = header.height * header.width * 3
    return size if size > _LARGE_BYTES else 0


_local = threading.local()


def _scratch() -> bytearray:
    """Memory of this thread to decode into: page faults of fresh memory cost 50 µs a picture."""
    if not hasattr(_local, "scratch"):
        _local.scratch = bytearray(4 << 20)
    scratch: bytearray = _local.scratch
    return scratch


def _row(shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Memory of this thread to resize into, where the bytes are encoded from it at once."""
    row: npt.NDArray[np.uint8] | None = getattr(_local, "row", None)
    if row is None or row.shape != shape:
        row = _local.row = np.empty(shape, np.uint8)
    return row


@contextlib.contextmanager
def _about_the_mask(path: bytes) -> Iterator[None]:
    """Name the mask in what is wrong with it: who reports knows the picture's name alone."""
    try:
        yield
    except PictureError as error:
        raise PictureError(f"its mask {printable(path)}: {error}") from error


def _other_size(mask: tuple[int, ...], picture: tuple[int, int]) -> PictureError:
    return PictureError(f"it is {mask[0]}x{mask[1]}, and the picture {picture[0]}x{picture[1]}")


def _kind(dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    count = shape[2] if len(shape) == 3 else 1
    return f"{dtype} with {count} channel{'s' if count > 1 else ''}"


def _png(image: npt.NDArray[Any]) -> bytes:
    import cv2

    if image.dtype not in (np.uint8, np.uint16):  # OpenCV would make 8 bits of it, and warn
        raise PictureError(
            f"it holds {image.dtype}, and a PNG, which --max-side makes of it, 8 or 16 bits. "
            "Leave out --max-side, or choose --size with another store"
        )
    if image.ndim == 3 and image.shape[2] == 3:
        image = image[..., ::-1]
    elif image.ndim == 3 and image.shape[2] == 4:
        image = image[..., [2, 1, 0, 3]]
    _, data = cv2.imencode(".png", np.ascontiguousarray(image))
    return bytes(data.tobytes())
