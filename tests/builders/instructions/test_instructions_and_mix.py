"""Conversations without functions, and mixtures of conversations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from hubwright.builders import instructions, mix
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


def parts(tmp_path: Path) -> dict[str, Path]:
    """Two published data sets: ten conversations with functions, six without."""
    tool = {"type": "function", "function": {"name": "add", "description": "", "parameters": {"a": {"type": "x"}}}}
    found = {}
    for name, number, tools in (("part_calls", 10, [tool]), ("part_general", 6, None)):
        rows = []
        for n in range(number):
            messages = [{"role": "user", "content": f"{name} {n}"}, {"role": "assistant", "content": str(n)}]
            rows.append({"messages": messages} | ({"tools": tools} if tools else {}))
        folder = tmp_path / name / "data"
        folder.mkdir(parents=True)
        columns = {"messages": datasets.List(datasets.Json())} | (
            {"tools": datasets.List(datasets.Json())} if tools else {}
        )
        made = datasets.Dataset.from_list(rows, features=datasets.Features(columns))
        made.to_parquet(str(folder / "train-00000-of-00001.parquet"))
        found[name] = tmp_path / name
    return found


def test_a_mixture_has_the_rows_that_were_asked_for(tmp_path: Path) -> None:
    step = context(tmp_path, **parts(tmp_path))
    made = mix.build(mix.MixConfig(rows={"calls": 4}), step)["train"]
    assert sorted(made["part"]) == ["calls"] * 4 + ["general"] * 6
    assert list(made["part"]) != sorted(made["part"])  # shuffled
    assert len({row["messages"][0]["content"] for row in made}) == 10
    for row in made:
        assert [tool["function"]["name"] for tool in row["tools"]] == ["add"] * (row["part"] == "calls")
    again = mix.build(mix.MixConfig(rows={"calls": 4}), step)["train"]
    assert made.to_list() == again.to_list()
    other = mix.build(mix.MixConfig(rows={"calls": 4}, seed=1), step)["train"]
    assert made.to_list() != other.to_list()
    assert [row[2:4] for row in step.report.tables[0]["rows"]] == [[4, "40.0%"], [6, "60.0%"]]


@pytest.mark.parametrize(
    ("settings", "drop", "error", "said"),
    [
        ({"rows": {"calls": 11}}, "", DataError, "has 10 rows, 11 are asked for"),
        ({"rows": {"cals": 1}}, "", UsageError, "no part is called 'cals': calls, general"),
        ({}, "part_general", UsageError, "needs two inputs or more"),
    ],
)
def test_a_mixture_that_cannot_be_made(
    tmp_path: Path, settings: dict[str, Any], drop: str, error: type[Exception], said: str
) -> None:
    given = parts(tmp_path)
    given.pop(drop, None)
    with pytest.raises(error, match=said):
        mix.build(mix.MixConfig(**settings), context(tmp_path, **given))


@pytest.mark.parametrize(
    ("row", "settings", "said"),
    [
        ({}, {"split": "test"}, r"me/part_calls@a+: split 'test' cannot be read \(ValueError: Unknown split"),
        ({}, {"configs": {"x": "huge"}}, "config 'huge' split 'train' cannot be read .*Available: "),
        (
            {"messages": "Hello"},
            {},
            r"part x: me/part_x@a+: row 0: turns are text that is not JSON \('Hello'\): build it with",
        ),
        ({"messages": None}, {}, "null in place of turns"),
        ({"messages": ["Hello"]}, {}, "a turn is not an object"),
        ({"tools": "add"}, {}, "tools are not JSON"),
        ({"tools": "[1]"}, {}, "a tool is not an object"),
    ],
)
def test_a_part_that_cannot_be_mixed_is_one_line(
    tmp_path: Path, row: dict[str, Any], settings: dict[str, Any], said: str
) -> None:
    given = parts(tmp_path)
    (tmp_path / "x").mkdir()
    datasets.Dataset.from_list([{**MESSAGES, **row}]).to_parquet(str(tmp_path / "x" / "train.parquet"))
    step = context(tmp_path, part_x=tmp_path / "x", **given)
    with pytest.raises(DataError, match=said) as caught:
        mix.build(mix.MixConfig(**settings), step)
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_mix_of_struct_rows_drops_padded_nulls_and_keeps_weights(tmp_path: Path) -> None:
    """The part's Arrow structs pad arguments with null; what the rows say is what went in."""
    import pyarrow as pa

    def row(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        tool = {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
        call = {"type": "function", "function": {"name": name, "arguments": arguments}}
        turns = [
            {"role": "user", "content": "Do"},
            {"role": "assistant", "content": "I call.", "tool_calls": [call], "weight": 0},
            {"role": "assistant", "content": "Done."},
        ]
        return {"messages": turns, "tools": json.dumps([tool])}

    rows = [row("weather", {"city": "Rome"}), row("add", {"a": 1})]
    (tmp_path / "x").mkdir()
    datasets.Dataset(pa.Table.from_pylist(rows)).to_parquet(str(tmp_path / "x" / "train.parquet"))
    made = mix.build(mix.MixConfig(), context(tmp_path, part_x=tmp_path / "x", **parts(tmp_path)))["train"]
    read = sorted((r["messages"] for r in made if r["part"] == "x"), key=str, reverse=True)
    assert read == sorted((r["messages"] for r in rows), key=str, reverse=True)


def test_mix_arguments_of_other_types_keep_their_values(tmp_path: Path) -> None:
    from hubwright.hub_sync.json_columns import make_dataset

    values: list[dict[str, Any]] = [{"a": 1e-12}, {"a": "5"}, {"a": {"b": None}}, {"a": 3.141592653589793}]
    turns = [
        [
            {"role": "user", "content": "Do"},
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": value}}]},
        ]
        for value in values
    ]
    (tmp_path / "x").mkdir()
    make_dataset([{"messages": one, "tools": []} for one in turns]).to_parquet(str(tmp_path / "x" / "train.parquet"))
    made = mix.build(mix.MixConfig(), context(tmp_path, part_x=tmp_path / "x", **parts(tmp_path)))["train"]
    assert sorted((r["messages"] for r in made if r["part"] == "x"), key=str) == sorted(turns, key=str)


def test_functions_may_be_json_text(tmp_path: Path) -> None:
    given = parts(tmp_path)
    (tmp_path / "x").mkdir()
    datasets.Dataset.from_list(
        [{**MESSAGES, "tools": '[{"type": "function", "function": {"name": "f"}}]'}]
    ).to_parquet(str(tmp_path / "x" / "train.parquet"))
    made = mix.build(mix.MixConfig(rows={"general": 1}), context(tmp_path, part_x=tmp_path / "x", **given))["train"]
    assert [row["tools"] for row in made if row["part"] == "x"] == [[{"type": "function", "function": {"name": "f"}}]]
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        mix.MixConfig(rows={"x": -1})


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


@pytest.mark.parametrize("form", ["text", "parts", "from and value"])
def test_requests_of_test_set_are_read_in_every_form(tmp_path: Path, form: str) -> None:
    """A test set whose requests are not seen would be trained on."""
    from hubwright.builders._lib.decontamination import requests

    turns: dict[str, Any] = {
        "text": [{"role": "user", "content": "Grass?"}, {"role": "assistant", "content": "Green."}],
        "parts": [{"role": "user", "content": [{"type": "text", "text": "Grass?"}]}],
        "from and value": [{"from": "human", "value": "Grass?"}, {"from": "gpt", "value": "Green."}],
    }
    datasets.Dataset.from_list([{"messages": turns[form]}]).to_parquet(str(tmp_path / "test.parquet"))
    assert [text for text, _ in requests(tmp_path, "me/test@1")] == ["Grass?"]
