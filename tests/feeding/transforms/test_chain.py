"""Chains: planned from the numbers drawn, and fused without changing a bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeiro.errors import OptionError
from celeiro.feeding import resample as kernel
from celeiro.feeding.transforms import (
    CenterCrop,
    ColorJitter,
    Compose,
    CutMix,
    HorizontalFlip,
    MeanSubtract,
    MixUp,
    Normalize,
    OnBatch,
    OneHot,
    Patch,
    RandomCrop,
    RandomResizedCrop,
    Resize,
    ToCHW,
    ToFloat,
)
from celeiro.feeding.transforms.chain import Chain
from celeiro.feeding.transforms.compose import flat

MEAN, STD = (120.0, 110.0, 100.0), (60.0, 61.0, 62.0)


def noise(height=40, width=50, channels=3, dtype="u1", seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels)).astype(dtype)


def chain_of(*steps, shape=(40, 50, 3), dtype="u1", **options):
    channels = shape[2] if shape and len(shape) == 3 else 3 if shape is None else 1
    numbers = {"mean": MEAN[:channels], "std": STD[:channels], "classes": 4} | options
    return Chain(list(steps), shape=shape, channels=channels, dtype=dtype, **numbers)


def apply(chain, image, u=None, **options):
    u = [0.3] * chain.draws if u is None else u
    return chain.apply(image, chain.plan(*image.shape[:2], u), **options)


STEPS = st.lists(
    st.sampled_from(
        [
            Resize(24),
            Resize((20, 33)),
            CenterCrop(28),
            CenterCrop((60, 10)),
            RandomCrop(30, padding=9, fill=17, pad_if_needed=True),
            RandomCrop(9, pad_if_needed=True),
            RandomResizedCrop(18),
            HorizontalFlip(),
            ColorJitter(0.4, 0.4, 0.4, 0.1),
            ToFloat(),
            Normalize(),
            Normalize((0.4, 0.5, 0.6), (200, 3, 4), dtype="float16"),
            MeanSubtract(),
            ToCHW(),
        ]
    ),
    max_size=6,
)


def one_by_one(steps, image, u):
    """Each step as a chain of its own, on what the one before gave."""
    mean, std, at, chw = MEAN, STD, 0, False
    for step in steps:
        if isinstance(step, ToCHW):
            chw = True
            continue
        chain = chain_of(step, shape=None, dtype=image.dtype, mean=mean, std=std)
        known = chain._parts[-1].after
        mean, std = known.mean, known.std
        image = apply(chain, image, u[at : at + chain.draws])
        at += chain.draws
    return np.moveaxis(image, 2, 0) if chw else image


@given(STEPS, st.integers(12, 60), st.integers(12, 60), st.integers(0, 2**32))
@settings(max_examples=150)
def test_what_is_fused_has_the_bits_of_one_step_after_the_other(steps, height, width, seed):
    steps = [
        step
        for i, step in enumerate(steps)
        if not isinstance(step, ColorJitter) or not _has_values(steps[:i])
    ]
    chain = chain_of(*steps, shape=None)
    u = np.random.default_rng(seed).random(chain.draws).tolist()
    image = noise(height, width)
    fused = apply(chain, image, u)
    wanted = one_by_one(steps, image, u)
    assert fused.dtype == wanted.dtype == chain.dtype
    assert np.array_equal(fused, wanted)
    assert np.array_equal(image, noise(height, width))  # left as it is


def _has_values(steps):
    return any(isinstance(step, (ToFloat, Normalize, MeanSubtract)) for step in steps)


@given(STEPS, st.sampled_from([None, (40, 50, 3)]))
@settings(max_examples=60)
def test_shape_and_type_of_the_result_are_known_beforehand(steps, shape):
    if _has_values(steps):
        steps = [step for step in steps if not isinstance(step, ColorJitter)]
    chain = chain_of(*steps, shape=shape)
    result = apply(chain, noise())
    assert result.dtype == chain.dtype
    assert chain.shape in (None, result.shape)
    if shape is not None:
        assert chain.shape == result.shape
        out = np.empty((3, *chain.shape), chain.dtype)
        assert np.shares_memory(apply(chain, noise(), out=out[1]), out)
        assert np.array_equal(out[1], result)


def test_the_common_chain_is_one_call(monkeypatch):
    calls = []
    function = kernel.compiled()
    if function is None:
        pytest.skip("the kernel is not built")
    monkeypatch.setattr(kernel, "compiled", lambda: lambda job: calls.append(1) or function(job))
    chain = chain_of(
        Resize(36), RandomResizedCrop(16), HorizontalFlip(), ToFloat(), Normalize(), ToCHW()
    )
    apply(chain, noise())
    assert len(calls) == 2  # two resizes are two passes
    calls.clear()
    apply(
        chain_of(RandomResizedCrop(16), HorizontalFlip(), ToFloat(), Normalize(), ToCHW()), noise()
    )
    apply(chain_of(Resize(36), CenterCrop(16), Normalize(), ToCHW()), noise())
    assert len(calls) == 2


def test_only_the_rows_that_are_needed_are_asked_for():
    chain = chain_of(Resize(20), CenterCrop(10), ToCHW())
    plan = chain.plan(40, 50, ())
    assert chain.rows(plan) == 31
    assert np.array_equal(chain.apply(noise()[:31], plan), chain.apply(noise(), plan))
    assert chain_of().rows(chain_of().plan(40, 50, ())) == 40
    jitter = chain_of(ColorJitter(0.5), CenterCrop(10))
    assert jitter.rows(jitter.plan(40, 50, [0.5] * 5)) == 40


@pytest.mark.parametrize(
    ("steps", "factor"),
    [
        ([Resize((100, 100))], 4),
        ([Resize((101, 100))], 2),
        ([Resize((10, 10))], 8),
        ([Resize((300, 300))], 1),
        ([CenterCrop(10)], 1),
        ([CenterCrop(200), Resize(100)], 2),
        ([HorizontalFlip(1), Resize(100), CenterCrop(50)], 4),
        ([ToFloat(), Resize(100)], 1),
        ([ColorJitter(0.5), Resize(100)], 1),
    ],
)
def test_a_picture_may_be_decoded_smaller_only_where_it_stays_large_enough(steps, factor):
    fast, exact = (chain_of(*steps, shape=(400, 600, 3), fast=fast) for fast in (True, False))
    plan = fast.plan(400, 600, [0.5] * fast.draws)
    assert fast.factor(plan) == factor
    assert exact.factor(plan) == 1


def test_fast_results_are_close_to_the_exact_ones():
    import cv2

    patches = noise(6, 8).astype(np.float32)
    image = np.clip(cv2.resize(patches, (800, 600), interpolation=cv2.INTER_CUBIC), 0, 255)
    image = image.astype(np.uint8)
    chain = chain_of(
        RandomResizedCrop(64), HorizontalFlip(), Resize(32), shape=(600, 800, 3), fast=True
    )
    for u in np.random.default_rng(0).random((10, chain.draws)).tolist():
        plan = chain.plan(600, 800, u)
        f = chain.factor(plan)
        assert f > 1
        rows = -(-chain.rows(plan) // f)
        small = cv2.resize(image, (800 // f, 600 // f), interpolation=cv2.INTER_AREA)
        fast = chain.apply(small[:rows], plan, factor=f)
        assert np.abs(fast.astype(int) - chain.apply(image, plan)).mean() < 2


def test_a_chain_replays_in_any_number_of_threads():
    chain = chain_of(
        RandomResizedCrop(16),
        HorizontalFlip(),
        ColorJitter(0.4, 0.4, 0.4, 0.1),
        Normalize(),
        ToCHW(),
    )
    draws = np.random.default_rng(0).random((40, chain.draws))
    images = [noise(seed=i) for i in range(40)]
    alone = [apply(chain, image, u) for image, u in zip(images, draws, strict=True)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda i: apply(chain, images[i], draws[i]), range(40)))
    assert all(map(np.array_equal, alone, together))


def test_the_plan_is_the_same_for_lists_and_arrays():
    chain = chain_of(RandomResizedCrop(16), HorizontalFlip())
    u = np.random.default_rng(0).random(chain.draws)
    assert chain.plan(40, 50, u) == chain.plan(40, 50, u.tolist())


def test_mask_and_boxes_move_with_the_picture():
    chain = chain_of(
        Resize(36), RandomCrop(30), HorizontalFlip(1.0), ColorJitter(0.1), Normalize(), ToCHW()
    )
    plan = chain.plan(60, 80, [0.6] * chain.draws)
    image = np.zeros((60, 80, 3), np.uint8)
    image[20:40, 30:60] = 255
    shown = chain.apply(image, plan)[0]
    mask = chain.mask(image[..., 0], plan)
    assert mask.shape == (30, 30)
    assert np.array_equal(shown > 0, mask == 255)
    ((x1, y1, x2, y2),) = chain.boxes([[30, 20, 60, 40]], plan)
    rows, columns = np.nonzero(mask)
    edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert np.abs(np.subtract(edges, (x1, y1, x2, y2))).max() <= 0.5


def test_picture_and_mask_together_are_as_apart():
    chain = chain_of(RandomResizedCrop(16), HorizontalFlip(), Normalize(), ToCHW())
    plan = chain.plan(40, 50, [0.4] * chain.draws)
    shown, mask = chain.together(noise(), noise()[..., 0], plan)
    assert np.array_equal(shown, chain.apply(noise(), plan))
    assert np.array_equal(mask, chain.mask(noise()[..., 0], plan))


def test_pictures_without_a_channel_axis_stay_so():
    image = noise()[..., 0]
    chain = chain_of(Resize((20, 20)), Normalize(), shape=(40, 50))
    assert chain.shape == (20, 20)
    out = np.empty((20, 20), np.float32)
    assert np.shares_memory(apply(chain, image, out=out), out)
    assert np.array_equal(apply(chain, image), out)
    assert chain_of(Resize((20, 20)), ToCHW(), shape=(40, 50)).shape == (1, 20, 20)
    assert apply(chain_of(Resize((20, 20)), ToCHW(), shape=(40, 50)), image).shape == (1, 20, 20)


@pytest.mark.parametrize("dtype", ["u2", "f4"])
@pytest.mark.parametrize("channels", [1, 3, 12])
def test_pictures_of_other_types_and_many_channels_go_through_the_same_steps(dtype, channels):
    image = noise(channels=channels, dtype=dtype)
    numbers = {"mean": [100.0] * channels, "std": [50.0] * channels}
    steps = [RandomResizedCrop(16), HorizontalFlip(1.0), Normalize(), ToCHW()]
    chain = chain_of(*steps, shape=image.shape, dtype=dtype, **numbers)
    result = apply(chain, image)
    assert result.shape == chain.shape == (channels, 16, 16)
    small = chain_of(*steps, shape=image.shape, **numbers)
    assert np.abs(result - apply(small, image.astype("u1"))).max() <= 0.5 / 50 + 1e-5


def test_samples_that_are_no_pictures_can_be_normalized():
    numbers = {"channels": 8, "mean": [1.0] * 8, "std": [2.0] * 8}
    chain = Chain([Normalize()], shape=(8,), dtype="f4", **numbers)
    sample = np.arange(8, dtype="f4")
    assert np.array_equal(chain.apply(sample, chain.plan(8, 1, ())), (sample - 1) / 2)
    assert chain.shape == (8,)


def test_no_steps_leave_the_picture_as_it_is():
    chain = chain_of()
    assert (chain.draws, chain.batch_draws, chain.shape, chain.chw) == (0, 0, (40, 50, 3), False)
    assert np.array_equal(apply(chain, noise()), noise())
    out = np.empty((40, 50, 3), np.uint8)
    assert apply(chain, noise(), out=out) is out
    assert np.array_equal(out, noise())


def test_lists_and_compositions_are_flattened():
    steps = [Resize(30), [Compose(CenterCrop(20), [HorizontalFlip()]), ToCHW()]]
    assert [type(step).__name__ for step in flat(steps)] == [
        "Resize",
        "CenterCrop",
        "HorizontalFlip",
        "ToCHW",
    ]
    assert flat(None) == ()
    assert chain_of(*steps).shape == (3, 20, 20)


def test_batch_steps_come_last_and_share_the_batchs_numbers():
    chain = chain_of(ToCHW(), ToFloat(), MixUp(1.0), CutMix(), OnBatch(lambda images: images + 1))
    assert chain.batch_draws == 1 + 3 + 1
    images = np.stack([apply(chain, noise(seed=i)) for i in range(4)])
    given = images.copy()
    mixed, rows = chain.finish(images, np.array([0, 1, 2, 3]), np.full(5, 0.4))
    assert mixed.shape == (4, 3, 40, 50)
    assert rows.shape == (4, 4)
    assert mixed.min() >= 1
    assert not np.array_equal(mixed, given + 1)
    with pytest.raises(OptionError, match="Resize works on single samples.*MixUp"):
        chain_of(MixUp(), Resize(10))


def test_one_hot_takes_the_files_number_of_classes():
    chain = chain_of(OneHot())
    rows = chain.finish(noise(), np.array([3, 0]), ())[1]
    assert rows.tolist() == [[0, 0, 0, 1], [1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("steps", "name", "pairs"),
    [
        ([], None, False),
        ([Resize(20), HorizontalFlip()], None, False),
        ([OneHot()], None, False),
        ([OneHot(), MixUp()], "MixUp", True),
        ([CutMix(), MixUp()], "CutMix", True),
        ([OnBatch(lambda images: images)], "OnBatch", False),
        ([OnBatch(lambda images: images), CutMix()], "OnBatch", True),
    ],
)
def test_a_chain_says_what_its_batch_steps_do_to_places_and_neighbours(steps, name, pairs):
    chain = chain_of(*steps)
    assert (chain.moves_batch, chain.pairs) == (name, pairs)
    assert (chain.strange, chain.moves_masks) == (False, True)


@pytest.mark.parametrize("size", [(0, 0), (0, 50), (40, 0)])
@pytest.mark.parametrize(
    "step", [Resize(8), Resize((8, 8)), CenterCrop(8), RandomResizedCrop(8), HorizontalFlip()]
)
def test_a_picture_without_pixels_cannot_be_planned_for(step, size):
    chain = chain_of(step, shape=None)
    with pytest.raises(OptionError, match=f"{size[0]}x{size[1]}"):
        chain.plan(*size, [0.5] * chain.draws)
    with pytest.raises(OptionError, match=f"{size[0]}x{size[1]}"):
        chain_of(step, shape=(*size, 3))


@pytest.mark.parametrize("fill", [300, -1, 0.5, (1, 2), (1, 2, 3, 4), float("nan"), float("inf")])
def test_a_fill_that_the_pictures_cannot_hold_is_refused_when_the_chain_is_made(fill):
    with pytest.raises(OptionError, match=r"fill=.*uint8.*3 channels"):
        chain_of(RandomCrop(9, padding=2, fill=fill), ToFloat(), shape=None)


@pytest.mark.parametrize("fill", ["black", None, (), ((1, 2, 3),), 1j])
def test_a_fill_that_is_no_number_is_refused(fill):
    with pytest.raises(OptionError, match="fill="):
        RandomCrop(9, fill=fill)


@pytest.mark.parametrize(
    ("fill", "steps", "dtype"),
    [
        (255, [], "u1"),
        ((1, 2, 3), [], "u1"),
        ([1, 2, 3], [], "u1"),
        ((7,), [], "u1"),
        (7.0, [ToFloat()], "u1"),
        (np.uint8(7), [], "u1"),
        (65535, [], "u2"),
        (-1.5, [], "f4"),
        (float("nan"), [], "f4"),
    ],
)
def test_a_fill_that_the_pictures_can_hold_is_filled_in(fill, steps, dtype):
    chain = chain_of(RandomCrop(60, padding=20, fill=fill), *steps, dtype=dtype)
    result = apply(chain, noise(dtype=dtype))
    wanted = np.array(fill, np.float64) / (255 if steps else 1)
    assert np.allclose(result[0, 0], wanted, equal_nan=True)


def test_the_fill_is_of_the_values_that_come_to_its_step():
    assert apply(chain_of(ToFloat(), RandomCrop(60, padding=20, fill=0.5)), noise())[0, 0, 0] == 0.5
    chain = chain_of(lambda image: image / 255, RandomCrop(60, padding=20, fill=0.5))
    assert apply(chain, noise())[0, 0, 0] == 0.5
    chain = chain_of(lambda image: image, RandomCrop(60, padding=20, fill=0.5))
    with pytest.raises(OptionError, match="fill=0.5"):  # known as late as that
        apply(chain, noise())


def test_what_cannot_be_is_said_when_the_chain_is_made():
    with pytest.raises(OptionError, match="patch of 60x60"):
        chain_of(Patch(60))
    with pytest.raises(OptionError, match="not known"):
        chain_of(Normalize(), mean=None, std=None)


def test_a_result_of_another_shape_than_the_batchs_is_an_error():
    chain = chain_of(lambda image: image[:10])
    with pytest.raises(OptionError, match="one shape"):
        apply(chain, noise(), out=np.empty((40, 50, 3), np.uint8))


def test_results_agree_with_torchvisions_whole_chain(v2):
    import torch

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    theirs = v2.Compose(
        [
            v2.Resize(32),
            v2.CenterCrop(28),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, std),
        ]
    )
    ours = chain_of(Resize(32), CenterCrop(28), ToFloat(), Normalize(mean, std), ToCHW())
    wanted = theirs(torch.from_numpy(noise()).permute(2, 0, 1)).numpy()
    assert np.abs(apply(ours, noise()) - wanted).max() <= 1 / 255 / min(std) + 1e-5
