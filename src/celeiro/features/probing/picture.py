"""The confusion matrix as a picture."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from celeiro.features.probing.result import Probe

# With more classes than this numbers no longer fit their squares, and names their lines.
_MOST_NUMBERS = 30
_MOST_NAMES = 100
_LONGEST_NAME = 24


def draw(probe: Probe, path: Path) -> None:
    """Write a PNG: rows what samples are, columns what they were taken for."""
    from matplotlib.figure import Figure

    count = len(probe.classes)
    shares = probe.confusion / np.maximum(1, probe.confusion.sum(1, keepdims=True))
    side = float(np.clip(0.45 * count, 3.2, 16))
    figure = Figure(figsize=(side + 1.8, side + 1.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xlabel("taken for")
    axes.set_ylabel("is")
    axes.set_title(f"{100 * probe.rank1:.2f} % of {probe.test_samples:,} right", fontsize=10)
    if count <= _MOST_NAMES:
        # A name may hold what matplotlib takes for a formula ($).
        names = [name[:_LONGEST_NAME] for name in probe.names]
        axes.set_xticks(range(count), names, rotation=90, parse_math=False, fontsize=8)
        axes.set_yticks(range(count), names, parse_math=False, fontsize=8)
    if count <= _MOST_NUMBERS:
        for (row, column), number in np.ndenumerate(probe.confusion):
            if number:
                color = "white" if shares[row, column] > 0.5 else "black"
                axes.text(
                    column, row, f"{number:,}", color=color, ha="center", va="center",
                    fontsize=8 if count <= 12 else 5,
                )  # fmt: skip
    with warnings.catch_warnings():
        # A name in a script that the font does not have is drawn as boxes.
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        figure.savefig(path, format="png")
