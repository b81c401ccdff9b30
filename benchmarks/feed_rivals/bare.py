"""The ceiling: simplejpeg in threads on JPEGs that are in memory, into memory that is used again.

Nothing is shuffled but the order of decoding, and nothing is handed on.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from feed_rivals import BATCH, SIZE, WORKERS, Contender
from feed_rivals.ours import ENCODED, JPEG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PIECE = 16  # pictures a thread takes at once, so that none waits long for the other


def jpegs_of(made: Path) -> list[bytes]:
    """The very bytes that our own loader decodes."""
    from read import places_of

    with made.open("rb") as file:
        whole = file.read()
    return [whole[offset : offset + length] for offset, length in places_of(made)]


def feed(made: Path, *, own_size: bool = False) -> Iterator[Any]:
    """Batches of pixels; with `own_size` each picture as large as it is, and not kept."""
    import simplejpeg

    jpegs = jpegs_of(made)
    out = np.empty((BATCH, SIZE, SIZE, 3), np.uint8)
    labels = np.zeros(BATCH, np.int64)
    rng = np.random.default_rng(0)

    def work(first: int, numbers: list[int]) -> None:
        for at, number in enumerate(numbers, first):
            simplejpeg.decode_jpeg(jpegs[number], "RGB", fastdct=False, fastupsample=False,
                                   buffer=None if own_size else out[at])  # fmt: skip

    with ThreadPoolExecutor(WORKERS) as pool:
        while True:
            order = rng.integers(0, len(jpegs), BATCH).tolist()
            starts = range(0, BATCH, PIECE)
            list(pool.map(work, starts, [order[at : at + PIECE] for at in starts]))
            yield out, labels


def feed_whole(made: Path) -> Iterator[Any]:
    """Whole originals decoded, and nothing else done: exact chains cannot do without."""
    return feed(made, own_size=True)


UINT8 = {"bare simplejpeg": Contender(feed, *JPEG)}
AUGMENTED = {"bare simplejpeg": Contender(feed_whole, *ENCODED)}
