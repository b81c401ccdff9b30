"""Where pixels go: each move beside torchvision's, and the distribution of what is random."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeiro.errors import OptionError
from celeiro.feeding.resample import resample
from celeiro.feeding.transforms import (
    CenterCrop,
    HorizontalFlip,
    Patch,
    RandomCrop,
    RandomResizedCrop,
    Resize,
)
from celeiro.feeding.window import Window

SIZES = [(60, 80), (80, 60), (61, 47), (224, 224), (10, 300)]


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def shown(move, image, u=()):
    return resample(image, move.move(Window.whole(*image.shape[:2]), u))


def torch_of(image):
    import torch

    return torch.from_numpy(image).permute(2, 0, 1)


@pytest.mark.parametrize("source", SIZES)
@pytest.mark.parametrize("size", [32, (40, 30), 224])
def test_resize_comes_to_torchvisions_sizes_and_values(v2, source, size):
    image = noise(*source)
    ours = shown(Resize(size), image)
    theirs = v2.Resize(size)(torch_of(image)).permute(1, 2, 0).numpy()
    assert ours.shape == theirs.shape
    assert Resize(size).size_after(source) == theirs.shape[:2]
    assert np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("source", SIZES)
@pytest.mark.parametrize("size", [32, (40, 30), (33, 47), 100, (300, 20)])
def test_center_crop_is_torchvisions(v2, source, size):
    image = noise(*source)
    theirs = v2.CenterCrop(size)(torch_of(image)).permute(1, 2, 0).numpy()
    assert np.array_equal(shown(CenterCrop(size), image), theirs)


def test_resize_and_center_crop_are_one_window():
    window = CenterCrop(224).move(Resize(256).move(Window.whole(375, 500), ()), ())
    assert (window.grid, window.shown, window.origin, window.before) == (
        (256, 341),
        (224, 224),
        (16, 58),
        None,
    )


def test_flip_mirrors_below_its_probability():
    image = noise(5, 7)
    assert np.array_equal(shown(HorizontalFlip(0.3), image, [0.29]), image[:, ::-1])
    assert np.array_equal(shown(HorizontalFlip(0.3), image, [0.3]), image)
    assert np.array_equal(shown(HorizontalFlip(0), image, [0.0]), image)
    assert np.array_equal(shown(HorizontalFlip(1), image, [1 - 2**-53]), image[:, ::-1])


@pytest.mark.parametrize("move", [RandomCrop(5), Patch(5)])
def test_every_place_of_a_crop_is_as_likely(move):
    window = Window.whole(8, 6)
    places = [
        move.move(window, [(i + 0.5) / 40, (j + 0.5) / 40]).origin
        for i in range(40)
        for j in range(40)
    ]
    values, counts = np.unique(places, axis=0, return_counts=True)
    assert values.tolist() == [[y, x] for y in range(4) for x in range(2)]
    assert np.unique(counts).tolist() == [200]
    last = move.move(window, [1 - 2**-53] * 2)
    assert last.origin == (3, 1)


@pytest.mark.parametrize("padding", [4, (1, 2), (1, 2, 3, 4)])
@pytest.mark.parametrize("needed", [False, True])
def test_random_crop_pads_as_torchvision(v2, padding, needed, monkeypatch):
    """The same places, when torchvision's draws are ours."""
    import torch

    image = noise(20, 24)
    for u in ([0.0, 0.0], [0.4, 0.7], [0.99, 0.99]):
        draws = iter(u)
        monkeypatch.setattr(
            torch, "randint", lambda low, high, size, d=draws: torch.tensor(int(next(d) * high))
        )
        size = (30, 22) if needed else (20, 22)
        theirs = v2.RandomCrop(size, padding, pad_if_needed=needed, fill=9)(torch_of(image))
        move = RandomCrop(size, padding, fill=9, pad_if_needed=needed)
        assert np.array_equal(shown(move, image, u), theirs.permute(1, 2, 0).numpy())


def test_a_crop_larger_than_the_picture_says_what_to_do():
    with pytest.raises(OptionError, match=r"30 pixels from a picture of 20.*pad_if_needed"):
        shown(RandomCrop(30), noise(20, 40), [0.5, 0.5])
    with pytest.raises(OptionError, match="30x30 from a picture of 20x40"):
        shown(Patch(30), noise(20, 40), [0.5, 0.5])


def distance(a, b):
    """Kolmogorov and Smirnov's statistic: the largest gap between two cumulated distributions."""
    at = np.sort(np.concatenate([a, b]))
    below = [np.searchsorted(np.sort(x), at, side="right") / len(x) for x in (a, b)]
    return np.abs(below[0] - below[1]).max()


@pytest.mark.parametrize("source", [(375, 500), (500, 333), (40, 400)])
def test_random_resized_crop_is_distributed_as_torchvisions(v2, source):
    import torch

    torch.manual_seed(0)
    count = 1500
    theirs = v2.RandomResizedCrop(224)
    picture = [torch.zeros(3, *source)]
    wanted = [theirs.make_params(picture) for _ in range(count)]
    wanted = np.array([[p["top"], p["left"], p["height"], p["width"]] for p in wanted])
    draws = np.random.default_rng(0).random((count, RandomResizedCrop.draws)).tolist()
    ours = np.array([RandomResizedCrop(224).box(*source, u) for u in draws])
    # Of two samples of 1500 of one distribution, 0.071 is passed once in a thousand.
    bound = 0.071
    for of in (
        lambda boxes: boxes[:, 2] * boxes[:, 3],
        lambda boxes: boxes[:, 3] / boxes[:, 2],
        lambda boxes: boxes[:, 0],
        lambda boxes: boxes[:, 1],
        lambda boxes: boxes[:, 0] / np.maximum(1, source[0] - boxes[:, 2]),
        lambda boxes: boxes[:, 1] / np.maximum(1, source[1] - boxes[:, 3]),
    ):
        assert distance(of(ours), of(wanted)) < bound


def test_the_distance_tells_other_scales_apart():
    draws = np.random.default_rng(0).random((1500, 22)).tolist()
    ours = np.array([RandomResizedCrop(224).box(375, 500, u) for u in draws])
    other = np.array([RandomResizedCrop(224, scale=(0.2, 1)).box(375, 500, u) for u in draws])
    assert distance(ours[:, 2] * ours[:, 3], other[:, 2] * other[:, 3]) > 0.071


@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=22, max_size=22),
    st.sampled_from([(3 / 4, 4 / 3), (3, 4), (0.1, 0.2), (1, 1)]),
)
def test_the_part_always_lies_in_the_picture(height, width, u, ratio):
    top, left, rows, columns = RandomResizedCrop(224, ratio=ratio).box(height, width, u)
    assert 0 <= top < top + rows <= height
    assert 0 <= left < left + columns <= width


def test_pictures_too_long_for_ten_attempts_give_their_middle():
    move = RandomResizedCrop(8, scale=(1, 1), ratio=(1, 1))
    assert move.box(10, 100, [0.5] * 22) == (0, 45, 10, 10)
    assert move.box(100, 10, [0.5] * 22) == (45, 0, 10, 10)


@pytest.mark.parametrize(
    ("step", "options"),
    [
        (Resize, {"size": 0}),
        (Resize, {"size": (2, 3, 4)}),
        (CenterCrop, {"size": 2.5}),
        (Patch, {"size": -1}),
        (RandomCrop, {"size": (10, 0)}),
        (RandomCrop, {"size": 10, "padding": -1}),
        (RandomCrop, {"size": 10, "padding": (1, 2, 3)}),
        (RandomResizedCrop, {"size": 10, "scale": (0, 1)}),
        (RandomResizedCrop, {"size": 10, "ratio": (2, 1)}),
        (HorizontalFlip, {"p": 1.5}),
    ],
)
def test_what_means_nothing_is_refused_when_it_is_made(step, options):
    with pytest.raises(OptionError, match="wanted"):
        step(**options)


@pytest.mark.parametrize(
    ("move", "known", "unknown"),
    [
        (Resize(10), (10, 20), None),
        (Resize((5, 6)), (5, 6), (5, 6)),
        (CenterCrop(7), (7, 7), (7, 7)),
        (RandomCrop(7), (7, 7), (7, 7)),
        (Patch((7, 8)), (7, 8), (7, 8)),
        (RandomResizedCrop(7), (7, 7), (7, 7)),
        (HorizontalFlip(), (30, 60), None),
    ],
)
def test_the_size_of_the_result_is_known_beforehand(move, known, unknown):
    assert move.size_after((30, 60)) == known
    assert move.size_after(None) == unknown
    assert move.move(Window.whole(30, 60), [0.5] * move.draws).shown == known


def test_resize_by_the_cubic_filter_is_another_window():
    plain, cubic = Resize(20), Resize(20, interpolation="bicubic")
    window = Window.whole(40, 60)
    assert cubic.move(window, ()) == plain.move(window, ())._replace(cubic=True)
    assert CenterCrop(10).move(cubic.move(window, ()), ()).cubic
    with pytest.raises(OptionError, match="wanted 'bilinear' or 'bicubic'"):
        Resize(20, interpolation="lanczos")
