"""One process of two that train together: tells which samples it is given, and their digest.

python rank.py FILE STORE RANK  ->  {"labels": [[…] of each epoch], "digest": "…", "rank": 0}
"""

from __future__ import annotations

import json
import sys

from torch import distributed

from celeiro.torch import Loader


def main(file: str, store: str, rank: str) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=int(rank), world_size=2
    )
    with Loader(file, 4, seed=5, pad=False) as loader:
        labels = [[n for _, some in loader for n in some.tolist()] for _ in range(2)]
        told = {"labels": labels, "digest": loader.digest(), "rank": distributed.get_rank()}
    distributed.barrier()
    distributed.destroy_process_group()
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
