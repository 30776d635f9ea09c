"""GAP against values by hand and scikit-learn's, with ties and with 98 % of the queries without a landmark."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubwright.evals.landmarks.confidence import best_f1, for_precision, gap


def by_the_formula(confidence: np.ndarray, right: np.ndarray, queries: int) -> float:
    """The sum of the formula in its own words, for confidences that are all different."""
    order = sorted(range(len(confidence)), key=lambda n: -confidence[n])
    total, hits = 0.0, 0
    for place, n in enumerate(order, 1):
        hits += bool(right[n])
        total += hits / place * bool(right[n])
    return total / queries


def test_values_by_hand() -> None:
    # right, wrong, right, wrong, right at ranks 1, 3, 5 of five predictions; six landmarks, one without prediction
    confidence, right = [0.95, 0.9, 0.7, 0.4, 0.1], [True, False, True, False, True]
    assert gap(confidence, right, 6) == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 6)
    assert gap([1.0], [True], 1) == 1 and gap([1.0], [False], 1) == 0 and gap([], [], 3) == 0
    assert math.isnan(gap([0.5], [False], 0))
    # two tied, one of them right: both come after 1 of 1, and the step ends at 2 of 3
    assert gap([0.9, 0.5, 0.5], [True, True, False], 2) == pytest.approx((1 + 2 / 3) / 2)


def test_most_queries_show_no_landmark() -> None:
    """1,973 of 117,578 queries show one, as of Google Landmarks v2. Predictions for the others push right ones down,
    and a mean over all queries would be another number."""
    rng = np.random.default_rng(0)
    queries, landmarks = 117_578, 1_973
    shows = np.arange(queries) < landmarks
    right = shows & (rng.random(queries) < 0.6)
    confidence = rng.permutation(queries) / queries * 0.5 + 0.5 * right * rng.random(queries)
    expected = by_the_formula(confidence, right, landmarks)
    assert gap(confidence, right, landmarks) == pytest.approx(expected) and 0.1 < expected < 0.6
    from sklearn.metrics import average_precision_score

    assert gap(confidence, right, landmarks) == pytest.approx(
        average_precision_score(right, confidence) * right.sum() / landmarks
    )
    quiet = right | (rng.random(queries) < 0.001)  # a model that predicts for few of the others
    assert gap(confidence[quiet], right[quiet], landmarks) > gap(confidence, right, landmarks)
    assert gap(confidence, right, landmarks) > 30 * gap(confidence, right, queries)


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 6))
def test_no_order_within_ties_matters(seed: int, number: int, values: int) -> None:
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(seed)
    confidence, right = rng.integers(0, values, number) / values, rng.random(number) < 0.4
    landmarks = int(right.sum()) + int(rng.integers(0, 3))
    order = rng.permutation(number)
    value = gap(confidence, right, landmarks)
    if not landmarks:
        assert math.isnan(value)
        return
    assert value == pytest.approx(gap(confidence[order], right[order], landmarks)) and 0 <= value <= 1
    expected = average_precision_score(right, confidence) * right.sum() / landmarks if right.any() else 0
    assert value == pytest.approx(expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_confidence_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        gap([0.5, bad], [True, False], 1)
    with pytest.raises(ValueError, match="more right predictions"):
        gap([0.5, 0.4], [True, True], 1)


@given(st.integers(0, 10**6), st.integers(1, 30))
def test_thresholds_are_the_best_of_all(seed: int, number: int) -> None:
    rng = np.random.default_rng(seed)
    confidence, right = rng.integers(0, 8, number) / 8, rng.random(number) < 0.5
    landmarks = int(right.sum()) + 1

    def at(value: float) -> tuple[float, float]:
        given = confidence >= value
        return right[given].mean(), right[given].sum() / landmarks

    best = best_f1(confidence, right, landmarks)
    assert best is not None and at(best.value) == pytest.approx((best.precision, best.recall))
    f1 = [2 * p * r / (p + r) if p + r else 0 for p, r in map(at, set(confidence))]
    assert best.f1 == pytest.approx(max(f1))
    strict = for_precision(confidence, right, landmarks, 0.7)
    recalls = [r for p, r in map(at, set(confidence)) if p >= 0.7]
    assert (strict is None) == (not recalls)
    if strict:
        assert strict.precision >= 0.7 and strict.recall == pytest.approx(max(recalls))


def test_no_threshold_without_predictions() -> None:
    assert best_f1([], [], 3) is None and best_f1([0.5], [False], 0) is None
    assert for_precision([0.9], [False], 1, 0.5) is None
