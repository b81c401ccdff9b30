"""Source and options -> what is to be done, in which order; pure, nothing is opened.

    Listing ──shuffle──> order of the file ──stratify──> splits

The invariant: order and splits are drawn on the plan, before any picture is looked at, so a bad
picture moves no other one to another split; rows close up over it in the file.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError
from celeiro.format.checksum import crc32c
from celeiro.packing.order import shuffled
from celeiro.packing.splits import assign_splits

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from celeiro.packing.listing import Listing
    from celeiro.packing.options import PackOptions


@dataclass(frozen=True, slots=True)
class Plan:
    """Tasks in the order of the file: task t is row t of `listing`."""

    listing: Listing
    """What the source found, in the order of the file, splits included."""
    options: PackOptions
    """How each picture is packed."""

    def __len__(self) -> int:
        """Number of tasks."""
        return len(self.listing)

    def entries(self, first: int, last: int) -> npt.NDArray[np.uint64]:
        """A fingerprint of each task's source: name, size, time, label, split, mask, boxes.

        1 µs each; kept in the journal, so that going on notices what changed meanwhile. Not a
        digest: it tells changes from no change, and nobody gains by two that look alike.
        """
        found, tasks = self.listing, range(first, last)
        mixed = np.array([crc32c(found.keys[t]) for t in tasks], np.uint64)
        for column in (found.sizes, found.mtimes, found.labels, found.splits):
            if column is not None:
                for values in _words(column[first:last]):
                    mixed = _mix(mixed ^ values)
        if found.masks is not None:
            mixed = _mix(mixed ^ np.array([_mask_words(found, t) for t in tasks], np.uint64))
        if found.boxes is not None:
            boxes = [crc32c(np.ascontiguousarray(found.boxes[t]).data) for t in tasks]
            mixed = _mix(mixed ^ np.array(boxes, np.uint64))
        return mixed


def _words(column: npt.NDArray[Any]) -> Iterator[npt.NDArray[np.uint64]]:
    """A column's values as numbers of 64 bits, one array for each of its axes' places."""
    flat = column.reshape(len(column), math.prod(column.shape[1:]))  # also of no rows
    whole = flat.view(np.uint64) if flat.dtype.itemsize == 8 else flat.astype(np.uint64)
    return iter(np.ascontiguousarray(whole.T))


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Spread every bit over all 64 (the finaliser of SplitMix64, modulo 2**64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _mask_words(found: Listing, task: int) -> int:
    """Name, size and time of a mask, which the listing has not looked at."""
    path = found.mask_path(task)
    try:
        status = os.stat(path)
    except OSError:
        return crc32c(path)
    return crc32c(b"%b\0%d %d" % (path, status.st_size, status.st_mtime_ns))


def make_plan(listing: Listing, options: PackOptions) -> Plan:
    """Draw order and splits.

    Raises
    ------
    OptionError
        Splits were asked for, and the source has its own.
    """
    if options.split and listing.splits is not None:
        raise OptionError(
            f"the source has splits of its own ({', '.join(listing.split_names)}), so --split "
            "cannot apply. Leave it out, or pack the folders one by one."
        )
    if options.split:
        codes = assign_splits(listing.labels, options.split, options.seed, count=len(listing))
        listing = replace(listing, splits=codes, split_names=tuple(options.split))
    if options.shuffle:
        listing = listing.take(shuffled(len(listing), options.seed))
    return Plan(listing, options)
