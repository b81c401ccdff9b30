"""Features of a trained network: beside the bare network, and beside the book's way.

    python benchmarks/features.py                       pictures made here
    python benchmarks/features.py FOLDER --save NAME    your own, and keep the result
    python benchmarks/features.py --models timm:resnet50 --stores jpeg --device cuda

Of each model and store three ways are run in turn, again and again, on the same pictures; what
counts is the median of the rounds' ratios, for a machine that slows down slows all of them.

    ours     extract_features: read, decode, transform, ask the model, write, publish
    bare     the network's forward pass on one batch that is there, of the same size and type, as
             often as there are batches; nothing is read, nothing written
    book     as in Rosebrock's book: load and preprocess each picture of a batch in one thread,
             ask the model, write with h5py; then the next batch

The network's weights are random: it takes as long. `ours` is asked to reach 0.95 of `bare`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import h5py
import numpy as np
from pack import RESULTS, machine, make_pictures

import celeiro
from celeiro.features.models import open_model

if TYPE_CHECKING:
    from collections.abc import Callable

# A light and a heavy one.
MODELS = ("timm:mobilenetv3_small_100", "timm:resnet50")
STORES = ("pixels", "jpeg")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WAYS = ("ours", "bare", "book")


def ours(source: Path, model: Any, batch: int, out: Path) -> float:
    """Extraction, from an open model to a file under its name."""
    began = time.perf_counter()
    celeiro.extract_features(source, model, out, batch_size=batch, overwrite=True)
    return time.perf_counter() - began


def bare(network: Any, size: int, batch: int, count: int, device: str) -> float:
    """The forward pass alone, in the way that is fastest on this device."""
    import torch

    images = torch.rand(batch, 3, size, size, device=device)
    images = images.to(memory_format=torch.channels_last)
    sync = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    with torch.inference_mode(), torch.autocast(device.partition(":")[0], torch.float16,
                                                enabled=device.startswith("cuda")):  # fmt: skip
        sync()
        began = time.perf_counter()
        for first in range(0, count, batch):
            network(images[: min(batch, count - first)])
        sync()
        return time.perf_counter() - began


def book(files: list[Path], network: Any, size: int, batch: int, device: str, out: Path) -> float:
    """One picture after the other, one batch after the other."""
    import torch

    began = time.perf_counter()
    with h5py.File(out, "w") as file, torch.inference_mode():
        data = None
        for first in range(0, len(files), batch):
            images = np.vstack([preprocessed(path, size) for path in files[first : first + batch]])
            tensor = torch.from_numpy(images).permute(0, 3, 1, 2).to(device)
            rows = network(tensor).cpu().numpy()
            if data is None:
                data = file.create_dataset("features", (len(files), rows.shape[1]), "float32")
            data[first : first + len(rows)] = rows
    return time.perf_counter() - began


def preprocessed(path: Path, size: int) -> Any:
    """A picture as the network wants it, as a batch of one."""
    image = cv2.resize(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), (size, size))
    image = (image.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
    return np.expand_dims(image, 0)


def network_of(name: str, device: str) -> Any:
    """The network of a model by itself, as one would build it by hand."""
    import torch

    kind, _, name = name.partition(":")
    if kind != "timm":
        raise SystemExit(f"{kind}:{name}: this benchmark builds networks of timm alone")
    timm = importlib.import_module("timm")
    network = timm.create_model(name, pretrained=False, num_classes=0).eval()
    return network.to(device=device, memory_format=torch.channels_last)


def race(ways: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way, in rounds, the first of each round in turn."""
    names = list(ways)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for at in range(len(names)):
            name = names[(number + at) % len(names)]
            taken = ways[name]()
            if number:  # the first is to warm up
                seconds[name].append(taken)
    return seconds


def told(seconds: dict[str, list[float]], count: int) -> dict[str, Any]:
    """Samples a second of each way, and ours in ratio to the others, round by round."""
    answer: dict[str, Any] = {
        "samples_s": {name: count / statistics.median(taken) for name, taken in seconds.items()}
    }
    for other in ("bare", "book"):
        if other in seconds:
            ratios = [b / a for a, b in zip(seconds["ours"], seconds[other], strict=True)]
            spread = np.quantile(ratios, [0.25, 0.75]).tolist()
            answer[f"to {other}"] = {"ratio": statistics.median(ratios), "quartiles": spread}
    return answer


def line(name: str, answer: dict[str, Any]) -> str:
    """One answer for people."""
    rates = ", ".join(f"{way} {rate:,.0f}/s" for way, rate in answer["samples_s"].items())
    ratios = ", ".join(
        f"{other} {found['ratio']:.2f} ({found['quartiles'][0]:.2f}-{found['quartiles'][1]:.2f})"
        for other in ("to bare", "to book") if (found := answer.get(other))
    )  # fmt: skip
    return f"{name:<38} {rates}; {ratios}"


def questions(given: argparse.Namespace, source: Path, folder: Path) -> dict[str, Any]:
    """Every model with every store."""
    import torch

    files = sorted(source.iterdir())
    device = given.device or ("cuda" if torch.cuda.is_available() else "cpu")
    answers = {}
    for store in given.stores:
        path = folder / f"{store}.h5"
        celeiro.pack(source, path, store=store, size=None if store == "encoded" else given.side)
        for name in given.models:
            model = open_model(
                name, weights="random", size=given.size, device=device, threads=given.threads
            )
            network = network_of(name, device)
            ways: dict[str, Callable[[], float]] = {
                "ours": partial(ours, path, model, given.batch, folder / "o.h5"),
                "bare": partial(bare, network, given.size, given.batch, len(files), device),
                "book": partial(
                    book, files, network, given.size, given.batch, device, folder / "b.h5"
                ),
            }
            seconds = race({way: ways[way] for way in given.ways}, given.rounds)
            model.close()
            question = f"{name}, {store}, {device}"
            answers[question] = {**told(seconds, len(files)), "rounds": given.rounds}
            print(line(question, answers[question]), flush=True)
    return answers


def torchvision_beside_any_torch() -> None:
    """Let timm be imported where torchvision's build is not torch's: it needs no operator of it."""
    import torch

    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        KEPT.append(operators)


KEPT: list[Any] = []  # a library's operators go with it


def main() -> None:
    """Read the command line, race, tell, keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="?", type=Path, help="a flat folder of pictures")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--stores", nargs="+", default=list(STORES))
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=224, help="of what the network sees")
    parser.add_argument("--side", type=int, default=256, help="of what is stored")
    parser.add_argument("--made", type=int, default=640, help="pictures to make without a folder")
    parser.add_argument("--device", help="cpu, cuda (default: a GPU where there is one)")
    parser.add_argument("--threads", type=int, help="of the network (default: all cores)")
    parser.add_argument("--out", type=Path, help="folder to write to (default: a temporary one)")
    parser.add_argument("--save", help="keep the result under this name in benchmarks/results/")
    given = parser.parse_args()
    torchvision_beside_any_torch()
    with tempfile.TemporaryDirectory(dir=given.out) as name:
        folder = Path(name)
        source = given.source
        if source is None:
            source = folder / "pictures"
            make_pictures(source, given.made, 300)
        count = sum(1 for _ in source.iterdir())
        print(f"{count:,} pictures, batches of {given.batch}, {given.rounds} rounds; {machine()}")
        answers = questions(given, source, folder)
    if given.save:
        RESULTS.mkdir(exist_ok=True)
        kept = {"machine": machine(), "batch": given.batch, "size": given.size, "answers": answers,
                "table": [line(*item) for item in answers.items()]}  # fmt: skip
        (RESULTS / f"{given.save}.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
