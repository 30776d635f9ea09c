"""The rule of keeping and rewriting, and its thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from hubwright.hub_sync.errors import DataError
from hubwright.trainers.aitqe.decide import Rule, by_rate, decide, youden

RULE = Rule(delta=1.0, retention=0.5, max_words=5, drop_below=2.0)


@pytest.mark.parametrize(
    ("change", "decision", "reason"),
    [
        ({}, "rewrite", "the second scorer prefers"),
        ({"score": 5.0}, "keep", "score"),
        ({"recaption": None}, "keep", "no new caption"),
        ({"recaption": ""}, "keep", "no new caption"),
        ({"recaption": "IMG  12"}, "keep", "the new caption is the old text"),
        ({"recaption": "a b c d e 12"}, "keep", "the new caption is too long"),
        ({"recaption": "a red bus"}, "keep", "the new caption loses names"),
        ({"before": None}, "keep", "the second scorer could not"),
        ({"after": 3.9}, "keep", "the second scorer does not prefer"),
        ({"after": 3.9, "score": 1.9}, "drop", "the second scorer does not prefer"),
        ({"recaption": None, "score": 2.0}, "keep", "no new caption"),
        ({"score": 1.0}, "rewrite", "the second scorer prefers"),
    ],
)
def test_each_condition_decides_by_itself(change: dict[str, Any], decision: str, reason: str) -> None:
    pair: dict[str, Any] = {"raw": "IMG 12", "score": 4.0, "keep_from": 5.0, "recaption": "bus 12 parked",
                            "before": 3.0, "after": 4.0}  # fmt: skip
    outcome = decide(RULE, **pair | change)
    assert outcome.decision == decision and outcome.reason.startswith(reason)


def test_nothing_is_dropped_unless_a_threshold_says_so() -> None:
    rule = Rule(1.0, 0.5, 5, None)
    assert decide(rule, "x", 1.0, 5.0, None, None, None).decision == "keep"


@pytest.mark.parametrize("seed", range(5))
def test_youden_is_the_best_point_of_the_roc_curve(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, good = rng.integers(1, 8, 60).astype(float), rng.random(60) < 0.5
    false, true, _ = roc_curve(good, scores, drop_intermediate=False)
    limit, j = youden(list(scores), list(good))
    assert j == pytest.approx((true - false).max())
    assert (
        good[scores >= limit].sum() / good.sum() - (~good)[scores >= limit].sum() / (~good).sum()
    ) == pytest.approx(j)


def test_development_samples_that_say_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="all of one kind"):
        youden([1.0, 2.0], [True, True])
    with pytest.raises(DataError, match="the same score"):
        youden([1.0, 1.0], [True, False])


@given(st.lists(st.floats(1, 10), min_size=1, max_size=40, unique=True), st.floats(0.01, 1))
def test_a_rate_rewrites_that_share_of_each_source(values: list[float], rate: float) -> None:
    scores = np.array([*values, np.nan])
    limits = by_rate(scores, ["a"] * len(scores), rate)
    assert abs((scores < limits["a"]).sum() - rate * len(values)) <= 1


def test_a_source_without_scores_has_no_threshold() -> None:
    assert by_rate(np.array([np.nan, 2.0]), ["a", "b"], 0.5) == {"b": 2.0}
