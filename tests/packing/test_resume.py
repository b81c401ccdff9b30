"""Killed at any moment, the same call goes on, and the file is that of an undisturbed run."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import simplejpeg

import celeiro

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Nursery

PICTURES = 300
STORES: dict[str, dict[str, Any]] = {
    "pixels": {"store": "pixels", "size": "16x20"},
    "jpeg": {"store": "jpeg", "size": 16, "check": "decode"},
    "lossless": {"store": "lossless", "size": 12, "color": "GRAY"},
    "encoded": {"store": "encoded"},
    # Masks, boxes, splits and a drawn order, all at once, in two stores.
    "fields": {"store": "pixels", "size": 16, "resize": "pad", "shuffle": True},
    "shrunk": {"store": "encoded", "max_side": 20, "split": {"a": 0.5, "b": 0.5}, "seed": 3},
}
FOLDERS = ["pixels", "jpeg", "lossless", "encoded"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny pictures, each with a mask, and a manifest that tells of both."""
    root = tmp_path_factory.mktemp("photos")
    (root / "masks").mkdir()
    (root / "pictures").mkdir()
    rng = np.random.default_rng(0)
    lines = []
    for i in range(PICTURES):
        height, width = rng.integers(8, 33, 2).tolist()
        picture = cv2.resize(rng.integers(0, 256, (3, 3, 3), np.uint8), (width, height))
        name = f"pictures/{('cat', 'dog', 'bee')[i % 3]}.{i}.jpg"
        (root / name).write_bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(picture)))
        mask = rng.integers(0, 5, (height, width), np.uint8)
        (root / f"masks/{i}.png").write_bytes(cv2.imencode(".png", mask)[1].tobytes())
        boxes = [[0, 0, width / 2, height / 2]] * (i % 3)
        lines.append({"path": name, "label": name[9:12], "mask": f"masks/{i}.png", "boxes": boxes})
    (root / "all.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    (root / "some.jsonl").write_text("\n".join(json.dumps(line) for line in lines[:70]))
    (root / "few.jsonl").write_text("\n".join(json.dumps(line) for line in lines[1:4]))
    return root


def source_of(photos: Path, case: str) -> Path:
    return photos / ("pictures" if case in FOLDERS else "all.jsonl")


@pytest.fixture(scope="module")
def undisturbed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of each case's file when nothing happens."""
    folder = tmp_path_factory.mktemp("undisturbed")
    files = {}
    for case, options in STORES.items():
        out = folder / f"{case}.h5"
        celeiro.pack(source_of(photos, case), out, workers=2, **options)
        files[case] = out.read_bytes()
    return files


PACK = """
import celeiro

def on_progress(progress):
    global callbacks
    callbacks -= 1
    if not callbacks:
        kill()

if call >= 0:
    result = before_call(call, torn=torn)
celeiro.pack(
    source, out, workers=workers, buffer_size=buffer_size, on_progress=on_progress, **options
)
"""


def pack(nursery: Nursery, source: Path, out: Path, options: dict[str, Any], **how: Any) -> Any:
    """Pack in a child that may be told to die."""
    defaults = {"callbacks": -1, "call": -1, "torn": False, "workers": 2, "buffer_size": 28}
    return nursery.run(PACK, source=source, out=out, options=options, **defaults | how)


@pytest.mark.parametrize("case", STORES)
def test_killed_at_twenty_moments_the_same_call_ends_on_the_same_file(
    case: str, photos: Path, undisturbed: dict[str, bytes], nursery: Nursery, tmp_path: Path
) -> None:
    moments = random.Random(case)
    source, options = source_of(photos, case), STORES[case]
    kills, files = 0, 0
    while kills < (20 if case in FOLDERS else 7):
        out = tmp_path / f"{files}.h5"
        while not out.exists():
            by_time = moments.random() < 0.3
            end = pack(
                nursery, source, out, options,
                workers=moments.choice([1, 2, 7]),
                callbacks=-1 if by_time else moments.randrange(1, 16),
                kill_after=moments.uniform(0.01, 0.1) if by_time else None,
            )  # fmt: skip
            assert end.error is None, end.message
            kills += end.killed
        if work(out).exists():  # killed after giving the file its name
            pack(nursery, source, out, options)
        assert out.read_bytes() == undisturbed[case]
        assert not work(out).exists()
        files += 1


@pytest.mark.parametrize("case", STORES)
def test_killed_before_any_call_that_changes_the_disk_the_same_call_ends_on_the_same_file(
    case: str, photos: Path, nursery: Nursery, tmp_path: Path
) -> None:
    source, options = photos / "few.jsonl", STORES[case]
    how = {"workers": 1, "buffer_size": 1}
    once = tmp_path / "once.h5"
    calls = pack(nursery, source, once, options, call=1_000_000, **how).result
    whole = once.read_bytes()
    moments = [n for n, name in enumerate(calls) if name != "pwritev" or n % 8 == 0]
    if case != "fields":  # one store is tried at every moment, the others at some
        moments = random.Random(case).sample(moments, 6)
    for moment in moments:
        out = tmp_path / f"{moment}.h5"
        # Every second time a write is torn.
        end = pack(nursery, source, out, options, call=moment, torn=bool(moment % 2), **how)
        assert end.killed
        assert not out.exists() or out.read_bytes() == whole
        if not out.exists() or work(out).exists():
            end = pack(nursery, source, out, options, **how)
            # Killed while it cleaned up? Then the file is there, and the rest goes now.
            assert end.error in (None, "ExistsError"), (moment, end.message)
        assert out.read_bytes() == whole
        assert not work(out).exists(), moment


def work(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


@pytest.mark.parametrize("case", STORES)
def test_neither_workers_nor_buffers_change_the_file(
    case: str, photos: Path, tmp_path: Path
) -> None:
    files = set()
    for workers, buffer_size in [(1, 7), (2, 1), (2, 500), (7, 7), (7, 500)]:
        out = tmp_path / f"{workers}-{buffer_size}.h5"
        options = {"workers": workers, "buffer_size": buffer_size, **STORES[case]}
        celeiro.pack(photos / "some.jsonl", out, **options)
        files.add(out.read_bytes())
    assert len(files) == 1
