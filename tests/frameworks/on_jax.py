"""What test_jax.py runs in a process of its own: one that has loaded JAX must not fork."""

from __future__ import annotations

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import celeiro
from celeiro.errors import OptionError
from celeiro.feeding.loader import Loader as Plain
from celeiro.feeding.transforms import HorizontalFlip, Normalize, RandomResizedCrop, ToCHW
from celeiro.jax import Loader

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 37
TRAIN = [RandomResizedCrop(12), HorizontalFlip(), Normalize(), ToCHW()]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 20, 16, 3), np.uint8)
    out = tmp_path_factory.mktemp("jax") / "a.h5"
    return celeiro.pack(images, out, labels=np.arange(COUNT)).path


def sharding(*spec: str | None) -> NamedSharding:
    return NamedSharding(jax.make_mesh((4,), ("data",)), PartitionSpec(*spec))


@pytest.mark.parametrize("transform", [None, TRAIN], ids=["as stored", "transformed"])
@pytest.mark.parametrize("reuse", [False, True], ids=["", "reuse"])
def test_batches_are_those_of_the_plain_loader_and_stay(
    file: Path, transform: Any, reuse: bool
) -> None:
    with (
        Plain(file, 8, seed=3, transform=transform) as plain,
        Loader(file, 8, seed=3, transform=transform, reuse=reuse) as loader,
    ):
        assert len(loader) == len(plain)
        kept = [list(loader) for _ in range(3)]
        for epoch in kept:
            for (images, labels), expected in zip(epoch, plain, strict=True):
                assert isinstance(images, jax.Array)
                assert images.dtype == expected[0].dtype
                np.testing.assert_array_equal(images, expected[0])
                np.testing.assert_array_equal(labels, expected[1])
        assert loader.digest() == plain.digest()


@pytest.mark.parametrize("reuse", [False, True])
def test_arrays_lie_over_the_memory_of_the_batch_unless_it_is_filled_anew(
    file: Path, reuse: bool
) -> None:
    class Spied(Loader):
        def _prepared(self, made: Any) -> Any:
            made_at.append(made.images.ctypes.data)
            return super()._prepared(made)

    made_at: list[int] = []
    with Spied(file, 8, reuse=reuse, workers=1) as loader:
        given_at = [images.unsafe_buffer_pointer() for images, _ in loader]
    # The first of the next epoch were perhaps begun as well.
    assert (given_at == made_at[: len(given_at)]) is not reuse


def test_arrays_are_where_they_are_wanted(file: Path) -> None:
    *_, last = jax.devices()
    with Loader(file, 8, device=last) as loader:
        for images, labels in loader:
            assert images.devices() == labels.devices() == {last}
    with jax.default_device(last):
        loader = Loader(file, 8)
    with loader:
        assert {device for images, _ in loader for device in images.devices()} == {last}


@pytest.mark.parametrize("spec", [("data",), ("data", None, None, None)])
def test_a_batch_is_spread_over_the_devices_of_a_sharding(file: Path, spec: Any) -> None:
    with (
        Plain(file, 8, seed=3, drop_last=True) as plain,
        Loader(file, 8, seed=3, drop_last=True, sharding=sharding(*spec)) as loader,
    ):
        for (images, labels), expected in zip(loader, plain, strict=True):
            np.testing.assert_array_equal(images, expected[0])
            np.testing.assert_array_equal(labels, expected[1])
            for array in (images, labels):
                assert [len(shard.data) for shard in array.addressable_shards] == [2] * 4
            mean = jax.jit(lambda images: jnp.mean(images, dtype=jnp.float32))(images)
            assert float(mean) == pytest.approx(expected[0].mean())


def test_batches_that_do_not_divide_are_told_before_training(file: Path) -> None:
    with pytest.raises(OptionError, match="^5 samples, .* do not divide .* drop_last=True"):
        Loader(file, 8, sharding=sharding("data"))
    with pytest.raises(OptionError, match="^6 samples, .* do not divide"):
        Loader(file, 6, sharding=sharding("data"), drop_last=True)
    with pytest.raises(OptionError, match="device and sharding: give one of them"):
        Loader(file, 8, sharding=sharding("data"), device=jax.devices()[0])
    with pytest.raises(OptionError, match="sharding and pad=False"):
        Loader(file, 8, sharding=sharding("data"), pad=False, rank=0, world_size=2)


def test_without_labels_they_are_none_and_strings_stay(tmp_path: Path) -> None:
    images = np.zeros((5, 4, 4, 3), np.uint8)
    bare = celeiro.pack(images, tmp_path / "bare.h5").path
    with Loader(bare, 3) as loader:
        assert [labels for _, labels in loader] == [None, None]


def test_two_processes_make_their_parts_of_one_array(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each gives to JAX: that puts them together where there are two, as it was tried."""
    parts = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(jax, "process_index", lambda rank=rank: rank)
        monkeypatch.setattr(
            jax,
            "make_array_from_process_local_data",
            lambda sharding, local, shape: (local.copy(), shape),
        )
        with Loader(file, 4, seed=3, drop_last=True, sharding=sharding("data")) as loader:
            parts.append([labels for _, labels in loader])
    with Plain(file, 8, seed=3, drop_last=True) as plain:
        for (first, shape), (second, _), (_, labels) in zip(*parts, plain, strict=True):
            np.testing.assert_array_equal(np.concatenate([first, second]), labels)
            assert shape == labels.shape


def test_a_dataset_is_a_source_of_grain_as_it_stands(file: Path) -> None:
    grain: Any = pytest.importorskip("grain")
    with celeiro.open(file) as ds:
        assert isinstance(ds, grain.sources.RandomAccessDataSource)
        batches = list(grain.MapDataset.source(ds).seed(1).shuffle().batch(8))
        assert batches[0][0].shape == (8, 20, 16, 3)
        labels = [label for batch in batches for label in batch[1].tolist()]
        assert sorted(labels) == list(range(COUNT))
        assert labels != sorted(labels)
        np.testing.assert_array_equal(batches[0][0][3], ds[labels[3]][0])
