"""What thresholds on the score do to development samples and to the pairs themselves, for the card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...hub_sync.context import Report
from ...inference.cuts import cut_curves, shares_from
from ...inference.media.pair_scores import HIGH, LOW

GRID = 91  # a threshold every tenth of a point
TITLE = "Thresholds on the development samples"


def add(report: Report, scores: Sequence[float], good: Sequence[bool], pairs: Any, chosen: float) -> None:
    """Add a plot and a table of thresholds.

    Args:
        scores, good: of the development samples.
        pairs: (n,) scores of the pairs that are processed.
        chosen: the threshold that is used.
    """
    cuts = np.linspace(LOW, HIGH, GRID)
    names = {"good": "good texts kept", "bad": "bad texts kept"}
    curves = cut_curves(scores, good, cuts)
    series = {names[name]: points for name, points in curves.items() if name in names}
    series["pairs of the data set kept"] = np.column_stack([cuts, shares_from(pairs, cuts)]).tolist()
    report.curve(TITLE, "threshold t_k", "share kept", series, {f"t_k = {chosen:.2f}": chosen})
    shown = sorted({*range(LOW + 1, HIGH), chosen})
    values, labels = np.asarray(scores, np.float64), np.asarray(good, bool)
    columns = [shares_from(part, shown) for part in (values[labels], values[~labels], pairs)]
    rows = [
        [f"**{cut:.2f}**" if cut == chosen else f"{cut:.2f}", *(f"{share:.3f}" for share in shares)]
        for cut, *shares in zip(shown, *columns, strict=True)
    ]
    report.table(
        "Thresholds",
        ["t_k", "good texts kept", "bad texts kept", "pairs of the data set kept"],
        rows,
        f"Good and bad ones of {len(values):,} development samples: true and false positives. In bold the one used, "
        "where their difference is largest.",
    )
