"""The loader in PyTorch: the same batches as tensors; and samples for PyTorch's own DataLoader."""

from __future__ import annotations

import importlib
import io
import json
import pickle
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler

import celeiro
import celeiro.torch
from celeiro.errors import MissingExtraError, OptionError
from celeiro.feeding.loader import Loader as Plain
from celeiro.feeding.transforms import (
    HorizontalFlip,
    Normalize,
    OneHot,
    RandomResizedCrop,
    Resize,
    ToCHW,
    ToFloat,
)
from celeiro.torch import Dataset, Loader

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT = 37
TRAIN = [RandomResizedCrop(12), HorizontalFlip(), Normalize(), ToCHW()]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 20, 16, 3), np.uint8)
    out = tmp_path_factory.mktemp("torch") / "a.h5"
    return celeiro.pack(images, out, store="lossless", labels=np.arange(COUNT)).path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of several sizes, their red channel as mask, boxes, names and weights; no labels."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(1)
    lines = []
    for i in range(9):
        small = rng.integers(0, 256, (4, 5, 3), np.uint8)
        image = cv2.resize(small, (30 - i, 20 + i), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{i}.png"), image)
        cv2.imwrite(str(folder / f"mask{i}.png"), image[..., 2])
        line = {"path": f"{i}.png", "mask": f"mask{i}.png", "weight": i / 2, "name": f"photo {i}"}
        lines.append(line | {"boxes": [[1, 2, 8 + j, 9] for j in range(i % 3)]})
    (folder / "set.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return celeiro.pack(folder / "set.jsonl", folder / "a.h5", store="encoded").path


def assert_same(tensors: Any, arrays: Any) -> None:
    """Bit for bit, in values, types and structure."""
    if isinstance(arrays, (tuple, list)):
        assert type(tensors) is type(arrays)
        for one, other in zip(tensors, arrays, strict=True):
            assert_same(one, other)
    elif isinstance(arrays, np.ndarray):
        assert isinstance(tensors, torch.Tensor)
        assert tensors.numpy().dtype == arrays.dtype
        np.testing.assert_array_equal(tensors.numpy(), arrays)
    else:
        assert tensors == arrays


# Loader


@pytest.mark.parametrize("transform", [None, TRAIN], ids=["as stored", "transformed"])
@pytest.mark.parametrize("device", [None, "cpu"])
def test_batches_are_those_of_the_plain_loader(file: Path, transform: Any, device: Any) -> None:
    with (
        Plain(file, 8, seed=3, transform=transform) as plain,
        Loader(file, 8, seed=3, transform=transform, device=device) as loader,
    ):
        assert len(loader) == len(plain)
        for _ in range(2):
            assert_same(list(loader), list(plain))
        assert loader.digest() == plain.digest()


def test_fields_come_as_tensors_lists_and_strings(photos: Path) -> None:
    options: Any = {
        "fields": ("mask", "boxes", "weight", "name"), "seed": 2, "transform": [Resize((12, 10))]
    }  # fmt: skip
    with Plain(photos, 4, **options) as plain, Loader(photos, 4, **options) as loader:
        batches = list(loader)
        assert_same(batches, list(plain))
    images, labels, masks, boxes, weights, names = batches[0]
    assert labels is None
    assert (images.shape, masks.shape) == ((4, 12, 10, 3), (4, 12, 10))
    assert [box.shape[1] for box in boxes] == [4] * 4
    assert weights.dtype == torch.float64
    assert all(isinstance(name, str) for name in names)


def test_tensors_lie_over_the_memory_of_the_batch(file: Path) -> None:
    class Spied(Loader):
        def _prepared(self, made: Any) -> Any:
            made_at.append(made.images.ctypes.data)
            return super()._prepared(made)

    made_at: list[int] = []
    with Spied(file, 8, seed=3, workers=1) as loader:
        given_at = [images.data_ptr() for images, _ in loader]
    assert given_at == made_at


def test_a_batch_that_is_kept_stays_what_it_was(file: Path) -> None:
    with Loader(file, 4, seed=3) as loader:
        batches = [(images, images[1:], images.clone()) for _ in range(3) for images, _ in loader]
    for images, part, copied in batches:
        torch.testing.assert_close(images, copied, rtol=0, atol=0)
        torch.testing.assert_close(part, copied[1:], rtol=0, atol=0)


def test_training_goes_on_from_what_torch_saved(file: Path) -> None:
    with Loader(file, 8, seed=3, transform=TRAIN) as loader:
        undisturbed = [batch for _ in range(2) for batch in loader]
    for stop in range(1, 2 * len(loader)):
        saved = io.BytesIO()
        with Loader(file, 8, seed=3, transform=TRAIN) as loader:
            batches = (batch for _ in range(2) for batch in loader)
            for _ in range(stop):
                next(batches)
            torch.save({"loader": loader.state_dict()}, saved)
        saved.seek(0)
        with Loader(file, 8, transform=TRAIN) as loader:
            loader.load_state_dict(torch.load(saved, weights_only=True)["loader"])
            images, labels = next(iter(loader))
        torch.testing.assert_close(images, undisturbed[stop][0], rtol=0, atol=0)
        torch.testing.assert_close(labels, undisturbed[stop][1], rtol=0, atol=0)


def test_two_processes_see_each_sample_once_and_agree_on_the_order(
    file: Path, tmp_path: Path
) -> None:
    script = Path(__file__).parent / "frameworks" / "rank.py"
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), str(file), str(tmp_path / "store"), str(rank)],
            stdout=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    told = [json.loads(rank.communicate(timeout=200)[0]) for rank in ranks]
    assert [rank["rank"] for rank in told] == [0, 1]
    for epoch in range(2):
        both = [rank["labels"][epoch] for rank in told]
        assert sorted(both[0] + both[1]) == list(range(COUNT))
        assert min(map(len, both)) >= COUNT // 2 - 1
    with Plain(file, 8, seed=5) as plain:
        assert {rank["digest"] for rank in told} == {plain.digest(1)}


def test_a_rank_that_is_given_counts_more_than_that_of_torch(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    with Loader(file, 4) as loader:
        assert "rank 1 of 3" in repr(loader)
    with Loader(file, 4, rank=0, world_size=1) as loader:
        assert "rank" not in repr(loader)


@pytest.mark.filterwarnings("ignore")  # of what Lightning says to its own users
def test_lightning_trains_with_it_and_its_checkpoints_resume_within_an_epoch(
    file: Path, tmp_path: Path
) -> None:
    lightning: Any = pytest.importorskip("pytorch_lightning")

    class Network(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(20 * 16 * 3, 1)
            self.seen: list[int] = []

        def training_step(self, batch: Any, number: int) -> torch.Tensor:
            self.seen += batch[1].tolist()
            return self.layer(batch[0].flatten(1).float()).mean()

        def validation_step(self, batch: Any, number: int) -> None:
            assert len(batch) == 2

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 1e-9)

    def trained(resumed: Path | None = None) -> list[int]:
        saver = lightning.callbacks.ModelCheckpoint(
            tmp_path, "{step}", every_n_train_steps=7, save_top_k=-1
        )
        trainer = lightning.Trainer(
            accelerator="cpu", max_epochs=2, callbacks=[saver], logger=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        network = Network()
        val = Loader(file, 8, shuffle=False)
        trainer.fit(network, Loader(file, 8, seed=3), val, ckpt_path=resumed, weights_only=True)
        return network.seen

    with Plain(file, 8, seed=3) as plain:
        order = [n for _ in range(2) for _, labels in plain for n in labels.tolist()]
    assert trained() == order
    # Five batches of the first epoch, and two of the second.
    assert trained(tmp_path / "step=7.ckpt") == order[COUNT + 16 :]


# On a GPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told_before_training(file: Path) -> None:
    with pytest.raises(OptionError, match="device 'cuda': PyTorch finds no such device here"):
        Loader(file, 4, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("reuse", [False, True])
def test_batches_on_a_gpu_are_those_of_the_plain_loader(file: Path, reuse: bool) -> None:
    with (
        Plain(file, 8, seed=3, transform=TRAIN) as plain,
        Loader(file, 8, seed=3, transform=TRAIN, device="cuda", reuse=reuse) as loader,
    ):
        for _ in range(20):
            there = list(loader)
            assert {images.device.type for images, _ in there} == {"cuda"}
            assert_same([tuple(t.cpu() for t in batch) for batch in there], list(plain))


class Stream:
    """A stream and its events, which write down what is asked of them."""

    def __init__(self, name: str, told: list[str]) -> None:
        self.name, self.told = name, told

    def wait_event(self, event: Any) -> None:
        self.told.append(f"{self.name} waits")

    def record(self, stream: Any) -> None:
        self.told.append(f"event on {stream.name}")

    def synchronize(self) -> None:
        self.told.append("host waits")


def test_a_gpu_is_asked_for_all_that_it_must_be_asked_for(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calls alone, on a machine without one: what comes of them is for the test above."""
    told: list[str] = []
    empty, to = torch.empty, torch.Tensor.to

    def moved(tensor: torch.Tensor, device: torch.device, *, non_blocking: bool) -> torch.Tensor:
        assert device == torch.device("cuda", 0)
        assert non_blocking
        told.append("copy")
        return to(tensor, "cpu", copy=True)

    def pinned(size: int, *, dtype: torch.dtype, pin_memory: bool) -> torch.Tensor:
        assert pin_memory
        told.append("pinned")
        return empty(size, dtype=dtype)

    monkeypatch.setattr(torch, "empty", pinned)
    monkeypatch.setattr(torch.Tensor, "to", moved)
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda _, stream: told.append(f"used on {stream.name}")
    )
    for name, value in {
        "is_available": lambda: True,
        "current_device": lambda: 0,
        "device": lambda device: nullcontext(),
        "Stream": lambda device: Stream("side", told),
        "stream": lambda stream: nullcontext(told.append(f"on {stream.name}")),
        "Event": lambda blocking: Stream("event", told),
        "current_stream": lambda device: Stream("main", told),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    with Loader(file, COUNT, shuffle=False, device="cuda", workers=1) as loader:
        ((_, labels),) = loader
    assert labels.tolist() == list(range(COUNT))
    ahead = ["pinned", "on side", "copy", "copy", "event on side", "host waits"]
    assert told == [*ahead, "main waits", "used on main", "used on main"]


# Dataset


def labels_of(loader: Any) -> list[int]:
    return [label for _, labels in loader for label in labels.tolist()]


def test_samples_are_those_of_the_file(file: Path) -> None:
    dataset = Dataset(file)
    with celeiro.open(file) as ds:
        assert len(dataset) == len(ds)
        image, label = dataset[5]
        assert_same((image, label), ds[5])
        assert_same(dataset.__getitems__([7, -1, 7])[1], ds[COUNT - 1])
    with pytest.raises(IndexError):
        dataset[COUNT]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of forking with threads
@pytest.mark.parametrize(("workers", "start"), [(0, None), (2, "fork"), (1, "spawn")])
def test_a_dataloader_with_any_workers_gives_the_samples(
    file: Path, workers: int, start: str | None
) -> None:
    dataset = Dataset(file)
    assert dataset[0][1] == 0  # what it holds is there before the workers are
    loader = DataLoader(dataset, 8, num_workers=workers, multiprocessing_context=start)
    with celeiro.open(file) as ds:
        for at, (images, labels) in enumerate(loader):
            assert_same((images, labels), ds[8 * at : 8 * at + 8])
    assert at == len(loader) - 1


def test_pickled_it_is_the_path_and_its_transform(file: Path) -> None:
    dataset = Dataset(celeiro.open(file).select([4, 2]), TRAIN)
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 2000
    again = pickle.loads(pickled)
    assert len(again) == 2
    torch.manual_seed(0)
    image, label = dataset[1]
    torch.manual_seed(0)
    torch.testing.assert_close(again[1][0], image, rtol=0, atol=0)
    assert again[1][1] == label == 2


def test_transforms_draw_from_the_random_numbers_of_torch(file: Path) -> None:
    dataset = Dataset(file, TRAIN)
    torch.manual_seed(7)
    together = dataset.__getitems__(list(range(20)))
    assert together[0][0].shape == (3, 12, 12)
    torch.manual_seed(7)
    singly = [dataset[i] for i in range(20)]
    again = [dataset[i] for i in range(20)]
    for one, other in zip(together, singly, strict=True):
        torch.testing.assert_close(one[0], other[0], rtol=0, atol=0)
    assert any(not torch.equal(one[0], other[0]) for one, other in zip(singly, again, strict=True))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_workers_draw_each_for_themselves(file: Path) -> None:
    ds = celeiro.open(file).select([3] * 8)
    loader = DataLoader(Dataset(ds, [RandomResizedCrop(6)]), 4, num_workers=2)
    first, second = (images for images, _ in loader)
    assert not torch.equal(first, second)


def test_without_labels_a_sample_is_its_image_alone(photos: Path) -> None:
    dataset = Dataset(photos, [Resize((8, 8)), ToFloat()])
    (images, *others) = DataLoader(dataset, batch_size=6)
    assert images.shape == (6, 8, 8, 3)
    assert images.dtype == torch.float32
    assert len(others) == 1
    assert isinstance(Dataset(photos)[0], torch.Tensor)


def test_pictures_of_several_sizes_come_as_they_are(photos: Path) -> None:
    dataset = Dataset(photos)
    assert [tuple(image.shape) for image in dataset.__getitems__([0, 4])] == [
        (20, 30, 3), (24, 26, 3)
    ]  # fmt: skip


def test_masks_and_boxes_move_with_their_picture(photos: Path) -> None:
    dataset = Dataset(photos, [RandomResizedCrop(10), HorizontalFlip()], ("mask", "boxes", "name"))
    for i, (image, mask, boxes, name) in enumerate(dataset.__getitems__(list(range(9)))):
        assert mask.shape == (10, 10)
        assert np.abs(image[..., 0].numpy().astype(int) - mask.numpy()).mean() < 12
        assert boxes.shape == (i % 3, 4)
        assert name == f"photo {i}"
    plain = Dataset(photos, fields=("mask", "boxes", "weight"))
    image, mask, boxes, weight = plain[5]
    torch.testing.assert_close(mask, image[..., 0])
    assert boxes.tolist() == [[1, 2, 8, 9], [1, 2, 9, 9]]
    assert weight == 2.5


def test_one_hot_labels_are_rows_and_mixing_is_refused(file: Path) -> None:
    _, label = Dataset(file, OneHot())[4]
    assert label.shape == (COUNT,)
    assert label.argmax() == 4
    mixing = importlib.import_module("celeiro.feeding.transforms")
    with pytest.raises(OptionError, match=r"MixUp\(.* needs a batch"):
        Dataset(file, [OneHot(), mixing.MixUp()])


def test_an_error_in_a_transform_names_the_sample(file: Path) -> None:
    def fails(image: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        Dataset(celeiro.open(file).select([9, 8]), fails)[1]
    assert caught.value.__notes__ == ["celeiro: in the transform of sample 8 of a.h5"]


def test_a_distributed_sampler_divides_the_samples(file: Path) -> None:
    dataset = Dataset(file)
    samplers = [DistributedSampler(dataset, 2, rank, drop_last=True) for rank in range(2)]
    seen = [labels_of(DataLoader(dataset, 5, sampler=sampler)) for sampler in samplers]
    assert len(set(seen[0] + seen[1])) == COUNT - 1


# torchdata 0.11 calls what PyTorch 2.13 is about to drop.
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")
def test_a_stateful_dataloader_goes_on_where_it_was(file: Path) -> None:
    stateful: Any = pytest.importorskip("torchdata.stateful_dataloader")

    def made() -> Any:
        torch.manual_seed(3)
        return stateful.StatefulDataLoader(Dataset(file), 8, shuffle=True)

    undisturbed = labels_of(made())
    loader = made()
    batches = iter(loader)
    seen = [*next(batches)[1].tolist(), *next(batches)[1].tolist()]
    again = made()
    again.load_state_dict(loader.state_dict())
    assert seen + labels_of(again) == undisturbed


# What is not installed


@pytest.mark.parametrize("framework", ["torch", "keras", "jax"])
def test_a_framework_that_is_missing_is_named_with_the_line_to_type(
    framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, framework, None)
    monkeypatch.delitem(sys.modules, f"celeiro.{framework}", raising=False)
    wanted = rf"Type: pip install 'celeiro\[{framework}\]'"
    with pytest.raises(MissingExtraError, match=wanted):
        importlib.import_module(f"celeiro.{framework}")


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    yield
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("celeiro-feed")]
