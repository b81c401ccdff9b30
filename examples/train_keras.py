"""From a folder of pictures to a trained network, with Keras under any of its backends.

    KERAS_BACKEND=jax python examples/train_keras.py photos/ photos.h5 --epochs 40

The folder is packed once. Killed at any moment, the same command goes on with the epoch that was at
hand.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import keras
from keras import layers

import celeiro
from celeiro.feeding.transforms import HorizontalFlip, Normalize, OneHot, RandomResizedCrop
from celeiro.keras import Loader

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
    return parser.parse_args(given)


def network(classes: int) -> keras.Model:
    """A small residual network, for pictures of any size."""

    def convolution(x: Any, width: int, strides: int = 1) -> Any:
        x = layers.Conv2D(width, 3, strides, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization()(x))

    pictures = keras.Input((None, None, 3))
    x = convolution(pictures, WIDTHS[0], strides=2)
    for width in WIDTHS[1:]:
        x = convolution(x, width, strides=2)
        x = layers.add([x, convolution(convolution(x, width), width)])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(pictures, layers.Dense(classes)(x))


class Checkpoint(keras.callbacks.Callback):
    """After each epoch the model, and a small file that names it and tells where the loader is.

    The small file is replaced at once, so that the two belong together at any moment.
    """

    def __init__(self, file: Path, loader: Loader) -> None:
        super().__init__()
        self.place = file.with_suffix(".json")
        self.loader = loader

    def last(self) -> dict[str, Any] | None:
        """What the last run saved."""
        return json.loads(self.place.read_text()) if self.place.exists() else None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save."""
        before, model = self.last(), self.place.with_suffix(f".{epoch + 1}.keras")
        self.model.save(model)
        new = self.place.with_suffix(".new")
        state = {"model": str(model), "epoch": epoch + 1, "loader": self.loader.state_dict()}
        new.write_text(json.dumps(state))
        os.replace(new, self.place)
        if before is not None:
            Path(before["model"]).unlink(missing_ok=True)


def train(args: argparse.Namespace) -> dict[str, list[float]]:
    """Train; Keras tells how it goes, and its history is what comes back."""
    keras.utils.set_random_seed(args.seed)
    if not args.file.exists():
        celeiro.pack(args.folder, args.file, size=args.size, store=args.store,
                     split={"train": 0.85, "val": 0.15})  # fmt: skip
    augment = [RandomResizedCrop(args.crop, scale=(0.35, 1)), HorizontalFlip(), Normalize()]
    with (
        celeiro.open(args.file) as ds,
        Loader(ds.split("train"), args.batch_size, transform=[*augment, OneHot()], seed=args.seed,
               drop_last=True) as loader,
        Loader(ds.split("val"), args.batch_size, transform=[Normalize(), OneHot()],
               shuffle=False) as val,
    ):  # fmt: skip
        checkpoint = Checkpoint(args.file, loader)
        last = checkpoint.last()
        if last is not None:
            model = keras.models.load_model(last["model"])
            loader.load_state_dict(last["loader"])
        else:
            model = network(len(ds.label_names))
            steps = args.epochs * len(loader)
            rate = keras.optimizers.schedules.CosineDecay(
                0.0, steps - steps // 10, warmup_target=args.rate, warmup_steps=steps // 10
            )
            model.compile(
                keras.optimizers.AdamW(rate, weight_decay=0.05),
                keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
                metrics=["accuracy"],
            )
        done = last["epoch"] if last else 0
        return model.fit(loader, validation_data=val, initial_epoch=done, epochs=args.epochs,
                         callbacks=[checkpoint], verbose=2).history  # fmt: skip


if __name__ == "__main__":
    train(arguments())
