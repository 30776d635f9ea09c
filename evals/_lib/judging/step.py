"""The work of a judge step: cases before a model judge; verdicts, figures and, on request, the record as a data set.

Written below `context.output`:

    data/verdicts-00000-of-00001.parquet    one row per answer and item (`cases`)
    recording/train-00000-of-00001.parquet    with `publish_recording`: every request to the judge with its reply
    results.json                            task -> metric -> value, standard error, direction, as an lm_eval step's
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import Field

from ....hub_sync import provenance
from ....hub_sync.context import Input, StepContext
from ....inference.endpoint import Endpoint
from ....inference.serving import ModelSpec, serve_input
from ....inference.store import RecordingStore, export_rows
from ..data import column_types, stream_parquet
from ..results import figure_table, write_json
from .benchmark import Benchmark, Figures
from .cases import COLUMNS, Case, Row
from .rubric import mass_figures, outcomes
from .stage import AskConfig, check_cases, judge_cases, recording_keys
from .verdicts import group_rows

SMALL_JUDGE = (
    "The judge is a small model. Its verdicts are reproducible and cost nothing, but they are not those of a strong "
    "judge or of people: read the agreement before the scores, and compare models under one judge and one prompt only."
)
OWN_JUDGE = (
    "It judges its own answers here. Models tend to favour those; `hubwright agree --other` measures by how much."
)

RECORDING_COLUMNS = {
    "key": "SHA-256 of model, revision, request and draw",
    "model": "name of the judge as it was asked for",
    "revision": "its commit; empty if not known",
    "draw": "number of the attempt, from 0",
    "usable": "whether the reply could be used",
    "request": "the request (JSON)",
    "reply": "the reply (JSON)",
}


class JudgeStepConfig(AskConfig):
    """Who judges, and what is published."""

    judge: ModelSpec | None = Field(
        None, description="openai:MODEL@BASE_URL; null: the step's input `judge`, a GGUF repository."
    )
    publish_recording: bool = Field(False, description="Publish requests and replies as the config `recording`.")
    bootstrap: int = Field(1000, ge=0, description="Resamples of the 95 % intervals; 0: none.")
    seed: int = Field(1234, ge=0, description="Seed of the bootstrap.")
    max_failed: float = Field(0.05, ge=0, le=1, description="Most failed answers and verdicts, as a share.")


def judge_benchmark(
    config: JudgeStepConfig, context: StepContext, benchmark: Benchmark, labels: Mapping[str, str]
) -> None:
    """Judge `context.inputs["answers"]`, in any form that the benchmark reads, and score them; see `run_judge`.

    Args:
        labels: what the cases' own columns hold, beside scenario and task.
    """
    dataset = context.inputs.get("dataset")
    cases = benchmark.read_answers(context.inputs["answers"].path, dataset.path if dataset else None)

    def figures(rows: Sequence[Row]) -> Figures:
        report = benchmark.score(
            group_rows(list(enumerate(rows, 1)), "verdicts"),
            resamples=config.bootstrap,
            seed=config.seed,
            max_failed=config.max_failed,
        )
        return benchmark.figures(report, rows)

    run_judge(config, context, cases, benchmark.name, figures, labels)


def run_judge(
    config: JudgeStepConfig,
    context: StepContext,
    cases: Sequence[Case],
    task: str,
    figures_of: Callable[[Sequence[Row]], Figures],
    labels: Mapping[str, str] | None = None,
) -> None:
    """Judge the cases of `context.inputs["answers"]` and write the files above.

    Args:
        task: name of the figures in `results.json` and on the card.
        figures_of: the figures that follow from the verdict rows.
        labels: what the cases' own columns hold, beside scenario and task.

    Raises UsageError for no judge or one that cannot be served; DataError for no cases and as `figures_of` does.
    """
    source = context.inputs["answers"]
    check_cases(cases)
    endpoint = serve_input("judge", config.judge, config, context)
    recording = context.recording or context.workdir / "recording"
    done = judge_cases(cases, config, endpoint, recording=recording, replay=context.replay)
    figures = figures_of(done.rows)

    # All rows have the same columns, so the first ones tell their types.
    stream_parquet(done.rows, context.output / "data", "verdicts", column_types(done.rows[:100]))
    context.report.columns |= COLUMNS | dict(labels or {})
    if config.publish_recording:
        context.report.columns |= RECORDING_COLUMNS
        keys = set(recording_keys(cases, config, endpoint))
        with RecordingStore(recording, readonly=True) as store:
            rows = (row for row in export_rows(store) if row["key"] in keys)
            stream_parquet(rows, context.output / "recording", "train", _recording_types())
    masses = mass_figures(done.rows)
    results: dict[str, Any] = {
        "tasks": {task: {"metrics": figures, "n": len(cases), "n_available": len(cases)}},
        "judge": {"name": endpoint.model, "revision": endpoint.revision, **config.question(), **masses},
        "about": _tested_model(source),
    }
    write_json(results, context.output / "results.json")
    _report(config, context, endpoint, task, figures, outcomes(done.rows))
    report = context.report
    if masses:
        report.metrics |= {f"judge/{name}": value for name, value in masses.items()}
        body = (
            f"The words of yes and no hold {masses['mass_mean']:.1%} of the first token's probability on average, "
            f"{masses['mass_min']:.1%} at least. Items below min_mass {config.min_mass:g}, or without any, are "
            f"unparsable: {masses['unparsable_items']:.1%} of the items."
        )
        report.section("The judge's probability of a verdict", body)
    if results["about"] and results["about"]["repo_id"] == endpoint.model:
        report.section("The judge is the tested model", OWN_JUDGE)
    usage = done.usage.summary(config.budget)
    report.metrics |= {f"usage/{name}": value for name, value in usage.items() if not name.startswith("latency")}


def _recording_types() -> dict[str, Any]:
    """Types of the columns of `inference.store.export_rows`."""
    from datasets import Value

    kinds = {"draw": "int64", "usable": "bool"}
    names = ("key", "model", "revision", "draw", "usable", "request", "reply")
    return {name: Value(kinds.get(name, "string")) for name in names}


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
    endpoint: Endpoint,
    task: str,
    figures: Figures,
    counts: dict[str, int],
) -> None:
    report, source = context.report, context.inputs["answers"]
    report.card.setdefault("pretty_name", f"Verdicts on {source.ref.repo_id}")
    report.card.setdefault("tags", ["evaluation", "llm-as-a-judge", task])
    judge_at = endpoint.cited
    how = f"method {config.method}, prompt {config.prompt}, language {config.language}"
    report.summary = (
        f"Verdicts of {judge_at} ({how}) on the answers in `{source.ref}`, one row per answer and checklist item with "
        "the judge's words or probability; `results.json` holds the scores, which follow from these rows alone."
    )
    if "judge" in context.inputs:
        report.section("About the judge", SMALL_JUDGE)
    report.counts |= counts
    total = sum(counts.values())
    outcome_table = {
        "title": "What became of the answers",
        "columns": ["outcome", "answers", "share"],
        "rows": [[name, count, round(count / total, 4)] for name, count in counts.items()],
        "note": "scored: above 0; wrong: 0; refused: by the tested model or by the judge; failed: no answer, or "
        "no usable verdict after all attempts. A failed verdict has no score and is never counted as wrong.",
    }
    report.metrics |= {f"{task}/{name}": entry["value"] for name, entry in figures.items()}
    note = f"{total} answers; intervals by bootstrap over the answers, {config.bootstrap} resamples."
    report.tables += [outcome_table, figure_table(task, figures, note)]
