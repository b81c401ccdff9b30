"""From a folder of pictures to a trained network, with JAX and nothing on top of it.

    python examples/train_jax.py photos/ photos.h5 --epochs 40

The folder is packed once. Killed at any moment, the same command goes on with the batch after the
last checkpoint, and ends with the same network.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

import celeiro
from celeiro.feeding.transforms import HorizontalFlip, Normalize, RandomResizedCrop
from celeiro.jax import Loader

if TYPE_CHECKING:
    from collections.abc import Iterator

    Weights = dict[str, jax.Array]

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
    add("--save-every", type=float, default=60, help="seconds between checkpoints (60)")
    return parser.parse_args(given)


def weights(classes: int, seed: int) -> Weights:
    """What is learned, by name, as it is at first."""
    rng, found = np.random.default_rng(seed), {}

    def convolution(name: str, inner: int, outer: int) -> None:
        found[name] = rng.normal(0, (2 / (9 * inner)) ** 0.5, (3, 3, inner, outer))
        found[f"{name} scale"], found[f"{name} shift"] = np.ones(outer), np.zeros(outer)

    convolution("0", 3, WIDTHS[0])
    for level, (inner, outer) in enumerate(itertools.pairwise(WIDTHS), start=1):
        for name, width in ((f"{level}", inner), (f"{level}a", outer), (f"{level}b", outer)):
            convolution(name, width, outer)
    found["last"] = rng.normal(0, 0.01, (WIDTHS[-1], classes))
    return {name: jnp.asarray(value, jnp.float32) for name, value in found.items()}


def network(w: Weights, x: jax.Array) -> jax.Array:
    """A small residual network with group norm, which needs no running means."""

    def convolution(name: str, x: jax.Array, stride: int = 1) -> jax.Array:
        x = lax.conv_general_dilated(x, w[name], (stride, stride), "SAME",
                                     dimension_numbers=("NHWC", "HWIO", "NHWC"))  # fmt: skip
        groups = x.reshape(*x.shape[:3], 8, -1)
        mean = groups.mean((1, 2, 4), keepdims=True)
        groups = (groups - mean) * lax.rsqrt(groups.var((1, 2, 4), keepdims=True) + 1e-5)
        return jax.nn.relu(groups.reshape(x.shape) * w[f"{name} scale"] + w[f"{name} shift"])

    x = convolution("0", x, stride=2)
    for level in range(1, len(WIDTHS)):
        x = convolution(f"{level}", x, stride=2)
        x = x + convolution(f"{level}b", convolution(f"{level}a", x))
    return x.mean((1, 2)) @ w["last"]


def loss(w: Weights, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross entropy, labels smoothed by 0.1."""
    logs = jax.nn.log_softmax(network(w, images))
    wanted = 0.9 * jax.nn.one_hot(labels, logs.shape[1]) + 0.1 / logs.shape[1]
    return -(wanted * logs).sum(1).mean()


@partial(jax.jit, static_argnums=(4, 5))
def step(
    w: Weights, moments: Any, batch: tuple[jax.Array, jax.Array], t: jax.Array, steps: int,
    rate: float,
) -> tuple[Weights, Any, jax.Array]:  # fmt: skip
    """One step of Adam with decoupled weight decay, up in the first tenth, then along a cosine."""
    value, slopes = jax.value_and_grad(loss)(w, *batch)
    done = t / steps
    rate = rate * jnp.minimum(done / 0.1, (1 + jnp.cos(jnp.pi * (done - 0.1) / 0.9)) / 2)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], slopes)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, moments[1], slopes)

    def moved(w: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
        move = (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8)
        return w - rate * (move + 0.05 * w)

    return jax.tree.map(moved, w, first, second), (first, second), value


@jax.jit
def right(w: Weights, images: jax.Array, labels: jax.Array) -> jax.Array:
    """How many the network tells."""
    return (network(w, images).argmax(1) == labels).sum()


def save(path: Path, state: Any, loader: Loader) -> None:
    """All that the next batch depends on; the file is whole at any moment."""
    leaves = {f"{number}": leaf for number, leaf in enumerate(jax.tree.leaves(state))}
    with open(f"{path}.new", "wb") as file:
        np.savez(file, loader=json.dumps(loader.state_dict()), **leaves)
    os.replace(f"{path}.new", path)


def load(path: Path, state: Any, loader: Loader) -> Any:
    """What was saved, in the structure of `state`."""
    with np.load(path) as saved:
        loader.load_state_dict(json.loads(str(saved["loader"])))
        leaves = [jnp.asarray(saved[f"{number}"]) for number in range(len(saved.files) - 1)]
    return jax.tree.unflatten(jax.tree.structure(state), leaves)


def train(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Train, and tell of each epoch: its number, loss, validation accuracy and seconds."""
    if not args.file.exists():
        celeiro.pack(args.folder, args.file, size=args.size, store=args.store,
                     split={"train": 0.85, "val": 0.15})  # fmt: skip
    with celeiro.open(args.file) as ds:
        augment = [RandomResizedCrop(args.crop, scale=(0.35, 1)), HorizontalFlip(), Normalize()]
        loader = Loader(ds.split("train"), args.batch_size, transform=augment, seed=args.seed,
                        drop_last=True)  # fmt: skip
        val = Loader(ds.split("val"), args.batch_size, transform=Normalize(), shuffle=False)
        w = weights(len(ds.label_names), args.seed)
        moments = (jax.tree.map(jnp.zeros_like, w),) * 2
        checkpoint = args.file.with_suffix(".npz")
        if checkpoint.exists():
            w, moments = load(checkpoint, (w, moments), loader)
        steps, saved = args.epochs * len(loader), time.monotonic()
        while (epoch := loader.epoch) < args.epochs:
            began, losses = time.monotonic(), []
            for batch in loader:
                t = epoch * len(loader) + loader.position // args.batch_size
                w, moments, value = step(w, moments, batch, jnp.float32(t), steps, args.rate)
                losses.append(value)
                if time.monotonic() - saved >= args.save_every:
                    save(checkpoint, (w, moments), loader)
                    saved = time.monotonic()
            found = sum(int(right(w, *batch)) for batch in val)
            save(checkpoint, (w, moments), loader)
            yield {"epoch": epoch + 1, "loss": float(np.mean(losses)),
                   "accuracy": found / len(val.dataset),
                   "seconds": time.monotonic() - began}  # fmt: skip


if __name__ == "__main__":
    for told in train(arguments()):
        print("epoch {epoch:3d}   loss {loss:.3f}   accuracy {accuracy:.1%}   {seconds:.0f} s"
              .format(**told))  # fmt: skip
