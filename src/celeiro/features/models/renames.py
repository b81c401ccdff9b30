"""Names of the same weights in other libraries.

The EfficientNets of EfficientNet-PyTorch (whose names `efficientnet_lite_pytorch` and many trained
files keep) count blocks one by one, those of timm by stage:

    _blocks.3._depthwise_conv.weight  ->  blocks.2.0.conv_dw.weight
"""

from __future__ import annotations

from typing import Any

__all__ = ["for_timm"]

_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}

# Of a block that widens before its depthwise convolution, and of one that does not.
_WIDENING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLAIN = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}


def for_timm(state: dict[str, Any], module: Any) -> dict[str, Any]:
    """The state under timm's names; as it is where it is none of EfficientNet-PyTorch's."""
    if "_conv_stem.weight" not in state or not hasattr(module, "blocks"):
        return state
    stages = [f"{s}.{b}" for s, stage in enumerate(module.blocks) for b in range(len(stage))]
    return {_renamed(name, state, stages): tensor for name, tensor in state.items()}


def _renamed(name: str, state: dict[str, Any], stages: list[str]) -> str:
    first, _, rest = name.partition(".")
    if first != "_blocks":
        return f"{_OUTSIDE.get(first, first)}.{rest}"
    number, part, last = rest.split(".", 2)
    widens = f"_blocks.{number}._expand_conv.weight" in state
    table = _WIDENING if widens else _PLAIN
    if int(number) >= len(stages) or part not in table:
        return name
    return f"blocks.{stages[int(number)]}.{table[part]}.{last}"
