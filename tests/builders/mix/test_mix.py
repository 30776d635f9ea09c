"""Mixtures of conversations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from column_parts import check_columns

from hubwright.builders import mix
from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.refs import ArtifactRef

MESSAGES = {"messages": [{"role": "user", "content": "Grass?"}, {"role": "assistant", "content": "Green."}]}


def context(tmp_path: Path, **inputs: Path) -> StepContext:
    given = {r: Input(ArtifactRef("dataset", f"me/{r}", "a" * 40), path) for r, path in inputs.items()}
    return StepContext("step", tmp_path / "work", tmp_path / "out", given)


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
    splits = mix.build(mix.MixConfig(rows={"calls": 4}), step)
    check_columns("mix", splits, step.report)
    made = splits["train"]
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
