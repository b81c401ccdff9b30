"""Which picture is in which split: a seeded draw, stratified by class.

Each class is divided as the fractions say, up to one picture, and so are all classes together:
what one class was given too much, the next is given less. The draw depends on the seed, the
labels and the fractions only, and uses the raw stream of PCG64, which NumPy promises to keep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

__all__ = [
    "MAX_SPLITS",
    "assign_splits",
    "check_split_name",
    "parse_splits",
    "role_of",
    "sorted_names",
]

MAX_SPLITS = 255
"""Codes are uint8, and 255 says "in no split"."""

_ROLES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
_ROLE_OF = {name: role for role, names in _ROLES.items() for name in names}
_TOLERANCE = 1e-6


def role_of(name: str) -> str | None:
    """Give ``train``, ``val`` or ``test`` for a name that means it, in any case; else None.

    Examples
    --------
    >>> role_of("Validation")
    'val'
    """
    return _ROLE_OF.get(name.lower())


def sorted_names(names: Iterable[str]) -> tuple[str, ...]:
    """Order split names: train, validation, test, then the others by name."""
    roles = list(_ROLES)
    ranks = {role: rank for rank, role in enumerate(roles)}
    return tuple(sorted(names, key=lambda name: (ranks.get(role_of(name) or "", len(ranks)), name)))


def parse_splits(text: str) -> dict[str, float]:
    """Read ``train=0.8,val=0.1,test=0.1``.

    Examples
    --------
    >>> parse_splits("train=0.8, val=0.2")
    {'train': 0.8, 'val': 0.2}
    """
    fractions: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        try:
            fraction = float(number)
        except ValueError:
            equals = ""
        if not equals:
            raise OptionError(
                f"split {text!r}: {part.strip()!r} is not NAME=FRACTION. "
                "Write it like train=0.8,val=0.1,test=0.1"
            )
        if name in fractions:
            raise OptionError(f"split {text!r}: {name!r} is there twice. Name each split once")
        fractions[name] = fraction
    _check_fractions(fractions)
    return fractions


def check_split_name(name: str) -> None:
    """Refuse a name that HDF5 cannot give to a link."""
    if not name or name == "." or "/" in name or "\0" in name or not _is_utf8(name):
        raise OptionError(
            f"split name {name!r} cannot be stored. "
            "Wanted: at least one character, not '.', and without '/' and NUL"
        )


def assign_splits(
    labels: npt.NDArray[Any] | None,
    fractions: Mapping[str, float],
    seed: int,
    *,
    count: int | None = None,
) -> npt.NDArray[np.uint8]:
    """Draw the split of each sample: its position in `fractions`.

    Integer labels of one axis are classes, and each is divided alike. Other labels (regression,
    multi-hot) and none are divided as one class; without labels, `count` says how many samples.
    """
    _check_fractions(fractions)
    total = count if labels is None else len(labels)
    if total is None:
        raise OptionError("splits without labels. Say how many samples there are with `count`")
    if count not in (None, total):
        raise OptionError(f"splits of {count} samples with {total} labels. Wanted: as many of both")
    if seed < 0:
        raise OptionError(f"seed {seed} is negative. Wanted: 0 or more")
    draw = np.random.PCG64(seed).random_raw(total)
    classes = np.zeros(total, dtype=np.int64)
    if labels is not None and labels.ndim == 1 and labels.dtype.kind in "iu":
        classes = labels.astype(np.int64)
    order = np.lexsort((draw, classes))
    sizes = np.unique(classes, return_counts=True)[1]
    portions = _apportion(sizes, np.array(list(fractions.values()), dtype=np.float64))
    codes = np.empty(total, dtype=np.uint8)
    each = np.tile(np.arange(len(fractions), dtype=np.uint8), len(sizes))
    codes[order] = np.repeat(each, portions.ravel())
    return codes


def _apportion(
    sizes: npt.NDArray[np.int64], fractions: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Divide each size by the fractions: (classes, splits), each the quota rounded down or up.

    The largest remainders are rounded up. They include what earlier classes are owed, or else
    a thousand classes of one picture would all go to the largest split.
    """
    # Rounded, since 0.1 * 30 is 3.0000000000000004 and 0.29 * 100 is 28.999999999999996.
    quotas = np.round(sizes[:, None] * (fractions / fractions.sum()), 9)
    portions: npt.NDArray[np.int64] = np.floor(quotas).astype(np.int64)
    remainders = quotas - portions
    left_over = sizes - portions.sum(axis=1)
    owed = np.zeros(len(fractions))
    for number, spare in enumerate(left_over):
        owed += remainders[number]
        can_grow = np.where(remainders[number] > 0, owed, -np.inf)
        favoured = np.argsort(-can_grow, kind="stable")[:spare]
        portions[number, favoured] += 1
        owed[favoured] -= 1
    return portions


def _check_fractions(fractions: Mapping[str, float]) -> None:
    if not 1 <= len(fractions) <= MAX_SPLITS:
        raise OptionError(f"{len(fractions)} splits. Wanted: from 1 to {MAX_SPLITS}")
    for name, fraction in fractions.items():
        check_split_name(name)
        if not 0 < fraction <= 1 + _TOLERANCE:
            raise OptionError(
                f"split {name!r} has the fraction {fraction}. Wanted: above 0, up to 1"
            )
    total = sum(fractions.values())
    if abs(total - 1) > _TOLERANCE:
        raise OptionError(f"the fractions of the splits sum to {total:g}. Wanted: 1")


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
