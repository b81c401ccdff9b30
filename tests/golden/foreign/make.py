"""Make the foreign golden files: what other people's tools write.

Run once in an environment of its own, by hand, and never again: the files are committed so that
they stay as these versions wrote them. `expected.json` says what must be found in each.

    python -m venv v && v/bin/pip install h5py==3.16.0 tables==3.11.1 hdf5storage==0.2.2
    v/bin/python tests/golden/foreign/make.py

Made with Python 3.11.7, NumPy 2.4.6, h5py 3.16.0 (HDF5 2.0.0), PyTables 3.11.1 (HDF5 1.14.6,
Blosc 1.21.6), hdf5storage 0.2.2. The Keras file is laid out as Coursera's cats were, the PCam
pair as the Zenodo files are, and Rosebrock's class is ours, true to the book's calls of h5py.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

HERE = Path(__file__).parent
CLASSES = ["cat", "dog", "fox"]
LABELS = [0, 1, 2, 2, 1, 0, 0, 1, 2, 0, 2, 1]
COUNT = len(LABELS)

_expected: dict[str, dict[str, Any]] = {}


def pictures(*shape: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Smooth ramps with a little noise: they compress, and no two samples are alike."""
    rng = np.random.default_rng(seed)
    ramp = np.add.outer(np.arange(shape[0]) * 7, np.arange(int(np.prod(shape[1:]))) // 5)
    return (ramp % 200 + rng.integers(0, 8, ramp.shape)).astype(np.uint8).reshape(shape)


def expect(
    name: str,
    key: str,
    samples: npt.NDArray[Any],
    *,
    labels: str | None = None,
    label_names: str | None = None,
    classes: list[str] | None = None,
    values: list[int] | None = None,
    labels_file: str | None = None,
) -> None:
    """Note what a reader must find."""
    _expected[name] = {
        "key": key,
        "labels": labels,
        "labels_file": labels_file,
        "label_names": label_names,
        "shape": list(samples.shape),
        "dtype": str(samples.dtype),
        "sha256": hashlib.sha256(np.ascontiguousarray(samples).tobytes()).hexdigest(),
        "label_values": values,
        "classes": classes or [],
        "file_bytes": (HERE / name).stat().st_size,
    }


class HDF5DatasetWriter:
    """The writer of Rosebrock's book: a float data set, a buffer, labels, names as text."""

    def __init__(
        self, dims: tuple[int, ...], outputPath: Path, dataKey: str = "images", bufSize: int = 1000
    ) -> None:
        self.db = h5py.File(outputPath, "w")
        self.data = self.db.create_dataset(dataKey, dims, dtype="float")
        self.labels = self.db.create_dataset("labels", (dims[0],), dtype="int")
        self.bufSize = bufSize
        self.buffer: dict[str, list[Any]] = {"data": [], "labels": []}
        self.idx = 0

    def add(self, rows: Any, labels: Any) -> None:
        self.buffer["data"].extend(rows)
        self.buffer["labels"].extend(labels)
        if len(self.buffer["data"]) >= self.bufSize:
            self.flush()

    def flush(self) -> None:
        i = self.idx + len(self.buffer["data"])
        self.data[self.idx : i] = self.buffer["data"]
        self.labels[self.idx : i] = self.buffer["labels"]
        self.idx = i
        self.buffer = {"data": [], "labels": []}

    def storeClassLabels(self, classLabels: list[str]) -> None:
        dt = h5py.special_dtype(vlen=str)
        label_set = self.db.create_dataset("label_names", (len(classLabels),), dtype=dt)
        label_set[:] = classLabels

    def close(self) -> None:
        if len(self.buffer["data"]) > 0:
            self.flush()
        self.db.close()


def rosebrock() -> None:
    """Raw pictures as `images`, and a network's outputs as `features`."""
    images = pictures(COUNT, 6, 5, 3).astype(np.float64)
    features = (pictures(COUNT, 32, seed=1) / 255.0).astype(np.float64)
    for name, key, rows in (
        ("rosebrock_images.hdf5", "images", images),
        ("rosebrock_features.hdf5", "features", features),
    ):
        writer = HDF5DatasetWriter(rows.shape, HERE / name, dataKey=key, bufSize=5)
        writer.storeClassLabels(CLASSES)
        for at in range(0, COUNT, 4):
            writer.add(rows[at : at + 4], LABELS[at : at + 4])
        writer.close()
        expect(
            name,
            key,
            rows,
            labels="labels",
            label_names="label_names",
            classes=CLASSES,
            values=LABELS,
        )


def pcam() -> None:
    """PatchCamelyon: one file of pictures, one of labels (N, 1, 1, 1), both chunked and gzip."""
    x, y = pictures(COUNT, 24, 24, 3, seed=2), np.array(LABELS, np.uint8) % 2
    with h5py.File(HERE / "pcam_split_valid_x.h5", "w") as file:
        file.create_dataset("x", data=x, chunks=(4, 24, 24, 3), compression="gzip")
    with h5py.File(HERE / "pcam_split_valid_y.h5", "w") as file:
        file.create_dataset(
            "y", data=y.reshape(-1, 1, 1, 1), chunks=(COUNT, 1, 1, 1), compression="gzip"
        )
    expect(
        "pcam_split_valid_x.h5",
        "x",
        x,
        labels="y",
        labels_file="pcam_split_valid_y.h5",
        values=y.tolist(),
    )


def keras() -> None:
    """The cats of Coursera's first course, smaller: train and test in one file, names as bytes."""
    train, test = pictures(COUNT, 8, 8, 3, seed=3), pictures(COUNT // 2, 8, 8, 3, seed=4)
    name = "keras_catvnoncat.h5"
    with h5py.File(HERE / name, "w") as file:
        file["train_set_x"] = train
        file["train_set_y"] = np.array(LABELS, np.int64) % 2
        file["test_set_x"] = test
        file["test_set_y"] = np.array(LABELS[: COUNT // 2], np.int64) % 2
        file["list_classes"] = np.array([b"non-cat", b"cat"])
    expect(
        name,
        "train_set_x",
        train,
        labels="train_set_y",
        label_names="list_classes",
        classes=["non-cat", "cat"],
        values=[label % 2 for label in LABELS],
    )


def matlab() -> None:
    """MATLAB v7.3: a user block, reversed axes, gzip, a cell array (in ``#refs#``) and text."""
    import hdf5storage

    name = "matlab_v73.mat"
    (HERE / name).unlink(missing_ok=True)  # else it is added to
    height_first = np.transpose(pictures(COUNT, 3, 10, 9, seed=5), (3, 2, 1, 0))
    hdf5storage.write(
        {
            "X": height_first,  # H × W × C × N, as in SVHN
            "y": np.array(LABELS, np.float64).reshape(-1, 1),
            "names": np.array(CLASSES, object),
            "about": "made for celeiro",
        },
        path="/",
        filename=str(HERE / name),
        matlab_compatible=True,
        store_python_metadata=False,
        compress_size_threshold=1024,
    )
    samples = np.ascontiguousarray(np.transpose(height_first, (3, 2, 1, 0)))
    expect(name, "X", samples, labels="y", values=LABELS)


def pytables() -> None:
    """PyTables: a CArray of Blosc, an EArray of zlib, a compressed table with an index."""
    import tables

    for name, filters, make in (
        ("pytables_blosc.h5", tables.Filters(5, "blosc:lz4", shuffle=True), "carray"),
        ("pytables_zlib.h5", tables.Filters(6, "zlib", shuffle=True, fletcher32=True), "earray"),
    ):
        images = pictures(COUNT, 8, 8, 3, seed=len(name))
        with tables.open_file(str(HERE / name), "w", title="pictures") as file:
            if make == "carray":
                file.create_carray("/", "images", obj=images, filters=filters)
            else:
                rows = file.create_earray(
                    "/", "images", tables.UInt8Atom(), (0, 8, 8, 3), filters=filters, expectedrows=9
                )
                rows.append(images[:7])
                rows.append(images[7:])
            file.create_array("/", "labels", np.array(LABELS, np.int64))
            file.create_array("/", "label_names", [c.encode() for c in CLASSES])
            table = file.create_table("/", "table", {"at": tables.Int64Col()}, filters=filters)
            table.append([(i,) for i in range(COUNT)])
            if make == "carray":
                table.cols.at.create_csindex()
        expect(
            name,
            "images",
            images,
            labels="labels",
            label_names="label_names",
            classes=CLASSES,
            values=LABELS,
        )


def main() -> None:
    """Make every file, and what must be found in it."""
    for make in (rosebrock, pcam, keras, matlab, pytables):
        make()
    text = json.dumps(_expected, indent=1)
    (HERE / "expected.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
