"""celeiro itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feed_rivals import BATCH, CROP, MEAN, SIZE, STD, WORKERS, Contender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def pack(store: str) -> Callable[[Path, Path], None]:
    """`celeiro.pack` with one store."""

    def make(photos: Path, out: Path) -> None:
        import celeiro

        celeiro.pack(photos, out, store=store, size=None if store == "encoded" else SIZE)

    return make


def feed(made: Path, *, cache: Any = None, **options: Any) -> Iterator[Any]:
    """Epoch after epoch; what an epoch's turn costs is in the figure."""
    import celeiro
    from celeiro import Loader

    ds = celeiro.open(made, cache=cache)
    if ds.cache is not None:
        assert ds.cache.wait(), "the cache did not fill"
    loader = Loader(ds, batch_size=BATCH, shuffle=True, seed=0, workers=WORKERS, **options)
    while True:
        yield from loader


def feed_memory(made: Path) -> Iterator[Any]:
    """The same with all samples in memory."""
    return feed(made, cache="memory")


def augment(fast: bool) -> Callable[[Path], Iterator[Any]]:
    """The usual chain."""

    def augmented(made: Path) -> Iterator[Any]:
        from celeiro.feeding.transforms import (
            HorizontalFlip,
            Normalize,
            RandomResizedCrop,
            ToCHW,
            ToFloat,
        )

        chain = [RandomResizedCrop(CROP), HorizontalFlip(), ToFloat(),
                 Normalize(MEAN, STD, dtype="float16"), ToCHW()]  # fmt: skip
        return feed(made, transform=chain, fast=fast)

    return augmented


ENCODED = ("celeiro-encoded.h5", pack("encoded"), ("celeiro", "simplejpeg", "numpy"))
PIXELS = ("celeiro-pixels.h5", pack("pixels"), ("celeiro", "numpy", "h5py"))
JPEG = ("celeiro-jpeg.h5", pack("jpeg"), ("celeiro", "simplejpeg", "numpy"))

UINT8 = {
    "celeiro jpeg": Contender(feed, *JPEG),
    "celeiro pixels": Contender(feed, *PIXELS),
    "celeiro memory": Contender(feed_memory, *PIXELS),
}
AUGMENTED = {
    "celeiro": Contender(augment(fast=False), *ENCODED),
    "celeiro fast": Contender(augment(fast=True), *ENCODED),
}
