"""A probe's classifier in a file, without pickle.

skops, and not ONNX: it gives scikit-learn's own objects back, to be fitted on or looked into, adds
150 kB where ONNX adds 20 MB, and is a zip of plain `.npy` arrays that anything can read. Who wants
ONNX makes it of `Probe.model` with skl2onnx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celeiro.errors import MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path


def dump(model: Any, path: Path) -> None:
    """Write a classifier; ``skops.io.load(path)`` gives it back, and runs no code of the file."""
    library().dump(model, path)


def library() -> Any:
    """skops.io."""
    try:
        import skops.io
    except ImportError as error:
        raise MissingExtraError(
            f"saving a probe needs skops, which is not installed ({error}). "
            "Type: pip install 'celeiro[features]'"
        ) from error
    return skops.io
