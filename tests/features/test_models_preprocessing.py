"""What pictures become before a model sees them."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import celeiro
from celeiro.errors import OptionError
from celeiro.features.models.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    Swap,
    Wishes,
)
from celeiro.feeding.transforms import CenterCrop, Normalize, Resize, ToCHW, ToFloat
from celeiro.feeding.transforms.chain import Chain

IMAGENET = Preprocessing((8, 8), 10, "bilinear", IMAGENET_MEAN, IMAGENET_STD)
CAFFE = Preprocessing((8, 8), (8, 8), "bilinear", (103.0, 116.0, 123.0), (1.0,) * 3, 255.0, "BGR")


def noise(*shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


def through(steps, image):
    channels = 1 if image.ndim == 2 else image.shape[2]
    chain = Chain(steps, shape=None, channels=channels, dtype=image.dtype)
    return chain.apply(image, chain.plan(*image.shape[:2], ()))


def test_the_usual_steps_are_those_of_torchvision():
    assert IMAGENET.usual_steps(chw=True) == (
        Resize(10), CenterCrop((8, 8)), ToFloat(), Normalize(IMAGENET_MEAN, IMAGENET_STD), ToCHW(),
    )  # fmt: skip


def test_pictures_in_the_models_own_order_are_not_turned_round():
    assert Swap() in CAFFE.usual_steps(chw=False)  # RGB
    assert Swap() not in CAFFE.steps("BGR", 3, np.uint8, chw=False, late=False)
    image = noise(8, 8, 3)
    given = through(CAFFE.usual_steps(chw=False), image)
    assert np.array_equal(given, image[..., ::-1].astype(np.float32) - np.float32(CAFFE.mean))


def test_grey_is_given_three_times_and_normalised_as_colours():
    grey = noise(8, 8)
    for stored in (grey, grey[..., np.newaxis]):
        steps = IMAGENET.but(Wishes(size=8)).steps("GRAY", 1, np.uint8, chw=False, late=False)
        wanted = through(IMAGENET.usual_steps(chw=False), np.dstack([grey] * 3))
        assert np.array_equal(through(steps, stored), wanted)


def test_colours_are_turned_grey_for_a_model_of_one_channel():
    import cv2

    model = Preprocessing((8, 8), (8, 8), top=255.0, color="GRAY", channels=1)
    image = noise(8, 8, 3)
    rgb = through(model.steps("RGB", 3, np.uint8, chw=False, late=False), image)
    bgr = through(model.steps("BGR", 3, np.uint8, chw=False, late=False), image[..., ::-1].copy())
    assert np.array_equal(rgb, bgr)
    wanted = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., np.newaxis]
    assert np.abs(rgb.astype(int) - wanted).max() <= 1


def test_other_types_come_to_the_same_values_as_bytes():
    image = noise(8, 8, 3)
    for model in (IMAGENET, CAFFE):
        wanted = through(model.steps(model.color, 3, np.uint8, chw=False, late=False), image)
        for same in (image.astype(np.uint16) * 257, image.astype(np.float32) / 255):
            steps = model.steps(model.color, 3, same.dtype, chw=False, late=False)
            # A resize rounds uint8 and not these.
            steps = [step for step in steps if not isinstance(step, (Resize, CenterCrop))]
            exact = [step for step in model.steps(model.color, 3, np.uint8, chw=False, late=False)
                     if not isinstance(step, (Resize, CenterCrop))]  # fmt: skip
            assert np.allclose(through(steps, same), through(exact, image), rtol=1e-4, atol=1e-4)
        assert wanted.dtype == np.float32


def test_bytes_may_be_left_to_the_model():
    steps = IMAGENET.usual_steps(chw=False, late=True)
    assert through(steps, noise(20, 30, 3)).dtype == np.uint8
    steps = IMAGENET.steps("RGB", 3, np.float32, chw=False, late=True)
    assert through(steps, noise(20, 30, 3).astype("f4")).dtype == np.float32


def test_channels_of_no_known_order_are_given_as_they_are_and_said(caplog):
    with caplog.at_level(logging.WARNING):
        steps = IMAGENET.steps("", 3, np.uint8, chw=False, late=False)
    assert steps == IMAGENET.usual_steps(chw=False)
    assert "RGB or BGR" in caplog.text


def test_a_dataset_says_what_its_pictures_are(tmp_path):
    path = tmp_path / "a.h5"
    celeiro.pack(noise(3, 8, 8, 3), path)
    with celeiro.open(path) as ds:
        assert ds.color == "RGB"
        assert Swap() in CAFFE.steps_for(ds, chw=False)
    celeiro.pack(noise(3, 8, 8), tmp_path / "grey.h5")
    with celeiro.open(tmp_path / "grey.h5") as ds:
        assert through(IMAGENET.steps_for(ds, chw=False), ds[0][0]).shape == (8, 8, 3)
    celeiro.pack(np.zeros((3, 5), np.float32), tmp_path / "rows.h5")
    with celeiro.open(tmp_path / "rows.h5") as ds, pytest.raises(OptionError, match="no pictures"):
        IMAGENET.steps_for(ds, chw=False)


@pytest.mark.parametrize("channels", [2, 4])
def test_other_numbers_of_channels_are_refused(channels):
    with pytest.raises(OptionError, match=f"pictures of {channels} channels for a model of 3"):
        IMAGENET.steps("", channels, np.uint8, chw=False, late=False)


def test_another_size_keeps_the_share_that_is_cut_off():
    imagenet = Preprocessing((224, 224), 256)
    assert imagenet.but(Wishes(size=448)).usual_steps(chw=False)[:2] == (
        Resize(512),
        CenterCrop((448, 448)),
    )
    assert CAFFE.but(Wishes(size=(4, 6))).usual_steps(chw=False)[0] == Resize((4, 6))


def test_mean_and_std_are_of_bytes_where_one_is_above_1():
    assert IMAGENET.but(Wishes(mean=0.5, std=0.5)).top == 1
    bytes_ = IMAGENET.but(Wishes(mean=(127, 127, 127), std=128))
    assert (bytes_.top, bytes_.std) == (255, (128.0,) * 3)
    image = noise(8, 8, 3)
    steps = bytes_.but(Wishes(size=8)).usual_steps(chw=False)
    assert np.isin(through(steps, image), (np.arange(256) - 127) / 128).all()


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"mean": 0.5}, "give both"),
        ({"color": "CMYK"}, "wanted 'RGB'"),
        ({"interpolation": "lanczos"}, "wanted one of bilinear, bicubic"),
        ({"size": 0}, "size"),
        ({"mean": (0.1, 0.2), "std": 1}, "one for each of the 3 channels"),
        ({"mean": 0.1, "std": 0}, "above 0"),
        ({"color": "GRAY"}, "3 channels"),
    ],
)
def test_wishes_that_mean_nothing_are_refused(wishes, message):
    with pytest.raises(OptionError, match=message):
        IMAGENET.but(Wishes(**wishes))


def test_a_filter_that_is_not_there_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        assert Preprocessing(interpolation="lanczos").interpolation == "bilinear"
    assert "'lanczos'" in caplog.text
