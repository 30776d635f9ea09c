"""Recipe step `versatune_summary`: evaluations of several models put together, by domain and as gains.

Inputs `arm_NAME` are data sets of `lm_eval` steps: one training method each, or `arm_NAME__MODEL` for the same method
on several models. The first arm is the baseline.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from ...hub_sync.context import Input, Report, StepContext
from ...hub_sync.errors import DataError, UsageError
from ...hub_sync.settings import Settings
from .._lib.data import write_parquet

Figure = tuple[float, float | None]  # value and standard error
# Benchmark -> domain, lm-eval task or group, metric. Metrics of upstream's tasks are our choice.
BENCHMARKS = {
    "LegalBench": ("law", "legalbench", "exact_match,get-answer"), "LawBench": ("law", "versatune_lawbench", "score"),
    "MedQA": ("medicine", "medqa_4options", "acc"), "MedMCQA": ("medicine", "medmcqa", "acc"),
    "FinEval": ("finance", "versatune_fineval", "acc"), "FinanceIQ": ("finance", "versatune_financeiq", "acc"),
    "SciEval": ("science", "versatune_scieval", "acc"), "MMLU-Sci": ("science", "versatune_mmlu_science", "acc"),
    "HumanEval": ("code", "versatune_humaneval", "pass_at_1"), "MBPP": ("code", "versatune_mbpp", "pass_at_1"),
    "AGIEval": ("general", "agieval", "acc"), "HellaSwag": ("general", "hellaswag", "acc_norm"),
}  # fmt: skip
HELD_OUT = "versatune_held_out"
COLUMNS = {
    "arm": "name of the training method",
    "model": "name of the model; empty if the arms have one each",
    "benchmark": f"name of the benchmark, or {HELD_OUT} for a held-out loss",
    "domain": "domain of the benchmark or of the held-out rows",
    "percent": "score, 0 to 100; null for a held-out loss",
    "stderr": "standard error of the score, percentage points; null if it has none",
    "loss": "held-out loss, nats per token; null for a score",
}
FORMULA = "mean over models of (mean of the benchmarks, arm) / (mean of the benchmarks, baseline) - 1"


class SummaryConfig(Settings):
    """What is put together."""

    order: list[str] | None = Field(
        None, description="Names of the arms, or of all inputs arm_NAME, the baseline first; null: the recipe's order."
    )


@dataclass(frozen=True)
class Evaluation:
    """The figures of one model: by benchmark in percent, by domain in nats per token, and the hash of each task."""

    scores: Mapping[str, Figure]
    losses: Mapping[str, float]
    hashes: Mapping[str, str]


def summarise(config: SummaryConfig, context: StepContext) -> None:
    """Write every figure to `context.output`, and fill the report with tables and a radar.

    Raises UsageError for less than two arms or an unknown name; DataError for an input that is not an evaluation, for
    models that were evaluated by only some of the arms, or on other documents.
    """
    from datasets import Value

    found: dict[str, dict[str, Evaluation]] = {}
    for role, source in context.inputs.items():
        arm, _, model = role.removeprefix("arm_").partition("__")
        found.setdefault(arm, {})[model] = _evaluation(source)
    order = list(dict.fromkeys(name.partition("__")[0] for name in config.order or sorted(found)))
    if len(found) < 2:
        raise UsageError(f"step {context.step}: one arm has nothing to be compared with: give two inputs arm_NAME")
    if sorted(order) != sorted(found):
        raise UsageError(
            f"step {context.step}: order names {', '.join(order)}, and the inputs are of {', '.join(sorted(found))}"
        )
    arms = {arm: found[arm] for arm in order}
    _check(context.step, arms)
    evaluations = [one for models in arms.values() for one in models.values()]
    shared = [name for name in BENCHMARKS if all(name in one.scores for one in evaluations)]
    domains = sorted(set.intersection(*(set(one.losses) for one in evaluations)))
    if not shared and not domains:
        raise DataError(
            f"step {context.step}: no benchmark of {', '.join(BENCHMARKS)} and no {HELD_OUT} is in all of the "
            "evaluations"
        )
    rows = [
        {"arm": arm, "model": model, "benchmark": name, "domain": BENCHMARKS[name][0], "percent": one.scores[name][0],
         "stderr": one.scores[name][1]}
        for arm, models in arms.items() for model, one in models.items() for name in shared
    ] + [
        {"arm": arm, "model": model, "benchmark": HELD_OUT, "domain": name, "loss": one.losses[name]}
        for arm, models in arms.items() for model, one in models.items() for name in domains
    ]  # fmt: skip
    types = {name: Value("string") for name in ("arm", "model", "benchmark", "domain")}
    types |= {name: Value("float64") for name in ("percent", "stderr", "loss")}
    write_parquet([dict.fromkeys(types) | row for row in rows], context.output / "data", "figures", types)
    _report(context, arms, shared, domains)


def _evaluation(source: Input) -> Evaluation:
    try:
        tasks = json.loads((source.path / "results.json").read_text(encoding="utf-8"))["tasks"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{source.ref}: has no results.json of an lm_eval step ({type(error).__name__})") from error
    scores: dict[str, Figure] = {}
    for name, (_, task, metric) in BENCHMARKS.items():
        entry = tasks.get(task, {}).get("metrics", {}).get(metric)
        if entry and entry["value"] is not None:
            scores[name] = 100 * entry["value"], entry["stderr"] and 100 * entry["stderr"]
    held_out = tasks.get(HELD_OUT, {}).get("metrics", {})
    losses = {
        name.removeprefix("loss_"): entry["value"]
        for name, entry in held_out.items()
        if name.startswith("loss_") and not name.startswith("loss_per_byte") and not name.endswith(("_low", "_high"))
    }
    hashes = {task: values["task_hash"] for task, values in tasks.items() if values.get("n")}
    return Evaluation(scores, {name: value for name, value in losses.items() if value is not None}, hashes)


def _check(step: str, arms: Mapping[str, Mapping[str, Evaluation]]) -> None:
    """Raise DataError for arms with other models, or evaluated on other documents."""
    baseline, first = next(iter(arms.items()))
    for arm, models in arms.items():
        if models.keys() != first.keys():
            odd = min(models.keys() ^ first.keys())
            raise DataError(f"step {step}: model {odd!r} is in only one of the arms {baseline} and {arm}; give both")
        for model, one in models.items():
            for task, value in one.hashes.items():
                if first[model].hashes.get(task, value) != value:
                    raise DataError(
                        f"step {step}: {task}: {arm} and {baseline} were evaluated on other documents or prompts, so "
                        "their figures do not compare; evaluate both with the same settings"
                    )


def mean(figures: Sequence[Figure]) -> Figure:
    """The plain mean of independent figures, and its standard error where each has one.

    >>> mean([(40.0, 3.0), (60.0, 4.0)])
    (50.0, 2.5)
    """
    errors = [error for _, error in figures if error is not None]
    spread = math.sqrt(math.fsum(error**2 for error in errors)) / len(figures) if len(errors) == len(figures) else None
    return math.fsum(value for value, _ in figures) / len(figures), spread


def relative_gain(new: Mapping[str, float], old: Mapping[str, float]) -> float | None:
    """Mean over models of new / old - 1, from each model's mean over the benchmarks; None where a baseline is 0.

        >>> round(relative_gain({"a": 36.0, "b": 55.0}, {"a": 24.0, "b": 50.0}), 3)
        0.3

    A model with a low baseline weighs most: half as much again from 24 counts five times a tenth from 50.
    """
    if not all(old.values()):
        return None
    return math.fsum(new[model] / old[model] - 1 for model in old) / len(old)


def _report(
    context: StepContext, arms: Mapping[str, Mapping[str, Evaluation]], shared: Sequence[str], domains: Sequence[str]
) -> None:
    report, (baseline, first) = context.report, next(iter(arms.items()))
    report.card = {"pretty_name": "Abilities by domain", "tags": ["evaluation", "versatune"]}
    report.summary = (
        f"{', '.join(arms)} on {len(first)} model{'s' * (len(first) > 1)}; the baseline is {baseline}. Benchmarks are "
        "those of VersaTune (arXiv:2411.11266); no figure here is the paper's."
    )
    report.columns |= COLUMNS
    if shared:
        _scores(report, arms, shared)
    if domains:
        _losses(report, arms, domains)


def _losses(report: Report, arms: Mapping[str, Mapping[str, Evaluation]], domains: Sequence[str]) -> None:
    baseline, *others = arms
    rows: list[list[Any]] = []
    for name in domains:
        values = {arm: mean([(one.losses[name], None) for one in models.values()])[0] for arm, models in arms.items()}
        rows.append([name, *values.values(), *(values[arm] - values[baseline] for arm in others)])
    rows.append(["mean", *(math.fsum(row[n] for row in rows) / len(rows) for n in range(1, len(rows[0])))])
    heads = ["domain", *arms, *(f"{arm} - {baseline}" for arm in others)]
    report.table("Held-out loss by domain", heads, rows, "Nats per token of each model's own tokenizer.")
    report.metrics |= dict(zip((f"{arm}/loss" for arm in arms), rows[-1][1:], strict=False))
    series = {arm: [[row[n], None, None] for row in rows[:-1]] for n, arm in enumerate(arms, 1)}
    chart = {"title": "Held-out loss by domain", "y": "nats per token", "groups": list(domains), "series": series}
    report.bars.append(chart | ({"shape": "radar"} if len(domains) > 2 else {}))


def _scores(report: Report, arms: Mapping[str, Mapping[str, Evaluation]], shared: Sequence[str]) -> None:
    baseline = next(iter(arms))
    missing = [name for name in BENCHMARKS if name not in shared]
    by_domain: dict[str, list[str]] = {}
    for name in shared:
        by_domain.setdefault(BENCHMARKS[name][0], []).append(name)
    note = f"Percent, mean over the models. {len(shared)} of {len(BENCHMARKS)} benchmarks"
    note += f"; in not all evaluations: {', '.join(missing)}." if missing else "."
    table = [
        [
            name,
            BENCHMARKS[name][0],
            *(mean([one.scores[name] for one in models.values()])[0] for models in arms.values()),
        ]
        for name in shared
    ]
    report.table("Benchmarks", ["benchmark", "domain", *arms], table, note)

    groups = {**by_domain, "all": list(shared)}
    means = {
        arm: {
            group: {model: mean([one.scores[name] for name in names]) for model, one in models.items()}
            for group, names in groups.items()
        }
        for arm, models in arms.items()
    }
    rows: list[list[Any]] = []
    for group in groups:
        old = means[baseline][group]
        for arm in arms:
            new = means[arm][group]
            value, error = mean(list(new.values()))
            difference, spread = mean([(new[m][0] - old[m][0], _both(new[m][1], old[m][1])) for m in old])
            gain = relative_gain({m: new[m][0] for m in new}, {m: old[m][0] for m in old})
            change = [None] * 3 if arm == baseline else [difference, spread and 1.96 * spread, gain and 100 * gain]
            rows.append([group, arm, value, error and 1.96 * error, *change])
            report.metrics[f"{arm}/{group}"] = value
            if arm != baseline and group == "all":
                report.metrics[f"{arm}/relative_gain"] = gain
    report.table(
        "Means by domain",
        ["domain", "arm", "percent", "± 95 %", f"minus {baseline}", "± 95 %", "relative gain %"],
        rows,
        f"Relative gain: {FORMULA}. By it the scores in the paper's repository give 35.20 %, the paper says 35.21 %; "
        "baselines near zero dominate it, so read the differences first. Intervals are of the sampling of questions "
        "alone, not of training seeds; there is none where a benchmark has no standard error.",
    )
    series = {arm: [[mean(list(means[arm][group].values()))[0], None, None] for group in by_domain] for arm in arms}
    chart = {"title": "Abilities by domain", "y": "percent", "groups": list(by_domain), "series": series}
    report.bars.append(chart | ({"shape": "radar"} if len(by_domain) > 2 else {}))


def _both(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else math.hypot(one, other)
