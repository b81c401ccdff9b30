"""Other colours: torchvision's formulas, level for level but for few."""

from __future__ import annotations

import numpy as np
import pytest

from celeiro.errors import OptionError
from celeiro.feeding.transforms import ColorJitter
from celeiro.feeding.transforms import color_jitter as module


def pictures():
    """Soft, noisy and grey ones."""
    import cv2

    rng = np.random.default_rng(0)
    patches = rng.integers(0, 256, (5, 5, 3)).astype(np.float32)
    soft = np.clip(cv2.resize(patches, (90, 70), interpolation=cv2.INTER_CUBIC), 0, 255)
    noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return [soft.astype(np.uint8), noise, noise[..., :1].repeat(3, axis=2)]


FACTORS = (0.0, 0.3, 0.77, 1.0, 1.2, 1.9)
TURNS = (-0.5, -0.3, -0.01, 0.0, 0.05, 0.2, 0.5)


@pytest.mark.parametrize(
    ("name", "amounts", "tolerance"),
    [
        ("brightness", FACTORS, 0),
        ("contrast", FACTORS, 1),
        ("saturation", FACTORS, 1),
        ("hue", TURNS, 1),
    ],
)
def test_each_change_is_torchvisions_but_for_few_values_by_one_level(v2, name, amounts, tolerance):
    import torch

    ours = module._CHANGES[module._NAMES.index(name)]
    theirs = getattr(v2.functional, f"adjust_{name}")
    for image in pictures():
        for amount in amounts:
            wanted = theirs(torch.from_numpy(image).permute(2, 0, 1), amount).permute(1, 2, 0)
            off = np.abs(ours(image, amount).astype(int) - wanted.numpy())
            assert off.max() <= tolerance
            assert (off > 0).mean() < 0.03  # whole numbers, which floats miss by a hair


def test_all_four_in_torchvisions_order_stay_close_to_it(v2, monkeypatch):
    """The same draws for both: the factors, and the permutation."""
    import torch

    ours, theirs = ColorJitter(0.4, 0.4, 0.4, 0.1), v2.ColorJitter(0.4, 0.4, 0.4, 0.1)
    image = pictures()[0]
    for u in np.random.default_rng(0).random((20, 5)).tolist():
        order = module._ORDERS[int(u[4] * 24)]
        monkeypatch.setattr(torch, "randperm", lambda _, order=order: torch.tensor(order))
        draws = iter(u)
        monkeypatch.setattr(
            theirs, "_generate_value", lambda low, high, d=draws: low + (high - low) * next(d)
        )
        wanted = theirs(torch.from_numpy(image).permute(2, 0, 1)).permute(1, 2, 0).numpy()
        off = np.abs(ours.change(image, u).astype(int) - wanted)
        # A level in saturation is a few in hue where a pixel is nearly grey or black.
        assert off.max() <= 4
        assert off.mean() < 0.05


def test_grey_pictures_change_in_brightness_and_contrast_alone(v2):
    import torch

    image = pictures()[1][..., :1]
    u = [0.9, 0.2, 0.5, 0.5, 0.0]
    assert np.array_equal(ColorJitter(saturation=0.5, hue=0.5).change(image, u), image)
    wanted = v2.functional.adjust_brightness(torch.from_numpy(image).permute(2, 0, 1), 1.4)
    result = ColorJitter(brightness=0.5).change(image, u)
    assert np.array_equal(result, wanted.permute(1, 2, 0).numpy())


def test_nothing_asked_is_nothing_done_and_the_picture_is_never_written():
    image = pictures()[0]
    kept = image.copy()
    assert ColorJitter().change(image, [0.5] * 5) is image
    ColorJitter(0.5, 0.5, 0.5, 0.5).change(image, [0.9] * 5)
    assert np.array_equal(image, kept)


def test_every_order_is_as_likely():
    u = (np.arange(2400) + 0.5) / 2400
    orders, counts = np.unique((u * 24).astype(int), return_counts=True)
    assert len(module._ORDERS) == len(orders) == 24
    assert set(counts.tolist()) == {100}


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3), "f4"), np.zeros((4, 4, 2), "u1")])
def test_other_pictures_than_rgb_and_grey_bytes_are_refused(image):
    with pytest.raises(OptionError, match="Put it before"):
        ColorJitter(0.5).change(image, [0.5] * 5)


@pytest.mark.parametrize(
    "options",
    [{"brightness": -1}, {"contrast": (2, 1)}, {"saturation": (-1, 1)}, {"hue": 0.6}],
)
def test_ranges_that_mean_nothing_are_refused(options):
    with pytest.raises(OptionError, match="wanted"):
        ColorJitter(**options)
