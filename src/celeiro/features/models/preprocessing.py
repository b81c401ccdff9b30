"""What a model wants pictures to be: size, colours, and what stands for black and white.

    picture ── resize, crop ── colours ── values ──> (B, H, W, C) or (B, C, H, W)
               └───────── celeiro's own transforms, in the loader's threads ────┘

A batch of uint8 is one whose values are left to the model: on a GPU, and where the model itself
takes 0–255.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import ModelError, OptionError
from celeiro.feeding.transforms import CenterCrop, Normalize, Resize, ToCHW, ToFloat
from celeiro.feeding.transforms.sizes import pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from celeiro.feeding.transforms.kinds import Size
    from celeiro.reading.dataset import Dataset

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Preprocessing", "Wishes"]

_logger = logging.getLogger(__name__)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Of red, green and blue over ImageNet, of 0–1."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""As `IMAGENET_MEAN`."""

# What celeiro's Resize filters by, under the names that timm, torchvision and Pillow use.
FILTERS = ("bilinear", "bicubic")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the caller wants otherwise than the model was trained with; None: as it was trained."""

    size: int | tuple[int, int] | None = None
    """Of the pictures that the model sees."""
    mean: float | Sequence[float] | None = None
    """Of 0–1; of 0–255 where it or `std` goes above 1."""
    std: float | Sequence[float] | None = None
    """As `mean`."""
    color: str | None = None
    """RGB, BGR or GRAY."""
    interpolation: str | None = None
    """The filter that pictures are resized by."""

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        if self.size is not None:
            pair(self.size, "size")
        if (self.mean is None) != (self.std is None):
            raise OptionError(
                f"mean={self.mean!r}, std={self.std!r}: give both, or neither for the model's own."
            )
        if self.color not in (None, "RGB", "BGR", "GRAY"):
            raise OptionError(f"color {self.color!r}: wanted 'RGB', 'BGR', 'GRAY' or None.")
        if self.interpolation not in (None, *FILTERS):
            raise OptionError(
                f"interpolation {self.interpolation!r}: wanted one of {', '.join(FILTERS)}."
            )


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What a model wants pictures to be."""

    size: Size | None = None
    """Height and width that the model sees; None: whatever comes."""
    resize: int | Size | None = None
    """What pictures are resized to before their middle is cut out: the shorter side, or both."""
    interpolation: str = "bilinear"
    """The filter that does it."""
    mean: tuple[float, ...] = ()
    """Taken from the values; of one channel, of all, or nothing."""
    std: tuple[float, ...] = ()
    """What they are divided by then."""
    top: float = 1.0
    """What white is when `mean` is taken: 1, or 255."""
    color: str = "RGB"
    """RGB, BGR, GRAY; empty: channels that are no colours, taken as they are."""
    channels: int = 3
    """How many."""

    def __post_init__(self) -> None:
        """Fall back on a filter that is there."""
        if self.interpolation not in FILTERS:
            _logger.warning(
                "the model was trained on pictures resized by the filter %r, which celeiro does "
                "not have: they are resized by %r",
                self.interpolation,
                FILTERS[0],
            )
            object.__setattr__(self, "interpolation", FILTERS[0])

    def fitting(
        self, images: Any, dtype: npt.DTypeLike, model: str, *, chw: bool
    ) -> npt.NDArray[Any]:
        """A batch as the model takes it, C-contiguous; ModelError for another shape.

        Of whole numbers a model takes pixels, 0-255: what is between two goes to the nearer one.
        """
        images, axis = np.asarray(images), 1 if chw else 3
        if images.ndim == 3 and self.channels == 1:
            images = np.expand_dims(images, axis)
        if images.ndim != 4 or images.shape[axis] != self.channels:
            order = "B, C, H, W" if chw else "B, H, W, C"
            raise ModelError(
                f"{model} is given a batch of shape {images.shape}, wanted ({order}) of "
                f"{self.channels} channels: use its own transforms, or some that end alike."
            )
        if images.dtype.kind == "f" and np.dtype(dtype).kind in "ui":
            images = np.clip(np.rint(images), 0, 255)
        return np.ascontiguousarray(images, dtype)

    def but(self, wishes: Wishes) -> Preprocessing:
        """As the caller wants it."""
        changed: dict[str, Any] = {}
        if wishes.size is not None:
            size = pair(wishes.size, "size")
            changed |= {"size": size, "resize": self._resized_for(size)}
        if wishes.mean is not None and wishes.std is not None:
            changed |= _values(wishes.mean, wishes.std, self.channels)
        if wishes.interpolation is not None:
            changed["interpolation"] = wishes.interpolation
        if wishes.color is not None:
            if {"GRAY": 1, "RGB": 3, "BGR": 3}[wishes.color] != self.channels:
                raise OptionError(
                    f"color {wishes.color!r} for a model whose pictures have {self.channels} "
                    "channels. Leave color out: grey pictures are given to a model of colours "
                    "three times over, and coloured ones turned grey for a model of one channel."
                )
            changed["color"] = wishes.color
        return replace(self, **changed)

    def _resized_for(self, size: Size) -> int | Size:
        """The same margin around another size."""
        old, margin = self.size, self.resize
        if old is None or margin is None:
            return size
        if isinstance(margin, int):
            return max(min(size), margin * min(size) // min(old))
        return margin[0] * size[0] // old[0], margin[1] * size[1] // old[1]

    def usual_steps(self, *, chw: bool, late: bool = False) -> tuple[Any, ...]:
        """Transforms of pictures of uint8, in RGB where the model takes colours."""
        color = "RGB" if self.channels == 3 and self.color else self.color
        return self.steps(color, self.channels, np.uint8, chw=chw, late=late)

    def steps_for(self, ds: Dataset, *, chw: bool, late: bool = False) -> tuple[Any, ...]:
        """Transforms of the pictures of a dataset."""
        shape = ds.shape
        if len(shape) not in (3, 4):
            raise OptionError(
                f"samples of shape {tuple(shape[1:])} are no pictures: wanted (H, W) or (H, W, C). "
                "Give a function of your own as the model, which takes them as they are."
            )
        channels = 1 if len(shape) == 3 else int(shape[3] or 3)
        return self.steps(ds.color, channels, ds.dtype, chw=chw, late=late)

    def steps(
        self, color: str, channels: int, dtype: npt.DTypeLike, *, chw: bool, late: bool
    ) -> tuple[Any, ...]:
        """Transforms of pictures that are stored so.

        Parameters
        ----------
        color, channels, dtype
            Of the pictures; an empty colour is one that nobody told.
        chw
            Whether the model takes channels first.
        late
            Leave the values of uint8 to the model.
        """
        dtype = np.dtype(dtype)
        steps: list[Any] = []
        if self.resize is not None:
            cubic = self.interpolation == "bicubic"
            steps.append(Resize(self.resize, "bicubic" if cubic else "bilinear"))
        if self.size is not None and self.size != self.resize:
            steps.append(CenterCrop(self.size))
        steps += self._colours(color, channels)
        if not (late and dtype == np.uint8):
            steps += self._levels(dtype)
        return (*steps, ToCHW()) if chw else tuple(steps)

    def _colours(self, color: str, channels: int) -> list[Any]:
        if self.color == "" or (channels, color) == (self.channels, self.color):
            wanted: list[Any] = []
        elif channels == 1 and self.channels == 3:
            wanted = [_thrice]
        elif channels == 3 and self.channels == 1:
            wanted = [_Grey(color or "RGB")]
        elif {color, self.color} == {"RGB", "BGR"}:
            wanted = [Swap()]
        else:
            wanted = []
            if color == "" and channels == self.channels == 3:
                _logger.warning(
                    "the file does not say whether its channels are RGB or BGR: the model, which "
                    "was trained on %s, is given them as they are",
                    self.color,
                )
        if not wanted and channels != self.channels:
            raise OptionError(
                f"pictures of {channels} channels for a model of {self.channels}: wanted as many, "
                "or 1 and 3. Choose another model, or give it a transform of your own."
            )
        return wanted

    def _levels(self, dtype: np.dtype[Any]) -> list[Any]:
        """Values as the model was trained with."""
        mean, std = np.array(self.mean or (0.0,)), np.array(self.std or (1.0,))
        same = not mean.any() and bool((std == 1).all())
        if self.top == 1:
            return [ToFloat()] if same else [ToFloat(), Normalize(self.mean, self.std)]
        if dtype == np.uint8:
            return [] if same else [Normalize(self.mean, self.std)]
        return [ToFloat(), Normalize((mean / self.top).tolist(), (std / self.top).tolist())]

    def to_json(self) -> dict[str, Any]:
        """For the file's provenance."""
        resize = self.resize
        return {
            "size": None if self.size is None else list(self.size),
            "resize": list(resize) if isinstance(resize, tuple) else resize,
            "interpolation": self.interpolation,
            "mean": list(self.mean),
            "std": list(self.std),
            "white": self.top,
            "color": self.color,
        }


def _values(mean: Any, std: Any, channels: int) -> dict[str, Any]:
    """Mean and standard deviation as the caller gave them."""
    pairs = []
    for name, given in (("mean", mean), ("std", std)):
        numbers = np.atleast_1d(np.asarray(given, np.float64))
        if numbers.ndim != 1 or len(numbers) not in (1, channels) or not np.isfinite(numbers).all():
            raise OptionError(
                f"{name}={given!r}: wanted one finite number, or one for each of the {channels} "
                "channels that the model takes."
            )
        pairs.append(tuple(np.broadcast_to(numbers, channels).tolist()))
    if min(pairs[1]) <= 0:
        raise OptionError(f"std={std!r}: nothing can be divided by it. Give numbers above 0.")
    large = max(max(map(abs, numbers)) for numbers in pairs) > 1
    return {"mean": pairs[0], "std": pairs[1], "top": 255.0 if large else 1.0}


@dataclass(frozen=True, slots=True)
class Swap:
    """Red for blue: a step that makes RGB of BGR, and BGR of RGB."""

    draws = 0

    def change(self, image: npt.NDArray[Any], u: Sequence[float]) -> npt.NDArray[Any]:
        """Turn the channels round."""
        return np.ascontiguousarray(image[..., ::-1])


@dataclass(frozen=True, slots=True)
class _Grey:
    """What colours look like without them."""

    color: str

    def __call__(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        # Rec. 601, as Pillow and OpenCV have it.
        red, green, blue = image[..., :: -1 if self.color == "BGR" else 1].transpose(2, 0, 1)
        grey = 0.299 * red + 0.587 * green + 0.114 * blue
        if image.dtype.kind in "ui":
            grey = np.rint(grey)
        return np.asarray(grey, image.dtype)[..., np.newaxis]


def _thrice(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Grey as the three channels of a colour."""
    return np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
