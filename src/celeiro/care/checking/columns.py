"""The plain data sets of a file of ours: is each what the format page says, to the last byte.

The invariant: one fault does not hide another. Whatever a look at one thing raises is a fault of
that thing, and the next one is looked at.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from celeiro.errors import FormatError
from celeiro.format import layout
from celeiro.format.checksum import crc32c
from celeiro.format.names import Names
from celeiro.reading import hdf5
from celeiro.reading.columns import Texts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from celeiro.care.checking.verdict import Findings
    from celeiro.storage.local import File

NUMBERS = ("<i8", "<f8", "|u1")
"""Types of labels and fields, as NumPy spells them."""

SMALL_FLOATS = ("<f4", "<f2")
"""Further ones of fields with a row of numbers a sample, such as the layers of a network."""

# Bytes of a column that are read at once for its checksum.
_PIECE = 1 << 20


class Columns:
    """A look at one file: its columns, each with its checksum."""

    def __init__(
        self, file: h5py.File, path: Path, disk: File, found: Findings, *, count: int = 0
    ) -> None:
        self.file = file
        self.path = path
        self.disk = disk
        self.found = found
        self.count = count
        """Samples that there should be."""
        self.sound: dict[str, npt.NDArray[Any]] = {}
        """Every column that is sound, by path."""
        self.places: list[tuple[str, int, int]] = []
        """Name, first byte and length of everything that was looked at."""

    @contextlib.contextmanager
    def about(self, name: str) -> Iterator[None]:
        """Whatever is raised within is a fault of `name`."""
        try:
            yield
        except MemoryError:
            raise
        except FormatError as error:
            self.found.add(name, without(str(error), self.path))
        except Exception as error:  # h5py has another error for everything that may be wrong
            self.found.add(name, f"HDF5 cannot read it: {error}")

    def column(
        self, name: str, kinds: tuple[str, ...], shape: tuple[int | None, ...], *,
        needed: bool = False,
    ) -> npt.NDArray[Any] | None:  # fmt: skip
        """The values of a plain data set; None where it is not there, or a fault."""
        data = self.look(name)
        if data is None:
            if needed:
                self.found.add(name, "it is not there")
            return None
        if not isinstance(data, h5py.Dataset):
            self.found.add(name, "no data set")
            return None
        problem = _unlike(data, kinds, shape)
        if problem:
            self.found.add(name, problem)
            return None
        crc = number(data, layout.ATTR_CRC, np.uint32)
        if crc is None:
            self.found.add(name, f"it has no checksum ({layout.ATTR_CRC!r}, uint32)")
        values = self._load(data, name)
        if values is None or crc is None:
            return None
        if _crc_of(values) != crc:
            self.found.add(
                name,
                "its bytes are not those of its checksum: damaged, or another program wrote to it",
            )
            return None
        self.sound[name] = values
        return values

    def _load(self, data: h5py.Dataset, name: str) -> npt.NDArray[Any] | None:
        """All values, from the disk itself."""
        values = np.empty(data.shape, np.dtype(data.dtype.str))
        if data.id.get_create_plist().get_layout() == h5py.h5d.COMPACT:
            return np.asarray(data[()], values.dtype).reshape(values.shape)
        if not values.nbytes:
            return values
        base = self.contiguous(data, name)
        if base is None or base + values.nbytes > self.disk.size:
            return None
        self.disk.read_into(values.reshape(-1).view(np.uint8).data, base)
        self.places.append((name, base, values.nbytes))
        return values

    def look(self, name: str) -> Any:
        """What stands under a name of the format; None where nothing does, or a fault."""
        at: Any = self.file
        for part in name.split("/"):
            raw = part.encode("utf-8", "surrogateescape")
            if not isinstance(at, h5py.Group) or not at.id.links.exists(raw):
                return None
            if at.id.links.get_info(raw).type != h5py.h5l.TYPE_HARD:
                self.found.add(name, "a soft or external link, wanted the thing itself")
                return None
            try:
                at = at[raw]
            except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
                self.found.add(name, f"HDF5 cannot open it: {error}")
                return None
        return at

    def within(
        self, name: str, values: npt.NDArray[Any] | None, low: int, high: int, *, soft: bool = False
    ) -> None:
        """Tell of values beyond a range: a fault, or with `soft` a remark."""
        if values is None or not values.size:
            return
        least, most = int(values.min()), int(values.max())
        if low <= least and most <= high:
            return
        text = f"values from {least:,} to {most:,}, wanted {low:,} to {high:,}"
        if soft:
            self.found.remark(f"{name}: {text}")
        else:
            self.found.add(name, text)

    def crcs(self, name: str) -> npt.NDArray[np.uint32] | None:
        """CRC-32C of every sample."""
        return self.column(name, ("<u4",), (self.count,), needed=True)

    def texts(self, name: str) -> Texts | None:
        """A column of text, fixed or ragged; None where it is not there, or a fault."""
        data = self.look(name)
        if data is None:
            return None
        if isinstance(data, h5py.Dataset) and self.look(layout.offsets(name)) is not None:
            offsets = self.ragged(name, data)
            return None if offsets is None else Texts(Names(self.sound[name], offsets))
        column = self.column(name, ("S",), (self.count,))
        return None if column is None else Texts(column)

    def ragged(self, name: str, data: h5py.Dataset) -> npt.NDArray[np.uint64] | None:
        """Rows of unequal length: their offsets, where they are sound."""
        shape = (None, 4) if len(data.shape or ()) == 2 else (None,)
        values = self.column(name, NUMBERS, shape)
        offsets = self.column(layout.offsets(name), ("<u8",), (self.count + 1,), needed=True)
        if values is None or offsets is None:
            return None
        return offsets if self.are_offsets(layout.offsets(name), offsets, len(values)) else None

    def are_offsets(self, name: str, offsets: npt.NDArray[np.uint64], end: int) -> bool:
        """Whether offsets go from 0 to `end` and never fall; a fault where they do not."""
        if int(offsets[0]) != 0 or int(offsets[-1]) != end:
            self.found.add(
                name, f"from {int(offsets[0]):,} to {int(offsets[-1]):,}, wanted 0 to {end:,}"
            )
        elif (offsets[1:] < offsets[:-1]).any():
            at = int(np.argmax(offsets[1:] < offsets[:-1]))
            self.found.add(name, f"they fall at row {at:,}")
        else:
            return True
        return False

    def contiguous(self, data: h5py.Dataset, name: str) -> int | None:
        """Where a contiguous data set begins; a fault where it is not all in the file."""
        wanted = hdf5.raw_bytes(data)
        stored, base = int(data.id.get_storage_size()), data.id.get_offset()
        if base is None or base < 0 or stored != wanted:
            self.found.add(name, f"{stored:,} bytes are stored, wanted {wanted:,}")
            return None
        if base + wanted > self.disk.size:
            self.found.add(
                name,
                f"its {wanted:,} bytes begin at byte {base:,}, and the file has "
                f"{self.disk.size:,}: cut short",
            )
        return int(base)

    def is_kept_here(self, data: h5py.Dataset, name: str) -> bool:
        """Whether the values stand in this very file; a fault where they do not."""
        plist = data.id.get_create_plist()
        if plist.get_external_count() or plist.get_layout() == h5py.h5d.VIRTUAL:
            self.found.add(name, "its values are kept in other files, wanted in this one")
            return False
        return True

    def count_of(self, name: str) -> int:
        """Length of a column, whatever it holds; what is known already where it is not there."""
        data = self.look(name)
        there = isinstance(data, h5py.Dataset) and len(data.shape or ()) == 1
        return len(data) if there else self.count


def _unlike(
    data: h5py.Dataset, kinds: tuple[str, ...], shape: tuple[int | None, ...]
) -> str | None:
    """Why a data set is not a plain column of such values and such a shape; None where it is."""
    dtype = hdf5.dtype_of(data)
    told = "text" if dtype is not None and dtype.kind == "S" else str(dtype)
    if dtype is None or (dtype.str not in kinds and dtype.kind not in kinds):
        wanted = " or ".join("text" if k == "S" else str(np.dtype(k)) for k in kinds)
        order = ", big-endian" if dtype is not None and dtype.byteorder == ">" else ""
        return f"values of {told}{order}, wanted {wanted}, little-endian"
    found = data.shape
    if found is None or len(found) != len(shape) or any(
        want is not None and want != side for want, side in zip(shape, found, strict=True)
    ):  # fmt: skip
        return f"its shape is {found}, wanted {_sides(shape)}"
    plist = data.id.get_create_plist()
    if plist.get_external_count():
        return "its values are kept in other files, wanted in this one"
    inside = plist.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
    if not inside or plist.get_nfilters():
        return "it is chunked or filtered, wanted contiguous and plain"
    stored, wanted_bytes = int(data.id.get_storage_size()), hdf5.raw_bytes(data)
    if stored != wanted_bytes:
        return f"{stored:,} bytes are stored, wanted {wanted_bytes:,}"
    return None


def _sides(shape: tuple[int | None, ...]) -> str:
    inner = ", ".join("any" if side is None else f"{side:,}" for side in shape)
    return f"({inner},)" if len(shape) == 1 else f"({inner})"


def _crc_of(values: npt.NDArray[Any]) -> int:
    """Some bytes at a time, so that other threads run between."""
    flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    crc = 0
    for at in range(0, len(flat), _PIECE):
        crc = crc32c(flat[at : at + _PIECE].data, crc)
    return crc


def number(data: h5py.Dataset, name: str, kind: Any) -> int | None:
    """A whole number of just this type that a data set carries; None for anything else."""
    if name not in data.attrs:
        return None
    stored = data.attrs.get_id(name)
    if stored.shape != () or stored.dtype != kind:
        return None
    return int(data.attrs[name])


def without(text: str, path: Path) -> str:
    """A message without the file's name before it, which is told once for all."""
    return text.removeprefix(f"{path}: ")
