"""bfloat16: the first 16 bits of a float32, a type that HDF5 can hold and NumPy cannot.

    float32     s eeeeeeee mmmmmmm mmmmmmmmmmmmmmmm
    bfloat16    s eeeeeeee mmmmmmm                     15 sign, 14..7 exponent (bias 127), 6..0

The range of float32 with three digits, in half of the bytes. In a file it is an HDF5 float of
16 bits, which h5py gives as float32; in memory celeiro has float32 too, or the bits as uint16.
The invariant: from bits to float32 is exact, and back again gives the same bits; only
`bits_of` and `rounded` round, to the nearest and of two the even one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import h5py
import numpy as np
from h5py import h5t

from celeiro.errors import OptionError, RowError

if TYPE_CHECKING:
    import numpy.typing as npt

NAME = "bfloat16"

BITS = np.dtype("<u2")
"""Type of the bits as they stand in a file of ours."""

# Half way between the largest value and what would come next: 2**128. From here on it is infinite.
_TOO_LARGE = float((2 - 2.0**-8) * 2.0**127)
_DROPPED = 16
_HALF = np.uint32(0x8000)
_LOW = np.uint32(0xFFFF)
_QUIET = np.uint16(0x0040)
"""A bit of a NaN's mantissa: without any it would be an infinity."""


@dataclass(frozen=True, slots=True)
class Bfloat16:
    """What stands where a NumPy type would, for NumPy has none for these values."""

    kind: ClassVar[str] = "f"
    """As of NumPy's floats."""
    itemsize: ClassVar[int] = 2
    """Bytes a value."""

    def newbyteorder(self, order: Any = None) -> Bfloat16:
        """The same: it is little-endian in files, and in no other order anywhere."""
        del order
        return self

    def __str__(self) -> str:
        """Its name."""
        return NAME


BFLOAT16 = Bfloat16()
"""The type itself."""

StoredType = np.dtype[Any] | Bfloat16
"""Type of values as they stand in a file."""


def type_of(wanted: Any) -> StoredType:
    """A type as somebody named it: `BFLOAT16`, ``"bfloat16"``, ml_dtypes' own, or NumPy's.

    Raises
    ------
    OptionError
        It is none of those.

    Examples
    --------
    >>> type_of("bfloat16"), type_of("uint8")
    (Bfloat16(), dtype('uint8'))
    """
    if isinstance(wanted, Bfloat16) or (isinstance(wanted, str) and wanted == NAME):
        return BFLOAT16
    try:
        found: np.dtype[Any] = np.dtype(wanted)
    except (TypeError, ValueError):
        raise OptionError(f"dtype {wanted!r}: wanted a type such as uint8 or float32.") from None
    # That of ml_dtypes, which comes with JAX: known by its name, for we need not have it.
    return BFLOAT16 if found.type.__name__ == NAME and found.itemsize == 2 else found


def spelled(kind: StoredType) -> str:
    """A type as text from which `type_of` makes it again: ``<f4``, ``bfloat16``."""
    return str(kind) if isinstance(kind, Bfloat16) else kind.str


# In a file


@cache
def h5_type() -> h5t.TypeID:
    """The type as our files have it: 16 bits, little-endian, 15/7/8/0/7, bias 127."""
    return _h5_type(h5t.IEEE_F32LE)


def bits_type(kind: h5t.TypeID) -> np.dtype[Any] | None:
    """Type of the bits where values of an HDF5 type are bfloat16; None where they are not.

    Size, precision, every field, bias and normalisation are compared, by HDF5 itself: any other
    float, such as of another bias, is not ours to read.
    """
    if not isinstance(kind, h5t.TypeFloatID) or kind.get_size() != 2:
        return None
    for base, bits in ((h5t.IEEE_F32LE, "<u2"), (h5t.IEEE_F32BE, ">u2")):
        if kind.equal(_h5_type(base)):
            return np.dtype(bits)
    return None


def is_stored(data: h5py.Dataset) -> bool:
    """Whether the values of a data set are bfloat16."""
    return bits_type(data.id.get_type()) is not None


def _h5_type(base: h5t.TypeFloatID) -> h5t.TypeID:
    made = base.copy()
    # In this order: fields must lie within the precision, and that within the size.
    made.set_fields(15, 7, 8, 0, 7)
    made.set_precision(16)
    made.set_size(2)
    made.set_ebias(127)
    made.lock()
    return made


# In memory


def values_of(
    bits: npt.NDArray[np.uint16], out: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """The values of some bits, exactly: into `out`, C-contiguous, or new memory.

    Examples
    --------
    >>> values_of(np.array([0x3F80, 0xC000, 0x7F7F], np.uint16)).tolist()
    [1.0, -2.0, 3.3895313892515355e+38]
    """
    made = np.empty(bits.shape, np.float32) if out is None else out
    np.left_shift(bits, _DROPPED, out=made.view(np.uint32), dtype=np.uint32)
    return made


def bits_of(values: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """The bits of floats, each rounded to the nearest, of two to the even one.

    What is too large becomes infinite, which `first_overflow` tells; what is no number stays none,
    with its sign. Of float64 the value itself is rounded, and not first to float32.

    Examples
    --------
    >>> [hex(bits) for bits in bits_of(np.array([1.0, 1.00390625, 1.01171875, -0.0]))]
    ['0x3f80', '0x3f80', '0x3f82', '0x8000']
    """
    if type_of(values.dtype) is BFLOAT16:
        return np.asarray(values, order="C").view(np.uint16)
    single = _single(values).reshape(-1)
    words = single.view(np.uint32)
    odd = words >> np.uint32(_DROPPED) & np.uint32(1)
    bits = (words + (_HALF - np.uint32(1)) + odd >> np.uint32(_DROPPED)).astype(np.uint16)
    none = np.isnan(single)
    if none.any():
        bits[none] = (words[none] >> np.uint32(_DROPPED)).astype(np.uint16) | _QUIET
    return bits.reshape(values.shape)


def rounded(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Floats as a file with bfloat16 gives them again, each rounded as by `bits_of`.

    Examples
    --------
    >>> rounded(np.array([0.1, 257.0, 1e39])).tolist()
    [0.10009765625, 256.0, inf]
    """
    return values_of(bits_of(values))


def first_overflow(values: npt.NDArray[Any]) -> tuple[int, ...] | None:
    """Where the first number stands that would become infinite; None where none would.

    Examples
    --------
    >>> first_overflow(np.array([[1.0, np.inf], [3.4e38, np.nan]], np.float32))
    (1, 0)
    """
    return _first(np.isfinite(values) & (np.abs(values) >= _TOO_LARGE))


def first_inexact(values: npt.NDArray[Any]) -> tuple[int, ...] | None:
    """Where the first value stands that bfloat16 does not hold as it is; None where it holds all.

    Examples
    --------
    >>> first_inexact(np.array([0.5, np.nan, 256.0, 257.0], np.float32))
    (3,)
    """
    if type_of(values.dtype) is BFLOAT16:
        return None
    if values.dtype == np.float32:
        words = np.asarray(values, order="C").view(np.uint32)
        if not (words & _LOW).any():  # as it mostly is: 1,280 values in 3 µs
            return None
    return _first((rounded(values) != values) & ~np.isnan(values))


def _first(where: npt.NDArray[np.bool_]) -> tuple[int, ...] | None:
    if not where.any():
        return None
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(where)), np.shape(where)))


def _single(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Floats as float32, C-contiguous, such that rounding again is rounding once.

    A float64 a little above the middle of two values of bfloat16 may be that middle as float32,
    and would go to the even one. It is moved to the side that it comes from.
    """
    if values.dtype.kind != "f":
        raise RowError(f"values of {values.dtype}, wanted floats. Convert them with .astype.")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        single = np.array(values, np.float32, order="C", copy=None)
        if values.dtype.itemsize <= 4:
            return single
        words = single.view(np.uint32)
        moved = (words & _LOW == _HALF) & (single != values)
        if moved.any():
            outwards = np.abs(values) > np.abs(single)
            words[moved & outwards] += np.uint32(1)
            words[moved & ~outwards] -= np.uint32(1)
    return single
