"""torchvision, where transforms are compared with it."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import pytest


@pytest.fixture(scope="session")
def v2(torchvision: Any) -> Any:
    """`torchvision.transforms.v2`, whatever build of torchvision there is."""
    del torchvision
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("torchvision.transforms.v2")
