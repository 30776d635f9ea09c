"""BUTTON's textual form both ways, and its file as rows: byte for byte, whatever stands in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from column_parts import check_columns
from hypothesis import given
from hypothesis import strategies as st

from hubwright.builders._lib.conversation_rows import CHECKS, SWITCH, call, features, system_turn
from hubwright.builders.button.importer import ImportConfig, build, import_line
from hubwright.builders.button.template import definition_of, flat_of, from_button, to_button
from hubwright.environments.definition import fault
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError, RowRejected

AUTHOR = {
    "name": "find_author",
    "description": "Looks up who wrote a book. Ü",
    "parameters": {"title": {"type": "str", "description": "<tool>"}, "form": {"type": "enum", "enum": ["a", "b"]}},
    "required": ["title"],
    "responses": {"author": {"type": "string", "description": "The writer"}},
}
BORN = {"name": "find_birth", "description": "Birthday.", "parameters": {}, "responses": {}}
SYSTEM = "You know fountions.\n<tool>\n{}\n</tool>\nAnswer in <call></call> or <final></final>. {}"
OFF = "Make calls one at a time and wait for the response."


def record(system: str | None = None, *turns: tuple[str, str]) -> dict[str, Any]:
    """A hand-written record in the documented shape, spacing uneven on purpose."""
    if system is None:
        system = SYSTEM.format(json.dumps([AUTHOR, BORN]), OFF)
    turns = turns or (
        ("user", "Who wrote 北京\u2028折叠?"),
        ("assistant", 'I see.\n\n<call>[ {"name":"find_author",  "arguments":{"title": "\\u5317"}}]</call>\n'),
        ("tool", '[{"name": "find_author","arguments": {"title": "\\u5317"}, "results": {"author":"Hao"}}]'),
        ("assistant", "Done, then. <final>Hao <b>Jingfang</b></final>"),
    )
    messages = [("system", system), *turns]
    return {"messages": [{"role": role, "content": content} for role, content in messages]}


def line(value: Any, **how: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, **how).encode()


def test_a_record_becomes_a_row_and_its_very_bytes_again() -> None:
    text = line(record(), separators=(",  ", ":"))
    row = import_line(text, "somebody")
    assert row["messages"] == [
        {"role": "system", "content": SWITCH[False]},
        {"role": "user", "content": "Who wrote 北京\u2028折叠?"},
        {"role": "assistant", "content": "I see.\n\n", "tool_calls": [call(0, "find_author", {"title": "北"})]},
        {"role": "tool", "tool_call_id": "call_0", "content": '{"author": "Hao"}'},
        {"role": "assistant", "content": "Hao <b>Jingfang</b>"},
    ]
    function = row["tools"][0]["function"]
    assert function["parameters"] == {
        "type": "object",
        "properties": {"title": {"type": "string", "description": "<tool>"}, "form": {"enum": ["a", "b"]}},
        "required": ["title"],
    }
    assert function["responses"]["properties"]["author"]["type"] == "string"
    assert not fault(function)
    assert row["parallel"] is False
    assert (row["n_calls"], row["n_user_turns"], row["made_by"]) == (1, 1, "somebody")
    assert row["original"].encode() == text
    assert to_button(row) == json.loads(text)


def test_a_row_that_was_changed_is_written_anew() -> None:
    row = import_line(line(record()), "x")
    row["messages"][1]["content"] = "Who?"
    written = to_button(row)["messages"]
    assert written[1]["content"] == "Who?"
    assert "fountions" not in written[0]["content"]
    assert written[0]["content"].endswith(SWITCH[False])


@pytest.mark.parametrize(
    ("rules", "calls", "told"),
    [
        (OFF, 1, False),
        ("You may call several functions in parallel.", 1, True),
        ("Do not call in parallel.", 1, False),
        ("", 1, None),
        ("", 2, True),
    ],
)
def test_the_switch_where_it_can_be_told(rules: str, calls: int, told: bool | None) -> None:
    one = {"name": "find_birth", "arguments": {}}
    turns = (
        ("user", "?"),
        ("assistant", f"<call>{json.dumps([one] * calls)}</call>"),
        ("tool", json.dumps([one | {"results": 1}] * calls)),
        ("assistant", "<final>1</final>"),
    )
    read = from_button(record(SYSTEM.format(json.dumps([BORN]), rules), *turns))
    assert read["parallel"] is told
    # What a model is trained on says it too, where it is known.
    head = [m["content"] for m in read["messages"] if m["role"] == "system"]
    assert head == ([] if told is None else [SWITCH[told]])


def test_definitions_one_behind_the_other_and_in_blocks_of_their_own() -> None:
    two = f"{json.dumps(AUTHOR)}\n{json.dumps(BORN)}"
    blocks = "</tool>\n<tool>".join(json.dumps(d) for d in (BORN, BORN | {"name": "g"}))
    for text, names in ((two, ["find_author", "find_birth"]), (blocks, ["find_birth", "g"])):
        tools = from_button(record(SYSTEM.format(text, ""), ASK, FINAL))["tools"]
        assert [tool["function"]["name"] for tool in tools] == names


FINAL = ("assistant", "<final>x</final>")
ASK = ("user", "?")
CALL = ("assistant", '<call>[{"name": "find_birth", "arguments": {}}]</call>')
GOOD = SYSTEM.format(json.dumps([BORN]), "")


def calling(text: str) -> dict[str, Any]:
    return record(GOOD, ASK, ("assistant", f"<call>{text}</call>"), FINAL)


def giving(text: str) -> dict[str, Any]:
    return record(GOOD, ASK, CALL, ("tool", text), FINAL)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([], "no_messages"),
        ({"messages": []}, "no_messages"),
        ({"messages": [{"content": "x"}]}, "turn_without_role"),
        ({"messages": [{"role": "user", "content": None}]}, "turn_without_text"),
        ({"messages": [{"role": "user", "content": "x"}]}, "no_system_turn"),
        (record("no tools", ASK, FINAL), "no_tool_list"),
        (record("<tool>[{]</tool>", ASK, FINAL), "tools_not_json"),
        (record('<tool>[{"name": ""}]</tool>', ASK, FINAL), "tool_without_name"),
        (record(SYSTEM.format(json.dumps([BORN, BORN]), ""), ASK, FINAL), "tool_names_not_unique"),
        (record('<tool>{"name": "f", "parameters": [1]}</tool>', ASK, FINAL), "parameters_not_a_map"),
        (record('<tool>{"name": "f", "parameters": {"a": 1}}</tool>', ASK, FINAL), "parameters_not_a_map"),
        (record('<tool>{"name": "f", "parameters": {"a": {"x": NaN}}}</tool>', ASK, FINAL), "number_out_of_range"),
        (record(GOOD, FINAL), "turns_out_of_order"),
        (record(GOOD, ASK, ASK), "turns_out_of_order"),
        (record(GOOD, ASK), "does_not_end_with_final"),
        (record(GOOD, ASK, CALL), "does_not_end_with_final"),
        (record(GOOD, ASK, CALL, FINAL), "turns_out_of_order"),
        (record(GOOD, ASK, ("assistant", "hello")), "neither_call_nor_final"),
        (record(GOOD, ASK, ("assistant", "<final>x")), "neither_call_nor_final"),
        (record(GOOD, ASK, ("assistant", '[{"name": "f"}]</call>')), "neither_call_nor_final"),
        (calling("find_birth()"), "call_not_json"),
        (calling("[]"), "call_not_a_list"),
        (calling('{"name": "f"}'), "call_not_a_list"),
        (calling('[{"arguments": {}}]'), "call_without_name"),
        (calling('[{"name": "f", "arguments": "{}"}]'), "arguments_not_an_object"),
        (giving("none"), "results_not_json"),
        (giving("[]"), "results_do_not_match_calls"),
        (giving('[{"name": "g", "results": 1}]'), "results_do_not_match_calls"),
        (giving('[{"name": "find_birth"}]'), "results_do_not_match_calls"),
        (record(GOOD, ("user", "\ud800"), FINAL), "text_not_unicode"),
        (record(GOOD, ASK, ("assistant", f'<call>[{{"name": "f", "arguments": {{"a": {2**70}}}}}]</call>'),
                ("tool", '[{"name": "f", "results": 1}]'), FINAL), "number_out_of_range"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_its_reason(bad: Any, reason: str) -> None:
    with pytest.raises(RowRejected, match=f"^{reason}$"):
        from_button(bad)


def test_a_system_turn_by_its_misprinted_name() -> None:
    value = record()
    value["messages"][0]["role"] = "systems"
    row = import_line(line(value), "x")
    assert to_button(row) == value


def test_sloppy_definitions() -> None:
    value = {"name": "f", "description": "Does it.", "parameters": {
        "a": "int", "b": {"type": "float", "required": True}, "c": {"type": "list", "items": {"type": "dict"}}}}  # fmt: skip
    found = definition_of({"type": "function", "function": value})
    assert found["parameters"] == {
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "b": {"type": "number"},
            "c": {"type": "array", "items": {"type": "object"}},
        },
        "required": ["b"],
    }
    assert definition_of(found) == found
    assert definition_of(flat_of(found)) == found
    among = {"name": "f", "parameters": {"a": {"type": "string"}, "required": ["a"]}}
    assert definition_of(among)["parameters"]["required"] == ["a"]
    assert list(definition_of(among)["parameters"]["properties"]) == ["a"]


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
tags = st.sampled_from(["<call>", "</call>", "<final>", "</final>", "<tool>", "</tool>", "\\u003c", "\n", "北", " "])
texts = st.lists(words | tags, max_size=4).map("".join)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(texts, values, max_size=3)
schemas = st.fixed_dictionaries({"type": st.sampled_from(["string", "integer", "array"]), "description": texts})
schemas = st.fixed_dictionaries(
    {"type": st.just("object"), "properties": st.dictionaries(texts, schemas, max_size=3)},
    optional={"required": st.lists(texts, max_size=2), "additionalProperties": st.booleans()},
)
definitions = st.fixed_dictionaries(
    {"description": texts, "parameters": schemas}, optional={"responses": schemas}
)  # fmt: skip


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """Rows with any text in them, tags included."""
    names = draw(st.lists(texts.filter(bool), min_size=1, max_size=3, unique=True))
    tools = [{"type": "function", "function": {"name": name, **draw(definitions)}} for name in names]
    messages: list[dict[str, Any]] = []
    parallel = draw(st.booleans())
    messages.append(system_turn(parallel, draw(texts.filter(lambda text: "<tool>" not in text))))
    number = 0
    for _ in range(draw(st.integers(1, 2))):
        messages.append({"role": "user", "content": draw(texts)})
        for _ in range(draw(st.integers(0, 2))):
            calls = []
            for _ in range(draw(st.integers(1, 3))):
                calls.append(call(number, draw(st.sampled_from(names)), draw(objects)))
                number += 1
            messages.append({"role": "assistant", "content": draw(texts), "tool_calls": calls})
            for one in calls:
                content = json.dumps(draw(values), ensure_ascii=False)
                messages.append({"role": "tool", "tool_call_id": one["id"], "content": content})
        messages.append({"role": "assistant", "content": draw(texts)})
    return {"messages": messages, "tools": tools, "parallel": parallel}


@given(rows())
def test_rows_survive_our_own_template_byte_for_byte(row: dict[str, Any]) -> None:
    written = to_button(row)
    read = from_button(written)
    assert read["messages"] == row["messages"]
    assert read["parallel"] is row["parallel"]
    assert [t["function"]["name"] for t in read["tools"]] == [t["function"]["name"] for t in row["tools"]]
    assert json.dumps(to_button(read)) == json.dumps(written)


@given(rows(), st.sampled_from([None, 1, "\t"]), st.booleans(), texts, texts, st.booleans())
def test_any_record_is_refused_or_comes_back_byte_for_byte(row, indent, ascii, before, after, foreign) -> None:
    """Written as others would: another system text, other spacing, stray text around the tags."""
    value = to_button(row)
    for turn in value["messages"]:
        if turn["role"] == "tool":
            turn["content"] = json.dumps(json.loads(turn["content"]), indent=indent, ensure_ascii=ascii)
        elif turn["role"] == "assistant":
            turn["content"] = before + turn["content"] + after
        elif turn["role"] == "system" and foreign:
            definitions = json.dumps([flat_of(t["function"]) for t in row["tools"]], indent=indent)
            turn["content"] = SYSTEM.format(definitions, before)
    text = json.dumps(value, ensure_ascii=ascii, indent=None).encode()
    try:
        read = import_line(text, "x")
    except RowRejected:
        return
    assert read["original"].encode() == text
    assert [(m["role"], m["content"].encode()) for m in to_button(read)["messages"]] == [
        (m["role"], m["content"].encode()) for m in value["messages"]
    ]


def test_the_step(tmp_path: Path) -> None:
    path = tmp_path / "button_instruct.jsonl"
    own = to_button(import_line(line(record()), "x") | {"original": ""})
    lines = [line(record()), b"{", line(own), b"", b'"\xff"', line(record())]
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))
    context = StepContext("button", tmp_path, tmp_path / "out")
    with pytest.raises(DataError, match="2 of 5 records are rejected"):
        build(ImportConfig(source=str(path)))  # without a context
    train = build(ImportConfig(source=str(path), max_rejected_share=0.5), context)["train"]
    assert train.column_names == [*features(), "original"]
    check_columns("button_import", {"train": train}, context.report)
    train.to_parquet(tmp_path / "train.parquet")
    again = type(train).from_parquet(str(tmp_path / "train.parquet"))
    assert [row["original"].encode() for row in again] == [lines[0], lines[2], lines[5]]
    assert [to_button(row) for row in again] == [record(), own, record()]
    wrong = [{name for name in CHECKS if row[f"check_{name}"]} for row in again]
    assert wrong == [set(), {"duplicate"}, {"duplicate"}]  # the same request three times
    report = context.report
    assert report.card["license"] == "cc-by-4.0"
    assert report.counts == {
        "records_read": 5, "records_rejected": 2, "rejected: not_json": 1, "rejected: not_utf8": 1, "train_rows": 3,
    }  # fmt: skip
    assert ["written in our own template", 1] in report.tables[0]["rows"]
    assert ["different rows", 1] in report.tables[0]["rows"]


def test_another_file_than_expected(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    path.write_bytes(b"\n")
    context = StepContext("button", tmp_path, tmp_path / "out")
    with pytest.raises(DataError, match=r"b\.jsonl: sha256 is .*, expected 0"):
        build(ImportConfig(source=str(path), expect_sha256="0" * 64), context)
    with pytest.raises(DataError, match="has no records"):
        build(ImportConfig(source=str(path)), context)
