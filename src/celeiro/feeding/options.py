"""The options of `celeiro.Loader` as a type, for the frameworks' loaders, which pass them on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

__all__ = ["Options"]


class Options(TypedDict, total=False):
    """What `celeiro.Loader` takes beside a dataset and the size of batches; it tells what they do.

    A test holds the two together.
    """

    shuffle: bool | Literal["blocks", "balanced"]
    seed: int
    transform: Callable[..., Any] | Sequence[Any] | None
    drop_last: bool
    rank: int | None
    world_size: int | None
    workers: int | None
    prefetch: int
    fields: str | Sequence[str]
    on_error: Literal["raise", "skip"]
    reuse: bool
    fast: bool
    pad: bool
    weights: npt.ArrayLike | None
    samples: int | None
    block: int | None
    mixed: int | None
