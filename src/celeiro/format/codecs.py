"""Bytes of one stored sample ↔ array: one codec a store, all of one shape.

    array --encode--> bytes on disk --decode--> array

`pixels` and `lossless` give back exactly what went in; `jpeg` gives what libjpeg-turbo
decodes, bit for bit what plain h5py and ``cv2.imdecode`` give. A codec is made once for a
data set and used by many threads at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import simplejpeg

from celeiro.errors import FormatError, OptionError
from celeiro.format import filters

if TYPE_CHECKING:
    import numpy.typing as npt
    from typing_extensions import Buffer

Subsampling = Literal["444", "422", "420"]
Compressor = Literal["zstd", "gzip"]

BLOSC = 32001
"""HDF5's registered number of the Blosc 1 filter."""
GZIP = 1
"""HDF5's own deflate filter; written with its byte shuffle, as ``h5py`` does."""


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

    def encode(self, sample: npt.NDArray[Any]) -> Buffer:
        """The sample's own memory: nothing is copied."""
        return sample.data

    def decode(self, data: bytes) -> npt.NDArray[Any]:
        """A read-only view of the bytes."""
        if len(data) != self.dtype.itemsize * int(np.prod(self.shape)):
            raise FormatError(
                f"a sample of {len(data)} bytes, wanted {self.dtype.itemsize * np.prod(self.shape)}"
                f" for {self.shape} {self.dtype}: the file is damaged."
            )
        return np.frombuffer(data, self.dtype).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class JpegCodec:
    """One baseline JPEG a sample, as HDF5 filter 32019 stores it."""

    shape: tuple[int, ...]
    """(H, W, 3) RGB or (H, W, 1) grey."""
    quality: int = 90
    """libjpeg's quality, 1 ≤ q ≤ 100."""
    subsampling: Subsampling = "420"
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

    @property
    def grey(self) -> bool:
        """Whether a sample has one channel."""
        return self.shape[2] == 1

    def encode(self, sample: npt.NDArray[Any]) -> Buffer:
        """A JPEG; the same bytes each time for the same pixels."""
        kind = "GRAY" if self.grey else "RGB"
        sampling = "Gray" if self.grey else self.subsampling
        data: bytes = simplejpeg.encode_jpeg(sample, self.quality, kind, sampling, False)
        return data

    def decode(self, data: bytes) -> npt.NDArray[Any]:
        """The pixels, by the accurate DCT and the smooth upsampling."""
        try:
            height, width, kind, _ = simplejpeg.decode_jpeg_header(data)
            if (height, width) != self.shape[:2] or (kind == "Gray") != self.grey:
                raise FormatError(
                    f"a JPEG of {height}x{width} {kind}, wanted {self.shape}: the file is damaged."
                )
            image: npt.NDArray[Any] = simplejpeg.decode_jpeg(data, "GRAY" if self.grey else "RGB")
        except ValueError as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"a JPEG that does not decode ({error}).") from error
        return image.reshape(self.shape)


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
        # Deflate of zlib itself: the same bytes on every machine, unlike its faster forks.
        import zlib

        return zlib.compress(shuffled, self.level)

    def decode(self, data: bytes) -> npt.NDArray[Any]:
        """The sample again, into memory of exactly its size."""
        size = self.dtype.itemsize * int(np.prod(self.shape))
        try:
            if self.compressor == "zstd":
                raw = _imagecodecs().blosc_decode(data, out=size, numthreads=1)
            else:
                raw = _unshuffle(_inflate(data, size), self.dtype.itemsize)
        except (RuntimeError, ValueError) as error:
            raise FormatError(f"a chunk that does not decompress ({error}).") from error
        if len(raw) != size:
            raise FormatError(
                f"a chunk of {len(raw)} bytes, wanted {size} for {self.shape} {self.dtype}: "
                "the file is damaged."
            )
        return np.frombuffer(raw, self.dtype).reshape(self.shape)


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
            color = filters.MONO if codec.grey else filters.RGB
            return ((filters.JPEG, filters.jpeg_options(codec.quality, width, height, color)),)
        case LosslessCodec(compressor="zstd"):
            # Slots 0..3 (versions, type size, chunk size) are filled in by the filter itself;
            # then level, shuffle (2 = bit), compressor (5 = Zstd).
            return ((BLOSC, (0, 0, 0, 0, codec.level, 2, 5)),)
        case LosslessCodec():
            return ((2, None), (GZIP, (codec.level,)))
        case _:
            return ()
