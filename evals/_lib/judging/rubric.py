"""Figures from verdict rows alone: what became of the answers, and of a rubric put to every answer of a data set."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..statistics import bootstrap_sums, interval
from .cases import Row


def by_answer(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each answer in item order, answers by id."""
    answers: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        answers[str(row["id"])].append(row)
    return [sorted(group, key=lambda row: row["item"]) for _, group in sorted(answers.items())]


def outcomes(rows: Sequence[Row]) -> dict[str, int]:
    """Answers by outcome: scored (some item met), wrong (none), empty, refused (by model or judge), failed."""
    result = dict.fromkeys(("scored", "wrong", "empty", "refused", "failed"), 0)
    for group in by_answer(rows):
        answer, state = group[0]["answer_state"], group[0]["state"]
        if answer != "ok":
            result[answer] += 1
        elif state in ("refused", "failed"):
            result[state] += 1
        else:
            result["scored" if any(row["verdict"] == "yes" for row in group) else "wrong"] += 1
    return result


def mass_figures(rows: Sequence[Row]) -> dict[str, float]:
    """Of a logprob judge `mass_mean` and `mass_min`, 0..1, of the probability that yes and no hold, and
    `unparsable_items`, the share of judged items without a verdict; {} for a text judge.
    """
    masses = [row["mass"] for row in rows if row.get("mass") is not None]
    if not masses:
        return {}
    unparsable = [row["verdict"] == "unparsable" for row in rows if row["verdict"] is not None]
    figures = {
        "mass_mean": math.fsum(masses) / len(masses),
        "mass_min": min(masses),
        "unparsable_items": sum(unparsable) / len(unparsable),
    }
    return {name: round(value, 6) for name, value in figures.items()}


def rubric_metrics(rows: Sequence[Row], resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    """`rubric` (mean share of the questions met) and `rubric_1`, ... (share of the answers that meet each), 0..1.

    An answer that is empty or refused, or that the judge refused, meets nothing. One whose request failed, or without
    a usable verdict on every question, is left out. Standard error and 95 % percentile interval from resampling
    answers.
    """
    counted = (g for g in by_answer(rows) if g[0]["state"] != "failed" and g[0]["answer_state"] != "failed")
    met = [[row["verdict"] == "yes" for row in group] for group in counted]
    if not met:
        return {}
    values = np.array(met, dtype=np.float64)
    columns = np.column_stack([values.mean(axis=1), values])
    means = columns.mean(axis=0)
    size = len(columns)
    drawn = bootstrap_sums(columns, resamples, seed) / size
    result: dict[str, dict[str, Any]] = {}
    for number, mean in enumerate(means):
        name = f"rubric_{number}" if number else "rubric"
        entry: dict[str, Any] = {"stderr": None, "higher_is_better": True}
        if resamples > 1:
            entry["stderr"] = round(float(drawn[:, number].std(ddof=1)), 6)
            for end, value in zip(("low", "high"), interval(drawn[:, number]), strict=True):
                result[f"{name}_ci_{end}"] = {"value": round(value, 6), "stderr": None, "higher_is_better": True}
        result[name] = {"value": round(float(mean), 6), **entry}
    return dict(sorted(result.items(), key=lambda item: item[0].endswith(("_ci_low", "_ci_high"))))
