"""The table of evals/seal_tools/README.md: which values are equal, and what a repeated call counts."""

from __future__ import annotations

import json

import pytest

from hubwright.evals._lib.call_lists.micro import f1, precision, recall
from hubwright.evals._lib.call_lists.scorer import score


def reply(*calls: dict) -> str:
    return "\n".join(f"<tool_call>\n{json.dumps(call)}\n</tool_call>" for call in calls)


def call(value, **more) -> dict:
    return {"name": "f", "arguments": {"a": value, **more}}


EQUAL = [
    (5, "5"),
    (5, 5.0),
    (5.0, "5"),
    (True, "true"),
    (None, "null"),
    ([1, "a"], [1.0, "a"]),
    ([1, "a"], '[1, "a"]'),
]
OTHER = [
    (5, "5.0"), (5, "05"), (5, True), (5, [5]), (True, 1), (True, "True"), (None, ""), ([1, "a"], ["1", "a"]),
    ([1, "a"], ["a", 1]), ([1, "a"], '[1,"a"]'), ("Rome", "rome"), ("Rome", "Rome "),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "value"), EQUAL)
def test_score_of_an_equal_value_in_another_type_is_right(gold, value):
    for one, other in ((gold, value), (value, gold)):
        averaged, tallies = score([call(one)], reply(call(other)))
        assert averaged == {"format_acc": 1.0, "call_exact": 1.0} and tallies["param"] == (1, 1, 1)


@pytest.mark.parametrize(("gold", "value"), OTHER)
def test_score_of_another_value_is_wrong_both_ways(gold, value):
    for one, other in ((gold, value), (value, gold)):
        averaged, tallies = score([call(one)], reply(call(other)))
        assert averaged["call_exact"] == 0.0 and tallies["param"] == (0, 1, 1) and tallies["tool"] == (1, 1, 1)


def test_score_of_an_absent_argument_is_not_null():
    averaged, tallies = score([call(1, b=None)], reply(call(1)))
    assert averaged["call_exact"] == 0.0 and tallies["param"] == (1, 1, 2)


def test_score_of_a_repeated_call_counts_it_as_often_as_it_is_made():
    averaged, tallies = score([call(1)], reply(call(1), call(1)))
    assert averaged == {"format_acc": 1.0, "call_exact": 0.0}
    for name in ("tool", "param"):
        assert tallies[name] == (1, 2, 1)
        assert precision([tallies[name]]) == 1 / 2 and recall([tallies[name]]) == 1.0
        assert f1([tallies[name]]) == pytest.approx(2 / 3)
    averaged, tallies = score([call(1), call(1)], reply(call(1)))
    assert averaged["call_exact"] == 0.0 and recall([tallies["tool"]]) == 1 / 2
