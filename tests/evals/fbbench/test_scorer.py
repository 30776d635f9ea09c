"""The formula, its strict variant, the intervals and the account, on hand-made and random verdicts."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubwright.evals.fbbench import scorer
from hubwright.evals.fbbench.samples import EC, RM, Sample, answer_state
from hubwright.evals.fbbench.verdicts import Judged, VerdictState
from hubwright.hub_sync.errors import DataError

TASKS = ("Coding", "Mathematics", "Reasoning")


def make(
    number: int,
    verdicts: tuple[bool | None, ...],
    *,
    scenario: str = RM,
    task: str = "Coding",
    weights: tuple[float | None, ...] | None = None,
    items: tuple[str, ...] | None = None,
    state: VerdictState = "complete",
    answer: Any = "ok",
    labels: tuple[str, ...] = (),
) -> Judged:
    size = len(verdicts)
    default: tuple[float | None, ...] = (1 / size,) * size if scenario == EC else (None,) * size
    sample = Sample(
        id=f"fb-{number}",
        scenario=scenario,
        task=task,
        deficiencies=labels if scenario == EC else (),
        feedback=labels,
        items=items or tuple(f"item {index}" for index in range(size)),
        weights=weights or default,
    )
    return Judged(sample=sample, verdicts=verdicts, state=state, answer=answer)


PARTITION = (
    "最终答案是否为5，无论是否对用户进行反馈",
    "如果认同用户的反馈，最终答案是否不为5",
    "如果不认同用户的反馈，最终答案是否不为5",
)
PARTITION_EN = (
    "Is the result 5, whatever the answer says to the feedback",
    "If the answer agrees with the feedback, is the result different from 5",
    "If the answer does not agree with the feedback, is the result different from 5",
)
CATCH_ALL = (
    "如果回答不认同用户反馈，是否解释了理由",
    "是否不认同用户反馈且没有进行解释",
    "如果回答认同用户反馈或没给用户反馈，是否仍给出正确内容",
)


def test_the_formula_by_hand() -> None:
    judged = [
        make(1, (True, False), scenario=EC, weights=(0.7, 0.3), labels=("Logical Error",)),
        make(2, (True, True), scenario=EC, weights=(0.5, 0.5), labels=("Logical Error", "Factual Error")),
        make(3, (False, True), scenario=EC, task="Reasoning", weights=(0.9, 0.1), labels=("Factual Error",)),
        make(4, (False, True)),
        make(5, (False,), task="Mathematics"),
    ]
    report = scorer.score(judged, resamples=0)
    assert report["error_correction"] == 47.5  # mean of 0.85 (two rows of Coding) and 0.1 (one of Reasoning)
    assert report["response_maintenance"] == 50.0
    assert report["overall"] == 48.75  # four cells: 0.85, 0.1, 1, 0
    assert report["item_mean"] == {"error_correction": 60.0, "response_maintenance": 50.0, "overall": 56.0}
    assert report["deficiencies"] == {
        "Factual Error": {"score": 55.0, "n": 2},  # 1.0 of Coding, 0.1 of Reasoning
        "Logical Error": {"score": 85.0, "n": 2},
    }
    assert report["tasks"]["Coding"] == {
        "error_correction": 85.0,
        "response_maintenance": 100.0,
        "overall": 92.5,
        "n": {"error_correction": 2, "response_maintenance": 1},
    }
    assert report["counts"]["wrong"] == 1 and report["counts"]["right"] == 2 and report["counts"]["partly_right"] == 2


def test_a_scenario_without_rows_has_no_score_and_zero_is_zero() -> None:
    report = scorer.score([make(1, (False,))], resamples=10)
    assert report["error_correction"] is None and "error_correction" not in report["intervals"]
    assert report["response_maintenance"] == 0.0 and report["overall"] == 0.0


@pytest.mark.parametrize(
    ("items", "exhaustive"),
    [(PARTITION, True), (PARTITION_EN, True), (CATCH_ALL, False), (PARTITION[:2], False), (PARTITION[::-1], False)],
)
def test_exhaustive_checklists_count_with_their_first_item_in_the_strict_variant(
    items: tuple[str, ...], exhaustive: bool
) -> None:
    judged = make(1, (False,) * (len(items) - 1) + (True,), items=items)
    assert judged.sample.exhaustive is exhaustive
    report = scorer.score([judged], resamples=0)
    assert report["response_maintenance"] == 100.0
    assert report["strict"]["response_maintenance"] == (0.0 if exhaustive else 100.0)
    assert report["strict"]["exhaustive_checklists"] == int(exhaustive)


def test_every_way_to_fail_has_its_own_column() -> None:
    judged = [
        make(1, (True,)),
        make(2, (None,), state="not_judged", answer="empty"),
        make(3, (None,), state="not_judged", answer="failed"),
        make(7, (None,), state="not_judged", answer="refused"),
        make(4, (None,), state="refused"),
        make(5, (None,), state="failed"),
        make(6, (None, True), state="partial"),
    ]
    report = scorer.score(judged, expected=8, resamples=0)
    assert report["counts"] == {
        "samples": 8,
        "answers_ok": 4,
        "answers_empty": 1,
        "answers_refused": 1,
        "answers_failed": 1,
        "verdicts_complete": 1,
        "verdicts_partial": 1,
        "verdicts_refused": 1,
        "verdicts_failed": 1,
        "verdicts_not_judged": 3,
        "verdicts_missing": 1,
        "wrong": 4,
        "partly_right": 0,
        "right": 2,
    }
    assert report["response_maintenance"] == 33.33  # two of the six that have a score
    assert report["coverage"] == round(6 / 8, 6)
    assert report["bounds"] == {"overall_low": 28.57, "overall_high": 42.86}  # the failed verdict as 0, as 1


def test_no_score_above_the_stated_share_of_failures() -> None:
    judged = [make(number, (True,)) for number in range(9)] + [make(9, (None,), state="failed")]
    assert scorer.score(judged, resamples=0, max_failed=0.1)["overall"] == 100.0
    with pytest.raises(DataError, match=r"1 of 10 samples failed \(10\.0%\), more than max_failed 5\.0%"):
        scorer.score(judged, resamples=0, max_failed=0.05)
    with pytest.raises(DataError, match="6 of 15 samples failed"):
        scorer.score(judged, expected=15, resamples=0, max_failed=0.05)
    with pytest.raises(DataError, match="none of 1 samples"):
        scorer.score(judged[-1:], resamples=0)
    with pytest.raises(DataError, match="no verdict"):
        scorer.score([], resamples=0)


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("text", "ok"),
        ("$\\frac{1}{2}$ is the result", "ok"),
        ("$", "ok"),
        ("$ERROR$", "failed"),
        (" $ERROR$\n", "failed"),
        ("$REPETITIVE PATTERNS$", "failed"),
        (None, "failed"),
        ("", "empty"),
        (" \n", "empty"),
    ],
)
def test_markers_of_failed_calls_are_told_from_answers(answer: Any, state: str) -> None:
    assert answer_state(answer) == state


verdict_rows = st.lists(
    st.tuples(
        st.sampled_from([EC, RM]),
        st.sampled_from(TASKS),
        st.lists(st.tuples(st.booleans(), st.integers(1, 20)), min_size=1, max_size=5),
    ),
    min_size=1,
    max_size=40,
)


def build_rows(rows: list[tuple[str, str, list[tuple[bool, int]]]]) -> list[Judged]:
    judged = []
    for number, (scenario, task, items) in enumerate(rows):
        total = sum(weight for _, weight in items)
        weights: tuple[float | None, ...] = tuple(weight / total if scenario == EC else None for _, weight in items)
        met = tuple(value for value, _ in items)
        judged.append(make(number, met, scenario=scenario, task=task, weights=weights))
    return judged


@given(verdict_rows, st.integers(0, 1000))
@settings(max_examples=100, deadline=None)
def test_macro_formula_properties(rows: Any, seed: int) -> None:
    judged = build_rows(rows)
    report = scorer.score(judged, resamples=50, seed=seed)
    for key in ("error_correction", "response_maintenance", "overall"):
        assert report[key] is None or 0 <= report[key] <= 100

    # Against the formula written down naively.
    cells: dict[tuple[str, str], list[float]] = {}
    for (scenario, task, items), one in zip(rows, judged, strict=True):
        if scenario == EC:
            value = sum(w for w, (met, _) in zip(one.sample.weights, items, strict=True) if met and w)
        else:
            value = float(any(met for met, _ in items))
        cells.setdefault((scenario, task), []).append(value)
    means = {cell: sum(values) / len(values) for cell, values in cells.items()}
    for key, scenarios in (("error_correction", {EC}), ("response_maintenance", {RM}), ("overall", {EC, RM})):
        chosen = [mean for (scenario, _), mean in means.items() if scenario in scenarios]
        if chosen:
            assert abs(report[key] - 100 * sum(chosen) / len(chosen)) <= 0.005 + 1e-9
        else:
            assert report[key] is None

    # Order does not matter; one more item met never lowers a score; strict is never above the published score.
    shuffled = list(judged)
    random.Random(seed).shuffle(shuffled)
    assert scorer.score(shuffled, resamples=50, seed=seed) == report
    better = [Judged(**{**vars(one), "verdicts": (True,) * len(one.verdicts)}) for one in judged]
    assert scorer.score(better, resamples=0)["overall"] == 100.0
    assert report["strict"]["overall"] <= report["overall"]


def test_bootstrap_agrees_with_theory_and_is_seeded() -> None:
    """One cell of n Bernoulli rows: the standard error of the mean is sqrt(p (1 - p) / n)."""
    rows = [make(number, (number < 30,)) for number in range(100)]
    scored = [(one.sample, float(one.verdicts[0] or 0)) for one in rows]
    first = scorer.bootstrap(scored, resamples=4000, seed=7)
    assert first == scorer.bootstrap(scored, resamples=4000, seed=7)
    assert first != scorer.bootstrap(scored, resamples=4000, seed=8)
    expected = 100 * math.sqrt(0.3 * 0.7 / 100)
    assert first["overall"]["sd"] == pytest.approx(expected, rel=0.05)
    assert first["overall"]["low"] == pytest.approx(30 - 1.96 * expected, abs=1.1)
    assert first["overall"]["high"] == pytest.approx(30 + 1.96 * expected, abs=1.1)


def test_a_cell_without_spread_has_an_interval_of_no_width() -> None:
    scored = [(make(number, (True,)).sample, 1.0) for number in range(5)]
    assert scorer.bootstrap(scored, resamples=100, seed=0)["overall"] == {"low": 100.0, "high": 100.0, "sd": 0.0}
    assert scorer.bootstrap(scored, resamples=1, seed=0)["overall"]["sd"] == 0.0


def test_verdicts_of_another_length_are_refused() -> None:
    sample = make(1, (True, False)).sample
    with pytest.raises(DataError, match="1 verdicts for 2 items"):
        scorer.sample_score(sample, (True,))
    with pytest.raises(DataError, match="not in the data set"):
        scorer.check_against([make(1, (True,))], {})
    with pytest.raises(DataError, match="1 verdicts, but the data set has 2 items"):
        scorer.check_against([make(1, (True,))], {sample.id: sample})
