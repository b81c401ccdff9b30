"""`celeiro.repack`: from any dataset to any store, by the machinery of packing.

    Dataset ─> Listing ─> plan ─> recipe ─> job        resumable, safe, the same bytes every time

What can stay as it is stays: the files of `encoded`, the JPEGs of `jpeg` of the same size. Values
are never rounded: a type that cannot hold them is an error that names the sample.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from celeiro.care.source import SamplesOf, has_masks, listing_of
from celeiro.errors import OptionError, SampleError, SourceError
from celeiro.format import layout, pictures
from celeiro.format.bfloat16 import BFLOAT16, Bfloat16, spelled, type_of
from celeiro.format.codecs import JpegCodec
from celeiro.packing.again import ArrayRecipe, Conversion, StoredRecipe, check_flip
from celeiro.packing.job import Job, Origin
from celeiro.packing.options import PackOptions, parse_size, parse_split
from celeiro.packing.order import shuffled
from celeiro.packing.pack import how_of, pack_job
from celeiro.packing.plan import make_plan
from celeiro.packing.recipe import MASK, MaskKind, codec_for, recipe_for
from celeiro.reading import hdf5
from celeiro.reading.dataset import Dataset
from celeiro.reading.dataset import open as open_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from celeiro.format.bfloat16 import StoredType
    from celeiro.format.codecs import Compressor
    from celeiro.format.jpeg import Subsampling
    from celeiro.packing.options import Check
    from celeiro.packing.outcome import Progress
    from celeiro.packing.plan import Plan
    from celeiro.packing.recipe import Recipe
    from celeiro.packing.report import Report
    from celeiro.packing.resize import Mode


def repack(
    source: str | os.PathLike[str] | Dataset,
    out: str | os.PathLike[str],
    *,
    store: layout.Store,
    size: int | str | tuple[int, int] | None = None,
    dtype: npt.DTypeLike | Bfloat16 | None = None,
    scale: float = 1.0,
    key: str | None = None,
    resize: Mode = "stretch",
    color: Literal["RGB", "BGR"] | None = None,
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
    overwrite: bool = False,
    fresh: bool = False,
    workers: int | None = None,
    buffer_size: int = 500,
    on_progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Write the samples of a dataset into a new file, in any store.

    As safe as `pack`: nothing stands under the name `out` until the file is whole, and the same
    call goes on where it was killed. Labels, names, keys, splits, fields, masks and boxes go with
    their samples.

    Parameters
    ----------
    source
        A file that `celeiro.open` reads, or a `Dataset`, which may be a view.
    out
        The file to make.
    store
        ``"pixels"``, ``"jpeg"``, ``"lossless"`` or ``"encoded"``. Picture files (``encoded``) and
        JPEGs (``jpeg``) of the same size are taken over untouched; arrays become PNGs in
        ``encoded``.
    size, resize, quality, subsampling, compressor, max_side, shuffle, seed, check, max_pixels
        As `pack` has them.
    dtype
        Type to store the values in, one of NumPy's or ``"bfloat16"``; by default theirs. A value
        that it cannot hold is an error.
    scale
        Factor that values are multiplied by first: 255 makes bytes of floats from 0 to 1. Floats
        are rounded as products are; a whole number must have been meant.
    key
        Name of the samples' data set; by default what it is in the source.
    color
        Order of the channels to store, RGB or BGR; by default theirs. Channels of a foreign file,
        which does not say its order, are taken for what this says, or RGB, and not turned.
    split
        Fractions by name, in the place of the splits that the source has.
    on_error
        ``"raise"`` stops at the first damaged sample; ``"skip"`` leaves them out and lists them in
        the report.
    overwrite, fresh, workers, buffer_size, on_progress
        As `pack` has them.

    Returns
    -------
    Report
        As `pack` gives it.

    Raises
    ------
    OptionError
        The store cannot hold such samples, or options contradict each other.
    PictureError
        The first sample that is damaged, or that the store or type cannot hold.
    """
    if isinstance(source, Dataset):
        ds, close = source, False
    else:
        ds, close = open_dataset(source), True
    try:
        how = how_of(
            workers=workers, buffer_size=buffer_size, on_error=on_error, quarantine=None,
            on_progress=on_progress,
        )  # fmt: skip
        options = PackOptions(
            store=store, size=None if size is None else parse_size(size), key=key or _key(ds),
            resize=resize, color=_color(ds, store, color), quality=quality,
            subsampling=subsampling, compressor=compressor, max_side=max_side,
            split=parse_split(split), shuffle=shuffle, seed=seed, check=check,
            max_pixels=max_pixels,
        )  # fmt: skip
        target = Path(os.path.abspath(out))
        refuse_source(ds.path, target)
        job = job_of(ds, options, dtype=dtype, scale=scale)
        return pack_job(job, target, how, overwrite=overwrite, fresh=fresh)
    finally:
        if close:
            ds.close()


def refuse_source(source: Path, target: Path) -> None:
    """Refuse an output that is the source, whatever it is called; OptionError."""
    if target.exists() and os.path.exists(source) and os.path.samefile(target, source):
        raise OptionError(
            f"{target} is the source itself. Give another name for the new file; the old one can "
            "be removed afterwards."
        )


def job_of(
    ds: Dataset,
    options: PackOptions,
    *,
    dtype: npt.DTypeLike | Bfloat16 | None = None,
    scale: float = 1.0,
) -> Job:
    """The job that packs a dataset again.

    Raises
    ------
    OptionError, SourceError
        As `repack`.
    """
    if not len(ds):
        raise SourceError(f"{ds.path} holds no sample: there is nothing to pack.")
    listing = listing_of(ds)
    if options.split:
        listing = replace(listing, splits=None, split_names=())
    plan = make_plan(listing, options)
    rows = np.arange(len(ds), dtype=np.int64)
    if options.shuffle:
        rows = rows[shuffled(len(ds), options.seed)]
    samples = SamplesOf(ds, rows, ds.reencoded)
    wanted, scale = _type(ds, dtype), _factor(scale)
    plain = _is_theirs(wanted, ds) and scale == 1.0
    if "encoded" in (ds.store, options.store):
        if not plain:
            raise OptionError(
                "dtype and scale are for arrays, and store 'encoded' holds picture files of 8 "
                "bits. Leave them out."
            )
        return _job_of_files(ds, plan, samples)
    order = _order(ds)
    flip = order is not None and check_flip(options.color, order, ds.shape[-1] or 0)
    codec = codec_for(options, _shape(ds, options), wanted.newbyteorder("<"))
    mask = _mask_kind(ds, options, codec.shape[:2])
    recipe: Recipe
    kept = ds.store == "jpeg" == options.store and codec.shape == ds.shape[1:] and plain
    if isinstance(codec, JpegCodec) and kept:
        _refuse_turned(ds)
        recipe = StoredRecipe(plan, codec, samples, mask)
    else:
        convert = Conversion(wanted.newbyteorder("="), scale, flip)
        recipe = ArrayRecipe(plan, codec, samples, convert, mask)
    asked = {} if plain else {"dtype": spelled(wanted), "scale": scale}
    return Job(plan, codec, mask, recipe, _origin(ds, asked, kept=kept))


def _job_of_files(ds: Dataset, plan: Plan, samples: SamplesOf) -> Job:
    """The job of what is a picture file before or afterwards."""
    options = plan.options
    codec = mask = None
    if options.store != "encoded":
        codec = codec_for(options, (*_frame(ds, options), _channels(options)), ds.dtype)
        mask = _mask_kind(ds, options, codec.shape[:2])
    elif ds.store == "jpeg":
        _refuse_turned(ds)
    kept = ds.store == options.store and options.max_side is None
    recipe = recipe_for(plan, codec, mask, samples)
    return Job(plan, codec, mask, recipe, _origin(ds, {}, kept=kept))


def _origin(ds: Dataset, asked: dict[str, Any], *, kept: bool = False) -> Origin:
    """What the new file says of the old one; `kept`: every sample stays as it is."""
    told = {
        name: ds.provenance[name]
        for name in ("options", "made_by", "source_bytes")
        if name in ds.provenance
    }
    statistics = {
        name: value
        for name, value in ((layout.MEAN, ds.mean), (layout.STD, ds.std))
        if kept and not ds.is_view and value is not None
    }
    return Origin(
        {"repacked_from": {"store": ds.store, **told}, **({"repack": asked} if asked else {})},
        has_keys=ds.keys is not None,
        statistics=statistics,
        measured=_measured(ds) if statistics else layout.MEASURED_STORED,
    )


def _measured(ds: Dataset) -> str:
    """What mean and deviation of a file of ours were taken of."""
    with hdf5.reading(ds.path) as file:
        mean = hdf5.found(file, layout.MEAN)
        told = None if mean is None else hdf5.attribute(mean, layout.ATTR_MEASURED)
    known = (layout.MEASURED_STORED, layout.MEASURED_INPUT)
    return told if told in known else layout.MEASURED_INPUT


def _key(ds: Dataset) -> str:
    """The source's name of its samples, where ours may be called so."""
    name = ds.key.rpartition("/")[2]
    try:
        layout.check_key(name)
    except OptionError:
        return layout.DATA_KEY
    return name


def _color(ds: Dataset, store: str, asked: str | None) -> Any:
    """The order of the channels in the new file; `PackOptions` refuses what it cannot be."""
    if asked is not None:
        return asked
    if store == "encoded":
        return "RGB"
    order = _order(ds)
    if order is None or (store == "jpeg" and order == "BGR"):
        return "RGB"
    return order


def _order(ds: Dataset) -> str | None:
    """The order of the channels that samples come in; "" for no pictures, None if unknown."""
    if ds.store == "encoded":
        return ds.color
    match ds.shape[1:]:
        case (_, _, 1):
            return "GRAY"
        case (_, _, 3):
            return ds.color or None
        case _:
            return ""


def _shape(ds: Dataset, options: PackOptions) -> tuple[int, ...]:
    """Shape of one sample in the new file."""
    shape = tuple(int(side or 0) for side in ds.shape[1:])
    if options.size is None:
        return shape
    if len(shape) not in (2, 3):
        raise OptionError(f"samples of shape {shape} are no pictures, so --size cannot apply.")
    return (*options.size, *shape[2:])


def _frame(ds: Dataset, options: PackOptions) -> tuple[int, int]:
    """Height and width of all pictures of different sizes."""
    if options.size is not None:
        return options.size
    shapes = ds.shapes
    assert shapes is not None
    if (shapes[:, :2] != shapes[0, :2]).any():
        raise OptionError(
            f"{ds.path}: its pictures differ in size, and store {options.store!r} wants one. Give "
            "--size, or --store encoded."
        )
    return int(shapes[0, 0]), int(shapes[0, 1])


def _channels(options: PackOptions) -> int:
    return 1 if options.color == "GRAY" else 3


def _mask_kind(ds: Dataset, options: PackOptions, size: tuple[int, ...]) -> MaskKind | None:
    """What the first mask that can be read says of all."""
    if not has_masks(ds):
        return None
    for row in range(len(ds)):
        try:
            first = ds[MASK][row]
        except SampleError:
            continue
        shape = first.shape if options.size is None else (*size, *first.shape[2:])
        return MaskKind(shape, first.dtype, options.compressor)
    raise SourceError(f"{ds.path}: none of its {len(ds):,} masks can be read.")


def _type(ds: Dataset, dtype: npt.DTypeLike | Bfloat16 | None) -> StoredType:
    if dtype is None:
        return BFLOAT16 if _is_theirs(BFLOAT16, ds) else ds.dtype
    return type_of(dtype)


def _is_theirs(kind: StoredType, ds: Dataset) -> bool:
    """Whether the source has its values in this type."""
    if isinstance(kind, Bfloat16):
        return ds.stored_dtype == str(kind)
    return kind == ds.dtype and ds.stored_dtype == str(ds.dtype)


def _factor(scale: float) -> float:
    if not isinstance(scale, (int, float, np.number)) or not math.isfinite(scale) or not scale:
        raise OptionError(f"scale {scale!r}: wanted a number such as 255, and not 0.")
    return float(scale)


def _refuse_turned(ds: Dataset) -> None:
    if ds.color == "BGR":
        raise OptionError(
            f"{ds.path}: JPEGs have no order of channels until they are decoded, and these shall "
            "stay as they are. Open it without color=."
        )
