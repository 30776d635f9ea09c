"""Agreement of two judges: golden values, what is joined, and intervals that cover what they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubwright.evals._lib.judging.agreement import Pair, compare, pair, self_preference, shown
from hubwright.evals._lib.judging.verdicts import read_stored
from hubwright.evals._lib.statistics import kappa
from hubwright.evals.fbbench.verdicts import official_rows
from hubwright.hub_sync.errors import DataError, UsageError

WORDS = {True: "yes", False: "no", None: "unparsable"}


def rows(verdicts: list[list[bool | None]], weight: float | None = None, model: str = "m") -> list[dict[str, Any]]:
    return [
        {
            "id": f"s{n}",
            "item": i,
            "items": len(items),
            "task": ["Coding", "Reasoning"][n % 2],
            "scenario": "EC",
            "weight": weight,
            "answer_sha256": f"{model}{n}",
            "verdict": WORDS[met],
        }
        for n, items in enumerate(verdicts)
        for i, met in enumerate(items)
    ]


def test_kappa_is_undefined_where_one_word_is_all() -> None:
    assert np.isnan(kappa(np.array([5, 0, 0, 0])))
    report = compare(pair(rows([[True]] * 5), rows([[True]] * 5)), resamples=50)
    assert report["overall"]["kappa"] == {"value": None, "low": None, "high": None}
    assert report["overall"]["agreement"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    (_, table), *_ = shown(report)
    assert table[0][4] == "–"


def test_kappa_equals_scikit_learns() -> None:
    from sklearn import metrics

    rng = np.random.default_rng(0)
    a = [[bool(v) for v in line] for line in rng.random((60, 3)) < 0.6]
    b = [[bool(v) if rng.random() < 0.8 else not v for v in line] for line in a]
    report = compare(pair(rows(a), rows(b)), resamples=0)
    flat = [[v for line in verdicts for v in line] for verdicts in (a, b)]
    assert report["overall"]["kappa"]["value"] == pytest.approx(metrics.cohen_kappa_score(*flat), abs=1e-6)
    assert report["overall"]["agreement"]["value"] == pytest.approx(metrics.accuracy_score(*flat), abs=1e-6)
    assert report["overall"]["flip_rate"]["value"] == pytest.approx(1 - metrics.accuracy_score(*flat), abs=1e-6)


def test_what_cannot_be_parsed_is_counted_apart() -> None:
    report = compare(pair(rows([[True, None], [False, False]]), rows([[True, True], [None, True]])), resamples=20)
    overall = report["overall"]
    assert overall["confusion"] == {"yes_yes": 1, "yes_no": 0, "no_yes": 1, "no_no": 0}
    assert (overall["items"], overall["answers"]) == (4, 2)
    assert overall["a_unparsable"]["value"] == overall["b_unparsable"]["value"] == 0.25
    assert overall["agreement"]["value"] == 0.5
    assert report["scores"] == {"answers": 0}  # neither answer has all verdicts of both


def test_groups_and_scores() -> None:
    a, b = rows([[True, False], [False, False]], 0.5), rows([[True, True], [False, True]], 0.5)
    by_position = compare(pair(a, b), by="position", resamples=20)["by"]
    assert [by_position[key]["agreement"]["value"] for key in ("1", "2")] == [1.0, 0.0]
    by_task = compare(pair(a, b), by="task", resamples=20)
    assert set(by_task["by"]) == {"Coding", "Reasoning"} and by_task["by"]["Coding"]["items"] == 2
    scores = by_task["scores"]
    assert (scores["a"]["value"], scores["b"]["value"], scores["difference"]["value"]) == (0.25, 0.75, -0.5)
    any_of = compare(pair(rows([[False, True]]), rows([[True, True]])), resamples=0)["scores"]
    assert any_of["difference"]["value"] == 0.0  # any item met is full marks
    with pytest.raises(UsageError, match="--by 'colour' is unknown"):
        compare(pair(a, b), by="colour")


def test_scores_answer_that_one_judge_judged_in_part_has_none() -> None:
    """Two of three items are shared: their sum is no score of the answer, though both judges gave both verdicts."""
    whole = rows([[True, True, False], [True, False, False]], weight=1 / 3)
    part = [row for row in whole if (row["id"], row["item"]) != ("s1", 2)]
    scores = compare(pair(whole, part), resamples=10)["scores"]
    assert scores["answers"] == 1 and scores["a"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    nothing = [row for row in whole if row["item"] != 2]
    assert compare(pair(whole, nothing), resamples=10)["scores"] == {"answers": 0}


def test_only_the_same_answer_is_joined() -> None:
    with pytest.raises(DataError, match="share no item"):
        pair(rows([[True]], model="m"), rows([[True]], model="other"))
    both = rows([[True]], model="m") + rows([[False]], model="other")
    assert len(pair(both, both)) == 2


def test_the_interval_covers_the_truth_and_knows_of_clusters() -> None:
    """Answers whose five items stand or fall together: an interval over items would be far too narrow."""
    rng = np.random.default_rng(7)
    truth, hits, widths = 0.8, 0, []
    for trial in range(60):
        agree = rng.random(80) < truth
        a = [[True] * 5 for _ in agree]
        b = [[bool(same)] * 5 for same in agree]
        figure = compare(pair(rows(a), rows(b)), resamples=300, seed=trial)["overall"]["agreement"]
        hits += figure["low"] <= truth <= figure["high"]
        widths.append(figure["high"] - figure["low"])
    assert 52 <= hits <= 60  # 95 % of 60 is 57
    over_answers = 2 * 1.96 * np.sqrt(truth * (1 - truth) / 80)
    assert np.mean(widths) == pytest.approx(over_answers, rel=0.1)


def test_the_seed_and_nothing_else_decides_the_interval() -> None:
    rng = np.random.default_rng(3)
    a, b = ([[bool(v) for v in line] for line in rng.random((40, 2)) < 0.5] for _ in range(2))
    pairs = pair(rows(a), rows(b))
    first = compare(pairs, by="task", seed=5)
    assert first == compare(list(reversed(pairs)), by="task", seed=5)
    assert first != compare(pairs, by="task", seed=6)


def test_self_preference_is_a_difference_in_differences() -> None:
    rng = np.random.default_rng(1)

    def verdicts(rate: float, size: int = 400) -> list[list[bool]]:
        return [[bool(v)] for v in rng.random(size) < rate]

    def pairs(own: list[list[bool]], reference: list[list[bool]], model: str) -> list[Pair]:
        return pair(rows(own, 1.0, model), rows(reference, 1.0, model))

    # The judge is milder by 0.1 with everyone, and by another 0.2 with its own family.
    own = pairs(verdicts(0.8), verdicts(0.5), "own")
    others = [pairs(verdicts(0.6), verdicts(0.5), "x"), pairs(verdicts(0.4), verdicts(0.3), "y")]
    found = self_preference([own], others, resamples=500)
    assert found["samples"] == 400
    assert found["preference"]["value"] == pytest.approx(found["own"]["value"] - found["others"]["value"], abs=1e-6)
    assert found["preference"]["low"] < 0.2 < found["preference"]["high"] and found["preference"]["low"] > 0
    fair = self_preference([pairs(verdicts(0.6), verdicts(0.5), "o")], [pairs(verdicts(0.6), verdicts(0.5), "p")])
    assert fair["preference"]["low"] < 0 < fair["preference"]["high"]


def test_official_judgements_are_read_as_verdicts(shared_data: Path) -> None:
    folder = shared_data / "PKU-Baichuan-MLSystemLab/FB-Bench/data/feedback-benchmark/model_judgment"
    path = folder / "gpt-4o-2024-08-06/Qwen2.5-7B-Instruct.jsonl"
    if not path.is_file():
        pytest.skip("the published judgements are not here")
    official = read_stored(path, (official_rows,)).rows
    report = compare(pair(official, official), by="task", resamples=50)
    assert report["overall"]["agreement"]["value"] == report["overall"]["kappa"]["value"] == 1.0
    assert report["overall"]["items"] == 1596 and len(report["by"]) == 8
