"""Random numbers of other libraries, drawn from a sample's own."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager


def seed_from(u: Sequence[float]) -> int:
    """A seed of 53 bits from one uniform in [0, 1).

    Its low 32 bits depend on all of them: torch's generator looks at no others.
    """
    bits = int(u[0] * 2.0**53)
    return bits ^ (bits >> 21)


def torch_seeded(seed: int) -> AbstractContextManager[Any]:
    """Let torch's random functions draw from a generator of their own, in this thread alone.

    Its one generator for all threads stays untouched: it is the training loop's.
    """
    import torch

    context: AbstractContextManager[Any] = _mode()(torch.Generator().manual_seed(seed))
    return context


@cache
def _mode() -> Any:
    import torch
    from torch.overrides import TorchFunctionMode

    drawing = frozenset(
        getattr(where, name)
        for where, names in (
            (torch, "rand randint randn randperm normal bernoulli multinomial poisson"),
            (torch, "_sample_dirichlet _standard_gamma"),
            (torch.Tensor, "uniform_ normal_ random_ bernoulli_ exponential_ bernoulli"),
            (torch.Tensor, "multinomial geometric_ log_normal_ cauchy_"),
        )
        for name in names.split()
        if hasattr(where, name)
    )

    base: Any = TorchFunctionMode  # typed or not, as torch is installed or not

    class Seeded(base):  # type: ignore[misc]
        """Hands its generator to every function that draws."""

        def __init__(self, generator: Any) -> None:
            super().__init__()
            self._generator = generator

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            if func in drawing and kwargs.get("generator") is None:
                kwargs = {**kwargs, "generator": self._generator}
            return func(*args, **kwargs)

    return Seeded
