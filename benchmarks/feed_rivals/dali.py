"""DALI on the CPU: its reader of folders, its decoder, two threads; its batches are not copied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from feed_rivals import BATCH, CROP, MEAN, STD, WORKERS, Contender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def run(made: Path, images_of: Callable[[Any], Any]) -> Iterator[Any]:
    """Endless batches of a pipeline."""
    from nvidia.dali import fn, pipeline_def

    @pipeline_def(batch_size=BATCH, num_threads=WORKERS, device_id=None, prefetch_queue_depth=2)
    def pipeline() -> Any:
        jpegs, labels = fn.readers.file(file_root=str(made), shuffle_after_epoch=True)
        return images_of(jpegs), labels

    ready = pipeline()
    ready.build()
    while True:
        images, labels = ready.run()
        yield np.asarray(images.as_tensor()), np.asarray(labels.as_tensor())


def feed(made: Path) -> Iterator[Any]:
    """Pixels as they are."""
    from nvidia.dali import fn

    return run(made, lambda jpegs: fn.decoders.image(jpegs, device="cpu"))


def augmented(made: Path) -> Iterator[Any]:
    """The usual chain, decoding only the crop, as its own ResNet-50 example does."""
    from nvidia.dali import fn, types

    def images_of(jpegs: Any) -> Any:
        images = fn.decoders.image_random_crop(
            jpegs, device="cpu", random_area=[0.08, 1.0], random_aspect_ratio=[3 / 4, 4 / 3]
        )
        images = fn.resize(images, size=[CROP, CROP], interp_type=types.INTERP_TRIANGULAR)
        return fn.crop_mirror_normalize(
            images, dtype=types.FLOAT16, output_layout="CHW", mirror=fn.random.coin_flip(),
            mean=[255 * x for x in MEAN], std=[255 * x for x in STD],
        )  # fmt: skip

    return run(made, images_of)


PACKAGES = ("nvidia-dali-cuda120", "nvidia-nvimgcodec-cu12")
UINT8 = {"dali": Contender(feed, packages=PACKAGES)}
AUGMENTED = {"dali": Contender(augmented, packages=PACKAGES)}
