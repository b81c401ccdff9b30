"""Source and options -> what is to be done, in which order; pure, nothing is opened.

    Listing ──shuffle──> order of the file ──stratify──> splits

The invariant: order and splits are drawn on the plan, before any picture is looked at, so a bad
picture moves no other one to another split; rows close up over it in the file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from celeiro.errors import OptionError
from celeiro.packing.order import shuffled
from celeiro.packing.splits import assign_splits

if TYPE_CHECKING:
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

        1.5 µs each; kept in the journal, so that going on notices what changed meanwhile.
        """
        return np.array([self._entry(t) for t in range(first, last)], np.uint64)

    def _entry(self, task: int) -> int:
        found = self.listing
        digest = hashlib.blake2b(found.keys[task], digest_size=8)
        digest.update(b"\0%d %d" % (found.sizes[task], found.mtimes[task]))
        for column in (found.labels, found.splits):
            if column is not None:
                digest.update(column[task].tobytes())
        if found.masks is not None:
            digest.update(found.masks[task])
        if found.boxes is not None:
            digest.update(np.ascontiguousarray(found.boxes[task]).tobytes())
        return int.from_bytes(digest.digest(), "little")


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
