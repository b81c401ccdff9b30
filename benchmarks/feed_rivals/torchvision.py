"""torchvision: ImageFolder and DataLoader, pictures decoded by Pillow, as its tutorials do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from feed_rivals import CROP, MEAN, STD, Contender
from feed_rivals.torch_loader import fed, name_torchvision_operators

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def pixels(image: Any) -> Any:
    """From Pillow's picture to a tensor, height × width × channels."""
    import torch

    return torch.from_numpy(np.array(image))


def feed(made: Path) -> Iterator[Any]:
    """Pixels as they are."""
    name_torchvision_operators()
    from torchvision.datasets import ImageFolder

    return fed(ImageFolder(str(made), transform=pixels))


def augmented(made: Path) -> Iterator[Any]:
    """The usual chain."""
    name_torchvision_operators()
    import torch
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    chain = v2.Compose([
        v2.RandomResizedCrop(CROP),
        v2.RandomHorizontalFlip(),
        v2.PILToTensor(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
        v2.ToDtype(torch.float16),
    ])  # fmt: skip
    return fed(ImageFolder(str(made), transform=chain))


PACKAGES = ("torch", "torchvision", "pillow")
UINT8 = {"torchvision": Contender(feed, packages=PACKAGES)}
AUGMENTED = {"torchvision": Contender(augmented, packages=PACKAGES)}
