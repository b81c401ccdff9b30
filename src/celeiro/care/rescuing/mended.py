"""A damaged file of ours as HDF5 would have it, without a byte of it changed.

    what the disk has   ?????????  OHDR  payload …  OHDR  OHDR  (cut)
    what HDF5 is shown  superblock OHDR  payload …  OHDR  OHDR  zeros  groups of ours

HDF5 opens nothing whose first bytes are damaged or whose last ones are gone, though each data set's
own header, with a checksum of its own, may be whole. Those headers are found by their mark, and
shown to HDF5 in groups that are made here, in memory. Their names stand in the file where the old
groups are left; of the others only those get a name that can be nothing else by what they hold.

The invariant: only headers whose checksum is right are shown; what is in them is checked by
structure.py as in any other file.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from celeiro.care.rescuing.lookup3 import lookup3
from celeiro.care.rescuing.roles import Tree, roles_of
from celeiro.errors import FormatError
from celeiro.reading import hdf5
from celeiro.reading.header import Header, is_ours, read_header

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from celeiro.storage.local import File

_MARK = b"OHDR"
# Object headers, their continuations, and the blocks of a group with many links.
_MARKS = re.compile(rb"OHDR|OCHK|FHDB")
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_UNDEFINED = 2**64 - 1
_SUPERBLOCK = 48
# Ours take some hundred bytes; a group with many links in it some thousand.
_LONGEST_HEADER = 1 << 16
_WINDOW = 1 << 24
_MOST_HEADERS = 1 << 14
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class Mended:
    """A file that HDF5 can open again."""

    file: h5py.File
    """As it is shown."""
    header: Header | None = None
    """In the place of a root that is lost: told by the samples, the provenance empty."""
    count: int = 0
    """Samples that there were, as far as that can be told."""
    unnamed: int = 0
    """Data sets that are whole, and of which nothing tells what they are."""


@contextlib.contextmanager
def mended(path: Path, disk: File) -> Iterator[Mended]:
    """The file as HDF5 can open it.

    Raises
    ------
    FormatError
        Nothing is left that HDF5 could read.
    """
    root, end = _superblock(disk)
    with _shown(disk, {0: superblock(root, end)}, end) as file:
        if file is not None and _is_whole(file, path):
            yield Mended(file)
            return
    headers, blocks = find_headers(disk)
    if not headers:
        raise FormatError(f"{path}: no header of any data set is left in it.")
    names = _names_of(disk, headers, blocks)
    with _grouped(disk, end, {f"at {at}".encode(): at for at in headers}) as file:
        tree, header, count, unnamed = roles_of(file, headers, names)
    with _grouped(disk, end, tree) as file:
        yield Mended(file, header, count, unnamed)


def _superblock(disk: File) -> tuple[int, int]:
    """Where the root's header is, and where the file ends, as far as that can be told."""
    data = disk.read(min(_SUPERBLOCK, disk.size), 0)
    if len(data) == _SUPERBLOCK and data[:9] == _SIGNATURE + b"\3":
        (stored,) = struct.unpack_from("<I", data, 44)
        end, root = struct.unpack_from("<QQ", data, 28)
        if stored == lookup3(data[:44]) and root < end <= 2**62:
            return root, max(end, disk.size)
    return _SUPERBLOCK, disk.size


def superblock(root: int, end: int) -> bytes:
    """The first bytes of an HDF5 file whose root's header is at `root`, `end` bytes long."""
    data = _SIGNATURE + struct.pack("<BBBBQQQQ", 3, 8, 8, 0, 0, _UNDEFINED, end, root)
    return data + struct.pack("<I", lookup3(data))


@contextlib.contextmanager
def _shown(disk: File, patches: dict[int, bytes], end: int) -> Iterator[h5py.File | None]:
    try:
        file = h5py.File(_Patched(disk, patches, end), "r")
    except Exception:  # whatever is wrong with a file, h5py has another error for it
        yield None
        return
    with file:
        yield file


def _is_whole(file: h5py.File, path: Path) -> bool:
    """Whether the root is readable: what it says, and the samples."""
    try:
        if not is_ours(file):
            return False
        header = read_header(file, path)
        return len(hdf5.names_in(file, 4096)) > 0 and hdf5.found(file, header.key) is not None
    except Exception:
        return False


@contextlib.contextmanager
def _grouped(disk: File, end: int, tree: Tree) -> Iterator[h5py.File]:
    """The file with groups of ours instead of its own."""
    at = -(-end // 8) * 8
    made, root = group(tree, at)
    last = at + len(made)
    with _shown(disk, {0: superblock(root, last), at: made}, last) as file:
        if file is None:
            raise FormatError(f"{disk.path}: HDF5 cannot read what is left of it.")
        yield file


def group(tree: Tree, at: int) -> tuple[bytes, int]:
    """Headers of a group and those in it, to stand from byte `at` on; and where its own is."""
    before = b""
    links = []
    for name, target in tree.items():
        address = target
        if isinstance(target, dict):
            inner, address = group(target, at + len(before))
            before += inner
        links.append(_message(6, struct.pack("<BBB", 1, 0, len(name)) + name + _u64(address)))
    messages = _message(2, b"\0\0" + _u64(_UNDEFINED) * 2) + _message(10, b"\0\0")
    body = messages + b"".join(links)
    data = _MARK + struct.pack("<BBI", 2, 2, len(body)) + body
    data += struct.pack("<I", lookup3(data))
    return before + data + bytes(-len(data) % 8), at + len(before)


def _message(kind: int, body: bytes) -> bytes:
    return struct.pack("<BHB", kind, len(body), 0) + body


def _u64(value: Any) -> bytes:
    return struct.pack("<Q", value)


# What is left


def find_headers(disk: File) -> tuple[list[int], list[int]]:
    """Where sound object headers begin, and other blocks in which links may stand, in order."""
    headers: list[int] = []
    blocks: list[int] = []
    for at, data in _windows(disk):
        for match in _MARKS.finditer(data):
            start = match.start()
            if start >= _WINDOW or len(headers) + len(blocks) >= _MOST_HEADERS:
                break
            if match[0] != _MARK:
                blocks.append(at + start)
            elif _is_header(data[start : start + _LONGEST_HEADER + 64]):
                headers.append(at + start)
    return headers, blocks


def _windows(disk: File) -> Iterator[tuple[int, bytes]]:
    """The whole file, some at a time, each with the beginning of the next."""
    for at in range(0, disk.size, _WINDOW):
        yield at, disk.read(min(_WINDOW + _LONGEST_HEADER + 64, disk.size - at), at)


def _is_header(data: bytes) -> bool:
    if len(data) < 16 or data[4] != 2:
        return False
    flags = data[5]
    at = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    size = int.from_bytes(data[at : at + width], "little")
    end = at + width + size
    if size > _LONGEST_HEADER or end + 4 > len(data):
        return False
    return bool(lookup3(data[:end]) == struct.unpack_from("<I", data, end)[0])


def _names_of(disk: File, headers: list[int], blocks: list[int]) -> dict[int, list[bytes]]:
    """Names that links give to headers: a length, the name, the address."""
    wanted = np.array(headers, np.uint64)
    names: dict[int, list[bytes]] = {}
    for start in (*headers, *blocks):
        data = disk.read(min(_LONGEST_HEADER, disk.size - start), start)
        for at in _places_of(wanted, data):
            name = _name_before(data, at)
            address = int.from_bytes(data[at : at + 8], "little")
            if name and name not in names.setdefault(address, []):
                names[address].append(name)
    return names


def _places_of(wanted: npt.NDArray[np.uint64], data: bytes) -> list[int]:
    """Where one of these numbers of 64 bits stands, in whatever alignment."""
    found: list[int] = []
    for shift in range(min(8, len(data) - 7)):
        words = np.frombuffer(data, "<u8", (len(data) - shift) // 8, shift)
        found += (np.flatnonzero(np.isin(words, wanted)) * 8 + shift).tolist()
    return sorted(found)


def _name_before(data: bytes, at: int) -> bytes | None:
    """The name of a link whose address is at `at`: version 1, then flags, then the length."""
    for length in range(1, min(at, _LONGEST_NAME) + 1):
        name = data[at - length : at]
        if data[at - length - 1] != length or b"/" in name or b"\0" in name:
            continue
        head = data[max(0, at - length - 12) : at - length - 1]
        # Flags, then a creation order (8) and a character set (1) where they say so.
        for skip in (0, 1, 8, 9):
            if len(head) >= skip + 2 and head[len(head) - skip - 2] == 1:
                return name
    return None


class _Patched(io.RawIOBase):
    """A file as HDF5 shall see it: some bytes replaced, zeros behind its end."""

    def __init__(self, disk: File, patches: dict[int, bytes], end: int) -> None:
        self._disk = disk
        self._patches = patches
        self._end = end
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        first, last = self._position, self._position + len(view)
        there = max(0, min(last, self._disk.size) - first)
        view[:] = self._disk.read(there, first) + bytes(len(view) - there)
        for at, data in self._patches.items():
            begin, stop = max(at, first), min(at + len(data), last)
            if begin < stop:
                view[begin - first : stop - first] = data[begin - at : stop - at]
        self._position = last
        return len(view)
