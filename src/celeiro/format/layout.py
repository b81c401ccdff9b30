"""Every name and number of the file format, version 1: the twin of docs/format.md.

The invariant: no other file spells the name of a group, data set or attribute.

    /                    attributes: format, store, data key, colour order, provenance
    /imagens             the samples (the data key is the user's choice)
    /labels /label_names /keys /splits/NAME /mean /std /fields/NAME
    /celeiro/crc32c /celeiro/index
"""

from __future__ import annotations

import re
from typing import Final, Literal, get_args

from celeiro.errors import OptionError

Store = Literal["pixels", "jpeg", "lossless", "encoded"]
"""How samples stand on disk; see docs/format.md."""
STORES: Final[tuple[Store, ...]] = get_args(Store)

Color = Literal["RGB", "BGR", "GRAY", ""]
"""Order of the channels; empty where the samples are no pictures."""

VERSION: Final = 1
"""Version of the file format. A reader refuses a version that it does not know."""

DATA_KEY: Final = "imagens"
"""Default name of the samples' data set, as in the article that celeiro comes from."""

PAYLOAD_OFFSET: Final = 4096
"""Where the samples' bytes begin: one page, so that rows of whole pages stay aligned.

Before it stand the superblock, headers, and what else is small enough.
"""

# Attributes of the root group.
ATTR_VERSION: Final = "celeiro_format"
ATTR_STORE: Final = "celeiro_store"
ATTR_KEY: Final = "celeiro_data"
ATTR_COLOR: Final = "celeiro_color"
ATTR_PROVENANCE: Final = "celeiro_provenance"

# Attributes of auxiliary data sets.
ATTR_CRC: Final = "crc32c"
"""CRC-32C of the data set's bytes as stored (little-endian, C order)."""
ATTR_MEASURED: Final = "measured"
"""On ``mean`` and ``std``: `MEASURED_STORED` or `MEASURED_INPUT`."""
MEASURED_STORED: Final = "pixels as a reader decodes them"
MEASURED_INPUT: Final = "pixels as they went into the JPEG encoder"
ATTR_FILE_END: Final = "file_end"
"""On ``celeiro/index``: length of the file when the index was written, bytes."""

# What a user reads.
LABELS: Final = "labels"
LABEL_NAMES: Final = "label_names"
KEYS: Final = "keys"
SPLITS: Final = "splits"
MEAN: Final = "mean"
STD: Final = "std"
FIELDS: Final = "fields"

# What celeiro reads.
MACHINE: Final = "celeiro"
CRC: Final = "celeiro/crc32c"
INDEX: Final = "celeiro/index"

RESERVED: Final = frozenset({LABELS, LABEL_NAMES, KEYS, SPLITS, MEAN, STD, FIELDS, MACHINE})

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_ -]*")


def offsets(name: str) -> str:
    """Name of the offsets of a flat data set: N+1 numbers, sample i is ``[o[i]:o[i+1]]``."""
    return f"{name}_offsets"


def shapes(name: str) -> str:
    """Name of the shapes (N, 3: height, width, channels when decoded) of an `encoded` one."""
    return f"{name}_shapes"


def orientations(name: str) -> str:
    """Name of the EXIF orientations (N, uint8, 1..8) of an `encoded` data set."""
    return f"{name}_orientations"


def reencoded(name: str) -> str:
    """Name of the marks (N, uint8: 1 = not the source's own bytes) of an `encoded` one."""
    return f"{name}_reencoded"


BESIDE: Final = (offsets, shapes, orientations, reencoded)
"""Each gives, from the name of a data set, that of one which only tells more about it."""


def field(name: str) -> str:
    """Path of a field beside the samples."""
    return f"{FIELDS}/{name}"


def split(name: str) -> str:
    """Path of the row numbers (uint64, ascending) of one split."""
    return f"{SPLITS}/{name}"


def field_crc(name: str) -> str:
    """Path of the per-sample CRC-32C of a field that holds pictures."""
    return f"{MACHINE}/{name}_crc32c"


def field_index(name: str) -> str:
    """Path of the (offset, length) table of a chunked field that holds pictures."""
    return f"{MACHINE}/{name}_index"


def check_key(key: str) -> None:
    """Refuse a data key that would collide with another name of the format.

    Raises
    ------
    OptionError
        The name is empty, reserved, or has characters that need escaping in HDF5 paths.
    """
    if not _NAME.fullmatch(key):
        raise OptionError(
            f"data key {key!r}: wanted a plain name of letters, digits, '_', '-' or ' ' "
            "that begins with a letter. Choose another with --key."
        )
    taken = RESERVED | {f"{KEYS}_offsets"}
    if key in taken:
        raise OptionError(
            f"data key {key!r} is a name of the format itself ({', '.join(sorted(taken))}). "
            "Choose another with --key."
        )
