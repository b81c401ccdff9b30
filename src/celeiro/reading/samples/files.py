"""Picture files that stand one after the other: each is read and decoded to its own size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import PictureError, SampleError
from celeiro.format import pictures
from celeiro.reading import source, threads
from celeiro.reading.samples.checksums import check, checked_bytes

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.format.index import Flat
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
        numbers = unique.tolist()
        starts = (self._flat.offsets[unique] + np.uint64(self._flat.base)).tolist()
        lengths = (self._flat.offsets[unique + 1] - self._flat.offsets[unique]).tolist()
        found: list[Any] = [None] * len(numbers)

        def work(first: int, last: int) -> None:
            places = [(at, starts[at], lengths[at]) for at in range(first, last)]
            for at, data in source.each(self._source, places):
                found[at] = self._decode(numbers[at], data)

        threads.share(work, len(numbers), workers=self._workers)
        if one:
            return found
        if len(numbers) == len(indices):
            return [found[at] for at in back.tolist()]
        seen: set[int] = set()
        return [_own(found[at], at, seen) for at in back.tolist()]

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

    def _decode(self, number: int, data: memoryview) -> npt.NDArray[Any]:
        check(data, self._crcs, number)
        height, width, _ = self.shapes[number].tolist()
        # What the file's own shape promises bounds what is decoded, and no more than that.
        most = max(1, height * width)
        try:
            if self._color is None:
                picture = pictures.decode_mask(bytes(data), max_pixels=most)
            else:
                picture = pictures.decode(bytes(data), color=self._color, max_pixels=most)
        except PictureError as error:
            raise SampleError(f"it does not decode: {error}", number) from error
        if picture.shape[:2] != (height, width):
            raise SampleError(
                f"it decodes to {picture.shape[0]}x{picture.shape[1]} pixels, wanted "
                f"{height}x{width}",
                number,
            )
        return picture


def _own(picture: npt.NDArray[Any], at: int, seen: set[int]) -> npt.NDArray[Any]:
    """An array that nobody else holds, where a picture is given out twice."""
    if at in seen:
        return picture.copy()
    seen.add(at)
    return picture
