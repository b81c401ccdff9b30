"""Where training is: an epoch, and a position in its order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celeiro.errors import OptionError

if TYPE_CHECKING:
    from celeiro.feeding.order import Order


@dataclass(frozen=True, slots=True)
class Place:
    """The next batch is the one that begins here."""

    epoch: int
    """0, 1, …"""
    position: int
    """Samples of the epoch that all ranks together were given."""

    def next(self) -> Place:
        """The beginning of the next epoch."""
        return Place(self.epoch + 1, 0)


def loaded(state: Mapping[str, Any], order: Order) -> tuple[int, Place, dict[int, int]]:
    """Seed, place and skipped samples of a state that a loader of this order may go on from."""
    if not isinstance(state, Mapping) or state.get("version") != 1:
        raise OptionError(
            f"state {state!r:.80}: wanted what state_dict() of a loader of this release gave."
        )
    if state.get("order") != repr(order):
        raise OptionError(
            f"the state is of {state.get('order')}, this loader goes by {order!r}: positions in "
            "one say nothing of the other. Give it the same dataset and options."
        )
    numbers = [state.get(name) for name in ("seed", "epoch", "position")]
    whole = [n for n in numbers if isinstance(n, int) and n >= 0]
    if len(whole) < 3 or whole[2] > len(order):
        raise OptionError(
            f"seed, epoch and position of the state are {numbers}: wanted whole numbers, the last "
            f"at most {len(order):,}."
        )
    seed, epoch, position = whole
    skipped = list(state.get("skipped", ()))
    pairs = [tuple(pair) for pair in skipped if isinstance(pair, (list, tuple)) and len(pair) == 2]
    sound = [
        (at, sample)
        for at, sample in pairs
        if isinstance(at, int) and 0 <= at < len(order) and isinstance(sample, int) and sample >= 0
    ]
    if len(sound) < len(skipped):
        raise OptionError(
            f"skipped samples of the state are {skipped!r:.80}: wanted pairs of a position below "
            f"{len(order):,} and a sample."
        )
    return seed, Place(epoch, position), dict(sound)
