"""Bytes of one stored sample ↔ array: one codec a store, all of one shape.

    array --encode--> bytes on disk --decode--> array

`pixels` and `lossless` give back exactly what went in; `jpeg` gives what libjpeg-turbo
decodes, bit for bit what plain h5py and ``cv2.imdecode`` give. A codec is made once for a
data set and used by many threads at once.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import simplejpeg

from celeiro.errors import FormatError, OptionError, RowError
from celeiro.format import bfloat16, filters, jpeg
from celeiro.format.bfloat16 import BFLOAT16, BITS, StoredType

if TYPE_CHECKING:
    import numpy.typing as npt
    from typing_extensions import Buffer

Compressor = Literal["zstd", "gzip"]

BLOSC = 32001
"""HDF5's registered number of the Blosc 1 filter."""
GZIP = 1
"""HDF5's own deflate filter; written with its byte shuffle, as ``h5py`` does."""

# Blosc 1 counts in signed 32 bits and adds up to 16 bytes.
_BLOSC_MOST = 2**31 - 1 - 16
# HDF5 1.10 keeps chunks below 4 GiB; deflate adds less than a thousandth to what it cannot shrink.
_GZIP_MOST = 2**32 - 2**22
_BLOSC_ZSTD = 4
"""Number of the compressor in a Blosc header; in the filter's options Zstd is 5."""


class Codec(Protocol):
    """What packing and reading need of a store."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of one sample's values."""
        ...

    @property
    def stored(self) -> StoredType:
        """Type of the data set's values: `dtype`, but for bfloat16."""
        ...

    def encode(self, sample: npt.NDArray[Any]) -> Buffer:
        """The bytes that stand on disk for a C-contiguous sample of `shape` and `dtype`."""
        ...

    def decode(self, data: bytes) -> npt.NDArray[Any]:
        """The sample again; FormatError where the bytes do not hold one of this shape."""
        ...


@dataclass(frozen=True, slots=True)
class PixelCodec:
    """The values as they stand in memory, little-endian, C order."""

    shape: tuple[int, ...]
    """Shape of one sample."""
    dtype: np.dtype[Any]
    """Type of one sample's values."""

    def __post_init__(self) -> None:
        """Refuse what the format does not hold."""
        _check_values(self)

    @property
    def stored(self) -> StoredType:
        """As they are in memory."""
        return self.dtype

    def encode(self, sample: npt.NDArray[Any]) -> Buffer:
        """The sample's own memory: nothing is copied."""
        return sample.data

    def decode(self, data: bytes) -> npt.NDArray[Any]:
        """A read-only view of the bytes."""
        return _array(self, data)


@dataclass(frozen=True, slots=True)
class JpegCodec:
    """One baseline JPEG a sample, as HDF5 filter 32019 stores it."""

    shape: tuple[int, ...]
    """(H, W, 3) RGB or (H, W, 1) grey."""
    quality: int = 90
    """libjpeg's quality, 1 ≤ q ≤ 100."""
    subsampling: jpeg.Subsampling = "420"
    """Of the colour planes: 4:2:0 halves them both ways."""
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.uint8))
    """Always uint8."""

    def __post_init__(self) -> None:
        """Refuse what a JPEG cannot hold."""
        if len(self.shape) != 3 or self.shape[2] not in (1, 3) or self.dtype != np.uint8:
            raise OptionError(
                f"store 'jpeg' holds uint8 pictures of shape (H, W, 3) or (H, W, 1); these are "
                f"{self.dtype} {self.shape}. Choose --store lossless or --store pixels."
            )
        if max(self.shape[:2]) > 65500:
            raise OptionError(
                f"store 'jpeg' holds pictures of at most 65500 pixels a side; these are "
                f"{self.shape[0]}x{self.shape[1]}. Choose --store lossless."
            )
        # As the filter will, when the data set is made: here nothing has been packed yet.
        filters.jpeg_options(self.quality, self.shape[1], self.shape[0], self._color)

    @property
    def stored(self) -> StoredType:
        """As they are in memory."""
        return self.dtype

    @property
    def grey(self) -> bool:
        """Whether a sample has one channel."""
        return self.shape[2] == 1

    @property
    def _color(self) -> int:
        return filters.MONO if self.grey else filters.RGB

    def encode(self, sample: npt.NDArray[Any]) -> Buffer:
        """A JPEG; the same bytes each time for the same pixels."""
        return jpeg.encode(sample, self.quality, self.subsampling)

    def decode(self, data: bytes) -> npt.NDArray[Any]:
        """The pixels, by the accurate DCT and the smooth upsampling."""
        try:
            height, width, kind, _ = simplejpeg.decode_jpeg_header(data)
        except (KeyError, ValueError) as error:  # KeyError: a subsampling without a name there
            raise FormatError(f"no JPEG ({error}): the file is damaged.") from error
        # Looked at before decoding: what a header promises is allocated.
        if (height, width) != self.shape[:2] or kind not in self._kinds:
            raise FormatError(
                f"a JPEG of {height}x{width} {kind}, wanted {self.shape}: the file is damaged."
            )
        try:
            image: npt.NDArray[Any] = simplejpeg.decode_jpeg(data, "GRAY" if self.grey else "RGB")
        except ValueError as error:
            raise FormatError(
                f"a JPEG that does not decode ({error}): the file is damaged."
            ) from error
        return image.reshape(self.shape)

    @property
    def _kinds(self) -> tuple[str, ...]:
        return ("Gray",) if self.grey else ("YCbCr", "RGB")


@dataclass(frozen=True, slots=True)
class LosslessCodec:
    """One compressed chunk a sample: Blosc (Zstd, bitshuffle) or gzip (byte shuffle)."""

    shape: tuple[int, ...]
    """Shape of one sample."""
    dtype: np.dtype[Any]
    """Type of one sample's values."""
    compressor: Compressor = "zstd"
    """`zstd` is smaller and six times faster; `gzip` needs no plugin to read."""
    level: int = 5
    """1 ≤ level ≤ 9."""

    def __post_init__(self) -> None:
        """Refuse what the format or the compressor does not hold."""
        _check_values(self)
        most = _BLOSC_MOST if self.compressor == "zstd" else _GZIP_MOST
        if _size(self) > most:
            raise OptionError(
                f"samples of {_size(self):,} bytes ({self.shape} {self.dtype}): store 'lossless' "
                f"with {self.compressor} holds at most {most:,} bytes a sample. Cut them in "
                "pieces, or choose --store pixels."
            )

    @property
    def stored(self) -> StoredType:
        """As they are in memory."""
        return self.dtype

    def encode(self, sample: npt.NDArray[Any]) -> Buffer:
        """A chunk. One Blosc thread: with two the bytes differ from run to run."""
        codecs = _imagecodecs()
        if self.compressor == "zstd":
            data: bytes = codecs.blosc_encode(
                sample,
                level=self.level,
                compressor="zstd",
                shuffle="bitshuffle",
                typesize=self.dtype.itemsize,
                numthreads=1,
            )
            return data
        shuffled = _shuffle(np.ascontiguousarray(sample))
        # Deflate of Python's own zlib: slower than its forks, but everywhere.
        import zlib

        return zlib.compress(shuffled, self.level)

    def decode(self, data: bytes) -> npt.NDArray[Any]:
        """The sample again, into memory of exactly its size."""
        size = _size(self)
        try:
            if self.compressor == "zstd":
                _check_blosc(data, size)
                raw = _imagecodecs().blosc_decode(data, out=size, numthreads=1)
            else:
                raw = _unshuffle(_inflate(data, size), self.dtype.itemsize)
        except (RuntimeError, ValueError) as error:
            raise FormatError(
                f"a chunk that does not decompress ({error}): the file is damaged."
            ) from error
        return _array(self, raw)


@dataclass(frozen=True, slots=True)
class Bfloat16Codec:
    """Floats of which bfloat16 holds every one, by the codec that keeps their bits."""

    bits: PixelCodec | LosslessCodec
    """Of the same shape, and uint16."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.bits.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Samples are float32, as h5py gives them."""
        return np.dtype("<f4")

    @property
    def stored(self) -> StoredType:
        """In the file they are not."""
        return BFLOAT16

    def encode(self, sample: npt.NDArray[Any]) -> Buffer:
        """The bits; RowError where a value would have to be rounded, which is the caller's."""
        at = bfloat16.first_inexact(sample)
        if at is not None:
            raise RowError(
                f"the value {sample[at].item()!r} at {at} is none of bfloat16. Round it first: "
                "celeiro.format.bfloat16.rounded."
            )
        return self.bits.encode(np.asarray(bfloat16.bits_of(sample), BITS))

    def decode(self, data: bytes) -> npt.NDArray[Any]:
        """The values of the bits, in new memory."""
        return bfloat16.values_of(self.bits.decode(data))


def _size(codec: Codec) -> int:
    """Bytes of one decoded sample."""
    return codec.dtype.itemsize * math.prod(codec.shape)


def _check_values(codec: Codec) -> None:
    """Refuse types that differ from machine to machine, and samples without a value."""
    kind, itemsize = codec.dtype.kind, codec.dtype.itemsize
    if kind not in "buifc" or itemsize > (16 if kind == "c" else 8):
        raise OptionError(
            f"values of type {codec.dtype}: the format holds bool, whole numbers of 8 to 64 bits, "
            "floats of 16 to 64 and complex numbers of 64 and 128. Convert them with .astype."
        )
    if not _size(codec):
        raise OptionError(f"samples of shape {codec.shape} hold no value: nothing to pack.")


def _array(codec: Codec, data: bytes) -> npt.NDArray[Any]:
    if len(data) != _size(codec):
        raise FormatError(
            f"a sample of {len(data)} bytes, wanted {_size(codec)} for {codec.shape} "
            f"{codec.dtype}: the file is damaged."
        )
    return np.frombuffer(data, codec.dtype).reshape(codec.shape)


def _check_blosc(data: bytes, size: int) -> None:
    """ValueError where a Blosc header lies about what it holds.

    The decoder trusts it: a chunk that claims to be longer than it is crashes c-blosc 1.21.
    """
    if len(data) < 16:
        raise ValueError(f"{len(data)} bytes are too few for a Blosc chunk")
    version, _, flags, _, plain, _, stored = struct.unpack_from("<BBBBIII", data)
    if version != 2 or flags >> 5 != _BLOSC_ZSTD:
        raise ValueError(f"a Blosc header of version {version}, compressor {flags >> 5}")
    if plain != size or stored != len(data):
        raise ValueError(
            f"a Blosc header that says {stored} bytes for {plain}; "
            f"there are {len(data)}, wanted for {size}"
        )


def _inflate(data: bytes, size: int) -> bytes:
    """At most `size` bytes of a zlib stream; ValueError where it holds more or is cut."""
    import zlib

    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(data, size)
        # The stream's own checksum stands after the last byte: give it room to be read.
        rest = stream.decompress(stream.unconsumed_tail, 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if rest or not stream.eof:
        raise ValueError(f"the chunk holds more or less than {size} bytes")
    return raw


def _shuffle(sample: npt.NDArray[Any]) -> bytes:
    """HDF5's shuffle: all first bytes of the values, then all second bytes, and so on."""
    return sample.reshape(-1).view(np.uint8).reshape(-1, sample.itemsize).T.tobytes()


def _unshuffle(data: bytes, itemsize: int) -> bytes:
    return np.frombuffer(data, np.uint8).reshape(itemsize, -1).T.tobytes()


@cache
def _imagecodecs() -> Any:
    import imagecodecs

    return imagecodecs


FilterPipeline = tuple[tuple[int, tuple[int, ...] | None], ...]
"""HDF5 filters in the order in which they are applied: (number, cd_values)."""


def filter_pipeline(codec: Codec) -> FilterPipeline:
    """The HDF5 filters that undo what `codec` encodes; empty for `pixels`."""
    match codec:
        case JpegCodec():
            height, width, _ = codec.shape
            options = filters.jpeg_options(codec.quality, width, height, codec._color)
            return ((filters.JPEG, options),)
        case LosslessCodec(compressor="zstd"):
            # Slots 0..3 (versions, type size, chunk size) are filled in by the filter itself;
            # then level, shuffle (2 = bit), compressor (5 = Zstd).
            return ((BLOSC, (0, 0, 0, 0, codec.level, 2, 5)),)
        case LosslessCodec():
            return ((2, None), (GZIP, (codec.level,)))
        case Bfloat16Codec():
            return filter_pipeline(codec.bits)
        case _:
            return ()
