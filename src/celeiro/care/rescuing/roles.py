"""Who is who among the data sets of a damaged file whose groups are lost.

    a name that a link gives it   where the bytes of an old group are left
    what only it can be           samples by their place, checksums, offsets that end where they do,
                                  names of picture files, class numbers before as many names

The invariant: no guess. What could be two things gets no name of the format, and becomes a field.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

import h5py
import numpy as np

from celeiro.format import layout
from celeiro.format.chunks import Number, filters_of
from celeiro.format.headers import EXTENSIONS
from celeiro.reading import hdf5
from celeiro.reading.header import Header

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Tree = dict[bytes, "int | Tree"]
"""Names, and the addresses of their headers or further groups."""


@dataclass(slots=True)
class Roles:
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


def roles_of(
    file: h5py.File, headers: list[int], names: Mapping[int, list[bytes]]
) -> tuple[Tree, Header, int, int]:
    """Names for the headers; then what the root said, the samples, and headers without a name."""
    items = {}
    for at in headers:
        with contextlib.suppress(Exception):
            items[at] = file[f"at {at}"]
    roles = Roles()
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


def _color(roles: Roles, data: h5py.Dataset | None) -> layout.Color:
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


def _groups(items: dict[int, Any], roles: Roles) -> set[int]:
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


def _count(roles: Roles, items: dict[int, Any]) -> int | None:
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


def _by_kind(items: dict[int, Any], roles: Roles) -> int:
    """Name what has no name, where what it holds leaves no doubt; how many got a name."""
    before = len(list(_places(roles.tree)))
    _keys_by_kind(items, roles)
    _labels_by_kind(items, roles)
    _statistics_by_kind(items, roles)
    for at, item in sorted(items.items()):
        if isinstance(item, h5py.Dataset) and item.shape:
            any(roles.put(name, at) for name in _candidates(item, roles))
    taken = set(_places(roles.tree))
    rows = (at for at, item in sorted(items.items()) if at not in taken and _is_column(item, roles))
    for number, at in enumerate(rows, 1):  # whoever knows the data knows which is which
        roles.put(layout.field(f"unnamed {number}"), at)
    return len(list(_places(roles.tree))) - before


def _keys_by_kind(items: dict[int, Any], roles: Roles) -> None:
    """Names of picture files, each another, one a sample."""
    text: tuple[int, Any] | None = None  # the bytes of a ragged one; its offsets come next
    for at, item in sorted(items.items()):
        if not isinstance(item, h5py.Dataset) or not item.shape or item.ndim != 1:
            continue
        if _is_plain_text(item) and len(item) == roles.count and _are_files(item[()].tolist()):
            roles.put(layout.KEYS, at)
            return
        if text is not None and _is_offsets(item, roles):
            blob, ends = text[1][()].tobytes(), item[()].tolist()
            names = [blob[a:b] for a, b in itertools.pairwise(ends)]
            if _are_files(names) and roles.put(layout.KEYS, text[0]):
                roles.put(layout.offsets(layout.KEYS), at)
                return
        text = (at, item) if item.dtype == np.uint8 else None


def _are_files(names: list[bytes]) -> bool:
    ends = tuple(each.encode() for each in EXTENSIONS)
    return len(set(names)) == len(names) and all(n.lower().endswith(ends) for n in names)


def _labels_by_kind(items: dict[int, Any], roles: Roles) -> None:
    """Numbers of classes, right before the names of as many classes."""
    before: tuple[int, Any] | None = None
    for at, item in sorted(items.items()):
        if not isinstance(item, h5py.Dataset) or not item.shape:
            continue
        names = item.dtype.kind == "S" and item.ndim == 1 and not _is_plain_text(item)
        if names and before is not None and _may_be_labels(before[1]):
            labels = before[1][()]
            classes = labels.dtype == np.int64 and labels.shape == (roles.count,)
            if classes and (labels.min(), labels.max()) == (0, len(item) - 1):
                roles.put(layout.LABELS, before[0])
        if names:
            roles.put(layout.LABEL_NAMES, at)
        before = at, item


def _statistics_by_kind(items: dict[int, Any], roles: Roles) -> None:
    """Mean and deviation, in this order; one of the two could be either."""
    both = [
        at
        for at, item in sorted(items.items())
        if isinstance(item, h5py.Dataset) and layout.ATTR_MEASURED in item.attrs
    ]
    if len(both) == 2 and layout.MEAN.encode() not in roles.tree:
        roles.put(layout.MEAN, both[0])
        roles.put(layout.STD, both[1])


def _candidates(item: h5py.Dataset, roles: Roles) -> Iterator[str]:
    """What a data set may be, the likeliest first; none where it could be anything."""
    key, shape, dtype = _text(roles.key), item.shape, item.dtype
    rows = shape[0] == roles.count
    if layout.ATTR_FILE_END in item.attrs:
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
    elif roles.store == "encoded" and _is_offsets(item, roles) and int(item[-1]) == roles.total:
        yield layout.offsets(key)
    elif item.chunks is not None and rows:
        yield layout.field("mask")


def _is_plain_text(item: h5py.Dataset) -> bool:
    """Keys are bytes; names of classes are marked as UTF-8."""
    told = h5py.check_string_dtype(item.dtype)
    return item.dtype.kind == "S" and (told is None or told.encoding != "utf-8")


def _may_be_labels(item: h5py.Dataset) -> bool:
    if not item.shape or layout.ATTR_MEASURED in item.attrs:
        return False
    whole = item.dtype in (np.int64, np.float64)
    return bool((whole and item.ndim <= 2) or (item.dtype == np.uint8 and item.ndim == 2))


def _is_offsets(item: h5py.Dataset, roles: Roles) -> bool:
    count = roles.count
    return bool(item.dtype == np.uint64 and count is not None and item.shape == (count + 1,))


def _is_column(item: Any, roles: Roles) -> bool:
    """Whether it may be a field: one number, or text, or a row of numbers for each sample."""
    if not isinstance(item, h5py.Dataset) or not item.shape or item.chunks is not None:
        return False
    plain = item.dtype in (np.int64, np.float64, np.uint8) or _is_plain_text(item)
    # Layers of a network, beside its features.
    plain = plain or (item.dtype in (np.float32, np.float16) and item.ndim == 2)
    return bool(plain and item.ndim <= 2 and item.shape[0] == roles.count)


def _places(tree: Tree) -> Iterator[int]:
    for each in tree.values():
        if isinstance(each, dict):
            yield from _places(each)
        else:
            yield each
