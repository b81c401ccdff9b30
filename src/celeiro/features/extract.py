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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from celeiro.care.repack import refuse_source
from celeiro.care.source import listing_of
from celeiro.errors import OptionError, ResumeError, SourceError
from celeiro.features import origin
from celeiro.features.batches import Batches, Kind, OfDataset, OfFiles
from celeiro.features.models.identity import deciding, of_step
from celeiro.features.recipe import DTYPES, FeatureRecipe, Features
from celeiro.feeding.transforms.compose import flat
from celeiro.format import bfloat16, layout
from celeiro.packing.job import Job, Origin, identity, run
from celeiro.packing.options import PackOptions
from celeiro.packing.pack import how_of
from celeiro.packing.plan import make_plan
from celeiro.packing.recipe import BOXES, MASK, FieldKind, codec_for
from celeiro.packing.sources import list_source
from celeiro.packing.sources.manifest import SUFFIXES
from celeiro.packing.work import Work, unfinished, work_folder
from celeiro.reading.dataset import Dataset
from celeiro.reading.dataset import open as open_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from typing_extensions import TypeIs

    from celeiro.features.models import Model
    from celeiro.features.models.identity import Identity
    from celeiro.format.bfloat16 import StoredType
    from celeiro.packing.listing import Listing
    from celeiro.packing.outcome import Progress
    from celeiro.packing.report import Report

__all__ = ["FEATURES", "extract_features"]

FEATURES = "features"
"""Name of the samples' data set, as in the book that the classic names come from."""

# Samples that may be made and not yet written, beside those of the batch in hand.
_BUFFER = 512
# What a field must not be called: a reader takes these for something else.
_TAKEN = layout.RESERVED | {FEATURES, MASK, BOXES}
_MOST_NAME = 255


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
    version: str | None = None,
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
    version
        Of `model` and `transform`, in any words, where they are functions or objects of your own.
        It is then compared in the place of their code when work is gone on with: you vouch that
        the same version does the same.
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
    if version is not None and (not isinstance(version, str) or not version):
        raise OptionError(f"version {version!r}: wanted a text such as '2', or None.")
    how = how_of(
        workers=workers, buffer_size=max(_BUFFER, 2 * batch_size), on_error=on_error,
        quarantine=None, on_progress=on_progress,
    )  # fmt: skip
    target = Path(os.path.abspath(out))
    wishes: dict[str, Any] = {
        "layers": (layers,) if isinstance(layers, str) else tuple(layers), "pool": pool,
        "weights": weights, "size": size, "mean": mean, "std": std, "color": color,
        "interpolation": interpolation, "device": device, "threads": threads,
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(_opened(source, labels, target))
        # What cannot be is told before all the work.
        begun = unfinished(target, overwrite=overwrite)
        if not target.parent.is_dir():
            raise OptionError(
                f"the folder {target.parent} does not exist. Make it, or choose another output."
            )
        listing, told = _listed(found)
        _names(model.layers if _is_open(model) else wishes["layers"], listing)
        opened = stack.enter_context(_model(model, wishes))
        began = time.perf_counter()
        look = _Look(found, listing, told, opened, transform, version)
        if begun is not None and not fresh and version is None:
            _check_known(look, target)
        features, job = _prepared(look, dtype=dtype, batch_size=batch_size, workers=how.workers)
        stack.callback(features.close)
        # This thread alone asks the model; those that read, transform and write are beside it.
        alone = replace(how, workers=1, block=batch_size, here=True)
        work = Work(target, identity(job), sides=job.sides, overwrite=overwrite, fresh=fresh)
        stack.callback(work.close)
        features.expect(work, job.codec)
        report = run(job, work, alone)
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


def _is_open(model: Any) -> TypeIs[Model]:
    return all(hasattr(model, name) for name in ("layers", "transforms", "told", "close"))


# The job


@dataclass(frozen=True, slots=True)
class _Look:
    """What is looked at, and by what."""

    found: Dataset | Listing
    """The samples."""
    listing: Listing
    """What goes along with them."""
    source: dict[str, Any]
    """What is told of where they come from."""
    model: Model
    """Open."""
    transform: Any
    """The caller's, if any."""
    version: str | None
    """Of model and transform, if the caller says so."""

    def steps(self) -> list[Any]:
        """What happens to each sample before the model sees it."""
        if self.transform is not None:
            return list(flat(self.transform))
        found = self.found
        whose = found if isinstance(found, Dataset) else Kind((len(found), None, None, 3))
        # Most models want to know what they are given: grey or coloured, red or blue first.
        steps_for = getattr(self.model, "transforms_for", None)
        return list(self.model.transforms if steps_for is None else steps_for(whose))

    def identities(self) -> list[Identity]:
        """What is known of the caller's transforms."""
        return [] if self.transform is None else [of_step(step) for step in flat(self.transform)]

    def told(self, fields: Sequence[str]) -> dict[str, Any]:
        """How features are made, but for the shape of batches."""
        told = dict(self.model.told)
        # A model's default has no name: there are layers that are called `features`.
        layers = self.model.layers if told.get("layers", True) else (None,)
        told["layers"] = dict(zip((FEATURES, *fields), layers, strict=True))
        if self.transform is not None:
            told["transform"] = [
                each.told if self.version is None else each.name for each in self.identities()
            ]
        told["version"] = self.version
        if self.version is not None:  # it stands for the code, whatever that is
            told.pop("code", None)
        return told


def _check_known(look: _Look, target: Path) -> None:
    """Refuse to go on with what cannot be known to be the same; ResumeError."""
    of_model = getattr(look.model, "identity", None)
    for each in (*([] if of_model is None else [of_model]), *look.identities()):
        if each.unknown:
            raise ResumeError(
                f"{work_folder(target)} holds unfinished work, and whether this is the same cannot "
                f"be known: {each.unknown}. Give fresh=True (--fresh) to start anew (what was made "
                "is then thrown away); or, from the first call on, version='1' and another "
                "whenever it changes."
            )


def _prepared(look: _Look, *, dtype: str, batch_size: int, workers: int) -> tuple[Features, Job]:
    """The model's rows, and the job that writes them."""
    listing, model, steps = look.listing, look.model, look.steps()
    fields = _names(model.layers, listing)
    ds = look.found if isinstance(look.found, Dataset) else None
    of = OfFiles(listing, steps) if ds is None else OfDataset(ds, steps)
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
    how = {**look.told(fields), "batch_size": batch_size, "dtype": dtype}
    how = json.loads(json.dumps(how))
    origin_of = Origin(
        {FEATURES: deciding(how)},
        noted={FEATURES: how, origin.SOURCE: look.source},
        has_keys=ds is None or ds.keys is not None,
        in_files=ds is None,
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


def _names(layers: Sequence[str], listing: Listing) -> list[str]:
    """What the fields of the layers behind the first one are called."""
    beside = tuple(part("") for part in layout.BESIDE)
    names: list[str] = []
    for layer in layers[1:]:
        name = layer.strip("/").replace("/", ".")
        if name in listing.fields:
            why = "which the source has"
        elif name in names:
            why = "and so would another"
        elif name in _TAKEN:
            why = "a name of the format itself"
        elif not name.strip(".") or not name.isprintable() or len(name.encode()) > _MOST_NAME:
            why = "which is no name of a data set"
        elif name.endswith(beside):
            why = f"whose end, as {', '.join(beside)}, tells of another field"
        else:
            names.append(name)
            continue
        raise OptionError(
            f"layer {layer!r} would be the field {name!r}, {why}. Name it first, which makes it "
            f"the data set {FEATURES!r}; or leave it out, and make a file of its own of it."
        )
    return names


def _numpy(kind: StoredType) -> np.dtype[Any]:
    assert not isinstance(kind, bfloat16.Bfloat16)
    return kind
