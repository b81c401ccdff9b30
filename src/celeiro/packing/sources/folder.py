"""A folder of pictures: the walk, and the classes and splits that its layout tells.

    photos/cats/1.jpg         class: cats                              labels="folder"
    photos/train/cats/1.jpg   split: train, class: cats                labels="folder"
    photos/cat.1.jpg          class: cat                               labels="name"

The walk is the same on every machine: in each folder first its pictures, then its sub-folders,
both in the order of the bytes of their names. No picture is opened.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from celeiro.errors import OptionError, SourceError
from celeiro.format.names import NamesBuilder, printable
from celeiro.format.pictures import EXTENSIONS
from celeiro.packing.listing import Listing
from celeiro.packing.splits import role_of, sorted_names

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.format.names import Names

__all__ = ["LABELS", "FolderLabels", "list_folder"]

FolderLabels = Literal["auto", "folder", "name", "none"]
LABELS: tuple[FolderLabels, ...] = get_args(FolderLabels)

_SUFFIXES = frozenset(suffix.encode().removeprefix(b".") for suffix in EXTENSIONS)
# Made by the archiver of macOS; holds a "._cat.jpg" of metadata for each "cat.jpg".
_NOT_CONTENT = frozenset({b"__MACOSX"})
# What asking for the target of a link answers when there is none.
_DANGLING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})

_Classify = Callable[[bytes], bytes]


def list_folder(
    root: str | os.PathLike[str],
    *,
    labels: FolderLabels = "auto",
    label_pattern: str | None = None,
) -> Listing:
    """List the pictures below a folder, with the classes and splits that its layout tells.

    Parameters
    ----------
    labels
        ``folder``: the first folder below the root (or below ``train/``, ``val/``, ``test/``)
        is the class, as torchvision's ImageFolder has it. ``name``: the text before the first dot
        of the file's name is. ``auto``: ``folder`` if all pictures are in sub-folders; if none is,
        ``name`` where names share their beginnings (two classes at least, two pictures a class
        on average), else ``none``.
    label_pattern
        A regular expression with one group, searched in the path relative to the root: the group
        is the class.
    """
    by_pattern = _by_pattern(label_pattern, labels)
    top = Path(root).absolute()
    walk = _Walk(top)
    walk.run()
    if not walk.keys:
        raise SourceError(
            f"{_shown(top)}: no pictures below it ({walk.ignored} other files were passed over). "
            f"Wanted are files whose names end in {', '.join(sorted(EXTENSIONS))}"
        )
    keys = walk.keys.build()
    split_names = _split_folders(keys)
    skip = 1 if split_names else 0
    how = "name" if by_pattern else _choose(keys, labels, skip=skip, top=top)
    classify = by_pattern or {"folder": _by_folder(skip), "name": _by_beginning}.get(how)
    numbers, names = _classes(keys, classify) if classify else (None, ())
    return Listing(
        root=top,
        keys=keys,
        sizes=np.frombuffer(walk.sizes, dtype=np.int64),
        mtimes=np.frombuffer(walk.mtimes, dtype=np.int64),
        labels=numbers,
        label_names=names,
        splits=_split_codes(keys, split_names) if split_names else None,
        split_names=split_names,
        ignored=walk.ignored,
        labels_from=how,
    )


@dataclass(frozen=True, slots=True)
class _Level:
    """A folder that the walk is in."""

    path: bytes
    """Relative to the root, with a slash at the end; empty for the root."""

    identity: tuple[int, int]
    """Device and inode: a link back to a folder that the walk is in would never end."""

    folders: list[bytes]
    """Sub-folders yet to visit, the first one last."""

    hidden: bool
    """Whether its files are only counted."""


class _Walk:
    """One walk through a tree, and what it has met: about 70 bytes a picture.

    Without recursion, since trees may be deeper than Python's stack.
    """

    def __init__(self, top: Path) -> None:
        self.keys = NamesBuilder()
        self.sizes = array("q")
        self.mtimes = array("q")
        self.ignored = 0
        self._base = os.path.join(os.fsencode(top), b"")
        self._stack: list[_Level] = []

    def run(self) -> None:
        self._enter(b"", hidden=False)
        while self._stack:
            level = self._stack[-1]
            if not level.folders:
                self._stack.pop()
                continue
            name = level.folders.pop()
            hidden = level.hidden or _is_hidden(name) or name in _NOT_CONTENT
            self._enter(level.path + name + b"/", hidden=hidden)

    def _enter(self, path: bytes, *, hidden: bool) -> None:
        folder = self._base + path
        try:
            about = os.stat(folder)
            identity = (about.st_dev, about.st_ino)
            if any(level.identity == identity for level in self._stack):
                return
            pictures, folders, others = _read_folder(folder)
        except OSError as error:
            if hidden:
                return
            raise _unreadable(folder, error) from error
        self.ignored += others + (len(pictures) if hidden else 0)
        self._stack.append(_Level(path, identity, folders, hidden))
        while pictures and not hidden:  # popped, so that a name is held once, not twice
            self._add(path + pictures.pop())

    def _add(self, key: bytes) -> None:
        size, mtime = _size_and_mtime(self._base + key)
        self.keys.append(key)
        self.sizes.append(size)
        self.mtimes.append(mtime)


def _read_folder(folder: bytes) -> tuple[list[bytes], list[bytes], int]:
    """Give pictures, sub-folders (the first one last) and the count of everything else."""
    pictures, folders, others = [], [], 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_folder(entry):
                folders.append(entry.name)
            elif _is_picture(entry):
                pictures.append(entry.name)
            else:
                others += 1
    pictures.sort(reverse=True)
    folders.sort(reverse=True)
    return pictures, folders, others


def _is_hidden(name: bytes) -> bool:
    return name.startswith(b".")


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno in _DANGLING:
            return False
        raise


def _is_picture(entry: os.DirEntry[bytes]) -> bool:
    """Tell by name and kind; a link that leads nowhere is one, so that packing can report it."""
    _, dot, suffix = entry.name.rpartition(b".")
    if _is_hidden(entry.name) or not dot or suffix.lower() not in _SUFFIXES:
        return False
    if not entry.is_symlink():
        return entry.is_file(follow_symlinks=False)
    try:
        return stat.S_ISREG(entry.stat().st_mode)
    except OSError as error:
        if error.errno in _DANGLING:
            return True
        raise


def _size_and_mtime(path: bytes) -> tuple[int, int]:
    """Give bytes and nanoseconds; zeros for a link that leads nowhere."""
    try:
        about = os.stat(path)
    except OSError as error:
        if error.errno in _DANGLING and os.path.islink(path):
            return 0, 0
        raise _unreadable(path, error) from error
    return about.st_size, about.st_mtime_ns


def _unreadable(path: bytes, error: OSError) -> SourceError:
    what = printable(path)
    if error.errno == errno.ENOENT:
        return SourceError(f"{what}: not there (any more). Check the path, and list it again")
    return SourceError(f"{what}: {error.strerror}. Every folder and file must be readable")


# Splits and classes


def _split_folders(keys: Names) -> tuple[str, ...]:
    """Name the splits, if the folders below the root are splits and nothing else."""
    tops: set[str] = set()
    for key in keys:
        top, slash, _ = key.partition(b"/")
        name = printable(top)
        if not slash or role_of(name) is None:
            return ()
        tops.add(name)
    if len(tops) == 1 and role_of(*tops) != "train":
        return ()
    return sorted_names(tops)


def _split_codes(keys: Names, names: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    codes = {name.encode(): code for code, name in enumerate(names)}
    found = (codes[key.partition(b"/")[0]] for key in keys)
    return np.fromiter(found, dtype=np.uint8, count=len(keys))


def _choose(
    keys: Names, labels: FolderLabels, *, skip: int, top: Path
) -> Literal["folder", "name", "none"]:
    """Decide where the labels stand; the first `skip` parts of a key are no classes."""
    if labels in ("name", "none"):
        return labels
    outside = sum(key.count(b"/") == skip for key in keys)
    inside = len(keys) - outside
    if outside and (inside or labels == "folder"):
        where = "the split folders themselves" if skip else "the folder itself"
        raise SourceError(
            f"{_shown(top)}: {outside} pictures stand in {where} and {inside} in sub-folders, so "
            "not every picture has a class folder. Choose labels 'folder' after moving each into "
            "one, 'name' (the text before the first dot of the file's name), or 'none'"
        )
    if inside:
        return "folder"
    return "name" if _beginnings_repeat(keys) else "none"


def _beginnings_repeat(keys: Names) -> bool:
    """Tell whether names look like classes: two at least, each of two pictures on average."""
    seen = set()
    for key in keys:
        seen.add(_by_beginning(key))
        if len(seen) > len(keys) // 2:
            return False
    return len(seen) >= 2


def _by_folder(skip: int) -> _Classify:
    return lambda key: key.split(b"/", skip + 1)[skip]


def _by_beginning(key: bytes) -> bytes:
    return key.rpartition(b"/")[2].partition(b".")[0]


def _by_pattern(pattern: str | None, labels: FolderLabels) -> _Classify | None:
    if labels not in LABELS:
        raise OptionError(f"labels {labels!r} is unknown. Choose one of {', '.join(LABELS)}")
    if pattern is None:
        return None
    if labels in ("folder", "none"):
        raise OptionError(f"a label pattern and labels {labels!r} contradict each other. Drop one")
    try:
        search = re.compile(pattern)
    except re.error as error:
        raise OptionError(
            f"label pattern {pattern!r}: {error}. Wanted: a regular expression"
        ) from error
    if search.groups != 1:
        raise OptionError(
            f"label pattern {pattern!r} has {search.groups} groups. Wanted: one, around the class; "
            "write other groups as (?:...)"
        )

    def classify(key: bytes) -> bytes:
        match = search.search(key.decode("utf-8", "surrogateescape"))
        if match is None or not match[1]:
            raise SourceError(
                f"{printable(key)}: label pattern {pattern!r} finds no class in this path. "
                "Change the pattern, or move the file away"
            )
        return match[1].encode("utf-8", "surrogateescape")

    return classify


def _classes(keys: Names, classify: _Classify) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Give each picture the number of its class, and the classes in order of their names."""
    seen: dict[bytes, int] = {}
    codes = np.fromiter(
        (seen.setdefault(classify(key), len(seen)) for key in keys), dtype=np.int64, count=len(keys)
    )
    names = np.array([_class_name(name) for name in seen], dtype=object)
    order = np.argsort(names)
    numbers = np.empty(len(names), dtype=np.int64)
    numbers[order] = np.arange(len(names))
    return numbers[codes], tuple(names[order])


def _class_name(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise SourceError(
            f"class name '{printable(name)}' is not UTF-8. Rename the folder or the files"
        ) from error


def _shown(path: Path) -> str:
    return printable(os.fsencode(path))
