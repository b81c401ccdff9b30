"""What a small network learns, from JPEGs and from pixels: the same, and in how long.

    python benchmarks/train.py FOLDER                       both stores, one seed
    python benchmarks/train.py FOLDER --seeds 0 1 --save    two seeds, and keep the result
    python benchmarks/train.py --draw                       the figure of the docs, from the result

Each run is `examples/train_torch.py` from a new network on. Seconds are those of the clock, which
other work on the machine makes longer, and beside them those of the processor.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pack import RESULTS, machine

ROOT = Path(__file__).parents[1]
RESULT = RESULTS / "train-dogs-vs-cats.json"
FIGURE = ROOT / "docs" / "training.svg"
COLORS = {"jpeg": "#d9822b", "pixels": "#2b6cb0"}


def main() -> None:
    """Measure, or draw what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--stores", nargs="+", default=["jpeg", "pixels"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, default=28)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-bfloat16", action="store_true")
    parser.add_argument("--save", action="store_true", help=f"add to {RESULT.name}")
    parser.add_argument("--draw", action="store_true", help=f"write {FIGURE.name} from it")
    given = parser.parse_args()
    for seed in given.seeds if given.folder else []:
        for store in given.stores:
            run = trained(given, store, seed)
            if given.save:
                keep(f"{store}, seed {seed}", run)
    if given.draw:
        FIGURE.write_text(drawn(json.loads(RESULT.read_text())["runs"]))


def trained(given: argparse.Namespace, store: str, seed: int) -> dict[str, Any]:
    """One run, epoch by epoch."""
    sys.path.insert(0, str(ROOT / "examples"))
    import train_torch

    with tempfile.TemporaryDirectory() as folder:
        options = f"{given.folder} {folder}/{store}.h5 --store {store} --seed {seed}".split()
        options += f"--epochs {given.epochs} --threads {given.threads}".split()
        options += [] if given.no_bfloat16 else ["--bfloat16"]
        epochs, began, work = [], time.monotonic(), time.process_time()
        for told in train_torch.train(train_torch.arguments(options)):
            told["processor_seconds"] = time.process_time() - work
            work = time.process_time()
            epochs.append({name: round(value, 4) for name, value in told.items()})
            print(f"{store}, seed {seed}: {epochs[-1]}", flush=True)
    whole = round(time.monotonic() - began, 1)
    return {"machine": machine(), "options": options[2:], "seconds": whole, "epochs": epochs}


def keep(name: str, run: dict[str, Any]) -> None:
    """Put a run beside those that are kept."""
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {"runs": {}}
    kept["runs"][name] = run
    kept["runs"] = dict(sorted(kept["runs"].items()))
    RESULT.write_text(json.dumps(kept, indent=1) + "\n")


def drawn(runs: dict[str, Any]) -> str:
    """Validation accuracy by epoch, a line a run."""
    most = max(len(run["epochs"]) for run in runs.values())

    def at(epoch: float, accuracy: float) -> str:
        return f"{60 + 560 * epoch / most:.1f},{280 - 250 * (accuracy - 0.5) / 0.5:.1f}"

    parts = []
    for percent in range(50, 101, 10):
        (left, y), (right, _) = (at(x, percent / 100).split(",") for x in (0, most))
        parts.append(f'<path d="M{left} {y}H{right}" stroke="#8886"/>')
        parts.append(f'<text x="52" y="{float(y) + 4}" text-anchor="end">{percent} %</text>')
    for epoch in range(0, most + 1, 5):
        x, y = at(epoch, 0.5).split(",")
        parts.append(f'<text x="{x}" y="{float(y) + 18}" text-anchor="middle">{epoch}</text>')
    for name, run in runs.items():
        points = " ".join(at(told["epoch"], told["accuracy"]) for told in run["epochs"])
        color = COLORS[name.partition(",")[0]]
        parts.append(f'<polyline points="{points}" stroke="{color}" stroke-width="2" fill="none"/>')
    for row, (store, color) in enumerate(COLORS.items()):
        y = 220 + 20 * row
        parts.append(f'<path d="M480 {y}h24" stroke="{color}" stroke-width="2"/>')
        parts.append(f'<text x="512" y="{y + 4}">{store}</text>')
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 320" font-family="sans-serif" '
        'font-size="12" fill="#777">\n<title>Validation accuracy after each epoch</title>\n'
        + "\n".join(parts)
        + '\n<text x="340" y="316" text-anchor="middle">epoch</text>\n</svg>\n'
    )


if __name__ == "__main__":
    main()
