"""torchvision and timm, where models are built of them."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Any

import pytest

_KEPT: list[Any] = []  # a library's operators go with it


@pytest.fixture(scope="session")
def torchvision() -> Any:
    """torchvision, whatever build there is; see `v2` of tests/feeding/conftest.py."""
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            if "torchvision::nms" not in str(error):
                raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(operators)
        return importlib.import_module("torchvision")


@pytest.fixture(scope="session")
def timm(torchvision: Any) -> Any:
    """timm, which loads torchvision."""
    return pytest.importorskip("timm")
