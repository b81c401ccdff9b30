"""Ten tiny pictures with everything beside them, packed once into each store."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from PIL import Image

import celeiro

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 10
STORES: dict[str, dict[str, Any]] = {
    "pixels": {"size": (24, 32)},
    "jpeg": {"size": (24, 32)},
    "lossless": {"size": (24, 32)},
    "gzip": {"size": (24, 32), "store": "lossless", "compressor": "gzip"},
    "encoded": {},
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures of two sizes, the first of them turned by its EXIF, and a manifest."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    lines = []
    for i in range(COUNT):
        height, width = (40, 48) if i % 3 else (33, 27)
        # Smooth, as photographs are.
        small = rng.integers(0, 256, (4, 4, 3), np.uint8)
        image = Image.fromarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))
        exif = Image.Exif()
        exif[0x0112] = 6 if i == 0 else 1
        image.save(folder / f"{i}.jpg", quality=90, exif=exif)
        side = (width, height) if i == 0 else (height, width)
        Image.fromarray(rng.integers(0, 4, side, np.uint8)).save(folder / f"{i}.png")
        lines.append(
            {
                "path": f"{i}.jpg", "label": ["cat", "dog", "bird"][i % 3], "mask": f"{i}.png",
                "split": ["train", "train", "val"][i % 3],
                "boxes": [[0, 0, 4 + j, 8] for j in range(i % 3)],
                "weight": i / 4, "name": f"Mimi {'é' * i}", "parts": list(range(i % 4)),
            }
        )  # fmt: skip
    (folder / "set.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="session")
def packed(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The file of each store; not to be written to."""
    folder = tmp_path_factory.mktemp("packed")
    for name, options in STORES.items():
        out = folder / f"{name}.h5"
        celeiro.pack(pictures / "set.jsonl", out, **{"store": name, **options})
    return {name: folder / f"{name}.h5" for name in STORES}


@pytest.fixture
def path(packed: dict[str, Path], store: str, tmp_path: Path) -> Path:
    """A file of the store, to do with as one likes."""
    return shutil.copy(packed[store], tmp_path / f"{store}.h5")
