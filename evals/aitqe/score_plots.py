"""Plots and a table of single scorers: what thresholds keep, and scores by kind of sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...hub_sync.context import Report
from ...inference.cuts import best_cut, cut_curves, shares_from
from ...inference.media.pair_scores import HIGH, LOW
from .joined import GOOD, KINDS, Samples
from .scorer import Array

GRID = 91  # a threshold every tenth of a point
HEADS = ["method", "t_k", "texts kept", "good texts kept", "bad texts kept"]
NOTE = (
    "The threshold t_k is where the share of good texts at or above it, less that of bad ones, is largest: chosen on "
    "these samples themselves, so another data set does worse. A dash: no threshold tells them apart."
)


def add(report: Report, samples: Samples, scores: Mapping[str, Array], scaled: Mapping[str, bool]) -> None:
    """Add a histogram and a plot of thresholds for each method on the scale, and a table of all methods' thresholds.

    Args:
        scores: (samples,) overall score by method, NaN without one.
        scaled: whether a method's scores are on the scale of 1 to 10.
    """
    good = np.array([kind in GOOD for kind in samples.kinds])
    rows: list[list[Any]] = []
    for name, values in scores.items():
        known = np.isfinite(values)
        best = best_cut(values[known], good[known])
        cut = best[0] if best is not None and best[1] > 0 else None
        rows.append([name, *_row(values[known], good[known], cut)])
        if scaled[name]:
            report.bars.append(_histogram(name, values, samples.kinds))
            curves = cut_curves(values[known], good[known], np.linspace(LOW, HIGH, GRID))
            named = {"all": "all texts", "good": "good texts", "bad": "bad texts"}
            marks = {} if cut is None else {f"t_k = {cut:.2f}": cut}
            series = {named[one]: points for one, points in curves.items()}
            report.curve(f"Texts kept by threshold, {name}", "threshold", "share kept", series, marks)
    report.table("Thresholds", HEADS, rows, NOTE)


def _row(values: Array, good: Any, cut: float | None) -> list[str]:
    if cut is None:
        return ["–"] * 4
    parts = (values, values[good], values[~good])
    return [f"{cut:.4g}", *(f"{float(shares_from(part, [cut])[0]):.3f}" for part in parts)]


def _histogram(name: str, values: Array, kinds: list[str]) -> dict[str, Any]:
    """Share of each kind's samples by score, rounded to whole points within the scale."""
    bins, series = range(LOW, HIGH + 1), {}
    for kind in KINDS:
        own = values[[one == kind for one in kinds]]
        own = own[np.isfinite(own)]
        if len(own):
            points = np.clip(np.rint(own), LOW, HIGH)
            series[kind] = [[float((points == n).mean()), None, None] for n in bins]
    groups = [str(n) for n in bins]
    return {"title": f"Scores by kind, {name}", "y": "share of the kind", "groups": groups, "series": series}
