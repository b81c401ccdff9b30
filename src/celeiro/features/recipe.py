"""What a model says of samples, as a recipe for packing: one row a sample and layer.

    Batches.take(k) ─> model ─> {layer: (b, D)} ─> checked, as they are stored ─> row by row

The invariant: a row is what the model makes of its whole batch, whatever was committed before. So
a job that goes on in the midst of a batch computes all of it again, and gets the same rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import ModelError, PictureError, ResumeError, SourceError
from celeiro.format import bfloat16, layout
from celeiro.format.checksum import crc32c
from celeiro.format.names import printable
from celeiro.packing import stats
from celeiro.packing.outcome import Made, Piece
from celeiro.packing.recipe import piece_of
from celeiro.packing.work import DATA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from celeiro.features.batches import Batches
    from celeiro.features.models import Model
    from celeiro.format.bfloat16 import StoredType
    from celeiro.format.codecs import Codec
    from celeiro.packing.plan import Plan
    from celeiro.packing.recipe import FieldKind
    from celeiro.packing.work import Work

DTYPES = ("float32", "float16", "bfloat16")
"""What features may be stored as."""


# What may lie between two computations of a row, of its largest value: autocast on a GPU, which
# chooses its kernels by itself, is told apart from other weights.
_SAME = 1e-2


@dataclass(slots=True)
class Rows:
    """What a model says of one batch, as it is stored."""

    layers: tuple[npt.NDArray[Any], ...]
    """(b, D) of each, the main one first; empty where no sample is sound."""
    refused: Mapping[int, str]
    """By place in the batch, why there is none."""


class Features:
    """A model's rows, batch by batch.

    Parameters
    ----------
    dtype
        What the first layer is stored as. The others are float32, or float16 where it is.
    path
        Of the source, for messages.
    """

    def __init__(self, batches: Batches, model: Model, dtype: str, path: Path) -> None:
        self._batches = batches
        self._model = model
        self._dtype = dtype
        self._path = path
        self._sizes: tuple[int, ...] = ()
        self._first: dict[int, Rows] = {}
        self._stood: _Stood | None = None
        self._last: tuple[int, Rows] | None = None

    def kinds(self) -> list[StoredType]:
        """The type of each layer's values in the file."""
        further = "float16" if self._dtype == "float16" else "float32"
        names = [self._dtype, *[further] * (len(self._model.layers) - 1)]
        return [bfloat16.type_of(name).newbyteorder("<") for name in names]

    def sizes(self) -> tuple[int, ...]:
        """Values of each layer, learnt from the first batch with a sound sample, which is kept.

        Raises
        ------
        SourceError
            There is none.
        """
        for number in range(len(self._batches)):
            rows = self._first[number] = self._computed(number)
            if rows.layers:
                return self._sizes
        reason = next(iter(self._first[0].refused.values()))
        raise SourceError(
            f"{self._path}: not one of its {len(self._first):,} batches holds a sample that can be "
            f"read; the first: {reason}."
        )

    def expect(self, work: Work, codec: Codec | None) -> None:
        """Look at what an earlier run made of the batch that is computed already, if it did."""
        assert codec is not None
        number = next(number for number, rows in self._first.items() if rows.layers)
        if not work.published:
            self._stood = _Stood(work, codec, number, self._batches.tasks(number))

    def rows(self, number: int) -> Rows:
        """What is stored of one batch.

        Raises
        ------
        ResumeError
            An earlier run got other rows of the same samples.
        """
        stood, self._stood = self._stood, None
        if stood is not None:
            self._check_same(stood)
        if self._last is None or self._last[0] != number:
            rows = self._first.pop(number, None)
            self._last = number, self._computed(number) if rows is None else rows
        return self._last[1]

    def place(self, task: int) -> tuple[int, int]:
        """The batch of a task, and its place there."""
        return divmod(task, self._batches.size)

    def close(self) -> None:
        """End the threads that make batches."""
        self._batches.stop()

    def _check_same(self, stood: _Stood) -> None:
        """Refuse to go on where the model says something else than what is kept; ResumeError."""
        rows = self._first[stood.number]
        for task, was in zip(stood.kept, stood.rows(), strict=True):
            at = task - stood.tasks.start
            if at in rows.refused:
                continue
            before, now = (np.asarray(x, np.float64) for x in (was, rows.layers[0][at]))
            apart = np.abs(now - before)
            where = int(apart.argmax())
            if apart[where] > _SAME * max(np.abs(before).max(), np.abs(now).max()):
                raise ResumeError(
                    f"{stood.folder} cannot be gone on with: value {where:,} of "
                    f"{self._sample(task)} was {before[where]:g}, and {self._model.name} now says "
                    f"{now[where]:g}. It calls or holds something that changed: give what there "
                    "was, or --fresh (fresh=True) to start anew."
                )

    def _computed(self, number: int) -> Rows:
        batch = self._batches.take(number)
        if batch.images is None:
            return Rows((), batch.refused)
        tasks = self._batches.tasks(number)
        outputs = self._answers(batch.images, len(tasks))
        sound = [at for at in range(len(tasks)) if at not in batch.refused]
        layers = []
        for name, values, kind in zip(self._model.layers, outputs, self.kinds(), strict=True):
            self._check_finite(name, values, tasks, sound)
            layers.append(self._stored(name, values, kind, tasks, sound))
        return Rows(tuple(layers), batch.refused)

    def _answers(self, images: npt.NDArray[Any], count: int) -> list[npt.NDArray[Any]]:
        """The model's outputs, (count, D) each, in the order of its layers."""
        names = self._model.layers
        answered = self._model(images)
        if tuple(answered) != tuple(names):
            raise ModelError(
                f"{self._model.name} answers with {', '.join(map(repr, answered)) or 'nothing'}; "
                f"wanted {', '.join(map(repr, names))}, in this order."
            )
        found = []
        for name, values in answered.items():
            values = np.asarray(values)
            if not values.ndim or len(values) != count:
                raise ModelError(
                    f"{self._model.name}: {name!r} comes as {values.shape} for a batch of {count}; "
                    f"wanted one row for each of the {count} samples, in their order."
                )
            if values.dtype.kind not in "fiub":
                raise ModelError(
                    f"{self._model.name}: {name!r} is of {values.dtype}; wanted real numbers."
                )
            found.append(values.reshape(count, math.prod(values.shape[1:])))
        self._check_sizes(found)
        return found

    def _check_sizes(self, found: Sequence[npt.NDArray[Any]]) -> None:
        sizes = tuple(values.shape[1] for values in found)
        self._sizes = self._sizes or sizes
        if sizes != self._sizes or not all(sizes):
            raise ModelError(
                f"{self._model.name} answers with {sizes} values a sample, and before with "
                f"{self._sizes}; wanted as many of each, and one at least. Pool them with --pool "
                "avg where their number follows the size of pictures, or give --size."
            )

    def _check_finite(
        self, name: str, values: npt.NDArray[Any], tasks: range, sound: list[int]
    ) -> None:
        """Refuse what is no number, of samples that are; ModelError."""
        if np.isfinite(values).all():
            return
        for at in sound:
            wrong = ~np.isfinite(values[at])
            if wrong.any():
                where = int(np.argmax(wrong))
                raise ModelError(
                    f"{self._sample(tasks[at])}: value {where:,} of {name!r} is "
                    f"{values[at, where]}, and the sample is sound; wanted finite numbers. "
                    f"{self._model.name} overflows, or its weights are not what they should be: "
                    "try another --device, or other --weights."
                )

    def _stored(
        self,
        name: str,
        values: npt.NDArray[Any],
        kind: StoredType,
        tasks: range,
        sound: list[int],
    ) -> npt.NDArray[Any]:
        """Values as they are stored; ModelError where a finite one becomes infinite."""
        with np.errstate(over="ignore", invalid="ignore"):
            if kind is bfloat16.BFLOAT16:
                made: npt.NDArray[Any] = bfloat16.rounded(np.asarray(values, np.float32))
            else:
                assert isinstance(kind, np.dtype)
                made = np.ascontiguousarray(values, kind)
        lost = np.isinf(made) & np.isfinite(values)
        for at in sound if lost.any() else ():
            if lost[at].any():
                where = int(np.argmax(lost[at]))
                raise ModelError(
                    f"{self._sample(tasks[at])}: value {where:,} of {name!r} is "
                    f"{values[at, where]:g}, beyond what {kind} holds. Choose another --dtype "
                    "(bfloat16 takes as little, and holds it), with --fresh."
                )
        return made

    def _sample(self, task: int) -> str:
        key = printable(self._batches.listing.keys[task])
        return f"sample {task:,} ({key}) of {self._path.name}"


class _Stood:
    """What an earlier run kept of a batch."""

    def __init__(self, work: Work, codec: Codec, number: int, tasks: range) -> None:
        self.folder = work.folder
        self.number = number
        self.tasks = tasks
        self._codec = codec
        self.kept: list[int] = []
        """The tasks of the batch that have rows."""
        done = before = 0
        for frame in work.frames():
            refused = {at for at, _ in frame.note["refused"]}
            kept = [done + at for at in range(frame.tasks) if at not in refused]
            before += sum(task < tasks.start for task in kept)
            self.kept += [task for task in kept if task in tasks]
            done += frame.tasks
            if done >= tasks.stop:
                break
        # Rows close up, and have one size.
        self._size = math.prod(codec.shape) * codec.stored.itemsize
        self._data = work.read(
            len(self.kept) * self._size, layout.PAYLOAD_OFFSET + before * self._size
        )

    def rows(self) -> Iterator[npt.NDArray[Any]]:
        """Of those tasks, in their order."""
        for at in range(0, len(self._data), self._size):
            yield self._codec.decode(self._data[at : at + self._size])


@dataclass(frozen=True, slots=True)
class FeatureRecipe:
    """A row of features, and of each further layer."""

    plan: Plan
    """The tasks."""
    codec: Codec
    """Of the first layer."""
    made: tuple[FieldKind, ...]
    """The other layers."""
    features: Features
    """Where the rows come from."""
    wide: tuple[str, ...] = ()
    """None: everything has one shape."""
    sums_of_rows: bool = False
    """They are summed one by one, so that no block's end shows in the sums."""

    def make(self, task: int, row: npt.NDArray[Any] | None) -> Made:
        """Take one sample's rows; tasks must be asked for in their order, by one thread."""
        assert row is not None
        number, at = self.features.place(task)
        rows = self.features.rows(number)
        if at in rows.refused:
            raise PictureError(rows.refused[at])
        row[...] = rows.layers[0][at]
        pieces = {DATA: piece_of(self.codec, row)}
        for kind, layer in zip(self.made, rows.layers[1:], strict=True):
            data = layer[at].data
            pieces[kind.stream] = Piece(data, data.nbytes, crc32c(data))
        return Made(pieces, stats.sums_of(row))
