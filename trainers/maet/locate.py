"""Recipe step `maet_locate`: MAET's first stage, which weights an ability calls for, as a data set of masks."""

from typing import Any

from datasets import Dataset, Features, Value

from ...hub_sync.context import StepContext
from .config import LocateConfig
from .importance import Scores, measure
from .masks import FILE, load_masks, save_masks
from .select import key_neurons
from .transfer_step import place

# Columns of the table, a row a tensor.
_TYPES = {"tensor": "string", "layer": "int32", "part": "string", "form": "string", "weights": "int64",
          "in_mask": "int64", "share": "float64"}  # fmt: skip

_COLUMNS = {
    "tensor": "name of the tensor",
    "layer": "number of its layer, from 0; null outside of layers",
    "part": "name of the tensor within a layer",
    "form": "what the mask marks of it: `element`, `row` or `column`",
    "weights": "elements that were looked at",
    "in_mask": "those of them in the mask",
    "share": "in_mask / weights, 0 to 1",
}


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
        share = taken / elements if elements else 0.0
        rows.append(dict(zip(_TYPES, (name, layer, part, masks.forms[name], elements, taken, share), strict=True)))
    folder = context.output / "data"
    folder.mkdir(parents=True, exist_ok=True)
    features = Features({name: Value(kind) for name, kind in _TYPES.items()})
    Dataset.from_list(rows, features=features).to_parquet(folder / "train-00000-of-00001.parquet")
    _report(config, context, scores, rows)


def _report(config: LocateConfig, context: StepContext, scores: Scores, rows: list[dict[str, Any]]) -> None:
    report, model = context.report, context.inputs["model"].ref.repo_id
    looked, taken = sum(row["weights"] for row in rows), sum(row["in_mask"] for row in rows)
    report.card = {"pretty_name": f"Key neurons of {model}", "tags": ["maet", "interpretability"]}
    report.summary = (
        f"Which weights of `{model}` the texts of `{context.inputs['dataset'].ref.repo_id}` call for: "
        f"the {taken:,} of {looked:,} with the highest importance (`{config.importance}`, {config.granularity}), by "
        "MAET's first stage (arXiv 2410.07825). A row is a tensor; the mask itself is `masks.safetensors`, whose bits "
        "`hubwright` reads."
    )
    report.columns |= _COLUMNS
    report.metrics |= {
        "weights_looked_at": looked,
        "weights_in_mask": taken,
        "share_in_mask": taken / looked,
        "weights_not_looked_at": sum(kind.elements for kind in scores.kinds.values()) - looked,
    }
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        parts.setdefault(row["part"], []).append(row)
    table: list[list[Any]] = []
    series: dict[str, list[list[Any]]] = {}
    for part, tensors in sorted(parts.items()):
        weights, in_mask = (sum(row[key] for row in tensors) for key in ("weights", "in_mask"))
        table.append([part, len(tensors), weights, in_mask, in_mask / max(1, weights)])
        if len(tensors) > 1 and all(len(scores.kinds[row["tensor"]].shape) > 1 for row in tensors):
            series[part] = [
                [row["layer"], 100 * row["share"]] for row in sorted(tensors, key=lambda row: row["layer"])
            ]
    report.table("Where the ability sits", ["part", "tensors", "weights", "in the mask", "share"], table)
    report.curve("Share of each layer in the mask", "layer", "per cent of the weights", series)
