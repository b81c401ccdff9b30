"""Hugging Face datasets: Arrow with the JPEGs in it, its torch format, and DataLoader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feed_rivals import Contender, labelled
from feed_rivals.torch_loader import fed, name_torchvision_operators

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def make(photos: Path, out: Path) -> None:
    """A column of pictures and one of labels."""
    name_torchvision_operators()
    import datasets

    found = labelled(photos)
    columns = {"image": [{"bytes": path.read_bytes(), "path": None} for path, _ in found],
               "label": [label for _, label in found]}  # fmt: skip
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(str(out))


def feed(made: Path) -> Iterator[Any]:
    """Tensors, from the format that its guide for PyTorch names."""
    name_torchvision_operators()
    import datasets

    for batch in fed(datasets.load_from_disk(str(made)).with_format("torch")):
        yield batch["image"], batch["label"]


UINT8 = {"hf datasets": Contender(feed, "huggingface", make, ("datasets", "torch", "pillow"))}
AUGMENTED: dict[str, Contender] = {}
