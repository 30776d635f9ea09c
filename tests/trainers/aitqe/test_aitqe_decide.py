"""The rule of keeping and rewriting, and its thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from hubwright.hub_sync.errors import DataError
from hubwright.trainers.aitqe.decide import Rule, decide, lowest, youden

RULE = Rule(delta=1.0, retention=0.5, max_words=5, drop_below=2.0)


@pytest.mark.parametrize(
    ("change", "decision", "reason"),
    [
        ({}, "rewrite", "the second scorer prefers"),
        ({"is_low": False}, "keep", "score"),
        ({"recaption": None}, "keep", "no new caption"),
        ({"recaption": ""}, "keep", "no new caption"),
        ({"recaption": "Rome  12"}, "keep", "the new caption is the old text"),
        ({"recaption": "a b c d e 12"}, "keep", "the new caption is too long"),
        ({"recaption": "a red bus"}, "keep", "the new caption loses names"),
        ({"before": None}, "keep", "the second scorer could not"),
        ({"after": 3.9}, "keep", "the second scorer does not prefer"),
        ({"after": 3.9, "score": 1.9}, "drop", "the second scorer does not prefer"),
        ({"recaption": None, "score": 2.0}, "keep", "no new caption"),
        ({"recaption": None, "fault": "cut"}, "keep", "cut"),
        ({"score": 1.0}, "rewrite", "the second scorer prefers"),
    ],
)
def test_each_condition_decides_by_itself(change: dict[str, Any], decision: str, reason: str) -> None:
    pair: dict[str, Any] = {"raw": "Rome 12", "score": 4.0, "is_low": True, "recaption": "bus 12 parked",
                            "before": 3.0, "after": 4.0}  # fmt: skip
    outcome = decide(RULE, **pair | change)
    assert outcome.decision == decision and outcome.reason.startswith(reason)


def test_nothing_is_dropped_unless_a_threshold_says_so() -> None:
    rule = Rule(1.0, 0.5, 5, None)
    assert decide(rule, "x", 1.0, True, None, None, None).decision == "keep"


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


def test_a_scorer_that_ranks_backwards_gives_no_threshold() -> None:
    with pytest.raises(DataError, match="gives bad development samples the higher scores"):
        youden([9.0, 8.0, 2.0, 1.0], [False, False, True, True])


@given(st.lists(st.sampled_from([1.0, 2.0, 5.5]) | st.floats(1, 10), min_size=1, max_size=40), st.floats(0.01, 1))
def test_a_rate_takes_that_share_of_each_source_and_the_lowest(values: list[float], rate: float) -> None:
    scores = np.array([*values, np.nan, *values])
    low = lowest(scores, ["a"] * (len(values) + 1) + ["b"] * len(values), rate)
    size, first, second = round(rate * len(values)), low[: len(values)], low[len(values) + 1 :]
    if size:
        assert first.sum() == second.sum() == size and (first == second).all()
        assert scores[: len(values)][first].max() <= min(scores[: len(values)][~first], default=11)
    assert abs(low.sum() - rate * 2 * len(values)) <= 1 and not low[len(values)]


def test_small_sources_are_taken_together() -> None:
    scores = np.arange(1.0, 11.0)
    assert lowest(scores, [str(n) for n in range(10)], 0.3).tolist() == [True] * 3 + [False] * 7
    assert not lowest(np.array([np.nan]), ["a"], 0.5).any()
