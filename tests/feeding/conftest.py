"""torchvision, where transforms are compared with it."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Any

import pytest


@pytest.fixture(scope="session")
def v2() -> Any:
    """`torchvision.transforms.v2`, whatever build of torchvision there is.

    One built for CUDA beside a torch without it cannot load its own operators (of detection), and
    then refuses to be imported at all, unless something bears their names.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module("torchvision.transforms.v2")
        except RuntimeError as error:
            if "torchvision::nms" not in str(error):
                raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        import torch

        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(operators)
        return importlib.import_module("torchvision.transforms.v2")


_KEPT: list[Any] = []  # a library's operators go with it
