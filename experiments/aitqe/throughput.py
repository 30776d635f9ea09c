"""Pairs a second of a generative scorer: in batches and one by one, and the score alone beside the whole JSON.

    python experiments/aitqe/throughput.py --dataset DIR --model DIR [--pairs 32] [--batches 1 8 32] [--threads 1]

`rating.Rater` does what the step aitqe_rate does, without the time of loading. All sizes score the same pairs in
turns, the faster of two turns counts, and the table has the largest difference of a score from that of one by one.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))
from local_steps import context


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True, help="folder of samples, split `test`")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    import torch

    from hubwright.trainers.aitqe.rating import RateConfig, Rater

    torch.set_num_threads(arguments.threads)
    inputs = context(Path(), dataset=arguments.dataset, model=arguments.model).inputs
    cache = Path("/tmp/throughput")
    raters: dict[tuple[str, int], Any] = {}
    for mode in ("full", "score"):
        for size in arguments.batches:
            config = RateConfig(split="test", mode=mode, batch_size=size, use_cpu=True)
            raters[mode, size] = Rater(config, inputs, cache, "model", mode)
            raters[mode, size].scorer = next(iter(raters.values())).scorer  # one copy of the weights
    times: dict[tuple[str, int], list[float]] = {key: [] for key in raters}
    scores: dict[tuple[str, int], Any] = {}
    for _ in range(2):
        for key, rater in raters.items():
            began = time.perf_counter()
            rows = rater(range(arguments.pairs))
            times[key].append(time.perf_counter() - began)
            scores[key] = np.array([row["overall"] for row in rows], float)
    print("| mode | batch | pairs a second | times one by one | largest difference of a score |")
    print("|---|---:|---:|---:|---:|")
    for (mode, size), seconds in times.items():
        alone = arguments.batches[0]
        ratio = min(times[mode, alone]) / min(seconds)
        moved = np.nanmax(np.abs(scores[mode, size] - scores[mode, alone]))
        print(f"| {mode} | {size} | {arguments.pairs / min(seconds):.2f} | {ratio:.1f} | {moved:.2g} |")


if __name__ == "__main__":
    main()
