"""Reading beside what the machine can do and beside h5py: ratios of interleaved pairs.

    python benchmarks/read.py                    pictures made here
    python benchmarks/read.py FOLDER --save      your own, and keep the result
    python benchmarks/read.py --only pixels jpeg

Every question is a pair, ours and a ceiling or a rival, run one after the other on the same samples
again and again, the first of each pair in turn; what counts is the median of the pairs' ratios, for
a machine that slows down slows both. All read batches of 256 into memory that is used again.

    pixels              bare preadv of the same rows by as many threads
    pixels, h5py        h5py's fancy indexing
    pixels, memory      NumPy copying the same rows within memory, in as many threads
    jpeg                bare simplejpeg on the same JPEGs, in memory, same flags, as many threads
    lossless            bare imagecodecs on the same chunks, in memory, as many threads
    encoded             bare simplejpeg on the same files, in memory
    gzip …              foreign files, 96x96x3: one sample a chunk, and 32 a chunk in blocks
    cold pixels         with the file's pages dropped before each batch: the disk at its best depth
    cold jpeg           the same, beside bare simplejpeg on JPEGs in memory: decoding takes longer
    one                 ds[i] of pixels beside a bare preadv of the row (microseconds above it)
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from pack import RESULTS, machine, make_pictures

import celeiro

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZE = 256
BATCH = 256
THREADS = len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0))


def in_threads(work: Callable[[int, int], object], count: int, threads: int = THREADS) -> None:
    """The same work in plain threads, a share each: what a careful user would write."""
    edges = np.linspace(0, count, threads + 1).astype(int).tolist()
    list(POOL.map(work, edges[:-1], edges[1:]))


POOL = ThreadPoolExecutor(64)


def places_of(path: Path) -> list[tuple[int, int]]:
    """Offset and length of each sample's bytes, as HDF5 tells."""
    with h5py.File(path) as file:
        data = file["imagens"]
        if data.chunks:
            found: list[tuple[int, int]] = []
            data.id.chunk_iter(lambda c: found.append((c.byte_offset, c.size)))
            return found
        base = data.id.get_offset()
        if "imagens_offsets" in file:
            ends = file["imagens_offsets"][:].tolist()
            return [(base + a, b - a) for a, b in itertools.pairwise(ends)]
        length = data.id.get_storage_size() // len(data)
        return [(base + at * length, length) for at in range(len(data))]


def ours(path: Path, out: Any, **options: Any) -> Any:
    """Reading with celeiro."""
    ds = celeiro.open(path, **options)
    if ds.cache is not None:
        assert ds.cache.wait(), "the cache did not fill"
        print(f"  {ds.cache!r}", file=sys.stderr)

    def run(wanted: Any) -> Any:
        return ds.read(wanted, out=out)

    return run


def bare_preadv(path: Path, out: Any, threads: int = THREADS) -> Any:
    """Preadv of each row into its place."""
    places = places_of(path)
    fd = os.open(path, os.O_RDONLY)
    view = memoryview(out.reshape(-1))
    length = places[0][1]

    def run(wanted: Any) -> None:
        numbers = wanted.tolist()

        def work(first: int, last: int) -> None:
            for at in range(first, last):
                os.preadv(fd, (view[at * length : (at + 1) * length],), places[numbers[at]][0])

        in_threads(work, len(numbers), threads)

    return run


def bare_copy(path: Path, out: Any) -> Any:
    """Rows of an array in memory (of huge pages where there are) into their places."""
    ds = celeiro.open(path, cache="memory")
    assert ds.cache is not None
    ds.cache.wait()
    base = places_of(path)[0][0]
    view = ds.cache.look(base, len(ds) * out[0].nbytes)
    rows = np.frombuffer(view, np.uint8).reshape(len(ds), -1)
    flat = out.reshape(len(out), -1)

    def run(wanted: Any) -> None:
        def work(first: int, last: int) -> None:
            for at in range(first, last):
                np.copyto(flat[at], rows[wanted[at]])

        in_threads(work, len(wanted))

    return run


def bare_simplejpeg(path: Path, out: Any, stored: bool = False) -> Any:
    """Simplejpeg on JPEGs that are in memory already; with `stored`, each to its own size."""
    import simplejpeg

    places = places_of(path)
    with path.open("rb") as file:
        whole = file.read()
    jpegs = [whole[offset : offset + length] for offset, length in places]
    del whole

    def run(wanted: Any) -> None:
        numbers = wanted.tolist()

        def work(first: int, last: int) -> None:
            for at in range(first, last):
                buffer = None if stored else out[at]
                simplejpeg.decode_jpeg(
                    jpegs[numbers[at]], "RGB", fastdct=False, fastupsample=False, buffer=buffer
                )

        in_threads(work, len(numbers))

    return run


def bare_blosc(path: Path, out: Any) -> Any:
    """Imagecodecs on chunks that are in memory already."""
    import imagecodecs

    places = places_of(path)
    with path.open("rb") as file:
        whole = file.read()
    chunks = [whole[offset : offset + length] for offset, length in places]

    def run(wanted: Any) -> None:
        numbers = wanted.tolist()

        def work(first: int, last: int) -> None:
            for at in range(first, last):
                imagecodecs.blosc_decode(chunks[numbers[at]], out=out[at].reshape(-1), numthreads=1)

        in_threads(work, len(numbers))

    return run


def h5py_fancy(path: Path, _out: Any, key: str = "imagens") -> Any:
    """h5py's fancy indexing, which wants sorted numbers, none twice."""
    data = h5py.File(path)[key]

    def run(wanted: Any) -> Any:
        order = np.argsort(wanted)
        images = data[wanted[order]]
        return images[np.argsort(order)]

    return run


def h5py_single(path: Path, out: Any, key: str = "imagens") -> Any:
    """h5py, one sample at a time."""
    data = h5py.File(path)[key]

    def run(wanted: Any) -> None:
        for at, number in enumerate(wanted.tolist()):
            out[at] = data[number]

    return run


def dropping(path: Path, run: Any) -> Any:
    """The same with the file's pages dropped before (that is not timed)."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    run.before = lambda: os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return run


def best_depth(path: Path, out: Any) -> Any:
    """Reading the same bytes from the disk with the number of threads that is fastest."""
    places = places_of(path)
    fd = os.open(path, os.O_RDONLY)
    buffers = [bytearray(max(length for _, length in places)) for _ in range(64)]

    def reader(threads: int) -> Any:
        def run(wanted: Any) -> None:
            numbers = wanted.tolist()
            edges = np.linspace(0, len(numbers), threads + 1).astype(int).tolist()

            def work(which: int) -> None:
                for at in range(edges[which], edges[which + 1]):
                    offset, length = places[numbers[at]]
                    os.preadv(fd, (memoryview(buffers[which])[:length],), offset)

            list(POOL.map(work, range(threads)))

        return dropping(path, run)

    rng = np.random.default_rng(1)
    tried = {}
    for threads in (2, 8, 16, 32):
        run = reader(threads)
        times = [timed(run, rng.permutation(len(places))[:BATCH]) for _ in range(5)]
        tried[threads] = statistics.median(times)
    best = min(tried, key=lambda threads: tried[threads])
    print(f"  the disk is fastest with {best} threads", file=sys.stderr)
    return reader(best)


def timed(run: Any, wanted: Any) -> float:
    """Seconds of one batch."""
    before = getattr(run, "before", None)
    if before is not None:
        before()
    began = time.perf_counter()
    run(wanted)
    return time.perf_counter() - began


def race(ours: Any, other: Any, batches: Iterator[Any], pairs: int, repeat: int) -> dict[str, Any]:
    """Both on the same samples, `pairs` times; each time `repeat` batches in a row."""
    for run in (ours, other):
        timed(run, next(batches))
    ratios, speeds = [], []
    for turn in range(pairs):
        some = [next(batches) for _ in range(repeat)]
        order = (ours, other) if turn % 2 else (other, ours)
        seconds = {run: sum(timed(run, wanted) for wanted in some) for run in order}
        ratios.append(seconds[other] / seconds[ours])
        speeds.append(sum(map(len, some)) / seconds[ours])
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {"ratio": middle, "quartiles": [low, high], "samples_s": statistics.median(speeds),
            "pairs": pairs}  # fmt: skip


def shuffled(count: int, batch: int = BATCH) -> Iterator[Any]:
    """Batches of an endless shuffle."""
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(count)
        for first in range(0, count - batch + 1, batch):
            yield order[first : first + batch]


def shuffled_blocks(count: int, block: int, batch: int = BATCH) -> Iterator[Any]:
    """Batches made of whole blocks of neighbours, in random order within."""
    rng = np.random.default_rng(0)
    while True:
        blocks = rng.permutation(count // block)
        for first in range(0, len(blocks) - batch // block + 1, batch // block):
            some = blocks[first : first + batch // block]
            wanted = (some[:, None] * block + np.arange(block)).reshape(-1)
            yield rng.permutation(wanted)


def one_sample(path: Path, pairs: int) -> dict[str, Any]:
    """ds[i] of pixels beside a bare preadv of the same row into fresh memory, microseconds."""
    ds = celeiro.open(path)
    _ = ds.labels
    places = places_of(path)
    fd = os.open(path, os.O_RDONLY)
    rng = np.random.default_rng(0)
    with path.open("rb") as file:  # into the system's cache, which another question has emptied
        while file.read(1 << 24):
            pass
    above, whole = [], []
    for _ in range(max(pairs, 7)):
        wanted = rng.integers(0, len(ds), 400).tolist()
        began = time.perf_counter()
        for number in wanted:
            row = np.empty((SIZE, SIZE, 3), np.uint8)
            os.preadv(fd, (row.data,), places[number][0])
        middle = time.perf_counter()
        for number in wanted:
            _ = ds[number]
        end = time.perf_counter()
        above.append(((end - middle) - (middle - began)) / len(wanted) * 1e6)
        whole.append((end - middle) / len(wanted) * 1e6)
    return {"us_above_copy": statistics.median(above), "us": statistics.median(whole),
            "quartiles": statistics.quantiles(above, n=4)[::2], "pairs": len(above)}  # fmt: skip


def foreign(folder: Path, count: int, per_chunk: int) -> Path:
    """A file as people make them: gzip, 96x96x3, like PCam."""
    path = folder / f"gzip-{per_chunk}.h5"
    if path.exists():
        return path
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (count, 12, 12, 3), dtype=np.uint8)
    images = small.repeat(8, axis=1).repeat(8, axis=2)
    images += rng.integers(0, 8, images.shape, dtype=np.uint8)
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "imagens", data=images, chunks=(per_chunk, 96, 96, 3), compression="gzip"
        )
    return path


def questions(source: Path, folder: Path, only: list[str]) -> Iterator[tuple[str, Any]]:
    """Name, and a function that answers."""
    files: dict[str, Path] = {}

    def packed(store: str) -> Path:
        if store not in files:
            files[store] = folder / f"{store}.h5"
            size = None if store == "encoded" else SIZE
            celeiro.pack(source, files[store], store=store, size=size)  # type: ignore[arg-type]
        return files[store]

    out = np.empty((BATCH, SIZE, SIZE, 3), np.uint8)
    small = np.empty((BATCH, 96, 96, 3), np.uint8)
    count = sum(1 for _ in source.iterdir())

    def pair(path: Path, mine: Any, other: Any, batches: Any = None, repeat: int = 4) -> Any:
        return lambda pairs: race(mine, other, batches or shuffled(count), pairs, repeat)

    def stored(store: str, other: Any) -> Any:
        path = packed(store)
        return pair(path, ours(path, None if store == "encoded" else out), other(path, out))

    def cold(store: str, other: Any) -> Any:
        path = packed(store)
        return pair(path, dropping(path, ours(path, out)), other(path, out), repeat=2)

    def chunked(per_chunk: int, other: Any) -> Any:
        path = foreign(folder, 4096, per_chunk)
        batches = shuffled(4096) if per_chunk == 1 else shuffled_blocks(4096, per_chunk)
        return pair(path, ours(path, small), other(path, small), batches, 1)

    asked: dict[str, Callable[[], Any]] = {
        "pixels": lambda: stored("pixels", bare_preadv),
        "pixels, h5py": lambda: stored("pixels", h5py_fancy),
        "pixels, memory": lambda: pair(
            packed("pixels"),
            ours(packed("pixels"), out, cache="memory"),
            bare_copy(packed("pixels"), out),
        ),
        "jpeg": lambda: stored("jpeg", bare_simplejpeg),
        "lossless": lambda: stored("lossless", bare_blosc),
        "encoded": lambda: stored("encoded", lambda p, o: bare_simplejpeg(p, o, stored=True)),
        "gzip, h5py fancy": lambda: chunked(1, h5py_fancy),
        "gzip, h5py single": lambda: chunked(1, h5py_single),
        "gzip 32, h5py fancy": lambda: chunked(32, h5py_fancy),
        "cold pixels": lambda: cold("pixels", best_depth),
        # Decoding takes longer than the disk: the ceiling is the bare decoder, with all in memory.
        "cold jpeg": lambda: cold("jpeg", bare_simplejpeg),
    }
    for name, ask in asked.items():
        if not only or name in only:
            yield name, ask()
    if not only or "one" in only:
        path = packed("pixels")
        yield "one", lambda pairs: one_sample(path, pairs)


def line(name: str, told: dict[str, Any]) -> str:
    """An answer as people read it."""
    low, high = told["quartiles"]
    if "us" in told:
        return (
            f"{name:<22}{told['us_above_copy']:>8.1f} µs above the copy ({low:.1f}–{high:.1f}), "
            f"{told['us']:.1f} µs in all"
        )
    return f"{name:<22}{told['ratio']:>8.2f} × ({low:.2f}–{high:.2f}){told['samples_s']:>12,.0f}/s"


def main() -> None:
    """Read the command line, race, tell, keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="?", type=Path, help="a flat folder of pictures")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--only", nargs="*", default=[], help="fewer questions")
    parser.add_argument("--made", type=int, default=6000, help="pictures to make without a folder")
    parser.add_argument("--out", type=Path, help="folder to write to (default: a temporary one)")
    parser.add_argument("--save", help="keep the result under this name in benchmarks/results/")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.out) as name:
        folder = Path(name)
        source = given.source
        if source is None:
            source = folder / "pictures"
            make_pictures(source, given.made, 200)
        count = sum(1 for _ in source.iterdir())
        print(f"{count:,} pictures to {SIZE}x{SIZE}, batches of {BATCH}, "
              f"{THREADS} threads, {given.pairs} pairs; {machine()}")  # fmt: skip
        answers = {}
        for question, answer in questions(source, folder, given.only):
            answers[question] = answer(given.pairs)
            print(line(question, answers[question]), flush=True)
    if given.save:
        RESULTS.mkdir(exist_ok=True)
        kept = {"machine": machine(), "batch": BATCH, "threads": THREADS, "answers": answers,
                "table": [line(*item) for item in answers.items()]}  # fmt: skip
        (RESULTS / f"{given.save}.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
