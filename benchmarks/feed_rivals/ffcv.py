"""FFCV: its file of JPEGs or of raw pixels, its compiled pipelines, two threads.

It encodes pictures anew as it writes them. For 256x256 that is at the same quality as all; for
originals, at the quality that gives files of the originals' size, so that decoding is as much work.
It hands out memory that it soon writes again. The page cache serves it (`os_cache`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from feed_rivals import BATCH, CROP, MEAN, QUALITY, STD, WORKERS, Contender, labelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PASSES = 200  # of the samples in one epoch of it, so that starting an epoch does not count


class Photos:
    """What its writer reads: pixels and label."""

    def __init__(self, photos: Path) -> None:
        self.found = labelled(photos)

    def __len__(self) -> int:
        """Samples."""
        return len(self.found)

    def __getitem__(self, number: int) -> tuple[Any, int]:
        """One picture and its label."""
        import cv2

        path, label = self.found[number]
        return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), label


def write(photos: Path, out: Path, mode: str, quality: int) -> None:
    """Its file."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    fields = {"image": RGBImageField(write_mode=mode, jpeg_quality=quality), "label": IntField()}
    DatasetWriter(str(out), fields, num_workers=WORKERS).from_indexed_dataset(Photos(photos))


def make(mode: str) -> Callable[[Path, Path], None]:
    """For 256x256."""
    return lambda photos, out: write(photos, out, mode, QUALITY)


def make_originals(photos: Path, out: Path) -> None:
    """At the quality that gives the originals' bytes."""
    import cv2

    some = labelled(photos)[:: max(1, len(labelled(photos)) // 100)]
    wanted = sum(path.stat().st_size for path, _ in some)
    images = [cv2.imread(str(path)) for path, _ in some]

    def size(quality: int) -> int:
        setting = [cv2.IMWRITE_JPEG_QUALITY, quality]
        return sum(len(cv2.imencode(".jpg", image, setting)[1]) for image in images)

    quality = min(range(50, 100), key=lambda quality: abs(size(quality) - wanted))
    print(f"ffcv: quality {quality}: {size(quality) / wanted:.3f} of the originals' bytes")
    write(photos, out, "jpg", quality)


def fed(made: Path, pipeline: list[Any]) -> Iterator[Any]:
    """Endless batches."""
    from ffcv.fields.decoders import IntDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.reader import Reader
    from ffcv.transforms import ToTensor

    count = Reader(str(made)).num_samples
    numbers = np.tile(np.arange(count, dtype=np.uint64), PASSES)
    labels = [IntDecoder(), ToTensor()]
    loader = Loader(str(made), batch_size=BATCH, num_workers=WORKERS, order=OrderOption.RANDOM,
                    os_cache=True, indices=numbers, drop_last=True,
                    pipelines={"image": pipeline, "label": labels})  # fmt: skip
    while True:
        yield from loader


def feed(made: Path) -> Iterator[Any]:
    """Pixels as they are."""
    from ffcv.fields.rgb_image import SimpleRGBImageDecoder
    from ffcv.transforms import ToTensor

    return fed(made, [SimpleRGBImageDecoder(), ToTensor()])


def augment(channels_last: bool) -> Callable[[Path], Iterator[Any]]:
    """The usual chain; `channels_last` leaves the pixels in place and calls them CHW."""

    def augmented(made: Path) -> Iterator[Any]:
        from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
        from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, ToTensor, ToTorchImage

        mean, std = np.array(MEAN) * 255, np.array(STD) * 255
        return fed(made, [
            RandomResizedCropRGBImageDecoder((CROP, CROP)),
            RandomHorizontalFlip(),
            NormalizeImage(mean, std, np.float16),
            ToTensor(),
            ToTorchImage(channels_last=channels_last),
        ])  # fmt: skip

    return augmented


PACKAGES = ("ffcv", "torch", "numba", "numpy")
UINT8 = {
    "ffcv jpeg": Contender(feed, "ffcv-jpeg.beton", make("jpg"), PACKAGES),
    "ffcv raw": Contender(feed, "ffcv-raw.beton", make("raw"), PACKAGES),
}
AUGMENTED = {
    "ffcv": Contender(augment(False), "ffcv-originals.beton", make_originals, PACKAGES),
    "ffcv, channels last": Contender(
        augment(True), "ffcv-originals.beton", make_originals, PACKAGES
    ),
}
