"""Make the golden files of format version 1, and beside each what every reader must find in it.

    python tests/golden/make.py

Files of a version that was released are never made again: they are what users have. Expectations
come from the sources and from NumPy, OpenCV and h5py, never from celeiro's own reading.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import h5py
import hdf5plugin  # noqa: F401  (h5py reads Blosc with it)
import numpy as np

import celeiro

HERE = Path(__file__).parent
DECODE_TOLERANCE = 2  # levels by which JPEG decoders may differ
CLASSES = ("cat", "dog", "garça-real")


def main() -> None:
    """Make all of them, or those that are named."""
    makers = {
        "pixels": make_pixels,
        "jpeg": make_jpeg,
        "lossless": make_lossless,
        "gzip": make_gzip,
        "encoded": make_encoded,
    }
    for name in sys.argv[1:] or makers:
        for old in HERE.glob(f"{name}.*"):
            old.unlink()
        with tempfile.TemporaryDirectory() as folder:
            expected = makers[name](Path(folder), HERE / f"{name}.h5")
        expected["file_bytes"] = (HERE / f"{name}.h5").stat().st_size
        text = json.dumps(expected, indent=1, ensure_ascii=False, sort_keys=True)
        (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def make_pixels(folder: Path, out: Path) -> dict[str, Any]:
    """PNG pictures of one size, classes, splits, names of very unequal length, plain fields."""
    names = ["a.png", "cats/b.png", "dogs/" + "long" * 20 + ".png", "d.png", "é.png"]
    labels, splits = [0, 1, 2, 0, 1], ["train", "train", "val", "train", None]
    pictures = [photo(i, (12, 16)) for i in range(5)]
    rows = [
        {
            "path": name,
            "label": CLASSES[label],
            "split": split,
            "taken": f"2024-01-{i + 1:02}",
            "grams": 1.5 * i,
        }
        for i, (name, label, split) in enumerate(zip(names, labels, splits, strict=True))
    ]
    for name, picture in zip(names, pictures, strict=True):
        write(folder / name, ".png", picture)
    celeiro.pack(manifest(folder, rows), out, store="pixels", size=(12, 16))
    return {
        "store": "pixels",
        "shape": [5, 12, 16, 3],
        "dtype": "uint8",
        "color": "RGB",
        "decoded_sha256": [sha256(p) for p in pictures],
        "stored_sha256": [sha256(p) for p in pictures],
        "labels": labels,
        "label_names": list(CLASSES),
        "keys": names,
        "splits": {"train": [0, 1, 3], "val": [2]},
        "fields": {"grams": [1.5 * i for i in range(5)], "taken": [r["taken"] for r in rows]},
        "measured": "pixels as a reader decodes them",
        **moments(np.stack(pictures)),
    }


def make_jpeg(folder: Path, out: Path) -> dict[str, Any]:
    """Colour JPEGs of one size with masks, boxes and a regression target."""
    pictures = [photo(10 + i, (24, 40)) for i in range(4)]
    masks = [np.arange(24 * 40, dtype=np.uint8).reshape(24, 40) // (40 * (i + 1)) for i in range(4)]
    boxes = [[], [[0, 0, 40, 24]], [[1, 2, 3, 4], [5.5, 6.5, 20, 21.25]], []]
    labels = [0.5, -1.25, 3.0, 1e-3]
    rows = []
    for i in range(4):
        write(folder / f"{i}.png", ".png", pictures[i])
        cv2.imwrite(str(folder / f"mask{i}.png"), masks[i])
        rows.append(
            {"path": f"{i}.png", "label": labels[i], "mask": f"mask{i}.png", "boxes": boxes[i]}
        )
    celeiro.pack(manifest(folder, rows), out, store="jpeg", size=(24, 40), quality=85, key="images")
    stored = chunks(out, "images")
    decoded = [cv2.cvtColor(imdecode(data), cv2.COLOR_BGR2RGB) for data in stored]
    np.save(out.with_suffix(".npy"), np.stack(decoded))
    return {
        "store": "jpeg",
        "key": "images",
        "shape": [4, 24, 40, 3],
        "dtype": "uint8",
        "color": "RGB",
        "decoded_tolerance": DECODE_TOLERANCE,
        "stored_sha256": [sha256(data) for data in stored],
        "labels": labels,
        "keys": [row["path"] for row in rows],
        "masks_sha256": [sha256(mask) for mask in masks],
        "boxes": boxes,
        "measured": "pixels as they went into the JPEG encoder",
        **moments(np.stack(pictures)),
    }


def make_lossless(folder: Path, out: Path) -> dict[str, Any]:
    """Cubes of 16-bit values in five bands, drawn into splits, several classes a sample."""
    del folder
    rng = np.random.default_rng(20)
    cubes = np.cumsum(rng.integers(0, 99, (6, 9, 7, 5)), axis=1).astype(np.uint16)
    labels = [[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 1]]
    celeiro.pack(
        list(cubes), out, store="lossless", key="cubes", labels=labels, label_names=CLASSES
    )
    return {
        "store": "lossless",
        "key": "cubes",
        "shape": [6, 9, 7, 5],
        "dtype": "uint16",
        "color": "",
        "decoded_sha256": [sha256(cube) for cube in cubes],
        "stored_sha256": [sha256(data) for data in chunks(out, "cubes")],
        "labels": labels,
        "label_names": list(CLASSES),
        "measured": "pixels as a reader decodes them",
        **moments(cubes),
    }


def make_gzip(folder: Path, out: Path) -> dict[str, Any]:
    """Matrices of floats, compressed so that no plugin is needed to read them."""
    del folder
    x, y = np.meshgrid(np.linspace(0, 1, 11), np.linspace(0, 1, 13))
    fields = np.stack([np.sin(x * (i + 1)) + y for i in range(3)]).astype(np.float32)
    celeiro.pack(
        list(fields), out, store="lossless", compressor="gzip", key="field", labels=[7, -7, 7]
    )
    return {
        "store": "lossless",
        "key": "field",
        "shape": [3, 13, 11],
        "dtype": "float32",
        "color": "",
        "decoded_sha256": [sha256(field) for field in fields],
        "stored_sha256": [sha256(data) for data in chunks(out, "field")],
        "labels": [7, -7, 7],
        "measured": "pixels as a reader decodes them",
        **moments(fields[..., None]),
    }


def make_encoded(folder: Path, out: Path) -> dict[str, Any]:
    """Files of several kinds and sizes, one turned by its camera, one shrunk; masks, boxes."""
    small = [photo(30 + i, size) for i, size in enumerate([(20, 30), (30, 20), (16, 16), (25, 9)])]
    large = photo(40, (60, 90))
    files = {
        "dog/plain.jpg": jpeg(small[0]),
        "dog/turned.jpg": with_orientation(jpeg(small[1]), 6),
        "cat/small.png": png(small[2]),
        "cat/grey.jpg": jpeg(small[3][..., :1]),
        "cat/large.jpg": jpeg(large),
    }
    upright = [(20, 30), (20, 30), (16, 16), (25, 9), (32, 48)]  # the last one after shrinking
    boxes = [[], [[0, 0, 30, 20]], [], [[1, 2, 3, 4], [0, 0, 9, 25]], [[45, 30, 90, 60]]]
    tags = [[1, 2, 3], [], [4], [5, 6], []]
    rows, masks = [], []
    for i, (name, data) in enumerate(files.items()):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
        size = (60, 90) if name == "cat/large.jpg" else upright[i]
        mask = png(np.full((*size, 1), i, np.uint8))
        (folder / f"mask{i}.png").write_bytes(mask)
        masks.append(mask)
        rows.append(
            {
                "path": name,
                "label": name[:3],
                "split": "val" if i == 2 else "train",
                "mask": f"mask{i}.png",
                "boxes": boxes[i],
                "tags": tags[i],
            }
        )
    celeiro.pack(manifest(folder, rows), out, store="encoded", max_side=48)
    with h5py.File(out) as file:
        offsets = file["imagens_offsets"][:].tolist()
        again = file["imagens"][offsets[4] : offsets[5]].tobytes()
    return {
        "store": "encoded",
        "shape": [5, None, None, 3],
        "dtype": "uint8",
        "color": "RGB",
        "stored_sha256": [*(sha256(data) for data in [*files.values()][:4]), sha256(again)],
        "upright": upright,
        "orientations": [1, 6, 1, 1, 1],
        "reencoded": [0, 0, 0, 0, 1],
        "labels": [1, 1, 0, 0, 0],
        "label_names": ["cat", "dog"],
        "keys": list(files),
        "splits": {"train": [0, 1, 3, 4], "val": [2]},
        "boxes": [*boxes[:4], [[24, 16, 48, 32]]],
        "ragged": {"tags": tags},
        "masks_stored_sha256": [sha256(mask) for mask in masks[:4]],
    }


# What the makers share.


def photo(seed: int, size: tuple[int, int]) -> np.ndarray:
    """Soft patches of colour with a little noise, RGB."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (3, 3, 3)).astype(np.float32)
    image = cv2.resize(patches, size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    """The bytes of a PNG."""
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def jpeg(image: np.ndarray) -> bytes:
    """The bytes of a JPEG."""
    return cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()


def with_orientation(data: bytes, orientation: int) -> bytes:
    """A JPEG with an EXIF block that says how the camera was held."""
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0%c\0\0\0\0\0\0" % orientation
    exif = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]


def write(path: Path, kind: str, image: np.ndarray) -> None:
    """A picture file below a folder that may not be there yet."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(cv2.imencode(kind, image[..., ::-1])[1].tobytes())


def manifest(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """A manifest in JSON Lines."""
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def chunks(path: Path, key: str) -> list[bytes]:
    """The stored bytes of every sample of a chunked data set, by h5py alone."""
    with h5py.File(path) as file:
        data = file[key]
        rest = (0,) * (data.ndim - 1)
        return [bytes(data.id.read_direct_chunk((i, *rest))[1]) for i in range(len(data))]


def imdecode(data: bytes) -> np.ndarray:
    """The pixels of a picture file, BGR."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def sha256(data: bytes | np.ndarray) -> str:
    """Of bytes, or of the values of an array in C order."""
    raw = data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()
    return hashlib.sha256(raw).hexdigest()


def moments(samples: np.ndarray) -> dict[str, list[float]]:
    """Mean and standard deviation over all but the last axis, by NumPy."""
    values = samples.astype(np.float64).reshape(-1, samples.shape[-1])
    return {"mean": values.mean(axis=0).tolist(), "std": values.std(axis=0).tolist()}


if __name__ == "__main__":
    main()
