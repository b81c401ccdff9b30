"""`celeiro.doctor`: why reading a file is slow or large, as measured here, and what to do.

    look (anatomy.py)  ─┐
    try (costs.py)     ─┴─> findings ─> one command, or nothing to do

The invariant: nothing is written but a scratch file that is gone afterwards, every measurement is
bounded in time and memory, and what is recommended gives every value again.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.care.measuring import anatomy, costs
from celeiro.care.measuring.costs import Cost
from celeiro.errors import CeleiroError, OptionError
from celeiro.format.bfloat16 import BFLOAT16, type_of
from celeiro.reading.cache import available_memory
from celeiro.reading.dataset import open as open_dataset
from celeiro.storage.local import available_cores

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import PurePath

    import numpy.typing as npt

    from celeiro.care.measuring.anatomy import Colors, Labels, Layout, Values
    from celeiro.care.measuring.costs import Tried
    from celeiro.reading.dataset import Dataset

# Repacking takes a while and twice the disk: less than this is not worth it.
_WORTH = 1.5
# What is to be smaller must be half.
_SMALLER = 0.5
# Nor are less than so many seconds an epoch, nor so many bytes.
_LEAST_SECONDS = 0.05
_LEAST_BYTES = 1 << 20
# Of two stores that are so alike in speed, the smaller one.
_ALIKE = 1.25
# Of the values that were read: enough to tell their range, little beside what was read.
_MOST_VALUES = 16 << 20


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The result of `celeiro.doctor`."""

    path: Path
    """The file."""
    store: str
    """``pixels``, ``jpeg``, ``lossless``, ``encoded``; ``hdf5`` of a file that is not ours."""
    key: str
    """Of the samples' data set."""
    shape: tuple[int | None, ...]
    """Samples first; None for what differs from one to the next."""
    dtype: str
    """Of the values."""
    file_bytes: int
    """Size of the whole file."""
    layout: Layout
    """How the samples stand in it."""
    values: Values | None
    """What they hold, as far as was looked at; None where none could be read."""
    colors: Colors
    """Order of the channels, as far as the file says."""
    labels: Labels | None
    """Whether they are sorted; None where there are none, or they are no classes."""
    epochs: tuple[Cost, ...]
    """What a shuffled epoch costs now: through h5py in two ways, and through celeiro."""
    stores: tuple[Cost, ...]
    """What it would cost after `celeiro repack`."""
    findings: tuple[str, ...]
    """What is wrong, or worth knowing, in sentences."""
    verdict: str
    """What to do, in one sentence."""
    recommended: str | None
    """The store to repack to; None where there is nothing to do."""
    command: str | None
    """The command that does it; None where there is nothing to do."""

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return asdict(self) | {"path": str(self.path)}


def doctor(
    path: str | os.PathLike[str],
    key: str | None = None,
    *,
    labels: str | None = None,
    seconds: float = 1.0,
    workers: int | None = None,
) -> Diagnosis:
    """Tell how a file is laid out, what an epoch costs, and what would make it cheaper.

    Parameters
    ----------
    path
        Any HDF5 file.
    key, labels
        Names of the data sets, as `celeiro.open` takes them.
    seconds
        Of each measurement, about; there are ten.
    workers
        Threads of celeiro; by default as many as cores. h5py has one.

    Raises
    ------
    FormatError
        It is no HDF5 file, is damaged as a whole, or holds no samples.

    Examples
    --------
    >>> import h5py, numpy as np, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> with h5py.File(folder.name + "/a.h5", "w") as file:
    ...     file["images"] = np.zeros((40, 8, 8, 3))
    >>> found = doctor(folder.name + "/a.h5", seconds=0.01)
    >>> found.values.dtype, found.values.fits, found.layout.form
    ('float64', 'uint8', 'contiguous')
    >>> folder.cleanup()
    """
    if not seconds > 0:
        raise OptionError(f"seconds {seconds!r}: wanted more than 0.")
    with open_dataset(path, key, labels=labels, workers=workers) as ds:
        return _examined(ds, Path(os.fsdecode(path)), seconds, workers or available_cores())


def _examined(ds: Dataset, path: Path, seconds: float, workers: int) -> Diagnosis:
    layout = anatomy.layout_of(ds)
    chunk_bytes = _chunk_bytes(ds, layout)
    tried = costs.read_some(ds, chunk_bytes, seconds)
    half = BFLOAT16 if ds.stored_dtype == str(BFLOAT16) else None
    values = anatomy.values_of(_some_values(tried.samples), half) if tried.samples else None
    stored = layout.stored_bytes
    celeiro = costs.through_celeiro(ds, tried, stored, seconds)
    plain = costs.through_h5py(ds, tried, stored, chunk_bytes, seconds)
    stores = costs.of_stores(
        [_converted(sample, values) for sample in tried.samples],
        len(ds),
        stored=None if converts(values) else half,
        encoded=_as_encoded(ds, celeiro),
        workers=workers,
        seconds=seconds,
    )
    order, trouble = _labels(ds)
    colors = anatomy.colors_of(ds)
    free = available_memory()
    asked = {name: ds._opened.options[name] for name in ("key", "labels")}
    ours = ds.store != "hdf5"
    verdict, store = recommend(layout, values, celeiro, stores, ours=ours, memory=free)
    found = (
        *findings(layout, values, order, colors, tried, ours=ours),
        *too_large(layout, stores, free),
        *trouble,
    )
    return Diagnosis(
        path=path,
        store=ds.store,
        key=ds.key,
        shape=ds.shape,
        dtype=ds.stored_dtype,
        file_bytes=ds._opened.file.size,
        layout=layout,
        values=values,
        colors=colors,
        labels=order,
        epochs=(*plain, celeiro),
        stores=stores,
        findings=found,
        verdict=verdict,
        recommended=store,
        command=None if store is None else command(path, store, values, **asked),
    )


# What to say


def findings(
    layout: Layout,
    values: Values | None,
    labels: Labels | None,
    colors: Colors,
    tried: Tried,
    *,
    ours: bool,
) -> Iterator[str]:
    """What is wrong with a file, or worth knowing, the worst first."""
    if tried.why_not:
        yield f"only {len(tried.rows):,} samples were read: {tried.why_not}"
    if layout.asks_hdf5:
        yield f"HDF5 must be asked for every sample, for {layout.asks_hdf5}"
    if layout.amplification > 1.01:
        times = f"{layout.amplification:,.3g} times its values"
        yield f"one random sample costs {times}: {_grid(layout)}"
    elif (layout.chunks_a_sample or 1) > 1:
        yield f"one sample costs {layout.chunks_a_sample:,} reads: it is in so many chunks"
    if values is not None and values.fits is not None:
        yield _too_wide(values, layout.raw_bytes)
    if labels is not None and labels.sorted:
        yield (
            "labels are sorted: shuffle over the whole file, for a shuffle of neighbours or of "
            "blocks would show the network one class after the other"
        )
    if not ours and colors.axis == "first":
        yield f"channels stand before height and width: {colors.why}"


def too_large(layout: Layout, stores: tuple[Cost, ...], memory: int | None) -> Iterator[str]:
    """That an epoch waits for the disk, and which store would end that."""
    if memory is None or layout.stored_bytes <= memory:
        return
    fitting = [c for c in stores if 0 < c.file_bytes <= memory and not c.why_not]
    would = " and ".join(f"{c.way} ({_size(c.file_bytes)})" for c in fitting) or "no store"
    yield (
        f"its {_size(layout.stored_bytes)} do not fit into the {_size(memory)} of memory that are "
        f"free, so that shuffled epochs wait for the disk; {would} would fit"
    )


def recommend(
    layout: Layout,
    values: Values | None,
    now: Cost,
    stores: tuple[Cost, ...],
    *,
    ours: bool,
    memory: int | None,
) -> tuple[str, str | None]:
    """The verdict and the store to repack to, None where there is nothing to do.

    1. A file of ours is as it should be.
    2. Only stores that give every value again come into question; `jpeg` is the user's to choose.
    3. It is worth it where HDF5 need not be asked any more, where an epoch takes two thirds of
       the time or less, or where the same values take half the bytes or less: in a smaller type,
       or of a file that does not fit into memory. Less than 0.05 s or 1 MiB is not.
       Where values stand as in `pixels` already, an epoch that was slower is chance.
    4. The faster store where it fits into half of the memory that is free, else the smaller.
    """
    if ours:
        return "nothing to do: the file is one of celeiro's", None
    able = [cost for cost in stores if cost.way in ("pixels", "lossless") and not cost.why_not]
    if not able:
        return "nothing to recommend: no sample could be read and stored again", None
    best = _best(able, memory)
    gain = now.seconds / best.seconds if now.seconds and best.seconds else 0.0
    if layout.asks_hdf5:
        return f"repack it: HDF5 must be asked for every sample, {_faster(gain)}", best.way
    waits = memory is not None and layout.stored_bytes > memory
    smaller = (waits or converts(values)) and layout.stored_bytes > _LEAST_BYTES
    if smaller and best.file_bytes <= _SMALLER * layout.stored_bytes:
        share = 100 * best.file_bytes / layout.stored_bytes
        return f"repack it: the same values take {share:.2g} % of the bytes", best.way
    alike = layout.plain and not converts(values)
    if not alike and gain >= _WORTH and now.seconds - best.seconds >= _LEAST_SECONDS:
        return f"repack it: {_faster(gain)}", best.way
    return "nothing to do: celeiro.open reads it as it is, and repacking would gain little", None


def command(
    path: PurePath,
    store: str,
    values: Values | None,
    *,
    key: str | None = None,
    labels: str | None = None,
) -> str:
    """The command that makes the file that is recommended.

    Examples
    --------
    >>> from pathlib import PurePosixPath
    >>> command(PurePosixPath("a b.h5"), "pixels", None, key="x")
    "celeiro repack 'a b.h5' 'a b-pixels.h5' --store pixels --from-key x"
    """
    out = path.with_name(f"{path.stem}-{store}.h5")
    words = ["celeiro", "repack", str(path), str(out), "--store", store]
    if values is not None and values.fits is not None and converts(values):
        words += ["--dtype", values.fits]
        words += ["--scale", f"{values.scale:g}"] if values.scale != 1.0 else []
    for option, name in (("--from-key", key), ("--labels", labels)):
        words += [] if name is None else [option, name]
    return shlex.join(words)


def converts(values: Values | None) -> bool:
    """Whether `celeiro repack` makes a smaller type of the values: by a factor, and no offset.

    float16 knows n / 255 too badly: repack refuses what is not a whole number.
    """
    if values is None or values.fits is None or values.offset:
        return False
    return values.scale == 1.0 or values.dtype != "float16"


def _grid(layout: Layout) -> str:
    held = layout.samples_a_chunk or 1
    parts = f"it is in {layout.chunks_a_sample:,} chunks" if layout.chunks_a_sample != 1 else ""
    others = f"a chunk holds {held:,} samples" if held > 1 else "chunks reach beyond it"
    return f"{others}, and {parts}" if parts else others


def _too_wide(values: Values, raw_bytes: int) -> str:
    """What a smaller type would save, and what training must then do."""
    share = type_of(values.fits).itemsize / type_of(values.dtype).itemsize
    text = (
        f"{values.dtype} holds {values.what or 'numbers'} that {values.fits} would hold in "
        f"{100 * share:.3g} % of the bytes ({_size(share * raw_bytes)})"
    )
    if values.scale == 1.0:
        return text
    return f"{text}, if training divides by {values.scale:g}{' and takes 1' * bool(values.offset)}"


def _size(count: float) -> str:
    unit, name = (1e9, "GB") if count >= 1e9 else (1e6, "MB") if count >= 1e6 else (1e3, "kB")
    return f"{count / unit:,.3g} {name}"


def _best(able: list[Cost], memory: int | None) -> Cost:
    fastest = min(able, key=lambda cost: cost.seconds)
    smallest = min(able, key=lambda cost: cost.file_bytes)
    fits = memory is None or fastest.file_bytes <= memory // 2
    alike = smallest.seconds <= _ALIKE * fastest.seconds
    return smallest if alike or not fits else fastest


def _faster(gain: float) -> str:
    if not gain:
        return "and could not be timed"
    times = f"{gain:.1f}" if gain < 9.95 else f"{gain:,.0f}"
    return f"an epoch would be {times} times as fast"


# What is looked at


def _chunk_bytes(ds: Dataset, layout: Layout) -> int:
    """Decoded bytes of the chunks that one sample needs; of the sample itself without chunks."""
    if layout.chunks is None or ds.shapes is not None:
        return 0
    values = 1
    for side in layout.chunks:
        values *= side
    return values * (layout.chunks_a_sample or 1) * ds.dtype.itemsize


def _some_values(samples: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Values of samples, one after the other, as many as are needed to know their range."""
    some, left = [], _MOST_VALUES
    for sample in samples:
        if left <= 0:
            break
        some.append(sample.reshape(-1))
        left -= sample.nbytes
    return np.concatenate(some)


def _converted(sample: npt.NDArray[Any], values: Values | None) -> npt.NDArray[Any]:
    """A sample as the recommended command would store it."""
    return anatomy.narrowed(sample, values) if values is not None and converts(values) else sample


def _labels(ds: Dataset) -> tuple[Labels | None, tuple[str, ...]]:
    try:
        return anatomy.labels_of(ds.labels), ()
    except (CeleiroError, OSError) as error:
        return None, (f"labels cannot be read: {error}",)


def _as_encoded(ds: Dataset, now: Cost) -> Cost:
    """Of the store `encoded`: picture files stay what they are, and then nothing changes."""
    if ds.store != "encoded":
        return Cost("encoded", why_not="not tried: of arrays it makes PNGs")
    return Cost("encoded", now.file_bytes, now.seconds, now.rate, now.tried, now.batch, now.why_not)
