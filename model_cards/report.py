"""Recipe step `report`: put evaluation results beside a published model, as figures a stranger can check.

In: the published model, the result of an evaluation, and optionally a baseline (the same tasks on its base model or on
`other`, a model trained in another way) and results of ablations (`arm_NAME`). Out: tables with intervals, a chart,
the learning curves of both models, and `.eval_results/*.yaml`, the Hub's current form. With `other` alone: the curves.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from ..hub_sync import provenance
from ..hub_sync.context import Input, StepContext
from ..hub_sync.errors import DataError, UsageError
from ..hub_sync.settings import Settings

RESULTS = "results.json"
EVAL_RESULTS = ".eval_results"
ARM = "arm_"
LEARNING = ("Loss", "Accuracy", "Token accuracy")  # curves that are worth comparing


class ReportConfig(Settings):
    """What to show. Everything else follows from the results."""

    headline: list[str] = Field(
        default_factory=list,
        description="Metrics for the chart and .eval_results, as TASK/METRIC; empty: the first metric of every task.",
    )
    notes: str = Field("", description="One sentence on the set-up, for the notes of .eval_results.")


def report(config: ReportConfig, context: StepContext) -> None:
    """Fill the report and write `.eval_results/`. Raises DataError where results and model do not belong together."""
    if "result" not in context.inputs:
        _learning_alone(config, context)
        return
    model, result = context.inputs["model"], context.inputs["result"]
    after = _results(result)
    _must_be_about(result, model)
    before = _results(context.inputs["baseline"]) if "baseline" in context.inputs else None
    labels = _labels(context)
    headline = config.headline or [f"{task}/{next(iter(values['metrics']))}" for task, values in after.items()]
    for name in headline:
        task, _, metric = name.partition("/")
        if metric not in after.get(task, {}).get("metrics", {}):
            raise DataError(f"step {context.step}: headline {name!r} is not among the results of {result.ref}")
    context.report.chance |= provenance.load(result.path / provenance.FILE_NAME)[-1]["report"].get("chance", {})
    for task, values in after.items():
        chance = {name: context.report.chance.get(f"{task}/{name}") for name in values["metrics"]}
        context.report.tables.append(_table(task, values, (before or {}).get(task), headline, labels, chance))
        for metric, entry in values["metrics"].items():
            context.report.metrics[f"{task}/{metric}"] = entry["value"]
    context.report.tables += _ablations(context, after, headline)
    context.report.bars = [_chart(headline, before, after, labels)] if before else []
    context.report.curves = _curves(context, labels)
    lines = [
        f"- {role}: every prompt, answer and figure is in the data set `{i.ref.repo_id}` at commit `{i.ref.revision}`"
        for role, i in sorted(context.inputs.items())
        if role not in ("model", "other")
    ]
    context.report.section("Where the figures come from", "\n".join(lines))
    _write_eval_results(config, context, headline, after)


def _learning_alone(config: ReportConfig, context: StepContext) -> None:
    idle = [role for role in context.inputs if role in ("baseline", "answers") or role.startswith(ARM)]
    idle += ["headline"] * bool(config.headline)
    if idle:
        raise UsageError(f"step {context.step}: {idle[0]} stands beside a result: add the input result, or drop it")
    if "other" not in context.inputs:
        raise UsageError(f"step {context.step}: there is nothing to report: add the input result, or other")
    other = context.inputs["other"].ref
    context.report.curves = _curves(context, _labels(context))
    if not context.report.curves:
        raise DataError(f"step {context.step}: {other} has no learning curve of the model's kinds")
    body = f"- other: its curves are in the provenance of `{other.repo_id}` at commit `{other.revision}`"
    context.report.section("Where the figures come from", body)


def _labels(context: StepContext) -> tuple[str, str]:
    """What the baseline and the model are called: before and after, or their own names where there are two models."""
    if "other" not in context.inputs:
        return "before", "after"
    if "baseline" in context.inputs:
        _must_be_about(context.inputs["baseline"], context.inputs["other"])
    names = [context.inputs[role].ref.repo_id for role in ("other", "model")]
    short = [name.rpartition("/")[2] for name in names]
    return (short[0], short[1]) if short[0] != short[1] else (names[0], names[1])


def _curves(context: StepContext, labels: tuple[str, str]) -> list[dict[str, Any]]:
    """What the trainings of both models have learnt, in one plot each; none without another model."""
    if "other" not in context.inputs:
        return []
    records = [provenance.load(context.inputs[role].path / provenance.FILE_NAME)[0] for role in ("other", "model")]
    theirs, ours = ({curve["title"]: curve for curve in record["report"]["curves"]} for record in records)
    curves = []
    for title in (title for title in LEARNING if title in ours and title in theirs):
        shared = [name for name in ours[title]["series"] if name in theirs[title]["series"]]
        series = {
            label if len(shared) == 1 else f"{label}, {name}": own[title]["series"][name]
            for label, own in zip(labels, (theirs, ours), strict=True)
            for name in shared
        }
        if series:
            curves.append({**ours[title], "title": f"{title}, both models", "series": series})
    return curves


def _results(source: Input) -> dict[str, Any]:
    path = source.path / RESULTS
    if not path.is_file():
        raise DataError(f"{source.ref} holds no {RESULTS}: it is not the result of an evaluation step")
    return json.loads(path.read_text(encoding="utf-8"))["tasks"]


def _must_be_about(result: Input, model: Input) -> None:
    judged = _judged(result)
    if judged is None or (judged["repo_id"], judged["commit"]) != (model.ref.repo_id, model.ref.revision):
        what = f"{judged['repo_id']}@{judged['commit'][:12]}" if judged else "no model"
        raise DataError(f"result {result.ref} is about {what}, not about {model.ref}")


def _judged(result: Input) -> dict[str, Any] | None:
    """The model that a result is about: repo_id and commit; None where it does not tell."""
    record = provenance.load(result.path / provenance.FILE_NAME)[-1]
    model: dict[str, Any] | None = next((i for i in record["inputs"] if i["role"] == "model"), None)
    if model is None:  # a judge step reads answers, and tells whose they are
        model = json.loads((result.path / RESULTS).read_text(encoding="utf-8")).get("about")
    return model


def interval(metrics: dict[str, Any], name: str) -> tuple[float | None, float | None, float | None]:
    """(value, low, high) of a metric: its own bootstrap interval, else value +- 1.96 standard errors, else none."""
    entry = metrics.get(name)
    if entry is None or not isinstance(entry["value"], int | float):
        return None, None, None
    value = float(entry["value"])
    ends = [metrics.get(f"{name}_ci_{end}", {}).get("value") for end in ("low", "high")]
    if None not in ends:
        return value, float(ends[0]), float(ends[1])
    if entry.get("stderr"):  # a standard error of 0 (all or none right) bounds nothing
        half = 1.96 * float(entry["stderr"])
        return value, value - half, value + half
    return value, None, None


def _cell(triple: tuple[float | None, float | None, float | None]) -> str:
    value, low, high = triple
    if value is None:
        return "–"
    return f"{value:.4g}" if low is None or high is None else f"{value:.4g} ({low:.4g} to {high:.4g})"


def _table(
    task: str, values: dict[str, Any], before: dict[str, Any] | None, headline: list[str], labels: tuple[str, str],
    chance: Mapping[str, float | None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    names = [name for name in values["metrics"] if not name.endswith(("_ci_low", "_ci_high"))]
    names.sort(key=lambda name: (f"{task}/{name}" not in headline, name))  # the headline first
    columns = ["metric", *labels] if before else ["metric", "value"]
    sources = [before, values] if before else [values]
    rows = [[name, *(_cell(interval(source["metrics"], name)) for source in sources)] for name in names]
    if known := {name: value for name, value in (chance or {}).items() if value is not None}:
        columns.append("chance baseline")
        rows = [[*row, _cell((known.get(row[0]), None, None))] for row in rows]
    bounded = any("(" in cell for row in rows for cell in row[1:])
    note = f"{values['n']} documents{'; in brackets the 95 % interval' if bounded else ''}."
    return {"title": task, "columns": columns, "rows": rows, "note": note}


def _ablations(context: StepContext, after: dict[str, Any], headline: list[str]) -> list[dict[str, Any]]:
    """The headline of this model beside that of every arm; no table without arms.

    The note says where an arm has another number of documents. Raises DataError for an arm that is about no model.
    """
    arms = {role.removeprefix(ARM): i for role, i in sorted(context.inputs.items()) if role.startswith(ARM)}
    if not arms:
        return []
    results = {"this model": after}
    models = []
    for arm, source in arms.items():
        model, name = _judged(source), arm.replace("_", " ")
        if model is None:
            raise DataError(f"{ARM}{arm}: result {source.ref} is about no model; give the result of an evaluation")
        results[name] = _results(source)
        models.append(f"{name}: `{model['repo_id']}@{model['commit'][:12]}`")
    rows = [[name, *(_cell(_interval_of(own, figure)) for figure in headline)] for name, own in results.items()]
    others = [
        f"{name} has {own[task]['n']} documents of {task}, this model {after[task]['n']}"
        for name, own in results.items()
        for task in dict.fromkeys(figure.partition("/")[0] for figure in headline)
        if task in own and own[task]["n"] != after[task]["n"]
    ]
    note = f"Models. {'; '.join(models)}." + (f" Not to be compared: {'; '.join(others)}." if others else "")
    return [{"title": "Ablations", "columns": ["", *headline], "rows": rows, "note": note}]


def _interval_of(results: dict[str, Any], figure: str) -> tuple[float | None, float | None, float | None]:
    task, _, metric = figure.partition("/")
    return interval(results.get(task, {}).get("metrics", {}), metric)


def _chart(
    headline: list[str], before: dict[str, Any] | None, after: dict[str, Any], labels: tuple[str, str]
) -> dict[str, Any]:
    def values(results: dict[str, Any] | None) -> list[list[float | None]]:
        return [list(_interval_of(results or {}, name)) for name in headline]

    series = {labels[0]: values(before), labels[1]: values(after)}
    title = "Before and after" if labels == ("before", "after") else " and ".join(labels)
    return {"title": title, "y": "score", "groups": headline, "series": series}


def _write_eval_results(
    config: ReportConfig, context: StepContext, headline: list[str], after: dict[str, Any]
) -> None:
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    result = context.inputs["result"]
    record = provenance.load(result.path / provenance.FILE_NAME)[-1]
    data = next((i for i in record["inputs"] if i["role"] == "dataset"), None)
    if data is None:
        return  # an entry names the benchmark's repository; without a pinned one there is nothing true to name
    by_task: dict[str, list[EvalResultEntry]] = {}
    for name in headline:
        task, _, metric = name.partition("/")
        notes = f"{metric}; n={after[task]['n']}; answers and figures: {result.ref}"
        entries = by_task.setdefault(task, [])
        entry = EvalResultEntry(
            dataset_id=data["repo_id"],
            # An entry is one figure, so a second metric of a task needs an id of its own.
            task_id=f"{task}_{metric}" if entries else task,
            value=after[task]["metrics"][metric]["value"],
            dataset_revision=data["commit"],
            date=record["finished_at"],
            notes=f"{notes}; {config.notes}" if config.notes else notes,
        )
        entries.append(entry)
    for task, entries in by_task.items():
        path: Path = context.output / EVAL_RESULTS / f"{task}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False), encoding="utf-8")
