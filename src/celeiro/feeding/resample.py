"""The one pass over the pixels: crop, resize, flip, look up and lay out.

    levels = triangle or cubic filter of the box    (as Pillow and torchvision: antialiased)
    result = table[channel][level], as (H, W, C) or (C, H, W), into the batch's own memory

The invariant: the compiled kernel (kernels/resample.c) and the NumPy that stands in where no
compiler was give the same bits. Both work in float32, and sum in the same order.
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from celeiro import library
from celeiro.errors import OptionError

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.feeding.window import Fill, Window

__all__ = ["LIBRARY", "Table", "box_needed", "compiled", "nearest", "resample", "rows_needed"]

LIBRARY = library.beside(__file__, "resample")
"""Where the build hook (hatch_build.py) puts the compiled kernel."""

# Of the struct `Job` in resample.c; raised with every change there.
_VERSION = 2
_JOB = struct.Struct("@3P4q4d12q")
_BYTES = np.dtype(np.uint8)


@cache
def compiled() -> Any:
    """The kernel's function; None where it was not built, which the log says once."""
    function = library.function(
        LIBRARY, "celeiro_resample", _VERSION,
        without="pictures are resized by NumPy, some 40 times slower",
    )  # fmt: skip
    if function is not None:
        function.argtypes = [ctypes.c_char_p]
        function.restype = ctypes.c_int
    return function


@dataclass(frozen=True, slots=True)
class Table:
    """What each of 256 levels becomes, channel by channel."""

    values: npt.NDArray[Any]
    """(C, 256), of any type of 1, 2, 4 or 8 bytes."""
    address: int = field(init=False, repr=False, compare=False)
    """Where they lie in memory."""

    def __post_init__(self) -> None:
        """Lay the values as the kernel reads them."""
        values = np.ascontiguousarray(self.values)
        if values.ndim != 2 or values.shape[1] != 256 or values.dtype.itemsize not in (1, 2, 4, 8):
            raise OptionError(
                f"a table {values.dtype} of shape {values.shape}: wanted 256 values a "
                "channel, of 1, 2, 4 or 8 bytes"
            )
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "address", values.ctypes.data)


def resample(
    image: npt.NDArray[Any],
    window: Window,
    *,
    table: Table | None = None,
    chw: bool = False,
    out: npt.NDArray[Any] | None = None,
    factor: int = 1,
) -> npt.NDArray[Any]:
    """Show a picture (H, W, C) through a window.

    Parameters
    ----------
    image
        Of the window's size, or cut below `rows_needed`. Types other than uint8 are filtered by
        NumPy: in float64 where float32 does not hold their values.
    table
        What stands in the result for each level of a channel; for uint8 pictures alone.
    chw
        Whether channels come first in the result.
    out
        Write here; of the result's shape and type.
    factor
        The picture was decoded at 1/factor: its size is ⌈H/factor⌉ × ⌈W/factor⌉.
    """
    if window.before is not None:
        image, factor = resample(image, window.before, factor=factor), 1
    part = _part(image, window, factor)
    if table is not None and (image.dtype != _BYTES or len(table.values) != image.shape[2]):
        raise OptionError(
            f"a table of {len(table.values)} channels for a picture {image.dtype} {image.shape}: "
            "wanted one of uint8 with as many"
        )
    height, width = window.shown
    channels = image.shape[2]
    shape = (channels, height, width) if chw else (height, width, channels)
    dtype = image.dtype if table is None else table.values.dtype
    if not dtype.isnative:
        dtype = dtype.newbyteorder("=")
    if out is None:
        out = np.empty(shape, dtype)
    elif out.shape != shape or out.dtype != dtype:
        raise OptionError(f"out is {out.dtype} {out.shape}, the result needs {dtype} {shape}")
    inside = out
    if window.padded:
        _fill(out, window.fill, table, chw=chw)
        inside = _inside(out, window, part, chw=chw)
    if not inside.size:
        return out
    if image.dtype != _BYTES or not _by_kernel(image, window, part, table, inside, chw=chw):
        _by_numpy(image, window, part, table, inside, chw=chw)
    return out


class _Part(NamedTuple):
    """What a window uses of a picture that may be smaller than the window's source."""

    top: int
    """First row that may be read."""
    left: int
    """First column that may be read."""
    rows: int
    """That may be read."""
    columns: int
    """That may be read."""
    box: tuple[float, float, float, float]
    """Top, left, height, width from there, in pixels of the picture; mirrored as the window is."""
    y: int
    """First row of the grid that is shown."""
    x: int
    """First column of the grid that is shown."""
    height: int
    """Rows of the grid that are shown."""
    width: int
    """Columns of the grid that are shown."""


def _part(image: npt.NDArray[Any], window: Window, factor: int) -> _Part:
    """Where the window's box and its shown part lie in the picture that is there."""
    source, (top, left, height, width) = window.source, window.box
    box: tuple[float, float, float, float] = (0, 0, height, width)
    if factor != 1:
        source = (-(-source[0] // factor), -(-source[1] // factor))
        box = _smaller_box(window, factor)
    shape = image.shape
    if len(shape) != 3 or shape[1] != source[1] or shape[0] > source[0]:
        raise OptionError(
            f"a picture of shape {shape}, wanted {source} and channels: plan for its own size"
        )
    if not image.size or height < 1 or width < 1:
        raise OptionError(
            f"an empty part of a picture of shape {shape}: wanted one pixel at least. Leave such "
            "samples out, or mend the transform that made it so"
        )
    first_row, first_column = top // factor, left // factor
    rows = -(-(top + height) // factor) - first_row
    columns = -(-(left + width) // factor) - first_column
    if shape[0] < first_row + rows:
        # Of a smaller picture all rows of the box: the last ones are made of them.
        if factor != 1 or shape[0] < rows_needed(window):
            raise OptionError(
                f"a picture cut below row {shape[0]}, wanted {rows_needed(window)} of {source[0]}: "
                "decode as many rows as the plan says"
            )
        rows = shape[0] - first_row
    (y, x), (shown_rows, shown_columns), grid = window.origin, window.shown, window.grid
    shown_rows = min(y + shown_rows, grid[0]) - max(y, 0)
    shown_columns = min(x + shown_columns, grid[1]) - max(x, 0)
    return _Part(
        first_row,
        first_column,
        rows,
        columns,
        box,
        max(y, 0),
        max(x, 0),
        max(shown_rows, 0),
        max(shown_columns, 0),
    )


def _smaller_box(window: Window, factor: int) -> tuple[float, float, float, float]:
    """The box in a picture decoded at 1/factor: it need not begin and end at whole pixels."""
    top, left, height, width = window.box
    row, column = top // factor, left // factor
    begin = left / factor - column
    if window.mirror:
        begin = -(-(left + width) // factor) - column - begin - width / factor
    return top / factor - row, begin, height / factor, width / factor


def rows_needed(window: Window) -> int:
    """Rows of the picture, from its top, that a window needs (at least one)."""
    window = window.first
    top, _, height, _ = window.box
    last = min(window.origin[0] + window.shown[0], window.grid[0]) - 1
    if last < 0:
        return top + 1
    if height == window.grid[0]:
        return top + last + 1
    scale = height / window.grid[0]
    # As `_taps` has it.
    reach = max(scale, 1.0) * (2 if window.cubic else 1)
    return min(top + int((last + 0.5) * scale + reach + 0.5), top + height)


def box_needed(window: Window) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of what a window looks at of the picture, one pixel at least."""
    bottom = rows_needed(window)
    window = window.first
    top, left, _, width = window.box
    right = left + width
    if not window.resized and not window.mirror:
        # What is shown of the box, and no more.
        (y, x), (_, columns) = window.origin, window.shown
        top = min(top + max(y, 0), bottom - 1)
        right = max(min(left + x + columns, right), left + 1)
        left = min(left + max(x, 0), right - 1)
    return top, left, bottom, right


def _fill(out: npt.NDArray[Any], fill: Fill, table: Table | None, *, chw: bool) -> None:
    """Write the value for pixels outside the picture everywhere."""
    channels = out.shape[0] if chw else out.shape[2]
    values = np.broadcast_to(np.asarray(fill), (channels,))
    if table is not None:
        values = table.values[np.arange(channels), values.astype(np.uint8)]
    out[...] = values[:, np.newaxis, np.newaxis] if chw else values


def _inside(out: npt.NDArray[Any], window: Window, part: _Part, *, chw: bool) -> npt.NDArray[Any]:
    """The part of the result that the picture covers."""
    top, left = part.y - window.origin[0], part.x - window.origin[1]
    if window.flip:
        left = window.shown[1] - left - part.width
    rows, columns = slice(top, top + part.height), slice(left, left + part.width)
    return out[:, rows, columns] if chw else out[rows, columns]


def _by_kernel(
    image: npt.NDArray[np.uint8],
    window: Window,
    part: _Part,
    table: Table | None,
    out: npt.NDArray[Any],
    *,
    chw: bool,
) -> bool:
    """Do it by the kernel, or say that it cannot. What it may read and write is decided here."""
    function = compiled()
    channels = image.shape[2]
    item, strides, flags = out.itemsize, out.strides, out.flags
    dense = strides[2] == item and (chw or strides[1] == item * channels)
    if function is None or not dense or not flags.writeable or not flags.aligned:
        return False
    if image.strides[1:] != (channels, 1):
        image = np.ascontiguousarray(image)
    stride = image.strides[0]
    job = _JOB.pack(
        _address(image) + part.top * stride + part.left * channels,
        0 if table is None else table.address,
        _address(out),
        stride,
        part.rows,
        part.columns,
        channels,
        *part.box,
        *window.grid,
        *part[5:],
        strides[1] if chw else strides[0],
        strides[0] if chw else 0,
        item,
        window.mirror,
        window.flip,
        window.cubic,
    )
    if function(job):
        raise MemoryError(f"no memory to resize a picture of {image.shape} to {window.grid}")
    return True


def _address(array: npt.NDArray[Any]) -> int:
    """Where an array begins in memory."""
    flags = array.flags
    if flags.c_contiguous and flags.writeable:  # `.ctypes` takes four times as long
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    return array.ctypes.data


@dataclass(frozen=True, slots=True)
class _Taps:
    """Which pixels each wanted one is the sum of, along one axis."""

    pixels: npt.NDArray[np.int64]
    """(taps, wanted): their numbers; where nothing is left, the last one again."""
    weights: npt.NDArray[Any]
    """(taps, wanted)."""


def _taps(
    start: float,
    length: float,
    pixels: int,
    grid: int,
    first: int,
    wanted: int,
    dtype: Any,
    *,
    cubic: bool,
) -> _Taps:
    """The filter, as `taps_init` in resample.c."""
    scale = length / grid
    wide = max(scale, 1.0)
    inverse = 1 / wide
    reach = 2 * wide if cubic else wide
    centre = start + (np.arange(first, first + wanted) + 0.5) * scale
    begin = np.maximum(centre - reach + 0.5, 0).astype(np.int64)
    end = np.minimum((centre + reach + 0.5).astype(np.int64), pixels)
    most = max(int((end - begin).max()), 1)
    numbers = begin + np.arange(most)[:, np.newaxis]
    far = np.abs((numbers - centre + 0.5) * inverse)
    weights = _cubic(far) if cubic else np.maximum(1 - far, 0)
    weights[numbers >= end] = 0
    total = np.zeros(wanted)
    for row in weights:  # in this order: `sum` pairs them
        total += row
    return _Taps(np.minimum(numbers, pixels - 1), (weights / total).astype(dtype))


def _cubic(far: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The filter of Keys with a = -1/2, as Pillow has it."""
    near = (1.5 * far - 2.5) * far * far + 1
    further = (((far - 5) * far + 8) * far - 4) * -0.5
    return np.where(far < 1, near, np.where(far < 2, further, 0))


def _by_numpy(
    image: npt.NDArray[Any],
    window: Window,
    part: _Part,
    table: Table | None,
    out: npt.NDArray[Any],
    *,
    chw: bool,
) -> None:
    used = image[part.top : part.top + part.rows, part.left : part.left + part.columns]
    if window.mirror:
        used = used[:, ::-1]
    (top, left, height, width), grid = part.box, window.grid
    if (height, width) == grid and top == int(top) and left == int(left):
        y, x = int(top) + part.y, int(left) + part.x
        shown = used[y : y + part.height, x : x + part.width]
    else:
        dtype = _sums(used.dtype)
        cubic = window.cubic
        down = _taps(top, height, part.rows, grid[0], part.y, part.height, dtype, cubic=cubic)
        across = _taps(left, width, part.columns, grid[1], part.x, part.width, dtype, cubic=cubic)
        shown = _rounded(_filtered(used, down, across), used)
    if window.flip:
        shown = shown[:, ::-1]
    target = np.moveaxis(out, 0, 2) if chw else out
    if table is None:
        target[...] = shown
    else:
        for channel, levels in enumerate(table.values):
            target[..., channel] = levels[shown[..., channel]]


def _sums(dtype: np.dtype[Any]) -> type[np.floating[Any]]:
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise OptionError(
            f"pictures of type {dtype} cannot be resized. Convert them to float32 or uint8"
        )
    return np.float32 if dtype.itemsize <= (4 if dtype.kind == "f" else 2) else np.float64


def _filtered(used: npt.NDArray[Any], down: _Taps, across: _Taps) -> npt.NDArray[Any]:
    """The sums over both axes, one half higher where they will be cut to whole numbers."""
    dtype = down.weights.dtype
    rows = np.zeros((down.pixels.shape[1], *used.shape[1:]), dtype)
    for pixels, weights in zip(down.pixels, down.weights, strict=True):
        rows += weights[:, np.newaxis, np.newaxis] * used[pixels].astype(dtype, copy=False)
    half = 0.5 if used.dtype.kind in "bui" else 0.0
    sums = np.full((len(rows), across.pixels.shape[1], used.shape[2]), half, dtype)
    for pixels, weights in zip(across.pixels, across.weights, strict=True):
        sums += weights[:, np.newaxis] * rows[:, pixels]
    return sums


def _rounded(sums: npt.NDArray[Any], used: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Back to the picture's own type, never outside its range."""
    dtype = used.dtype
    if dtype.kind == "f":
        return sums.astype(dtype)
    result: npt.NDArray[Any]
    if dtype.kind == "b":
        result = sums >= 1  # half of it, and more
    elif dtype == _BYTES:  # as resample.c
        result = np.clip(sums, np.float32(0), np.float32(255.5)).astype(np.uint8)
    else:
        limits = np.iinfo(dtype)
        # The largest whole number of 64 bits has no float64 of its own: the next one below.
        highest = np.nextafter(float(int(limits.max) + 1), 0)
        result = np.clip(np.floor(sums).astype(np.float64), limits.min, highest).astype(dtype)
    return result


def nearest(mask: npt.NDArray[Any], window: Window) -> npt.NDArray[Any]:
    """Show a mask (H, W) or (H, W, C) through a window: the nearest pixel, 0 outside.

    Pixel centres are aligned, as the filter's are, so that a mask stays on its picture.
    """
    if window.before is not None:
        mask = nearest(mask, window.before)
    if mask.ndim not in (2, 3) or mask.shape[:2] != window.source:
        raise OptionError(
            f"a mask of shape {mask.shape}, wanted {window.source}: it must be as large as its "
            "picture"
        )
    top, left, height, width = window.box
    rows, no_row = _below(window.origin[0], window.shown[0], height, window.grid[0])
    columns, no_column = _below(window.origin[1], window.shown[1], width, window.grid[1])
    if window.mirror:
        columns = width - 1 - columns
    shown: npt.NDArray[Any] = mask[top + rows][:, left + columns]
    shown[no_row] = 0
    shown[:, no_column] = 0
    return np.ascontiguousarray(shown[:, ::-1]) if window.flip else shown


def _below(
    first: int, wanted: int, length: int, grid: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The pixel under the centre of each pixel of the grid, and whether it lies outside."""
    numbers = np.arange(first, first + wanted, dtype=np.int64)
    outside = (numbers < 0) | (numbers >= grid)
    return (2 * np.clip(numbers, 0, grid - 1) + 1) * length // (2 * grid), outside
