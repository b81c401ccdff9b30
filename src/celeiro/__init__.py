"""celeiro stores image datasets for deep learning in plain HDF5, and feeds training from them.

    celeiro.pack("photos/", "photos.h5", size=(256, 256), store="jpeg")
    h5py.File("photos.h5")["imagens"][0]        # an array, as ever
    image, label = celeiro.open("photos.h5")[0]  # the same, without HDF5 and its lock

Importing celeiro registers the JPEG filter (32019), so that plain h5py reads such files; all else
is loaded when it is first used, so that the import costs little more than h5py's own.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from celeiro._version import __version__
from celeiro.errors import CeleiroError
from celeiro.format.filters import register as _register_filters

if TYPE_CHECKING:
    from celeiro.care.bench import bench
    from celeiro.care.doctor import doctor
    from celeiro.care.repack import repack
    from celeiro.care.salvage import salvage
    from celeiro.care.verify import verify
    from celeiro.classic import HDF5Dataset, HDF5DatasetGenerator, HDF5DatasetWriter
    from celeiro.features.extract import extract_features
    from celeiro.features.probe import probe
    from celeiro.features.similar import duplicates, neighbours, suspects
    from celeiro.features.sklearn import as_sklearn
    from celeiro.feeding.loader import Loader
    from celeiro.packing.outcome import Progress
    from celeiro.packing.pack import pack
    from celeiro.packing.report import Report
    from celeiro.reading.dataset import Dataset, open

__all__ = [
    "CeleiroError",
    "Dataset",
    "HDF5Dataset",
    "HDF5DatasetGenerator",
    "HDF5DatasetWriter",
    "Loader",
    "Progress",
    "Report",
    "__version__",
    "as_sklearn",
    "bench",
    "doctor",
    "duplicates",
    "extract_features",
    "neighbours",
    "open",
    "pack",
    "probe",
    "repack",
    "salvage",
    "suspects",
    "verify",
]

_FOUND_IN = {
    "Dataset": "celeiro.reading.dataset",
    "HDF5Dataset": "celeiro.classic",
    "HDF5DatasetGenerator": "celeiro.classic",
    "HDF5DatasetWriter": "celeiro.classic",
    "Loader": "celeiro.feeding.loader",
    "Progress": "celeiro.packing.outcome",
    "Report": "celeiro.packing.report",
    "as_sklearn": "celeiro.features.sklearn",
    "bench": "celeiro.care.bench",
    "doctor": "celeiro.care.doctor",
    "duplicates": "celeiro.features.similar",
    "extract_features": "celeiro.features.extract",
    "neighbours": "celeiro.features.similar",
    "open": "celeiro.reading.dataset",
    "pack": "celeiro.packing.pack",
    "probe": "celeiro.features.probe",
    "repack": "celeiro.care.repack",
    "salvage": "celeiro.care.salvage",
    "suspects": "celeiro.features.similar",
    "verify": "celeiro.care.verify",
}

_register_filters()


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for (PEP 562)."""
    if name not in _FOUND_IN:
        raise AttributeError(f"module 'celeiro' has no attribute {name!r}")
    value = getattr(importlib.import_module(_FOUND_IN[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """All public names, loaded or not."""
    return sorted({*globals(), *__all__})
