"""How a picture comes to the wanted size: first a plan in whole numbers, then the pixels.

    stretch  the whole picture fills the frame; its aspect is lost (what the article does)
    crop     scaled until it covers the frame, the centre is kept
    pad      scaled until the whole picture just fits, centred, zeros around
    fit      as `pad`, but never enlarged

A picture, its mask and its boxes go through the same `Placement`, and so stay together.
An axis that shrinks is averaged over areas, one that grows is interpolated linearly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from celeiro.errors import OptionError, PictureError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["MODES", "Mode", "Placement", "apply", "move_boxes", "place"]

Mode = Literal["stretch", "fit", "crop", "pad"]
MODES: tuple[Mode, ...] = get_args(Mode)

# What cv2.resize averages and interpolates itself (OpenCV 5.0, tried one by one).
_OPENCV_TYPES = frozenset(np.dtype(name) for name in ("u1", "u2", "i2", "f4", "f8"))
# For the others, a type that OpenCV takes and that holds every value.
_WIDER_TYPES = {
    np.dtype(narrow): np.dtype(wide)
    for narrow, wide in {
        "?": "f4",
        "i1": "i2",
        "i4": "f8",
        "u4": "f8",
        "i8": "f8",
        "u8": "f8",
        "f2": "f4",
    }.items()
}
_EXACT_IN_FLOAT64 = 2**53
# OpenCV's area filter refuses five channels and more.
_OPENCV_CHANNELS = 4


@dataclass(frozen=True, slots=True)
class Placement:
    """How a picture lands in a frame. All sizes are (height, width) in pixels."""

    source: tuple[int, int]
    """Size of the picture."""

    target: tuple[int, int]
    """Size of the frame."""

    crop: tuple[int, int, int, int]
    """The part of the picture that is used: top, left, height, width."""

    scaled: tuple[int, int]
    """The size that this part is brought to."""

    at: tuple[int, int]
    """Where it stands in the frame: top, left."""

    @property
    def fills(self) -> bool:
        """Whether nothing of the frame stays empty."""
        return self.scaled == self.target


@lru_cache(maxsize=4096)
def place(source: tuple[int, int], target: tuple[int, int], mode: Mode) -> Placement:
    """Plan how a picture of the size `source` lands in a frame of the size `target`.

    Examples
    --------
    >>> place((100, 200), (50, 50), "crop").crop
    (0, 50, 100, 100)
    >>> place((100, 200), (50, 50), "pad").scaled
    (25, 50)
    """
    if min(source) < 1 or min(target) < 1:
        raise OptionError(f"a picture of {source} cannot come to {target}: sizes begin at 1 pixel")
    whole = (0, 0, *source)
    if mode == "stretch":
        return Placement(source, target, whole, target, (0, 0))
    if mode == "crop":
        return Placement(source, target, _centred_crop(source, target), target, (0, 0))
    if mode not in ("fit", "pad"):
        raise OptionError(f"resize {mode!r} is unknown. Choose one of {', '.join(MODES)}")
    small = source[0] <= target[0] and source[1] <= target[1]
    scaled = source if mode == "fit" and small else _contained(source, target)
    at = ((target[0] - scaled[0]) // 2, (target[1] - scaled[1]) // 2)
    return Placement(source, target, whole, scaled, at)


def _centred_crop(source: tuple[int, int], target: tuple[int, int]) -> tuple[int, int, int, int]:
    """Give the largest centred box of the source that has the target's aspect."""
    height, width = source
    if width * target[0] > height * target[1]:
        width = max(1, _rounded(height * target[1], target[0]))
    else:
        height = max(1, _rounded(width * target[0], target[1]))
    return (source[0] - height) // 2, (source[1] - width) // 2, height, width


def _contained(source: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """Give the largest size of the source's aspect that fits into the target."""
    height, width = source
    if width * target[0] > height * target[1]:
        return max(1, _rounded(height * target[1], width)), target[1]
    return target[0], max(1, _rounded(width * target[0], height))


def _rounded(dividend: int, divisor: int) -> int:
    """Divide and round half up, exactly, whatever the machine's floats do."""
    return (2 * dividend + divisor) // (2 * divisor)


def apply(
    image: npt.NDArray[Any],
    placement: Placement,
    *,
    nearest: bool = False,
    out: npt.NDArray[Any] | None = None,
) -> npt.NDArray[Any]:
    """Bring a picture (H, W) or (H, W, C) of any numeric type to its frame.

    Parameters
    ----------
    nearest
        Take the nearest pixel and compute no new values, as masks need.
    out
        Write here (frame's size, picture's type) and allocate nothing on the usual paths.
    """
    if image.ndim not in (2, 3):
        raise OptionError(f"an array of shape {image.shape} is no picture: (H, W) or (H, W, C)")
    if image.shape[:2] != placement.source:
        raise PictureError(
            f"its size is {image.shape[0]}x{image.shape[1]}, "
            f"not {placement.source[0]}x{placement.source[1]} as was expected"
        )
    if not image.dtype.isnative:
        image = image.astype(image.dtype.newbyteorder("="))
    out = _frame((*placement.target, *image.shape[2:]), image.dtype, out)
    inside = out
    if not placement.fills:
        out[...] = 0
        (top, left), (height, width) = placement.at, placement.scaled
        inside = out[top : top + height, left : left + width]
    top, left, height, width = placement.crop
    _scale(image[top : top + height, left : left + width], inside, nearest=nearest)
    return out


def _frame(
    shape: tuple[int, ...], dtype: np.dtype[Any], out: npt.NDArray[Any] | None
) -> npt.NDArray[Any]:
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype:
        raise OptionError(f"out is {out.dtype} {out.shape}, the picture needs {dtype} {shape}")
    return out


def _scale(part: npt.NDArray[Any], into: npt.NDArray[Any], *, nearest: bool) -> None:
    if part.shape == into.shape:
        into[...] = part
    elif nearest:
        into[...] = part[_nearest(part.shape[0], into.shape[0])][
            :, _nearest(part.shape[1], into.shape[1])
        ]
    elif part.dtype not in _OPENCV_TYPES:
        into[...] = _narrowed(_widened(part), part, into.shape)
    elif part.ndim == 3 and part.shape[2] > _OPENCV_CHANNELS:
        for first in range(0, part.shape[2], _OPENCV_CHANNELS):
            some = np.ascontiguousarray(part[..., first : first + _OPENCV_CHANNELS])
            small = _smooth(some, into.shape[:2])
            into[..., first : first + _OPENCV_CHANNELS] = small.reshape(*into.shape[:2], -1)
    elif into.strides[0] >= into.strides[1] == into.itemsize * into[0, 0].size:
        _smooth(part, into.shape[:2], into)
    else:  # OpenCV writes only where the pixels of a row follow each other
        into[...] = _smooth(part, into.shape[:2]).reshape(into.shape)


def _smooth(
    part: npt.NDArray[Any], size: tuple[int, int], into: npt.NDArray[Any] | None = None
) -> npt.NDArray[Any]:
    """Average the axes that shrink, then interpolate those that grow."""
    import cv2

    height, width = min(size[0], part.shape[0]), min(size[1], part.shape[1])
    shrinks, grows = (height, width) != part.shape[:2], (height, width) != size
    if shrinks and grows:  # cv2 has no filter for both: its area filter would blur nothing
        part = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
    how = cv2.INTER_LINEAR if grows else cv2.INTER_AREA
    return cv2.resize(part, (size[1], size[0]), dst=into, interpolation=how)


def _nearest(length: int, wanted: int) -> npt.NDArray[np.int64]:
    """Give the source pixel that lies under the centre of each wanted pixel.

    The area and linear filters align pixel centres, and so must masks. cv2.INTER_NEAREST does not
    (it samples at the pixel's corner: up to half a source pixel off);
    cv2.INTER_NEAREST_EXACT does, and gives the same as this in whole numbers, but takes neither
    64-bit numbers (it returns them as int32) nor more than 128 channels.
    """
    return (2 * np.arange(wanted, dtype=np.int64) + 1) * length // (2 * wanted)


def _widened(part: npt.NDArray[Any]) -> npt.NDArray[Any]:
    wider = _WIDER_TYPES.get(part.dtype)
    if wider is None:
        raise OptionError(
            f"pictures of type {part.dtype} cannot be resized. Convert them to float32 or uint8"
        )
    wide = part.astype(wider)
    if part.dtype.itemsize == 8 and np.abs(wide).max() > _EXACT_IN_FLOAT64:
        raise OptionError(
            f"pictures of type {part.dtype} are resized up to ±2**53, and one holds "
            f"{np.abs(wide).max():.0f}. Convert them to float64"
        )
    return wide


def _narrowed(
    wide: npt.NDArray[Any], part: npt.NDArray[Any], shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    """Resize in the wider type, and come back without leaving the range of the picture."""
    scaled = np.empty(shape, dtype=wide.dtype)
    _scale(wide, scaled, nearest=False)
    if part.dtype == np.bool_:
        return scaled >= 0.5
    if part.dtype.kind in "iu":
        # cv2's weights are float32: their sum may be 1 + 6e-8, which overflows the largest int32.
        scaled = np.clip(np.rint(scaled), wide.min(), wide.max())
    return scaled.astype(part.dtype)


def move_boxes(boxes: npt.ArrayLike, placement: Placement) -> npt.NDArray[np.float64]:
    """Move boxes (n, 4) of x1, y1, x2, y2 from the picture to its frame, and clip them there.

    Coordinates are those of pixel edges: the whole picture is (0, 0, width, height). A box that
    lies outside becomes one of no area on the border, so that fields beside the boxes keep their
    rows; NaN stays NaN.

    Examples
    --------
    >>> move_boxes([[0, 0, 200, 100]], place((100, 200), (50, 50), "pad"))
    array([[ 0., 12., 50., 37.]])
    """
    top, left, height, width = placement.crop
    scale = np.array([placement.scaled[1] / width, placement.scaled[0] / height] * 2)
    origin = np.array([left, top] * 2, dtype=np.float64)
    shift = np.array([placement.at[1], placement.at[0]] * 2, dtype=np.float64)
    limit = np.array([placement.target[1], placement.target[0]] * 2, dtype=np.float64)
    edges: npt.NDArray[np.float64] = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    moved: npt.NDArray[np.float64] = np.clip((edges - origin) * scale + shift, 0.0, limit)
    return moved
