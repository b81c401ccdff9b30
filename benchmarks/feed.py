"""Loaders beside each other: the same photographs, shuffled, in batches of 256, by two workers.

    python benchmarks/feed.py                            pictures made here, all four questions
    python benchmarks/feed.py FOLDER --work DIR --save   your own; what is made for it stays in DIR
    python benchmarks/feed.py --jobs uint8 --only ffcv "bare simplejpeg"
    python benchmarks/feed.py --python ffcv=/path/to/its/python

The questions:

    uint8       pixels of 256x256, height × width × channels or the other way, from JPEGs of
                quality 90 or from raw pixels
    augmented   photographs of about 500x375 to random resized crop of 224, flip, normalise,
                channels first, half precision
    consumer    a consumer that sleeps T ms a batch: max(T, loader) over what a batch took
    first       from the first `next` on a warm file to the first batch, beside one batch's time

Each loader runs in a process of its own that stays for all rounds and is stopped (SIGSTOP) while
another runs. A round measures pairs, ours and a rival, one after the other, the first of each pair
in turn; what counts is the median of the pairs' ratios, for a machine that slows down slows both.
A turn takes whole batches for some seconds, after a few that are not counted. Rivals that are not
installed are left out and named. One file a rival: benchmarks/feed_rivals/.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from feed_rivals import QUALITY, SIZE, Contender, kept, labelled
from pack import RESULTS, machine, make_pictures

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RIVALS = (
    "ours bare torchvision h5py webdataset litdata streaming huggingface lmdb ffcv dali".split()
)
PAIRS = {
    "uint8": {
        "celeiro jpeg": ["bare simplejpeg", "torchvision", "webdataset", "litdata", "streaming",
                         "hf datasets", "lmdb", "lmdb, simplejpeg", "ffcv jpeg", "dali"],
        "celeiro pixels": ["h5py", "ffcv raw"],
        "celeiro memory": ["ffcv raw"],
    },
    "augmented": {
        "celeiro": ["bare simplejpeg", "torchvision", "ffcv", "ffcv, channels last", "dali"],
        "celeiro fast": ["torchvision", "ffcv", "ffcv, channels last", "dali"],
    },
}  # fmt: skip
STAND_IN = "bare simplejpeg"  # what rivals are measured beside where ours is left out
PATIENCE = 400  # seconds for making, compiling, starting; some rivals hang where they fail
UNCOUNTED = 6  # batches: more than any of them keeps ready


def contenders(job: str) -> dict[str, Contender]:
    """All of a question, by name."""
    found: dict[str, Contender] = {}
    for rival in RIVALS:
        found |= getattr(importlib.import_module(f"feed_rivals.{rival}"), job.upper())
    return found


# --- photographs -------------------------------------------------------------------------------


def make_photos(job: str, source: Path | None, count: int, out: Path) -> None:
    """The photographs that all contenders start from: `out/CLASS/NUMBER.jpg`."""
    if source is None:
        source = out.with_name(out.name + "-pictures")
        make_pictures(source, count, SIZE if job == "uint8" else 433)  # 433² pixels are 500×375
    found = sorted(path for path in source.iterdir() if path.is_file())
    for number in range(count):
        path, again = found[number % len(found)], number // len(found)
        place = out / path.name.split(".")[0] / f"{number:06}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        if job == "uint8":
            small(path, again, place)
        else:
            shutil.copyfile(path, place)


def small(path: Path, again: int, place: Path) -> None:
    """One picture at 256x256, a little different each time it comes again."""
    import cv2

    image = cv2.imread(str(path))
    margin = 3 * again
    image = image[margin : len(image) - margin, margin : image.shape[1] - margin]
    image = cv2.resize(image[:, :: -1 if again % 2 else 1], (SIZE, SIZE), None, 0, 0,
                       cv2.INTER_AREA)  # fmt: skip
    cv2.imwrite(str(place), image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


# --- a contender's own process -----------------------------------------------------------------


def run_one(job: str, name: str, photos: Path) -> None:
    """Make, start, then answer each line that names seconds by one that tells samples a second."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer

    def answer(told: dict[str, Any]) -> None:
        answers.write(json.dumps(told) + "\n")
        answers.flush()

    batches, told = begun(contenders(job)[name], photos)
    answer(told)
    for line in sys.stdin:
        answer({"rate": rate(batches, float(line))})


def begun(contender: Contender, photos: Path) -> tuple[Iterator[Any], dict[str, Any]]:
    """Its batches, and what the first looks like."""
    batches = contender.feed(contender.ready(photos))
    images, labels = next(batches)
    assert len(images) == len(labels), (len(images), len(labels))
    versions = {}
    for package in contender.packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # found by path, like ours in its own repository
            versions[package] = ""
    return batches, {
        "shape": list(images.shape),
        "dtype": str(images.dtype).removeprefix("torch."),
        "classes": len({int(label) for label in labels.reshape(-1)}),
        "versions": versions,
    }


def rate(batches: Iterator[Any], seconds: float) -> float:
    """Samples a second, over whole batches, from one arrival to another."""
    for _ in range(UNCOUNTED):
        next(batches)
    count = 0
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        count += len(next(batches)[0])
    return count / took


class Runner:
    """That process as the race sees it: stopped but for its turns."""

    def __init__(self, job: str, name: str, photos: Path, pythons: dict[str, str]) -> None:
        self.words = photos.with_name(f"{photos.name}-{name.replace(' ', '-')}.log")
        python = pythons.get(name.split()[0].strip(","), sys.executable)
        command = [python, __file__, str(photos), "--one", job, name]
        with self.words.open("w") as words:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, text=True,
                process_group=0, env={**os.environ, "PYTHONWARNINGS": "ignore"},
            )  # fmt: skip
        self.told = self._answer()
        self._signal(signal.SIGSTOP)

    def run(self, seconds: float) -> float:
        """A turn."""
        assert self.process.stdin
        self._signal(signal.SIGCONT)
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        told = self._answer()
        self._signal(signal.SIGSTOP)
        return float(told["rate"])

    def end(self) -> None:
        """Let it go, with its workers."""
        assert self.process.stdin
        if self.process.poll() is None:
            self.process.stdin.close()
            self._signal(signal.SIGCONT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        self._signal(signal.SIGKILL)
        self.process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        there = select.select([self.process.stdout], [], [], PATIENCE)[0]
        line = self.process.stdout.readline() if there else ""
        if not line:
            self._signal(signal.SIGKILL)
            self.process.wait()
            words = self.words.read_text().strip().splitlines() or ["it said nothing"]
            raise RuntimeError(words[-1] if there else f"no answer in {PATIENCE} s: {words[-1]}")
        told: dict[str, Any] = json.loads(line)
        return told

    def _signal(self, which: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, which)


# --- the race ----------------------------------------------------------------------------------


def race(job: str, photos: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Pairs in turn, round after round."""
    runners: dict[str, Runner] = {}
    left_out: dict[str, str] = {}
    try:
        for name in names(job, given.only):
            try:
                runners[name] = Runner(job, name, photos, given.python)
                print(f"  {name}: {told(runners[name].told)}", file=sys.stderr)
            except RuntimeError as error:
                left_out[name] = str(error)
        pairs = paired(job, runners)
        turns: list[dict[str, Any]] = []
        for number in range(given.rounds):
            for pair in pairs:
                order = pair if number % 2 == 0 else pair[::-1]
                rates = {name: runners[name].run(given.seconds) for name in order}
                turns.append({"pair": pair, "rates": rates})
                print(".", end="", flush=True, file=sys.stderr)
        print(file=sys.stderr)
    finally:
        for runner in runners.values():
            runner.end()
    return {"left_out": left_out, "turns": turns,
            "contenders": {name: runner.told for name, runner in runners.items()}}  # fmt: skip


def names(job: str, only: list[str]) -> list[str]:
    """Who runs: ours and the stand-in always, rivals if they are asked for."""
    every = [*PAIRS[job], *(rival for rivals in PAIRS[job].values() for rival in rivals)]
    return [name for name in dict.fromkeys(every)
            if not only or name in PAIRS[job] or name == STAND_IN or name in only]  # fmt: skip


def paired(job: str, there: Iterable[str]) -> list[tuple[str, ...]]:
    """Ours and each rival; the ceiling and each rival where ours is left out."""
    pairs: list[tuple[str, ...]] = []
    for ours, rivals in PAIRS[job].items():
        reference = ours if ours in there else STAND_IN
        for rival in rivals:
            pair = (reference, rival) if reference != rival else (rival,)
            if all(name in there for name in pair) and pair not in pairs:
                pairs.append(pair)
    return pairs


def told(first: dict[str, Any]) -> str:
    """What its first batch looked like, and its versions."""
    versions = ", ".join(f"{name} {number}".strip() for name, number in first["versions"].items())
    shape = "×".join(map(str, first["shape"]))
    return f"{shape} {first['dtype']}, {first['classes']} classes; {versions}"


def spread(values: list[float], style: str) -> str:
    """The median, and the least and the most."""
    ends = f"({min(values):{style}}–{max(values):{style}})"
    return f"{statistics.median(values):>9{style}}{ends:>16}"


def table(found: dict[str, Any]) -> list[str]:
    """The result as people read it."""
    rates: dict[str, list[float]] = {}
    ratios: dict[tuple[str, ...], list[float]] = {}
    for turn in found["turns"]:
        for name, value in turn["rates"].items():
            rates.setdefault(name, []).append(value)
        if len(turn["pair"]) == 2:
            ours, rival = (turn["rates"][name] for name in turn["pair"])
            ratios.setdefault(tuple(turn["pair"]), []).append(ours / rival)
    lines = [f"{'':<22}{'img/s':>9}{'(min–max)':>16}"]
    lines += [f"{name:<22}{spread(values, ',.0f')}" for name, values in rates.items()]
    lines += [f"{ours} / {rival:<{41 - len(ours)}}{spread(values, '.2f')} ×"
              for (ours, rival), values in ratios.items()]  # fmt: skip
    lines += [f"left out: {name}: {why}" for name, why in found["left_out"].items()]
    return lines


def main() -> None:
    """Read the command line, race, tell, keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="?", type=Path, help="a flat folder of photographs")
    parser.add_argument("--jobs", nargs="*", choices=[*PAIRS, "consumer", "first"],
                        default=[*PAIRS, "consumer", "first"])  # fmt: skip
    parser.add_argument("--only", nargs="*", default=[], help="fewer rivals")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn")
    parser.add_argument("--count", type=int, default=5000, help="photographs of 256x256")
    parser.add_argument("--originals", type=int, default=2000, help="photographs of 500x375")
    parser.add_argument("--work", type=Path, help="folder that keeps what is made (default: none)")
    parser.add_argument("--python", nargs="*", default=[], metavar="RIVAL=PYTHON",
                        help="interpreters of those that need their own")  # fmt: skip
    parser.add_argument("--save", nargs="?", const="", metavar="NAME",
                        help="keep results as benchmarks/results/feed-[NAME-]JOB.json")  # fmt: skip
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that contenders are ended, too
    if given.one:
        run_one(*given.one, given.source)
        return
    given.python = dict(pair.split("=", 1) for pair in given.python)
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        for job in given.jobs:
            ask(job, work, given)


def ask(job: str, work: Path, given: argparse.Namespace) -> None:
    """One question: answer, print, keep."""
    job_of_photos = "augmented" if job == "augmented" else "uint8"
    count = given.originals if job == "augmented" else given.count
    origin = given.source.resolve().name if given.source else "made"
    photos = kept(work / f"{job_of_photos}-{origin}-{count}", make_photos,
                  job_of_photos, given.source, count)  # fmt: skip
    sizes = [path.stat().st_size for path, _ in labelled(photos)]
    print(f"{job}: {len(sizes):,} photographs of {np.mean(sizes) / 1e3:.1f} kB; "
          f"{given.rounds} rounds; {machine()}", flush=True)  # fmt: skip
    if job in PAIRS:
        found = race(job, photos, given)
        lines = table(found)
    else:
        import feed_waits

        found, lines = feed_waits.answer(job, photos, given)
    print("\n".join(lines), flush=True)
    if given.save is not None:
        RESULTS.mkdir(exist_ok=True)
        name = "-".join(filter(None, ["feed", given.save, job]))
        result = {"machine": machine(), "photographs": len(sizes), "mean_bytes": np.mean(sizes),
                  "origin": origin, **found, "table": lines}  # fmt: skip
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
