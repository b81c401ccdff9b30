"""What a file holds, ours or anybody's: what opening finds and a `Dataset` gives out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    import numpy.typing as npt

    from celeiro.reading.columns import Lazy, Texts
    from celeiro.reading.samples import Samples


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds."""

    store: str
    """One of ours, or ``hdf5`` for a file that is not ours."""
    key: str
    """Path of the samples' data set."""
    samples: Samples
    """How to read them."""
    color: str = ""
    """Order of the channels as they are given; empty where it is not known."""
    labels: Lazy[Any] | None = None
    """What the network shall learn, (N,) or (N, K)."""
    label_names: tuple[str, ...] = ()
    """Names of the classes 0, 1, …"""
    keys: Lazy[Texts] | None = None
    """Where each sample comes from."""
    splits: Mapping[str, Lazy[npt.NDArray[np.int64]]] = field(default_factory=dict)
    """Numbers of the samples in each split."""
    fields: Mapping[str, Lazy[Any]] = field(default_factory=dict)
    """Further columns."""
    mean: npt.NDArray[np.float64] | None = None
    """Per channel, in the units of the values."""
    std: npt.NDArray[np.float64] | None = None
    """The same of the deviation."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """How the content was made."""
    checksums: Lazy[npt.NDArray[np.uint32]] | None = None
    """CRC-32C of each sample's bytes as they stand in the file."""
    reencoded: Lazy[npt.NDArray[np.uint8]] | None = None
    """1 for each picture file that is not its source's own bytes."""
    reindex: Callable[[], bool] | None = None
    """Ask HDF5 where the samples are; True where the file's own index was wrong."""
