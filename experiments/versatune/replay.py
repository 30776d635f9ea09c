"""The weights that each rule would have given on the authors' own loss curves: an illustration, nothing is trained.

    python experiments/versatune/replay.py --curves ../shared/data/8023looker/VersaTune/SFT_series/proxy_loss

Each curve is the train loss of a 1 B model on one domain alone. The loss of a domain after epoch t is the mean over
epoch t of its own run, as if every domain had been trained for t epochs. An epoch is the rows of the set by 512, the
batch of the authors' script: three curves are 100 epochs long, that of finance 26. References: the authors' procedure,
the lowest mean of an epoch, and the mean of epoch 10, since the lowest is a model's that knows its rows by heart.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from hubwright.trainers.versatune.updates import Array, exponentiated, multiplicative, potential

DOMAINS = {
    "law": ("law", 9_241),
    "medicine": ("medical", 10_178),
    "finance": ("finance", 68_912),
    "other": ("general", 52_002),
}
BATCH = 512
# Hard labels counted in the authors' repository for Qwen2-7B (law, medicine, finance, other), divided by their sum.
KNOWN = np.array([10.6, 8.3, 4.3, 24.8])


def epoch_means(path: Path, rows: int) -> Array:
    """Mean loss of each whole epoch, (epochs,)."""
    with path.open(encoding="utf-8") as stream:
        losses = np.array([float(row[1]) for row in list(csv.reader(stream))[1:]])
    steps = rows // BATCH
    return losses[: len(losses) // steps * steps].reshape(-1, steps).mean(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=Path, required=True)
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--sigma", type=float, default=0.5, help="ours: the paper's value is not known to us")
    options = parser.parse_args()
    curves = [epoch_means(options.curves / f"{name}_proxy_1b.csv", rows) for name, rows in DOMAINS.values()]
    means = np.array([curve[:10] for curve in curves])
    references = {"lowest epoch": np.array([curve.min() for curve in curves]), "epoch 10": means[:, 9]}
    shown = [0, 1, 2, 3, 9]
    print("| mean train loss | epochs |", " | ".join(f"epoch {epoch + 1}" for epoch in shown), "| lowest |")
    print("|---|" + "---:|" * (len(shown) + 2))
    for name, curve in zip(DOMAINS, curves, strict=True):
        print(f"| {name} | {len(curve)} |", " | ".join(f"{curve[e]:.3f}" for e in shown), f"| {curve.min():.4f} |")
    print(f"\n| start | rule | update | {' | '.join(DOMAINS)} |")
    print("|---|---|---:|" + "---:|" * len(DOMAINS))
    for start, prior in (("uniform", np.full(4, 0.25)), ("Qwen2-7B's labels", KNOWN / KNOWN.sum())):
        for rule in (*references, "repository"):
            weights = prior
            for update in range(options.updates + 1):
                if update:
                    losses = means[:, update - 1]
                    gamma = potential(losses, references.get(rule, losses))
                    moved = exponentiated(weights, losses) if rule == "repository" else None
                    weights = multiplicative(weights, gamma, options.sigma) if moved is None else moved
                called = "repository (raw losses)" if rule == "repository" else f"paper, reference {rule}"
                print(f"| {start} | {called} | {update} |", " | ".join(f"{weight:.3f}" for weight in weights), "|")


if __name__ == "__main__":
    main()
