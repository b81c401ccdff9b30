"""From a folder of pictures to a trained network, with PyTorch.

    python examples/train_torch.py photos/ photos.h5 --epochs 40

The folder is packed once. Killed at any moment, the same command goes on with the very next batch,
and ends with the same network.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

import celeiro
from celeiro.feeding.transforms import HorizontalFlip, Normalize, RandomResizedCrop
from celeiro.torch import Loader

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTHS = (32, 64, 128, 256)


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folder", type=Path, help="pictures, a folder a class or named like cat.0.jpg")
    add("file", type=Path, help="the packed file; made if it is not there")
    add("--store", default="jpeg", choices=["jpeg", "pixels"], help="how to pack (jpeg)")
    add("--size", type=int, default=128, help="of the packed pictures, pixels (128)")
    add("--crop", type=int, default=96, help="of the crops to train on, pixels (96)")
    add("--epochs", type=int, default=40)
    add("--batch-size", type=int, default=64)
    add("--rate", type=float, default=2e-3, help="highest learning rate (0.002)")
    add("--seed", type=int, default=0)
    add("--threads", type=int, help="of PyTorch, on a CPU (PyTorch's default)")
    add("--bfloat16", action="store_true", help="2 to 3 times as fast where there is AMX or a GPU")
    add("--checkpoint", type=Path, help="(FILE with .pt)")
    add("--save-every", type=float, default=60, help="seconds between checkpoints (60)")
    return parser.parse_args(given)


class Residual(nn.Module):
    """What goes in, and what two convolutions make of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(*convolution(width, width), *convolution(width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add both."""
        return x + self.branch(x)


def convolution(inner: int, outer: int, stride: int = 1) -> list[nn.Module]:
    """The usual three."""
    weights = nn.Conv2d(inner, outer, 3, stride, padding=1, bias=False)
    return [weights, nn.BatchNorm2d(outer), nn.ReLU(inplace=True)]


def network(classes: int) -> nn.Module:
    """A small residual network: two million weights, for pictures of any size."""
    layers = convolution(3, WIDTHS[0], stride=2)
    for inner, outer in itertools.pairwise(WIDTHS):
        layers += [*convolution(inner, outer, stride=2), Residual(outer)]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], classes)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def train(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Train, and tell of each epoch: its number, loss, validation accuracy and seconds."""
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not args.file.exists():
        celeiro.pack(args.folder, args.file, size=args.size, store=args.store,
                     split={"train": 0.85, "val": 0.15})  # fmt: skip
    with celeiro.open(args.file) as ds:
        augment = [RandomResizedCrop(args.crop, scale=(0.35, 1)), HorizontalFlip(), Normalize()]
        loader = Loader(ds.split("train"), args.batch_size, device=device, transform=augment,
                        seed=args.seed, drop_last=True)  # fmt: skip
        val = Loader(ds.split("val"), args.batch_size, device=device, transform=Normalize(),
                     shuffle=False)  # fmt: skip
        model = network(len(ds.label_names)).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
        checkpoint = args.checkpoint or args.file.with_suffix(".pt")
        parts = {"model": model, "optimizer": optimizer, "loader": loader}
        if checkpoint.exists():
            for name, state in torch.load(checkpoint).items():
                parts[name].load_state_dict(state)
        bfloat16 = torch.autocast(device.type, torch.bfloat16, enabled=args.bfloat16)
        saved = time.monotonic()
        while (epoch := loader.epoch) < args.epochs:
            began, losses = time.monotonic(), []
            model.train()
            for images, labels in loader:
                done = epoch + loader.position / (len(loader) * args.batch_size)
                optimizer.param_groups[0]["lr"] = args.rate * schedule(done / args.epochs)
                with bfloat16:
                    scores = model(seen(images))
                    loss = functional.cross_entropy(scores, labels, label_smoothing=0.1)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
                if time.monotonic() - saved >= args.save_every:
                    save(checkpoint, parts)
                    saved = time.monotonic()
            with bfloat16:
                accuracy = right(model, val)
            save(checkpoint, parts)
            yield {"epoch": epoch + 1, "loss": float(torch.stack(losses).mean()),
                   "accuracy": accuracy, "seconds": time.monotonic() - began}  # fmt: skip


def save(checkpoint: Path, parts: dict[str, Any]) -> None:
    """All that the next batch depends on; the file is whole at any moment."""
    torch.save({name: part.state_dict() for name, part in parts.items()}, f"{checkpoint}.new")
    os.replace(f"{checkpoint}.new", checkpoint)


def seen(images: torch.Tensor) -> torch.Tensor:
    """Channels before rows, as PyTorch counts them, without moving a byte."""
    return images.permute(0, 3, 1, 2)


def schedule(done: float) -> float:
    """Part of the highest learning rate: up in the first tenth, then down along a cosine."""
    return min(done / 0.1, (1 + math.cos(math.pi * (done - 0.1) / 0.9)) / 2)


@torch.no_grad()
def right(model: nn.Module, val: Loader) -> float:
    """Part of the validation pictures whose class the network tells."""
    model.eval()
    found = [(model(seen(images)).argmax(1) == labels) for images, labels in val]
    return float(torch.cat(found).float().mean())


if __name__ == "__main__":
    for told in train(arguments()):
        print("epoch {epoch:3d}   loss {loss:.3f}   accuracy {accuracy:.1%}   {seconds:.0f} s"
              .format(**told))  # fmt: skip
