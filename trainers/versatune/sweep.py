"""Recipe step `versatune_sweep`: small models trained on random mixtures of the domains, as a table for a regression.

    {"run": 0, "seed": 42, "weight_code": 0.61, "weight_law": 0.28, "weight_other": 0.11,
     "loss_code": 3.31, "loss_law": 2.87, "loss_other": 3.40}

Weights are those of the draws; losses are on held-out rows, in nats per token. A run that has ended is never trained
again, and one that was killed resumes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field, model_validator

from ...hub_sync.context import StepContext
from ...hub_sync.files import write_atomic
from ...hub_sync.json_columns import make_dataset
from ...hub_sync.step import Size
from .config import VersatunePretrainConfig, pretrain
from .updates import Array

if TYPE_CHECKING:
    from datasets import DatasetDict

NEVER = 1 << 40
Row = dict[str, Any]


class SweepConfig(VersatunePretrainConfig):
    """Settings of every run, as of `versatune_pretrain`, and how many there are."""

    strategy: Any = Field("static", pattern="^static$", description="static: the weights of a run stay.")
    runs: int = Field(32, ge=1, description="Mixtures. Our choice.")
    seeds: int = Field(1, ge=1, description="Trainings per mixture, with seeds from `seed` on. Our choice.")
    concentration: float = Field(
        1.0, gt=0, description="Mixtures are drawn from a Dirichlet distribution around the start weights; its "
        "parameters are this times the number of domains times the weights: less gives more uneven ones. Our choice."
    )  # fmt: skip

    @model_validator(mode="after")
    def _no_references(self) -> Self:
        if self.reference_losses:
            raise ValueError("reference_losses: the weights of a run stay: drop them")
        return self

    def disk(self, inputs: Mapping[str, Size]) -> tuple[int, Size] | None:
        """Of one run at a time; what is published is a small table."""
        one = super().disk(inputs)
        return one and (one[0], Size(1 << 20))


def mixture(prior: Array, concentration: float, seed: int, run: int) -> Array:
    """The weights of a run by its number, (k,), sum 1; a domain of weight 0 stays out.

    >>> mixture(np.array([0.5, 0.5, 0.0]), 1e6, seed=0, run=3).round(2).tolist()
    [0.5, 0.5, 0.0]
    """
    from .sampler import generator

    weights, alive = np.zeros_like(prior), prior > 0
    draws = generator(seed, "mixtures", run).standard_gamma(concentration * alive.sum() * prior[alive])
    weights[alive] = np.maximum(draws, np.finfo(np.float64).tiny)
    return weights / weights.sum()


def sweep(config: SweepConfig, context: StepContext) -> DatasetDict:
    """The table, a row per training. Raises as `versatune_pretrain`."""
    from datasets import DatasetDict

    from .domains import choose

    names, prior = choose(config, context)
    rows = []
    for run in range(config.runs):
        weights = mixture(prior, config.concentration, config.seed, run)
        for seed in range(config.seed, config.seed + config.seeds):
            rows.append(_row(config, context, run, seed, dict(zip(names, weights.tolist(), strict=True))))
    report, source_name = context.report, context.inputs["dataset"].ref.repo_id
    means = [float(np.mean([row[f"loss_{name}"] for name in names])) for row in rows]
    best = rows[int(np.argmin(means))]
    report.summary = (
        f"Held-out losses of {len(rows)} models, trained alike on {config.runs} mixtures of the domains of "
        f"`{source_name}`: for a regression of losses on weights."
    )
    report.card = {"pretty_name": f"Runs on mixtures of {source_name}", "tags": ["versatune", "data-mixing"]}
    report.columns |= {"run": "number of the mixture, from 0", "seed": "seed of the training"}
    report.columns |= {f"weight_{name}": f"share of {name} in the mixture, 0 to 1" for name in names}
    report.columns |= {f"loss_{name}": f"held-out loss on {name}, nats per token" for name in names}
    report.metrics |= {"trainings": len(rows), "mean_loss_lowest": min(means), "mean_loss_highest": max(means)}
    table = [[name, best[f"weight_{name}"], best[f"loss_{name}"]] for name in names]
    report.table("The run with the lowest mean loss", ["domain", "weight", "held-out loss"], table, "Nats per token.")
    return DatasetDict({"train": make_dataset(rows)})


def _row(config: SweepConfig, context: StepContext, run: int, seed: int, weights: dict[str, float]) -> Row:
    """A training's row, from disk if the training has ended."""
    path = context.workdir / "rows" / f"{run:05d}-{seed}.json"
    if not path.is_file():
        # One work folder for all trainings, so that rows are tokenised once; its checkpoints are of the one it names.
        folder, name = context.workdir / "run", context.workdir / "run" / "training"
        if not name.is_file() or name.read_text(encoding="utf-8") != path.stem:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(name, path.stem)
        step = StepContext(context.step, folder, context.workdir / "trained", context.inputs)
        own = {"weights": weights, "seed": seed, "update_every": NEVER, "domains": tuple(weights)}
        pretrain(config.model_copy(update=own), step)
        losses = {f"loss_{name}": step.report.metrics[f"held_out_loss_{name}"] for name in weights}
        new = {"run": run, "seed": seed, **{f"weight_{name}": value for name, value in weights.items()}, **losses}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(new))
        shutil.rmtree(step.output)
    row: Row = json.loads(path.read_text(encoding="utf-8"))
    return row
