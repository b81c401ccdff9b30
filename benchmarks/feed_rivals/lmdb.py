"""LMDB of JPEGs and DataLoader; the user decodes, with OpenCV as most do, or as we do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feed_rivals import Contender, labelled
from feed_rivals.torch_loader import fed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def make(photos: Path, out: Path) -> None:
    """A byte of label, then the JPEG."""
    import lmdb

    with lmdb.open(str(out), map_size=1 << 36) as env, env.begin(write=True) as transaction:
        for number, (path, label) in enumerate(labelled(photos)):
            transaction.put(b"%08d" % number, bytes([label]) + path.read_bytes())


class Rows:
    """A dataset that each worker opens for itself."""

    def __init__(self, path: Path, decode: Callable[[Any], Any]) -> None:
        import lmdb

        self.path, self.decode, self.transaction = path, decode, None
        with lmdb.open(str(path), readonly=True, lock=False) as env:
            self.count = env.stat()["entries"]

    def __len__(self) -> int:
        """Samples."""
        return self.count

    def __getitem__(self, number: int) -> Any:
        """One picture and its label."""
        import lmdb

        if self.transaction is None:
            env = lmdb.open(str(self.path), readonly=True, lock=False, readahead=False)
            self.transaction = env.begin(buffers=True)
        value = self.transaction.get(b"%08d" % number)
        return self.decode(value[1:]), value[0]


def by_opencv(data: Any) -> Any:
    """OpenCV's decoder, in one thread: the workers are the threads."""
    import cv2
    import numpy as np

    cv2.setNumThreads(0)
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


def by_simplejpeg(data: Any) -> Any:
    """The decoder that we use, with the same settings."""
    import simplejpeg

    return simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False)


def feed(made: Path) -> Iterator[Any]:
    """Decoded by OpenCV."""
    return fed(Rows(made, by_opencv))


def feed_simplejpeg(made: Path) -> Iterator[Any]:
    """Decoded by simplejpeg: what worker processes cost when the decoder is the same."""
    return fed(Rows(made, by_simplejpeg))


UINT8 = {
    "lmdb": Contender(feed, "lmdb", make, ("lmdb", "torch", "opencv-python-headless")),
    "lmdb, simplejpeg": Contender(feed_simplejpeg, "lmdb", make, ("lmdb", "torch", "simplejpeg")),
}
AUGMENTED: dict[str, Contender] = {}
