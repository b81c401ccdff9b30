"""timm, where models are built of it."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def timm(torchvision: Any) -> Any:
    """timm, which loads torchvision."""
    del torchvision
    return pytest.importorskip("timm")
