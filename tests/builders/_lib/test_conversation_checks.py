"""Every check, on a good row that is broken in one way at a time, and on rows of other makes."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubwright.builders._lib import conversation_checks
from hubwright.builders._lib.conversation_checks import faults, quotes, realised_edges, run_checks
from hubwright.builders._lib.conversation_rows import call
from hubwright.builders._lib.decontamination import requests, user_text
from hubwright.builders._lib.near_duplicates import MinHashIndex
from hubwright.hub_sync.errors import DataError

FLIGHT = {
    "type": "function",
    "function": {
        "name": "search_flight",
        "description": "Find the cheapest flight.",
        "parameters": {
            "type": "object",
            "properties": {"origin": {"type": "string"}, "destination": {"type": "string"}},
            "required": ["origin", "destination"],
        },
    },
}
STATUS = {
    "type": "function",
    "function": {
        "name": "get_status",
        "description": "Is a flight on time?",
        "parameters": {
            "type": "object",
            "properties": {"flight": {"type": "string"}, "detail": {"enum": ["short", "long"]}},
            "required": ["flight"],
        },
    },
}
RESPONSES = {
    "search_flight": {
        "type": "object", "properties": {"flight": {"type": "string"}, "price": {"type": "number"}},
        "required": ["flight", "price"],
    },
}  # fmt: skip


def result(number: int, value: Any) -> dict[str, Any]:
    text = value if isinstance(value, str) else json.dumps(value)
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": text}


def turn(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": list(calls)}


def good() -> dict[str, Any]:
    """Two calls, the second with a value that only the first gives."""
    return {
        "id": "good",
        "composition": "sequential",
        "tools": copy.deepcopy([FLIGHT, STATUS]),
        "messages": [
            {"role": "user", "content": "Is the cheapest flight from Oslo to Lisbon on time?"},
            turn(call(0, "search_flight", {"origin": "Oslo", "destination": "lisbon"})),
            result(0, {"flight": "HW12", "price": 1200.0}),
            turn(call(1, "get_status", {"flight": "HW12", "detail": "short"})),
            result(1, {"status": "on time"}),
            {"role": "assistant", "content": "Yes: HW12 is on time."},
        ],
    }


def found(row: dict[str, Any], **more: Any) -> dict[str, str]:
    return faults(run_checks(row, RESPONSES, **more))


def test_a_good_row_passes_everything() -> None:
    assert found(good()) == {}
    assert realised_edges(good()) == [("search_flight", "get_status", "flight")]


def broken(place: str) -> dict[str, Any]:
    row = good()
    messages, tools = row["messages"], row["tools"]
    first, second = messages[1]["tool_calls"][0]["function"], messages[3]["tool_calls"][0]["function"]
    if place == "twice offered":
        tools.append(tools[0])
    elif place == "no description":
        tools[0]["function"]["description"] = " "
    elif place == "bomb":
        tools[0]["function"]["parameters"]["properties"]["x"] = {"$ref": "#"}
    elif place == "not offered":
        tools.pop()
    elif place == "argument missing":
        del first["arguments"]["origin"]
    elif place == "argument too many":
        first["arguments"]["day"] = "Oslo"
    elif place == "not in enum":
        second["arguments"]["detail"] = "Oslo"
    elif place == "no result":
        messages.pop(4)
    elif place == "result without call":
        messages.insert(1, result(7, {}))
    elif place == "id twice in a turn":
        messages[3]["tool_calls"].append(call(1, "get_status", {"flight": "HW12"}))
    elif place == "id twice":
        messages[3]["tool_calls"][0]["id"] = messages[4]["tool_call_id"] = "call_0"
    elif place == "result no JSON":
        messages[4]["content"] = "it is on time"
    elif place == "result of another form":
        messages[2]["content"] = json.dumps({"flight": "HW12"})
    elif place == "made up":
        second["arguments"]["flight"] = "HW13"
    elif place == "not used":
        messages[0]["content"] += " I mean HW12."
    elif place == "called twice":
        messages[3]["tool_calls"].append(call(2, "get_status", dict(second["arguments"])))
        messages.insert(5, result(2, {"status": "on time"}))
    elif place == "result without use":
        messages[3]["tool_calls"].append(call(2, "search_flight", {"origin": "Lisbon", "destination": "Oslo"}))
        messages.insert(5, result(2, {"flight": "HW99", "price": 7}))
    elif place == "nothing quoted":
        messages[-1]["content"] = "All done."
    elif place == "empty answer":
        messages[-1]["content"] = "  "
    elif place == "no answer":
        messages.pop()
    return row


@pytest.mark.parametrize(
    ("place", "check", "said"),
    [
        ("twice offered", "definitions", "search_flight is offered twice"),
        ("no description", "definitions", "search_flight has no description"),
        ("bomb", "definitions", "keyword '$ref' is not supported"),
        ("not offered", "calls", "get_status is not offered"),
        ("argument missing", "calls", "the arguments of search_flight: missing_required"),
        ("argument too many", "calls", "the arguments of search_flight: unexpected_property"),
        ("not in enum", "calls", "the arguments of get_status: not_in_enum"),
        ("no result", "results", "get_status has no result"),
        ("result without call", "results", "a result without a call"),
        ("id twice in a turn", "results", "two calls have the id call_1"),
        ("id twice", "results", "two calls have the id call_0"),
        ("result no JSON", "results", "the result of get_status is not valid JSON"),
        ("result of another form", "results", "the result of search_flight: missing_required"),
        ("made up", "provenance", "flight='HW13' of get_status has no source"),
        ("not used", "graph", "planned as a sequence, and no call uses a result"),
        ("called twice", "needless", "get_status is called twice with the same arguments"),
        ("result without use", "needless", "the result of search_flight is never used"),
        ("nothing quoted", "answer", "the answer quotes nothing of get_status's result"),
        ("empty answer", "answer", "an answer is empty"),
        ("no answer", "answer", "the last turn is not answered"),
    ],
)
def test_each_fault_is_found_by_its_check_in_one_line(place: str, check: str, said: str) -> None:
    assert said in found(broken(place)).get(check, ""), found(broken(place))


def test_a_call_may_be_made_again_after_an_error_only() -> None:
    row = good()
    row["messages"][1:1] = [
        turn(call(9, "search_flight", {"origin": "Oslo", "destination": "lisbon"})), result(9, {"error": "busy"}),
    ]  # fmt: skip
    assert found(row) == {}
    row["messages"][2]["content"] = json.dumps({"flight": "HW12", "price": 5})
    assert "called twice" in found(row)["needless"]


def test_a_plan_must_be_the_graph_that_was_made() -> None:
    row = good()
    nodes = [
        {"tool": "search_flight", "runs": True, "arguments": {"origin": {"user": "Oslo"}}},
        {"tool": "get_status", "runs": True, "arguments": {"flight": {"node": 0, "field": "flight"}}},
    ]
    assert found(row | {"plan": json.dumps({"nodes": nodes})}) == {}
    nodes[1]["arguments"] = {"flight": {"user": "HW12"}}
    assert found(row | {"plan": json.dumps({"nodes": nodes})})["graph"] == "planned 0 uses of a result, found 1"
    nodes.pop()
    assert "found 1" in found(row | {"plan": json.dumps({"nodes": nodes})})["graph"]


@pytest.mark.parametrize(
    ("text", "value", "there"),
    [
        ("The price is 1,200 EUR.", 1200.0, True), ("It costs 5.", 5.0, True), ("It costs 55.", 5, False),
        ("In  OSLO\ntoday", "oslo", True), ("Osloer", "Oslo", False), ("id #A-7.", "A-7", True), ("yes", True, True),
        ("", {}, True), ("nothing", [], True), ("12 and", "12.0", True), ("北京的天气", "北京", True), ("abc北京", "北京", True), ("caféx", "café", False),
        ("All is done.", "Email was sent", False), ("Your email was sent.", "Email was sent today", True),
        ("At 9.", "9 to 5", True), ("邮件已成功发送。", "邮件发送成功", True), ("好的。", "邮件发送成功", False), ("At ten.", "9 to 5", False), ("It opens late.", "opens in the morning", True),
    ],
)  # fmt: skip
def test_values_are_found_as_people_write_them(text: str, value: Any, there: bool) -> None:
    assert quotes(text, value) == there


def test_near_requests_are_found_and_others_not() -> None:
    seen = MinHashIndex(0.8)
    words = [f"word{n}" for n in range(40)]
    seen.add(" ".join(words), "first")
    assert seen.nearest(" ".join(words).upper()) == "1.00 like first"
    assert seen.nearest(" ".join([*words[:39], "other"])) != ""
    assert seen.nearest(" ".join(words[::-1])) == "" and seen.nearest("something else entirely") == ""
    row, twin = good(), good() | {"id": "twin"}
    assert found(row, earlier=seen) == {} and "like good" in found(twin, earlier=seen)["duplicate"]
    assert "like good" in found(twin, tests=seen)["contamination"]


def test_a_row_that_fails_is_not_remembered() -> None:
    seen = MinHashIndex()
    assert "provenance" in found(broken("made up"), earlier=seen)
    assert found(good(), earlier=seen) == {}


@given(st.lists(st.text(max_size=30), max_size=6), st.recursive(st.none() | st.text() | st.integers(), st.lists))
def test_no_text_and_no_arguments_break_the_checks(texts: list[str], value: Any) -> None:
    roles = ("user", "assistant", "tool", "system", "assistant", "user")
    messages: list[dict[str, Any]] = [
        {"role": role, "content": text} for role, text in zip(roles, texts, strict=False)
    ]
    messages.append(turn(call(0, "get_status", {"flight": value})))
    run_checks({"id": "x", "messages": messages, "tools": [STATUS]}, RESPONSES)


def test_requests_of_a_test_set_are_read_whatever_its_columns(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    turns = [
        [{"role": "system", "content": "no"}, {"role": "user", "content": "first"}],
        [{"role": "user", "content": "2"}],
    ]
    for name, table in {
        "a": {"query": ["find it"], "id": ["q1"]},
        "b": {"turns": [json.dumps(turns)]},
        "c": {"messages": [turns[0]], "plan": [""]},
        "d": {"other": ["x"]},
    }.items():
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet")
    assert list(requests(tmp_path, "org/x")) == [("find it", "q1"), ("first\n2", "b:0"), ("first", "c:0")]
    assert user_text("[" * 100_000) == "[" * 100_000  # no JSON, and deeper than Python reads it
    for name in "abc":
        (tmp_path / f"{name}.parquet").unlink()
    with pytest.raises(DataError, match="org/x: no file has a column of requests"):
        list(requests(tmp_path, "org/x"))


def weather(result: str = '{"sky": "clear"}', answer: str = "Clear sky today.", **arguments: Any) -> dict[str, Any]:
    """The conversation of the docstrings' examples."""
    parameters = {"type": "object", "properties": {"city": {"type": "string", "description": "a city"}}}
    tool = {"name": "get_weather", "description": "The weather of a city.", "parameters": parameters}
    made = call(0, "get_weather", arguments or {"city": "Oslo"})
    turns = [
        {"role": "user", "content": "How is the weather in Oslo?"},
        {"role": "assistant", "content": "", "tool_calls": [made]},
        {"role": "tool", "tool_call_id": made["id"], "content": result},
        {"role": "assistant", "content": answer},
    ]
    return {"messages": turns, "tools": [{"type": "function", "function": tool}], "composition": "single", "plan": ""}


@pytest.mark.parametrize(
    ("check", "row", "message"),
    [
        ("calls", weather(city=5), "the arguments of get_weather: wrong_type"),
        ("results", weather("It is sunny."), "the result of get_weather is not valid JSON"),
        ("provenance", weather(), ""),
        ("provenance", weather(city="Lima"), "city='Lima' of get_weather has no source"),
        ("needless", weather(answer="Done."), "the result of get_weather is never used"),
        ("answer", weather(), ""),
        ("answer", weather(answer="Done."), "the answer quotes nothing of get_weather's result"),
    ],
)
def test_check_docstring_example_gives_its_message(check: str, row: dict[str, Any], message: str) -> None:
    assert getattr(conversation_checks, check)(row, {}) == message
    assert message in " ".join((getattr(conversation_checks, check).__doc__ or "").split())
