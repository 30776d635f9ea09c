"""Recipe step `judge`: stored answers before a model judge; verdicts, scores and (if wanted) the record as a data set.

In: answers to FB-Bench in any form that `fbbench.answers` reads, or, with a `rubric`, any data set that has `messages`
and `answer`. Out, below `context.output`:

    data/verdicts-00000-of-00001.parquet    one row per answer and item (`judging.cases`)
    traffic/train-00000-of-00001.parquet    with `publish_traffic`: every request to the judge with its reply
    results.json                            task -> metric -> value, standard error, direction, as an lm_eval step's
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from ...hub_sync import provenance
from ...hub_sync.context import Input, StepContext
from ...hub_sync.errors import DataError
from ...inference.reasoning import answer_of
from ...inference.served import Served, check_spec, serve_input
from .._lib.data import read_split, write_parquet
from .._lib.judging.cases import Case, Row, with_calls
from .._lib.judging.rubric import mass_figures, outcomes, rubric_metrics
from .._lib.judging.stage import AskConfig, check_cases, judge_cases, traffic_keys
from ..fbbench import metrics, scorer
from ..fbbench.answers import outcome_state, read_answers, read_dataset
from ..fbbench.samples import answer_state
from ..fbbench.verdicts import collect

SMALL_JUDGE = (
    "The judge is a small model. Its verdicts are reproducible and cost nothing, but they are not those of a strong "
    "judge or of people: read the agreement before the scores, and compare models under one judge and one prompt only."
)
OWN_JUDGE = (
    "It judges its own answers here. Models tend to favour those; `hubwright agree --other` measures by how much."
)


class JudgeStepConfig(AskConfig):
    """Who judges, by which checklist, and what is published."""

    judge: str | None = Field(
        None, description="openai:MODEL@BASE_URL; null: the step's input `judge`, a GGUF repository."
    )
    rubric: list[str] = Field(
        default_factory=list, description="Questions for every row of any data set; none: FB-Bench's own checklists."
    )
    split: str = Field("train", description="With a rubric: split of the answers' data set.")
    publish_traffic: bool = Field(False, description="Publish every request and reply as the data set's `traffic`.")
    bootstrap: int = Field(1000, ge=0, description="Resamples of the 95 % intervals; 0: none.")
    seed: int = Field(1234, ge=0, description="Seed of the bootstrap.")
    max_failed: float = Field(
        0.05, ge=0, le=1, description="Share of failed answers and verdicts above which nothing is published."
    )

    @field_validator("judge")
    @classmethod
    def _known_judge(cls, value: str | None) -> str | None:
        return value if value is None else check_spec(value)


def judge(config: JudgeStepConfig, context: StepContext) -> None:
    """Judge `context.inputs["answers"]` and write verdicts and `results.json` below `context.output`.

    Raises:
        UsageError: no judge, or one that cannot be served.
        DataError: answers that cannot be read; more failures than `max_failed` (run again to ask about them again).
    """
    source = context.inputs["answers"]
    cases = list(_rubric_cases(config, source) if config.rubric else _fbbench_cases(context))
    check_cases(cases)
    served = serve_input("judge", config.judge, config, context)
    traffic = context.traffic or context.workdir / "traffic"
    done = judge_cases(cases, config, served, traffic=traffic, replay=context.replay)
    results_of = _rubric_results if config.rubric else _fbbench_results
    task, figures, counts = results_of(config, done.rows)

    write_parquet(done.rows, context.output / "data" / "verdicts-00000-of-00001.parquet")
    if config.publish_traffic:
        _write_traffic(traffic, set(traffic_keys(cases, config, served)), context.output / "traffic")
    masses = mass_figures(done.rows)
    results: dict[str, Any] = {
        "tasks": {task: {"metrics": figures, "n": len(cases), "n_available": len(cases)}},
        "judge": {"name": served.name, "revision": served.revision, **config.question(), **masses},
        "about": _tested_model(source),
    }
    text = json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False)
    (context.output / "results.json").write_text(text + "\n", encoding="utf-8")
    _report(config, context, served, task, figures, counts)
    if masses:
        context.report.metrics |= {f"judge/{name}": value for name, value in masses.items()}
        context.report.sections.append(
            {"title": "The judge's probability of a verdict", "body": _about_mass(config, masses)}
        )
    if results["about"] and results["about"]["repo_id"] == served.name:
        context.report.sections.append({"title": "The judge is the tested model", "body": OWN_JUDGE})
    context.report.metrics |= {
        f"usage/{name}": value
        for name, value in done.usage.summary(config.budget).items()
        if not name.startswith("latency")
    }


def _fbbench_cases(context: StepContext) -> Iterator[Case]:
    dataset = context.inputs.get("dataset")
    samples = read_dataset(dataset.path) if dataset else None
    return (one.case() for one in read_answers(context.inputs["answers"].path, samples))


def _rubric_cases(config: JudgeStepConfig, source: Input) -> Iterator[Case]:
    made = any(source.path.glob("data/answers-*.parquet"))  # by an `answers` step, whose split has that name
    split = "answers" if made and "split" not in config.model_fields_set else config.split
    weight = 1 / len(config.rubric)
    for number, row in enumerate(read_split(source.path, split)):
        missing = [name for name in ("messages", "answer") if name not in row]
        if missing:
            raise DataError(f"{source.ref}: has no column {missing[0]!r}; a rubric judges `messages` and `answer`")
        messages = tuple({"role": turn["role"], "content": turn["content"]} for turn in row["messages"])
        text = answer_of(row["answer"]) if isinstance(row["answer"], str) else row["answer"]
        text = with_calls(text, row.get("tool_calls"))
        state = outcome_state(row.get("outcome")) or answer_state(text)
        items = tuple(config.rubric)
        name = str(row.get("id", number))
        yield Case(name, messages, text, items, (weight,) * len(items), {"scenario": "", "task": ""}, state)


Figures = dict[str, dict[str, Any]]


def _fbbench_results(config: JudgeStepConfig, rows: Sequence[Row]) -> tuple[str, Figures, dict[str, int]]:
    judged = collect(rows)
    report = scorer.score(judged, resamples=config.bootstrap, seed=config.seed, max_failed=config.max_failed)
    figures = {}
    for name in metrics.metric_names(one.sample for one in judged):
        value = metrics.read_metric(report, name)
        if name.endswith("_stderr"):
            continue
        stderr = metrics.read_metric(report, f"{name}_stderr") if name in metrics.HEAD else None
        figures[name] = {
            "value": _finite(value),
            "stderr": _finite(stderr),
            "higher_is_better": metrics.higher_is_better(name),
        }
    return "fbbench", figures, outcomes(rows)


def _finite(value: float | None) -> float | None:
    return value if value is not None and value == value else None


def _rubric_results(config: JudgeStepConfig, rows: Sequence[Row]) -> tuple[str, Figures, dict[str, int]]:
    counts = outcomes(rows)
    total = sum(counts.values())
    if counts["failed"] > config.max_failed * total:
        raise DataError(
            f"{counts['failed']} of {total} answers failed, more than max_failed {config.max_failed:.1%}; run the "
            "step again to ask about them again, or raise it"
        )
    return "rubric", rubric_metrics(rows, config.bootstrap, config.seed), counts


def _write_traffic(folder: Path, keys: set[str], output: Path) -> None:
    """This step's part of the run's record, as `inference.store` reads it back."""
    from ...inference.store import TrafficStore, export_rows

    with TrafficStore(folder, readonly=True) as store:
        rows = [row for row in export_rows(store) if row["key"] in keys]
    write_parquet(rows, output / "train-00000-of-00001.parquet")


def _about_mass(config: JudgeStepConfig, masses: Mapping[str, float]) -> str:
    return (
        f"The words of yes and no hold {masses['mass_mean']:.1%} of the first token's probability on average, "
        f"{masses['mass_min']:.1%} at least. Items below min_mass {config.min_mass:g}, or without any, are "
        f"unparsable: {masses['unparsable_items']:.1%} of the items."
    )


def _tested_model(source: Input) -> dict[str, str] | None:
    """The model that gave the answers, as their own provenance tells it; None where it does not."""
    path = source.path / provenance.FILE_NAME
    if not path.is_file():
        return None
    inputs = provenance.load(path)[-1]["inputs"]
    return next(({"repo_id": i["repo_id"], "commit": i["commit"]} for i in inputs if i["role"] == "model"), None)


def _report(
    config: JudgeStepConfig,
    context: StepContext,
    served: Served,
    task: str,
    figures: Figures,
    counts: dict[str, int],
) -> None:
    report, source = context.report, context.inputs["answers"]
    report.card.setdefault("pretty_name", f"Verdicts on {source.ref.repo_id}")
    report.card.setdefault("tags", ["evaluation", "llm-as-a-judge", task])
    judge_at = f"`{served.name}`" + (f" at `{served.revision}`" if served.revision else "")
    how = f"method {config.method}, prompt {config.prompt}, language {config.language}"
    report.summary = (
        f"Verdicts of {judge_at} ({how}) on the answers in `{source.ref}`, one row per answer and checklist item with "
        "the judge's words or probability; `results.json` holds the scores, which follow from these rows alone."
    )
    if "judge" in context.inputs:
        report.sections.append({"title": "About the judge", "body": SMALL_JUDGE})
    report.counts |= counts
    total = sum(counts.values())
    report.tables.append(
        {
            "title": "What became of the answers",
            "columns": ["outcome", "answers", "share"],
            "rows": [[name, count, round(count / total, 4)] for name, count in counts.items()],
            "note": "scored: above 0; wrong: 0; refused: by the tested model or by the judge; failed: no answer, or "
            "no usable verdict after all attempts. A failed verdict has no score and is never counted as wrong.",
        }
    )
    rows = []
    for name, entry in figures.items():
        report.metrics[f"{task}/{name}"] = entry["value"]
        if not name.endswith(("_ci_low", "_ci_high")):
            low, high = (figures.get(f"{name}_ci_{end}", {}).get("value") for end in ("low", "high"))
            rows.append([name, entry["value"], entry["stderr"], low, high])
    report.tables.append(
        {
            "title": task,
            "columns": ["metric", "value", "standard error", "95 % low", "95 % high"],
            "rows": rows,
            "note": f"{total} answers; intervals by bootstrap over the answers, {config.bootstrap} resamples.",
        }
    )
