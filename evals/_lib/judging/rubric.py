"""Figures from verdict rows alone: what became of the answers, and of a rubric put to every answer of a data set."""

import math
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..statistics import bootstrap_sums, interval
from .cases import Row


def by_answer(rows: Iterable[Row]) -> Iterator[tuple[str, str, bytearray]]:
    """(its state, that of its judging, 1 or 0 per item that is met or not) of each answer, by id."""
    states: dict[str, tuple[str, str]] = {}
    met: dict[str, bytearray] = {}
    for row in rows:
        name = str(row["id"])
        states.setdefault(name, (sys.intern(row["answer_state"]), sys.intern(row["state"])))
        met.setdefault(name, bytearray(row["items"]))[row["item"]] = row["verdict"] == "yes"
    return ((*states[name], met[name]) for name in sorted(states))


def outcomes(rows: Sequence[Row]) -> dict[str, int]:
    """Answers by outcome: scored (some item met), wrong (none), empty, refused (by model or judge), failed."""
    result = dict.fromkeys(("scored", "wrong", "empty", "refused", "failed"), 0)
    for answer, state, met in by_answer(rows):
        if answer != "ok":
            result[answer] += 1
        elif state in ("refused", "failed"):
            result[state] += 1
        else:
            result["scored" if any(met) else "wrong"] += 1
    return result


def mass_figures(rows: Sequence[Row]) -> dict[str, float]:
    """Of a logprob judge `mass_mean` and `mass_min`, 0..1, of the probability that yes and no hold, and
    `unparsable_items`, the share of judged items without a verdict; {} for a text judge.
    """
    masses = array("d", (row["mass"] for row in rows if row.get("mass") is not None))
    if not masses:
        return {}
    unparsable = bytes(row["verdict"] == "unparsable" for row in rows if row["verdict"] is not None)
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
    met = [items for answer, state, items in by_answer(rows) if "failed" not in (answer, state)]
    if not met:
        return {}
    values = np.array([np.frombuffer(items, np.uint8) for items in met], np.float64)  # one length, or ValueError
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
