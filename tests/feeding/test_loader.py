"""The loader: every sample as often as it should, the same batches whoever makes them, an end."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections import Counter
from typing import TYPE_CHECKING, Any

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import celeiro
from celeiro.errors import OptionError, SampleError
from celeiro.feeding.loader import Loader
from celeiro.feeding.order import digest
from celeiro.feeding.transforms import (
    CenterCrop,
    CutMix,
    HorizontalFlip,
    MixUp,
    Normalize,
    OneHot,
    RandomCrop,
    RandomResizedCrop,
    Resize,
    ToCHW,
    ToFloat,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNT = 53
SHAPE = (6, 5, 3)


def numbered(count: int = COUNT, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Images whose first value says which they are, and whose others are noise."""
    images = np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    return images


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("loader") / "a.h5"
    celeiro.pack(numbered(), out, labels=np.arange(COUNT) % 4)
    return out


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPEGs of several sizes as they are, with masks that are their red channel, and boxes."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(1)
    lines = []
    for i in range(24):
        height, width = 40 + i % 7, 50 - i % 5
        small = rng.integers(0, 256, (4, 5, 3), np.uint8)
        image = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{i}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
        cv2.imwrite(str(folder / f"{i}.png"), image[..., 2])
        lines.append(
            {
                "path": f"{i}.jpg", "label": i % 2, "mask": f"{i}.png", "weight": i / 2,
                "name": f"photo {i}", "boxes": [[1, 2, 11 + j, 22] for j in range(i % 3)],
            }
        )  # fmt: skip
    (folder / "set.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = folder / "photos.h5"
    celeiro.pack(folder / "set.jsonl", out, store="encoded")
    return out


def numbers(images: np.ndarray) -> list[int]:
    return images[:, 0, 0, 0].tolist()


def epoch(loader: Loader) -> list[int]:
    return [number for images, _ in loader for number in numbers(images)]


def feeders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("celeiro-feed")]


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    yield
    gc.collect()  # ends them, and waits for none
    deadline = time.monotonic() + 10
    while feeders() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not feeders()


# Which samples


@settings(max_examples=40)
@given(
    batch=st.integers(1, 60),
    world=st.integers(1, 4),
    workers=st.integers(1, 4),
    shuffle=st.sampled_from([True, False, "blocks"]),
    seed=st.integers(0, 5),
)
def test_each_sample_comes_once_an_epoch(
    file: Path, batch: int, world: int, workers: int, shuffle: Any, seed: int
) -> None:
    seen: Counter[int] = Counter()
    for rank in range(world):
        with Loader(
            file, batch, shuffle=shuffle, seed=seed, rank=rank, world_size=world, workers=workers,
            pad=False,
        ) as loader:  # fmt: skip
            seen.update(epoch(loader))
    assert seen == Counter(range(COUNT))


def test_images_labels_and_shapes_are_those_of_the_file(file: Path) -> None:
    with Loader(file, 10) as loader, celeiro.open(file) as ds:
        assert len(loader) == 6
        sizes = []
        for images, labels in loader:
            sizes.append(len(images))
            assert (images.dtype, images.shape[1:]) == (np.uint8, SHAPE)
            np.testing.assert_array_equal(images, ds.read(numbers(images)))
            np.testing.assert_array_equal(labels, np.array(numbers(images)) % 4)
        assert sizes == [10, 10, 10, 10, 10, 3]


def test_epochs_differ_and_replay(file: Path) -> None:
    with Loader(file, 8, seed=3) as loader:
        first, second = epoch(loader), epoch(loader)
        assert first != second
        loader.set_epoch(0)
        assert (loader.epoch, epoch(loader)) == (0, first)
        assert loader.epoch == 1
    with Loader(file, 13, seed=3, workers=1, prefetch=5) as other:
        assert epoch(other) == first
    with Loader(file, 8, seed=4) as other:
        assert epoch(other) != first


def test_dropping_the_rest(file: Path) -> None:
    with Loader(file, 10, drop_last=True) as loader:
        assert len(loader) == 5
        assert [len(images) for images, _ in loader] == [10] * 5


def test_a_view_is_fed_and_nothing_else(file: Path) -> None:
    with celeiro.open(file) as ds:
        view = ds.select([50, 3, 9, 9])
        assert epoch(Loader(view, 3, shuffle=False)) == [50, 3, 9, 9]
        assert sorted(epoch(Loader(view, 3))) == [3, 9, 9, 50]


def test_weights_and_balance(file: Path) -> None:
    weights = np.zeros(COUNT)
    weights[[4, 7]] = 1, 3
    with Loader(file, 16, weights=weights, samples=400) as loader:
        seen = Counter(epoch(loader))
        assert set(seen) == {4, 7}
        assert seen.total() == 400
        assert 2 < seen[7] / seen[4] < 5
    with celeiro.open(file) as ds:
        few = ds.select([i for i in range(COUNT) if i % 4 or i == 8])
        seen = Counter(i % 4 for i in epoch(Loader(few, 16, shuffle="balanced", samples=2000)))
        assert all(abs(seen[label] - 500) < 100 for label in range(4))


def test_the_digest_says_what_came_in_which_order(file: Path) -> None:
    with Loader(file, 8, seed=1) as loader:
        planned = loader.digest(1)
        first, second = epoch(loader), epoch(loader)
        assert loader.digest(0) == digest([np.array(first)])
        assert loader.digest() == planned == digest([np.array(second)])
        ranks = [Loader(file, 4, seed=1, rank=r, world_size=3) for r in range(3)]
        assert {rank.digest(1) for rank in ranks} == {planned}
        for rank in ranks:
            rank.close()
    with celeiro.open(file) as ds:
        view = Loader(ds.select([5, 2, 8]), 2, shuffle=False)
        assert view.digest(0) == digest([np.array([5, 2, 8])])


# Resuming


@pytest.mark.parametrize("options", [{}, {"drop_last": True}, {"shuffle": "blocks"}])
def test_resuming_at_every_batch_is_an_undisturbed_run(file: Path, options: Any) -> None:
    def run(loader: Loader, batches: int) -> list[list[int]]:
        found: list[list[int]] = []
        while len(found) < batches:
            for images, labels in loader:
                assert labels.tolist() == [i % 4 for i in numbers(images)]
                found.append(numbers(images))
                if len(found) == batches:
                    break
        return found

    with Loader(file, 10, seed=2, **options) as loader:
        whole = run(loader, 14)
    for done in range(14):
        with Loader(file, 10, seed=2, **options) as loader:
            assert run(loader, done) == whole[:done]
            state = json.loads(json.dumps(loader.state_dict()))
        with Loader(file, 10, seed=99, workers=3, **options) as loader:
            loader.load_state_dict(state)
            assert loader.state_dict() == state
            assert run(loader, 14 - done) == whole[done:]


def test_resuming_on_another_number_of_ranks(file: Path) -> None:
    """1 -> 2 -> 3 ranks of the same global batch: together they give what one gives."""
    with Loader(file, 12, seed=5, transform=[RandomCrop(4), HorizontalFlip()]) as loader:
        whole = [images for _ in range(2) for images, _ in loader]
    state, found = None, []
    for world, batches in ((1, 2), (2, 2), (3, 6)):
        loaders = [
            Loader(
                file, 12 // world, seed=5, rank=rank, world_size=world,
                transform=[RandomCrop(4), HorizontalFlip()],
            )
            for rank in range(world)
        ]  # fmt: skip
        for loader in loaders:
            if state is not None:
                loader.load_state_dict(state)
        parts = [[images for e in range(2) for images, _ in loader] for loader in loaders]
        if batches == 6:  # to the end of both epochs
            parts = [p[: len(whole) - len(found)] for p in parts]
        found += [
            np.concatenate(batch) for batch in zip(*(p[:batches] for p in parts), strict=True)
        ]
        for loader in loaders:
            loader.close()
        if batches == 6:
            break
        again = Loader(file, 12 // world, seed=5, rank=0, world_size=world)
        if state is not None:
            again.load_state_dict(state)
        for number, _ in enumerate(again, 1):
            if number == batches:
                state = again.state_dict()
                break
        again.close()
        gc.collect()
    assert len(found) == len(whole)
    for one, other in zip(found, whole, strict=True):
        np.testing.assert_array_equal(one[: len(other)], other)


def test_a_loop_that_was_left_counts_as_an_epoch(file: Path) -> None:
    with Loader(file, 10) as loader:
        for _ in loader:
            break
        assert (loader.epoch, loader.position) == (0, 10)
        for _ in loader:
            break
        assert (loader.epoch, loader.position) == (1, 10)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 7}, {"position": 54}, {"position": -1}, {"epoch": "x"}, {"seed": None},
        {"order": "InOrder(count=53)"}, {"skipped": [1]}, {"skipped": [[53, 0]]},
    ],
    ids=str,
)  # fmt: skip
def test_a_state_of_something_else_is_refused(file: Path, change: Any) -> None:
    with Loader(file, 10) as loader, pytest.raises(OptionError):
        loader.load_state_dict({**loader.state_dict(), **change})
    with pytest.raises(OptionError, match="state"):
        Loader(file, 10).load_state_dict([1])  # type: ignore[arg-type]


# Memory


def test_a_batch_that_is_kept_stays_what_it_was(file: Path) -> None:
    with Loader(file, 7) as loader:
        kept = [(images, images.copy()) for _ in range(3) for images, _ in loader]
    for images, copy in kept:
        np.testing.assert_array_equal(images, copy)


def test_memory_is_used_again(file: Path) -> None:
    with Loader(file, 10, drop_last=True) as loader:
        places = {images.ctypes.data for _ in range(10) for images, _ in loader}
        assert len(places) <= 5
    with Loader(file, 10, drop_last=True, reuse=True) as loader:
        places = {images.ctypes.data for _ in range(10) for images, _ in loader}
        assert len(places) == 3


def test_reused_memory_holds_the_right_batch_until_the_next(file: Path) -> None:
    with Loader(file, 10, reuse=True, seed=3) as loader, Loader(file, 10, seed=3) as plain:
        for _ in range(20):
            for (images, _), (wanted, _) in zip(loader, plain, strict=True):
                np.testing.assert_array_equal(images, wanted)


@pytest.mark.parametrize("workers", [1, 4])
def test_reused_memory_is_right_for_masks_and_functions_too(photos: Path, workers: int) -> None:
    """Their memory is lent when a batch is finished, which is in no certain order."""
    chains: list[Any] = [[Resize((20, 20))], lambda image: image[:40, :46].copy()]
    for chain in chains:
        fields = "mask" if isinstance(chain, list) else ()
        options: dict[str, Any] = {
            "transform": chain, "fields": fields, "seed": 1, "workers": workers, "prefetch": 3,
        }  # fmt: skip
        with (
            Loader(photos, 4, reuse=True, **options) as loader,
            Loader(photos, 4, **options) as plain,
        ):
            for _ in range(5):
                for found, wanted in zip(loader, plain, strict=True):
                    np.testing.assert_array_equal(found[0], wanted[0])
                    if fields:
                        np.testing.assert_array_equal(found[2], wanted[2])


def test_two_iterations_do_not_share_reused_memory(file: Path) -> None:
    with Loader(file, 10, reuse=True) as loader:
        for (one, labels), (other, others) in zip(loader, loader, strict=True):
            assert labels.tolist() == [i % 4 for i in numbers(one)]
            assert others.tolist() == [i % 4 for i in numbers(other)]


def test_no_memory_is_held_after_break_or_close(file: Path) -> None:
    with Loader(file, 4, prefetch=4) as loader:
        for _ in loader:
            break
        gc.collect()
        assert not loader._memory._free
        list(loader)
        assert loader._memory._free
    assert not loader._memory._free


def test_nothing_is_held_after_the_end(file: Path) -> None:
    loader = Loader(file, 10)
    assert len(list(loader)) == 6
    gone = weakref.ref(loader)
    loader.close()
    del loader
    gc.collect()
    assert gone() is None


def test_memory_is_flat_over_fifty_epochs(tmp_path: Path) -> None:
    celeiro.pack(np.zeros((256, 64, 64, 3), np.uint8), tmp_path / "a.h5", store="jpeg")
    program = f"""
import resource
from celeiro.feeding.loader import Loader
from celeiro.feeding.transforms import RandomCrop, ToCHW, ToFloat
loader = Loader({str(tmp_path / "a.h5")!r}, 64, transform=[RandomCrop(60), ToFloat(), ToCHW()])
peaks = []
for epoch in range(50):
    for images, _ in loader:
        pass
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(peaks[5], peaks[-1])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    early, late = map(int, done.stdout.split())
    assert late - early < 12_000  # KB; one batch is 2.8 MB


def test_resuming_block_shuffles_and_weights_on_another_number_of_ranks(file: Path) -> None:
    for options in ({"shuffle": "blocks"}, {"weights": np.arange(COUNT) + 1}):
        with Loader(file, 12, seed=5, **options) as loader:
            whole = [numbers(images) for images, _ in loader]
        with Loader(file, 6, seed=5, rank=0, world_size=2, **options) as loader:
            for _ in loader:
                break
            state = loader.state_dict()
        ranks = [Loader(file, 4, rank=rank, world_size=3, **options) for rank in range(3)]
        for rank in ranks:
            rank.load_state_dict(state)
        found = [
            [i for part in batch for i in numbers(part[0])] for batch in zip(*ranks, strict=True)
        ]
        assert [batch[: len(want)] for batch, want in zip(found, whole[1:], strict=True)] == whole[
            1:
        ]
        for rank in ranks:
            rank.close()


def test_a_state_of_other_weights_is_refused(file: Path) -> None:
    with Loader(file, 4, weights=np.arange(COUNT) + 1) as one:
        state = one.state_dict()
    with (
        Loader(file, 4, weights=np.arange(COUNT) + 2) as other,
        pytest.raises(OptionError, match="the state is of Weighted"),
    ):
        other.load_state_dict(state)


# Transforms


STEPS = [RandomResizedCrop(32), HorizontalFlip(), Normalize(110.0, 60.0), ToCHW()]


def test_augmentation_replays_with_any_number_of_threads(photos: Path) -> None:
    found = []
    for workers in (1, 2, 5):
        with Loader(photos, 7, seed=1, transform=STEPS, workers=workers) as loader:
            found.append([batch for _ in range(2) for batch, _ in loader])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two, strict=True)
    assert found[0][0].shape == (7, 3, 32, 32)
    assert found[0][0].dtype == np.float32


def test_a_sample_looks_different_in_each_epoch_and_alike_in_each_batch(file: Path) -> None:
    def views(**options: Any) -> dict[int, np.ndarray]:
        with Loader(file, transform=[RandomCrop(3)], seed=1, **options) as loader:
            rows = []
            for images, _ in loader:
                rows.extend(images)
            order = loader.order.epoch(1, 0).tolist()
        return dict(zip(order, rows, strict=True))

    one, other = views(batch_size=9), views(batch_size=20)
    assert all(np.array_equal(one[i], other[i]) for i in range(COUNT))
    with Loader(file, COUNT, shuffle=False, transform=[RandomCrop(3)]) as loader:
        epochs = [images.copy() for _ in range(2) for images, _ in loader]
    assert not np.array_equal(*epochs)


def test_without_random_steps_a_chain_is_what_it_is_by_hand(photos: Path) -> None:
    with (
        Loader(photos, 5, shuffle=False, transform=[Resize((20, 24)), ToFloat()]) as loader,
        celeiro.open(photos) as ds,
    ):
        images = np.concatenate([batch for batch, _ in loader])
        for i in range(len(ds)):
            wanted = Image.fromarray(ds[i][0]).resize((24, 20), Image.Resampling.BILINEAR)
            np.testing.assert_allclose(images[i] * 255, np.asarray(wanted), atol=1.001)


def test_masks_and_boxes_move_with_their_image(photos: Path) -> None:
    with Loader(
        photos, 8, fields=("mask", "boxes", "weight", "name"), seed=4,
        transform=[RandomCrop(30), HorizontalFlip()],
    ) as loader:  # fmt: skip
        order = loader.order.epoch(4, 0).astype(int).tolist()
        for images, _, masks, boxes, weights, names in loader:
            # The mask is the picture's red channel before it was made a JPEG.
            assert np.abs(images[..., 0].astype(int) - masks).mean() < 4
            for sample, box, weight, name in zip(
                order[: len(images)], boxes, weights, names, strict=True
            ):
                assert len(box) == sample % 3
                assert ((box >= 0) & (box <= 30)).all()
                assert weight == sample / 2
                assert name == f"photo {sample}"
            order = order[len(images) :]


def test_fields_without_transforms_come_as_they_are(photos: Path, tmp_path: Path) -> None:
    celeiro.pack(photos.parent / "set.jsonl", tmp_path / "a.h5", size=(20, 22))
    with (
        Loader(tmp_path / "a.h5", 10, fields=("mask", "boxes", "weight"), seed=6) as loader,
        celeiro.open(tmp_path / "a.h5") as ds,
    ):
        order = loader.order.epoch(6, 0).astype(int).tolist()
        masks, boxes, weights = [], [], []
        for _, _, mask, box, weight in loader:
            assert mask.shape[1:] == (20, 22)
            masks.extend(mask)
            boxes.extend(box)
            weights.extend(weight.tolist())
        assert weights == ds["weight"][order].tolist()
        for at, sample in enumerate(order):
            np.testing.assert_array_equal(masks[at], ds["mask"][sample])
            np.testing.assert_array_equal(boxes[at], ds["boxes"][sample])


def test_a_file_without_labels_gives_none(tmp_path: Path) -> None:
    celeiro.pack(numbered(6), tmp_path / "a.h5")
    with Loader(tmp_path / "a.h5", 4) as loader:
        assert [labels for _, labels in loader] == [None, None]
    with (
        Loader(tmp_path / "a.h5", 4, transform=OneHot()) as loader,
        pytest.raises(OptionError, match="labels"),
    ):
        next(iter(loader))


def test_mixing_is_alike_on_any_number_of_ranks(file: Path) -> None:
    def run(world: int) -> list[tuple[np.ndarray, np.ndarray]]:
        ranks = [
            Loader(
                file, 12 // world, rank=rank, world_size=world, drop_last=True,
                transform=[ToFloat(), OneHot(), MixUp(0.4)],
            )
            for rank in range(world)
        ]  # fmt: skip
        found = [
            (np.concatenate([b[0] for b in batch]), np.concatenate([b[1] for b in batch]))
            for batch in zip(*ranks, strict=True)
        ]
        for loader in ranks:
            loader.close()
        return found

    one = run(1)
    assert one[0][1].shape == (12, 4)
    assert any(0 < value < 1 for value in one[0][1].ravel())
    for world in (2, 3):
        for (images, labels), (wanted, wanted_labels) in zip(run(world), one, strict=True):
            np.testing.assert_array_equal(images, wanted)
            np.testing.assert_array_equal(labels, wanted_labels)


def test_an_odd_part_of_a_rank_is_refused_where_neighbours_are_mixed(file: Path) -> None:
    with pytest.raises(OptionError, match="wanted an even one"):
        Loader(file, 3, rank=0, world_size=2, transform=[ToFloat(), MixUp(0.4)])


def test_the_rest_of_an_epoch_is_mixed_alike_on_any_number_of_ranks(file: Path) -> None:
    steps = [ToFloat(), OneHot(), MixUp(0.4)]
    with celeiro.open(file) as ds:
        few = ds.select(range(42))
        whole = [images for images, _ in Loader(few, 12, transform=steps)]
        ranks = [Loader(few, 6, rank=rank, world_size=2, transform=steps) for rank in range(2)]
        found = [np.concatenate([b[0] for b in batch]) for batch in zip(*ranks, strict=True)]
    assert len(found) == len(whole)
    for one, want in zip(found, whole, strict=True):
        np.testing.assert_array_equal(one[: len(want)], want)


def test_masks_are_not_left_behind_where_images_are_mixed(photos: Path) -> None:
    for step in (CutMix(1.0), MixUp(0.2)):
        with pytest.raises(OptionError, match="'mask' would stay as it is"):
            Loader(photos, 4, fields="mask", transform=[Resize((20, 20)), OneHot(), step])


def test_a_function_cannot_move_a_mask_and_says_so(photos: Path) -> None:
    with pytest.raises(OptionError, match="not celeiro's"):
        Loader(photos, 4, fields="mask", transform=lambda image: image[:20, :20])


def test_albumentations_moves_image_and_mask(photos: Path) -> None:
    albumentations = pytest.importorskip("albumentations")
    crop = albumentations.Compose([albumentations.RandomCrop(30, 30)])
    with Loader(photos, 8, fields="mask", transform=crop, seed=2) as loader:
        for images, _, masks in loader:
            assert images.shape[1:] == (30, 30, 3)
            assert np.abs(images[..., 0].astype(int) - masks).mean() < 4
    with pytest.raises(OptionError, match="no boxes"):
        Loader(photos, 8, fields=("mask", "boxes"), transform=crop)


def test_any_function_of_an_image_is_a_transform(file: Path) -> None:
    with Loader(file, 6, transform=lambda image: image[::-1], shuffle=False) as loader:
        images, _ = next(iter(loader))
        np.testing.assert_array_equal(images, numbered()[:6, ::-1])


def test_what_a_function_makes_of_a_picture_is_not_overwritten_by_the_next(photos: Path) -> None:
    with (
        Loader(photos, 24, transform=lambda image: image[:40, :46], shuffle=False) as loader,
        celeiro.open(photos) as ds,
    ):
        images, _ = next(iter(loader))
        for i in range(24):
            np.testing.assert_array_equal(images[i], ds[i][0][:40, :46])


def test_an_error_in_a_transform_names_the_sample(file: Path) -> None:
    def fail(image: np.ndarray) -> np.ndarray:
        if image[0, 0, 0] == 17:
            raise ZeroDivisionError
        return image

    with Loader(file, 10, transform=fail, shuffle=False) as loader:
        batches = iter(loader)
        next(batches)
        with pytest.raises(ZeroDivisionError) as caught:
            next(batches)
    assert "sample 17" in caught.value.__notes__[0]


def test_a_plan_that_cannot_be_names_the_sample(photos: Path) -> None:
    with (
        Loader(photos, 24, transform=[RandomCrop(44)]) as loader,
        pytest.raises(OptionError, match="44") as caught,
    ):
        next(iter(loader))
    assert "sample" in caught.value.__notes__[0]


def test_damage_that_a_transform_finds_elsewhere_is_not_skipped(file: Path) -> None:
    def fail(image: np.ndarray) -> np.ndarray:
        raise SampleError("of another file", 3)

    with Loader(file, 4, transform=fail, on_error="skip") as loader:
        with pytest.raises(SampleError, match="of another file"):
            next(iter(loader))
        assert not loader.skipped


def test_a_transform_may_read_other_samples(photos: Path) -> None:
    with celeiro.open(photos) as ds:

        def look(image: np.ndarray) -> np.ndarray:
            before = image.copy()
            ds.visit(range(5), lambda at, other, factor: None)
            np.testing.assert_array_equal(image, before)
            return image[:40, :46]

        assert len(list(Loader(ds, 6, transform=look))) == 4


def test_stopping_does_not_wait_for_the_samples_at_work(file: Path) -> None:
    done = []

    def slow(image: np.ndarray) -> np.ndarray:
        time.sleep(0.02)
        done.append(1)
        return image

    with Loader(file, 53, transform=slow, workers=1, prefetch=3) as loader:
        for _ in loader:
            break
        gc.collect()
        assert len(done) < 53 + 10


# What is refused


def test_samples_of_several_sizes_need_a_transform(photos: Path) -> None:
    with pytest.raises(OptionError, match=r"sample 0 .*0\.jpg.* is 40×50 and sample 1 .*Resize"):
        Loader(photos, 4)
    with pytest.raises(OptionError, match=r"sample .* comes as .* a batch needs one shape"):
        list(Loader(photos, 4, transform=lambda image: image))


def test_pictures_of_one_size_need_none(tmp_path: Path, photo_folder: Any) -> None:
    celeiro.pack(photo_folder(7), tmp_path / "a.h5", store="encoded")
    with (
        Loader(tmp_path / "a.h5", 4, shuffle=False) as loader,
        celeiro.open(loader.dataset.path) as ds,
    ):
        images = np.concatenate([batch for batch, _ in loader])
        np.testing.assert_array_equal(images, np.stack(ds.read(range(7))))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size 0"),
        ({"shuffle": "yes"}, "shuffle 'yes'"),
        ({"seed": -1}, "seed -1"),
        ({"prefetch": 0}, "prefetch 0"),
        ({"workers": -1}, "workers -1"),
        ({"workers": 0}, "workers 0"),
        ({"rank": 1}, "give both"),
        ({"rank": 2, "world_size": 2}, "rank 2"),
        ({"on_error": "pass"}, "on_error"),
        ({"weights": [1, 2]}, "one for each of 53"),
        ({"weights": np.ones(COUNT), "shuffle": False}, "give one of them"),
        ({"samples": 5}, "samples"),
        ({"block": 5}, "blocks"),
    ],
    ids=str,
)
def test_options_that_mean_nothing_are_refused(file: Path, options: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Loader(file, **{"batch_size": 4, **options})


def test_a_column_that_is_not_there_is_named(file: Path) -> None:
    with pytest.raises(KeyError, match="no field 'mask'"):
        Loader(file, 4, fields="mask")


def test_balance_without_classes_is_refused(tmp_path: Path) -> None:
    celeiro.pack(numbered(5), tmp_path / "a.h5")
    with pytest.raises(OptionError, match="class number"):
        Loader(tmp_path / "a.h5", 2, shuffle="balanced")


def test_a_local_shuffle_of_sorted_classes_warns(tmp_path: Path) -> None:
    celeiro.pack(numbered(200), tmp_path / "a.h5", labels=np.arange(200) // 50)
    options: dict[str, Any] = {"shuffle": "blocks", "block": 10, "mixed": 2}
    with pytest.warns(UserWarning, match=r"a batch of 16 is worth 2 drawn"):
        Loader(tmp_path / "a.h5", 16, **options).close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Loader(tmp_path / "a.h5", 16).close()
        with celeiro.open(tmp_path / "a.h5") as ds:
            Loader(ds.select(np.random.default_rng(0).permutation(200)), 16, **options)


# Damage


def damage(path: Path, *samples: int) -> None:
    with celeiro.open(path, verify=True) as ds:
        places = [ds._opened.contents.samples.place(i) for i in samples]
    with path.open("r+b") as opened:
        for offset, length in places:
            opened.seek(offset + length // 2)
            byte = opened.read(1)
            opened.seek(-1, 1)
            opened.write(bytes([byte[0] ^ 0x55]))


@pytest.fixture(params=["jpeg", "lossless", "encoded"])
def damaged(request: pytest.FixtureRequest, tmp_path: Path, photo_folder: Any) -> Path:
    """Twenty samples, of which 4, 5 and 11 are damaged."""
    out = tmp_path / "damaged.h5"
    size = {} if request.param == "encoded" else {"size": (40, 48)}
    celeiro.pack(photo_folder(20), out, store=request.param, **size)
    damage(out, 4, 5, 11)
    return out


@pytest.mark.parametrize("steps", [None, [CenterCrop(32)]], ids=["plain", "transform"])
def test_a_damaged_sample_is_named(damaged: Path, steps: Any) -> None:
    with Loader(damaged, 3, shuffle=False, transform=steps) as loader:
        batches = iter(loader)
        next(batches)
        with pytest.raises(SampleError, match=r"sample [45] \('cat.*\.jpg'\)") as caught:
            next(batches)
    assert caught.value.sample in (4, 5)


@pytest.mark.parametrize("steps", [None, [RandomCrop(32)]], ids=["plain", "transform"])
def test_the_next_sound_sample_takes_a_damaged_ones_place(
    damaged: Path, steps: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Loader(damaged, 6, shuffle=False, on_error="skip", transform=steps) as loader,
        celeiro.open(damaged) as ds,
    ):
        images = np.concatenate([batch for batch, _ in loader])
        labels = np.concatenate([labels for _, labels in loader])
        assert len(images) == 20
        assert loader.skipped == {4: 6, 5: 6, 11: 12}
        given = list(range(20))
        for at, instead in loader.skipped.items():
            given[at] = instead
        assert loader.digest() == digest([np.array(given)])
        assert labels.tolist() == ds.labels[given].tolist()
        if steps is None:
            for at, sample in enumerate(given):
                np.testing.assert_array_equal(images[at], ds[sample][0])
        assert "3 damaged samples of epoch 0" in caplog.text
        state = loader.state_dict()
        assert state["skipped"] == []


def test_skipping_is_alike_for_any_number_of_threads_and_ranks(damaged: Path) -> None:
    def run(world: int, workers: int) -> tuple[Any, Any]:
        ranks = [
            Loader(
                damaged, 4 // world, rank=rank, world_size=world, workers=workers, seed=9,
                on_error="skip", transform=[RandomCrop(30)],
            )
            for rank in range(world)
        ]  # fmt: skip
        found = [np.concatenate([b[0] for b in batch]) for batch in zip(*ranks, strict=True)]
        skipped = {p: s for rank in ranks for p, s in rank.skipped.items()}
        for rank in ranks:
            rank.close()
        return found, skipped

    wanted, skipped = run(1, 1)
    assert len(skipped) == 3
    for world, workers in ((1, 4), (2, 2)):
        found, others = run(world, workers)
        assert others == skipped
        for one, two in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, two)


def test_the_digest_is_of_the_epoch_that_it_is_asked_for(damaged: Path) -> None:
    with Loader(damaged, 6, on_error="skip", seed=1) as loader:
        planned = [loader.digest(epoch) for epoch in range(3)]
        for _ in range(2):
            list(loader)
        assert loader.digest(1) != planned[1]
        assert loader.digest(0) == planned[0]
        loader.set_epoch(2)
        assert [loader.digest(epoch) for epoch in range(3)] == planned


def test_shapes_that_no_picture_has_are_damage(tmp_path: Path, photo_folder: Any) -> None:
    out = tmp_path / "a.h5"
    celeiro.pack(photo_folder(6), out, store="encoded")
    with celeiro.open(out) as ds:
        ds._opened.contents.samples.shapes.setflags(write=True)
        ds._opened.contents.samples.shapes[2] = 0, 0, 3
        ds._opened.contents.samples.shapes[4] = 2**32 - 1, 2**32 - 1, 3
        ds._opened.contents.samples.shapes[5] = 60_000, 60_000, 3
        loader = Loader(ds, 6, transform=Resize((8, 8)), on_error="skip", shuffle=False)
        ((images, _),) = loader
        assert loader.skipped == {2: 3, 4: 0, 5: 0}
        assert len(images) == 6


def test_a_file_without_a_sound_sample_ends_in_an_error(tmp_path: Path, photo_folder: Any) -> None:
    out = tmp_path / "a.h5"
    celeiro.pack(photo_folder(5), out, store="jpeg", size=(40, 48))
    damage(out, *range(5))
    with Loader(out, 2, on_error="skip") as loader, pytest.raises(SampleError, match="damaged"):
        next(iter(loader))


# Ends


@pytest.mark.parametrize("after", [0, 1, 3])
def test_break_ends_the_threads_at_once(file: Path, after: int) -> None:
    with Loader(file, 4, workers=3) as loader:
        for number, _ in enumerate(loader):
            assert feeders()
            if number == after:
                break
        gc.collect()
        assert not feeders()


def test_an_iterator_that_is_forgotten_ends_its_threads(file: Path) -> None:
    with Loader(file, 4) as loader:
        batches = iter(loader)
        next(batches)
        assert feeders()
        del batches
        gc.collect()
        assert not feeders()


def test_an_error_in_the_loop_ends_the_threads(file: Path) -> None:
    with Loader(file, 4) as loader:

        def fail() -> None:
            for _ in loader:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        gc.collect()
        assert not feeders()


def test_two_iterations_at_a_time_do_not_disturb_each_other(file: Path) -> None:
    with Loader(file, 10) as loader:
        pairs = list(zip(loader, loader, strict=True))
        assert sorted(i for (a, _), _ in pairs for i in numbers(a)) == list(range(COUNT))
        assert sorted(i for _, (b, _) in pairs for i in numbers(b)) == list(range(COUNT))


def test_a_slow_consumer_finds_batches_ready(file: Path) -> None:
    with Loader(file, 10, prefetch=3) as loader:
        batches = iter(loader)
        next(batches)
        deadline = time.monotonic() + 20
        ahead = batches.gi_frame.f_locals["run"].ahead  # type: ignore[attr-defined]
        while sum(found.done for found in ahead._crew._open.values()) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert ahead._crew._begun == 4


def test_the_next_epoch_is_begun_while_the_caller_is_at_the_last_batch(file: Path) -> None:
    with Loader(file, 10, seed=3) as loader:
        batches = iter(loader)
        first = [next(batches) for _ in range(6)]
        upcoming = loader._upcoming
        assert upcoming is not None
        deadline = time.monotonic() + 20
        while sum(found.done for found in upcoming.ahead._crew._open.values()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert next(batches, None) is None
        second = epoch(loader)
        assert loader._upcoming is not upcoming
        assert digest([np.array(second)]) == loader.digest(1)
        loader.set_epoch(0)
        assert epoch(loader) == [number for images, _ in first for number in numbers(images)]
        state = {**loader.state_dict(), "seed": 9}
        loader.load_state_dict(state)
        with Loader(file, 10, seed=9) as other:
            other.set_epoch(1)
            assert epoch(loader) == epoch(other)


def test_python_ends_at_once_after_a_whole_epoch(file: Path) -> None:
    program = f"""
from celeiro.feeding.loader import Loader
loader = Loader({str(file)!r}, 10)
print(sum(len(images) for images, _ in loader))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"53\n", b"")


def test_closing_the_dataset_after_a_whole_epoch_is_quiet(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for cache in (None, "memory"):
        with celeiro.open(file, cache=cache) as ds:
            loader = Loader(ds, 10)
            assert len(epoch(loader)) == COUNT
        del loader
        gc.collect()
    assert not caplog.records


def test_ctrl_c_in_the_middle_ends_with_nothing_but_the_interrupt(file: Path) -> None:
    program = f"""
import threading, time
from celeiro.feeding.loader import Loader
loader = Loader({str(file)!r}, 4, transform=lambda image: image)
print("on", flush=True)
try:
    while True:
        for _ in loader: pass
except KeyboardInterrupt:
    pass
def left():
    return [t.name for t in threading.enumerate() if t.name.startswith("celeiro")]
until = time.monotonic() + 10  # where the interrupt came between two iterations, nobody waits
while left() and time.monotonic() < until:
    time.sleep(0.01)
print(left(), flush=True)
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"on\n"
            time.sleep(0.3)
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=30)
        finally:
            child.kill()
    assert child.returncode == 0, err
    assert out == b"[]\n"
    assert not err


def test_python_ends_with_a_loader_in_the_middle(file: Path) -> None:
    program = f"""
from celeiro.feeding.loader import Loader
batches = iter(Loader({str(file)!r}, 4))
print(next(batches)[0].shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


# Other files


def test_files_of_others_with_many_samples_a_chunk(tmp_path: Path) -> None:
    images = numbered(40)
    with h5py.File(tmp_path / "a.h5", "w") as out:
        out.create_dataset("images", data=images, chunks=(7, *SHAPE), compression="gzip")
        out["labels"] = np.arange(40) % 3
    for shuffle in (True, "blocks"):
        for steps in (None, [RandomCrop(4)]):
            with Loader(tmp_path / "a.h5", 9, shuffle=shuffle, transform=steps, seed=2) as loader:
                order = loader.order.epoch(2, 0).astype(int)
                found = [labels for _, labels in loader]
                np.testing.assert_array_equal(np.concatenate(found), order % 3)
                if steps is None:
                    assert epoch(loader) == loader.order.epoch(2, 1).astype(int).tolist()
    with celeiro.open(tmp_path / "a.h5") as ds:
        assert Loader(ds, 9, shuffle="blocks").order.block % 7 == 0


def test_features_are_fed_as_they_are(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(30, 16)).astype(np.float32)
    with h5py.File(tmp_path / "a.h5", "w") as out:
        out["features"] = features
        out["labels"] = np.arange(30)
    with Loader(tmp_path / "a.h5", 8) as loader:
        for rows, labels in loader:
            np.testing.assert_array_equal(rows, features[labels])


def test_the_loader_says_what_it_is(file: Path) -> None:
    with Loader(file, 10, rank=1, world_size=2) as loader:
        assert repr(loader) == "<celeiro.feeding.loader.Loader 'a.h5' 3 batches of 10, rank 1 of 2>"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_iterates_anew(file: Path) -> None:
    program = f"""
import os
from celeiro.feeding.loader import Loader
loader = Loader({str(file)!r}, 10)
half = iter(loader); next(half)
child = os.fork()
if not child:
    fresh = Loader({str(file)!r}, 10)
    count = sum(len(images) for images, _ in fresh)
    os._exit(0 if count == {COUNT} else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
half.close()
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.stdout == b"0\n", done.stderr
