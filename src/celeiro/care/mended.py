"""A damaged file of ours as HDF5 would have it, without a byte of it changed.

    what the disk has   ?????????  OHDR  payload …  OHDR  OHDR  (cut)
    what HDF5 is shown  superblock OHDR  payload …  OHDR  OHDR  zeros  groups of ours

HDF5 opens nothing whose first bytes are damaged or whose last ones are gone, though each data set's
own header, with a checksum of its own, may be whole. Those headers are found by their mark, and
shown to HDF5 in groups that are made here, in memory. Their names stand in the file where the old
groups are left, or follow from what they hold and the order in which celeiro writes them.

The invariant: only headers whose checksum is right are shown; what is in them is checked by
structure.py as in any other file.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

import h5py
import numpy as np

from celeiro.errors import FormatError
from celeiro.format import layout
from celeiro.format.chunks import Number, filters_of
from celeiro.reading import hdf5
from celeiro.reading.header import Header, is_ours, read_header

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celeiro.storage.local import File

_MARK = b"OHDR"
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_UNDEFINED = 2**64 - 1
_SUPERBLOCK = 48
# Ours take some hundred bytes; a group with many links in it some thousand.
_LONGEST_HEADER = 1 << 16
_WINDOW = 1 << 24
_MOST_HEADERS = 1 << 14
_LONGEST_NAME = 255

Tree = dict[bytes, "int | Tree"]
"""Names, and the addresses of their headers or further groups."""


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
    headers = find_headers(disk)
    if not headers:
        raise FormatError(f"{path}: no header of any data set is left in it.")
    names = _names_of(disk, headers)
    with _grouped(disk, end, {f"at {at}".encode(): at for at in headers}) as file:
        tree, header, count, unnamed = _told(file, headers, names)
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


def find_headers(disk: File) -> list[int]:
    """Where sound object headers begin, in order."""
    found = []
    for at, data in _windows(disk):
        for match in re.finditer(_MARK, data):
            start = match.start()
            if start < _WINDOW and _is_header(data[start : start + _LONGEST_HEADER + 64]):
                found.append(at + start)
                if len(found) >= _MOST_HEADERS:
                    return found
    return found


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


def _names_of(disk: File, headers: list[int]) -> dict[int, list[bytes]]:
    """Names that links give to headers: a length, the name, the address."""
    tail = min((at for at in headers if at >= layout.PAYLOAD_OFFSET), default=disk.size)
    names: dict[int, list[bytes]] = {}
    for start, stop in ((0, min(layout.PAYLOAD_OFFSET, disk.size)), (tail, disk.size)):
        data = disk.read(min(stop - start, 1 << 28), start)
        for at in headers:
            for match in re.finditer(re.escape(_u64(at)), data):
                name = _name_before(data, match.start())
                if name and name not in names.setdefault(at, []):
                    names[at].append(name)
    return names


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


@dataclass(slots=True)
class _Roles:
    """Who is who among the data sets that are left, in the order in which celeiro writes them."""

    key: bytes = layout.DATA_KEY.encode()
    """Of the samples."""
    store: layout.Store | Literal[""] = ""
    """How they stand; empty where nothing is left that says so."""
    count: int | None = None
    """How many there are."""
    total: int = 0
    """Length of their data set's first axis."""
    tree: Tree = field(default_factory=dict)
    """What has a name by now."""

    def put(self, name: str | bytes, at: int) -> bool:
        """Give a name once; False where it is taken."""
        parts = (name.encode() if isinstance(name, str) else name).split(b"/")
        inner: Any = self.tree
        for part in parts[:-1]:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                return False
        if parts[-1] in inner:
            return False
        inner[parts[-1]] = at
        return True


def _told(
    file: h5py.File, headers: list[int], names: dict[int, list[bytes]]
) -> tuple[Tree, Header, int, int]:
    """Names for the headers; then what the root said, the samples, and headers without a name."""
    items = {}
    for at in headers:
        with contextlib.suppress(Exception):
            items[at] = file[f"at {at}"]
    roles = _Roles()
    main = _main(items)
    taken = _groups(items, roles)
    if main is not None:
        roles.store = _store_of(items[main])
        roles.key = next(iter(names.get(main, [])), roles.key)
        roles.total = int(items[main].shape[0])
        taken.add(main)
        roles.put(roles.key, main)
    for at in items:
        for name in names.get(at, []):
            if at not in taken and _is_of_root(name) and roles.put(name, at):
                taken.add(at)
    roles.count = _count(roles, items)
    rest = {at: it for at, it in items.items() if at not in taken}
    unnamed = sum(isinstance(it, h5py.Dataset) for it in rest.values()) - _by_kind(rest, roles)
    color = _color(roles, None if main is None else items[main])
    header = Header(cast("layout.Store", roles.store), _text(roles.key), color, {})
    return roles.tree, header, roles.count or 0, unnamed


def _color(roles: _Roles, data: h5py.Dataset | None) -> layout.Color:
    """Of pictures RGB, which nearly all are: what the root said is lost."""
    shape = () if data is None else data.shape
    if roles.store == "encoded" or shape[3:] == (3,):
        return "RGB"
    return "GRAY" if shape[3:] == (1,) else ""


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _main(items: dict[int, Any]) -> int | None:
    """The samples: what stands at the payload's place. Their header is written before it."""
    for at, item in items.items():
        if not isinstance(item, h5py.Dataset) or not item.shape:
            continue
        if item.chunks is None and item.id.get_offset() == layout.PAYLOAD_OFFSET:
            return at
        if item.chunks is not None and item.chunks[0] == 1 and at < layout.PAYLOAD_OFFSET:
            return at
    return None


def _store_of(data: h5py.Dataset) -> layout.Store:
    numbers = [step.number for step in filters_of(data.id.get_create_plist())]
    if Number.JPEG in numbers:
        return "jpeg"
    if data.chunks is not None:
        return "lossless"
    return "encoded" if data.ndim == 1 and data.dtype == np.uint8 else "pixels"


def _groups(items: dict[int, Any], roles: _Roles) -> set[int]:
    """Groups that are left, by what is in them; and where what is in them stands."""
    taken = set()
    for at, item in items.items():
        if not isinstance(item, h5py.Group):
            continue
        with contextlib.suppress(Exception):
            names = hdf5.names_in(item, 4096)
            inside = [hdf5.opened(item, name) for name in names]
            if not names or layout.KEYS.encode() in names or layout.LABELS.encode() in names:
                continue
            if b"crc32c" in names or b"index" in names:
                name = layout.MACHINE
            elif not any(inside):
                continue
            elif all(each.dtype == np.uint64 for each in inside if isinstance(each, h5py.Dataset)):
                name = layout.SPLITS
            else:
                name = layout.FIELDS
            if roles.put(name, at):
                places = {
                    _address(each): True for each in inside if each is not None
                }  # what stands in a group needs no other name
                taken |= {at, *(where for where in items if places.get(_address(items[where])))}
    return taken


def _address(item: Any) -> int:
    return int(h5py.h5o.get_info(item.id).addr)


def _is_of_root(name: bytes) -> bool:
    known = {layout.LABELS, layout.LABEL_NAMES, layout.KEYS, layout.MEAN, layout.STD}
    text = _text(name)
    beside = tuple(part("") for part in layout.BESIDE)
    return text in known or (text.endswith(beside) and not text.startswith(layout.MACHINE))


def _count(roles: _Roles, items: dict[int, Any]) -> int | None:
    """How many samples there are: as the samples say, or their offsets, or their checksums."""
    if roles.store not in ("", "encoded"):
        return roles.total
    lengths = []
    for item in items.values():
        if not isinstance(item, h5py.Dataset) or len(item.shape or ()) != 1:
            continue
        if item.dtype == np.uint32:
            lengths.append(len(item))
        with contextlib.suppress(Exception):
            ends = item.dtype == np.uint64 and len(item) > 1 and int(item[0]) == 0
            if roles.total and ends and int(item[-1]) == roles.total:
                return len(item) - 1
    lengths += [
        len(item)
        for item in items.values()
        if isinstance(item, h5py.Dataset) and (_may_be_labels(item) or _is_plain_text(item))
    ]
    return lengths[0] if lengths else None


def _by_kind(items: dict[int, Any], roles: _Roles) -> int:
    """Name what has no name by its type and shape, in the order of the file; how many got one."""
    before = _leaves(roles.tree)
    text: int | None = None  # bytes of keys, whose offsets must come next
    for at, item in sorted(items.items()):
        if not isinstance(item, h5py.Dataset) or not item.shape:
            continue
        if text is not None and _is_offsets(item, roles):
            if roles.put(layout.KEYS, text):
                roles.put(layout.offsets(layout.KEYS), at)
            text = None
            continue
        no_keys = layout.KEYS.encode() not in roles.tree
        text = at if no_keys and item.dtype == np.uint8 and item.ndim == 1 else None
        for name in _candidates(item, roles):
            if roles.put(name, at):
                text = None
                break
    return _leaves(roles.tree) - before


def _candidates(item: h5py.Dataset, roles: _Roles) -> Iterator[str]:
    """What a data set may be, the likeliest first."""
    key, shape, dtype = _text(roles.key), item.shape, item.dtype
    rows = shape[0] == roles.count
    no_keys = layout.KEYS.encode() not in roles.tree
    if layout.ATTR_MEASURED in item.attrs:
        yield from (layout.MEAN, layout.STD)
    elif layout.ATTR_FILE_END in item.attrs:
        if roles.store in ("jpeg", "lossless"):
            yield layout.INDEX
        yield layout.field_index("mask")
    elif dtype == np.uint32 and rows:
        yield from (
            (layout.CRC, layout.field_crc("mask")) if len(shape) == 1 else (layout.shapes(key),)
        )
    elif dtype == np.uint8 and rows and len(shape) == 1:
        if layout.shapes(key).encode() in roles.tree:
            yield from (layout.orientations(key), layout.reencoded(key))
    elif dtype.kind == "S":
        if not _is_plain_text(item):
            yield layout.LABEL_NAMES
        elif rows:
            yield layout.KEYS
    elif roles.store == "encoded" and _is_offsets(item, roles) and int(item[-1]) == roles.total:
        yield layout.offsets(key)
    elif item.chunks is not None and rows:
        yield layout.field("mask")
    elif rows and no_keys and _may_be_labels(item):
        yield layout.LABELS  # they come first, and fields behind the keys


def _is_plain_text(item: h5py.Dataset) -> bool:
    """Keys are bytes; names of classes are marked as UTF-8."""
    told = h5py.check_string_dtype(item.dtype)
    return item.dtype.kind == "S" and (told is None or told.encoding != "utf-8")


def _may_be_labels(item: h5py.Dataset) -> bool:
    if not item.shape or layout.ATTR_MEASURED in item.attrs:
        return False
    whole = item.dtype in (np.int64, np.float64)
    return bool((whole and item.ndim <= 2) or (item.dtype == np.uint8 and item.ndim == 2))


def _is_offsets(item: h5py.Dataset, roles: _Roles) -> bool:
    count = roles.count
    return bool(item.dtype == np.uint64 and count is not None and item.shape == (count + 1,))


def _leaves(tree: Tree) -> int:
    return sum(_leaves(each) if isinstance(each, dict) else 1 for each in tree.values())


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


def lookup3(data: bytes) -> int:
    """HDF5's checksum of its own structures: Bob Jenkins' lookup3, little-endian, from 0.

    Examples
    --------
    >>> hex(lookup3(b"Four score and seven years ago"))
    '0x17770551'
    """
    a = b = c = (0xDEADBEEF + len(data)) & _WORD
    at, left = 0, len(data)
    while left > 12:
        x, y, z = struct.unpack_from("<III", data, at)
        a, b, c = _mixed((a + x) & _WORD, (b + y) & _WORD, (c + z) & _WORD)
        at, left = at + 12, left - 12
    if not left:
        return c
    x, y, z = struct.unpack("<III", data[at:].ljust(12, b"\0"))
    return _final((a + x) & _WORD, (b + y) & _WORD, (c + z) & _WORD)


_WORD = 0xFFFFFFFF


def _turned(value: int, by: int) -> int:
    return (value << by | value >> (32 - by)) & _WORD


def _mixed(a: int, b: int, c: int) -> tuple[int, int, int]:
    for by_1, by_2, by_3 in ((4, 6, 8), (16, 19, 4)):
        a = ((a - c) & _WORD) ^ _turned(c, by_1)
        c = (c + b) & _WORD
        b = ((b - a) & _WORD) ^ _turned(a, by_2)
        a = (a + c) & _WORD
        c = ((c - b) & _WORD) ^ _turned(b, by_3)
        b = (b + a) & _WORD
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    c = ((c ^ b) - _turned(b, 14)) & _WORD
    a = ((a ^ c) - _turned(c, 11)) & _WORD
    b = ((b ^ a) - _turned(a, 25)) & _WORD
    c = ((c ^ b) - _turned(b, 16)) & _WORD
    a = ((a ^ c) - _turned(c, 4)) & _WORD
    b = ((b ^ a) - _turned(a, 14)) & _WORD
    return ((c ^ b) - _turned(b, 24)) & _WORD
