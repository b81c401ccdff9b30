"""`celeiro.jax.Loader`: batches as arrays on the device, or spread over several.

    for images, labels in Loader("photos.h5", batch_size=256): ...
    for images, labels in Loader("photos.h5", 256, sharding=NamedSharding(mesh, P("data"))): ...

The invariant: an array has the numbers that `celeiro.Loader` gives, and keeps them. JAX holds the
memory that it copies from, or has its array over, for as long as it needs it; where batches are
filled anew in spite of that (reuse=True), it is given a copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import MissingExtraError, OptionError
from celeiro.feeding import loader as feeding

try:
    import jax
    from jax.sharding import NamedSharding, PartitionSpec
except ModuleNotFoundError as error:
    raise MissingExtraError(
        f"celeiro.jax needs JAX, which is not installed ({error}). Type: pip install 'celeiro[jax]'"
    ) from error

if TYPE_CHECKING:
    import os
    from typing import Unpack

    import numpy.typing as npt

    from celeiro.feeding.batch import Batch
    from celeiro.feeding.options import Options
    from celeiro.reading.dataset import Dataset

__all__ = ["Loader"]

_ALIGNED = 64  # bytes


class Loader(feeding.Loader):
    """Batches of a dataset as JAX's arrays, epoch after epoch.

    As `celeiro.Loader`, whose other arguments it takes, state and order included. Arrays go to the
    device ahead. Integers and floats of 64 bits become such of 32, unless ``jax_enable_x64`` is
    set. Strings, and rows of different length, come as lists.

    Parameters
    ----------
    device
        Where arrays are; by default JAX's own default device.
    sharding
        How each array is spread over devices; of a `NamedSharding`, arrays of fewer dimensions
        than its spec take the first ones. Processes give their own part of a global array.
    rank, world_size
        By default ``jax.process_index()`` and ``jax.process_count()``, so that `batch_size` is of
        each process.

    Raises
    ------
    OptionError
        Both `device` and `sharding`; or batches, the last one of an epoch included, that do not
        divide over the devices of `sharding`.
    """

    def __init__(
        self,
        ds: Dataset | str | os.PathLike[str],
        batch_size: int,
        *,
        device: jax.Device | None = None,
        sharding: jax.sharding.Sharding | None = None,
        **options: Unpack[Options],
    ) -> None:
        if device is not None and sharding is not None:
            raise OptionError("device and sharding: give one of them, a sharding has its devices.")
        self._device = device
        self._sharding = sharding
        # A context manager sets it for one thread, and arrays are made in others.
        self._default = jax.config.jax_default_device
        self._copies = bool(options.get("reuse"))
        super().__init__(ds, batch_size, **_with_ranks(options))
        if sharding is not None:
            try:
                self._check_division()
            except OptionError:
                self.close()
                raise

    def _allocate(self, size: int) -> npt.NDArray[np.uint8]:
        # On the processor JAX has its array over memory that begins like this; other it copies.
        memory = super()._allocate(size + _ALIGNED)
        start = -memory.ctypes.data % _ALIGNED
        return memory[start : start + size]

    def _prepared(self, made: Batch) -> Any:
        with jax.default_device(self._default):
            return self._put((made.images, made.labels, *made.fields))

    def _given(self, prepared: Any) -> Any:
        return prepared

    def _put(self, value: Any) -> Any:
        """The same structure with JAX's arrays; strings and None stay."""
        if isinstance(value, (tuple, list)):
            return type(value)(map(self._put, value))
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biufc":
            return value
        if self._copies:
            value = value.copy()
        if self._sharding is None:
            return jax.device_put(value, self._device)
        whole = (len(value) * self._ranks.world, *value.shape[1:])
        return jax.make_array_from_process_local_data(self._shards(value.ndim), value, whole)

    def _shards(self, dimensions: int) -> jax.sharding.Sharding:
        """The sharding of an array of so many dimensions."""
        sharding = self._sharding
        if isinstance(sharding, NamedSharding) and len(sharding.spec) > dimensions:
            spec = PartitionSpec(*sharding.spec[:dimensions])
            return NamedSharding(sharding.mesh, spec, memory_kind=sharding.memory_kind)
        return sharding

    def _check_division(self) -> None:
        """Say before the first epoch what JAX would say at its end."""
        ranks = self._ranks
        rest = 0 if ranks.drop_last else ranks.count % ranks.together
        if rest and ranks.world > 1 and not ranks.pad:
            raise OptionError(
                "sharding and pad=False: processes must give equal parts of the last batch. Leave "
                "pad out, or say drop_last=True."
            )
        last = len(ranks.positions(0, len(self) - 1)) * ranks.world if rest else 0
        for size in filter(None, (ranks.together, last)):
            try:
                self._shards(1).shard_shape((size,))
            except ValueError as error:
                raise OptionError(
                    f"{size:,} samples, of a batch of all processes together, do not divide over "
                    f"the devices of {self._sharding}. Give another batch_size, or drop_last=True "
                    "for the sake of an epoch's last batch."
                ) from error


def _with_ranks(options: Options) -> Options:
    """Rank and world size of JAX's processes, where they are not given and there are several."""
    given = options.get("rank") is not None or options.get("world_size") is not None
    if given or jax.process_count() == 1:
        return options
    return {**options, "rank": jax.process_index(), "world_size": jax.process_count()}
