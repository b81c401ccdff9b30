"""Bytes of one HDF5 chunk, as they stand in the file → array, without HDF5.

    bytes --last filter backwards--> ... --first filter backwards--> array

A chunk that HDF5 reads gives the same values here, outside HDF5's lock and, but for microseconds,
the GIL. One that does not decode, or not to the chunk's size, is a FormatError. Bytes behind the
end of a compressed stream are passed over, as by HDF5, where the stream knows its end (gzip,
bzip2, lz4, bitshuffle).

How many bytes stand between two filters is known where those before them keep the size or add a
checksum. Behind a compressor (lzf, then gzip) it is not, and what is more than a quarter longer
than the chunk, and 4 KiB, is refused: no compressor makes its input that much longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from celeiro.errors import FormatError, RowError
from celeiro.format import compressors, filters

if TYPE_CHECKING:
    import h5py
    import numpy.typing as npt

    from celeiro.format.compressors import Data, Decode


class Number(IntEnum):
    """What the filters that celeiro decodes are registered as with the HDF Group."""

    GZIP = 1
    SHUFFLE = 2
    FLETCHER32 = 3
    SZIP = 4
    BZIP2 = 307
    LZF = 32000
    BLOSC = 32001
    LZ4 = 32004
    BITSHUFFLE = 32008
    ZSTD = 32015
    JPEG = filters.JPEG


_NAMES = {number.value: number.name.lower() for number in Number}
_COMPRESSORS: dict[int, Decode] = {
    Number.GZIP: compressors.deflate,
    Number.BZIP2: compressors.bzip2,
    Number.LZF: compressors.lzf,
    Number.BLOSC: compressors.blosc,
    Number.LZ4: compressors.lz4,
    Number.ZSTD: compressors.zstd,
}
"""Those whose options say nothing that is needed for reading."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter of a data set's pipeline."""

    number: int
    """As registered with the HDF Group."""
    flags: int = 0
    """1: optional, which matters to who writes a chunk."""
    options: tuple[int, ...] = ()
    """Its `cd_values`."""
    name: str = ""
    """As the file has it."""

    def __str__(self) -> str:
        return _NAMES.get(self.number) or f"filter {self.number} ({self.name or 'without a name'})"


def filters_of(plist: h5py.h5p.PropDCID) -> tuple[Filter, ...]:
    """The filters of a data set, in the order in which they are applied on writing."""
    found = (plist.get_filter(i) for i in range(plist.get_nfilters()))
    return tuple(
        Filter(number, flags, tuple(options), name.decode("utf-8", "replace"))
        for number, flags, options, name in found
    )


# What can be decoded


def unsupported(
    pipeline: tuple[Filter, ...], dtype: np.dtype[Any], shape: tuple[int, ...]
) -> str | None:
    """Why celeiro cannot decode chunks of `shape` itself, for people; None where it can."""
    size = dtype.itemsize * math.prod(shape)
    if dtype.hasobject:
        return "values of variable length"
    if size <= 0:
        return f"chunks of {shape} {dtype}, which hold no value"
    reasons = (_refusal(step, place, size) for place, step in enumerate(pipeline))
    return next(filter(None, reasons), None)


def _refusal(step: Filter, place: int, size: int) -> str | None:
    """Why this filter, at this place, cannot be undone on chunks of `size` bytes."""
    if step.number in _COUNT_31_BITS and size > compressors.MOST:
        return f"{step} of chunks of {size:,} bytes; it counts to {compressors.MOST:,}"
    match step:
        case Filter(number) if number not in _NAMES:
            return str(step)
        case Filter(Number.JPEG):
            return f"{step} behind another filter" if place else None
        case Filter(Number.SHUFFLE):
            known = any(step.options[:1])
        case Filter(Number.SZIP):
            known = _is_sound_szip(step.options)
        case Filter(Number.BITSHUFFLE):
            known = _is_sound_bitshuffle(step.options)
        case _:
            known = True
    return None if known else f"{step} with options {step.options}"


_COUNT_31_BITS = (Number.SZIP, Number.LZF, Number.BLOSC, Number.LZ4)


def _is_sound_szip(options: tuple[int, ...]) -> bool:
    """The library pads a line to whole blocks: shorter ones would take many times the chunk."""
    if len(options) != 4:
        return False
    mask, block, bits, scanline = options
    even = block in range(2, 33, 2)
    return mask < 256 and even and bits in (8, 16, 32, 64) and block <= scanline <= 128 * block


def _is_sound_bitshuffle(options: tuple[int, ...]) -> bool:
    _, _, itemsize, block, compressor = (*options, 0, 0, 0, 0, 0)[:5]
    return 0 < itemsize < 2**31 and block % 8 == 0 and compressor in (0, 2, 3)


# Decoding

_Step = Callable[["Data"], "Data"]


class _Plan(NamedTuple):
    """How to undo a pipeline: each step makes new bytes, the last one fills the room."""

    steps: tuple[_Step, ...]
    last: Decode


@dataclass(frozen=True, slots=True)
class ChunkCodec:
    """Decodes the chunks of one data set; used by many threads at once."""

    shape: tuple[int, ...]
    """Of a chunk."""
    dtype: np.dtype[Any]
    """Of the values as they are stored, byte order included."""
    filters: tuple[Filter, ...] = ()
    """In the order in which they are applied on writing."""
    _plans: dict[int, _Plan] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be decoded safely."""
        reason = unsupported(self.filters, self.dtype, self.shape)
        if reason:
            raise FormatError(f"{reason}: celeiro does not decode this. Read it with plain h5py.")
        for step in self.filters:
            if step.number == Number.JPEG:
                filters.check_chunk_shape(step.options, self.shape, self.dtype)
        self._plans[0] = self._plan(0)

    def decode(self, data: Data, out: npt.NDArray[Any], mask: int = 0) -> None:
        """Fill `out`, C-contiguous, of `shape` and `dtype`, from the bytes of one chunk.

        Parameters
        ----------
        data
            As they stand in the file.
        out
            After a FormatError it may hold anything.
        mask
            HDF5's of this chunk: where bit k is set, filter k was not applied. HDF5 reads such a
            chunk also where the filter is mandatory.
        """
        self.fill(data, self._room(out), mask)

    def fill(self, data: Data, room: compressors.Room, mask: int = 0) -> None:
        """As `decode`, into bytes that the caller knows to be right: a hot loop checks them once.

        `room` is uint8, of one axis, C-contiguous, writable, and of exactly the chunk's size.
        """
        plan = self._plans.get(mask) or self._remembered(mask)
        try:
            for step in plan.steps:
                data = step(data)
            if not len(data):
                raise ValueError("no bytes")
            found = plan.last(data, room)
        except compressors.DAMAGE as error:
            raise FormatError(
                f"a chunk of {self._name(mask)} that does not decode ({error}): "
                "the file is damaged."
            ) from error
        if found != room.size:
            raise FormatError(
                f"a chunk of {self._name(mask)} that holds {found} bytes, wanted {room.size}: "
                "the file is damaged."
            )

    def fill_all(self, data: Sequence[Data], room: Sequence[compressors.Room]) -> bool:
        """As `fill` of each, where that is one call of a codec; False where it is not, or fails.

        What `room` then holds is undefined: `fill` says which is damaged.
        """
        match self.filters:
            case (Filter(Number.JPEG, options=(_, width, height, color, *_)),):
                return filters.decode_pictures(data, (height, width, 1 + 2 * color), room)
            case _:
                return False

    def _room(self, out: npt.NDArray[Any]) -> compressors.Room:
        """The bytes of `out`; the libraries below would write to read-only memory."""
        if out.shape != self.shape or out.dtype != self.dtype:
            raise RowError(
                f"room for {out.shape} {out.dtype}, wanted {self.shape} {self.dtype} of a chunk."
            )
        flags = out.flags
        if not (flags.c_contiguous and flags.writeable):
            raise RowError("room for a chunk must be C-contiguous and writable: pass a copy.")
        room = out.reshape(-1)
        return room if room.dtype.char == "B" else room.view(np.uint8)

    def _name(self, mask: int) -> str:
        return ", ".join(str(step) for step in _applied(self.filters, mask)) or "plain values"

    def _remembered(self, mask: int) -> _Plan:
        """The plan for a mask; a file that has another in each chunk does not fill the memory."""
        plan = self._plan(mask)
        if len(self._plans) < 64:
            self._plans[mask] = plan
        return plan

    def _plan(self, mask: int) -> _Plan:
        """How to undo the filters that were applied, the last one first."""
        whole = self.dtype.itemsize * math.prod(self.shape)
        most = whole + whole // 4 + 4096
        size: int | None = whole
        steps: list[_Step] = []
        last: Decode = compressors.copy
        for place, step in enumerate(_applied(self.filters, mask)):
            if step.number == Number.FLETCHER32:
                steps.insert(0, compressors.check_fletcher32)
                size = None if size is None else size + 4
                continue
            decode = _decode_of(step)
            if place:
                steps.insert(0, partial(_through, decode, size, most))
            else:
                last = decode
            if step.number != Number.SHUFFLE and not _is_bare(step):
                size = None
        return _Plan(tuple(steps), last)


def _applied(pipeline: tuple[Filter, ...], mask: int) -> list[Filter]:
    """The filters that change something; shuffling single bytes does not."""
    return [
        step
        for place, step in enumerate(pipeline)
        if not mask >> place & 1 and not (step.number == Number.SHUFFLE and step.options[0] == 1)
    ]


def _is_bare(step: Filter) -> bool:
    """Whether it keeps the size: Bitshuffle without a compressor."""
    return step.number == Number.BITSHUFFLE and not any(step.options[4:5])


def _decode_of(step: Filter) -> Decode:
    match step:
        case Filter(Number.SHUFFLE, options=(itemsize, *_)):
            return partial(compressors.unshuffle, itemsize)
        case Filter(Number.SZIP, options=options):
            return partial(compressors.szip, options)
        case Filter(Number.BITSHUFFLE, options=options):
            return partial(compressors.bitshuffle, options)
        case Filter(Number.JPEG, options=(_, width, height, color, *_)):
            return partial(compressors.jpeg, (height, width, 1 + 2 * color))
        case _:
            return _COMPRESSORS[step.number]


def _through(decode: Decode, size: int | None, most: int, data: Data) -> Data:
    """Decode into memory of its own, of `size` bytes where that is known."""
    if not len(data):
        raise ValueError("no bytes")
    room = np.empty(most if size is None else size, np.uint8)
    found = decode(data, room)
    if size is not None and found != size:
        raise ValueError(f"{found} bytes between two filters, wanted {size}")
    return room[:found].data
