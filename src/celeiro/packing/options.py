"""How to pack: every choice that shapes the content, checked once.

The invariant: two runs with equal `PackOptions` over equal sources give equal files. What does
not shape the content (workers, buffers, what to do about bad pictures) is not in here.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from celeiro.errors import OptionError
from celeiro.format import layout
from celeiro.format.codecs import Compressor
from celeiro.format.jpeg import Subsampling
from celeiro.format.pictures import DEFAULT_MAX_PIXELS
from celeiro.packing.resize import Mode
from celeiro.packing.splits import assign_splits, parse_splits

if TYPE_CHECKING:
    from collections.abc import Mapping

Check = Literal["header", "decode"]


@dataclass(frozen=True, slots=True)
class PackOptions:
    """Every choice that shapes the content of a packed file."""

    store: layout.Store
    """How samples stand on disk."""
    size: tuple[int, int] | None = None
    """Height and width of every picture, pixels; None keeps them."""
    key: str = layout.DATA_KEY
    """Name of the samples' data set."""
    resize: Mode = "stretch"
    """What happens to the aspect ratio."""
    color: layout.Color = "RGB"
    """Order of the channels; "" where samples are no pictures."""
    quality: int = 90
    """Of JPEGs that celeiro encodes, 1 to 100."""
    subsampling: Subsampling = "420"
    """Of the colour planes of such JPEGs."""
    compressor: Compressor = "zstd"
    """Of the store `lossless`."""
    max_side: int | None = None
    """Longest side that `encoded` keeps; larger pictures are shrunk and encoded again."""
    split: Mapping[str, float] = field(default_factory=dict)
    """Fractions of the samples, by name of split; they add up to 1."""
    shuffle: bool = False
    """Whether samples are stored in a seeded random order."""
    seed: int = 0
    """Of `split` and `shuffle`."""
    max_pixels: int = DEFAULT_MAX_PIXELS
    """Pictures with more are refused before they are decoded."""
    check: Check = "header"
    """`decode`: every stored picture is decoded, and statistics are of what came out."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, with what to do instead."""
        for name in ("quality", "max_side", "seed", "max_pixels"):
            object.__setattr__(self, name, _plain(getattr(self, name)))
        layout.check_key(self.key)
        _one_of("store", self.store, layout.STORES)
        _one_of("resize", self.resize, get_args(Mode))
        _one_of("color", self.color, get_args(layout.Color))
        _one_of("subsampling", self.subsampling, get_args(Subsampling))
        _one_of("compressor", self.compressor, get_args(Compressor))
        _one_of("check", self.check, get_args(Check))
        _between("quality", self.quality, 1, 100)
        _between("max_pixels", self.max_pixels, 1, 2**40)
        _between("seed", self.seed, 0, 2**63 - 1)
        if self.size is not None:
            for side in self.size:
                _between("size", side, 1, 65500)
        if self.max_side is not None:
            _between("max_side", self.max_side, 1, 65500)
        if self.split:
            assign_splits(None, self.split, self.seed, count=1)  # refuses bad names and fractions
        if self.store == "encoded":
            self._check_encoded()
        elif self.max_side is not None:
            raise OptionError(
                f"--max-side goes with --store encoded, not with {self.store!r}. "
                "Give --size instead."
            )
        if self.store == "jpeg" and self.color == "BGR":
            raise OptionError(
                "store 'jpeg' has no BGR: a JPEG decodes to the order that the reader asks for. "
                "Leave out --bgr and choose the order on reading, or use --store pixels."
            )

    def _check_encoded(self) -> None:
        if self.size is not None:
            raise OptionError(
                "store 'encoded' keeps each file's bytes as they are, so --size cannot apply. "
                "Choose --store jpeg for pictures of one size, or --max-side N to shrink only "
                "the larger ones."
            )
        if self.color != "RGB":
            raise OptionError(
                f"store 'encoded' keeps each file's bytes as they are, so the colour order "
                f"{self.color!r} cannot apply: choose it on reading, or use --store pixels."
            )

    def to_json(self) -> dict[str, Any]:
        """All choices, as JSON."""
        return asdict(self) | {"split": dict(self.split)}


def parse_size(text: str | int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) from "256x320" (height first), "256", 256 or (256, 320).

    Examples
    --------
    >>> parse_size("256x320")
    (256, 320)
    >>> parse_size(224)
    (224, 224)
    """
    written = "x".join(map(str, text)) if isinstance(text, (tuple, list)) else str(text)
    match = re.fullmatch(r"(\d{1,6})(?:[xX×](\d{1,6}))?", written.strip())
    if not match:
        raise OptionError(
            f"size {text!r}: wanted HEIGHTxWIDTH such as 256x320, or one number for a square."
        )
    height = int(match[1])
    return height, int(match[2] or height)


def parse_split(text: str | Mapping[str, float] | None) -> dict[str, float]:
    """Fractions by name from "train=0.8,test=0.2" or a mapping; empty for None."""
    if not text:
        return {}
    if isinstance(text, str):
        return dict(parse_splits(text))
    return {name: _plain(fraction) for name, fraction in text.items()}


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's own, which can be written as JSON; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        wanted = ", ".join(repr(c) for c in choices if c)
        raise OptionError(f"{name} {value!r}: wanted one of {wanted}.")


def _between(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise OptionError(f"{name} {value!r}: wanted a whole number from {low} to {high}.")
