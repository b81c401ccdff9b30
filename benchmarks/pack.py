"""Packing beside what people do today: pictures a second, size, memory, in one interleaved run.

    python benchmarks/pack.py                       pictures made here
    python benchmarks/pack.py FOLDER --rounds 5     your own
    python benchmarks/pack.py FOLDER --save         keep the result in benchmarks/results/

Each contender runs in a process of its own, in turn, round after round, so that a machine that
slows down slows all alike; what is compared is the median of each, and ratios of those. Imports
are not counted. What the contenders do, all from the same folder:

    article       cv2.imread, cv2.resize, a buffer of 500 rows, h5py; uint8, which is its best case
    webdataset    the same pictures resized, encoded as JPEG, into tar shards (ShardWriter)
    lmdb          the same, into one LMDB
    cat           every file's bytes into one file: the ceiling of `encoded`
    disk          zeros of the size of the raw pixels, written and synced: the ceiling of `pixels`
    celeiro …     `celeiro.pack` with statistics and checksums; synced, and published

`until written` leaves out celeiro's last fsync, which the others do not do either.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 256
QUALITY = 90
RESULTS = Path(__file__).parent / "results"


def article(source: Path, out: Path) -> dict[str, float]:
    """The loop of the article, as its readers write it."""
    import cv2
    import h5py

    began = time.perf_counter()
    paths = sorted(source.iterdir())
    labels = [p.name.split(".")[0] for p in paths]
    with h5py.File(out, "w") as db:
        data = db.create_dataset("imagens", (len(paths), SIZE, SIZE, 3), dtype="uint8")
        db["labels"] = np.unique(labels, return_inverse=True)[1]
        rows: list[Any] = []
        at = 0
        for path in paths:
            rows.append(cv2.resize(cv2.imread(str(path)), (SIZE, SIZE)))
            if len(rows) == 500:
                data[at : at + len(rows)] = rows
                at += len(rows)
                rows = []
        if rows:
            data[at : at + len(rows)] = rows
    return {"seconds": time.perf_counter() - began}


def jpegs(source: Path) -> Any:
    """Each picture resized and encoded, as the writers of JPEG collections do it."""
    import cv2

    for path in sorted(source.iterdir()):
        image = cv2.resize(cv2.imread(str(path)), (SIZE, SIZE))
        yield path.stem, cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]


def webdataset(source: Path, out: Path) -> dict[str, float]:
    """WebDataset's own writer of shards."""
    import webdataset as wds

    began = time.perf_counter()
    with wds.ShardWriter(f"{out}-%04d.tar", maxcount=5000, verbose=0) as writer:
        for key, data in jpegs(source):
            writer.write({"__key__": key.replace(".", "_"), "jpg": data.tobytes(), "cls": 0})
    seconds = time.perf_counter() - began
    size = 0
    for shard in out.parent.glob(f"{out.name}-*.tar"):
        size += shard.stat().st_size
        shard.unlink()
    return {"seconds": seconds, "bytes": size}


def lmdb(source: Path, out: Path) -> dict[str, float]:
    """One LMDB, a transaction every 500."""
    import lmdb as db

    began = time.perf_counter()
    with db.open(str(out), map_size=1 << 40, subdir=False, sync=False) as env:
        transaction = env.begin(write=True)
        for number, (key, data) in enumerate(jpegs(source)):
            transaction.put(key.encode(), data.tobytes())
            if number % 500 == 499:
                transaction.commit()
                transaction = env.begin(write=True)
        transaction.commit()
    seconds = time.perf_counter() - began
    Path(f"{out}-lock").unlink(missing_ok=True)
    return {"seconds": seconds}


def cat(source: Path, out: Path) -> dict[str, float]:
    """`cat * > out`, as the shell does it for any number of files."""
    began = time.perf_counter()
    command = f"find {source} -type f -print0 | sort -z | xargs -0 cat > {out}"
    subprocess.run(command, shell=True, check=True)
    return {"seconds": time.perf_counter() - began}


def disk(source: Path, out: Path) -> dict[str, float]:
    """As many bytes as the raw pixels, through the page cache to the disk."""
    count = sum(1 for _ in source.iterdir())
    block = np.random.default_rng(0).integers(0, 255, 1 << 22, dtype=np.uint8).tobytes()
    left = count * SIZE * SIZE * 3
    began = time.perf_counter()
    with out.open("wb", buffering=0) as file:
        while left > 0:
            left -= file.write(block[:left])
        written = time.perf_counter() - began
        os.fsync(file.fileno())
    return {"seconds": time.perf_counter() - began, "written": written}


def celeiro(store: str) -> Any:
    """`celeiro.pack` with one store."""

    def run(source: Path, out: Path) -> dict[str, float]:
        import celeiro

        celeiro.pack  # noqa: B018  (loaded when first used; imports are not counted)
        import cv2  # noqa: F401
        import imagecodecs  # noqa: F401

        began = time.perf_counter()
        written = 0.0

        def on_progress(progress: Any) -> None:
            nonlocal written
            written = time.perf_counter() - began

        size = None if store == "encoded" else SIZE
        report = celeiro.pack(source, out, store=store, size=size, on_progress=on_progress)
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "written": written, "payload": report.payload_bytes,
                "sources": report.source_bytes, "raw": report.raw_bytes}  # fmt: skip

    return run


CONTENDERS = {
    "article": article,
    "webdataset": webdataset,
    "lmdb": lmdb,
    "disk": disk,
    "cat": cat,
    **{f"celeiro {s}": celeiro(s) for s in ("pixels", "jpeg", "lossless", "encoded")},
}


def one(name: str, source: Path, folder: Path) -> dict[str, float]:
    """Run a contender in this process, and say what it took."""
    out = folder / "out"
    result = CONTENDERS[name](source, out)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    size = out.stat().st_size if out.exists() else 0
    out.unlink(missing_ok=True)
    return {"bytes": size, "peak": peak} | result


def race(names: list[str], source: Path, folder: Path, rounds: int) -> dict[str, list[Any]]:
    """All contenders, in turn, each in a process of its own."""
    results: dict[str, list[Any]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            command = [sys.executable, __file__, str(source), "--one", name, "--out", str(folder)]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            os.sync()  # the next one does not pay for this one's dirty pages
            if turn:  # the first round warms the page cache
                results[name].append(json.loads(told))
            print(".", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    return results


def middle(runs: list[Any], key: str = "seconds") -> float:
    """The median of one figure."""
    return statistics.median(run.get(key) or run["seconds"] for run in runs)


def table(results: dict[str, list[Any]], count: int, source_bytes: int) -> list[str]:
    """The result as people read it."""
    lines = [
        f"{'':<18}{'pictures/s':>11}{'(min–max)':>16}{'until written':>15}"
        f"{'× article':>11}{'written ×':>11}{'MB':>9}{'peak MB':>9}"
    ]
    base = middle(results["article"]) if "article" in results else None
    for name, runs in results.items():
        seconds = [run["seconds"] for run in runs]
        written = middle(runs, "written")
        times = f"({count / max(seconds):,.0f}–{count / min(seconds):,.0f})"
        ratios = "" if base is None else f"{base / middle(runs):>11.2f}{base / written:>11.2f}"
        lines.append(
            f"{name:<18}{count / middle(runs):>11,.0f}{times:>16}{count / written:>15,.0f}"
            f"{ratios or ' ' * 22}{runs[0]['bytes'] / 1e6:>9,.1f}"
            f"{max(run['peak'] for run in runs) / 1e6:>9,.0f}"
        )
    for name, runs in results.items():
        run = runs[0]
        if "payload" in run:
            lines.append(
                f"{name}: file = {run['bytes'] / run['payload']:.4f} of its samples' bytes, "
                f"{run['bytes'] / source_bytes:.3f} of the sources, "
                f"1/{run['raw'] / run['bytes']:.1f} of raw pixels"
            )
    if "cat" in results and "celeiro encoded" in results:
        ours, ceiling = results["celeiro encoded"], middle(results["cat"])
        lines.append(
            f"encoded beside cat: {ceiling / middle(ours):.2f} of its speed, "
            f"{ceiling / middle(ours, 'written'):.2f} until written"
        )
    return lines


def make_pictures(folder: Path, count: int, side: int) -> None:
    """Photograph-like JPEGs: smooth colours and fine grain."""
    import cv2

    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image = cv2.resize(rng.integers(0, 255, (9, 9, 3)).astype(np.uint8), (side, side),
                           interpolation=cv2.INTER_CUBIC)  # fmt: skip
        grain = rng.integers(-12, 13, image.shape)
        image = np.clip(image.astype(np.int16) + grain, 0, 255).astype(np.uint8)
        path = folder / f"{('cat', 'dog')[number % 2]}.{number}.jpg"
        cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 85])


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = ""
    if Path("/proc/cpuinfo").exists():
        text = Path("/proc/cpuinfo").read_text()
        model = next((x.split(":")[1].strip() for x in text.splitlines() if "model name" in x), "")
    return {
        "cpu": model or platform.processor(),
        "cores": len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }  # fmt: skip


def main() -> None:
    """Read the command line, race, tell, keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="?", type=Path, help="a flat folder of pictures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=CONTENDERS, help="fewer contenders")
    parser.add_argument("--made", type=int, default=2000, help="pictures to make without a folder")
    parser.add_argument("--side", type=int, default=200, help="of those, pixels")
    parser.add_argument("--out", type=Path, help="folder to write to (default: a temporary one)")
    parser.add_argument("--save", help="keep the result under this name in benchmarks/results/")
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given.one, given.source, given.out)))
        return
    with tempfile.TemporaryDirectory(dir=given.out) as folder:
        source = given.source
        if source is None:
            source = Path(folder) / "pictures"
            make_pictures(source, given.made, given.side)
        sizes = [p.stat().st_size for p in source.iterdir()]
        print(f"{len(sizes):,} pictures of {np.mean(sizes) / 1e3:.1f} kB, to {SIZE}x{SIZE}; "
              f"{given.rounds} rounds; {machine()}")  # fmt: skip
        work = Path(folder) / "out"
        work.mkdir()
        results = race(given.only or list(CONTENDERS), source, work, given.rounds)
        lines = table(results, len(sizes), sum(sizes))
    print("\n".join(lines))
    if given.save:
        RESULTS.mkdir(exist_ok=True)
        kept = {"machine": machine(), "pictures": len(sizes), "source_bytes": sum(sizes),
                "results": results, "table": lines}  # fmt: skip
        (RESULTS / f"{given.save}.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
