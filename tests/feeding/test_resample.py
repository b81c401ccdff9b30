"""The pass over the pixels: the kernel, the NumPy that has its bits, and Pillow beside them."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from celeiro.errors import OptionError
from celeiro.feeding import resample as module
from celeiro.feeding.resample import Table, nearest, resample, rows_needed
from celeiro.feeding.window import Window

needs_kernel = pytest.mark.skipif(module.compiled() is None, reason="the kernel is not built")


def noise(*shape, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, 256, shape).astype(dtype)


@pytest.fixture
def by_numpy(monkeypatch):
    """`resample` without the kernel."""
    return lambda *a, **k: _by_numpy(monkeypatch, *a, **k)


def _by_numpy(monkeypatch, *arguments, **options):
    with monkeypatch.context() as patch:
        patch.setattr(module, "compiled", lambda: None)
        return resample(*arguments, **options)


def test_the_kernel_is_built_where_there_is_a_compiler():
    if os.name == "nt" or not (os.environ.get("CC") or shutil.which("cc")):
        pytest.skip("no C compiler")
    assert module.compiled() is not None, "run: python hatch_build.py, or pip install -e ."


def test_a_library_that_cannot_be_replaced_is_a_warning_of_the_build(tmp_path):
    # As on Windows, where a Python has it loaded; here a folder of its name.
    spec = importlib.util.spec_from_file_location(
        "hatch_build", Path(__file__).parents[2] / "hatch_build.py"
    )
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    assert build.KERNELS
    for kernel in build.KERNELS:
        library = build.library_of(kernel)
        (tmp_path / library).mkdir(parents=True)
        assert library.name in build.compile_kernel(tmp_path, kernel)


sides = st.integers(1, 70)
moves = st.lists(
    st.one_of(
        st.just(("hflip",)),
        st.tuples(st.sampled_from(["resize", "cubic"]), st.integers(1, 60), st.integers(1, 60)),
        st.tuples(
            st.just("crop"), st.integers(-4, 30), st.integers(-4, 30), sides, sides, st.just(9)
        ),
    ),
    max_size=4,
)


def window_of(height, width, moves):
    window = Window.whole(height, width)
    for name, *arguments in moves:
        cubic = {"cubic": True} if name == "cubic" else {}
        window = getattr(window, "resize" if cubic else name)(*arguments, **cubic)
    return window


@needs_kernel
@given(
    sides,
    sides,
    st.integers(1, 5),
    moves,
    st.sampled_from([None, "u1", "f2", "f4", "f8"]),
    st.booleans(),
    st.sampled_from([1, 1, 2, 4, 8]),
)
@settings(max_examples=200)
def test_the_kernel_and_numpy_give_the_same_bits(
    height, width, channels, moves, dtype, chw, factor
):
    window = window_of(height, width, moves)
    image = noise(-(-height // factor), -(-width // factor), channels)
    table = None if dtype is None else Table(noise(channels, 256, dtype=dtype, seed=1))
    ours = resample(image, window, table=table, chw=chw, factor=factor)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "compiled", lambda: None)
        wanted = resample(image, window, table=table, chw=chw, factor=factor)
    assert ours.dtype == wanted.dtype
    assert np.array_equal(ours, wanted)


@needs_kernel
@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("size", [(40_000, 3), (3, 40_000)])
def test_many_thousand_taps_keep_to_255(size, channels, by_numpy):
    image = np.full((*size, channels), 255, np.uint8)
    window = Window.whole(*size).resize(2, 2)
    assert np.unique(resample(image, window)).tolist() == [255]
    assert np.array_equal(resample(image, window), by_numpy(image, window))


@needs_kernel
@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("size", [(4_431_080, 2), (2, 4_431_080)])
def test_millions_of_taps_down_or_across_keep_to_255(size, channels):
    # Their sum by float32 is above 256, which would be read behind the table. One row, repeated.
    image = np.broadcast_to(np.full((1, size[1], channels), 255, np.uint8), (*size, channels))
    window = Window.whole(*size).resize(min(size[0], 2) // 2 or 1, min(size[1], 2))
    table = Table(np.tile(np.arange(256, dtype=np.float32), (channels, 1)))
    assert np.unique(resample(image, window)).tolist() == [255]
    assert np.unique(resample(image, window, table=table)).tolist() == [255]


@pytest.mark.parametrize("shape", [(0, 9, 3), (9, 0, 3), (0, 0, 3), (9, 9, 0)])
def test_an_empty_picture_is_refused(shape, by_numpy):
    for show in (resample, by_numpy):
        for window in (Window.whole(*shape[:2]), Window.whole(*shape[:2]).resize(4, 4)):
            with pytest.raises(OptionError, match="empty"):
                show(np.empty(shape, np.uint8), window)


@pytest.mark.parametrize("box", [(0, 9), (9, 0)])
def test_nothing_cannot_be_resized_to_something(box, by_numpy):
    window = Window.whole(9, 9).crop(0, 0, *box).resize(4, 4)
    for show in (resample, by_numpy):
        with pytest.raises(OptionError, match="empty"):
            show(noise(9, 9, 3), window)


@given(sides, sides, sides, sides, st.integers(0, 9))
@settings(max_examples=60)
def test_a_resize_is_at_most_one_level_from_pillow(height, width, rows, columns, seed):
    image = noise(height, width, 3, seed=seed)
    ours = resample(image, Window.whole(height, width).resize(rows, columns))
    pillow = Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR)
    assert np.abs(ours.astype(int) - np.asarray(pillow)).max() <= 1


@given(sides, sides, sides, sides, st.integers(0, 9))
@settings(max_examples=60)
def test_a_cubic_resize_is_at_most_one_level_from_pillow(height, width, rows, columns, seed):
    # Of levels that it cannot throw beyond 0-255: Pillow cuts them after each of the two axes.
    image = 64 + noise(height, width, 3, seed=seed) // 2
    ours = resample(image, Window.whole(height, width).resize(rows, columns, cubic=True))
    pillow = Image.fromarray(image).resize((columns, rows), Image.Resampling.BICUBIC)
    assert np.abs(ours.astype(int) - np.asarray(pillow)).max() <= 1


@pytest.mark.parametrize("size", [(40, 50), (224, 224), (89, 200), (7, 3)])
def test_a_cubic_resize_is_half_a_level_from_torchvisions_floats(v2, size):
    import torch

    image = noise(90, 130, 3)
    image[20:40] = 255
    image[:, 60:90] = 0
    tensor = torch.from_numpy(image).permute(2, 0, 1).float()
    cubic = v2.InterpolationMode.BICUBIC
    exact = v2.functional.resize(tensor, list(size), interpolation=cubic).permute(1, 2, 0)
    ours = resample(image, Window.whole(90, 130).resize(*size, cubic=True)).astype(float)
    assert np.abs(ours - exact.numpy().clip(0, 255)).max() <= 0.5 + 1e-2
    floats = resample(image.astype("f4"), Window.whole(90, 130).resize(*size, cubic=True))
    assert np.abs(floats - exact.numpy()).max() <= 1e-2  # its weights are float32


@pytest.mark.parametrize("size", [(4, 4), (24, 24), (9, 9)])
def test_a_cubic_resize_keeps_to_0_and_255(size, by_numpy):
    # Edges from black to white, each of which it throws over on both sides.
    rows, columns = np.indices((16, 16)) // 4 % 2
    image = (255 * (rows ^ columns)).astype(np.uint8)[..., np.newaxis].repeat(3, 2)
    table = Table(np.tile(np.arange(256, dtype=np.float32), (3, 1)))
    window = Window.whole(16, 16).resize(*size, cubic=True)
    shown = resample(image, window, table=table)
    assert shown.min() >= 0
    assert shown.max() <= 255
    assert np.array_equal(shown, by_numpy(image, window, table=table))


def test_a_resize_is_at_most_one_level_from_torchvision_and_half_one_from_its_floats(v2):
    import torch

    image = noise(90, 130, 3)
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    for size in ((40, 50), (224, 224), (89, 200), (7, 3)):
        ours = resample(image, Window.whole(90, 130).resize(*size)).astype(float)
        levels = v2.functional.resize(tensor, list(size)).permute(1, 2, 0).numpy()
        exact = v2.functional.resize(tensor.float(), list(size)).permute(1, 2, 0).numpy()
        assert np.abs(ours - levels).max() <= 1
        assert np.abs(ours - exact).max() <= 0.5 + 1e-3


@given(sides, sides, moves)
@settings(max_examples=50)
def test_rows_below_those_needed_change_nothing(height, width, moves):
    window = window_of(height, width, moves)
    image = noise(height, width, 3)
    needed = rows_needed(window)
    assert 1 <= needed <= height
    assert np.array_equal(resample(image[:needed], window), resample(image, window))


def test_fewer_rows_than_needed_are_refused():
    window = Window.whole(100, 100).resize(50, 50).crop(0, 0, 25, 50)
    assert rows_needed(window) == 51
    with pytest.raises(OptionError, match="cut below row 50, wanted 51"):
        resample(noise(50, 100, 3), window)
    with pytest.raises(OptionError, match="cut below row 25"):
        resample(noise(25, 50, 3), window, factor=2)


@pytest.mark.parametrize("shape", [(10, 10), (10, 10, 0), (10, 11, 3), (11, 10, 3), (5, 5, 3)])
def test_a_picture_of_another_shape_than_planned_is_refused(shape):
    with pytest.raises(OptionError, match="wanted"):
        resample(noise(*shape), Window.whole(10, 10))


def test_a_smaller_decode_shows_what_the_picture_shows():
    rows = np.linspace(0, 255, 160)[:, np.newaxis]
    image = ((rows + np.linspace(0, 255, 240)) / 2).astype(np.uint8)[..., np.newaxis]
    window = Window.whole(160, 240).crop(13, 17, 101, 99).hflip().resize(24, 24).hflip()
    exact = resample(image, window).astype(int)
    for factor in (2, 4):
        small = image.reshape(160 // factor, factor, 240 // factor, factor, 1).mean((1, 3))
        fast = resample(small.round().astype(np.uint8), window, factor=factor)
        assert np.abs(fast - exact).max() <= 2


def test_the_result_is_written_into_out():
    window = Window.whole(30, 40).crop(-2, -2, 34, 44, fill=7).hflip()
    image = noise(30, 40, 3)
    batch = np.full((3, 34, 44, 3), 1, np.uint8)
    assert np.shares_memory(resample(image, window, out=batch[1]), batch)
    assert np.array_equal(batch[1], resample(image, window))
    assert (batch[[0, 2]] == 1).all()


@pytest.mark.parametrize("chw", [False, True])
def test_out_may_lie_in_memory_in_any_way(chw):
    window = Window.whole(30, 40).resize(16, 20)
    image = noise(30, 40, 3)
    wanted = resample(image, window, chw=chw)
    strange = np.zeros((3, 16, 20), np.uint8) if not chw else np.zeros((16, 20, 3), np.uint8)
    strange = np.moveaxis(strange, 0, 2) if not chw else np.moveaxis(strange, 2, 0)
    reverse = np.zeros_like(wanted)[::-1, ::-1, ::-1]
    wide = np.zeros((*wanted.shape[:2], 2 * wanted.shape[2]), np.uint8)[..., ::2]
    for out in (strange, reverse, wide):
        resample(image, window, chw=chw, out=out)
        assert np.array_equal(out, wanted)


def test_a_result_that_does_not_lie_on_its_own_size_is_right_too():
    table = Table(noise(3, 256, dtype="f4"))
    image, window = noise(30, 40, 3), Window.whole(30, 40).resize(16, 20)
    out = np.zeros(16 * 20 * 3 * 4 + 1, np.uint8)[1:].view("f4").reshape(3, 16, 20)
    resample(image, window, table=table, chw=True, out=out)
    assert np.array_equal(out, resample(image, window, table=table, chw=True))


def test_pictures_that_lie_in_memory_in_any_way_give_the_same():
    image = noise(30, 40, 3)
    wanted = resample(image, Window.whole(30, 40).resize(16, 20))
    wide = np.zeros((60, 80, 3), np.uint8)
    wide[::2, ::2] = image
    planes = np.moveaxis(np.moveaxis(image, 2, 0).copy(), 0, 2)
    upside = image[::-1].copy()[::-1]
    frozen = image.copy()
    frozen.flags.writeable = False
    for same in (wide[::2, ::2], planes, upside, frozen):
        assert np.array_equal(resample(same, Window.whole(30, 40).resize(16, 20)), wanted)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((16, 20, 3), "u2"), ((20, 16, 3), "u1"), ((3, 16, 20), "u1")]
)
def test_out_of_another_shape_or_type_is_refused(shape, dtype):
    with pytest.raises(OptionError, match=r"needs uint8 \(16, 20, 3\)"):
        resample(noise(30, 40, 3), Window.whole(30, 40).resize(16, 20), out=np.zeros(shape, dtype))


def test_read_only_memory_is_never_written():
    out = np.zeros((16, 20, 3), np.uint8)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        resample(noise(30, 40, 3), Window.whole(30, 40).resize(16, 20), out=out)
    assert not out.any()


@pytest.mark.parametrize("values", [np.zeros((3, 255)), np.zeros(256), np.zeros((3, 256), "c16")])
def test_what_is_no_table_is_refused(values):
    with pytest.raises(OptionError, match="256 values"):
        Table(values)


@pytest.mark.parametrize("image", [noise(8, 8, 1), noise(8, 8, 3, dtype="u2")])
def test_a_table_for_other_pictures_is_refused(image):
    with pytest.raises(OptionError, match="table of 3 channels"):
        resample(image, Window.whole(8, 8), table=Table(np.zeros((3, 256))))


@pytest.mark.parametrize("dtype", "? i1 u2 i2 u4 i4 u8 i8 f2 f4 f8 >u2 >f4".split())
@pytest.mark.parametrize("size", [(10, 15), (60, 60), (10, 60), (30, 40)])
def test_every_numeric_type_is_filtered_as_float64_is(dtype, size):
    image = noise(30, 40, 3) // 2
    image = (image > 60) if dtype == "?" else image.astype(dtype)
    window = Window.whole(30, 40).resize(*size)
    ours = resample(image, window)
    assert ours.dtype == np.dtype(dtype).newbyteorder("=")
    wanted = resample(image.astype(np.float64), window)
    tolerance = {"f8": 0, "f2": 0.06, "f4": 1e-4, ">f4": 1e-4}.get(dtype, 0.5 + 1e-4)
    assert np.abs(ours.astype(np.float64) - wanted).max() <= tolerance


@pytest.mark.parametrize("dtype", ["i1", "u2", "i4", "u4"])
def test_the_largest_numbers_do_not_overflow(dtype):
    limits = np.iinfo(dtype)
    image = np.full((7, 9, 1), limits.max, dtype)
    image[3:] = limits.min
    result = resample(image, Window.whole(7, 9).resize(20, 25))
    assert (result[0] == limits.max).all()
    assert (result[-1] == limits.min).all()


def test_complex_numbers_are_refused():
    with pytest.raises(OptionError, match="complex128 cannot be resized"):
        resample(np.ones((7, 9, 1), complex), Window.whole(7, 9).resize(2, 2))


def test_what_lies_outside_has_the_fill_of_each_channel_through_the_table():
    window = Window.whole(4, 4).crop(-1, -2, 6, 8, fill=(1, 2, 3))
    table = Table(np.arange(768).reshape(3, 256).astype("f4"))
    shown = resample(noise(4, 4, 3), window, table=table, chw=True)
    assert shown[:, 0, 0].tolist() == [1, 258, 515]
    assert np.array_equal(
        shown[:, 1:5, 2:6], resample(noise(4, 4, 3), Window.whole(4, 4), table=table, chw=True)
    )


def test_without_the_kernel_the_log_says_so_once(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(module, "LIBRARY", tmp_path / "none.so")
    module.compiled.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                resample(noise(8, 8, 3), Window.whole(8, 8).resize(4, 4))
        assert [record.message.partition(",")[0] for record in caplog.records] == [
            "pictures are resized by NumPy"
        ]
    finally:
        module.compiled.cache_clear()


@pytest.mark.parametrize("size", [(30, 40), (60, 80), (7, 3), (1, 1)])
def test_a_mask_keeps_its_values_and_lies_on_its_picture(size):
    import cv2

    mask = noise(30, 40)
    exact = cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    assert np.array_equal(nearest(mask, Window.whole(30, 40).resize(*size)), exact)


@given(sides, sides, moves)
@settings(max_examples=50)
def test_a_mask_moves_as_its_picture(height, width, moves):
    """A picture of wide plateaus, and a mask of the same, agree but at the plateaus' edges."""
    window = window_of(height, width, [m if m[0] != "crop" else (*m[:5], 0) for m in moves])
    image = np.zeros((height, width, 1), np.uint8)
    image[: height // 2 + 1, : width // 2 + 1] = 255
    shown, moved = resample(image, window)[..., 0], nearest(image[..., 0], window)
    assert shown.shape == moved.shape
    sure = (shown == 0) | (shown == 255)
    if window.before is None:
        assert np.array_equal(shown[sure], moved[sure])


def test_a_mask_of_several_channels_and_its_outside():
    mask = noise(4, 4, 2) | 1
    shown = nearest(mask, Window.whole(4, 4).crop(-1, -1, 6, 6).hflip())
    assert shown.shape == (6, 6, 2)
    assert (shown == 0).sum() == (36 - 16) * 2
    assert np.array_equal(shown[1:5, 1:5], mask[:, ::-1])


def test_a_mask_of_another_size_than_its_picture_is_refused():
    with pytest.raises(OptionError, match="as large as its picture"):
        nearest(noise(4, 5), Window.whole(4, 4))
