"""What lm-eval returns as published rows, `results.json` and a card: without paths of this machine, in one order."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...hub_sync.context import StepContext
from ...hub_sync.text import utf8
from .._lib.data import stream_parquet, tasks_dir
from .._lib.results import figure_table

HASHES = ("doc_hash", "prompt_hash", "target_hash")


class Scrubber:
    """Replaces this machine's paths in any JSON value by what a reader elsewhere can use."""

    def __init__(self, context: StepContext, metadata: Mapping[str, Any]) -> None:
        names = {str(tasks_dir()): "hubwright/evals/tasks", str(tasks_dir().resolve()): "hubwright/evals/tasks"}
        for item in context.inputs.values():
            names |= {str(item.path): str(item.ref), str(item.path.resolve()): str(item.ref)}
        judge = metadata.get("judge")  # its settings, or a string alone
        texts = [*metadata.values(), *(judge.values() if isinstance(judge, Mapping) else ())]
        for value in texts:  # a judge's or verdicts' file keeps its name only
            local = Path(value.removeprefix("replay:")) if isinstance(value, str) else Path()
            if local.is_absolute() and local.parent != local:
                names.setdefault(str(local), local.name)
        for path in (context.workdir, context.output):
            names.setdefault(str(path.resolve()), "<local>")
        self._names = sorted(names.items(), key=lambda pair: -len(pair[0]))  # the longest path first

    def __call__(self, value: Any) -> Any:
        if isinstance(value, str):
            for path, name in self._names:
                value = value.replace(path, name)
            return value
        if isinstance(value, Mapping):
            return {str(self(key)): self(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self(item) for item in value]
        return value


def _plain(value: Any) -> Any:
    """JSON-ready: numpy scalars to Python numbers, NaN and infinity to null, anything else to its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def place(sample: Mapping[str, Any]) -> tuple[str, int]:
    """What samples of a task are ordered by."""
    return sample["filter"], sample["doc_id"]


def write_samples(samples: Mapping[str, Iterable[Mapping[str, Any]]], scrub: Scrubber, context: StepContext) -> int:
    """Write the rows of all tasks below `context.output`; their number."""
    from datasets import Value

    names = ("task", "doc_id", "filter", "doc", "target", "arguments", "resps", "filtered_resps", "metrics", *HASHES)
    types = {name: Value("int64" if name == "doc_id" else "string") for name in names}
    rows = (row for task in sorted(samples) for row in sample_rows(task, samples[task], scrub))
    return stream_parquet(rows, context.output / "data", "samples", types)


def sample_rows(task: str, samples: Iterable[Mapping[str, Any]], scrub: Scrubber) -> Iterator[dict[str, Any]]:
    """The published rows of one task's samples, which are in order; what varies by task as JSON text."""

    def text(value: Any) -> str:
        return json.dumps(scrub(_plain(value)), ensure_ascii=False, sort_keys=True)

    for sample in samples:
        yield {
            "task": task,
            "doc_id": int(sample["doc_id"]),
            "filter": str(sample["filter"]),
            "doc": text(sample["doc"]),
            "target": scrub(str(sample["target"])),
            **{name: text(sample[name]) for name in ("arguments", "resps", "filtered_resps")},
            "metrics": text({name: sample[name] for name in sample["metrics"]}),
            **{name: sample[name] for name in HASHES},
        }


def hash_images(samples: Iterable[dict[str, Any]]) -> None:
    """Let the hash of a document with images follow from lm-eval's hashes of their pixels, which stand for them in the
    document by now. Its own is taken before, of where they lie in memory, and so is another one in every run."""
    for sample in samples:
        parts = [part for request in sample["arguments"] for part in request if isinstance(part, Mapping)]
        if any("visual" in part for part in parts):
            text = json.dumps(_plain(sample["doc"]), ensure_ascii=False, sort_keys=True)
            sample["doc_hash"] = hashlib.sha256(utf8(text)).hexdigest()


def task_summary(results: dict[str, Any]) -> dict[str, Any]:
    """task -> metrics, numbers of documents, hashes and settings, from lm-eval's results with samples in order."""
    tasks = {}
    for task, values in results["results"].items():
        metrics: dict[str, dict[str, Any]] = {}
        for key, value in values.items():
            metric, _, filter_name = key.partition(",")
            if not filter_name or metric.endswith("_stderr") or metric == "bypass":
                continue
            stderr = _plain(values.get(f"{metric}_stderr,{filter_name}"))
            metrics[metric if filter_name == "none" else key] = {
                "value": _plain(value),
                "stderr": None if stderr == "N/A" else stderr,
                "higher_is_better": results["higher_is_better"].get(task, {}).get(metric),
            }
        hashes = (sample[name] for sample in results["samples"].get(task, []) for name in HASHES)
        settings, sizes = results["configs"].get(task, {}), results["n-samples"].get(task, {})
        tasks[task] = {
            "metrics": metrics,
            "n": sizes.get("effective"),
            "n_available": sizes.get("original"),
            "version": results["versions"].get(task),
            "num_fewshot": results["n-shot"].get(task),
            # What was asked, in one figure: from the same three hashes as lm-eval's `task_hashes`.
            "task_hash": hashlib.sha256(utf8("".join(hashes))).hexdigest(),
            "generation_kwargs": _plain(settings.get("generation_kwargs")),
            "metadata": _plain({k: v for k, v in (settings.get("metadata") or {}).items() if k != "config_source"}),
        }
    return tasks


def chance(results: Mapping[str, Any]) -> dict[str, float]:
    """TASK/METRIC -> accuracy of a uniform guess, of tasks whose documents have choices and one right answer.

    It is the mean over the documents of one divided by the number of choices, each of which is one request.
    """
    baselines: dict[str, float] = {}
    for task, samples in results["samples"].items():
        figures = results["results"].get(task, {})
        names = [name for name in ("acc", "acc_norm") if f"{name},none" in figures]
        if results["configs"].get(task, {}).get("output_type") != "multiple_choice" or not names:
            continue
        # lm-eval asks for mutual information with a second request per choice.
        per_choice = 2 if "acc_mutual_info,none" in figures else 1
        sizes, several = [], False
        for sample in samples:
            sizes.append(len(sample["arguments"]) // per_choice)
            several |= isinstance(sample["target"], list | tuple) or str(sample["target"]).startswith("[")
        if sizes and min(sizes) > 0 and not several:
            baselines |= dict.fromkeys((f"{task}/{name}" for name in names), sum(1 / n for n in sizes) / len(sizes))
    return baselines


SAMPLE_COLUMNS = {
    "task": "name of the lm-eval task",
    "doc_id": "number of the document in the task's data",
    "filter": "lm-eval's filter of the replies",
    "doc": "the document (JSON)",
    "target": "the right answer",
    "arguments": "what the model was given (JSON)",
    "resps": "what the model replied, or log-likelihoods (JSON)",
    "filtered_resps": "the same after the filter (JSON)",
    "metrics": "figures of the document by metric (JSON)",
    "doc_hash": "SHA-256 of the document",
    "prompt_hash": "SHA-256 of the prompt",
    "target_hash": "SHA-256 of the target",
}


def report_results(
    context: StepContext, summary: dict[str, Any], rows: int, *, predict_only: bool, limit: int | float | None,
    about: str = "",
) -> None:  # fmt: skip
    """Fill the report from a summary: one table a task, every figure as a metric.

    Args:
        about: the model as Markdown; "": the input `model`.
    """
    report = context.report
    if not about:
        model = context.inputs["model"].ref
        about = f"`{model}`"
        report.card.setdefault("pretty_name", f"Evaluation of {model.repo_id}")
    named = sorted(summary["tasks"])
    if any(values["n"] is None for values in summary["tasks"].values()):
        named = summary["config"].get("tasks") or named  # a group may have a hundred tasks: say what was asked for
    report.card.setdefault("tags", ["evaluation", "lm-eval", *named])
    report.summary = (
        f"{about} on {', '.join(named)}, measured with lm-eval {summary['packages']['lm_eval']}. One row per task, "
        "filter and document, with prompt, answer and metrics; `results.json` holds the aggregates."
    )
    if predict_only:
        report.summary += " The answers are stored without a score."
    if limit:
        report.summary += f" A trial on the first {limit} documents: not to be compared with full runs."
    report.counts["samples"] = rows
    report.columns |= SAMPLE_COLUMNS
    for task, values in sorted(summary["tasks"].items()):
        report.metrics |= {f"{task}/{metric}": entry["value"] for metric, entry in values["metrics"].items()}
        note = "The tasks of the group together."
        if values["n"] is not None:  # a group has no documents of its own, and may have no figure of its own
            note = (
                f"{values['n']} of {values['n_available']} documents; task version {values['version']}, "
                f"task hash `{values['task_hash'][:12]}`."
            )
            if not values["metrics"]:  # answers without a score
                report.counts[f"{task}: documents answered"] = values["n"]
                report.counts[f"{task}: documents in the data set"] = values["n_available"]
        metrics = {
            name: {**entry, "chance": report.chance.get(f"{task}/{name}")} for name, entry in values["metrics"].items()
        }
        if metrics:
            report.tables.append(figure_table(task, metrics, note))
