"""A packed file against the pictures that it was made of.

    encoded             the source's bytes are the stored ones
    pixels, lossless    packing the picture again gives the same values
    jpeg                packing it again gives a JPEG that decodes to the same pixels

Pictures are found by key, and packed again in memory with the options that the file remembers. The
invariant: a difference is told of the sample, never guessed away; where options are not known, that
is said and nothing is compared.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.care.checking.verdict import printed
from celeiro.errors import CeleiroError, FormatError, OptionError, PictureError
from celeiro.format import layout
from celeiro.format.names import printable
from celeiro.packing.job import one_opencv_thread
from celeiro.packing.options import PackOptions
from celeiro.packing.pipeline import Stopped, in_order
from celeiro.packing.plan import Plan
from celeiro.packing.provenance import made_by
from celeiro.packing.recipe import codec_for, recipe_for
from celeiro.packing.sources import list_source
from celeiro.packing.work import DATA
from celeiro.storage import local

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from celeiro.care.checking.streams import Stream
    from celeiro.care.checking.structure import Structure
    from celeiro.care.checking.verdict import Findings
    from celeiro.format.codecs import Codec
    from celeiro.packing.listing import Listing
    from celeiro.packing.recipe import Recipe
    from celeiro.storage.local import File

_BLOCK = 16
_NAMED = 5

_Pair = tuple[int, int]
"""Place in a stream, and number of the picture in the listing."""


@dataclass(frozen=True, slots=True, eq=False)
class _Comparison:
    """What the threads need."""

    disk: File
    stream: Stream
    listing: Listing
    codec: Codec | None
    recipe: Recipe | None
    reencoded: Any

    def __call__(self, block: list[_Pair], stop: threading.Event) -> tuple[int, int, list[Any]]:
        """How many pictures, of how many stored bytes, and which of them differ and how."""
        bad, size = [], 0
        for at, task in block:
            if stop.is_set():
                raise Stopped
            number, length = int(self.stream.numbers[at]), int(self.stream.lengths[at])
            size += length
            problem = self._problem(at, number, task)
            if problem:
                bad.append((number, problem))
        return len(block), size, bad

    def _problem(self, at: int, number: int, task: int) -> str | None:
        data = self.disk.read(int(self.stream.lengths[at]), int(self.stream.starts[at]))
        try:
            if self.recipe is not None:
                return self._differs(data, task)
            source = local.read_file(self.listing.path(task), len(data))
        except OSError as error:
            return f"its source cannot be read: {error.strerror}"
        except PictureError as error:
            return f"its source cannot be packed by now: {error}"
        if self.reencoded is not None and self.reencoded[number]:
            return self._decodes(number, data)
        return None if source == data else "its source is another file by now"

    def _differs(self, data: bytes, task: int) -> str | None:
        assert self.recipe is not None
        assert self.codec is not None
        again = bytes(self.recipe.make(task, None).pieces[DATA].data)
        if again == data:
            return None
        try:
            stored = self.codec.decode(data)
        except FormatError as error:
            return f"it does not decode: {error}"
        same = stored.tobytes() == self.codec.decode(again).tobytes()
        return None if same else "packing its source again gives other pixels"

    def _decodes(self, number: int, data: bytes) -> str | None:
        if self.stream.decode is None:
            return None
        try:
            self.stream.decode(number, data)
        except CeleiroError as error:
            return f"it does not decode: {error}"
        return None


def compare(
    disk: File, structure: Structure, source: Any, found: Findings, *, workers: int,
    told: Callable[..., None],
) -> None:  # fmt: skip
    """Compare every sample with its source; `told` as in foreign.py."""
    keys = structure.keys
    if keys is None:
        raise OptionError(
            f"{disk.path}: it holds no keys, which tell the source of each sample: it was packed "
            "from arrays, or its keys are damaged. Leave out --against."
        )
    listing = list_source(source, labels="none")
    options = options_of(structure.header.provenance)
    if options is None and structure.store != "encoded":
        found.remark(
            "its provenance does not tell how it was packed, so nothing is compared with "
            f"{printed(str(source))}"
        )
        return
    stream = structure.streams[0]
    pairs = _pairs(structure, listing, found)
    codec, recipe = _recipe(structure, listing, options)
    _remark_on_versions(structure.header.provenance, options, found)
    work = _Comparison(
        disk, stream, listing, codec, recipe, structure.columns.get(layout.reencoded(stream.name))
    )
    told(0, 0, [], total=len(pairs))
    blocks = (pairs[at : at + _BLOCK] for at in range(0, len(pairs), _BLOCK))
    with one_opencv_thread():
        results = in_order(blocks, work, workers=workers, window=4 * workers)
        try:
            for count, size, bad in results:
                for number, problem in bad:
                    found.add(stream.name, problem, sample=number, key=keys[number])
                told(count, size, bad)
        finally:
            results.close()


def options_of(provenance: Mapping[str, Any]) -> PackOptions | None:
    """The options that a file was packed with; None where it does not tell them."""
    told = provenance.get("options")
    known = {each.name for each in fields(PackOptions)}
    if not isinstance(told, dict) or "store" not in told or not told.keys() <= known:
        return None
    size = told.get("size")
    try:
        return PackOptions(**{**told, "size": tuple(size) if isinstance(size, list) else size})
    except (CeleiroError, TypeError, ValueError, AttributeError):
        return None


def _pairs(structure: Structure, listing: Listing, found: Findings) -> list[_Pair]:
    """Samples and the pictures that have their keys; what has no partner is told."""
    keys, stream = structure.keys, structure.streams[0]
    assert keys is not None
    tasks = {key: task for task, key in enumerate(listing.keys)}
    pairs = []
    for at, number in enumerate(stream.numbers.tolist()):
        key = keys[number]
        task = tasks.pop(key.encode("utf-8", "surrogateescape"), None)
        if task is None:
            found.add(stream.name, "its source is not there", sample=number, key=key)
        else:
            pairs.append((at, task))
    if tasks:
        names = ", ".join(printable(key) for key in list(tasks)[:_NAMED])
        more = ", …" if len(tasks) > _NAMED else ""
        found.remark(f"{len(tasks):,} pictures of the source are not in the file: {names}{more}")
    return pairs


def _recipe(
    structure: Structure, listing: Listing, options: PackOptions | None
) -> tuple[Codec | None, Recipe | None]:
    if structure.store == "encoded":
        return None, None
    assert options is not None
    assert structure.shape is not None
    codec = codec_for(options, structure.shape, np.dtype(np.uint8))
    return codec, recipe_for(Plan(listing, options), codec, None)


def _remark_on_versions(
    provenance: Mapping[str, Any], options: PackOptions | None, found: Findings
) -> None:
    """Another decoder or resizer may give other pixels of the same picture."""
    then = provenance.get("made_by")
    if options is None or options.store == "encoded" or not isinstance(then, dict):
        return
    now = made_by(options, compressed=options.store == "lossless")
    names = ("opencv", "simplejpeg", "imagecodecs")
    other = [f"{n} {then.get(n)} then, {now[n]} now" for n in names if then.get(n) != now[n]]
    if other:
        found.remark(f"differences may come from other versions: {', '.join(other)}")
