"""Conversations without functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hubwright.builders import instructions
from hubwright.builders._lib.sources import Source
from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.refs import ArtifactRef

ALPACA = {
    "instruction": "Add.",
    "input": "1 and 2",
    "output": "3",
    "history": [["Hello", "Hi"]],
    "system": "Be short.",
}

SHAREGPT = {"conversations": [{"from": "human", "value": "Sky?"}, {"from": "gpt", "value": "Blue."}]}

MESSAGES = {"messages": [{"role": "user", "content": "Grass?"}, {"role": "assistant", "content": "Green."}]}


def context(tmp_path: Path, **inputs: Path) -> StepContext:
    given = {r: Input(ArtifactRef("dataset", f"me/{r}", "a" * 40), path) for r, path in inputs.items()}
    return StepContext("step", tmp_path / "work", tmp_path / "out", given)


def built(tmp_path: Path, records: list[Any], **settings: Any) -> tuple[Any, StepContext]:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    step = context(tmp_path)
    config = instructions.InstructionsConfig(sources=(Source(source=str(path)),), license="mit", **settings)
    return instructions.build(config, step), step


def test_the_three_forms_become_messages(tmp_path: Path) -> None:
    made, _ = built(tmp_path, [ALPACA, SHAREGPT, MESSAGES])
    assert [[(m["role"], m["content"]) for m in row] for row in made["train"]["messages"]] == [
        [
            ("system", "Be short."),
            ("user", "Hello"),
            ("assistant", "Hi"),
            ("user", "Add.\n\n1 and 2"),
            ("assistant", "3"),
        ],
        [("user", "Sky?"), ("assistant", "Blue.")],
        [("user", "Grass?"), ("assistant", "Green.")],
    ]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("text", "not an object"),
        ({"text": "x"}, "neither instruction, conversations nor messages"),
        ({"instruction": "x", "output": ""}, "a turn without text"),
        (
            {"conversations": [{"from": "function_call", "value": "x"}]},
            "a turn of role function_call is not the JSON of a call",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "a turn of another role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "user and assistant do not take turns"),
        ({"messages": []}, "neither instruction, conversations nor messages"),
        ({"messages": ["x"]}, "a turn is not an object"),
        ({"instruction": "\ud800", "output": "y"}, "half a surrogate pair, which is not text"),
        (
            {
                "messages": [
                    MESSAGES["messages"][0],
                    {"role": "assistant", "content": "So:", "tool_calls": [{"name": "f", "arguments": {}}]},
                ]
            },
            "a turn that calls functions",
        ),
        ({"instruction": "x", "output": "y", "history": 3}, "not of its form"),
        (MESSAGES, "the same conversation again"),
    ],
)
def test_what_is_no_conversation_is_counted_by_its_reason(tmp_path: Path, record: Any, reason: str) -> None:
    made, step = built(tmp_path, [MESSAGES, SHAREGPT, ALPACA, record], max_rejected_share=0.25)
    assert len(made["train"]) == 3
    assert step.report.counts[f"rejected: {reason}"] == 1
    with pytest.raises(DataError, match=f"1 of 4 records are rejected \\({reason}: 1; the first is record [14]"):
        built(tmp_path, [MESSAGES, SHAREGPT, ALPACA, record], max_rejected_share=0.2)


def test_a_line_ends_at_a_newline_alone(tmp_path: Path) -> None:
    text = "one\u2028two\x85three"
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"instruction": text, "output": text}, ensure_ascii=False) + "\r\n", encoding="utf-8")
    config = instructions.InstructionsConfig(sources=(Source(source=str(path)),), license="mit")
    (row,) = instructions.build(config, context(tmp_path))["train"]
    assert [turn["content"] for turn in row["messages"]] == [text, text]


def test_more_rows_move_no_row_across_the_split(tmp_path: Path) -> None:
    records = [{"instruction": f"Say {n}.", "output": str(n)} for n in range(200)]
    few, _ = built(tmp_path, records[:100], test_fraction=0.3)
    many, _ = built(tmp_path, records, test_fraction=0.3)
    assert set(few["test"]["id"]) <= set(many["test"]["id"])
    assert 40 <= len(many["test"]) <= 80
    assert len(many["train"]) + len(many["test"]) == 200


def test_an_address_with_a_token_is_refused_before_it_is_read(tmp_path: Path) -> None:
    source = Source(source="https://me:hf_secret@localhost/records.jsonl")
    with pytest.raises(UsageError, match="holds a user name or token") as caught:
        instructions.build(instructions.InstructionsConfig(sources=(source,), license="mit"), context(tmp_path))
    assert "hf_secret" not in str(caught.value)


def test_instructions_with_content_parts_become_text(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Gr"}, {"type": "text", "text": "ass?"}]
    record = {"messages": [{"role": "user", "content": parts}, MESSAGES["messages"][1]]}
    made, _ = built(tmp_path, [record])
    assert made["train"][0]["messages"] == MESSAGES["messages"]
