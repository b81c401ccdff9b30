"""`celeiro.extract_features`: what a trained network says of each sample, as a file of its own.

    source ─> Listing ─> plan ─> batches ─> model ─> rows ─> job      resumable, safe, as packing is
              └ labels, names, keys, splits, fields ─────────┘

Batches are cut from the plan, so that the file does not depend on where an earlier run was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from celeiro.care.repack import refuse_source
from celeiro.care.source import listing_of
from celeiro.errors import OptionError, SourceError
from celeiro.features import origin
from celeiro.features.batches import Batches, Kind, OfDataset, OfFiles
from celeiro.features.recipe import DTYPES, FeatureRecipe, Features
from celeiro.format import bfloat16, layout
from celeiro.packing.job import Job, Origin
from celeiro.packing.options import PackOptions
from celeiro.packing.pack import how_of, pack_job
from celeiro.packing.plan import make_plan
from celeiro.packing.recipe import FieldKind, codec_for
from celeiro.packing.sources import list_source
from celeiro.packing.sources.manifest import SUFFIXES
from celeiro.packing.work import unfinished
from celeiro.reading.dataset import Dataset
from celeiro.reading.dataset import open as open_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np

    from celeiro.features.models import Model
    from celeiro.format.bfloat16 import StoredType
    from celeiro.packing.listing import Listing
    from celeiro.packing.outcome import Progress
    from celeiro.packing.report import Report

__all__ = ["FEATURES", "extract_features"]

FEATURES = "features"
"""Name of the samples' data set, as in the book that the classic names come from."""

# Samples that may be made and not yet written, beside those of the batch in hand.
_BUFFER = 512


def extract_features(
    source: str | os.PathLike[str] | Dataset,
    model: str | Callable[..., Any] | Model,
    out: str | os.PathLike[str],
    *,
    layers: str | Sequence[str] = (),
    pool: Literal["model", "avg", "flatten"] = "model",
    weights: str | os.PathLike[str] | None = None,
    size: int | tuple[int, int] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    color: Literal["RGB", "BGR", "GRAY"] | None = None,
    interpolation: str | None = None,
    transform: Callable[..., Any] | Sequence[Any] | None = None,
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    device: str | None = None,
    threads: int | None = None,
    batch_size: int = 64,
    labels: str = "auto",
    on_error: Literal["raise", "skip"] = "raise",
    overwrite: bool = False,
    fresh: bool = False,
    workers: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Write what a model says of each sample into a new file: the data set `features`, (N, D).

    As safe as `pack`: nothing stands under the name `out` until the file is whole, and the same
    call goes on where it was killed. Labels, names, keys, splits and fields go with their samples;
    masks and boxes do not. Memory is that of a few batches, whatever the source.

    Parameters
    ----------
    source
        A file that `celeiro.open` reads; a `Dataset`, which may be a view; or a folder of pictures
        or a table of them, as `pack` takes it.
    model
        ``"timm:NAME"``, ``"torchvision:NAME"``, ``"keras:NAME"`` or ``"onnx:FILE"``; any function
        from a batch to an array, or to several by name; or what
        `celeiro.features.models.open_model` gave.
    out
        The file to make.
    layers
        Whose outputs to take, by the model's own names. The first is the data set `features`, each
        other a field, called as the layer with ``.`` for ``/``. By default what comes before the
        model's classifier.
    pool
        How several axes become one: ``"model"``, as the model itself does; ``"avg"``, the mean over
        rows and columns; ``"flatten"``, all values, as Rosebrock's book has it.
    weights
        A file of weights, loaded without running any code of it; by default those that the model's
        library has.
    size, mean, std, color, interpolation
        What the model wants of pictures, where that is not what it was trained with.
    transform
        Transforms in the place of the model's own, as `Loader` takes them; for functions.
    dtype
        Of `features`. A number that it cannot hold is an error that names the sample. Further
        layers are float32, or float16 where this is.
    device
        Such as ``"cpu"`` or ``"cuda:1"``; by default a GPU where there is one.
    threads
        Of the model on a CPU; by default as many as its library takes. With as many, the file is
        the same to the bit.
    batch_size
        Samples that the model is given at a time. It is part of what the file is.
    labels
        Of a folder: ``"auto"``, ``"folder"``, ``"name"`` or ``"none"``, as `pack` has it.
    on_error
        ``"raise"`` stops at the first damaged sample; ``"skip"`` leaves them out and lists them in
        the report.
    overwrite, fresh, on_progress
        As `pack` has them.
    workers
        Threads that read and transform; by default as many as cores. Does not change the file.

    Returns
    -------
    Report
        As `pack` gives it.

    Raises
    ------
    ModelError
        The model cannot be opened, answers otherwise than it was asked, or with a number that is
        not finite or that `dtype` cannot hold.
    ExistsError, SourceError, PictureError, OptionError, ResumeError, BusyError, SpaceError
        As those of `pack`; what was made so far is kept.

    Examples
    --------
    >>> import numpy as np, tempfile, celeiro
    >>> folder = tempfile.TemporaryDirectory()
    >>> images = np.arange(5 * 8 * 8 * 3, dtype=np.uint8).reshape(5, 8, 8, 3)
    >>> _ = celeiro.pack(images, folder.name + "/images.h5", labels=[0, 1, 0, 1, 0])
    >>> def colour(batch):
    ...     return batch.mean(axis=(1, 2))
    >>> report = extract_features(folder.name + "/images.h5", colour, folder.name + "/colour.h5")
    >>> with celeiro.open(report.path) as ds:
    ...     ds
    <celeiro.Dataset 'colour.h5' pixels (5, 3) float32>
    >>> folder.cleanup()
    """
    if dtype not in DTYPES:
        raise OptionError(f"dtype {dtype!r}: wanted one of {', '.join(DTYPES)}.")
    if batch_size < 1:
        raise OptionError(f"batch_size {batch_size}: wanted 1 or more.")
    if on_error not in ("raise", "skip"):
        raise OptionError(f"on_error {on_error!r}: wanted 'raise' or 'skip'.")
    how = how_of(
        workers=workers, buffer_size=max(_BUFFER, 2 * batch_size), on_error=on_error,
        quarantine=None, on_progress=on_progress,
    )  # fmt: skip
    target = Path(os.path.abspath(out))
    wishes = {
        "layers": (layers,) if isinstance(layers, str) else tuple(layers), "pool": pool,
        "weights": weights, "size": size, "mean": mean, "std": std, "color": color,
        "interpolation": interpolation, "device": device, "threads": threads,
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(_opened(source, labels, target))
        unfinished(target, overwrite=overwrite)  # a name that is taken is told before all the work
        opened = stack.enter_context(_model(model, wishes))
        began = time.perf_counter()
        features, job = _prepared(
            found, opened, transform, dtype=dtype, batch_size=batch_size, workers=how.workers
        )
        stack.callback(features.close)
        # One thread alone asks the model; those that read and transform are beside it.
        alone = replace(how, workers=1, block=batch_size)
        report = pack_job(job, target, alone, overwrite=overwrite, fresh=fresh)
    return replace(report, seconds=time.perf_counter() - began)


# The source


@contextlib.contextmanager
def _opened(
    source: str | os.PathLike[str] | Dataset, labels: str, target: Path
) -> Iterator[Dataset | Listing]:
    """A dataset, or the listing of a folder."""
    if isinstance(source, Dataset):
        refuse_source(source.path, target)
        yield source
    elif is_listed(source):
        yield list_source(source, labels=labels)
    else:
        if labels != "auto":
            raise OptionError(
                f"labels {labels!r} of a file: it has its own, or none. Open it with "
                "celeiro.open(…, labels=…) and give what that gives."
            )
        refuse_source(Path(source), target)
        with open_dataset(source) as ds:
            yield ds


def is_listed(source: str | os.PathLike[str]) -> bool:
    """Whether a source is a folder of pictures or a table of them, and no HDF5 file."""
    path = Path(source)
    return path.is_dir() or path.suffix.lower() in SUFFIXES


# The model


@contextlib.contextmanager
def _model(model: Any, wishes: dict[str, Any]) -> Iterator[Model]:
    """The model opened, and closed afterwards unless it is the caller's."""
    from celeiro.features.models import open_model

    if not _is_open(model):
        opened = open_model(model, **wishes)
        try:
            yield opened
        finally:
            opened.close()
        return
    usual = {"layers": (), "pool": "model"}
    given = [name for name, value in wishes.items() if value != usual.get(name)]
    if given:
        raise OptionError(
            f"{given[0]}={wishes[given[0]]!r} of a model that is open already: give it to "
            "open_model, or a name instead of the model."
        )
    yield model


def _is_open(model: Any) -> bool:
    return all(hasattr(model, name) for name in ("layers", "transforms", "told", "close"))


# The job


def _prepared(
    found: Dataset | Listing,
    model: Model,
    transform: Any,
    *,
    dtype: str,
    batch_size: int,
    workers: int,
) -> tuple[Features, Job]:
    """The model's rows, and the job that writes them."""
    listing, told = _listed(found)
    steps = _steps(model, found, transform)
    fields = _names(model.layers, listing)
    of = OfDataset(found, steps) if isinstance(found, Dataset) else OfFiles(listing, steps)
    batches = Batches(of, listing, batch_size, workers)
    features = Features(batches, model, dtype, listing.root)
    plan = make_plan(listing, PackOptions(store="pixels", key=FEATURES, color=""))
    try:
        sizes, kinds = features.sizes(), features.kinds()
    except BaseException:
        features.close()
        raise
    codec = codec_for(plan.options, (sizes[0],), kinds[0])
    made = tuple(
        FieldKind(name, f"layer{at}", (width,), _numpy(kind))
        for at, (name, width, kind) in enumerate(
            zip(fields, sizes[1:], kinds[1:], strict=True), start=1
        )
    )
    recipe = FeatureRecipe(plan, codec, made, features)
    how = {
        **model.told,
        "layers": dict(zip((FEATURES, *fields), model.layers, strict=True)),
        "batch_size": batch_size,
        "dtype": dtype,
        **({} if transform is None else {"transform": [_told(step) for step in steps]}),
    }
    origin_of = Origin(
        json.loads(json.dumps({"features": how})),
        noted={origin.SOURCE: told},
        has_keys=not isinstance(found, Dataset) or found.keys is not None,
        in_files=not isinstance(found, Dataset),
    )
    return features, Job(plan, codec, None, recipe, origin_of, made)


def _listed(found: Dataset | Listing) -> tuple[Listing, dict[str, Any]]:
    """What goes along with the features, and what is told of where they come from."""
    if isinstance(found, Dataset):
        if not len(found):
            raise SourceError(f"{found.path} holds no sample: there is nothing to look at.")
        listing, told = listing_of(found), origin.of_dataset(found)
    else:
        listing, told = found, origin.of_listing(found)
    # Where something is in a picture means nothing in a row of features.
    return replace(listing, masks=None, boxes=None), told


def _steps(model: Model, found: Dataset | Listing, transform: Any) -> list[Any]:
    """What happens to each sample before the model sees it."""
    if transform is not None:
        return list(transform) if isinstance(transform, (list, tuple)) else [transform]
    whose = found if isinstance(found, Dataset) else Kind((len(found), None, None, 3))
    # Most models want to know what they are given: grey or coloured, red or blue first.
    steps_for = getattr(model, "transforms_for", None)
    return list(model.transforms if steps_for is None else steps_for(whose))


def _names(layers: Sequence[str], listing: Listing) -> list[str]:
    """What the fields of the layers behind the first one are called."""
    beside = tuple(part("") for part in layout.BESIDE)
    names: list[str] = []
    for layer in layers[1:]:
        name = layer.strip("/").replace("/", ".")
        if name in names or name in listing.fields or not name.strip(".") or "\0" in name:
            raise OptionError(
                f"layer {layer!r} would be the field {name!r}, which "
                f"{'the source has' if name in listing.fields else 'is taken, or no name'}. Leave "
                "it out, or make a file of its own of it."
            )
        if name.endswith(beside):
            raise OptionError(
                f"layer {layer!r}: the name of a field must not end in {', '.join(beside)}. Make "
                "a file of its own of it."
            )
        names.append(name)
    return names


def _numpy(kind: StoredType) -> np.dtype[Any]:
    assert not isinstance(kind, bfloat16.Bfloat16)
    return kind


def _told(step: Any) -> str:
    """A transform in words that are the same in every run: no addresses of memory."""
    if type(step).__module__.startswith("celeiro."):
        return repr(step)
    named = step if hasattr(step, "__qualname__") else type(step)
    return f"{named.__module__}.{named.__qualname__}"
