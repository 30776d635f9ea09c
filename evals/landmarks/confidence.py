"""Figures of predictions that have a confidence: GAP, and thresholds below which a prediction is not given.

Predictions of equal confidence are one step: each has the precision at the end of the step, so that no order within
ties changes a figure (as scikit-learn's average precision). All counts are over queries with and without a landmark.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Steps(NamedTuple):
    """Distinct confidences, falling, and what is predicted from each on.

    Attributes:
        confidence: (k,).
        right, predicted: int (k,), predictions with at least that confidence, right ones and all.
    """

    confidence: np.ndarray[Any, Any]
    right: np.ndarray[Any, Any]
    predicted: np.ndarray[Any, Any]


def steps(confidence: Any, right: Any) -> Steps:
    """The steps of (n,) predictions. Raises ValueError for a confidence that is not a finite number."""
    confidence, right = np.asarray(confidence, np.float64), np.asarray(right, bool)
    if not np.isfinite(confidence).all():
        raise ValueError("a confidence is not a finite number")
    values, places = np.unique(-confidence, return_inverse=True)
    predicted = np.bincount(places, minlength=len(values)).cumsum()
    correct = np.bincount(places, weights=right, minlength=len(values)).cumsum()
    return Steps(-values, correct.astype(np.int64), predicted.astype(np.int64))


def gap(confidence: Any, right: Any, queries: int) -> float:
    """Global average precision, also called micro average precision, of Google Landmarks.

        GAP = 1/M sum_i P(i) rel(i)

    P(i) is the precision of the i most confident predictions over all queries, rel(i) whether the i-th is right.

        >>> round(gap([0.9, 0.8, 0.7], [True, False, True], 2), 4)     # (1/1 + 2/3) / 2
        0.8333
        >>> round(gap([0.9, 0.8, 0.7], [True, False, True], 4), 4)     # two landmarks without a prediction
        0.4167

    Args:
        confidence: (n,) of the predictions, at most one for a query; queries without one are left out.
        right: bool (n,); False for a query that shows no landmark.
        queries: M, the queries that show a landmark; NaN if there is none.
    """
    if queries < int(np.sum(np.asarray(right, bool))):
        raise ValueError("more right predictions than queries with a landmark")
    if not queries:
        return float("nan")
    one = steps(confidence, right)
    gained = np.diff(one.right, prepend=0)
    return float((gained * one.right / np.maximum(one.predicted, 1)).sum() / queries)


class Threshold(NamedTuple):
    """A confidence from which predictions are given, and their figures on the data that it was chosen on."""

    value: float
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def best_f1(confidence: Any, right: Any, queries: int) -> Threshold | None:
    """The threshold with the largest F1 of precision and recall, of equal ones the highest; None without predictions
    or queries.

    >>> best_f1([0.9, 0.8, 0.7], [True, True, False], 2)
    Threshold(value=0.8, precision=1.0, recall=1.0)
    """
    options = _thresholds(confidence, right, queries)
    return max(options, key=lambda one: one.f1) if options else None


def for_precision(confidence: Any, right: Any, queries: int, precision: float) -> Threshold | None:
    """The threshold with the largest recall whose precision is at least `precision`, of equal ones the highest; None
    if no threshold has it.

    >>> for_precision([0.9, 0.8, 0.7, 0.6], [True, False, True, True], 3, 0.75)
    Threshold(value=0.6, precision=0.75, recall=1.0)
    """
    options = [one for one in _thresholds(confidence, right, queries) if one.precision >= precision]
    return max(options, key=lambda one: one.recall) if options else None


def _thresholds(confidence: Any, right: Any, queries: int) -> list[Threshold]:
    one = steps(confidence, right)
    if not queries:
        return []
    return [
        Threshold(float(value), correct / predicted, correct / queries)
        for value, correct, predicted in zip(
            one.confidence, one.right.tolist(), one.predicted.tolist(), strict=True
        )
    ]  # fmt: skip
