"""A sheet of thumbnails: a strip for each group of samples, drawn by OpenCV.

    [asked]  [nearest]  [next]  …
    cat.17   cat.4201   dog.9
    cat      0.983 cat  0.871 dog

The pictures are those that the features were made of: a file that celeiro opens, or a folder, in
which each sample is found by its key.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import CeleiroError, ExistsError, OptionError
from celeiro.features.likeness.register import Register
from celeiro.features.likeness.result import Duplicates, Neighbours, Suspects
from celeiro.features.origin import SOURCE, change_of, is_plain
from celeiro.format import pictures
from celeiro.format.names import Names
from celeiro.reading.dataset import open as open_dataset
from celeiro.storage.local import read_file, whole

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import numpy.typing as npt

    from celeiro.features.likeness.result import Sample
    from celeiro.reading.dataset import Dataset

    Image = npt.NDArray[np.uint8]
    Result = Neighbours | Duplicates | Suspects

MOST_STRIPS = 20
"""Strips that are drawn of a result."""
_MOST_TILES = 12
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""What a sheet may be written as."""

# Pixels.
_SIDE = 144
_LINE = 15
_GAP = 6
_FRAME = 3
_PAPER, _EMPTY, _INK = 255, 224, (40, 40, 40)
_FRAMES = {"": None, "asked": (160, 90, 30), "odd": (40, 40, 210)}  # blue, green, red
_LETTER = 0.38
"""Of OpenCV's own font, which has ASCII alone."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of a strip."""

    sample: Sample | None
    """What is shown; None of a picture that is not in the file."""
    captions: tuple[str, ...]
    """Two lines at most."""
    frame: str = ""
    """``asked``, ``odd``, or nothing."""


def draw_sheet(
    results: Sequence[Result],
    out: str | os.PathLike[str],
    *,
    features: Dataset,
    images: str | os.PathLike[str] | None = None,
    asked: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> None:
    """Draw results as thumbnails with captions.

    Parameters
    ----------
    results
        What `neighbours`, `duplicates` or `suspects` gave.
    out
        The picture to write: PNG, JPEG or WebP, by its suffix.
    features
        The dataset that was searched.
    images
        The file or folder that the features were made of; by default what their provenance names,
        beside them.
    asked
        The picture file that `neighbours` was asked about, where it is not in the file.
    overwrite
        Replace an existing `out`.

    Raises
    ------
    OptionError, ExistsError
        `out` is no name for a picture, or is taken; or the pictures are not there.
    """
    target = check_target(out, overwrite=overwrite)
    strips = [strip for result in results for strip in _strips(result, features)]
    wanted = {t.sample.number: t.sample.key for strip in strips for t in strip if t.sample}
    with _source(features, images) as source:
        source.find(wanted)
        rows = [[_drawn(tile, _picture(tile, source, asked)) for tile in strip] for strip in strips]
    _write(_joined(rows), target, overwrite=overwrite)


def check_target(out: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """Where a sheet is to stand, before anything is searched."""
    target = Path(os.path.abspath(os.fsdecode(out)))
    if target.suffix.lower() not in SUFFIXES:
        raise OptionError(f"plot {os.fsdecode(out)!r}: wanted a name with {', '.join(SUFFIXES)}.")
    if not target.parent.is_dir():
        raise OptionError(f"plot {target}: no folder {target.parent}. Make it first.")
    if target.is_dir() or (target.exists() and not overwrite):
        raise ExistsError(f"{target} is there already. Choose another name, or overwrite.")
    return target


def changed(features: Dataset, images: str | os.PathLike[str] | None = None) -> str | None:
    """Why the pictures are not those that the features were made of; None where nothing says so.

    Of `images` only a file under the name of the source is looked at: another may hold the same
    pictures in another form, found by their keys.
    """
    told = features.provenance.get(SOURCE)
    if images is None or not isinstance(told, dict):
        return change_of(features.path, features.provenance)
    path = Path(os.path.abspath(os.fsdecode(images)))
    return change_of(path, features.provenance) if path.name == told.get("name") else None


# What is shown


def _strips(result: Result, features: Dataset) -> Iterator[list[Tile]]:
    if isinstance(result, Neighbours):
        first = ("the picture",) if result.of is None else (result.of.name, _label(result.of))
        yield [Tile(result.of, first, "asked")] + [
            Tile(e.sample, (e.sample.name, f"{e.similarity:.3f} {_label(e.sample)}"))
            for e in result.found[:_MOST_TILES]
        ]
    elif isinstance(result, Duplicates):
        for group in result.groups[:MOST_STRIPS]:
            odd = "odd" if group.is_leak or group.labels_differ else ""
            yield [
                Tile(
                    each.sample,
                    (each.sample.name, f"{each.sample.split or ''} {_label(each.sample)}".strip()),
                    odd,
                )
                for each in group.members[:_MOST_TILES]
            ]
    else:
        register = Register(features)
        for each in result.found[:MOST_STRIPS]:
            said = each.said_name or str(each.said)
            line = f"{_label(each.sample)}? {said} {each.score:.2f}"
            near = map(register.of_number, each.neighbours[: _MOST_TILES - 1])
            yield [
                Tile(each.sample, (each.sample.name, line), "odd"),
                *(Tile(sample, (sample.name, _label(sample))) for sample in near),
            ]


def _label(sample: Sample) -> str:
    name = sample.label_name
    return name if name is not None else "" if sample.label is None else str(sample.label)


# Where pictures come from


class _File:
    """Pictures of a file that celeiro opens."""

    def __init__(self, path: Path, count: int) -> None:
        self._ds = open_dataset(path)
        self._count = count
        self._places: dict[int, int] = {}
        if len(self._ds.shape) not in (3, 4):
            raise OptionError(
                f"{path}: its samples are {self._ds.shape}, no pictures. Name the file or folder "
                "that the features were made of with --images."
            )

    def find(self, wanted: dict[int, str | None]) -> None:
        """Look for the samples once, by their keys; by their numbers where there are none."""
        keys = self._ds.keys
        if keys is None or any(key is None for key in wanted.values()):
            if len(self._ds) != self._count:
                raise OptionError(
                    f"{self._ds.path} has {len(self._ds):,} samples and the features "
                    f"{self._count:,}, without keys to tell which is which. Name another with "
                    "--images."
                )
            self._places = {number: number for number in wanted}
            return
        numbers: dict[bytes, list[int]] = {}  # a key may be that of several
        for number, key in wanted.items():
            numbers.setdefault((key or "").encode("utf-8", "surrogateescape"), []).append(number)
        for place, name in _named_so(keys.stored, numbers):
            for number in numbers[name]:
                self._places.setdefault(number, place)

    def picture(self, sample: Sample) -> npt.NDArray[Any] | None:
        """One picture as RGB or grey; None where it is not there."""
        place = self._places.get(sample.number)
        if place is None:
            return None
        found: npt.NDArray[Any] = self._ds.read([place])[0]
        swapped = self._ds.color == "BGR" and found.ndim == 3 and found.shape[2] == 3
        return found[..., ::-1] if swapped else found

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *error: object) -> None:
        self._ds.close()


def _named_so(
    stored: Names | npt.NDArray[np.bytes_], wanted: Collection[bytes]
) -> Iterator[tuple[int, bytes]]:
    """Places of the keys that are wanted, of as many as there may be."""
    if isinstance(stored, Names):
        yield from ((place, key) for place, key in enumerate(stored) if key in wanted)
        return
    for place in np.flatnonzero(np.isin(stored, list(wanted))).tolist():
        yield place, bytes(stored[place])


class _Folder:
    """Pictures of a folder, named by the samples' keys."""

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.realpath(root))

    def find(self, wanted: dict[int, str | None]) -> None:
        """Nothing: the keys are their names."""
        if any(key is None for key in wanted.values()):
            raise OptionError(
                f"{self._root}: a folder, and the features have no keys that tell which picture "
                "is which. Name the file that they were made of with --images."
            )

    def picture(self, sample: Sample) -> npt.NDArray[Any] | None:
        """One picture; None where it is not there, or would stand outside the folder."""
        path = os.path.realpath(self._root / PurePath(sample.key or ""))
        # A file of features may hold any name, such as /etc/passwd.
        if os.path.commonpath([path, self._root]) != str(self._root):
            return None
        try:
            return pictures.decode(read_file(path))
        except OSError:
            return None

    def __enter__(self) -> _Folder:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def _source(features: Dataset, images: str | os.PathLike[str] | None) -> _File | _Folder:
    path = _named(features) if images is None else Path(os.path.abspath(os.fsdecode(images)))
    return _Folder(path) if path.is_dir() else _File(path, len(features))


def _named(features: Dataset) -> Path:
    """The source beside the features that their provenance names."""
    told = features.provenance.get(SOURCE)
    name = told.get("name") if isinstance(told, dict) else None
    path = features.path.parent / name if isinstance(name, str) and is_plain(name) else None
    if path is not None and path.exists():
        return path
    what = "it does not say" if path is None else f"{path.name!r} is not beside it"
    raise OptionError(
        f"{features.path}: where are the pictures? {what}. Name the file or folder that the "
        "features were made of with --images."
    )


def _picture(
    tile: Tile, source: _File | _Folder, asked: str | os.PathLike[str] | None
) -> npt.NDArray[Any] | None:
    try:
        if tile.sample is not None:
            return source.picture(tile.sample)
        return None if asked is None else pictures.decode(read_file(os.fspath(asked)))
    except (CeleiroError, OSError):  # a damaged picture is an empty tile
        return None


# How it is drawn


def _drawn(tile: Tile, picture: npt.NDArray[Any] | None) -> Image:
    """A tile in OpenCV's order of channels, with its captions below."""
    import cv2

    size = _SIDE + 2 * _FRAME
    canvas = np.full((size + 2 * _LINE + 4, size, 3), _PAPER, np.uint8)
    color = _FRAMES[tile.frame]
    if color is not None:
        canvas[:size] = color
    canvas[_FRAME : size - _FRAME, _FRAME : size - _FRAME] = _EMPTY
    if picture is not None and picture.size:
        small = _thumbnail(picture)
        y, x = (_FRAME + (_SIDE - side) // 2 for side in small.shape[:2])
        canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
    for line, text in enumerate(tile.captions[:2]):
        place = (_FRAME, size + (line + 1) * _LINE - 3)
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(canvas, _fitted(text), place, font, _LETTER, _INK, 1, cv2.LINE_AA)
    return canvas


def _thumbnail(picture: npt.NDArray[Any]) -> Image:
    """Blue, green and red of at most `_SIDE` pixels a side."""
    import cv2

    rgb = _three(picture)
    scale = _SIDE / max(rgb.shape[:2])
    width, height = (max(1, round(scale * side)) for side in (rgb.shape[1], rgb.shape[0]))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    small: Image = np.asarray(
        cv2.resize(np.ascontiguousarray(rgb[..., ::-1]), (width, height), interpolation=how),
        np.uint8,
    )
    return small


def _three(picture: npt.NDArray[Any]) -> Image:
    """Red, green and blue of 8 bits, of whatever a sample is."""
    cube = picture.reshape(*picture.shape[:2], -1)
    channels = cube.shape[2]
    if channels not in (3, 4):
        cube = cube[..., np.linspace(0, channels - 1, 3).round().astype(int)]
    cube = cube[..., :3]
    if cube.dtype == np.uint8:
        return cube
    floats = np.nan_to_num(cube.astype(np.float64), posinf=0, neginf=0)
    low, high = floats.min(), floats.max()
    spread: Image = ((floats - low) * (255 / (high - low or 1))).astype(np.uint8)
    return spread


def _fitted(text: str) -> str:
    """As many of the last letters as there is room for: names begin alike and end otherwise."""
    import cv2

    shown = "".join(c if " " <= c <= "~" else "?" for c in text[-200:])
    while len(shown) > 2 and (
        cv2.getTextSize(shown, cv2.FONT_HERSHEY_SIMPLEX, _LETTER, 1)[0][0] > _SIDE + _FRAME
    ):
        shown = ".." + shown.removeprefix("..")[1:]
    return shown


def _joined(rows: list[list[Image]]) -> Image:
    if not rows:
        raise OptionError("plot: nothing was found that could be drawn. Leave --plot out.")
    height, width = (side + _GAP for side in rows[0][0].shape[:2])
    across = max(len(row) for row in rows)
    sheet = np.full((len(rows) * height + _GAP, across * width + _GAP, 3), _PAPER, np.uint8)
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            top, left = _GAP + y * height, _GAP + x * width
            sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def _write(sheet: Image, target: Path, *, overwrite: bool) -> None:
    """The whole sheet, or nothing."""
    import cv2

    _, data = cv2.imencode(target.suffix.lower(), sheet)
    with whole(target, overwrite=overwrite) as made:
        made.write_bytes(data.tobytes())
