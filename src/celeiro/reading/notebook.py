"""How a dataset shows itself in a notebook: a small table, and a few of its pictures."""

from __future__ import annotations

import base64
import html
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import CeleiroError

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.reading.dataset import Dataset

_SHOWN = 8
_SIDE = 72


def table(ds: Dataset) -> str:
    """HTML: what the file is, and its first pictures with their labels."""
    facts = {
        "samples": f"{len(ds):,}",
        "shape": " × ".join("?" if side is None else str(side) for side in ds.shape[1:]),
        "dtype": str(ds.dtype),
        "store": ds.store,
        "classes": ", ".join(ds.label_names[:_SHOWN]) + (", …" if len(ds.label_names) > 8 else ""),
        "splits": ", ".join(ds.splits),
        "fields": ", ".join(ds.fields),
    }
    rows = "".join(
        f"<tr><th style='text-align:left'>{name}</th><td style='text-align:left'>"
        f"{html.escape(value)}</td></tr>"
        for name, value in facts.items()
        if value
    )
    pictures = "".join(_cell(ds, number) for number in range(min(_SHOWN, len(ds))))
    shown = (
        f"<div><b>{html.escape(ds.path.name)}</b><table>{rows}</table>"
        f"<div style='display:flex;gap:6px'>{pictures}</div></div>"
    )
    # Names need not be UTF-8, and what a notebook is sent must be.
    return shown.encode("utf-8", "backslashreplace").decode()


def _cell(ds: Dataset, number: int) -> str:
    """One picture; of a damaged one, that it is."""
    try:
        image, label = ds[number]
    except CeleiroError:
        return "<div>damaged</div>"
    name = "" if label is None else _label(ds, label)
    return (
        f"<div style='text-align:center;font-size:smaller'>{_thumbnail(image, ds.color)}<br>"
        f"{html.escape(name)}</div>"
    )


def _label(ds: Dataset, label: Any) -> str:
    if isinstance(label, int) and 0 <= label < len(ds.label_names):
        return ds.label_names[label]
    return str(label) if np.ndim(label) == 0 else "…"


def _thumbnail(image: npt.NDArray[Any], color: str) -> str:
    """A PNG of a sample that looks like a picture; nothing for anything else."""
    import cv2

    if image.ndim == 2:
        image = image[:, :, np.newaxis]
    if image.ndim != 3 or image.shape[2] not in (1, 3) or image.dtype != np.uint8:
        return ""
    scale = _SIDE / max(1, *image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    if small.ndim == 3 and color != "BGR":
        small = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    data = base64.b64encode(cv2.imencode(".png", small)[1].tobytes()).decode()
    return f"<img alt='' src='data:image/png;base64,{data}'>"
