"""`celeiro.as_sklearn`: features as scikit-learn takes them, without reading them first.

    X, y = celeiro.as_sklearn("features.h5", "train")
    LogisticRegression().fit(X, y)

The invariant: X is the file's own bytes, mapped and not copied, and every one of them is there.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from celeiro.errors import FormatError, OptionError
from celeiro.format import index
from celeiro.reading import hdf5
from celeiro.reading.dataset import Dataset
from celeiro.reading.dataset import open as open_dataset
from celeiro.reading.layouts import stored_dtype

if TYPE_CHECKING:
    import numpy.typing as npt


def as_sklearn(
    source: str | os.PathLike[str] | Dataset, split: str | None = None
) -> tuple[np.memmap[Any, np.dtype[Any]], npt.NDArray[Any] | None]:
    """Samples and labels as (X, y): X a read-only map of the file's own bytes, (N, D).

    The system reads what is looked at, and forgets it again where memory is short. As with every
    map, the process crashes (SIGBUS) if another program cuts the file short meanwhile.

    Parameters
    ----------
    source
        A file, or a dataset: a view must be one run of neighbours.
    split
        Only the samples of this split, which must be one run of neighbours too.

    Returns
    -------
    tuple
        X of the type that the file has, byte order included, samples flattened; y the labels, or
        None where there are none.

    Raises
    ------
    OptionError
        The samples do not stand in the file as they would in memory; the message says what to do.
    FormatError
        The file is damaged: it has not the bytes that it should.
    KeyError
        There is no such split.

    Examples
    --------
    >>> import numpy as np, tempfile, celeiro
    >>> folder = tempfile.TemporaryDirectory()
    >>> _ = celeiro.pack(np.ones((3, 4), np.float32), folder.name + "/f.h5", labels=[0, 1, 0])
    >>> X, y = as_sklearn(folder.name + "/f.h5")
    >>> X.shape, y.tolist()
    ((3, 4), [0, 1, 0])
    >>> del X
    >>> folder.cleanup()
    """
    if not isinstance(source, Dataset):
        with open_dataset(source) as ds:
            return as_sklearn(ds, split)
    ds = source if split is None else source.split(split)
    first = _first(ds)
    with hdf5.reading(ds.path) as file:
        stored, rows = _place(ds, hdf5.found(file, ds.key))
    found: np.memmap[Any, np.dtype[Any]] = np.memmap(
        ds.path, stored, "r", rows.base + first * rows.length,
        (len(ds), math.prod(side or 0 for side in ds.shape[1:])),
    )  # fmt: skip
    # What was opened, what HDF5 looked at and what is mapped are then one and the same file.
    ds._opened.file.check()
    ds._opened.file.check_name()
    return found, ds.labels


def _first(ds: Dataset) -> int:
    """Number in the file of the first sample of a run."""
    rows = ds.rows
    if not len(rows):
        raise OptionError(f"{ds.path}: there are no samples here, and nothing to map.")
    first = int(rows[0])
    if not np.array_equal(rows, np.arange(first, first + len(rows))):
        raise OptionError(
            f"{ds.path}: these {len(rows):,} samples are not one run of neighbours in the file, so "
            "they cannot be mapped. Map the whole file and take its rows: X[ds.rows]; or copy them "
            "into memory: ds.read(range(len(ds)))."
        )
    return first


def _place(ds: Dataset, data: Any) -> tuple[np.dtype[Any], index.Rows]:
    """Type and place of samples that stand in the file as they would in memory."""
    if not isinstance(data, h5py.Dataset):
        raise FormatError(f"{ds.path}: {ds.key!r} is no data set any more. Open it again.")
    plist = data.id.get_create_plist()
    layout = plist.get_layout()
    if ds.store == "encoded" or layout != h5py.h5d.CONTIGUOUS or plist.get_external_count():
        raise _unmapped(
            ds,
            f"its samples are stored as {ds.store!r}, and not one after the other",
            f"Copy it: celeiro repack {ds.path.name} OUT --store pixels",
        )
    stored = stored_dtype(data)
    size = data.id.get_type().get_size()
    if stored is None or stored.itemsize != size or stored.kind not in "iuf":
        kind = "bfloat16" if size == 2 and data.dtype == np.float32 else f"{8 * size} bits"
        raise _unmapped(
            ds,
            f"its values are of a type that NumPy does not have ({kind}, read as {ds.dtype})",
            "Extract them with --dtype float16 or float32",
        )
    rows = index.rows_of(data, os.path.getsize(ds.path))
    if rows is None:
        raise FormatError(f"{ds.path}: {ds.key!r} was never written. Look for a copy.")
    return stored, rows


def _unmapped(ds: Dataset, why: str, what_to_do: str) -> OptionError:
    return OptionError(
        f"{ds.path}: {ds.key!r} cannot be mapped: {why}. {what_to_do}; or copy the values into "
        "memory: ds.read(range(len(ds)))."
    )
