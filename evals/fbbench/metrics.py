"""Names of the metrics that lm-eval reports, and where each stands in the scorer's report.

fb_overall, fb_ec, fb_rm              published macro scores, 0..100; `_stderr` is the bootstrap's standard deviation
fb_*_ci_low, fb_*_ci_high             95 % bootstrap interval
fb_overall_strict, fb_rm_strict       exhaustive checklists count with their first item alone (ours)
fb_ec_task_*, fb_rm_task_*            one task type
fb_ec_deficiency_*                    rows whose first answer has this deficiency
fb_ec_feedback_*, fb_rm_feedback_*    rows with this kind of feedback
fb_answer_empty, _refused, _failed    shares of answers, 0..1
fb_verdict_failed, fb_judge_refused   shares of samples, 0..1
fb_coverage                           share of samples the score rests on, 0..1
"""

import math
import re
from collections.abc import Iterable
from typing import Any

from .samples import EC, RM, Sample

HEAD = {"fb_overall": "overall", "fb_ec": "error_correction", "fb_rm": "response_maintenance"}
RATES = {
    "fb_answer_empty": ("answers_empty",),
    "fb_answer_refused": ("answers_refused",),
    "fb_answer_failed": ("answers_failed",),
    "fb_verdict_failed": ("verdicts_failed", "verdicts_missing"),
    "fb_judge_refused": ("verdicts_refused",),
}


def slug(label: str) -> str:
    """A label as part of a metric's name: "Knowledge Q&A" gives "knowledge_q_a"."""
    return re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")


def metric_names(samples: Iterable[Sample]) -> list[str]:
    """All metrics that these samples can have, `fb_overall` first, slices in alphabetical order."""
    rows = list(samples)
    scenarios = {sample.scenario for sample in rows}
    heads = ["fb_overall", *(["fb_ec"] if EC in scenarios else []), *(["fb_rm"] if RM in scenarios else [])]
    # lm-eval has no hook for the standard error of a custom aggregation; a metric of the name it looks up is one.
    names = heads + [f"{name}{end}" for name in heads for end in ("_stderr", "_ci_low", "_ci_high")]
    names += [f"{name}_strict" for name in heads if name != "fb_ec"]
    slices = set()
    for sample in rows:
        prefix = "fb_ec" if sample.scenario == EC else "fb_rm"
        slices.add(f"{prefix}_task_{slug(sample.task)}")
        slices |= {f"{prefix}_deficiency_{slug(label)}" for label in sample.deficiencies if sample.scenario == EC}
        slices |= {f"{prefix}_feedback_{slug(label)}" for label in sample.feedback}
    return [*names, *sorted(slices), *RATES, "fb_coverage"]


def higher_is_better(name: str) -> bool:
    """False for failure rates and standard errors."""
    return name not in RATES and not name.endswith("_stderr")


def read_metric(report: dict[str, Any], name: str) -> float:
    """The value of a metric in a report of `scorer.score`; NaN where the report has no such figure."""
    if name in RATES:
        counts = report["counts"]
        return sum(counts[key] for key in RATES[name]) / counts["samples"]
    return _number(report.get("coverage")) if name == "fb_coverage" else _score(report, name)


def _score(report: dict[str, Any], name: str) -> float:
    head, _, rest = name.removeprefix("fb_").partition("_")
    key = HEAD[f"fb_{head}"]
    if not rest:
        return _number(report.get(key))
    if rest == "strict":
        return _number(report.get("strict", {}).get(key))
    if rest in ("stderr", "ci_low", "ci_high"):
        interval = report.get("intervals", {}).get(key, {})
        return _number(interval.get({"stderr": "sd", "ci_low": "low", "ci_high": "high"}[rest]))
    kind, _, label_slug = rest.partition("_")
    tables: dict[str, dict[str, Any]] = {
        "task": report.get("tasks", {}),
        "deficiency": report.get("deficiencies", {}),
        "feedback": report.get("feedback", {}).get(key, {}),
    }
    entry: dict[str, Any] = next((entry for label, entry in tables[kind].items() if slug(label) == label_slug), {})
    return _number(entry.get(key if kind == "task" else "score"))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
