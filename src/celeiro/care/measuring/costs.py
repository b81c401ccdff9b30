"""What a shuffled epoch costs: through h5py, through celeiro, and from each store of ours.

    some samples of the file ─┬─> h5py, in a process of its own     plain.py
                              ├─> celeiro, as the file is
                              └─> each store, in a scratch file ──> celeiro

All read the same samples in the same batches from the system's cache, so that what differs is
the layout; a disk adds its own time to each, by the bytes. The invariant: about a second each,
and memory is bounded, whatever the file claims.
"""

from __future__ import annotations

import logging
import math
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from celeiro.care.measuring import pace, plain
from celeiro.errors import CeleiroError, FormatError, OptionError
from celeiro.format import index, layout
from celeiro.format.checksum import crc32c
from celeiro.format.chunks import ChunkCodec, Filter
from celeiro.format.codecs import Bfloat16Codec, PixelCodec, filter_pipeline
from celeiro.packing.options import PackOptions
from celeiro.packing.recipe import codec_for
from celeiro.reading.samples.chunks import ChunkSamples
from celeiro.reading.samples.rows import RowSamples
from celeiro.reading.samples.widened import WidenedSamples
from celeiro.reading.source import FileSource
from celeiro.storage.local import File

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from celeiro.format.bfloat16 import StoredType
    from celeiro.format.codecs import Codec
    from celeiro.reading.dataset import Dataset
    from celeiro.reading.samples import Samples

log = logging.getLogger(__name__)

H5PY_SINGLE = "h5py, one by one"
H5PY_BATCHES = "h5py, fancy indexing"
CELEIRO = "celeiro, as it is"

# Samples that are tried, and what they may take together when decoded.
_MOST = 2_048
_BUDGET = 64 << 20
# Beside each sample: its checksum, its place, HDF5's own index.
_BESIDE = 48


@dataclass(frozen=True, slots=True)
class Cost:
    """What a shuffled epoch costs in one way, or why it cannot be told."""

    way: str
    """`H5PY_SINGLE`, `H5PY_BATCHES`, `CELEIRO`, or the name of a store."""
    file_bytes: int = 0
    """Of the samples as they stand in the file, or would."""
    seconds: float = 0.0
    """Of an epoch, without waiting for the disk."""
    rate: float = 0.0
    """Samples a second."""
    tried: int = 0
    """Samples that were read to know this."""
    batch: int = 0
    """Samples of one call."""
    why_not: str = ""
    """Why nothing could be measured."""

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Tried:
    """Samples that were read from the file, by which everything is measured."""

    rows: tuple[int, ...]
    """Their numbers, in a random order."""
    samples: list[npt.NDArray[Any]]
    """As celeiro gives them."""
    batch: int
    """Samples of a batch."""
    why_not: str = ""
    """Why there are none, or fewer than were wanted."""


def read_some(ds: Dataset, chunk_bytes: int, seconds: float) -> Tried:
    """Read samples at random until there are enough, or time is up.

    What is read stands in the system's cache afterwards: all that follows finds it there.
    """
    if chunk_bytes > pace.LARGEST:
        return Tried((), [], 0, f"a chunk holds {chunk_bytes:,} bytes: too large to try")
    sizes = _sizes(ds)
    # Of large chunks fewer samples, for each may decode a chunk of its own.
    most = max(32, min(_MOST, (1 << 30) // max(1, chunk_bytes)))
    chosen = pace.pick(sizes, len(ds), most=most, budget=_BUDGET)
    if not chosen:
        return Tried(
            (), [], 0, "no sample is small enough to be tried" if len(ds) else "it is empty"
        )
    rows: list[int] = []
    samples: list[npt.NDArray[Any]] = []
    began = 0.0
    for at in _spans(len(chosen)):
        part = chosen[at]
        try:
            samples += list(ds.read(part))
        except (CeleiroError, OSError) as error:
            return Tried(tuple(rows), samples, _batch(samples), _reason(error))
        rows += part
        began = began or time.perf_counter()  # with the first come libraries, or a process
        if time.perf_counter() - began > seconds:
            break
    return Tried(tuple(rows), samples, _batch(samples))


def through_celeiro(ds: Dataset, tried: Tried, file_bytes: int, seconds: float) -> Cost:
    """An epoch of the file as it is."""
    if not tried.rows:
        return Cost(CELEIRO, file_bytes, why_not=tried.why_not)
    wanted = pace.batches(tried.rows, tried.batch)
    try:
        sample = ds.shape[1:] if ds.shapes is None else None
        read = _into_reused_memory(ds.read, tried.batch, sample, ds.dtype)
        found = pace.run(read, wanted, seconds)
    except (CeleiroError, OSError) as error:
        return Cost(CELEIRO, file_bytes, why_not=_reason(error))
    return _cost(CELEIRO, file_bytes, found, len(ds), tried.batch)


def through_h5py(
    ds: Dataset, tried: Tried, file_bytes: int, chunk_bytes: int, seconds: float
) -> tuple[Cost, Cost]:
    """An epoch through plain h5py: one by one, and by fancy indexing."""
    ways = (H5PY_SINGLE, H5PY_BATCHES)
    if not tried.rows:
        single, batches = (Cost(way, file_bytes, why_not=tried.why_not) for way in ways)
        return single, batches
    encoded = ds.store == "encoded"
    request = plain.Request(
        path=str(ds.path),
        key=ds.key,
        rows=tried.rows,
        batch=0 if encoded else tried.batch,
        seconds=seconds,
        offsets=layout.offsets(ds.key) if encoded else "",
        memory=(2 << 30) + 8 * chunk_bytes,
    )
    found = plain.measure(request)
    none = "picture files are read one by one" if encoded else "only one sample was tried"
    single = _of_step(found.get(plain.SINGLE), none, H5PY_SINGLE, file_bytes, len(ds))
    if single.why_not and plain.BATCHES not in found:
        none = single.why_not
    batches = _of_step(found.get(plain.BATCHES), none, H5PY_BATCHES, file_bytes, len(ds))
    return single, batches


def of_stores(
    samples: list[npt.NDArray[Any]],
    count: int,
    *,
    encoded: Cost,
    workers: int,
    seconds: float,
    stored: StoredType | None = None,
) -> tuple[Cost, ...]:
    """An epoch of each store, were the file packed again.

    Parameters
    ----------
    samples
        Some, of the type that would be stored.
    count
        Samples of the whole file.
    encoded
        What is to be said of that store: only files of pictures can be kept as they are.
    stored
        Type to store them in; by default theirs.
    """
    shapes = {sample.shape for sample in samples}
    costs = []
    for store in layout.STORES:
        if store == "encoded":
            costs.append(encoded)
        elif len(shapes) != 1:
            why = "pictures of many sizes: give --size" if shapes else "no sample could be read"
            costs.append(Cost(store, why_not=why))
        else:
            costs.append(_of_store(store, samples, stored, count, workers, seconds))
    return tuple(costs)


# One store


def _of_store(
    store: str, samples: list[npt.NDArray[Any]], stored: StoredType | None, count: int,
    workers: int, seconds: float,
) -> Cost:  # fmt: skip
    first = samples[0]
    try:
        codec = _codec(store, first.shape, stored or first.dtype)
        payloads = _encoded(codec, samples, seconds)
        with tempfile.TemporaryDirectory(prefix="celeiro-doctor-") as folder:
            scratch = Path(folder) / "samples"
            scratch.write_bytes(b"".join(payloads))
            return _read_back(store, codec, payloads, scratch, count, workers, seconds)
    except OptionError as error:
        return Cost(store, why_not=_reason(error))
    except OSError as error:
        return Cost(store, why_not=f"no scratch file: {error.strerror or error}")


def _codec(store: str, shape: tuple[int, ...], dtype: StoredType) -> Codec:
    return codec_for(PackOptions(store=cast("layout.Store", store)), shape, dtype)


def _encoded(codec: Codec, samples: list[npt.NDArray[Any]], seconds: float) -> list[bytes]:
    """As many as there is time for; one at least."""
    payloads = []
    began = time.perf_counter()
    for sample in samples:
        payloads.append(bytes(codec.encode(np.ascontiguousarray(sample))))
        if time.perf_counter() - began > seconds:
            break
    return payloads


def _read_back(
    store: str, codec: Codec, payloads: list[bytes], scratch: Path, count: int, workers: int,
    seconds: float,
) -> Cost:  # fmt: skip
    file = File(scratch)
    try:
        samples = _samples(codec, payloads, FileSource(file), workers)
        size = min(len(payloads), pace.batch_size(math.prod(codec.shape) * codec.dtype.itemsize))
        order = np.random.default_rng(0).permutation(len(payloads)).tolist()
        read = _into_reused_memory(samples.read, size, codec.shape, codec.dtype)
        wanted = pace.batches(order, size)
        pace.run(read, wanted, 0.0)  # pages, threads and libraries come once
        found = pace.run(read, wanted, seconds)
    finally:
        file.close()
    mean = sum(map(len, payloads)) / len(payloads)
    size_then = int(count * (mean + _BESIDE)) + layout.PAYLOAD_OFFSET
    return _cost(store, size_then, found, count, size)


def _samples(codec: Codec, payloads: list[bytes], source: FileSource, workers: int) -> Samples:
    """The very samples that a file of that store would have, checksums included."""
    count = len(payloads)
    if isinstance(codec, Bfloat16Codec):
        bits = _samples(codec.bits, payloads, source, workers)
        assert isinstance(bits, (RowSamples, ChunkSamples))
        return WidenedSamples(bits, workers=workers)
    if isinstance(codec, PixelCodec):
        rows = index.Rows(0, len(payloads[0]), count)
        return RowSamples(source, rows, codec.shape, codec.dtype, crcs=None, workers=workers)
    lengths = np.array([len(payload) for payload in payloads], np.uint64)
    table = np.stack([np.cumsum(lengths) - lengths, lengths], axis=1)
    pipeline = tuple(Filter(n, 0, options or ()) for n, options in filter_pipeline(codec))
    return ChunkSamples(
        source,
        index.Chunks.of_table((count, *(1 for _ in codec.shape)), table),
        ChunkCodec((1, *codec.shape), codec.dtype, pipeline),
        (count, *codec.shape),
        fill=0,
        crcs=np.array([crc32c(payload) for payload in payloads], np.uint32),
        workers=workers,
    )


# Helpers


def _sizes(ds: Dataset) -> int | npt.NDArray[Any]:
    """Decoded bytes of each sample, or of every one."""
    if ds.shapes is not None:
        sizes: npt.NDArray[Any] = ds.shapes.astype(np.uint64).prod(axis=1)
        return sizes
    return math.prod(side or 0 for side in ds.shape[1:]) * ds.dtype.itemsize


def _spans(count: int) -> list[slice]:
    """Parts of a list, the first of one, each twice as long as the one before, at most 256."""
    spans, at, size = [], 0, 1
    while at < count:
        spans.append(slice(at, min(at + size, count)))
        at, size = at + size, min(2 * size, pace.BATCH)
    return spans


def _batch(samples: list[npt.NDArray[Any]]) -> int:
    if not samples:
        return 0
    mean = sum(sample.nbytes for sample in samples) / len(samples)
    return min(len(samples), pace.batch_size(mean))


def _into_reused_memory(
    read: Callable[..., Any], size: int, sample: tuple[Any, ...] | None, dtype: np.dtype[Any]
) -> Callable[[npt.NDArray[np.int64]], Any]:
    """Reading batches of one size into the same memory, where samples are of one shape."""
    if sample is None:
        return read
    out = np.zeros((size, *sample), dtype)
    return lambda batch: read(batch, out)


def _of_step(step: plain.Step | None, none: str, way: str, file_bytes: int, count: int) -> Cost:
    if step is None or step.error or not step.samples:
        why = none if step is None else step.error or none
        return Cost(way, file_bytes, why_not=why)
    found = pace.Pace(step.samples, step.seconds)
    return _cost(way, file_bytes, found, count, step.batch)


def _cost(way: str, file_bytes: int, found: pace.Pace, count: int, batch: int) -> Cost:
    rate = found.rate
    if not rate:
        return Cost(way, file_bytes, why_not="it was too quick for the clock")
    return Cost(way, file_bytes, count / rate, rate, found.samples, batch)


def _reason(error: Exception) -> str:
    """The first sentence of what is wrong, which has a line of a table to itself."""
    text = (isinstance(error, OSError) and error.strerror) or str(error)
    if isinstance(error, FormatError):
        return text  # which sample, and what to do
    return text.partition("; ")[0].partition(". ")[0].rstrip(".")
