"""Windows are arithmetic: what they show is what the moves would have done, one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeiro.feeding.resample import resample
from celeiro.feeding.window import Window

WHOLE = Window.whole(100, 200)


@pytest.mark.parametrize(
    ("window", "box", "grid", "origin", "shown"),
    [
        (WHOLE, (0, 0, 100, 200), (100, 200), (0, 0), (100, 200)),
        (WHOLE.crop(10, 20, 30, 40), (0, 0, 100, 200), (100, 200), (10, 20), (30, 40)),
        (WHOLE.crop(10, 20, 30, 40).resize(5, 6), (10, 20, 30, 40), (5, 6), (0, 0), (5, 6)),
        (WHOLE.resize(50, 100).crop(5, 6, 7, 8), (0, 0, 100, 200), (50, 100), (5, 6), (7, 8)),
        (WHOLE.crop(-4, -4, 108, 208), (0, 0, 100, 200), (100, 200), (-4, -4), (108, 208)),
        (
            WHOLE.crop(10, 20, 30, 40).crop(-1, -1, 32, 42),
            (10, 20, 30, 40),
            (30, 40),
            (-1, -1),
            (32, 42),
        ),
        (WHOLE.hflip().crop(0, 0, 100, 10), (0, 0, 100, 200), (100, 200), (0, 190), (100, 10)),
        (WHOLE.crop(0, 0, 50, 50).resize(50, 50), (0, 0, 100, 200), (100, 200), (0, 0), (50, 50)),
    ],
)
def test_windows_are_these(window, box, grid, origin, shown):
    assert (window.box, window.grid, window.origin, window.shown) == (box, grid, origin, shown)
    assert window.before is None


def test_a_flip_before_a_resize_mirrors_the_box_and_one_after_it_the_result():
    before, after = WHOLE.hflip().resize(10, 10), WHOLE.resize(10, 10).hflip()
    assert (before.mirror, before.flip) == (True, False)
    assert (after.mirror, after.flip) == (False, True)
    assert before.hflip().hflip() == before


def test_a_second_resize_begins_a_second_window():
    first = WHOLE.resize(50, 60)
    second = first.crop(1, 2, 30, 40).resize(20, 20)
    assert second.before == first.crop(1, 2, 30, 40)
    assert second.source == (30, 40)
    assert second.first == second.before


def test_what_is_padded_is_resized_with_its_padding():
    padded = WHOLE.crop(-10, 0, 120, 200)
    assert padded.resize(60, 100).before == padded


def test_a_resized_part_is_padded_and_not_continued():
    part = WHOLE.resize(50, 50).crop(10, 10, 20, 20)
    assert part.crop(-1, -1, 22, 22).before == part


MOVES = st.lists(
    st.one_of(
        st.just(("flip",)),
        st.tuples(
            st.just("crop"),
            st.integers(-6, 6),
            st.integers(-6, 6),
            st.integers(1, 20),
            st.integers(1, 20),
            st.integers(0, 255),
        ),
    ),
    max_size=6,
)


def by_hand(image, move):
    """The move on an array."""
    if move[0] == "flip":
        return image[:, ::-1]
    _, top, left, height, width, fill = move
    result = np.full((height, width, image.shape[2]), fill, image.dtype)
    for y in range(height):
        for x in range(width):
            if 0 <= top + y < image.shape[0] and 0 <= left + x < image.shape[1]:
                result[y, x] = image[top + y, left + x]
    return result


@given(st.integers(1, 15), st.integers(1, 15), MOVES)
def test_crops_flips_and_paddings_show_what_they_would_one_by_one(height, width, moves):
    image = np.arange(height * width, dtype=np.uint8).reshape(height, width, 1)
    window, wanted = Window.whole(height, width), image
    for move in moves:
        window = window.hflip() if move[0] == "flip" else window.crop(*move[1:])
        wanted = by_hand(wanted, move)
    assert window.shown == wanted.shape[:2]
    assert np.array_equal(resample(image, window), wanted)


@given(MOVES, st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_the_box_always_lies_in_the_picture(moves, size):
    window = Window.whole(12, 17)
    for move in moves:
        window = window.hflip() if move[0] == "flip" else window.crop(*move[1:])
        window = window.resize(*size)
        link = window
        while link is not None:
            top, left, height, width = link.box
            assert 0 <= top < top + height <= link.source[0]
            assert 0 <= left < left + width <= link.source[1]
            link = link.before


@pytest.mark.parametrize(
    ("window", "wanted"),
    [
        (WHOLE, (50, 20, 80, 60)),
        (WHOLE.crop(10, 20, 60, 60), (30, 10, 60, 50)),
        (WHOLE.resize(50, 50), (12.5, 10, 20, 30)),
        (WHOLE.hflip(), (120, 20, 150, 60)),
        (WHOLE.hflip().resize(100, 100), (60, 20, 75, 60)),
        (WHOLE.crop(-10, -20, 200, 300), (70, 30, 100, 70)),
        (WHOLE.crop(90, 190, 10, 10), (0, 0, 0, 0)),
        (WHOLE.crop(0, 0, 10, 10), (10, 10, 10, 10)),
        (WHOLE.resize(50, 50).resize(200, 400), (100, 40, 160, 120)),
    ],
)
def test_a_box_moves_with_the_picture(window, wanted):
    assert window.move_boxes([[50, 20, 80, 60]]).tolist() == [list(wanted)]


def test_boxes_keep_their_rows_and_what_is_unknown_stays_so():
    moved = WHOLE.hflip().move_boxes([[np.nan, 0, 10, 10], [0, 0, 10, 10]])
    assert moved.shape == (2, 4)
    assert np.isnan(moved[0]).sum() == 1
    assert WHOLE.move_boxes([]).shape == (0, 4)


def test_boxes_given_are_left_as_they_are():
    boxes = np.array([[50.0, 20, 80, 60]])
    WHOLE.resize(50, 50).move_boxes(boxes)
    assert boxes.tolist() == [[50, 20, 80, 60]]
