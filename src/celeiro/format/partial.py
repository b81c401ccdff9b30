"""Of a JPEG, only what a crop of it needs; and where less will do, at a lower resolution.

Our own decoder (baseline.py) decodes the crop alone. Where it cannot, libjpeg decodes the top:

    header says 375 rows          header says 240 rows
    the scan decodes to 375  ──>  it decodes to 240, the very same; what follows is passed over

libjpeg decodes from the top, so a JPEG whose header promises fewer rows ends early. What it gives
are the pixels of the whole picture: rows near the cut depend on colours just below it, so that the
cut is made at least two rows further down, at the edge of a row of blocks. Only for baseline
JPEGs, whose one scan goes from top to bottom.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

import simplejpeg

from celeiro.format import baseline

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from celeiro.format.pictures import Color

__all__ = ["Frame", "decode_part", "frame_of"]

_BASELINE = (0xC0, 0xC1)
_OTHER_FRAMES = frozenset(range(0xC2, 0xD0)) - {0xC4, 0xC8, 0xCC}
_EXIF, _SOS = 0xE1, 0xDA
# Interpolated colours reach so far down.
_REACH = 2
# Passing over what is not decoded takes time too: below an eighth there is nothing to win.
_WORTH = 8


class Frame(NamedTuple):
    """What the header of a baseline JPEG says."""

    at: int
    """Where it says the height."""
    block: int
    """Rows of a row of blocks."""
    height: int
    width: int
    exif: bool
    """Whether there may be an orientation."""


def decode_part(
    data: bytes,
    frame: Frame,
    box: tuple[int, int, int, int],
    *,
    color: Color,
    buffer: memoryview | None = None,
    factor: int = 1,
    fast: bool = False,
) -> npt.NDArray[np.uint8] | None:
    """Decode at least a box of a JPEG: top, left, bottom, right; None where it takes all of it.

    Parameters
    ----------
    data
        A JPEG that is known to be sound: damage in it may go unnoticed here.
    frame
        Its own, whose height and width were found to be as promised: as much is decoded.
    box
        In pixels of the picture as it is stored, one at least. What is around it in the result is
        undefined, and rows below it may be missing.
    buffer
        Memory to decode into, where the picture fits in.
    factor
        1, 2, 4 or 8: decode to this part of the height and width, rounded up.
    fast
        Where libjpeg has to do it: its fast transform, and colours that are repeated instead of
        interpolated.

    Returns
    -------
    array or None
        (H', ceil(W / factor), C) with H' * factor ≥ bottom.
    """
    at, block, height, width, _ = frame
    rows = box[2]
    if factor == 1 and color != "BGR":
        shape = height, width, 1 if color == "GRAY" else 3
        pixels = baseline.decoded(data, shape, box, buffer=buffer)
        if pixels is not None:
            return pixels[:rows]
    cut = -(-(rows + _REACH) // block) * block
    worth = (height - cut) * _WORTH > height
    if not worth and factor == 1 and not fast:
        return None
    whole: bytes | bytearray = data
    if worth:
        whole = bytearray(data)
        struct.pack_into(">H", whole, at, cut)
        height = cut
    least = {"min_height": -(-height // factor), "min_width": -(-width // factor)}
    try:
        pixels = simplejpeg.decode_jpeg(
            whole,
            color,
            buffer=buffer if buffer is not None and len(buffer) >= height * width * 3 else None,
            fastdct=fast,
            fastupsample=fast,
            # What follows the last row is an error to a strict libjpeg.
            strict=not worth,
            **({"min_factor": factor, **least} if factor > 1 else {}),
        )
    except ValueError:
        return None  # whoever decodes it whole says what is wrong
    return pixels if pixels.shape[:2] == tuple(least.values()) else None


def frame_of(data: bytes) -> Frame | None:
    """The frame of a baseline JPEG; None for all else."""
    at, found, exif = 2, None, False
    try:
        while data[at] == 0xFF:
            marker = data[at + 1]
            if marker == _SOS:
                return None if found is None else found._replace(exif=exif)
            if marker in _OTHER_FRAMES or (marker in _BASELINE and found):
                return None
            if marker in _BASELINE:
                sampling = data[at + 11 : at + 11 + 3 * data[at + 9] : 3]
                block = 8 * max(1, *(value & 15 for value in sampling))
                height, width = struct.unpack_from(">HH", data, at + 5)
                found = Frame(at + 5, block, height, width, exif=False)
            exif = exif or marker == _EXIF
            at += 2 + (data[at + 2] << 8 | data[at + 3])
    except (IndexError, TypeError, struct.error):
        return None
    return None
