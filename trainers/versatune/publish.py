"""What is published beside a model that was trained on domains: the schedule as Parquet, and figures for the card."""

import math
from typing import Any

from datasets import Features, Value

from ...hub_sync.json_columns import make_dataset
from .config import OPTIONS
from .references import role_of
from .updates import ALARM

FILE = "schedule.parquet"
_TYPES = {
    "update": "int32", "from_draw": "int64", "from_step": "int64", "domain": "string", "weight": "float64",
    "held_out_loss": "float64", "reference_loss": "float64", "potential": "float64", "forgetting": "float64",
}  # fmt: skip


def name_curves(trainer: Any) -> None:
    """Let the report of a trainer show weights, losses and forgetting by domain."""
    shown = (
        ("Domain weights", f"share of {trainer.weigh_by}", "weight"),
        ("Held-out loss by domain", "nats per token", "held_out_loss"),
        ("Forgetting by domain", "rise of the loss since the update before", "forgetting"),
    )
    own = tuple((title, y, {name: f"{key}_{name}" for name in trainer.domains}) for title, y, key in shown)
    trainer.curves = (*type(trainer).curves, *own)
    measured = ("held_out_loss", *(f"held_out_loss_{name}" for name in trainer.domains))
    trainer.final_metrics = (*type(trainer).final_metrics, *measured)


def schedule_rows(trainer: Any) -> list[dict[str, Any]]:
    """A row per update and domain: the weight from a draw on, and the losses that led to it."""
    return [
        {
            "update": record["update"],
            "from_draw": record["from_draw"],
            "from_step": record["from_step"],
            "domain": name,
            "weight": record["weights"][number],
            "held_out_loss": record["losses"][number],
            "reference_loss": None if math.isnan(trainer.reference[number]) else float(trainer.reference[number]),
            "potential": record["potential"][number],
            "forgetting": record["forgetting"][number],
        }
        for record in trainer.history
        for number, name in enumerate(trainer.domains)
    ]


def publish(trainer: Any) -> None:
    """Write `schedule.parquet` into the step's output and fill its report, in the first process."""
    if not trainer.accelerator.is_main_process:
        return
    config, context, report, names = trainer.config, trainer.context, trainer.context.report, trainer.domains
    features = Features({name: Value(kind) for name, kind in _TYPES.items()})
    make_dataset(schedule_rows(trainer), features).to_parquet(str(context.output / FILE))
    stop = trainer.state.global_step * trainer.rows_per_step
    rows = trainer.sampler.counts(stop)
    samples, tokens = (trainer.sampler.totals(stop, trainer.row_sizes[unit]) for unit in ("samples", "tokens"))
    first, last = trainer.history[0], trainer.history[-1]
    table = []
    for number, (name, size) in enumerate(trainer.sampler.sizes.items()):
        share, token_share = float(samples[number] / samples.sum()), float(tokens[number] / tokens.sum())
        passes = float(rows[number] / size)
        report.metrics |= {f"share_of_samples_{name}": share, f"share_of_tokens_{name}": token_share}
        reference = trainer.reference[number]
        table.append([
            name, size, first["weights"][number], last["weights"][number], share, token_share, passes,
            first["losses"][number], report.metrics[f"held_out_loss_{name}"],
            None if math.isnan(reference) else float(reference),
        ])  # fmt: skip
    most = max(
        (weight, name) for record in trainer.history for weight, name in zip(record["weights"], names, strict=True)
    )
    entropy = -sum(weight * math.log(weight) for weight in last["weights"] if weight)
    report.metrics |= {"updates": last["update"], "highest_weight": most[0], "effective_domains": math.exp(entropy)}
    columns = [
        "domain", "rows", "weight at the start", "at the end", "share of samples", "share of tokens", "passes",
        "held-out loss at the start", "at the end", "reference",
    ]  # fmt: skip
    note = f"Losses in nats per token on the split `{config.eval_split}`. `{FILE}` has every update."
    if most[0] > ALARM and len(names) > 1:
        note += f" {most[1]} reached weight {most[0]:.3f}, above {ALARM}: the run came close to that domain alone."
    report.table("Domains", columns, table, note)
    report.section("How domains were weighted", _procedure(trainer))
    report.card["tags"] = [*report.card.get("tags", []), "versatune"]


def _procedure(trainer: Any) -> str:
    config = trainer.config
    options = {name: config.option(name) for name in OPTIONS[config.strategy]}
    if config.target is None:
        options.pop("delta", None)
    else:
        epsilon = "the target's own potential" if config.epsilon is None else config.epsilon
        options |= {"target": config.target, "epsilon": epsilon}
    settings = ", ".join(f"{name} {value}" for name, value in options.items())
    body = (
        f"Strategy `{config.strategy}`{f' ({settings}; values that were chosen here)' if settings else ''}. "
        f"Weights are shares of {trainer.weigh_by}. Losses are measured every {config.update_every} steps on held-out "
        "rows, and weights act from the first step whose rows were not drawn yet. One optimiser and one schedule of "
        "the learning rate throughout."
    )
    given = [name for name in trainer.domains if name in config.reference_losses]
    if given:
        body += f" Reference losses of {', '.join(given)}: given as settings."
    measured: dict[str, list[str]] = {}
    for name in trainer.domains:
        if name not in given and (role := role_of(name, trainer.context)):
            measured.setdefault(str(trainer.context.inputs[role].ref), []).append(name)
    for called, names in measured.items():
        body += (
            f" Reference losses of {', '.join(names)}: `{called}` on the same held-out rows, before the first step."
        )
    return body
