"""What values become: the bits of torchvision's ToDtype and Normalize."""

from __future__ import annotations

import numpy as np
import pytest

from celeiro.errors import OptionError
from celeiro.feeding.transforms import MeanSubtract, Normalize, ToCHW, ToFloat
from celeiro.feeding.transforms.chain import Chain

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FILE_MEAN, FILE_STD = (120.0, 110.0, 100.0), (60.0, 61.0, 62.0)


def every_level(dtype="u1"):
    return np.arange(256, dtype=dtype).reshape(16, 16, 1).repeat(3, axis=2)


def of(steps, image, mean=FILE_MEAN, std=FILE_STD):
    chain = Chain(
        steps, shape=image.shape, channels=image.shape[2], dtype=image.dtype, mean=mean, std=std
    )
    result = chain.apply(image, chain.plan(*image.shape[:2], ()))
    assert result.dtype == chain.dtype
    assert result.shape == chain.shape
    return result


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("source", ["u1", "u2"])
def test_to_float_has_torchvisions_bits(v2, dtype, source):
    import torch

    image = every_level(source)
    theirs = v2.functional.to_dtype_image(
        torch.from_numpy(image), getattr(torch, dtype), scale=True
    )
    assert np.array_equal(of([ToFloat(dtype)], image), theirs.numpy())


def test_normalize_has_torchvisions_bits(v2):
    import torch

    image = every_level()
    theirs = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])(
        torch.from_numpy(image).permute(2, 0, 1)
    )
    assert np.array_equal(of([ToFloat(), Normalize(MEAN, STD), ToCHW()], image), theirs.numpy())
    half = of([ToFloat(), Normalize(MEAN, STD, dtype="float16"), ToCHW()], image)
    assert np.array_equal(half, theirs.half().numpy())


def test_normalize_without_numbers_takes_the_files():
    image = every_level()
    wanted = (image.astype(np.float64) - FILE_MEAN) / FILE_STD
    assert np.allclose(of([Normalize()], image), wanted, atol=1e-6)
    # Brought to 0–1 where the values are.
    assert np.allclose(of([ToFloat(), Normalize()], image), wanted, atol=1e-5)
    assert np.allclose(of([Normalize(dtype="float64")], image), wanted, atol=1e-14)


def test_what_is_normalized_has_mean_0_and_deviation_1_afterwards():
    image = every_level()
    once = of([Normalize(dtype="float64")], image)
    assert np.allclose(of([Normalize(dtype="float64"), Normalize(dtype="float64")], image), once)


def test_mean_subtract_takes_the_files_mean_or_ones_own():
    image = every_level()
    assert np.array_equal(of([MeanSubtract()], image), image.astype("f4") - np.float32(FILE_MEAN))
    assert np.array_equal(of([MeanSubtract(7)], image), image.astype("f4") - 7)
    assert of([MeanSubtract(7)], image.astype("f8")).dtype == np.float64


@pytest.mark.parametrize("source", ["u1", "u2", "i2", "f4", "f8", "?"])
def test_other_types_than_uint8_give_what_its_table_gives(source):
    image = every_level()
    if source == "?":
        image = image > 99
    steps = [Normalize(FILE_MEAN, FILE_STD), ToCHW()]
    wanted = of(steps, image.astype("u1"))
    assert np.allclose(of(steps, image.astype(source)), wanted, atol=1e-6)


def test_imagenets_numbers_on_whole_pixels_are_refused():
    with pytest.raises(OptionError, match=r"0.485.*uint8.*Put ToFloat\(\) before"):
        of([Normalize(MEAN, STD)], every_level())
    of([Normalize(0, 255)], every_level())  # means something


@pytest.mark.parametrize("step", [Normalize(), MeanSubtract()])
def test_a_file_without_mean_says_to_give_it(step):
    with pytest.raises(OptionError, match=r"not known. Give"):
        of([step], every_level(), mean=None, std=None)


@pytest.mark.parametrize(
    ("step", "options"),
    [
        (Normalize, {"mean": 0.5}),
        (Normalize, {"dtype": "int8"}),
        (ToFloat, {"dtype": "uint8"}),
        (Normalize, {"mean": (1, 2), "std": (3, 4)}),
        (Normalize, {"mean": 100, "std": (1, 0, 1)}),
        (Normalize, {"mean": float("nan"), "std": 1}),
        (MeanSubtract, {"mean": (1, 2)}),
    ],
)
def test_numbers_that_mean_nothing_are_refused(step, options):
    with pytest.raises(OptionError):
        of([step(**options)], every_level())


def test_a_file_of_one_colour_says_that_nothing_can_be_divided_by_it():
    with pytest.raises(OptionError, match="deviation of 0"):
        of([Normalize()], every_level(), std=(1, 0, 1))
