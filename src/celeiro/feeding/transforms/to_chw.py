"""ToCHW: channels first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ToCHW:
    """Channels first: (C, H, W), as PyTorch wants pictures."""

    chw = True
