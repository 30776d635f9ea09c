"""Definitions from functions, and from nobody knows where."""

from __future__ import annotations

import time
from typing import Annotated, Literal, TypedDict

import pytest

from hubwright.environments.definition import MOST_NODES, as_openai, fault, from_function
from hubwright.environments.schema import violation

City = Annotated[str, "city"]


class Forecast(TypedDict):
    city: City
    celsius: float
    hours: list[int]


def forecast(city: City, days: int = 1, unit: Literal["C", "F"] = "C", note: str | None = None) -> Forecast:
    """Look up the weather
    of the coming days.

    More that nobody needs.

    Args:
        city: the city's name,
            in English.
        days (int): how many days.

    Raises nothing.
    """
    return {"city": city, "celsius": 1.0, "hours": [days]}


def test_a_function_says_what_it_is():
    made = from_function(forecast)
    assert made == {
        "name": "forecast",
        "description": "Look up the weather of the coming days.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "kind": "city", "description": "the city's name, in English."},
                "days": {"type": "integer", "description": "how many days.", "default": 1},
                "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
                "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            },
            "required": ["city"],
        },
        "responses": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "kind": "city"},
                "celsius": {"type": "number"},
                "hours": {"type": "array", "items": {"type": "integer"}},
            },
            "required": ["celsius", "city", "hours"],
        },
    }
    assert fault(made) == ""
    assert violation(forecast("Oslo"), made["responses"]) is None
    shown = as_openai(made)
    assert shown["type"] == "function" and set(shown["function"]) == {"name", "description", "parameters"}
    assert "kind" not in shown["function"]["parameters"]["properties"]["city"]


def test_a_parameter_may_be_called_kind():
    def pick(kind: Annotated[str, "fruit"]) -> str:
        """Pick one."""
        return kind

    shown = as_openai(from_function(pick))["function"]["parameters"]
    assert shown == {"type": "object", "properties": {"kind": {"type": "string"}}, "required": ["kind"]}


def untyped(a) -> int:
    """Say something."""


def silent(a: int) -> int:
    return a


def no_result(a: int):
    """Say something."""


def many(*a: int) -> int:
    """Say something."""


def strange(a: set[int]) -> int:
    """Say something."""


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (untyped, "untyped: a has no type"),
        (silent, "silent has no docstring"),
        (no_result, "no_result does not say what it returns"),
        (many, "many: a cannot be given by name"),
        (strange, r"strange: a has the type set\[int\]"),
    ],
)
def test_what_is_missing_is_named(function, said):
    with pytest.raises(ValueError, match=said):
        from_function(function)


def nested(depth: int) -> dict:
    schema: dict = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"x": schema}}
    return schema


def shared(levels: int) -> dict:
    """Small in memory, 2 ** levels parts when it is walked through."""
    schema: dict = {"type": "string"}
    for _ in range(levels):
        schema = {"anyOf": [schema, schema]}
    return {"type": "object", "properties": {"x": schema}}


def definition(**parameters) -> dict:
    return {"name": "f", "description": "Does it.", "parameters": {"type": "object"} | parameters}


BAD = {
    "no object": ([], "is an object"),
    "no name": ({"description": "x"}, "no function's name"),
    "a name with a line": ({"name": "f\n", "description": "x"}, "no function's name"),
    "no description": ({"name": "f", "description": " "}, "has no description"),
    "no parameters": ({"name": "f", "description": "x"}, "no JSON Schema of type object"),
    "unknown type": (definition(properties={"a": {"type": "dict"}}), "type 'dict' is none of"),
    "list as type": (definition(properties={"a": {"type": {"x": 1}}}), "is none of"),
    "required but absent": (definition(required=["a"]), "required 'a' is no property"),
    "a reference": (definition(properties={"a": {"$ref": "#"}}), "keyword '$ref' is not supported"),
    "a pattern": (definition(properties={"a": {"pattern": "(a+)+$"}}), "keyword 'pattern' is not supported"),
    "no schema": (definition(properties={"a": "string"}), "is no schema"),
    "empty enum": (definition(properties={"a": {"enum": []}}), "enum is no list"),
    "anyOf an object": (definition(properties={"a": {"anyOf": {}}}), "is no list"),
    "deep": (definition(properties={"a": nested(40)}), "levels"),
    "very deep": (definition(properties={"a": nested(900)}), "levels"),
    "wide": (definition(properties={f"a{n}": {} for n in range(MOST_NODES + 1)}), "more than 500 parts"),
    "a bomb": (definition(**shared(60)), "more than 500 parts"),
    "long": (definition(properties={"a": {"description": "x" * 40_000}}), "bytes, 32,768 are allowed"),
    "no JSON": (definition(properties={"a": {"default": {1, 2}}}), "is no JSON"),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_what_cannot_be_used_is_said_in_one_line(case):
    given, said = BAD[case]
    started = time.monotonic()
    found = fault(given)
    assert said in found and "\n" not in found and len(found) < 300
    assert time.monotonic() - started < 1
