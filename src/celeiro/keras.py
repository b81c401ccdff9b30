"""`celeiro.keras.Loader`: batches for `model.fit`, under every backend of Keras.

    with Loader("photos.h5", 256) as train, Loader("val.h5", 256, shuffle=False) as val:
        model.fit(train, validation_data=val, epochs=90)

Keras asks for batches by number, in an order that it may shuffle; the loader has an order of its
own, and made the next batch already:

    model.fit     what has the model's shape?   epoch 1       epoch 2
    Keras asks    [2]                           [1] [0] [2]   [2] [0] [1]
    it gets        0                             0   1   2     3   4   5     of the loader's order

The invariant: the batches that Keras trains on are those of `celeiro.Loader`, in its order. What
Keras looked at before it began to train, and an epoch that it left early, is given again.
"""

from __future__ import annotations

import copy
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import MissingExtraError, OptionError
from celeiro.feeding import loader as feeding

try:
    import keras
except ModuleNotFoundError as error:
    if error.name != "keras":  # the backend: Keras says more of that
        raise
    raise MissingExtraError(
        f"celeiro.keras needs Keras, which is not installed ({error}). "
        "Type: pip install 'celeiro[keras]'"
    ) from error

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping
    from types import TracebackType
    from typing import Self, Unpack

    from celeiro.feeding.options import Options
    from celeiro.reading.dataset import Dataset

__all__ = ["Loader"]


class Loader(keras.utils.PyDataset):
    """Batches of a dataset, for `fit`, `evaluate` and `predict`.

    A batch is ``(images, labels)``, as of `celeiro.Loader`, whose arguments it takes; the images
    alone where there are no labels. The first of `fields` is what Keras takes as weights of the
    samples. Iterated over by oneself, it is as `celeiro.Loader`.

    An epoch that was left early begins again, as `validation_steps` and ``evaluate(steps=…)`` want
    it; with `steps_per_epoch` the next one goes on where the last one ended. After
    `load_state_dict` training goes on at the batch after the state's, and epochs of Keras begin
    there. Threads end with an epoch; after one that was left early, with `close`.

    TensorFlow asks for batches in threads of its own, and may begin an epoch twice: under its
    backend give ``model.fit(loader.tf_data())`` where the order matters.
    """

    def __init__(
        self, ds: Dataset | str | os.PathLike[str], batch_size: int, **options: Unpack[Options]
    ) -> None:
        if options.get("reuse"):
            raise OptionError("reuse: Keras asks for batches ahead, and would find them changed.")
        super().__init__()  # workers=1: it asks in one thread, and ours make the batches
        self._loader = feeding.Loader(ds, batch_size, **options)
        self._loader._continues = False  # each round is of a copy, and so is the next
        self._round: _Round | None = None
        self._lock = threading.Lock()
        # What Keras is about to do.
        self._in_epoch = self._at_beginning = self._anew = False

    # What Keras asks

    @property
    def num_batches(self) -> int:
        """Batches of an epoch. Keras looks here whenever it makes an iterator."""
        # If that is as an epoch begins, it does not go on with the iterator of the one before.
        self._anew = self._anew or self._at_beginning
        return len(self)

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return len(self._loader)

    def on_epoch_begin(self) -> None:
        """Keras begins an epoch."""
        self._in_epoch = self._at_beginning = True

    def on_epoch_end(self) -> None:
        """Keras ended one, or had a look at the first batches of one."""
        self._in_epoch = False

    def __getitem__(self, index: int) -> Any:
        """Give the next batch, whichever is asked for."""
        if not len(self):
            raise IndexError(f"batch {index}: there are none. Wanted a smaller batch_size.")
        with self._lock:
            if self._anew:
                self._drop()
            self._at_beginning = self._anew = False
            if self._round is None:
                self._round = _Round(self._loader)
            batch = self._round.next()
            if not self._round.left:
                if self._in_epoch:
                    self._loader = self._round.loader
                self._drop()
            return batch

    def _drop(self) -> None:
        """Forget the round at hand: what it gave is given again, unless it was kept."""
        found, self._round = self._round, None
        if found is not None:
            found.close()

    # A loader as any other

    @property
    def dataset(self) -> Dataset:
        """What is read."""
        return self._loader.dataset

    @property
    def batch_size(self) -> int:
        """Samples of a whole batch of this rank."""
        return self._loader.batch_size

    @property
    def epoch(self) -> int:
        """The epoch at hand, or the next one where none is, from 0 on."""
        return self._at_hand().epoch

    @property
    def skipped(self) -> dict[int, int]:
        """Of the epoch at hand: what was given instead of damaged samples, by their position."""
        return self._at_hand().skipped

    def __iter__(self) -> Iterator[Any]:
        """Give the batches of the next epoch, or of the rest of one after `load_state_dict`."""
        with self._lock:
            self._drop()
        return map(_for_keras, iter(self._loader))

    def set_epoch(self, epoch: int) -> None:
        """Let what comes next be this epoch, from its beginning."""
        with self._lock:
            self._drop()
            self._loader.set_epoch(epoch)

    def digest(self, epoch: int | None = None) -> str:
        """SHA-256 of the samples of an epoch in their order, as of `celeiro.Loader`."""
        return self._at_hand().digest(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Where training is: after the last batch that Keras was given.

        At the end of an epoch that is the last one trained on; within one, on another device than
        the processor, Keras may be a batch ahead.
        """
        return self._at_hand().state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a loader was whose `state_dict` this is: the next batch is the next one."""
        with self._lock:
            self._drop()
            self._loader.load_state_dict(state)

    def _at_hand(self) -> feeding.Loader:
        found = self._round
        return self._loader if found is None else found.loader

    def tf_data(self) -> Any:
        """A `tf.data.Dataset` of the batches, which gives the next epoch each time round.

        What a batch is made of is found by making one. Strings, and rows of different length, have
        no place in it. A round that is left early is given again.
        """
        import tensorflow as tf

        with self._lock:
            self._drop()
        first = next(self._rounds())
        columns = first if isinstance(first, tuple) else (first,)
        for column in columns:
            if not isinstance(column, np.ndarray):
                raise OptionError(
                    f"fields: a {type(column).__name__} has no place in tf.data. Leave out what is "
                    "no array, such as boxes and texts."
                )
        specs = tuple(tf.TensorSpec((None, *c.shape[1:]), c.dtype) for c in columns)
        signature = specs if isinstance(first, tuple) else specs[0]
        made = tf.data.Dataset.from_generator(self._rounds, output_signature=signature)
        return made.apply(tf.data.experimental.assert_cardinality(len(self)))

    def _rounds(self) -> Iterator[Any]:
        """A round from the end of the last one that was given whole."""
        found = _Round(self._loader)
        try:
            while found.left:
                batch = found.next()
                if not found.left:
                    self._loader = found.loader
                yield batch
        finally:
            found.close()

    def close(self) -> None:
        """End the threads, and let go of the file, where the loader opened it."""
        with self._lock:
            if self._round is not None:
                self._loader = self._round.loader
            self._drop()
        self._loader.close()

    def __enter__(self) -> Self:
        """The loader itself."""
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
        """One line."""
        return repr(self._loader).replace(feeding.__name__, __name__, 1)


class _Round:
    """As many batches as an epoch has, from where a loader is; the loader stays there."""

    def __init__(self, loader: feeding.Loader) -> None:
        self.loader = copy.copy(loader)  # of the same file and memory, with a place of its own
        self.loader.load_state_dict(loader.state_dict())
        self.left = len(loader)
        """Batches that were not given yet."""
        self._batches = iter(self.loader)

    def next(self) -> Any:
        """The next batch, be it of the next epoch: after `load_state_dict` one may be cut."""
        try:
            batch = next(self._batches)
        except StopIteration:
            self._batches = iter(self.loader)
            batch = next(self._batches)
        self.left -= 1
        return _for_keras(batch)

    def close(self) -> None:
        """End the threads."""
        if not self.left and not self.loader.state_dict()["position"]:
            next(self._batches, None)  # the epoch's end as well: it tells what was skipped
        self._batches.close()  # type: ignore[attr-defined]


def _for_keras(batch: tuple[Any, ...]) -> Any:
    """A batch without labels that are not there."""
    images, labels, *fields = batch
    if labels is not None:
        return batch
    return (images, *fields) if fields else images
