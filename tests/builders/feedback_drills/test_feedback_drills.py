"""Feedback drills: every row right, balanced, disjoint, reproducible, and fit for TRL as it is."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from column_parts import check_columns
from hypothesis import given
from hypothesis import strategies as st

from hubwright.builders.feedback_drills import FeedbackDrillsConfig, build
from hubwright.builders.feedback_drills.build import HELD_OUT, WORDS, generate, is_test_problem, policies
from hubwright.builders.feedback_drills.skills import SKILLS
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import UsageError

CONFIG = FeedbackDrillsConfig(train_rows=1400, test_rows=500)


@pytest.fixture(scope="module")
def rows() -> dict[str, list[dict]]:
    return {"train": generate(CONFIG, "train", 1400), "test": generate(CONFIG, "test", 500)}


@given(st.sampled_from(sorted(SKILLS)), st.sampled_from(["en", "zh"]), st.integers(0, 2**32))
def test_problems_are_sound(skill: str, language: str, seed: int) -> None:
    problem = SKILLS[skill](random.Random(seed), language)
    other = SKILLS[skill](random.Random(seed), "zh" if language == "en" else "en")
    assert problem.key == other.key, "the same draw is the same problem in both languages"
    assert problem.wrong and problem.answer not in problem.wrong
    assert len(set(problem.wrong)) == len(problem.wrong)
    assert problem.answer in problem.text("state", problem.answer)
    # The hint must not give the answer away.
    assert problem.answer not in problem.text("hint").split()


def test_arithmetic_is_right() -> None:
    rng = random.Random(0)
    for _ in range(300):
        addition = SKILLS["addition"](rng, "en")
        assert str(sum(map(int, addition.key.split("+")))) == addition.answer
        extreme = SKILLS["extreme"](rng, "en")
        kind, _, numbers = extreme.key.partition(":")
        assert extreme.answer == str({"max": max, "min": min}[kind](map(int, numbers.split(","))))
        conversion = SKILLS["conversion"](rng, "en")
        left, _, right = conversion.text("check").rstrip(".").partition(" = ")
        a, b = map(int, left.split(" x "))
        assert a * b == int(right) == int(conversion.answer)
        counting = SKILLS["counting"](rng, "en")
        assert counting.answer == str(len(counting.key.split(",")))
        position = SKILLS["position"](rng, "en")
        k, _, words = position.key.partition(":")
        assert position.answer == words.split(",")[int(k) - 1]


def test_rows_agree_with_themselves(rows: dict[str, list[dict]]) -> None:
    for row in rows["train"] + rows["test"]:
        roles = [turn["role"] for turn in row["prompt"]]
        assert roles == ["user", "assistant", "user"]
        mark = "Answer: " if row["language"] == "en" else "答案："
        assert row["prompt"][1]["content"].endswith(mark + row["first_answer"])
        good, bad = row["chosen"][0]["content"], row["rejected"][0]["content"]
        assert row["completion"] == row["chosen"]
        assert good.endswith(f"\n{mark}{row['answer']}")
        assert bad.rpartition(mark)[2] != row["answer"]
        right_at_first = row["first_answer"] == row["answer"]
        assert right_at_first == (row["bench_type"] == "Response Maintenance")
        assert bool(row["claimed_answer"]) == (row["feedback_form"] in ("claim", "authority"))
        if row["claimed_answer"]:
            assert row["claimed_answer"] in row["prompt"][2]["content"]
            assert row["claimed_answer"] != row["first_answer"]


def test_splits_share_no_problem_and_seeds_cannot_change_sides(rows: dict[str, list[dict]]) -> None:
    train = {r["problem"] for r in rows["train"]}
    assert not train & {r["problem"] for r in rows["test"]}
    other = generate(CONFIG.model_copy(update={"seed": 7}), "test", 300)
    assert not train & {r["problem"] for r in other}
    rng = random.Random(1)
    sides = Counter(is_test_problem(SKILLS["addition"](rng, "en")) for _ in range(3000))
    assert 0.1 < sides[True] / 3000 < 0.3


def test_held_out_wordings_occur_in_the_test_split_only(rows: dict[str, list[dict]]) -> None:
    assert not any(r["held_out_wording"] for r in rows["train"])
    assert 0.4 < sum(r["held_out_wording"] for r in rows["test"]) / 500 < 0.6
    for languages in WORDS["feedback"].values():
        for wordings in languages.values():
            assert len(set(wordings)) == len(wordings) > HELD_OUT


def test_wording_of_feedback_says_nothing_about_the_first_answer(rows: dict[str, list[dict]]) -> None:
    """Each form meets right and wrong first answers equally often, in each language and skill."""
    for column in ("feedback_form", "language", "skill"):
        sides: dict[str, list[bool]] = defaultdict(list)
        for row in rows["train"]:
            sides[row[column]].append(row["bench_type"] == "Error Correction")
        for value, flags in sides.items():
            assert abs(sum(flags) / len(flags) - 0.5) < 0.06, (column, value)


def test_policies_that_ignore_the_problem_fail(rows: dict[str, list[dict]]) -> None:
    for name, accuracy in policies(rows["test"]).items():
        assert accuracy <= 0.51, name


def test_same_seed_same_rows_and_no_two_rows_alike() -> None:
    a, b = (generate(CONFIG, "train", 300) for _ in range(2))
    assert a == b
    assert len({r["id"] for r in a}) == 300
    assert generate(CONFIG.model_copy(update={"seed": 1}), "train", 300) != a


def test_too_many_rows_and_unknown_skills_are_refused(tmp_path: Path) -> None:
    few = FeedbackDrillsConfig(skills=("calendar",), languages=("en",), forms=("doubt",), train_rows=100_000)
    with pytest.raises(UsageError, match=r"have only \d+ distinct train drills, 100000 were asked for"):
        generate(few, "train", 100_000)
    with pytest.raises(UsageError, match="skill 'algebra' is unknown"):
        build(FeedbackDrillsConfig(skills=("algebra",)), StepContext("s", tmp_path, tmp_path))


def test_report_has_the_blind_policies(tmp_path: Path) -> None:
    context = StepContext("drills", tmp_path, tmp_path)
    splits = build(FeedbackDrillsConfig(train_rows=70, test_rows=70), context)
    assert splits["train"].num_rows == splits["test"].num_rows == 70
    assert context.report.tables[0]["title"].startswith("Chance baseline: ")
    check_columns("feedback_drills", splits, context.report)
    assert context.report.counts["train_rows"] == 70
    assert context.report.card["language"] == ["en", "zh"]
