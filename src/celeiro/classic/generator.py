"""`HDF5DatasetGenerator`: the book's reader, with batches that are read while the network trains.

    file ── Loader: threads read and decode, batches ahead ──> preprocessors ──> aug ──> yield
                                                              where they are asked for

Preprocessors and `aug` were written for one thread: they are called by the one that iterates, on
one image after the other, as ever. Only of a file whose images have several sizes, preprocessors
are called by one thread of the loader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import h5py
import numpy as np

from celeiro.errors import OptionError
from celeiro.feeding.loader import Loader
from celeiro.feeding.transforms.one_hot import one_hot
from celeiro.reading.dataset import open as open_dataset

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Self

    import numpy.typing as npt

__all__ = ["HDF5DatasetGenerator"]


class Preprocessor(Protocol):
    """What makes another image of an image, such as the book's `MeanPreprocessor`."""

    def preprocess(self, image: npt.NDArray[Any]) -> Any:
        """Give the image that takes its place."""
        ...


class HDF5DatasetGenerator:
    """Batches of a file for Keras' `fit`, under the name and the arguments of Rosebrock's book.

    It opens the book's files, the article's, celeiro's own, and most of anybody's.

    Parameters
    ----------
    dbPath
        The file.
    batchSize
        Samples of a batch; the last one of a pass may have fewer.
    preprocessors
        Objects with a method `preprocess`, applied to each image one after the other.
    aug
        An object with a method `flow`, such as Keras' `ImageDataGenerator`; its next batch is what
        is given.
    binarize
        Labels are rows of 0 and 1.
    classes
        Length of such a row.
    shuffle
        False, as in the book: samples come as they stand. True: in a new random order each pass;
        or what else `celeiro.Loader` knows.
    seed
        Of that order.

    Attributes
    ----------
    numImages
        Samples in the file.

    Raises
    ------
    OptionError
        The file has no labels; or they are not from 0 to `classes` - 1 and are to be binarized.

    Examples
    --------
    >>> import tempfile, celeiro
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = folder.name + "/train.hdf5"
    >>> with celeiro.HDF5DatasetWriter((5, 8, 8, 3), path) as writer:
    ...     writer.add(np.zeros((5, 8, 8, 3), np.uint8), [0, 1, 0, 1, 0])
    >>> trainGen = HDF5DatasetGenerator(path, 2, classes=2)
    >>> trainGen.numImages
    5
    >>> for images, labels in trainGen.generator(passes=1):
    ...     print(images.shape, labels.tolist())
    (2, 8, 8, 3) [[1.0, 0.0], [0.0, 1.0]]
    (2, 8, 8, 3) [[1.0, 0.0], [0.0, 1.0]]
    (1, 8, 8, 3) [[1.0, 0.0]]
    >>> trainGen.close()
    >>> folder.cleanup()
    """

    def __init__(
        self,
        dbPath: str | os.PathLike[str],
        batchSize: int,
        preprocessors: Sequence[Preprocessor] | None = None,
        aug: Any = None,
        binarize: bool = True,
        classes: int = 2,
        *,
        shuffle: bool | Literal["blocks", "balanced"] = False,
        seed: int = 0,
    ) -> None:
        self.batchSize = batchSize
        self.preprocessors = preprocessors
        self.aug = aug
        self.binarize = binarize
        self.classes = classes
        self._shuffle: bool | Literal["blocks", "balanced"] = shuffle
        self._seed = seed
        self._passes = 0
        self._db: h5py.File | None = None
        self._dataset = open_dataset(dbPath)
        self.numImages = len(self._dataset)
        shapes = self._dataset.shapes
        self._several = shapes is not None and bool((shapes[:, :2] != shapes[:1, :2]).any())
        try:
            self._check_labels()
            self._loader()  # what cannot be is said now, not in the middle of `fit`
        except BaseException:
            self.close()
            raise

    @property
    def db(self) -> h5py.File:
        """The file as h5py shows it, for scripts that look up ``db["labels"]``."""
        if self._db is None:
            self._db = h5py.File(self._dataset.path, "r")
        return self._db

    def generator(self, passes: float = np.inf) -> Iterator[tuple[Any, Any]]:
        """Give ``(images, labels)``, so many times all samples; for ever without a number.

        Where samples are shuffled, the passes of one generator and of the next differ.
        """
        loader, done = self._loader(), 0
        while done < passes:
            loader.set_epoch(self._passes)
            self._passes += 1
            for images, labels in loader:
                yield self._batch(images, labels)
            done += 1

    def close(self) -> None:
        """Let go of the file; closing again is harmless."""
        self._dataset.close()
        if self._db is not None:
            self._db.close()

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        """One line: what, and how much of it."""
        name = self._dataset.path.name
        return f"HDF5DatasetGenerator({name!r}, {self.batchSize}: {self.numImages:,} images)"

    # -- helpers, in the order in which they are called --

    def _check_labels(self) -> None:
        labels, path = self._dataset.labels, self._dataset.path
        if labels is None:
            raise OptionError(
                f"{path}: the file has no labels, and this class gives images and labels. "
                "Use celeiro.Loader."
            )
        if not self.binarize:
            return
        try:
            one_hot(labels, self.classes)
        except OptionError as error:
            raise OptionError(
                f"{path}, classes={self.classes}: {error}; or binarize=False."
            ) from None

    def _loader(self) -> Loader:
        """Batches of images as they are stored; of one size by the preprocessors if need be."""
        several = self._several
        if several and not self.preprocessors:
            raise OptionError(
                f"{self._dataset.path}: its images have several sizes, and a batch needs one. Give "
                "preprocessors=[…] that resize, such as the book's SimplePreprocessor(224, 224)."
            )
        return Loader(
            self._dataset,
            self.batchSize,
            shuffle=self._shuffle,
            seed=self._seed,
            transform=self._preprocess if several else None,
            workers=1 if several else None,
        )

    def _batch(self, images: Any, labels: Any) -> tuple[Any, Any]:
        """What the book does with the rows of a batch."""
        if self.binarize:
            labels = one_hot(labels, self.classes)
        if self.preprocessors and not self._several:
            images = np.array([self._preprocess(image) for image in images])
        if self.aug is not None:
            images, labels = next(self.aug.flow(images, labels, batch_size=self.batchSize))
        return images, labels

    def _preprocess(self, image: npt.NDArray[Any]) -> Any:
        for each in self.preprocessors or ():
            image = each.preprocess(image)
        return image
