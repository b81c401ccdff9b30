"""`HDF5DatasetGenerator`: the book's reader gives the book's batches, and can shuffle."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

import cv2
import h5py
import numpy as np
import pytest

import celeiro
from celeiro import HDF5DatasetGenerator, HDF5DatasetWriter
from celeiro.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def images(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 6, 8, 3), np.uint8)


def of_the_book(path: Path, rows: np.ndarray, labels: Any, key: str = "images") -> Path:
    """What the book's and the article's writers make with h5py."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset(key, rows.shape, dtype="float")
        data[:] = rows
        file.create_dataset("labels", data=np.asarray(labels, "int"))
    return path


def as_in_the_book(path: Path, size: int, key: str = "images", **options: Any) -> Iterator[Any]:
    """One pass, read with plain h5py as the book tells."""
    with h5py.File(path) as db:
        for i in range(0, len(db["labels"]), size):
            rows, labels = db[key][i : i + size], db["labels"][i : i + size]
            if "classes" in options:
                labels = np.eye(options["classes"])[labels]
            for each in options.get("preprocessors", ()):
                rows = np.array([each.preprocess(row) for row in rows])
            yield rows, labels


def assert_same_batches(found: Any, wanted: Any) -> None:
    for (rows, labels), (wanted_rows, wanted_labels) in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(rows, wanted_rows)
        assert rows.dtype == wanted_rows.dtype
        np.testing.assert_array_equal(labels, wanted_labels)


class Small:
    """Like the book's SimplePreprocessor."""

    def preprocess(self, image: np.ndarray) -> np.ndarray:
        return cv2.resize(image, (4, 4), interpolation=cv2.INTER_AREA)


class MinusMean:
    """Like the book's MeanPreprocessor; it counts, and changes what it gets."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, int]] = []

    def preprocess(self, image: np.ndarray) -> np.ndarray:
        self.calls.append((float(image[0, 0, 0]), threading.get_ident()))
        image = image.astype("float32")
        image -= 100
        return image


class Flips:
    """Like Keras' ImageDataGenerator."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def flow(self, x: np.ndarray, y: np.ndarray, batch_size: int = 32) -> Iterator[Any]:
        self.sizes.append(batch_size)
        return iter([(x[:, :, ::-1], y)])


@pytest.mark.parametrize("key", ["images", "imagens"])
def test_files_of_the_book_and_of_the_article_come_as_they_are(key: str, tmp_path: Path) -> None:
    path = of_the_book(tmp_path / "a.hdf5", images(11) / 3, np.arange(11) % 2, key)
    with HDF5DatasetGenerator(path, 4) as generator:
        assert generator.numImages == 11
        found = list(generator.generator(passes=1))
    assert [len(rows) for rows, _ in found] == [4, 4, 3]
    assert found[0][0].dtype == np.float64
    assert_same_batches(found, as_in_the_book(path, 4, key, classes=2))


def test_a_file_of_the_writer_goes_through_the_preprocessors(tmp_path: Path) -> None:
    path = tmp_path / "b.hdf5"
    with HDF5DatasetWriter((7, 6, 8, 3), path) as writer:
        writer.add(images(7), [0, 1, 2, 0, 1, 2, 0])
    with HDF5DatasetGenerator(str(path), 3, [Small(), MinusMean()], classes=3) as generator:
        found = list(generator.generator(1))
    assert found[0][0].shape == (3, 4, 4, 3)
    assert found[0][0].dtype == np.float32
    wanted = as_in_the_book(path, 3, classes=3, preprocessors=[Small(), MinusMean()])
    assert_same_batches(found, wanted)


@pytest.mark.parametrize("store", ["jpeg", "lossless"])
def test_a_packed_file_comes_as_h5py_reads_it(store: str, photo_folder: Any) -> None:
    folder = photo_folder(9)
    path = folder / "c.h5"
    celeiro.pack(folder, path, size=16, store=store)
    with HDF5DatasetGenerator(path, 4, binarize=False) as generator:
        found = list(generator.generator(passes=1))
    assert_same_batches(found, as_in_the_book(path, 4, "imagens"))


def test_preprocessors_are_called_where_it_is_iterated_in_the_order_of_the_file(
    tmp_path: Path,
) -> None:
    rows = np.arange(10, dtype=np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2).repeat(3, 3)
    path = of_the_book(tmp_path / "a.hdf5", rows, [0] * 10)
    preprocessor = MinusMean()
    with HDF5DatasetGenerator(path, 4, [preprocessor]) as generator:
        for _ in generator.generator(passes=1):
            pass
    here = threading.get_ident()
    assert preprocessor.calls == [(float(number), here) for number in range(10)]


def test_the_augmentation_gets_the_batch_and_gives_what_is_given(tmp_path: Path) -> None:
    path = of_the_book(tmp_path / "a.hdf5", images(5), [0, 1, 1, 0, 1])
    aug = Flips()
    with HDF5DatasetGenerator(path, 2, aug=aug) as generator:
        found = list(generator.generator(passes=1))
    wanted = [(rows[:, :, ::-1], labels) for rows, labels in as_in_the_book(path, 2, classes=2)]
    assert_same_batches(found, wanted)
    assert aug.sizes == [2, 2, 2]


def test_without_a_number_of_passes_it_never_ends(tmp_path: Path) -> None:
    path = of_the_book(tmp_path / "a.hdf5", images(5), [0] * 5)
    with HDF5DatasetGenerator(path, 2, binarize=False) as generator:
        sizes = [len(rows) for rows, _ in itertools.islice(generator.generator(), 8)]
        assert sizes == [2, 2, 1, 2, 2, 1, 2, 2]
        assert len(list(generator.generator(passes=2))) == 6
        assert list(generator.generator(passes=0)) == []


def test_two_generators_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = of_the_book(tmp_path / "a.hdf5", images(6), range(6))
    with HDF5DatasetGenerator(path, 2, binarize=False) as generator:
        pairs = zip(generator.generator(1), generator.generator(1), strict=True)
        found = [(one.tolist(), two.tolist()) for (_, one), (_, two) in pairs]
    assert found == [([0, 1],) * 2, ([2, 3],) * 2, ([4, 5],) * 2]


def order(generator: HDF5DatasetGenerator, passes: int) -> list[list[int]]:
    found = [label for _, labels in generator.generator(passes) for label in labels.tolist()]
    size = generator.numImages
    return [found[first : first + size] for first in range(0, len(found), size)]


def test_shuffled_each_pass_has_all_samples_in_an_order_of_its_own(tmp_path: Path) -> None:
    path = of_the_book(tmp_path / "a.hdf5", images(20), range(20))
    options = {"binarize": False, "shuffle": True, "seed": 3}
    with HDF5DatasetGenerator(path, 6, **options) as generator:
        passes = order(generator, 2) + order(generator, 1)
    assert all(sorted(each) == list(range(20)) for each in passes)
    assert len({tuple(each) for each in [*passes, range(20)]}) == 4
    with HDF5DatasetGenerator(path, 6, **options) as again:
        assert order(again, 3) == passes
    with HDF5DatasetGenerator(path, 6, **{**options, "seed": 4}) as other:
        assert order(other, 1) != passes[:1]


def test_images_and_labels_stay_together_when_shuffled(tmp_path: Path) -> None:
    rows = images(20)
    path = of_the_book(tmp_path / "a.hdf5", rows, range(20))
    with HDF5DatasetGenerator(path, 6, binarize=False, shuffle=True) as generator:
        for found, labels in generator.generator(1):
            np.testing.assert_array_equal(found, rows[labels])


def test_the_data_sets_can_be_looked_up_as_the_scripts_of_the_book_do(tmp_path: Path) -> None:
    path = of_the_book(tmp_path / "a.hdf5", images(4), [0, 1, 1, 0])
    generator = HDF5DatasetGenerator(path, 2)
    assert generator.db["labels"][:].tolist() == [0, 1, 1, 0]
    db = generator.db
    generator.close()
    assert not db


def test_labels_that_are_rows_already_stay(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"], file["labels"] = images(3), np.eye(3, dtype=np.float32)
    with HDF5DatasetGenerator(tmp_path / "a.h5", 3, classes=3) as generator:
        ((_, labels),) = generator.generator(1)
    np.testing.assert_array_equal(labels, np.eye(3))


def test_labels_beyond_the_classes_are_refused_at_once(tmp_path: Path) -> None:
    path = of_the_book(tmp_path / "a.hdf5", images(3), [0, 1, 2])
    with pytest.raises(OptionError, match=r"a\.hdf5, classes=2: labels from 0 to 2 .*binarize"):
        HDF5DatasetGenerator(path, 2)


def test_a_file_without_labels_is_refused_at_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = images(3)
    with pytest.raises(OptionError, match=r"has no labels.*celeiro\.Loader"):
        HDF5DatasetGenerator(tmp_path / "a.h5", 2)


@pytest.fixture
def of_several_sizes(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number, side in enumerate([20, 30, 40, 20, 50]):
        pixels = rng.integers(0, 256, (side, 2 * side, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{('cat', 'dog')[number % 2]}.{number}.png"), pixels)
    celeiro.pack(tmp_path, tmp_path / "sizes.h5", store="encoded")
    return tmp_path / "sizes.h5"


def test_images_of_several_sizes_come_to_one_by_the_preprocessors(of_several_sizes: Path) -> None:
    with HDF5DatasetGenerator(of_several_sizes, 2, [Small()]) as generator:
        found = list(generator.generator(1))
    with celeiro.open(of_several_sizes) as ds:
        wanted = [Small().preprocess(image) for image, _ in ds]
        labels = np.eye(2)[ds.labels]
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in found]), wanted)
    np.testing.assert_array_equal(np.concatenate([each for _, each in found]), labels)


def test_images_of_several_sizes_without_preprocessors_are_refused(of_several_sizes: Path) -> None:
    with pytest.raises(OptionError, match=r"several sizes.*preprocessors"):
        HDF5DatasetGenerator(of_several_sizes, 2)


@pytest.mark.parametrize("options", [{"batchSize": 0}, {"shuffle": "well"}, {"seed": -1}])
def test_options_that_mean_nothing_are_refused_at_once(options: Any, tmp_path: Path) -> None:
    path = of_the_book(tmp_path / "a.hdf5", images(3), [0, 1, 1])
    with pytest.raises(OptionError):
        HDF5DatasetGenerator(path, **{"batchSize": 2, **options})


def test_a_failing_preprocessor_says_so_where_it_is_iterated(tmp_path: Path) -> None:
    class Fails:
        def preprocess(self, image: np.ndarray) -> np.ndarray:
            raise ZeroDivisionError("mine")

    path = of_the_book(tmp_path / "a.hdf5", images(3), [0, 1, 1])
    before = threading.active_count()
    with (
        HDF5DatasetGenerator(path, 2, [Fails()]) as generator,
        pytest.raises(ZeroDivisionError, match="mine"),
    ):
        next(generator.generator())
    assert threading.active_count() == before


def test_closed_while_it_is_iterated_it_ends_with_an_error_and_no_thread_stays(
    tmp_path: Path,
) -> None:
    path = of_the_book(tmp_path / "a.hdf5", images(50), [0] * 50)
    before = threading.active_count()
    generator = HDF5DatasetGenerator(path, 2)
    batches = generator.generator()
    next(batches)
    generator.close()
    generator.close()
    with pytest.raises(ValueError, match="closed"):
        for _ in batches:
            pass
    assert threading.active_count() == before


def test_its_repr_tells_what_it_is(tmp_path: Path) -> None:
    path = of_the_book(tmp_path / "a.hdf5", images(3), [0, 1, 1])
    with HDF5DatasetGenerator(path, 2) as generator:
        assert repr(generator) == "HDF5DatasetGenerator('a.hdf5', 2: 3 images)"
