"""Tool-call conversations: conversion, refusals by reason, split without leakage, round trip through Parquet."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from column_parts import check_columns
from hypothesis import given
from hypothesis import strategies as st

from hubwright.builders._lib.tool_rows import convert
from hubwright.builders.toolcalls import Source, ToolCallsConfig, build
from hubwright.environments.schema import violation
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError, RowRejected, UsageError

SIGNATURE = {
    "name": "tip",
    "description": "Work out a tip",
    "parameters": {
        "type": "object",
        "properties": {"bill": {"type": "number"}, "kind": {"type": "string", "enum": ["good", "bad"]}},
        "required": ["bill"],
    },
}


def record(call: Any = None, tools: Any = None, **changes: Any) -> dict[str, Any]:
    value = {"name": "tip", "arguments": {"bill": 20}} if call is None else call
    turns = [
        {"from": "human", "value": "Tip for 20?"},
        {"from": "function_call", "value": value if isinstance(value, str) else json.dumps(value)},
        {"from": "observation", "value": '{"tip": 3}'},
        {"from": "gpt", "value": "3."},
    ]
    tools = [SIGNATURE] if tools is None else tools
    return {"conversations": turns, "tools": tools if isinstance(tools, str) else json.dumps(tools)} | changes


@pytest.mark.parametrize("changes", [{"value": "\ud83d"}, {"value": "a \ude00 b"}])
def test_convert_half_a_surrogate_pair_is_a_reason(changes: dict[str, Any]) -> None:
    turns = [{**TURNS[0], **changes}, *TURNS[1:]]
    with pytest.raises(RowRejected, match="text_not_unicode"):
        convert(record() | {"conversations": turns})


def test_a_record_becomes_trl_messages() -> None:
    row = convert(record())
    assert row["messages"] == [
        {"role": "user", "content": "Tip for 20?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": {"name": "tip", "arguments": {"bill": 20}}}],
        },
        {"role": "tool", "name": "tip", "content": '{"tip": 3}'},
        {"role": "assistant", "content": "3."},
    ]
    assert row["tools"] == [{"type": "function", "function": SIGNATURE}]
    assert (row["n_calls"], row["n_tools"], row["language"]) == (1, 1, "und")


TURNS = record()["conversations"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([], "no_conversation"),
        ({"conversations": "x"}, "no_conversation"),
        (record(tools="[{"), "tools_not_json"),
        (record(tools="[NaN]"), "tools_not_json"),
        (record(tools="{}"), "tools_not_a_list"),
        (record(tools=[{"description": "x"}]), "tool_without_name"),
        (record(tools=[SIGNATURE, SIGNATURE]), "tool_names_not_unique"),
        (record(tools=[{"name": "tip", "parameters": "none"}]), "tool_parameters_not_a_schema"),
        (record("tip(20)"), "call_not_json"),
        (record("[]"), "no_call"),
        (record({"arguments": {}}), "call_without_name"),
        (record({"name": "tip", "arguments": "{"}), "arguments_not_json"),
        (record({"name": "tip", "arguments": [20]}), "arguments_not_an_object"),
        (record({"name": "split", "arguments": {}}), "unknown_function"),
        (record({"name": "tip", "arguments": {}}), "arguments_missing_required"),
        (record({"name": "tip", "arguments": {"bill": "20"}}), "arguments_wrong_type"),
        (record({"name": "tip", "arguments": {"bill": True}}), "arguments_wrong_type"),
        (record({"name": "tip", "arguments": {"bill": 2, "kind": "so"}}), "arguments_not_in_enum"),
        (record({"name": "tip", "arguments": {"bill": 2, "city": None}}), "arguments_unexpected_property"),
        (record(conversations=[*TURNS[:2], TURNS[0]]), "call_without_result"),
        (record(conversations=TURNS[1:]), "call_out_of_order"),
        (record(conversations=[TURNS[0], TURNS[2], TURNS[3]]), "result_without_call"),
        (record(conversations=[*TURNS[:2], TURNS[3]]), "call_without_result"),
        (record(conversations=[TURNS[0], TURNS[0]]), "turns_out_of_order"),
        (record(conversations=[TURNS[0]]), "does_not_end_with_assistant"),
        (record(conversations=[]), "no_conversation"),
        (record(conversations=[TURNS[0], {"from": "gpt", "value": " "}]), "empty_turn"),
        (record(conversations=[{"from": "narrator", "value": "x"}]), "unknown_role"),
        (record(conversations=[{"from": "human"}]), "turn_without_text"),
        (record(conversations=["x"]), "turn_without_text"),
    ],
)
def test_what_is_wrong_is_named(bad: Any, reason: str) -> None:
    with pytest.raises(RowRejected, match=reason):
        convert(bad)


def test_parallel_calls_take_their_results_in_order() -> None:
    call = [{"name": "tip", "arguments": {"bill": n}} for n in (1, 2)]
    turns = [TURNS[0], {"from": "function_call", "value": json.dumps(call)}, TURNS[2], TURNS[2], TURNS[3]]
    row = convert(record(conversations=turns))
    assert row["n_calls"] == 2 and [m["role"] for m in row["messages"]][2:4] == ["tool", "tool"]
    with pytest.raises(RowRejected, match="call_without_result"):
        convert(record(conversations=[*turns[:3], TURNS[3]]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


PIECES = [
    "<tools>", "</tools>", "<tool_call>", "</tool_call>", "<functioncall>", "<tool_response>", "</tool_response>", "<think>",
    "</think>", "SYSTEM:", "USER: ", "\nASSISTANT: ", "FUNCTION RESPONSE:", '[{"name": "f", "parameters": {}}]', "[f(a=1)]",
    '{"name": "f", "arguments": {}}', "# Tools\n", "x", "\n\n", "'", '"',
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


@given(st.lists(TEXTS, max_size=4), TEXTS)
def test_convert_any_mixture_of_tags_is_a_row_or_a_reason(texts: list[str], system: str) -> None:
    roles = ["user", "assistant", "tool", "assistant"]
    turns = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    try:
        row = convert({"messages": [{"role": "system", "content": system}, *turns], "tools": [SIGNATURE]})
    except RowRejected as reason:
        assert re.fullmatch(r"\w+", str(reason))
    else:
        assert all("<tool_call>" not in m["content"] for m in row["messages"] if m["role"] == "assistant")


@given(JSON, JSON)
def test_the_schema_check_takes_anything(value: Any, schema: Any) -> None:
    assert violation(value, schema) is None or isinstance(violation(value, schema), str)


@given(
    st.dictionaries(
        st.sampled_from(["conversations", "messages", "tools", "system", "chat", "text", "query", "answers"]),
        JSON | TEXTS,
    )
)
def test_the_converter_rejects_or_converts_anything(value: dict[str, Any]) -> None:
    try:
        assert convert(value)["messages"]
    except RowRejected as reason:
        assert str(reason)


@pytest.mark.parametrize(
    ("value", "schema", "fault"),
    [
        (3.0, {"type": "integer"}, None),
        (3.5, {"type": "integer"}, "wrong_type"),
        (None, {"type": ["string", "null"]}, None),
        (5, {"minimum": 6}, "out_of_range"),
        ([1, "a"], {"type": "array", "items": {"type": "number"}}, "wrong_type"),
        ({"a": {"b": 1}}, {"properties": {"a": {"properties": {"b": {"type": "string"}}}}}, "wrong_type"),
        ("x", {"anyOf": [{"type": "number"}, {"type": "string"}]}, None),
        ("x", {"anyOf": [{"type": "number"}]}, "no_alternative"),
        ({"free": 1}, {"type": "object"}, None),
        ({"free": 1}, {"type": "object", "properties": {"a": {}}, "additionalProperties": True}, None),
    ],
)
def test_schema_rules(value: Any, schema: Any, fault: str | None) -> None:
    assert violation(value, schema) == fault


def write(folder: Path, records: list[Any], name: str = "calls.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def many(count: int) -> list[dict[str, Any]]:
    """Records with functions and questions of their own."""
    made = []
    for n in range(count):
        signature = SIGNATURE | {"name": f"tip{n}"}
        one = record({"name": f"tip{n}", "arguments": {"bill": n}}, [signature])
        one["conversations"] = [{"from": "human", "value": f"Question of the {chr(97 + n % 26)}{n} kind"}, *TURNS[1:]]
        one["conversations"][1] = {
            "from": "function_call",
            "value": json.dumps({"name": f"tip{n}", "arguments": {"bill": n}}),
        }
        made.append(one)
    return made


def config(path: Path, **settings: Any) -> ToolCallsConfig:
    return ToolCallsConfig(sources=(Source(source=str(path)),), license="apache-2.0", **settings)


def test_build_counts_and_keeps_going(tmp_path: Path) -> None:
    records = [*many(30), record("{"), many(1)[0]]
    context = StepContext("calls", tmp_path / "work", tmp_path / "out")
    splits = build(config(write(tmp_path, records)), context)
    counts = context.report.counts
    assert counts["records_read"] == 32 and counts["rejected: call_not_json"] == 1 and counts["duplicates"] == 1
    assert counts["train_rows"] + counts["test_rows"] == 30 == sum(s.num_rows for s in splits.values())
    assert context.report.card["license"] == "apache-2.0"
    assert str(tmp_path) not in json.dumps(context.report.__dict__)
    check_columns("toolcalls", splits, context.report)


def test_arguments_of_different_functions_stay_apart_through_parquet(tmp_path: Path) -> None:
    import datasets

    splits = build(config(write(tmp_path, many(8)), test_fraction=0.0), StepContext("c", tmp_path, tmp_path))
    splits["train"].to_parquet(str(tmp_path / "data" / "train.parquet"))
    again = datasets.load_dataset(str(tmp_path / "data"), split="train", cache_dir=str(tmp_path / "cache"))
    for before, after in zip(splits["train"], again, strict=True):
        assert before == after
        (call,) = after["messages"][1]["tool_calls"]
        assert call["function"]["arguments"] == {"bill": call["function"]["arguments"]["bill"]}


def test_related_conversations_stay_on_one_side(tmp_path: Path) -> None:
    records = []
    for n, one in enumerate(many(60)):
        again = json.loads(json.dumps(one))
        again["conversations"][0]["value"] = f"Other words for the same {chr(97 + n % 26)} function {n}"
        records += [one, again]
    splits = build(config(write(tmp_path, records), test_fraction=0.3), StepContext("c", tmp_path, tmp_path))
    names = {k: {t["function"]["name"] for r in s for t in r["tools"]} for k, s in splits.items()}
    assert names["train"] and names["test"] and not names["train"] & names["test"]


def test_questions_that_differ_in_a_number_are_no_duplicates(tmp_path: Path) -> None:
    records = [record(), record(), record()]
    records[1]["conversations"] = [{"from": "human", "value": "tip for 20"}, *TURNS[1:]]
    records[2]["conversations"] = [{"from": "human", "value": "Tip for 21?"}, *TURNS[1:]]
    context = StepContext("c", tmp_path, tmp_path)
    splits = build(config(write(tmp_path, records), test_fraction=0.0), context)
    assert splits["train"].num_rows == 2 and context.report.counts["duplicates"] == 1


def test_bad_files_are_refused_in_one_line(tmp_path: Path) -> None:
    context = StepContext("c", tmp_path, tmp_path)
    path = write(tmp_path, many(3))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    cases: list[tuple[Any, type[Exception], str]] = [
        ({"source": str(path), "expect_sha256": "0" * 64}, DataError, f"sha256 is {digest}"),
        ({"source": str(tmp_path / "none.json")}, UsageError, "no such file"),
        ({"source": str(tmp_path)}, UsageError, "is a folder"),
    ]
    for name, content, message in (
        ("a.json", b"[{", "is not JSON"),
        ("b.json", b"\xff\xfe", "byte 0 is not UTF-8"),
        ("c.jsonl", b'{"a": 1}\n{"a"', "line 2 is not JSON"),
        ("d.json", b"[]", "has no records"),
        ("e.json", b"[1, 2]", "2 of 2 records are rejected"),
    ):
        (tmp_path / name).write_bytes(content)
        cases.append(({"source": str(tmp_path / name)}, DataError, message))
    for source, kind, message in cases:
        with pytest.raises(kind, match=message) as caught:
            build(ToolCallsConfig(sources=(Source(**source),), license="mit"), context)
        assert "\n" not in str(caught.value)


def test_max_rows_do_not_depend_on_the_order_of_records(tmp_path: Path) -> None:
    records = many(20)
    chosen = []
    for name, order in (("a.json", records), ("b.json", records[::-1])):
        splits = build(
            config(write(tmp_path, order, name), max_rows=7, test_fraction=0.0), StepContext("c", tmp_path, tmp_path)
        )
        chosen.append(set(splits["train"]["id"]))
    assert chosen[0] == chosen[1] and len(chosen[0]) == 7


def test_the_real_glaive_demo(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "hiyouga" / "LLaMA-Factory" / "data" / "glaive_toolcall_en_demo.json"
    if not path.is_file():
        pytest.skip("the glaive demo is not here")
    context = StepContext("c", tmp_path, tmp_path)
    splits = build(config(path, derived_from=("glaiveai/glaive-function-calling-v2",), language="en"), context)
    assert context.report.counts["records_read"] == 300 and context.report.counts["records_rejected"] == 1
    assert {r["language"] for r in splits["train"]} == {"en"}
    assert sum(r["n_calls"] for s in splits.values() for r in s) > 150
