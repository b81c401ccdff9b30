"""What shaped the content: the options that apply, and the libraries whose bytes are in the file.

The invariant: what is told here and the samples determine the file; what does not shape it
(workers, paths, times, options that the store has no use for) is not told, so that equal content
gives equal files. Going on with unfinished work asks that all of it is the same.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from celeiro._version import __version__

if TYPE_CHECKING:
    from celeiro.packing.options import PackOptions


def shaped_by(options: PackOptions, *, masks: bool = False) -> dict[str, Any]:
    """Options and versions, as JSON; `masks`: whether chunks of masks are compressed as well."""
    compressed = options.store == "lossless" or masks
    told = {
        "options": applied(options, compressed=compressed),
        "made_by": made_by(options, compressed=compressed),
    }
    plain: dict[str, Any] = json.loads(json.dumps(told))  # tuples as a reader will find them
    return plain


def applied(options: PackOptions, *, compressed: bool) -> dict[str, Any]:
    """The options that mean something for this store."""
    encodes = options.store == "jpeg" or options.max_side is not None
    applies = {
        "resize": options.size is not None,
        "quality": encodes,
        "subsampling": encodes,
        "compressor": compressed,
        "max_side": options.store == "encoded",
        "seed": options.shuffle or bool(options.split),
        "check": options.store in ("jpeg", "encoded"),
    }
    return {name: v for name, v in options.to_json().items() if applies.get(name, True)}


def made_by(options: PackOptions, *, compressed: bool) -> dict[str, str]:
    """Versions of what the bytes pass through."""
    import cv2
    import imagecodecs
    import simplejpeg

    versions = {
        "celeiro": __version__,
        "h5py": h5py.__version__,
        "hdf5": h5py.version.hdf5_version,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "simplejpeg": simplejpeg.__version__,
        "imagecodecs": imagecodecs.__version__,
    }
    if compressed and options.compressor == "gzip":
        import zlib

        versions["zlib"] = zlib.ZLIB_RUNTIME_VERSION
    return versions
