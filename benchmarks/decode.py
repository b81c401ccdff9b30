"""Decoding JPEGs: celeiro's kernel beside libjpeg-turbo (simplejpeg) and OpenCV, in one thread.

    python benchmarks/decode.py                       pictures made here, 256×256, quality 90
    python benchmarks/decode.py FOLDER --save NAME    your own
    python benchmarks/decode.py FOLDER --size 256     packed as `celeiro pack --store jpeg` would

All are in memory, and decoded into memory that is used again; each way in turn, as often as there
are rounds; what counts is the median of the rounds' ratios of processor time. Counted are
pictures that the kernel takes: how many it leaves to libjpeg is told. `parsed` is the kernel asked
for a corner of the last row alone: what reading the codes takes of it; `in AVX2` it may not use
wider vectors than processors of the last ten years have; `together` are those of one size in one
call.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import simplejpeg
from pack import RESULTS, machine, make_pictures

from celeiro.format import baseline, jpeg

if TYPE_CHECKING:
    from collections.abc import Callable


def jpegs_of(folder: Path, count: int, size: int | None) -> list[bytes]:
    """Files as they are, or encoded again at a size."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    found = [path.read_bytes() for path in paths[:: max(1, len(paths) // count)][:count]]
    if size is None:
        return found
    resized = (cv2.resize(simplejpeg.decode_jpeg(data), (size, size)) for data in found)
    return [jpeg.encode(image, 90) for image in resized]


def ways(jpegs: list[bytes]) -> dict[str, Callable[[], None]]:
    """Each decodes all of them."""
    rooms = [np.empty(simplejpeg.decode_jpeg(data).shape, np.uint8) for data in jpegs]

    def ours() -> None:
        for data, room in zip(jpegs, rooms, strict=True):
            assert baseline.decode(data, room)

    def parsed() -> None:
        for data, room in zip(jpegs, rooms, strict=True):
            height = len(room)
            assert baseline.decode_part(data, room, (height - 1, 0, height, 4))

    def turbo() -> None:
        for data, room in zip(jpegs, rooms, strict=True):
            simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False, buffer=room)

    def opencv() -> None:
        for data in jpegs:
            cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)

    def together() -> None:
        for some, places in alike:
            assert not baseline.decode_all(some, places[0].shape, places)

    def in_avx2() -> None:
        kernel.celeiro_baseline_lanes(2)
        ours()
        kernel.celeiro_baseline_lanes(4)

    kernel = baseline.compiled()
    by_shape: dict[tuple[int, ...], tuple[list[bytes], list[np.ndarray]]] = {}
    for data, room in zip(jpegs, rooms, strict=True):
        some, places = by_shape.setdefault(room.shape, ([], []))
        some.append(data)
        places.append(room)
    alike = list(by_shape.values())
    return {"simplejpeg": turbo, "ours": ours, "in AVX2": in_avx2, "together": together,
            "parsed": parsed, "opencv": opencv}  # fmt: skip


def main() -> None:
    """Read the command line, decode, tell, keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="?", type=Path, help="a folder of JPEGs")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--size", type=int, help="encode them again, so large, at quality 90")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--save", metavar="NAME", help="keep it as results/decode-NAME.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = given.source or Path(folder)
        if given.source is None:
            make_pictures(source, given.count, 256)
        every = jpegs_of(source, given.count, given.size)
    if baseline.compiled() is None:
        parser.error("there is no kernel here: python hatch_build.py, on x86-64 with AVX2")
    shapes = [simplejpeg.decode_jpeg(data).shape for data in every]
    taken = [data for data, shape in zip(every, shapes, strict=True)
             if baseline.decode(data, np.empty(shape, np.uint8))]  # fmt: skip
    found: dict[str, list[float]] = {}
    each = ways(taken)
    for number in range(given.rounds):
        for name in list(each) if number % 2 else reversed(each):
            began = time.thread_time()
            each[name]()
            found.setdefault(name, []).append(time.thread_time() - began)
    lines = [f"{len(taken)} of {len(every)} JPEGs, {sum(map(len, taken)) / len(taken):,.0f} bytes"]
    for name, times in found.items():
        ratios = [one / other for one, other in zip(times, found["simplejpeg"], strict=True)]
        lines.append(
            f"{name:<12}{statistics.median(ratios):>6.2f} ({min(ratios):.2f}–{max(ratios):.2f}) "
            "of simplejpeg's time"
        )
    print(*lines, sep="\n")
    if given.save:
        kept = {"machine": machine(), "seconds": found, "table": lines}
        (RESULTS / f"decode-{given.save}.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
