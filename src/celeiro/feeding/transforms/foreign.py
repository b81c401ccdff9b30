"""Transforms of other libraries, and plain functions, on one picture.

Random numbers come to each from the sample's own uniforms, so that it replays as ours do:

    albumentations     image=, mask=; a copy a thread, `set_random_seed` before each sample
    torchvision, torch Image and Mask, channels first; torch's random functions draw from a
                       generator of the sample's
    any function       f(image), or f(image, rng=numpy.random.Generator)
"""

from __future__ import annotations

import copy
import inspect
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError
from celeiro.feeding.transforms.seeded import seed_from, torch_seeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Pair = tuple[npt.NDArray[Any], npt.NDArray[Any] | None]


# Whose transforms are called in their own way, or must not be taken for torch's modules.
_LIBRARIES = ("albumentations", "albumentationsx", "keras", "kornia", "torch", "torchvision")


class Foreign:
    """One callable, called as its library wants it."""

    draws = 1
    """The seed of its random numbers."""

    def __init__(self, function: Any) -> None:
        if not callable(function):
            raise OptionError(
                f"{function!r} is no step: wanted one of celeiro's, or something that can be "
                "called with a picture"
            )
        self._function = function
        self._copies = threading.local()
        library = library_of(function)
        self._albumentations = library in ("albumentations", "albumentationsx")
        self._torch = library in ("torch", "torchvision")
        self.moves_masks: bool = self._albumentations or (self._torch and _takes_two(function))
        """Whether it can be called with a picture and its mask."""
        self._takes_rng = takes_rng(function)
        self.gives_chw: bool = self._torch or (self._albumentations and _ends_in_tensor(function))
        """Whether channels come first in what it gives."""

    def __call__(
        self,
        image: npt.NDArray[Any],
        mask: npt.NDArray[Any] | None,
        u: Sequence[float],
        *,
        chw: bool,
    ) -> Pair:
        """Picture and mask as the callable leaves them."""
        if mask is not None and not self.moves_masks:
            raise OptionError(
                f"{self._function!r} takes a picture alone: it cannot move the mask with it. Use "
                "celeiro's transforms, Albumentations' or torchvision's v2, or leave the masks out "
                "of `fields`"
            )
        if self._albumentations:
            result, mask = self._by_albumentations(image, mask, u, chw=chw)
        elif self._torch:
            result, mask = self._by_torchvision(image, mask, u, chw=chw)
        elif self._takes_rng:
            result = _array(self._function(image, rng=np.random.default_rng(seed_from(u))))
        else:
            result = _array(self._function(image))
        if result.ndim == 2 and image.ndim == 3:  # such as OpenCV's, of pictures of one channel
            result = np.expand_dims(result, 0 if chw or self.gives_chw else 2)
        return result, mask

    def _by_albumentations(
        self,
        image: npt.NDArray[Any],
        mask: npt.NDArray[Any] | None,
        u: Sequence[float],
        *,
        chw: bool,
    ) -> Pair:
        own = getattr(self._copies, "own", None)
        if own is None:  # its random state is its own, and of no use to two threads at once
            own = self._copies.own = copy.deepcopy(self._function)
        if hasattr(own, "set_random_seed"):
            own.set_random_seed(seed_from(u) % 2**32)
        if chw:
            image = np.ascontiguousarray(np.moveaxis(image, 0, -1))
        given = own(image=image) if mask is None else own(image=image, mask=mask)
        result = _array(given["image"])
        if chw and result.ndim == 3 and not self.gives_chw:
            result = np.moveaxis(result, -1, 0)
        return result, None if mask is None else _array(given["mask"])

    def _by_torchvision(
        self,
        image: npt.NDArray[Any],
        mask: npt.NDArray[Any] | None,
        u: Sequence[float],
        *,
        chw: bool,
    ) -> Pair:
        import torch

        # Copies, whatever comes: some transforms write where they read.
        pixels = torch.from_numpy(np.array(image if chw else np.moveaxis(image, 2, 0), order="C"))
        with torch.no_grad(), torch_seeded(seed_from(u)):
            if mask is None:
                return _array(self._function(_as_image(pixels))), None
            from torchvision import tv_tensors

            place = torch.from_numpy(np.array(mask, order="C"))
            place = place if mask.ndim == 2 else place.permute(2, 0, 1)
            result, moved = self._function(_as_image(pixels), tv_tensors.Mask(place))
        moved = _array(moved)
        return _array(result), moved if mask.ndim == 2 else np.moveaxis(moved, 0, 2)


def library_of(function: Any) -> str:
    """The library that a callable comes from, or that its class derives from; else nothing.

    The nearest one: a layer of Keras' is Keras', though with torch below it is a module of torch's.
    """
    kinds = (function,) if inspect.isfunction(function) else type(function).__mro__
    names = (str(getattr(kind, "__module__", "")).partition(".")[0] for kind in kinds)
    return next((name for name in names if name in _LIBRARIES), "")


def takes_rng(function: Any) -> bool:
    """Whether a callable has a parameter of the name `rng`."""
    try:
        return "rng" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # built in, without a signature
        return False


def _takes_two(function: Any) -> bool:
    """Whether a module of torch's can be called with a picture and a mask.

    torchvision's older ones take a picture alone; its containers what all in them take.
    """
    try:
        inspect.signature(getattr(function, "forward", function)).bind(None, None)
    except (TypeError, ValueError):
        return False
    held = ()
    if type(function).__module__.startswith("torchvision."):
        held = getattr(function, "transforms", ())
    return all(map(_takes_two, held))


def _as_image(pixels: Any) -> Any:
    """As a picture where torchvision is there; else it is a module of torch's own."""
    try:
        from torchvision import tv_tensors
    except ImportError:
        return pixels
    return tv_tensors.Image(pixels)


def _ends_in_tensor(function: Any) -> bool:
    if any(kind.__name__ == "ToTensorV2" for kind in type(function).__mro__):
        return True
    return any(_ends_in_tensor(step) for step in getattr(function, "transforms", ()))


def _array(result: Any) -> npt.NDArray[Any]:
    """A NumPy array of what came back: an array, a tensor, or a picture of Pillow's."""
    array = np.asarray(result)
    if array.dtype.hasobject or array.ndim < 2:
        raise OptionError(
            f"a transform gave {type(result).__name__}, wanted a picture (H, W, C) as an array"
        )
    return array
