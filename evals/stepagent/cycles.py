"""Recipe step `stepagent_cycles`: evaluations of a policy after each cycle, as curves, factors and episodes to read.

Inputs `cycle_NAME` are data sets of `lm_eval` steps with tasks `stepagent_GAME` and `stepagent_GAME_ll`, in the
recipe's order; the first is the policy before the first cycle.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from pydantic import Field

from ...hub_sync.context import Input, StepContext
from ...hub_sync.errors import DataError, UsageError
from ...hub_sync.settings import Settings
from .._lib.data import read_split, write_parquet
from .scorer import contraction

Row = dict[str, Any]
CURVES = {
    "success": "share of episodes", "score": "mean score", "invalid": "share of replies",
    "agreement": "share of states", "kl": "KL(expert, policy), nats", "reverse_kl": "KL(policy, expert), nats",
    "jsd": "nats", "tv": "total variation", "inadmissible_mass": "probability",
}  # fmt: skip
COLUMNS = {
    "cycle": "number of the evaluation, from 0, the policy before the first cycle",
    "name": "name of the cycle's input",
    "task": "name of the lm-eval task",
    "metric": "name of the figure",
    "value": "the figure; null if it is undefined",
    "stderr": "standard error of the figure; null if it has none",
}
SHOWN = 600  # characters of an observation in an episode to read


class CyclesConfig(Settings):
    """What is put together."""

    order: list[str] | None = Field(None, description="Names of all inputs `cycle_NAME` in order; null: the recipe's.")
    beta: float | None = Field(
        None, gt=0, description="Of every cycle: the card shows |1 - 1/beta| beside the measured factor; null: not."
    )
    episodes: int = Field(1, ge=0, description="Episodes per game that the card shows, before and after.")


def cycles(config: CyclesConfig, context: StepContext) -> None:
    """Write every figure of every cycle to `context.output`, and fill the report.

    Raises UsageError for less than two cycles, DataError for an input that is not such an evaluation.
    """
    names = config.order or sorted(n.removeprefix("cycle_") for n in context.inputs if n.startswith("cycle_"))
    if len(names) < 2:
        raise UsageError(f"step {context.step}: one cycle has no course: give two inputs cycle_NAME or more")
    if unknown := [name for name in names if f"cycle_{name}" not in context.inputs]:
        raise UsageError(f"step {context.step}: order names {unknown[0]!r}, and there is no input cycle_{unknown[0]}")
    for one, other in pairwise(names):
        number = int(one) if one.isdecimal() else 0  # what has a name is the start
        if other.isdecimal() and int(other) != number + 1:
            raise UsageError(
                f"step {context.step}: cycle_{other} comes after cycle_{one}, and a cycle is compared with the one "
                f"before: give cycle_{int(other) - 1} too"
            )
    sources = [context.inputs[f"cycle_{name}"] for name in names]
    summaries = [_tasks(source) for source in sources]
    shared = [task for task in summaries[0] if all(task in other for other in summaries)]
    if not shared:
        raise DataError(f"step {context.step}: no task stepagent_* is in all of the evaluations")
    rows = [
        {"cycle": number, "name": names[number], "task": task, "metric": metric, "value": entry["value"],
         "stderr": entry["stderr"]}
        for number, summary in enumerate(summaries) for task in shared
        for metric, entry in summary[task]["metrics"].items()
    ]  # fmt: skip
    for task in shared:
        if len({summary[task]["task_hash"] for summary in summaries}) > 1:
            raise DataError(f"{task}: the cycles were evaluated on other documents, so their figures do not compare")
    write_parquet(rows, context.output / "data", "figures")
    samples = [_samples(source, shared) for source in sources]
    _report(config, context, names, shared, rows, samples)


def _tasks(source: Input) -> dict[str, Any]:
    """Task -> metrics and hash of an evaluation, of the tasks stepagent_*."""
    try:
        tasks = json.loads((source.path / "results.json").read_text(encoding="utf-8"))["tasks"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{source.ref}: has no results.json of an lm_eval step ({type(error).__name__})") from error
    return {name: values for name, values in tasks.items() if name.startswith("stepagent_") and values["n"]}


def _samples(source: Input, tasks: Sequence[str]) -> dict[str, dict[str, Row]]:
    """Task -> hash of a document -> its sample."""
    found: dict[str, dict[str, Row]] = {task: {} for task in tasks}
    for row in read_split(source.path, "samples"):
        if row["task"] in found:
            found[row["task"]][row["doc_hash"]] = row
    return found


def factors(before: Mapping[str, Row], after: Mapping[str, Row]) -> tuple[float | None, int]:
    """(factor by which a cycle multiplied log E - log pi, states that tell it) of two evaluations' samples by hash."""
    experts, old, new = [], [], []
    for key, row in before.items():
        expert = json.loads(row["doc"])["expert"]
        if key not in after or sum(value > 0 for value in expert) < 2:
            continue
        logps = [[value for value, _ in json.loads(one["filtered_resps"])][: len(expert)] for one in (row, after[key])]
        if None in (*logps[0], *logps[1]):  # an action that the model gives no probability
            continue
        experts.append(expert)
        old.append(logps[0])
        new.append(logps[1])
    return contraction(experts, old, new), len(experts)


def _report(
    config: CyclesConfig, context: StepContext, names: Sequence[str], tasks: Sequence[str], rows: Sequence[Row],
    samples: Sequence[Mapping[str, Mapping[str, Row]]],
) -> None:  # fmt: skip
    report = context.report
    report.card = {"pretty_name": "A policy from cycle to cycle", "tags": ["evaluation", "agent", "stepagent"]}
    report.summary = (
        f"A policy before the first of {len(names) - 1} cycles and after each: success in its games, and the distance "
        "of its distribution over actions to the expert's (StepAgent, arXiv:2411.03817, claims that it falls)."
    )
    report.columns |= COLUMNS
    for metric, unit in CURVES.items():
        series: dict[str, list[list[Any]]] = {}
        for row in rows:
            if row["metric"] == metric and row["value"] is not None:
                series.setdefault(row["task"], []).append([row["cycle"], row["value"]])
        report.curve(metric, "cycle", unit, series)
    report.metrics |= {
        f"{row['task']}/{row['metric']}": row["value"] for row in rows if row["cycle"] == len(names) - 1
    }
    table = []
    kl = {(row["task"], row["cycle"]): row["value"] for row in rows if row["metric"] == "kl"}
    for task in sorted({task for task, _ in kl}):
        for number in range(1, len(names)):
            factor, states = factors(samples[number - 1][task], samples[number][task])
            old, new = kl[task, number - 1], kl[task, number]
            table.append(
                [task, names[number], old, new, new / old if old and new is not None else None, factor, states]
            )
    note = (
        "The factor is that of log E - log pi, centred over the actions that the expert takes; states in which it "
        "takes one action alone do not tell it."
    )
    if config.beta is not None:
        note += f" At the optimum of a cycle its amount is |1 - 1/beta| = {abs(1 - 1 / config.beta):.3f}."
    columns = ["task", "cycle", "KL before", "KL after", "ratio", "factor", "states"]
    report.table("What a cycle did", columns, table, note)
    for task in (task for task in tasks if not task.endswith("_ll")):
        for key in list(samples[0][task])[: config.episodes]:
            for number in (0, len(names) - 1):
                if key in samples[number][task]:
                    report.section(f"{task}, {names[number]}", episode_text(samples[number][task][key]))


def episode_text(sample: Mapping[str, Any]) -> str:
    """An episode as Markdown, from a sample of a task `stepagent_GAME`."""
    replies = json.loads(sample["filtered_resps"])
    transcript = json.loads(replies[0] if isinstance(replies, list) else replies)
    lines = [f"Score {transcript['score']:g} after {transcript['steps']} steps ({transcript['end']}).", ""]
    for number, observation in enumerate(transcript["observations"]):
        lines += [f"> {line}" for line in observation[:SHOWN].splitlines()] + [""]
        if number < len(transcript["replies"]):
            lines += [f"`{transcript['replies'][number][:SHOWN]!r}`", ""]
    return "\n".join(lines)
