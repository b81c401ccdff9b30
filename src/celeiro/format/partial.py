"""Of a JPEG, only what a crop of it needs: its top, and where less will do, at a lower resolution.

    header says 375 rows          header says 240 rows
    the scan decodes to 375  ──>  it decodes to 240, the very same; what follows is passed over

libjpeg decodes from the top, so a JPEG whose header promises fewer rows ends early. What it gives
are the pixels of the whole picture: rows near the cut depend on colours just below it, so that the
cut is made at least two rows further down, at the edge of a row of blocks. Only for baseline
JPEGs, whose one scan goes from top to bottom.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import simplejpeg

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from celeiro.format.pictures import Color

__all__ = ["decode_part"]

_BASELINE = (0xC0, 0xC1)
_OTHER_FRAMES = frozenset(range(0xC2, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SOS = 0xDA
# Interpolated colours reach so far down.
_REACH = 2
# Passing over what is not decoded takes time too: below an eighth there is nothing to win.
_WORTH = 8


def decode_part(
    data: bytes,
    rows: int,
    *,
    color: Color,
    buffer: bytearray | None = None,
    factor: int = 1,
    fast: bool = False,
) -> npt.NDArray[np.uint8] | None:
    """Decode at least the first `rows` rows of a JPEG; None where it has to be decoded whole.

    Parameters
    ----------
    data
        A JPEG that is known to be sound: damage in it may go unnoticed here.
    rows
        Of the picture as it is stored, 1 ≤ rows ≤ height.
    buffer
        Memory to decode into, where the picture fits in.
    factor
        1, 2, 4 or 8: decode to this part of the height and width, rounded up.
    fast
        libjpeg's fast transform, and colours that are repeated instead of interpolated.

    Returns
    -------
    array or None
        (H', ceil(W / factor), C) with H' * factor ≥ rows.
    """
    found = _frame(data)
    if found is None:
        return None
    at, block = found
    height, width = struct.unpack_from(">HH", data, at)
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
        pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
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


def _frame(data: bytes) -> tuple[int, int] | None:
    """Where a baseline JPEG keeps its height, and rows of a row of blocks; None for others."""
    at, found = 2, None
    try:
        while data[at] == 0xFF:
            marker = data[at + 1]
            if marker == _SOS:
                return found
            if marker in _OTHER_FRAMES:
                return None
            if marker in _BASELINE:
                sampling = data[at + 11 : at + 11 + 3 * data[at + 9] : 3]
                found = at + 5, 8 * max(1, *(value & 15 for value in sampling))
            at += 2 + (data[at + 2] << 8 | data[at + 3])
    except (IndexError, TypeError):
        return None
    return None
