"""`celeiro.pack`: from pictures, wherever they are, to one plain HDF5 file."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from celeiro.errors import OptionError, PictureError, SourceError
from celeiro.format import layout, pictures
from celeiro.format.names import printable
from celeiro.packing import rows
from celeiro.packing.job import How, Job, OnError, identity, run
from celeiro.packing.options import PackOptions, parse_size, parse_split
from celeiro.packing.plan import make_plan
from celeiro.packing.recipe import MaskKind, codec_for
from celeiro.packing.sources import list_source
from celeiro.packing.work import Work, unfinished
from celeiro.storage import local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from celeiro.format.codecs import Compressor
    from celeiro.format.jpeg import Subsampling
    from celeiro.packing.listing import Listing
    from celeiro.packing.options import Check
    from celeiro.packing.outcome import Progress
    from celeiro.packing.plan import Plan
    from celeiro.packing.report import Report
    from celeiro.packing.resize import Mode


def pack(
    source: str | os.PathLike[str] | Iterable[Any],
    out: str | os.PathLike[str],
    *,
    size: int | str | tuple[int, int] | None = None,
    store: layout.Store | None = None,
    key: str = layout.DATA_KEY,
    labels: Any = "auto",
    label_names: Iterable[str] | None = None,
    label_pattern: str | None = None,
    resize: Mode = "stretch",
    color: Literal["RGB", "BGR", "GRAY"] = "RGB",
    quality: int = 90,
    subsampling: Subsampling = "420",
    compressor: Compressor = "zstd",
    max_side: int | None = None,
    split: str | Mapping[str, float] | None = None,
    shuffle: bool = False,
    seed: int = 0,
    check: Check = "header",
    max_pixels: int = pictures.DEFAULT_MAX_PIXELS,
    on_error: Literal["raise", "skip"] | str = "raise",
    quarantine: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    fresh: bool = False,
    workers: int | None = None,
    buffer_size: int = 500,
    on_progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Pack pictures into one HDF5 file.

    Nothing stands under the name `out` until the file is whole. Killed at any moment, the same
    call goes on where it stopped, and the file is byte for byte that of an undisturbed run.

    Parameters
    ----------
    source
        A folder; a manifest (``.csv``, ``.jsonl``, ``.parquet``); or a sequence or iterable of
        arrays, or of ``(array, label)``.
    out
        The file to make. Work stands in ``OUT.partial`` beside it until then.
    size
        ``(height, width)``, ``"256x320"``, or one number for a square, pixels. None keeps sizes.
    store
        ``"pixels"``, ``"jpeg"``, ``"lossless"`` or ``"encoded"``; by default ``"encoded"``
        without a size and ``"pixels"`` with one.
    key
        Name of the samples' data set.
    labels
        For files ``"auto"``, ``"folder"``, ``"name"``, ``"none"`` or the path of a manifest; for
        arrays one label a sample, or None.
    label_names
        For arrays: names of the classes 0, 1, …
    label_pattern
        A regular expression with one group, searched in each path; the group is the class.
    resize
        ``"stretch"`` fills the frame; ``"crop"`` covers it and keeps the centre; ``"pad"`` shows
        the whole picture with zeros around; ``"fit"`` is ``"pad"`` that never enlarges.
    color
        Order of the channels; ``"GRAY"`` gives ``(N, H, W, 1)``.
    quality, subsampling
        Of JPEGs that celeiro encodes: 1 to 100, and ``"444"``, ``"422"`` or ``"420"``.
    compressor
        Of ``"lossless"``: ``"zstd"`` (Blosc, needs hdf5plugin to read) or ``"gzip"``.
    max_side
        With ``"encoded"``: pictures with a longer side are shrunk and encoded again as JPEG.
    split
        Fractions by name, such as ``{"train": 0.9, "val": 0.1}``; stratified by class.
    shuffle
        Store samples in a seeded random order.
    seed
        Of `split` and `shuffle`.
    check
        ``"decode"`` decodes every picture that is stored; mean and deviation are then of that.
    max_pixels
        Pictures with more pixels are refused before they are decoded.
    on_error
        ``"raise"`` stops at the first bad picture; ``"skip"`` leaves bad ones out and lists them
        in the report.
    quarantine
        A folder: as ``"skip"``, and bad pictures are copied there.
    overwrite
        Replace an existing `out`, once the new file is whole.
    fresh
        Throw away what an earlier, interrupted call packed.
    workers
        Threads; by default as many as cores. Does not change the file.
    buffer_size
        Samples that may be in memory at once.
    on_progress
        Called now and then with a `Progress`, in the calling thread.

    Returns
    -------
    Report
        Counts, sizes and everything that was left out.

    Raises
    ------
    ExistsError
        `out` is there already.
    SourceError, PictureError, OptionError, ResumeError, BusyError, SpaceError
        As their names say; what was packed so far is kept.

    Examples
    --------
    >>> import numpy as np, tempfile, h5py
    >>> folder = tempfile.TemporaryDirectory()
    >>> images = np.zeros((3, 8, 8, 3), np.uint8)
    >>> report = pack(images, folder.name + "/tiny.h5", labels=[0, 1, 0])
    >>> with h5py.File(report.path) as file:
    ...     print(file["imagens"].shape, file["labels"][:])
    (3, 8, 8, 3) [0 1 0]
    >>> folder.cleanup()
    """
    if isinstance(source, bytes):  # a path as the system has it
        source = os.fsdecode(source)
    how = how_of(
        workers=workers, buffer_size=buffer_size, on_error=on_error, quarantine=quarantine,
        on_progress=on_progress,
    )  # fmt: skip
    options = options_of(
        source, size=size, store=store, key=key, resize=resize, color=color, quality=quality,
        subsampling=subsampling, compressor=compressor, max_side=max_side, split=split,
        shuffle=shuffle, seed=seed, max_pixels=max_pixels, check=check,
    )  # fmt: skip
    target = Path(os.path.abspath(out))
    if not isinstance(source, (str, os.PathLike)):
        _refuse("label_pattern", label_pattern, "arrays have no paths. Give labels")
        return rows.pack_rows(
            source, target, options, how,
            labels=None if isinstance(labels, str) and labels in ("auto", "none") else labels,
            label_names=label_names, overwrite=overwrite, fresh=fresh,
        )  # fmt: skip
    if not isinstance(labels, (str, os.PathLike)):
        raise OptionError(
            f"labels of type {type(labels).__name__} for a folder or manifest: wanted 'auto', "
            "'folder', 'name', 'none', or the path of a manifest."
        )
    _refuse("label_names", label_names, "it names the classes of arrays, and files have names")
    unfinished(target, overwrite=overwrite)  # a name that is taken is told before a long listing
    job = prepare(source, options, labels=labels, label_pattern=label_pattern)
    return pack_job(job, target, how, overwrite=overwrite, fresh=fresh)


# The steps of `pack`, for the command line: between them it tells what is going on.


def how_of(
    *,
    workers: int | None,
    buffer_size: int,
    on_error: str,
    quarantine: str | os.PathLike[str] | None,
    on_progress: Callable[[Progress], None] | None = None,
) -> How:
    """What does not shape the content, checked; the arguments are those of `pack`."""
    return How(
        workers=local.available_cores() if workers is None else _at_least_one("workers", workers),
        buffer_size=_at_least_one("buffer_size", buffer_size),
        on_error=OnError(on_error)
        if quarantine is None
        else OnError("quarantine", Path(quarantine)),
        on_progress=on_progress,
    )


def options_of(
    source: object,
    *,
    size: int | str | tuple[int, int] | None,
    store: str | None,
    split: str | Mapping[str, float] | None,
    **choices: Any,
) -> PackOptions:
    """What shapes the content, checked; the store is chosen where the caller did not."""
    shape = None if size is None else parse_size(size)
    keeps_sizes = shape is None and isinstance(source, (str, os.PathLike))
    chosen: Any = store or ("encoded" if keeps_sizes else "pixels")
    return PackOptions(store=chosen, size=shape, split=parse_split(split), **choices)


def prepare(
    source: str | os.PathLike[str],
    options: PackOptions,
    *,
    labels: Any = "auto",
    label_pattern: str | None = None,
) -> Job:
    """List a source, draw the plan, and see what its samples have in common."""
    listing = list_source(source, labels=labels, label_pattern=label_pattern)
    return _job(make_plan(listing, options))


def with_options(job: Job, **changes: Any) -> Job:
    """The same plan with another store, size or colour; the source is not listed again."""
    return _job(replace(job.plan, options=replace(job.plan.options, **changes)))


def pack_job(
    job: Job, out: Path, how: How, *, overwrite: bool = False, fresh: bool = False
) -> Report:
    """Pack what is prepared, or go on with it; `out` is an absolute path."""
    work = Work(out, identity(job), sides=job.sides, overwrite=overwrite, fresh=fresh)
    try:
        return run(job, work, how)
    finally:
        work.close()


def raw_size(job: Job) -> int:
    """Bytes of all the job's samples as raw pixels; 0 where they keep sizes of their own."""
    return 0 if job.codec is None else len(job.plan) * math.prod(job.codec.shape)


# What samples have in common


def _job(plan: Plan) -> Job:
    options = plan.options
    if options.store == "encoded":
        return Job(plan, None, None)
    channels = 1 if options.color == "GRAY" else 3
    height, width = options.size or _first_size(plan.listing, options)
    codec = codec_for(options, (height, width, channels), np.dtype(np.uint8))
    return Job(plan, codec, _mask_kind(plan.listing, options, (height, width)))


def _first_size(listing: Listing, options: PackOptions) -> tuple[int, int]:
    """Height and width of the first picture that can be read; without a size all are as it."""
    for task in range(len(listing)):
        try:
            data = local.read_file(listing.path(task), int(listing.sizes[task]))
            return pictures.check(data, max_pixels=options.max_pixels).upright
        except (OSError, PictureError):
            continue
    raise SourceError(f"none of the {len(listing):,} pictures below {listing.root} can be read.")


def _mask_kind(listing: Listing, options: PackOptions, size: tuple[int, int]) -> MaskKind | None:
    """What the first mask that can be read says of all."""
    if listing.masks is None:
        return None
    for task in range(len(listing)):
        try:
            data = local.read_file(listing.mask_path(task))
            mask = pictures.decode_mask(data, max_pixels=options.max_pixels)
        except (OSError, PictureError):
            continue
        return MaskKind((*size, *mask.shape[2:]), mask.dtype, options.compressor)
    raise SourceError(
        f"none of the {len(listing):,} masks can be read; the first is "
        f"{printable(listing.mask_path(0))}."
    )


def _at_least_one(name: str, value: int) -> int:
    if value < 1:
        raise OptionError(f"{name} {value}: wanted 1 or more.")
    return value


def _refuse(name: str, value: object, why: str) -> None:
    if value is not None:
        raise OptionError(f"{name} {value!r} cannot apply: {why}.")
