"""What test_keras.py runs in a process of its own for each backend of Keras."""

from __future__ import annotations

import gc
import itertools
import threading
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest

import celeiro
from celeiro.errors import OptionError
from celeiro.feeding.loader import Loader as Plain
from celeiro.feeding.transforms import HorizontalFlip, Normalize, OneHot, RandomResizedCrop, ToCHW
from celeiro.keras import Loader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNT, BATCH = 37, 8
PER_EPOCH = 5
TRAIN = [RandomResizedCrop(12), HorizontalFlip(), Normalize(), ToCHW()]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 6, 3), np.uint8)
    out = tmp_path_factory.mktemp("keras") / "a.h5"
    return celeiro.pack(images, out, labels=np.arange(COUNT)).path


@pytest.fixture
def order(file: Path) -> list[list[int]]:
    """Labels of the batches of ten epochs, as the plain loader gives them."""
    with Plain(file, BATCH, seed=3) as plain:
        return [labels.tolist() for _ in range(10) for _, labels in plain]


class Model(keras.Model):
    """Writes down what it is trained and tested on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(COUNT)])
        self.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def call(self, images: Any) -> Any:
        return self.layer(keras.ops.cast(images, "float32") / 255)


@pytest.fixture(scope="module")
def model() -> Model:
    """One that is built, and compiled: which takes JAX longer than to train it."""
    built = Model()
    built(np.zeros((BATCH, 8, 6, 3), np.uint8))
    return built


class Watched(Loader):
    """Writes down what Keras is given; the labels tell the batch."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.given: list[list[int]] = []

    def __getitem__(self, index: int) -> Any:
        batch = super().__getitem__(index)
        self.given.append(batch[1].tolist())
        return batch


class Stop(keras.callbacks.Callback):
    """Stops after some batches, or raises an error."""

    def __init__(self, after: int, error: type[Exception] | None = None) -> None:
        super().__init__()
        self.after, self.error = after, error

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch + 1 == self.after:
            if self.error is not None:
                raise self.error
            self.model.stop_training = True


def feeders() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("celeiro-feed")]


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    yield
    assert not feeders()


def fit(model: Model, train: Loader, **options: Any) -> None:
    model.fit(train, verbose=0, **options)


def since(train: Watched, count: int) -> list[list[int]]:
    """The last batches that were given; before them Keras looked at some to build a model."""
    assert len(train.given) - count <= 1
    found = train.given[-count:]
    train.given.clear()
    return found


@pytest.mark.parametrize("transform", [None, TRAIN], ids=["as stored", "transformed"])
def test_batches_are_those_of_the_plain_loader(file: Path, transform: Any) -> None:
    with (
        Plain(file, BATCH, seed=3, transform=transform) as plain,
        Loader(file, BATCH, seed=3, transform=transform) as loader,
    ):
        assert len(loader) == loader.num_batches == len(plain) == PER_EPOCH
        for _ in range(2):
            for given, expected in zip(loader, plain, strict=True):
                for one, other in zip(given, expected, strict=True):
                    assert one.dtype == other.dtype
                    np.testing.assert_array_equal(one, other)
        assert loader.digest() == plain.digest()
        assert loader.state_dict() == plain.state_dict()


def test_fit_trains_in_the_loaders_order_epoch_after_epoch(
    file: Path, order: list[list[int]]
) -> None:
    train, model = Watched(file, BATCH, seed=3), Model()
    val = Watched(file, BATCH, shuffle=False)
    fit(model, train, epochs=2, validation_data=val)
    assert since(train, 10) == order[:10]
    assert [n for batch in val.given for n in batch] == 2 * list(range(COUNT))
    assert (train.epoch, feeders()) == (2, [])
    fit(model, train, epochs=2, validation_data=val)
    assert since(train, 10) == order[10:20]
    train.close()
    val.close()


def test_steps_per_epoch_go_on_where_the_last_ones_ended(model: Model, file: Path) -> None:
    with Plain(file, 10, seed=3) as plain, Watched(file, 10, seed=3) as train:
        fit(model, train, epochs=5, steps_per_epoch=2)
        assert since(train, 10) == [y.tolist() for _ in range(3) for _, y in plain][:10]


def test_validation_steps_are_the_same_batches_each_time(model: Model, file: Path) -> None:
    with Loader(file, BATCH) as train, Watched(file, BATCH, seed=1) as val:
        fit(model, train, epochs=2, validation_data=val, validation_steps=2)
        assert val.given[-2:] == val.given[-4:-2]


def test_looking_at_batches_takes_none_from_training(
    model: Model, file: Path, order: list[list[int]]
) -> None:
    with Watched(file, BATCH, seed=3) as train:
        for index in range(PER_EPOCH + 2):
            train[index]
        train.given.clear()
        fit(model, train)
        assert since(train, 5) == order[:5]


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
def test_an_epoch_that_was_left_early_begins_again(
    model: Model, file: Path, order: list[list[int]], error: type[Exception] | None
) -> None:
    with Watched(file, BATCH, seed=3, prefetch=1) as train:
        fit(model, train)
        train.given.clear()
        try:
            fit(model, train, callbacks=[Stop(2, error)])
        except ZeroDivisionError:
            assert error
        assert train.given == order[5:7]
        state = train.state_dict()
        assert (state["epoch"], state["position"]) == (1, 2 * BATCH)
        train.given.clear()
        fit(model, train)
        assert since(train, 5) == order[5:10]
        fit(model, train, callbacks=[Stop(1)])
    assert not feeders()


def test_a_loader_that_is_let_go_leaves_no_thread(model: Model, file: Path) -> None:
    train = Loader(file, 2, prefetch=1)
    fit(model, train, callbacks=[Stop(1)])
    assert feeders()
    del train
    gc.collect()  # JAX's own frames stand in circles
    assert not feeders()


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_training_goes_on_at_the_batch_after_a_states(
    model: Model, file: Path, order: list[list[int]], stop: int
) -> None:
    with Loader(file, BATCH, seed=3) as train:
        fit(model, train, callbacks=[Stop(stop)])
        state = train.state_dict()
    with Watched(file, BATCH) as train:
        train.load_state_dict(state)
        fit(model, train, epochs=2)
        assert since(train, 10) == order[stop : stop + 10]
        assert train.epoch == 2 + (stop == 5)
        train.set_epoch(0)
        assert next(iter(train))[1].tolist() == order[0]


# Of Keras 3.15, which gives tensors of PyTorch to NumPy.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning")
def test_evaluate_and_predict(model: Model, file: Path, tmp_path: Path) -> None:
    with Watched(file, BATCH, shuffle=False) as val:
        whole, once_more = (model.evaluate(val, verbose=0) for _ in range(2))
        assert whole == pytest.approx(once_more)
        assert model.predict(val, verbose=0).shape == (COUNT, COUNT)
    bare = celeiro.pack(np.zeros((5, 8, 6, 3), np.uint8), tmp_path / "bare.h5").path
    with Loader(bare, 2) as images:
        assert [batch.shape[0] for batch in images] == [2, 2, 1]
        assert model.predict(images, verbose=0).shape == (5, COUNT)


def test_a_batch_that_is_kept_stays_what_it_was(file: Path) -> None:
    with Loader(file, 4, seed=3) as loader:
        some = itertools.chain(loader, (loader[i] for i in range(15)), loader)
        kept = [(images, images.copy()) for images, _ in some]
    for images, copied in kept:
        np.testing.assert_array_equal(images, copied)


def test_what_keras_cannot_have_is_refused(file: Path) -> None:
    with pytest.raises(OptionError, match="reuse: Keras asks for batches ahead"):
        Loader(file, 4, reuse=True)
    with Loader(file, COUNT + 1, drop_last=True) as none:
        assert len(none) == 0
        with pytest.raises(IndexError, match="there are none"):
            none[0]


def test_tf_data_gives_epoch_after_epoch(model: Model, file: Path, order: list[list[int]]) -> None:
    pytest.importorskip("tensorflow")
    with Loader(file, BATCH, seed=3) as loader:
        data = loader.tf_data()
        images, labels = data.element_spec
        assert images.shape.as_list() == [None, 8, 6, 3]
        assert (images.dtype, labels.dtype) == ("uint8", "int64")
        assert len(data) == PER_EPOCH
        next(iter(data))  # left early: begins again
        assert [y.numpy().tolist() for _ in range(2) for _, y in data] == order[:10]
        fit(model, data, epochs=2, shuffle=False)
        assert (loader.epoch, loader.state_dict()["position"]) == (4, 0)
    with Loader(file, BATCH, transform=OneHot()) as loader:
        assert loader.tf_data().element_spec[1].shape.as_list() == [None, COUNT]
