from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeiro.errors import OptionError, PictureError
from celeiro.packing.resize import MODES, apply, move_boxes, place

sides = st.integers(1, 90)
sizes = st.tuples(sides, sides)
modes = st.sampled_from(MODES)


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


@pytest.mark.parametrize(
    ("source", "target", "mode", "crop", "scaled", "at"),
    [
        ((100, 200), (50, 60), "stretch", (0, 0, 100, 200), (50, 60), (0, 0)),
        ((100, 200), (50, 50), "crop", (0, 50, 100, 100), (50, 50), (0, 0)),
        ((200, 100), (50, 50), "crop", (50, 0, 100, 100), (50, 50), (0, 0)),
        ((10, 20), (50, 50), "crop", (0, 5, 10, 10), (50, 50), (0, 0)),
        ((1, 20000), (64, 64), "crop", (0, 9999, 1, 1), (64, 64), (0, 0)),
        ((2, 3), (10, 1000), "crop", (0, 0, 1, 3), (10, 1000), (0, 0)),
        ((100, 200), (50, 50), "pad", (0, 0, 100, 200), (25, 50), (12, 0)),
        ((200, 100), (50, 50), "pad", (0, 0, 200, 100), (50, 25), (0, 12)),
        ((10, 20), (50, 50), "pad", (0, 0, 10, 20), (25, 50), (12, 0)),
        ((1, 20000), (64, 64), "pad", (0, 0, 1, 20000), (1, 64), (31, 0)),
        ((100, 200), (50, 50), "fit", (0, 0, 100, 200), (25, 50), (12, 0)),
        ((10, 20), (50, 50), "fit", (0, 0, 10, 20), (10, 20), (20, 15)),
        ((10, 60), (50, 50), "fit", (0, 0, 10, 60), (8, 50), (21, 0)),
        ((50, 50), (50, 50), "fit", (0, 0, 50, 50), (50, 50), (0, 0)),
    ],
)
def test_placements_are_these(source, target, mode, crop, scaled, at):
    placement = place(source, target, mode)
    assert (placement.crop, placement.scaled, placement.at) == (crop, scaled, at)


@pytest.mark.parametrize(("source", "target"), [((0, 5), (5, 5)), ((5, 5), (5, 0))])
def test_sizes_begin_at_one_pixel(source, target):
    with pytest.raises(OptionError, match="begin at 1 pixel"):
        place(source, target, "pad")


def test_an_unknown_mode_is_refused():
    with pytest.raises(OptionError, match="'zoom' is unknown.*stretch, fit, crop, pad"):
        place((5, 5), (5, 5), "zoom")


@given(
    sizes, sizes, modes, st.sampled_from([(), (1,), (2,), (3,), (4,), (5,), (9,)]), st.booleans()
)
@settings(max_examples=150)
def test_the_result_is_always_of_the_wanted_size(source, target, mode, channels, nearest):
    image = noise(*source, *channels)
    result = apply(image, place(source, target, mode), nearest=nearest)
    assert result.shape == (*target, *channels)
    assert result.dtype == image.dtype
    assert result.max() <= image.max()


@given(sizes, sizes, modes)
@settings(max_examples=60)
def test_the_padded_part_is_zero_and_the_rest_is_not(source, target, mode):
    placement = place(source, target, mode)
    result = apply(np.full(source, 9, np.uint8), placement)
    (top, left), (height, width) = placement.at, placement.scaled
    inside = np.zeros(target, bool)
    inside[top : top + height, left : left + width] = True
    assert np.array_equal(result == 9, inside)
    assert np.array_equal(result == 0, ~inside)


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_stretch_is_what_opencv_gives(channels):
    image = noise(60, 80, *channels)
    for target in ((30, 40), (17, 23), (60, 33)):
        area = cv2.resize(image, target[::-1], interpolation=cv2.INTER_AREA)
        ours = apply(image, place((60, 80), target, "stretch"))
        assert np.array_equal(ours, area.reshape(ours.shape))
    for target in ((61, 80), (256, 256)):
        linear = cv2.resize(image, target[::-1], interpolation=cv2.INTER_LINEAR)
        ours = apply(image, place((60, 80), target, "stretch"))
        assert np.array_equal(ours, linear.reshape(ours.shape))


def test_an_axis_that_shrinks_is_averaged_though_the_other_grows():
    image = np.zeros((4, 400), np.uint8)
    image[:, ::2] = 200
    assert np.unique(apply(image, place((4, 400), (8, 40), "stretch"))).tolist() == [100]


def test_the_wanted_size_already_is_only_copied():
    image = noise(20, 30, 3)
    result = apply(image, place((20, 30), (20, 30), "crop"))
    assert np.array_equal(result, image)
    assert not np.shares_memory(result, image)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", [(), (1,), (3,), (7,)])
def test_out_is_written_in_place_and_cleared(mode, channels):
    image = noise(40, 70, *channels)
    for target in ((32, 32), (90, 80)):
        placement = place((40, 70), target, mode)
        batch = np.full((3, *target, *channels), 255, np.uint8)
        assert np.shares_memory(apply(image, placement, out=batch[1]), batch)
        assert np.array_equal(batch[1], apply(image, placement))
        assert (batch[[0, 2]] == 255).all()


def test_out_may_lie_in_memory_in_any_way():
    image = noise(40, 70, 3)
    placement = place((40, 70), (32, 24), "stretch")
    wanted = apply(image, placement)
    planes = np.empty((3, 32, 24), np.uint8).transpose(1, 2, 0)
    flipped = np.empty((32, 24, 3), np.uint8)[::-1]
    mirrored = np.empty((32, 24, 3), np.uint8)[:, ::-1]
    for out in (planes, flipped, mirrored):
        assert np.array_equal(apply(image, placement, out=out), wanted)


def test_out_of_another_shape_or_type_is_refused():
    placement = place((40, 70), (32, 32), "stretch")
    for out in (np.empty((32, 31), np.uint8), np.empty((32, 32), np.uint16)):
        with pytest.raises(OptionError, match=r"needs uint8 \(32, 32\)"):
            apply(noise(40, 70), placement, out=out)


def test_a_picture_of_another_size_than_planned_is_a_picture_error():
    with pytest.raises(PictureError, match="40x70, not 70x40"):
        apply(noise(40, 70), place((70, 40), (32, 32), "stretch"))


def test_an_array_of_one_axis_is_no_picture():
    with pytest.raises(OptionError, match="no picture"):
        apply(noise(40), place((40, 1), (32, 32), "stretch"))


@pytest.mark.parametrize(
    "dtype", ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ">u2", ">f4"]
)
@pytest.mark.parametrize("target", [(10, 15), (60, 60), (10, 60)])
@pytest.mark.parametrize("nearest", [False, True])
def test_every_numeric_type_resizes_as_float64_does(dtype, target, nearest):
    image = noise(30, 40, 3, dtype=dtype)
    placement = place((30, 40), target, "stretch")
    result = apply(image, placement, nearest=nearest)
    assert result.dtype == np.dtype(dtype).newbyteorder("=")
    wanted = apply(image.astype(np.float64), placement, nearest=nearest)
    tolerance = 0 if nearest else 0.5 if dtype == "?" else 0.25 if dtype == "f2" else 1
    assert np.abs(result.astype(np.float64) - wanted).max() <= tolerance


@pytest.mark.parametrize("dtype", ["i4", "u4", "i1", "u2"])
def test_the_largest_numbers_do_not_overflow(dtype):
    limits = np.iinfo(dtype)
    image = np.full((7, 9), limits.max, dtype)
    image[3:] = limits.min
    result = apply(image, place((7, 9), (20, 25), "stretch"))
    assert (result[0] == limits.max).all()
    assert (result[-1] == limits.min).all()


def test_numbers_that_float64_cannot_hold_are_refused_unless_nearest():
    image = np.full((7, 9), 2**60 + 1)
    placement = place((7, 9), (20, 25), "stretch")
    with pytest.raises(OptionError, match="float64"):
        apply(image, placement)
    assert (apply(image, placement, nearest=True) == 2**60 + 1).all()


def test_complex_numbers_are_refused():
    with pytest.raises(OptionError, match="complex64 cannot be resized"):
        apply(np.ones((7, 9), np.complex64), place((7, 9), (20, 25), "stretch"))


@pytest.mark.parametrize("channels", [5, 9, 200])
def test_each_of_many_channels_is_resized_alone(channels):
    image = noise(31, 37, channels, dtype=np.float32)
    placement = place((31, 37), (10, 12), "crop")
    result = apply(image, placement)
    for c in (0, channels // 2, channels - 1):
        assert np.allclose(result[..., c], apply(image[..., c].copy(), placement), atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("source", [(1, 20000), (20000, 1), (1, 1), (1, 100_000)])
def test_thin_pictures_work(source, mode):
    for nearest in (False, True):
        result = apply(np.full(source, 7, np.uint8), place(source, (64, 48), mode), nearest=nearest)
        assert result.max() == 7


def test_nearest_is_aligned_to_pixel_centres_and_makes_no_new_values():
    image = noise(375, 500)
    target = (256, 200)
    exact = cv2.resize(image, target[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    assert np.array_equal(apply(image, place((375, 500), target, "stretch"), nearest=True), exact)


def bounds(image):
    rows, columns = np.nonzero(image > 127)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@given(
    st.tuples(st.integers(40, 120), st.integers(40, 120)),
    st.tuples(st.integers(40, 120), st.integers(40, 120)),
    modes,
)
@settings(max_examples=100)
def test_a_picture_its_mask_and_its_box_stay_together(source, target, mode):
    height, width = source
    box = np.array([[width * 0.3, height * 0.3, width * 0.7, height * 0.7]]).round()
    x1, y1, x2, y2 = box[0].astype(int)
    picture = np.zeros(source, np.uint8)
    picture[y1:y2, x1:x2] = 255
    placement = place(source, target, mode)
    in_picture = bounds(apply(picture, placement))
    in_mask = bounds(apply(picture, placement, nearest=True))
    assert np.abs(in_picture - in_mask).max() <= 1
    assert np.abs(in_picture - move_boxes(box, placement)[0]).max() <= 1


@given(
    sizes,
    sizes,
    modes,
    st.lists(st.tuples(*[st.floats(-500, 500)] * 4), max_size=5),
)
def test_boxes_stay_in_the_frame_and_in_number(source, target, mode, boxes):
    moved = move_boxes(np.array(boxes).reshape(-1, 4), place(source, target, mode))
    assert moved.shape == (len(boxes), 4)
    assert (moved >= 0).all()
    assert (moved <= [target[1], target[0]] * 2).all()


def test_a_box_outside_the_crop_lies_flat_on_the_border():
    placement = place((100, 300), (50, 50), "crop")
    assert move_boxes([[0, 10, 50, 30]], placement).tolist() == [[0, 5, 0, 15]]


def test_an_unknown_coordinate_stays_unknown():
    moved = move_boxes([[np.nan, 0, 10, 10]], place((10, 10), (20, 20), "pad"))
    assert np.array_equal(moved, [[np.nan, 0, 20, 20]], equal_nan=True)


def test_no_boxes_are_fine():
    assert move_boxes([], place((10, 10), (20, 20), "pad")).shape == (0, 4)
