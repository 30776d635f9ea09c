"""Win rates of a model over a baseline from preferences between their answers, beside what length explains.

A preference p is the probability, 0 to 1, that the model's answer is the better one. Of n comparisons

    win_rate           100 * mean(p)                                    standard_error   100 * sd(p) / sqrt(n)
    discrete_win_rate  100 * (wins + draws / 2) / n                     wins: p > 0.5, draws: p = 0.5

Judges like long answers. `by_length` has the win rate of answers that are shorter, about as long and longer than the
baseline's; `matched` is that of the middle group, lengths within 20 % of each other (our choice).
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..statistics import bootstrap_sums, interval
from .benchmark import Shown

MATCHED = 0.2  # most difference of two lengths that count as about equal, as a share of the longer one


@dataclass(frozen=True)
class Comparison:
    """A model's answer beside the baseline's to the prompt `id`; lengths in characters.

    `preference` is None where the judge gave none.
    """

    id: str
    preference: float | None
    length: int
    baseline_length: int
    label: str = ""


def win_rates(comparisons: Sequence[Comparison], resamples: int = 1000, seed: int = 1234) -> dict[str, Any]:
    """The figures above over all comparisons that have a preference, by length and by label, as JSON.

    Example: preferences 1, 1, 0.5 and 0 give 62.5, with 2 wins, 1 draw and 1 loss.
    """
    scored = [one for one in comparisons if one.preference is not None]
    values = np.array([one.preference for one in scored], dtype=np.float64)
    groups = {name: [one for one in scored if rule(one)] for name, rule in LENGTHS.items()}
    labels = sorted({one.label for one in scored if one.label})
    ends: tuple[float, float] = (math.nan, math.nan)
    if resamples and len(values):
        ends = interval(bootstrap_sums(values[:, None], resamples, seed)[:, 0] / len(values) * 100)
    return {
        **summary(scored),
        "interval": {"low": ends[0], "high": ends[1]} if resamples else {},
        "matched": summary(groups["about as long"]),
        "by_length": {name: summary(group) for name, group in groups.items()},
        "by_label": {label: summary([one for one in scored if one.label == label]) for label in labels},
        "longer_is_preferred": _share(scored, lambda one: (one.length > one.baseline_length) == (_p(one) > 0.5)),
        "average_length": float(np.mean([one.length for one in scored])) if scored else None,
        "baseline_average_length": float(np.mean([one.baseline_length for one in scored])) if scored else None,
        "counts": {"comparisons": len(comparisons), "scored": len(scored), "failed": len(comparisons) - len(scored)},
    }


def summary(scored: Sequence[Comparison]) -> dict[str, Any]:
    """Win rates in 0..100 with standard error, and numbers of wins, draws and losses; None without comparisons."""
    values = np.array([_p(one) for one in scored], dtype=np.float64)
    ends = Counter("win" if p > 0.5 else "draw" if p == 0.5 else "loss" for p in values)
    n = len(values)
    return {
        "win_rate": float(values.mean() * 100) if n else None,
        "standard_error": float(values.std(ddof=1) / math.sqrt(n) * 100) if n > 1 else None,
        "discrete_win_rate": (ends["win"] + ends["draw"] / 2) / n * 100 if n else None,
        "wins": ends["win"], "draws": ends["draw"], "losses": ends["loss"], "n": n,
    }  # fmt: skip


def _p(one: Comparison) -> float:
    assert one.preference is not None
    return one.preference


def _difference(one: Comparison) -> float:
    """Of the lengths, as a share of the longer one: -1 to 1."""
    return (one.length - one.baseline_length) / max(one.length, one.baseline_length, 1)


LENGTHS: dict[str, Callable[[Comparison], bool]] = {
    "shorter": lambda one: _difference(one) < -MATCHED,
    "about as long": lambda one: abs(_difference(one)) <= MATCHED,
    "longer": lambda one: _difference(one) > MATCHED,
}


def _share(scored: Sequence[Comparison], rule: Callable[[Comparison], bool]) -> float | None:
    """Share of the decided comparisons of different lengths for which `rule` holds."""
    decided = [one for one in scored if one.preference != 0.5 and one.length != one.baseline_length]
    return sum(map(rule, decided)) / len(decided) if decided else None


def table(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """A row for each prompt: {id, label, preference, outcome: win, draw, loss or failed, length, baseline_length}."""
    rows = []
    for one in comparisons:
        p = one.preference
        outcome = "failed" if p is None else "win" if p > 0.5 else "draw" if p == 0.5 else "loss"
        rows.append({
            "id": one.id, "label": one.label, "preference": p, "outcome": outcome,
            "length": one.length, "baseline_length": one.baseline_length,
        })  # fmt: skip
    return rows


COLUMNS = {
    "id": "of the prompt",
    "label": "group of the prompt; empty if it has none",
    "preference": "probability that the model's answer is the better one, 0 to 1; null if the judge gave none",
    "outcome": "win, draw (0.5), loss, or failed",
    "length": "characters of the model's answer",
    "baseline_length": "characters of the baseline's answer",
}


def shown(report: dict[str, Any]) -> list[Shown]:
    """The report for a terminal."""

    def cells(name: str, one: dict[str, Any]) -> list[str]:
        rates = ["–" if one[key] is None else f"{one[key]:.2f}" for key in ("win_rate", "standard_error")]
        return [name, *rates, *(str(one[key]) for key in ("wins", "draws", "losses", "n"))]

    spread = report["interval"]
    rows = [cells("all", report), *(cells(f"answer {name}", one) for name, one in report["by_length"].items())]
    rows += [cells(label, one) for label, one in report["by_label"].items()]
    counts = report["counts"]
    lines: list[Shown] = [(["", "win rate", "standard error", "wins", "draws", "losses", "n"], rows)]
    if spread:
        lines.append(f"95 % interval of the win rate: {spread['low']:.2f} to {spread['high']:.2f}")
    if report["average_length"] is not None:
        mine, theirs = report["average_length"], report["baseline_average_length"]
        lines.append(f"{mine:.0f} characters an answer, of the baseline {theirs:.0f}")
    lines.append(f"{counts['comparisons']} comparisons: {counts['scored']} scored, {counts['failed']} failed")
    return lines
