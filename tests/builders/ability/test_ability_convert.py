"""Records of every kind as rows, or rejected with a reason."""

from __future__ import annotations

from typing import Any

import pytest
from ability_parts import FOLDERS, exam
from hypothesis import given
from hypothesis import strategies as st

from hubwright.builders.ability.convert import convert, number, training_text
from hubwright.hub_sync.errors import RowRejected


@pytest.mark.parametrize(
    ("kind", "record", "reason"),
    [
        ("gsm8k", {"question": "How many?", "answer": "Two."}, "no final answer"),
        ("gsm8k", {"question": " ", "answer": "#### 2"}, "question is not text"),
        ("gsm8k", {"question": "How many?", "answer": "#### two"}, "answer is not a number"),
        ("gsm8k", {"answer": "#### 2"}, "not in the form of its source"),
        ("gsm8k", "text", "not in the form of its source"),
        ("mgsm", ["How many?"], "not in the form of its source"),
        ("mgsm", ["How many?", "2", "3"], "not in the form of its source"),
        ("msvamp", {"m_query": "How many?", "response": "a few"}, "answer is not a number"),
        ("msvamp", {"m_query": "How many?", "response": True}, "answer is not a number"),
        ("msvamp", {"m_query": "How many?", "response": "২"}, "answer is not a number"),
        ("exams", exam("a", "Was?", "eins"), "fewer than two choices"),
        ("exams", exam("a", "Was?", "eins", ""), "a choice is not text"),
        ("exams", exam("a", "Was?", "eins", "zwei", answer="@"), "answer is none of the choices"),
        ("exams", exam("a", "Was?", "eins", "zwei", answer="AB"), "answer is none of the choices"),
        ("exams", exam("a", "Was?", "eins", "zwei", "eins"), "right choice is there twice"),
        ("exams", exam("a", "Was?", "eins", "zwei", language="Klingon"), "unknown language"),
        ("exams", {"id": "a", "question": {"stem": "Was?", "choices": [{"label": "B", "text": "x"}]}, "answerKey": "B",
                   "info": {"language": "German", "subject": "Biology"}}, "choices not lettered from A"),
        ("arc", ["What?", "a", "b", "A"], "not in the form of its source"),
        ("arc", ["What?", "a", "b", "c", "d", "E"], "answer is none of the choices"),
    ],
)  # fmt: skip
def test_reasons(kind: str, record: Any, reason: str) -> None:
    with pytest.raises(RowRejected) as caught:
        convert(kind, record)
    assert caught.value.reason == reason and caught.value.detail and "\n" not in caught.value.detail


def test_wrong_choices_may_be_equal() -> None:
    assert convert("exams", exam("a", "Was?", "eins", "zwei", "zwei"))["choices"] == ["eins", "zwei", "zwei"]


@pytest.mark.parametrize(
    ("said", "meant"),
    [("2,125", "2125"), ("8.0", "8"), ("0.50", "0.5"), ("-3", "-3"), ("+7", "7"), ("-0.0", "0"), ("007", "7"), (12.5, "12.5")],
)  # fmt: skip
def test_numbers(said: Any, meant: str) -> None:
    assert number(said, "answer") == meant


@given(st.integers(-(10**12), 10**12))
def test_any_number_is_read_with_its_separators(value: int) -> None:
    assert number(f"{value:,}", "answer") == str(value) == number(f"{value}.00", "answer")


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=6)
       | st.dictionaries(st.sampled_from(["question", "answer", "m_query", "response", "choices", "id", "info"]), inner)),
       st.sampled_from(sorted(FOLDERS)))  # fmt: skip
def test_any_record_makes_a_row_or_a_reason(record: Any, kind: str) -> None:
    try:
        assert training_text(convert(kind, record)).startswith("Question: ")
    except RowRejected as reason:
        assert reason.reason and "\n" not in reason.detail
