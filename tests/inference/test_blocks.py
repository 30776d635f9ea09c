"""Fences and JSON in answers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubwright.inference.blocks import Fence, fences, json_object, json_text, unfenced

OBJECT = '{"1": {"reason": "a }", "verdict": "yes"}}'


@pytest.mark.parametrize(
    "reply",
    [
        OBJECT,
        f"  {OBJECT}\n",
        f"```json\n{OBJECT}\n```",
        f"```JSON {OBJECT}```",
        f"My verdicts:\n\n```json\n{OBJECT}\n```\nI hope that helps.",
        f"The form is {{}} or ```\n{{}}\n```\nand so:\n```\n{OBJECT}\n```",
        f"Here {{as asked}}: {OBJECT} That is all.",
        f"```json\n{OBJECT}",
    ],
)
def test_json_object_words_and_fences_around_it_do_not_count(reply: str) -> None:
    assert json_object(reply) == json.loads(OBJECT)


@pytest.mark.parametrize(
    "reply", ["", "no", "```json\n[1]\n```", "[1]", '{"a": {"b": 1}, "c": ', '{"a": {"b": 1}, "c": "d', "{" * 5000]
)
def test_json_object_absent_or_cut_off_is_one_line(reply: str) -> None:
    with pytest.raises(ValueError, match="the reply is") as caught:
        json_object(reply)
    assert "\n" not in str(caught.value)


@given(st.text(alphabet='{}"`[]:, \n1a'))
def test_json_text_any_text_is_read(reply: str) -> None:
    assert json_text(reply) == reply or json.loads(json_text(reply)) is not None or json_text(reply) == "null"


def test_fences_labels_and_bodies() -> None:
    text = "a\n```JSON\n1\n```\nb ```tool_call\n2```\n```\n3\n```\n```python\nx"
    assert fences(text) == [Fence("json", "1"), Fence("tool_call", "2"), Fence("", "3"), Fence("python", "x")]
    assert (
        unfenced("\n```json\n1\n```\n") == "1"
        and unfenced(" x ") == "x"
        and unfenced("a ```\n1\n```") == "a ```\n1\n```"
    )
