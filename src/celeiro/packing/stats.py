"""Mean and standard deviation per channel, the same whatever the order of the threads.

Whole numbers are summed exactly: Σx and Σx² of each sample as integers. Floats are summed
per sample in float64 and the samples added in plan order. Either way a packing that was
killed and resumed, with any number of workers, ends on the same bits.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_LIMB = (1 << 64) - 1

# One block of at most this many pixels: Σx² of uint8 then stays below 2**41, so that OpenCV's
# double rounds to the exact sum, and Σx² of uint16 below 2**56.
_BLOCK_PIXELS = 1 << 24

# Larger pictures are rare enough to take fresh memory, and give it back.
_KEPT_PIXELS = 1 << 20

_local = threading.local()


# Σx² of this many 16-bit values fits into int64.
_SAFE_COUNT = 1 << 31


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Sums over the values of one or more samples, per channel.

    Arrays, because the features of a network have as many channels as values: 25,088 of VGG16.
    """

    count: int
    """Values per channel."""
    first: npt.NDArray[Any]
    """Σx per channel: float64, or exact as int64 or Python's integers."""
    second: npt.NDArray[Any]
    """Σx² per channel."""

    @property
    def exact(self) -> bool:
        """Whether these are sums of whole numbers."""
        return self.first.dtype != np.float64

    def __add__(self, other: Sums) -> Sums:
        """The sums of both; for floats the order of adding matters and is the plan's."""
        if not self.count:
            return other
        if not other.count:
            return self
        kind = object if self.exact else np.float64
        with np.errstate(all="ignore"):
            return Sums(
                self.count + other.count,
                self.first.astype(kind) + other.first,
                self.second.astype(kind) + other.second,
            )

    def to_array(self) -> npt.NDArray[Any]:
        """Both sums as one array: float64 (2, C), or whole numbers of 128 bits (2, C, 2)."""
        both = np.stack([self.first, self.second])
        if not self.exact:
            return both
        both = both.astype(object)
        low, high = both & _LIMB, (both >> 64) & _LIMB
        return np.stack([low, high], axis=-1).astype(np.uint64)

    @classmethod
    def from_array(cls, count: int, both: npt.NDArray[Any]) -> Sums:
        """The sums again, to the bit."""
        if both.ndim == 3:
            high = both[..., 1].view(np.int64).astype(object)
            both = (high << 64) + both[..., 0].astype(object)
        return cls(count, both[0], both[1])

    def mean(self) -> npt.NDArray[np.float64]:
        """Mean per channel, float64 (C,), in the units of the values."""
        return np.array([s / self.count for s in self.first.tolist()], np.float64)

    def std(self) -> npt.NDArray[np.float64]:
        """Standard deviation of the population (divided by n) per channel, float64 (C,)."""
        pairs = zip(self.first.tolist(), self.second.tolist(), strict=True)
        return np.array([_std(self.count, s, q) for s, q in pairs], np.float64)


NOTHING = Sums(0, np.zeros(0), np.zeros(0))


def add_up(before: Sums, parts: Sequence[Sums]) -> Sums:
    """`before` and then `parts`, in their order."""
    parts = [part for part in parts if part.count]
    total = sum(part.count for part in parts)
    if 0 < total < _SAFE_COUNT and all(p.first.dtype == np.int64 for p in parts):
        # Whole numbers may be added in any order: first the small ones.
        first = np.sum([p.first for p in parts], axis=0)
        second = np.sum([p.second for p in parts], axis=0)
        return before + Sums(total, first, second)
    if not parts or any(part.exact for part in (before, *parts)):
        for part in parts:
            before = before + part
        return before
    # As one by one, without an array in between for each.
    start, *rest = [before, *parts] if before.count else parts
    first, second = start.first.copy(), start.second.copy()
    with np.errstate(all="ignore"):
        for part in rest:
            first += part.first
            second += part.second
    return Sums(before.count + total, first, second)


def channels(shape: Sequence[int]) -> int:
    """Over how many channels a sample is summed: its last axis, or one for a plain matrix."""
    return 1 if len(shape) in (0, 2) else shape[-1]


def countable(dtype: np.dtype[Any]) -> bool:
    """Whether mean and deviation mean something for these values."""
    return dtype.kind in "uif"


def sums_of(sample: npt.NDArray[Any]) -> Sums:
    """Sums per channel of one sample.

    uint8 pictures of up to four channels go through OpenCV (73 µs for 256×256×3 where NumPy
    takes 2,500); its doubles round to the exact sums below 2**50, and larger pictures are cut in
    blocks.
    """
    if sample.dtype == np.uint8 and sample.ndim == 3 and sample.shape[-1] <= 4:
        return _sums_of_bytes(sample)
    flat = sample.reshape(-1, channels(sample.shape))
    if sample.dtype.kind in "ui" and sample.dtype.itemsize <= 2:
        return _sums_of_integers(flat)
    with np.errstate(all="ignore"):  # a signalling NaN warns when it is converted
        values = flat.astype(np.float64, copy=False)
        if len(flat) == 1:  # a row of features, a value a channel
            return Sums(1, values[0].copy(), np.square(values[0]))
        first = values.sum(axis=0)
        second = np.square(values).sum(axis=0)
    return Sums(len(flat), first, second)


def _sums_of_bytes(image: npt.NDArray[np.uint8]) -> Sums:
    import cv2

    height, width, count = image.shape
    rows = max(1, _BLOCK_PIXELS // max(1, width))
    first, second = [0] * count, [0] * count
    for top in range(0, height, rows):
        block = image[top : top + rows]
        sums = cv2.sumElems(block)
        for channel, plane in enumerate(cv2.split(block, _planes(block.shape))):
            first[channel] += int(sums[channel])
            # OpenCV squares a square root, so 792,404 may come as 792,403.9999999999.
            second[channel] += round(cv2.norm(plane, cv2.NORM_L2SQR))
    if height * width < _SAFE_COUNT:
        both = np.array([first, second], np.int64)
        return Sums(height * width, both[0], both[1])
    return Sums(height * width, _whole(first), _whole(second))


def _whole(numbers: Sequence[int]) -> npt.NDArray[Any]:
    """As int64 where that holds them."""
    small = max(map(abs, numbers), default=0) < 1 << 63
    return np.array(numbers, np.int64 if small else object)


def _planes(shape: tuple[int, ...]) -> list[npt.NDArray[np.uint8]]:
    """Memory of this thread to split a block into: fresh memory costs 30 µs of page faults."""
    planes: list[npt.NDArray[np.uint8]] | None = getattr(_local, "planes", None)
    if planes is None or len(planes) != shape[2] or planes[0].shape != shape[:2]:
        planes = [np.empty(shape[:2], np.uint8) for _ in range(shape[2])]
        if planes and planes[0].size <= _KEPT_PIXELS:
            _local.planes = planes
    return planes


def _sums_of_integers(flat: npt.NDArray[Any]) -> Sums:
    first = second = np.zeros(flat.shape[1], np.int64)
    for top in range(0, len(flat), _BLOCK_PIXELS):
        if top:
            first, second = first.astype(object), second.astype(object)
        block = flat[top : top + _BLOCK_PIXELS].astype(np.int64)
        first = first + block.sum(axis=0)
        second = second + np.square(block).sum(axis=0)
    return Sums(len(flat), first, second)


def _std(count: int, first: float, second: float) -> float:
    if isinstance(first, int) and isinstance(second, int):
        # Exact: the difference of two large near-equal numbers is taken between integers.
        return math.sqrt(max(0, count * second - first * first)) / count
    mean = first / count
    variance = second / count - mean * mean
    return math.sqrt(variance) if variance > 0 else (0.0 if variance <= 0 else math.nan)
