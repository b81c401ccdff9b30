"""A training step that is never starved: the step alone, the loader alone, and both together.

    python benchmarks/step.py                          pictures made here; a GPU where there is one
    python benchmarks/step.py FOLDER --save NAME       your own, and keep the result
    python benchmarks/step.py --device cpu --batch 16 --images 256 --seconds 2

The step is ResNet-18's (torchvision's or timm's, whichever is there; its weights are random) in
bfloat16, channels last, at 224, with SGD. The loader's pictures, packed as `jpeg` of 256×256, go
to the device as uint8 crops and are normalised there.

    step      on one batch that is on the device: what the network takes at most
    loader    batches to the device, and nothing done with them: what the cores decode at most
    both      the loader's batches, a step each; asked to reach 0.95 of the smaller of the two

The three take turns, round by round, the first of each round another; what counts is the median
of the rounds' ratios, for a machine that slows down slows all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from features import race, torchvision_beside_any_torch
from pack import RESULTS, machine, make_pictures
from torch.nn import functional

import celeiro
from celeiro.feeding.transforms import HorizontalFlip, RandomResizedCrop
from celeiro.torch import Loader

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    Batch = tuple[torch.Tensor, torch.Tensor]

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of ImageNet, in levels
SIDE, CROP, CLASSES = 256, 224, 1000
UNCOUNTED = 4  # batches of each turn: more than are kept ready
WANTED = 0.95


class Training:
    """A network, and what a step of it does."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.network = resnet18().to(device=device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=0.1, momentum=0.9)
        self.mean = torch.tensor(MEAN, device=device)
        self.std = torch.tensor(STD, device=device)

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Images are uint8, (B, H, W, 3), whose other order is channels last as it stands."""
        pixels = ((images - self.mean) / self.std).permute(0, 3, 1, 2)
        with torch.autocast(torch.device(self.device).type, torch.bfloat16):
            loss = functional.cross_entropy(self.network(pixels), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def wait(self) -> None:
        """Until the device has done what it was told."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()


def resnet18() -> torch.nn.Module:
    """Of a library that is there."""
    try:
        torchvision_beside_any_torch()
        return importlib.import_module("torchvision.models").resnet18(num_classes=CLASSES)
    except ImportError:
        return importlib.import_module("timm").create_model("resnet18", num_classes=CLASSES)


def rate(turn: Callable[[], int], wait: Callable[[], None], seconds: float) -> float:
    """Samples a second of so many turns as fill the seconds."""
    for _ in range(UNCOUNTED):
        turn()
    wait()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        count += turn()
    wait()
    return count / (time.perf_counter() - began)


def fed(path: Path, given: argparse.Namespace) -> Generator[Batch, None, None]:
    """Epoch after epoch."""
    loader = Loader(
        path, batch_size=given.batch, workers=given.workers, device=given.device, drop_last=True,
        transform=[RandomResizedCrop(CROP), HorizontalFlip()],
    )  # fmt: skip
    while True:
        yield from loader


def rates_of(path: Path, given: argparse.Namespace) -> dict[str, list[float]]:
    """Samples a second of each, in rounds."""
    training = Training(given.device)
    images = torch.randint(0, 256, (given.batch, CROP, CROP, 3), dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (given.batch,))
    fixed = images.to(given.device), labels.to(given.device)

    def turns(batches: Generator[Batch, None, None], *, trains: bool) -> float:
        def turn() -> int:
            some, names = next(batches)
            if trains:
                training.step(some, names)
            return len(names)

        # Closed after each turn, so that nothing is decoded beside the step alone.
        with contextlib.closing(batches):
            return rate(turn, training.wait, given.seconds)

    ways: dict[str, Callable[[], float]] = {
        "step": lambda: turns((fixed for _ in itertools.count()), trains=True),
        "loader": lambda: turns(fed(path, given), trains=False),
        "both": lambda: turns(fed(path, given), trains=True),
    }
    return race(ways, given.rounds)


def told(rates: dict[str, list[float]]) -> list[str]:
    """For people."""
    shares = [both / min(step, loader) for step, loader, both in
              zip(rates["step"], rates["loader"], rates["both"], strict=True)]  # fmt: skip
    lines = [f"{name:<8}{statistics.median(found):>10,.0f} images/s   "
             f"({min(found):,.0f}–{max(found):,.0f})" for name, found in rates.items()]  # fmt: skip
    return [*lines, f"both of the smaller of the two: {statistics.median(shares):.2f} "
            f"({min(shares):.2f}–{max(shares):.2f}); wanted {WANTED}"]  # fmt: skip


def main() -> None:
    """Read the command line, race, tell, keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, help="of pictures, as celeiro pack takes it"
    )
    parser.add_argument("--images", type=int, default=4096, help="to make without a folder")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--workers", type=int, help="threads of the loader (default: all cores)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--save", metavar="NAME", help="keep it as results/step-NAME.json")
    given = parser.parse_args()
    gpu = torch.cuda.get_device_name() if given.device.startswith("cuda") else None
    with tempfile.TemporaryDirectory() as name:
        folder = given.folder or Path(name, "pictures")
        if given.folder is None:
            make_pictures(folder, given.images, SIDE)
        path = Path(name, "jpeg.h5")
        count = celeiro.pack(folder, path, store="jpeg", size=SIDE).samples
        print(f"{count:,} pictures, batches of {given.batch}; {gpu or 'no GPU'}; {machine()}")
        rates = rates_of(path, given)
    lines = told(rates)
    print(*lines, sep="\n")
    if given.save:
        RESULTS.mkdir(exist_ok=True)
        kept = {"machine": machine(), "gpu": gpu, "images": count, "batch": given.batch,
                "torch": torch.__version__, "rates": rates, "table": lines}  # fmt: skip
        (RESULTS / f"step-{given.save}.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
