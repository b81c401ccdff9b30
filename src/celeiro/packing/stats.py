"""Mean and standard deviation per channel, the same whatever the order of the threads.

Whole numbers are summed exactly: Σx and Σx² of each sample as integers. Floats are summed
per sample in float64 and the samples added in plan order. Either way a packing that was
killed and resumed, with any number of workers, ends on the same bits.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

Number = int | float

# One block of at most this many pixels: Σx² of uint8 then stays below 2**53, so that OpenCV's
# double is exact, and Σx² of uint16 below 2**64.
_BLOCK_PIXELS = 1 << 24


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over the values of one or more samples, per channel."""

    count: int
    """Values per channel."""
    first: tuple[Number, ...]
    """Σx per channel."""
    second: tuple[Number, ...]
    """Σx² per channel."""

    def __add__(self, other: Sums) -> Sums:
        """The sums of both; for floats the order of adding matters and is the plan's."""
        if not self.count:
            return other
        if not other.count:
            return self
        return Sums(
            self.count + other.count,
            tuple(a + b for a, b in zip(self.first, other.first, strict=True)),
            tuple(a + b for a, b in zip(self.second, other.second, strict=True)),
        )

    def to_json(self) -> str:
        """As text; floats as `repr`, which gives back the same bits."""
        return json.dumps([self.count, self.first, self.second])

    @classmethod
    def from_json(cls, text: str) -> Sums:
        """The sums again."""
        count, first, second = json.loads(text)
        return cls(count, tuple(first), tuple(second))

    def mean(self) -> npt.NDArray[np.float64]:
        """Mean per channel, float64 (C,), in the units of the values."""
        return np.array([s / self.count for s in self.first], np.float64)

    def std(self) -> npt.NDArray[np.float64]:
        """Standard deviation of the population (divided by n) per channel, float64 (C,)."""
        return np.array(
            [_std(self.count, s, q) for s, q in zip(self.first, self.second, strict=True)],
            np.float64,
        )


NOTHING = Sums(0, (), ())


def channels(shape: Sequence[int]) -> int:
    """Over how many channels a sample is summed: its last axis, or one for a plain matrix."""
    return 1 if len(shape) in (0, 2) else shape[-1]


def countable(dtype: np.dtype[Any]) -> bool:
    """Whether mean and deviation mean something for these values."""
    return dtype.kind in "uif"


def sums_of(sample: npt.NDArray[Any]) -> Sums:
    """Sums per channel of one sample.

    uint8 pictures of up to four channels go through OpenCV (73 µs for 256×256×3 where NumPy
    takes 2,500); its doubles are exact below 2**53, and larger pictures are cut in blocks.
    """
    if sample.dtype == np.uint8 and sample.ndim == 3 and sample.shape[-1] <= 4:
        return _sums_of_bytes(sample)
    flat = sample.reshape(-1, channels(sample.shape))
    if sample.dtype.kind in "ui" and sample.dtype.itemsize <= 2:
        return _sums_of_integers(flat)
    values = flat.astype(np.float64, copy=False)
    with np.errstate(all="ignore"):
        first = values.sum(axis=0)
        second = np.square(values).sum(axis=0)
    return Sums(len(flat), tuple(first.tolist()), tuple(second.tolist()))


def _sums_of_bytes(image: npt.NDArray[np.uint8]) -> Sums:
    import cv2

    height, width, count = image.shape
    rows = max(1, _BLOCK_PIXELS // max(1, width))
    first, second = [0] * count, [0] * count
    for top in range(0, height, rows):
        block = image[top : top + rows]
        for channel, plane in enumerate(cv2.split(block)):
            first[channel] += int(cv2.sumElems(plane)[0])
            second[channel] += int(cv2.norm(plane, cv2.NORM_L2SQR))
    return Sums(height * width, tuple(first), tuple(second))


def _sums_of_integers(flat: npt.NDArray[Any]) -> Sums:
    first = np.zeros(flat.shape[1], np.int64)
    second = np.zeros(flat.shape[1], np.uint64)
    for top in range(0, len(flat), _BLOCK_PIXELS):
        block = flat[top : top + _BLOCK_PIXELS].astype(np.int64)
        first += block.sum(axis=0)
        second += np.square(block).sum(axis=0).astype(np.uint64)
    return Sums(len(flat), tuple(first.tolist()), tuple(second.tolist()))


def _std(count: int, first: Number, second: Number) -> float:
    if isinstance(first, int) and isinstance(second, int):
        # Exact: the difference of two large near-equal numbers is taken between integers.
        return math.sqrt(max(0, count * second - first * first)) / count
    mean = first / count
    variance = second / count - mean * mean
    return math.sqrt(variance) if variance > 0 else (0.0 if variance <= 0 else math.nan)
