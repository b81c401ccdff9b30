"""Who waits for whom: a consumer that sleeps, and the first batch. Asked by feed.py.

consumer    the loader alone, then with a consumer that sleeps T a batch, T from below the
            loader's own time to above it: max(T, loader) over what a batch took; 1 is no wait
first       a new process, a warm file: from the first `next` to the first batch; then the time
            of a batch in the same process; then the first batch of another Loader in it
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feed_rivals import ours

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

STORES = {"jpeg": "celeiro jpeg", "pixels": "celeiro pixels"}
FACTORS = (0.5, 0.8, 1.0, 1.25, 2.0)  # T, of the loader's own time
UNCOUNTED = 6  # batches


def answer(job: str, photos: Path, given: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """What was found, and lines for people."""
    python = given.python.get("celeiro", sys.executable)
    tell = told_consumer if job == "consumer" else told_first
    found: dict[str, Any] = {}
    lines: list[str] = []
    for store, name in STORES.items():
        ours.UINT8[name].ready(photos)
        command = [python, __file__, job, str(photos), name, str(given.seconds)]
        found[store] = []
        for _ in range(given.rounds):
            asked = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            if asked.returncode:  # its own words are on the screen
                return found, [*lines, f"left out: {name}"]
            found[store].append(json.loads(asked.stdout))
        lines += tell(store, found[store])
    return {"runs": found}, lines


# --- consumer ----------------------------------------------------------------------------------


def consumer(name: str, photos: Path, seconds: float) -> Any:
    """The loader's time a batch and each T's, in one process."""
    batches = ours.UINT8[name].feed(ours.UINT8[name].ready(photos))
    before = paced(batches, 0, seconds)[0]
    answers = []
    for factor in FACTORS:
        took, slept = paced(batches, factor * before, seconds)
        after = paced(batches, 0, seconds)[0]
        alone = (before + after) / 2  # a machine that slows down slows both
        answers.append({"factor": factor, "alone": alone, "slept": slept, "took": took})
        before = after
    return answers


def paced(batches: Iterator[Any], sleep: float, seconds: float) -> tuple[float, float]:
    """Seconds a batch, all in all, and those of them that the consumer slept."""
    for _ in range(UNCOUNTED):
        next(batches)
        time.sleep(sleep)
    count, slept, began = 0, 0.0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        next(batches)
        count += 1
        if sleep:
            at = time.perf_counter()
            time.sleep(sleep)
            slept += time.perf_counter() - at
    return (time.perf_counter() - began) / count, slept / count


def told_consumer(store: str, runs: list[Any]) -> list[str]:
    """A line for each T."""
    lines = []
    for at, factor in enumerate(FACTORS):
        some = [run[at] for run in runs]
        scores = [max(one["slept"], one["alone"]) / one["took"] for one in some]
        alone, slept, took = (
            1e3 * statistics.median(one[key] for one in some) for key in ("alone", "slept", "took")
        )
        lines.append(
            f"{store:<8} sleeps {factor:4.2f} of the loader's time: {slept:6.1f} ms, loader "
            f"{alone:6.1f} ms, together {took:6.1f} ms: {statistics.median(scores):.3f} "
            f"({min(scores):.3f}–{max(scores):.3f})"
        )
    return lines


# --- first batch -------------------------------------------------------------------------------


def first(name: str, photos: Path, seconds: float) -> Any:
    """The first batch of a process, a later Loader's, and a batch's time, in ms."""
    made = ours.UINT8[name].ready(photos)
    made.read_bytes()  # warm
    import celeiro

    celeiro.Loader  # noqa: B018  (loaded when first used; imports are not counted)
    found = {"first": first_of(made)}
    found["batch"] = 1e3 * paced(ours.feed(made), 0, seconds)[0]
    found["again"] = statistics.median(first_of(made) for _ in range(5))
    return found


def first_of(made: Path) -> float:
    """From `next` to a batch, in ms."""
    from celeiro import Loader

    loader = Loader(made, batch_size=ours.BATCH, shuffle=True, seed=0, workers=ours.WORKERS)
    batches = iter(loader)
    began = time.perf_counter()
    next(batches)
    return 1e3 * (time.perf_counter() - began)


def told_first(store: str, runs: list[Any]) -> list[str]:
    """A line."""
    texts = []
    for key, what in (("first", "first of a process"), ("again", "of another Loader in it")):
        values = [run[key] for run in runs]
        ratio = statistics.median(run[key] / run["batch"] for run in runs)
        texts.append(f"{what} {statistics.median(values):.1f} ms ({min(values):.1f}–"
                     f"{max(values):.1f}), {ratio:.2f} × a batch's time")  # fmt: skip
    batch = statistics.median(run["batch"] for run in runs)
    return [f"{store:<8} {texts[0]}; {texts[1]}; a batch {batch:.1f} ms"]


if __name__ == "__main__":
    question = {"consumer": consumer, "first": first}[sys.argv[1]]
    print(json.dumps(question(sys.argv[3], Path(sys.argv[2]), float(sys.argv[4]))))
