"""`celeiro.torch.Loader`: batches as tensors; and `Dataset`, for PyTorch's own DataLoader.

    for images, labels in Loader("photos.h5", batch_size=256, device="cuda"): ...

    thread   batch in pinned memory ── copied on a stream beside the network's ──> on the GPU
    loop     ──── the network, at the batch before ────> waits on its stream for the copy, takes it

The invariant: a tensor has the numbers that `celeiro.Loader` gives, and keeps them. Host memory is
filled anew once its copy is done, and the GPU's once the streams that were given it are past it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import MissingExtraError, OptionError
from celeiro.feeding import facts
from celeiro.feeding import loader as feeding
from celeiro.feeding.transforms.compose import flat
from celeiro.feeding.transforms.kinds import Batch as OfBatches
from celeiro.feeding.transforms.one_hot import OneHot
from celeiro.reading.columns import Pictures, Texts, numbers
from celeiro.reading.dataset import Dataset as Reader
from celeiro.reading.dataset import open as open_dataset

try:
    import torch
    from torch.utils import data
except ModuleNotFoundError as error:
    raise MissingExtraError(
        f"celeiro.torch needs PyTorch, which is not installed ({error}). "
        "Type: pip install 'celeiro[torch]'"
    ) from error

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from typing import Unpack

    import numpy.typing as npt

    from celeiro.feeding.batch import Batch
    from celeiro.feeding.options import Options

__all__ = ["Dataset", "Loader"]


class Loader(feeding.Loader):
    """Batches of a dataset as tensors, epoch after epoch.

    As `celeiro.Loader`, whose other arguments it takes, state and order included. Strings, and
    rows of different length, come as lists.

    Parameters
    ----------
    device
        Where tensors are. To a CUDA device they are copied ahead, beside what it computes; by
        default they lie over the batch's own memory.
    rank, world_size
        By default those of `torch.distributed`, where it is initialised.

    Examples
    --------
    >>> import numpy as np, tempfile, celeiro
    >>> folder = tempfile.TemporaryDirectory()
    >>> images = np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3)
    >>> _ = celeiro.pack(images, folder.name + "/a.h5", labels=[0, 1, 0, 1])
    >>> with Loader(folder.name + "/a.h5", batch_size=4, shuffle=False) as loader:
    ...     for images, labels in loader:
    ...         print(images.shape, images.dtype, labels)
    torch.Size([4, 8, 8, 3]) torch.uint8 tensor([0, 1, 0, 1])
    >>> folder.cleanup()
    """

    def __init__(
        self,
        ds: Reader | str | os.PathLike[str],
        batch_size: int,
        *,
        device: torch.device | str | int | None = None,
        **options: Unpack[Options],
    ) -> None:
        self._device = None if device is None else torch.device(device)
        on_gpu = self._device is not None and self._device.type == "cuda"
        self._copies = _Copies(self._device) if on_gpu else None
        super().__init__(ds, batch_size, **_with_ranks(options))

    def _allocate(self, size: int) -> npt.NDArray[np.uint8]:
        return super()._allocate(size) if self._copies is None else self._copies.pinned(size)

    def _prepared(self, made: Batch) -> Any:
        tensors = _each((made.images, made.labels, *made.fields), _tensor)
        return tensors if self._copies is None else self._copies.copied(tensors)

    def _given(self, prepared: Any) -> Any:
        if self._copies is not None:
            return self._copies.given(prepared)
        if self._device is None:
            return prepared
        return _each(prepared, lambda tensor: tensor.to(self._device))


def _with_ranks(options: Options) -> Options:
    """Rank and world size of `torch.distributed`, where they are not given and it has them."""
    world = torch.distributed
    given = options.get("rank") is not None or options.get("world_size") is not None
    if given or not world.is_available() or not world.is_initialized():
        return options
    return {**options, "rank": world.get_rank(), "world_size": world.get_world_size()}


class _Copies:
    """Copies to one GPU on a stream of their own, which the network's does not wait behind."""

    def __init__(self, device: torch.device) -> None:
        if not torch.cuda.is_available():
            raise OptionError(
                f"device {str(device)!r}: PyTorch finds no such device here. Wanted one that is "
                "there; leave device out for tensors in the host's memory."
            )
        # The caller's, not the threads': theirs would be 0, on every rank.
        index = torch.cuda.current_device() if device.index is None else device.index
        self._device = torch.device("cuda", index)
        self._stream = torch.cuda.Stream(self._device)

    def pinned(self, size: int) -> npt.NDArray[np.uint8]:
        """Memory that the GPU copies from without the processor; the array holds the tensor."""
        with torch.cuda.device(self._device):
            found: npt.NDArray[np.uint8] = torch.empty(
                size, dtype=torch.uint8, pin_memory=True
            ).numpy()
        return found

    def copied(self, tensors: Any) -> tuple[Any, Any]:
        """The tensors on the GPU, once they are there, and the event that tells it."""
        with torch.cuda.stream(self._stream):
            there = _each(tensors, lambda tensor: tensor.to(self._device, non_blocking=True))
            done = torch.cuda.Event(blocking=True)  # waits asleep: others decode meanwhile
            done.record(self._stream)
        # From here on the host's memory may be filled anew.
        done.synchronize()
        return there, done

    def given(self, copied: tuple[Any, Any]) -> Any:
        """The tensors for the stream that the caller is on."""
        tensors, done = copied
        stream = torch.cuda.current_stream(self._device)
        stream.wait_event(done)
        # They are of the other stream's memory, which must not copy into it before this one is
        # through with them.
        _each(tensors, lambda tensor: tensor.record_stream(stream))
        return tensors


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same structure with its arrays or tensors changed; strings and None stay."""
    if isinstance(value, (tuple, list)):
        return type(value)(_each(one, change) for one in value)
    return change(value) if isinstance(value, (np.ndarray, torch.Tensor)) else value


def _tensor(array: npt.NDArray[Any]) -> Any:
    """A tensor over the memory of an array; the array itself if it holds no numbers."""
    if array.dtype.kind not in "biufc":
        return array
    return torch.from_numpy(array if array.flags.writeable else array.copy())


class Dataset(data.Dataset[Any]):
    """Samples one by one, for a `torch.utils.data.DataLoader` and samplers of one's own.

    Each is ``(image, label)`` and a further value for each of `fields`; without labels the image
    alone. Images are tensors (H, W, C) as they are stored, or what `transform` makes of them. A
    batch is read at once. Workers may be forked or spawned: pickled, it is the path.

    Transforms draw from PyTorch's random numbers, so that `torch.manual_seed` and the seeds of
    workers hold for them. What needs a batch, such as MixUp, is for `Loader`, or a `collate_fn`.

    Parameters
    ----------
    ds
        A `celeiro.Dataset`, a view of one, or the path of a file.
    transform, fields
        As for `Loader`.

    Examples
    --------
    >>> import numpy as np, tempfile, celeiro
    >>> from torch.utils.data import DataLoader
    >>> folder = tempfile.TemporaryDirectory()
    >>> images = np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3)
    >>> _ = celeiro.pack(images, folder.name + "/a.h5", labels=[0, 1, 0, 1])
    >>> for images, labels in DataLoader(Dataset(folder.name + "/a.h5"), batch_size=4):
    ...     print(images.shape, images.dtype, labels)
    torch.Size([4, 8, 8, 3]) torch.uint8 tensor([0, 1, 0, 1])
    >>> folder.cleanup()
    """

    def __init__(
        self,
        ds: Reader | str | os.PathLike[str],
        transform: Callable[..., Any] | Sequence[Any] | None = None,
        fields: str | Sequence[str] = (),
    ) -> None:
        self.dataset = ds if isinstance(ds, Reader) else open_dataset(ds)
        """What is read."""
        self.transform = transform
        self.fields = (fields,) if isinstance(fields, str) else tuple(fields)
        self._prepare()

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        """One sample."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Several samples, read together."""
        samples = numbers(list(indices), len(self.dataset))
        images, plans = self._images(samples)
        columns = [[_tensor(np.asarray(image)) for image in images]]
        if self._labels is not None:
            columns.append(self._targets(self._labels, samples))
        columns += [self._field(column, samples, plans) for column in self._columns]
        return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))

    def __getstate__(self) -> dict[str, Any]:
        """Without what each process makes for itself."""
        return {name: value for name, value in vars(self).items() if name not in self._made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """As it was."""
        self.__dict__.update(state)
        self._prepare()

    _made = ("_chain", "_labels", "_shapes", "_columns")

    def _prepare(self) -> None:
        """What is looked up once rather than for each batch."""
        ds = self.dataset
        steps = flat(self.transform)
        for step in steps:
            if isinstance(step, OfBatches) and not isinstance(step, OneHot):
                raise OptionError(
                    f"{step!r} needs a batch, and samples come one by one here. Use "
                    "celeiro.torch.Loader, or do it in the DataLoader's collate_fn."
                )
        self._chain = facts.chain_of(ds, steps, fast=False) if steps else None
        self._labels = ds.labels
        self._shapes = ds.shapes  # held, for a view gathers them each time
        self._columns = [ds[name] for name in self.fields]

    def _images(self, samples: npt.NDArray[np.int64]) -> tuple[Any, list[Any]]:
        """Images, and for each what was decided about it."""
        ds, chain = self.dataset, self._chain
        if chain is None:
            return ds.read(samples), [None] * len(samples)
        drawn = torch.rand(len(samples), chain.draws, dtype=torch.float64).tolist()
        sizes = facts.sizes(ds, self._shapes, samples)
        plans = [chain.plan(*size, u) for size, u in zip(sizes, drawn, strict=True)]
        images: list[Any] = [None] * len(samples)

        def work(at: int, picture: npt.NDArray[Any], factor: int) -> None:
            try:
                made = chain.apply(picture, plans[at], None, factor)
            except Exception as error:
                facts.blamed(error, facts.named(ds, int(samples[at])))
                raise
            # A copy: what a function gives may be the very picture, whose memory the next one has.
            images[at] = np.array(made)

        ds.visit(samples, work, [chain.part(plan) for plan in plans])
        return images, plans

    def _targets(self, labels: npt.NDArray[Any], samples: npt.NDArray[np.int64]) -> list[Any]:
        found: Any = labels[samples]
        if self._chain is not None:
            _, found = self._chain.finish(np.empty((len(found), 0)), found, ())
        whole = found.ndim == 1 and found.dtype.kind in "biu"
        # Python's numbers, as the datasets of torchvision have them.
        return list(found.tolist() if whole else _tensor(found))

    def _field(self, column: Any, samples: npt.NDArray[np.int64], plans: list[Any]) -> list[Any]:
        if isinstance(column, Texts):
            return list(column.take(samples))
        if isinstance(column, Pictures):
            rows = column.read_list(samples)
            move: Callable[..., npt.NDArray[Any]] | None = self._chain.mask if self._chain else None
        else:
            rows = [np.array(column[at]) for at in samples.tolist()]
            move = self._chain.boxes if self._chain and facts.moves(column) else None
        if move is not None:
            rows = [np.ascontiguousarray(move(*pair)) for pair in zip(rows, plans, strict=True)]
        return [_tensor(row) for row in rows]
