"""Picture files that stand one after the other: each is read and decoded to its own size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import PictureError, SampleError
from celeiro.format import pictures
from celeiro.format.partial import decode_part, frame_of
from celeiro.reading import source, threads
from celeiro.reading.samples.checksums import checked_bytes, damaged
from celeiro.reading.samples.visiting import room
from celeiro.storage.fetch import Pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from celeiro.format.index import Flat
    from celeiro.format.partial import Frame
    from celeiro.reading.samples.visiting import Part, Work
    from celeiro.reading.source import Source


class FileSamples:
    """Samples of the store `encoded`, or masks beside them.

    Parameters
    ----------
    shapes
        (N, 3): height and width of each, upright, and channels when decoded.
    color
        Order of the channels to decode to; None keeps values as they are (masks).
    crcs
        CRC-32C of each file; None to check nothing.
    """

    shape: None = None

    def __init__(
        self,
        source: Source,
        flat: Flat,
        shapes: npt.NDArray[np.uint32],
        *,
        color: pictures.Color | None,
        crcs: npt.NDArray[np.uint32] | None,
        workers: int,
    ) -> None:
        self.dtype = np.dtype(np.uint8)
        self.shapes = shapes
        self._source = source
        self._flat = flat
        self._color = color
        self._crcs = crcs
        self._workers = workers

    def __len__(self) -> int:
        """Count the samples."""
        return len(self._flat)

    def read(self, indices: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
        """Fill `out` with samples that all have its size; SampleError names one that has not."""
        for at, picture in enumerate(self.read_list(indices)):
            if picture.shape != out.shape[1:]:
                raise SampleError(
                    f"it is {picture.shape}, and {out.shape[1:]} was wanted", int(indices[at])
                )
            out[at] = picture

    def read_list(self, indices: npt.NDArray[np.int64]) -> list[npt.NDArray[Any]]:
        """Samples in the order asked, (H, W, C) each; one that is wanted twice is decoded once."""
        one = len(indices) == 1  # ds[i], where np.unique would take 30 µs
        unique, back = (indices, indices) if one else np.unique(indices, return_inverse=True)
        numbers, pieces = unique.tolist(), self._pieces(unique)
        found: list[Any] = [None] * len(numbers)

        def work(first: int, last: int) -> None:
            for at, data, sound in source.each(self._source, pieces.part(first, last)):
                number = numbers[first + at]
                if not sound:
                    raise damaged(number)
                found[first + at] = self._decode(number, bytes(data))

        threads.share(work, len(numbers), workers=self._workers)
        if one:
            return found
        if len(numbers) == len(indices):
            return [found[at] for at in back.tolist()]
        seen: set[int] = set()
        return [_own(found[at], at, seen) for at in back.tolist()]

    def visit(
        self, indices: npt.NDArray[np.int64], work: Work, parts: Sequence[Part] | None
    ) -> None:
        """Give each picture, or as much of it as is wanted, to `work` in this thread."""
        numbers = indices.tolist()
        for some in source.together(self._source, self._pieces(indices)):
            todo = []  # with all that can be told of them before the first is decoded
            for at, view, sound in some:
                if not sound:
                    raise damaged(numbers[at])
                data = bytes(view)
                part = None if parts is None else parts[at]
                frame = None if part is None else self._frame(numbers[at], data, part)
                todo.append((at, data, part, frame))
            for at, data, part, frame in todo:
                found = None
                if part is not None and frame is not None:
                    found = self._decode_part(data, frame, part)
                if part is None or found is None:
                    work(at, self._decode(numbers[at], data, reuse=True), 1)
                else:
                    work(at, found, part.factor)

    def lengths(self) -> npt.NDArray[np.int64]:
        """Bytes of each picture file."""
        return np.diff(self._flat.offsets).astype(np.int64)

    def place(self, number: int) -> tuple[int, int]:
        """Offset in the file and length of one picture file."""
        start, stop = self._flat.offsets[number : number + 2].tolist()
        return self._flat.base + start, stop - start

    def stored(self, number: int) -> bytes:
        """The bytes of one sample as they stand in the file; SampleError if they are damaged."""
        return checked_bytes(self._source, self.place(number), self._crcs, number)

    def _pieces(self, indices: npt.NDArray[np.int64]) -> Pieces:
        """Where the picture files are."""
        starts = self._flat.offsets[indices].astype(np.int64)
        lengths = self._flat.offsets[indices + 1].astype(np.int64) - starts
        crcs = None if self._crcs is None else self._crcs[indices]
        return Pieces(starts + self._flat.base, lengths, crcs)

    def _frame(self, number: int, data: bytes, part: Part) -> Frame | None:
        """That of a JPEG that stands upright; None of what must be decoded whole.

        Damage may go unnoticed then, so that only what a checksum speaks for is decoded in part.
        """
        height, width, _ = self.shapes[number].tolist()
        if self._crcs is None or self._color is None or not part.is_less(height, width):
            return None
        frame = frame_of(data)
        if frame is None or (frame.height, frame.width) != (height, width):
            return None
        return None if frame.exif and not _stands_upright(data) else frame

    def _decode_part(self, data: bytes, frame: Frame, part: Part) -> npt.NDArray[np.uint8] | None:
        """What is wanted of a JPEG; None where it must be decoded whole."""
        assert self._color is not None
        return decode_part(
            data,
            frame,
            part.box(frame.width),
            color=self._color,
            buffer=room(3 * frame.height * frame.width),
            factor=part.factor,
            fast=part.fast,
        )

    def _decode(self, number: int, data: bytes, *, reuse: bool = False) -> npt.NDArray[Any]:
        """The picture; with `reuse` it may be in memory that this thread's next one takes."""
        height, width, _ = self.shapes[number].tolist()
        # What the file's own shape promises bounds what is decoded, and no more than that.
        most = max(1, height * width)
        try:
            if self._color is None:
                picture = pictures.decode_mask(data, max_pixels=most)
            else:
                header = pictures.check(data, max_pixels=most)
                picture = pictures.decode(
                    data,
                    color=self._color,
                    buffer=room(3 * header.height * header.width) if reuse else None,
                    header=header,
                )
        except PictureError as error:
            raise SampleError(f"it does not decode: {error}", number) from error
        if picture.shape[:2] != (height, width):
            raise SampleError(
                f"it decodes to {picture.shape[0]}x{picture.shape[1]} pixels, wanted "
                f"{height}x{width}",
                number,
            )
        return picture


def _stands_upright(data: bytes) -> bool:
    try:
        return pictures.check(data).orientation == 1
    except PictureError:
        return False


def _own(picture: npt.NDArray[Any], at: int, seen: set[int]) -> npt.NDArray[Any]:
    """An array that nobody else holds, where a picture is given out twice."""
    if at in seen:
        return picture.copy()
    seen.add(at)
    return picture
