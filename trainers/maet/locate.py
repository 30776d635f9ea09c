"""Recipe step `maet_locate`: MAET's first stage, which weights an ability calls for, as a data set of masks."""

from __future__ import annotations

from typing import Any

from ...hub_sync.context import StepContext
from .config import LocateConfig
from .importance import Scores, measure
from .masks import FILE, load_masks, save_masks
from .select import key_neurons
from .transfer_step import place


def locate(config: LocateConfig, context: StepContext) -> None:
    """Score the weights of `context.inputs["model"]` on `dataset`, and write the mask of those with the highest.

    `masks.safetensors` and a table with a row a tensor go to `context.output`. Raises as `pretrain.train`, and
    UsageError where no tensor is left to look at.
    """
    scores = measure(config, context)
    chosen = key_neurons(config, scores)
    save_masks(context.output, chosen)
    masks = load_masks(context.output, FILE)
    rows = []
    for name in sorted(chosen):
        layer, part = place(name)
        elements, taken = scores.kinds[name].elements, masks.count(name)
        rows.append(
            {"tensor": name, "layer": layer, "part": part, "form": masks.forms[name], "weights": elements,
             "in_mask": taken, "share": taken / elements if elements else 0.0}
        )  # fmt: skip
    _write(rows, context)
    _report(config, context, scores, rows)


def _write(rows: list[dict[str, Any]], context: StepContext) -> None:
    from datasets import Dataset, Features, Value

    types = {"tensor": "string", "layer": "int32", "part": "string", "form": "string", "weights": "int64",
             "in_mask": "int64", "share": "float64"}  # fmt: skip
    folder = context.output / "data"
    folder.mkdir(parents=True, exist_ok=True)
    features = Features({name: Value(kind) for name, kind in types.items()})
    Dataset.from_list(rows, features=features).to_parquet(folder / "train-00000-of-00001.parquet")


def _report(config: LocateConfig, context: StepContext, scores: Scores, rows: list[dict[str, Any]]) -> None:
    report, given = context.report, context.inputs
    looked, taken = sum(row["weights"] for row in rows), sum(row["in_mask"] for row in rows)
    report.card = {"pretty_name": f"Key neurons of {given['model'].ref.repo_id}", "tags": ["maet", "interpretability"]}
    report.summary = (
        f"Which weights of `{given['model'].ref.repo_id}` the texts of `{given['dataset'].ref.repo_id}` call for: "
        f"the {taken:,} of {looked:,} with the highest importance (`{config.importance}`, {config.granularity}), by "
        "MAET's first stage (arXiv 2410.07825). A row is a tensor; the mask itself is `masks.safetensors`, whose bits "
        "`hubwright` reads."
    )
    report.metrics |= {
        "weights_looked_at": looked,
        "weights_in_mask": taken,
        "share_in_mask": taken / looked,
        "weights_not_looked_at": sum(kind.elements for kind in scores.kinds.values()) - looked,
    }
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        parts.setdefault(row["part"], []).append(row)
    report.tables.append(
        {
            "title": "Where the ability sits",
            "columns": ["part", "tensors", "weights", "in the mask", "share"],
            "rows": [
                [part, len(held), sum(r["weights"] for r in held), sum(r["in_mask"] for r in held),
                 sum(r["in_mask"] for r in held) / max(1, sum(r["weights"] for r in held))]
                for part, held in sorted(parts.items())
            ],
        }
    )  # fmt: skip
    series = {
        part: [[row["layer"], 100 * row["share"]] for row in sorted(held, key=lambda r: r["layer"])]
        for part, held in sorted(parts.items())
        if len(held) > 1 and all(len(scores.kinds[row["tensor"]].shape) > 1 for row in held)
    }
    if series:
        title = "Share of each layer in the mask"
        report.curves.append({"title": title, "x": "layer", "y": "per cent of the weights", "series": series})
