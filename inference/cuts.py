"""Thresholds of a score that is to tell good rows from bad ones: what each lets through, and the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


def shares_from(scores: Any, cuts: Any) -> Array:
    """Share of the scores that are at or above each cut; NaN without scores.

        >>> shares_from([2.0, 8.0, 8.0, 9.0], [1.0, 8.0, 9.5]).tolist()
        [1.0, 0.75, 0.0]

    Args:
        scores: (n,), none of them NaN.
        cuts: (k,).

    Returns (k,).
    """
    values = np.sort(np.asarray(scores, np.float64))
    below = np.searchsorted(values, np.asarray(cuts, np.float64), side="left")
    return 1 - below / len(values) if len(values) else np.full(len(below), np.nan)


def best_cut(scores: Sequence[float] | Array, good: Sequence[bool] | Any) -> tuple[float, float] | None:
    """(cut, J): where the share of good rows at or above it, less that of bad ones, is largest (Youden's J).

        >>> best_cut([1.0, 2.0, 8.0, 9.0], [False, False, True, True])
        (5.0, 1.0)

    The cut lies in the middle between two scores; of equally good ones it is the lowest. None where no cut parts
    anything: rows of one kind, or one score for all.
    """
    values, labels = np.asarray(scores, np.float64), np.asarray(good, bool)
    if not labels.any() or labels.all():
        return None
    order = np.argsort(values)
    values, labels = values[order], labels[order]
    ends = np.flatnonzero(np.diff(values)) + 1  # first place of each higher score
    if not len(ends):
        return None
    good_above = labels[::-1].cumsum()[::-1][ends] / labels.sum()
    bad_above = (~labels)[::-1].cumsum()[::-1][ends] / (~labels).sum()
    best = int(np.argmax(good_above - bad_above))
    place = ends[best]
    return float((values[place - 1] + values[place]) / 2), float((good_above - bad_above)[best])


def cut_curves(scores: Any, good: Any, cuts: Any) -> dict[str, list[list[float]]]:
    """Points [cut, share at or above it] of all rows, of the good and of the bad ones.

    >>> cut_curves([2.0, 8.0], [False, True], [1.0, 5.0])["bad"]
    [[1.0, 1.0], [5.0, 0.0]]
    """
    values, labels = np.asarray(scores, np.float64), np.asarray(good, bool)
    parts = {"all": values, "good": values[labels], "bad": values[~labels]}
    return {
        name: [[float(cut), float(share)] for cut, share in zip(cuts, shares_from(part, cuts), strict=True)]
        for name, part in parts.items()
        if len(part)
    }
