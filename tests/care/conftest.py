"""Small files of every store with everything beside the samples that the format knows."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import h5py
import numpy as np
import pytest

import celeiro

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COUNT = 7


@dataclass(frozen=True, slots=True)
class Packed:
    """A file, and where in it stands what."""

    path: Path
    """The file."""
    source: Path
    """The manifest that it was packed from."""
    places: dict[str, list[tuple[int, int]]]
    """First byte and length of each part of every data set, by name."""


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven pictures with classes, splits, masks, boxes, numbers and text."""
    folder = tmp_path_factory.mktemp("source")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(COUNT):
        # Names of very unequal length: keys then stand as ragged text.
        name = f"{'long' * 9 * (number % 2)}{number}.jpg"
        coarse = rng.integers(0, 256, (5, 5, 3), np.uint8)
        cv2.imwrite(str(folder / name), cv2.resize(coarse, (20, 16)))
        cv2.imwrite(str(folder / f"m{number}.png"), rng.integers(0, 4, (16, 20), np.uint8))
        rows.append(
            {
                "path": name,
                "label": ("cat", "dog")[number % 2],
                "split": ("train", "val")[number // 5],
                "mask": f"m{number}.png",
                "boxes": [[1, 2, 3 + number, 9]] * (number % 3),
                "age": number * 1.5,
                "colour": ("red", "a long name of a colour")[number % 2],
            }
        )
    path = folder / "table.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def originals(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Packed]:
    """`originals("jpeg")`: packed once; not to be written to."""
    folder = tmp_path_factory.mktemp("packed")
    made: dict[str, Packed] = {}

    def make(store: str) -> Packed:
        if store not in made:
            path = folder / f"{store}.h5"
            options: dict[str, Any] = {} if store == "encoded" else {"size": (16, 20)}
            if store == "gzip":
                options["compressor"] = "gzip"
            kind = "lossless" if store == "gzip" else store
            celeiro.pack(manifest, path, store=kind, **options)
            made[store] = Packed(path, manifest, places_of(path))
        return made[store]

    return make


@pytest.fixture
def packed(originals: Callable[[str], Packed], tmp_path: Path) -> Callable[[str], Packed]:
    """`packed("jpeg")`: a copy of one's own, to be damaged."""

    def make(store: str) -> Packed:
        found = originals(store)
        path = tmp_path / f"{store}.h5"
        shutil.copy(found.path, path)
        return Packed(path, found.source, found.places)

    return make


def places_of(path: Path) -> dict[str, list[tuple[int, int]]]:
    """Where the bytes of every data set stand, as h5py tells."""
    places: dict[str, list[tuple[int, int]]] = {}

    def note(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        if item.chunks:
            parts: list[tuple[int, int]] = []
            item.id.chunk_iter(lambda chunk: parts.append((chunk.byte_offset, chunk.size)))
            places[name] = parts
        else:
            places[name] = [(item.id.get_offset(), item.id.get_storage_size())]

    with h5py.File(path, "r") as file:
        file.visititems(note)
    return places


@pytest.fixture(scope="session")
def flip() -> Callable[..., None]:
    """Change one byte of a file: `flip(path, at)`."""

    def change(path: Path, at: int, by: int = 0xFF) -> None:
        with path.open("r+b") as file:
            file.seek(at)
            (value,) = file.read(1)
            file.seek(at)
            file.write(bytes([value ^ by]))

    return change
