"""ColorJitter: brightness, contrast, saturation and hue, changed at random."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Range = tuple[float, float]

_ORDERS = tuple(permutations(range(4)))
# Weights of red, green and blue in grey, as torchvision has them.
_GREY = (0.2989, 0.587, 0.114)
# OpenCV rounds where torchvision cuts. Not quite one half: whole numbers must stay what they are.
_CUT = -0.5 + 2**-13


@dataclass(frozen=True, slots=True)
class ColorJitter:
    """Brightness, contrast, saturation and hue, changed at random and in random order.

    For uint8 pictures, RGB or grey; saturation and hue leave grey ones alone. Factors are
    distributed as torchvision's; results differ from its by at most one level a change.
    """

    brightness: float | tuple[float, float] = 0
    """A factor from 1 - brightness to 1 + brightness; or (least, most)."""
    contrast: float | tuple[float, float] = 0
    """As `brightness`: away from the mean of the grey picture, or towards it."""
    saturation: float | tuple[float, float] = 0
    """As `brightness`: away from the grey picture, or towards it."""
    hue: float | tuple[float, float] = 0
    """A turn of the circle of colours from -hue to hue ≤ 0.5; or (least, most)."""
    _ranges: tuple[Range | None, ...] = field(init=False, repr=False, compare=False)

    draws = 5

    def __post_init__(self) -> None:
        """Refuse what is no range."""
        scales = (_scale(name, getattr(self, name)) for name in _NAMES[:3])
        object.__setattr__(self, "_ranges", (*scales, _turn(self.hue)))

    def change(self, image: npt.NDArray[Any], u: Sequence[float]) -> npt.NDArray[Any]:
        """Other colours; u: four factors, and the order."""
        if image.dtype != np.uint8 or image.shape[2] not in (1, 3):
            raise OptionError(
                f"ColorJitter on pictures {image.dtype} {image.shape}: wanted uint8 of 1 or 3 "
                "channels. Put it before ToFloat and Normalize"
            )
        for i in _ORDERS[int(u[4] * len(_ORDERS))]:
            limits = self._ranges[i]
            if limits is not None and (i < 2 or image.shape[2] == 3):
                image = _CHANGES[i](image, limits[0] + (limits[1] - limits[0]) * u[i])
        return image


def _scale(name: str, amount: float | tuple[float, float]) -> Range | None:
    least, most = amount if isinstance(amount, tuple) else (max(1 - amount, 0.0), 1 + amount)
    if not 0 <= least <= most < float("inf"):
        raise OptionError(f"ColorJitter({name}={amount!r}): wanted 0 ≤ least ≤ most")
    return None if least == most == 1 else (least, most)


def _turn(amount: float | tuple[float, float]) -> Range | None:
    least, most = amount if isinstance(amount, tuple) else (-amount, amount)
    if not -0.5 <= least <= most <= 0.5:
        raise OptionError(f"ColorJitter(hue={amount!r}): wanted -0.5 ≤ least ≤ most ≤ 0.5")
    return None if least == most == 0 else (least, most)


def brighter(image: npt.NDArray[np.uint8], factor: float) -> npt.NDArray[np.uint8]:
    """Every value times the factor."""
    return _looked_up(image, np.arange(256, dtype=np.float32) * np.float32(factor))


def contrasted(image: npt.NDArray[np.uint8], factor: float) -> npt.NDArray[np.uint8]:
    """Every value moved away from the mean of the grey picture."""
    import cv2

    mean = np.float32(cv2.mean(image if image.shape[2] == 1 else _grey(image))[0])
    levels = np.arange(256, dtype=np.float32) * np.float32(factor)
    return _looked_up(image, levels + mean * np.float32(1 - factor))


def saturated(image: npt.NDArray[np.uint8], factor: float) -> npt.NDArray[np.uint8]:
    """Every pixel moved away from its own grey."""
    import cv2

    grey = cv2.cvtColor(_grey(image), cv2.COLOR_GRAY2RGB)
    return _bytes(cv2.addWeighted(image, factor, grey, 1 - factor, _CUT))


def turned(image: npt.NDArray[np.uint8], turn: float) -> npt.NDArray[np.uint8]:
    """Every pixel's hue moved along the circle of colours."""
    import cv2

    # In float32: OpenCV's bytes hold 180 hues and 256 saturations, which is five levels off.
    colors: Any = cv2.cvtColor(np.multiply(image, np.float32(1 / 255)), cv2.COLOR_RGB2HSV)
    # OpenCV takes 360 for 0, but no hue below 0.
    colors[..., 0] += 360 * (turn % 1.0)
    turned = cv2.cvtColor(colors, cv2.COLOR_HSV2RGB)
    # As torchvision comes back from floats: 1.0 is 255, and nothing else is.
    return _bytes(cv2.convertScaleAbs(turned, alpha=255.999, beta=_CUT))


_NAMES = ("brightness", "contrast", "saturation", "hue")
_CHANGES = (brighter, contrasted, saturated, turned)


def _looked_up(
    image: npt.NDArray[np.uint8], levels: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8]:
    import cv2

    table = np.clip(levels, 0, 255).astype(np.uint8)
    return _bytes(cv2.LUT(image, table)).reshape(image.shape)


def _grey(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Cut, not rounded, to whole numbers: (H, W)."""
    import cv2

    return _bytes(cv2.transform(image, np.array([[*_GREY, _CUT]], np.float32)))


def _bytes(result: Any) -> npt.NDArray[np.uint8]:
    array: npt.NDArray[np.uint8] = result
    return array
