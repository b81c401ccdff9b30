"""Looking into an HDF5 file that may be hostile: what is small, plain and inside it.

The invariant: no chunk is decoded (HDF5 itself crashes on chunks that decode to another size than
their own), no link is followed that may lead out of the file or in a circle, and whatever a size
promises, memory stays bounded.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from celeiro.errors import CeleiroError, FormatError
from celeiro.format import bfloat16

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_TEXT = 1 << 20
"""Bytes of a text that is read whole."""

# Values that are in memory at once while a data set is gone through.
_BLOCK = 1 << 20


@contextlib.contextmanager
def reading(path: Path) -> Iterator[h5py.File]:
    """The file, open; whatever HDF5 says of it within the block becomes one of our errors.

    Raises
    ------
    FormatError
        It is not there, no HDF5 file, not ours to read, or damaged.
    """
    if not path.is_file():
        what = "this is a folder" if path.is_dir() else "no such file"
        raise FormatError(f"{path}: {what}. Give the name of an HDF5 file.")
    try:
        if not h5py.is_hdf5(path):
            raise FormatError(f"{path}: no HDF5 file; it begins with {beginning(path)!r}.")
        with open_file(path) as file:
            yield file
    except FormatError as error:
        if str(path) in str(error):
            raise
        raise FormatError(f"{path}: {error}") from error  # from where no path is known
    except (CeleiroError, MemoryError):
        raise
    except PermissionError as error:
        raise FormatError(
            f"{path}: cannot be read ({error.strerror}). Ask its owner for permission."
        ) from error
    except Exception as error:  # whatever is wrong with a file, h5py has another error for it
        raise FormatError(
            f"{path}: damaged, HDF5 says: {error}. Look for a copy, or pack it again."
        ) from error


def open_file(path: Path) -> h5py.File:
    """Open for reading, without a lock wherever HDF5 lets us."""
    try:
        return h5py.File(path, "r", locking=False)
    except OSError:
        # This process may have it open with locks: HDF5 wants both alike.
        with contextlib.suppress(OSError):
            return h5py.File(path, "r")
        raise


def beginning(path: Path) -> bytes:
    """The first eight bytes, to be shown to somebody who took another file for an HDF5 file."""
    with path.open("rb") as file:
        return file.read(8)


def found(file: h5py.File, path: str) -> h5py.HLObject | None:
    """What stands at a path of the format, in this very file."""
    at: h5py.HLObject | None = file
    for name in path.split("/"):
        if not isinstance(at, h5py.Group):
            return None
        at = opened(at, name.encode("utf-8", "surrogateescape"))
    return at


def is_named(file: h5py.File, path: str) -> bool:
    """Whether a group of this very file has a link of that name, wherever it leads."""
    above, _, name = path.rpartition("/")
    group = found(file, above) if above else file
    if group is None and above:
        return is_named(file, above)
    return isinstance(group, h5py.Group) and bool(
        group.id.links.exists(name.encode("utf-8", "surrogateescape"))
    )


def opened(group: h5py.Group, name: bytes) -> h5py.HLObject | None:
    """What a name stands for; None if it is damaged, or a soft or external link.

    Those two are named by HDF5's tools and not followed by us: they may lead out of the file.
    """
    try:
        if group.id.links.get_info(name).type != h5py.h5l.TYPE_HARD:
            return None
        return group[name]
    except (KeyError, OSError, RuntimeError, TypeError, ValueError):
        return None


def names_in(group: h5py.Group, most: int) -> list[bytes]:
    """The first names in a group; of a million links, no more than `most` are looked at.

    Sorted, if they are all: HDF5's own order of a large group would cost 1.5 s of 300,000 links.
    """
    names: list[bytes] = []

    def note(name: bytes) -> bool | None:
        names.append(bytes(name))
        return True if len(names) >= most else None

    if most > 0:
        group.id.links.iterate(note, order=h5py.h5.ITER_NATIVE)
    return sorted(names)


def plain(file: h5py.File, name: str, kinds: str, axes: int) -> h5py.Dataset | None:
    """A data set whose bytes stand in the file as they are, or None."""
    data = found(file, name)
    if not isinstance(data, h5py.Dataset) or len(data.shape or ()) != axes:
        return None
    dtype = dtype_of(data)
    if dtype is None or dtype.kind not in kinds:
        return None
    plist = data.id.get_create_plist()
    inside = plist.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
    if not inside or plist.get_external_count():
        return None
    # A shape may promise anything; without storage it would be read as that many zeros.
    return data if data.id.get_storage_size() == raw_bytes(data) else None


def blocks(data: h5py.Dataset) -> Iterator[Any]:
    """A data set, some rows at a time."""
    rows = max(1, _BLOCK // max(1, math.prod(data.shape[1:])))
    return (data[at : at + rows] for at in range(0, len(data), rows))


def dtype_of(data: h5py.Dataset) -> np.dtype[Any] | None:
    """Type of the values; None where NumPy has none for it."""
    try:
        dtype: np.dtype[Any] = data.dtype
    except (TypeError, ValueError):
        return None
    return dtype


def type_name(data: h5py.Dataset) -> str:
    """Name of the type of the values as they stand in the file; "None" where NumPy has none."""
    return bfloat16.NAME if bfloat16.is_stored(data) else str(dtype_of(data))


def raw_bytes(data: h5py.Dataset) -> int:
    """Bytes of all values, as the shape promises them."""
    if data.shape is None:
        return 0
    return int(math.prod(data.shape) * data.id.get_type().get_size())


def text(file: h5py.File, name: str, path: Path) -> str:
    """One text of the root group; FormatError where there is none."""
    value = attribute(file, name)
    if not isinstance(value, str):
        raise FormatError(
            f"{path}: the attribute {name!r} is {value!r}, wanted text: it is damaged."
        )
    return value


def attribute(file: h5py.File, name: str) -> str | int | None:
    """One text or whole number of the root group; None for anything else, however large."""
    if name not in file.attrs:
        return None
    stored = file.attrs.get_id(name)
    if stored.shape != () or stored.get_storage_size() > MOST_TEXT:
        return None
    kind = stored.get_type()
    if isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str():
        return None  # HDF5 takes whatever length the file claims, and can be sent in circles
    value = file.attrs[name]
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, bytes):
        return printable(value)
    return value if isinstance(value, str) and len(value) <= MOST_TEXT else None


def printable(name: bytes) -> str:
    """Bytes of the file as text that can be printed and sent as JSON."""
    return name.decode("utf-8", "backslashreplace")
