"""Functions as xLAM, ToolACE, BFCL, glaive, Anthropic and OpenAI describe them."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from pydantic import TypeAdapter

from hubwright.environments.schema import argument_violation, violation
from hubwright.environments.signatures import as_function, json_schema
from hubwright.hub_sync.errors import RowRejected


def parameters(tool: Any) -> Any:
    return as_function(tool)["function"]["parameters"]


def test_as_function_xlam_parameters_become_a_schema() -> None:
    found = parameters(
        {
            "name": "live_giveaways_by_type",
            "description": "Retrieve live giveaways.",
            "parameters": {
                "type": {"description": "The type of giveaways.", "type": "str", "default": "game"},
                "limit": {"description": "How many.", "type": "int, optional"},
                "cities": {"description": "Where.", "type": "List[str]"},
            },
        }
    )
    assert found == {
        "type": "object",
        "properties": {
            "type": {"type": "string", "description": "The type of giveaways.", "default": "game"},
            "limit": {"type": "integer", "description": "How many."},
            "cities": {"type": "array", "items": {"type": "string"}, "description": "Where."},
        },
        "required": ["cities"],
    }
    assert argument_violation({"type": "beta", "cities": ["Rome"]}, found) is None
    assert argument_violation({"type": 1, "cities": ["Rome"]}, found) == "wrong_type"


def test_as_function_toolace_and_bfcl_types_are_mapped_at_any_depth() -> None:
    found = parameters(
        {
            "name": "plan",
            "description": None,
            "parameters": {
                "type": "dict",
                "properties": {
                    "budget": {"type": "float", "description": "EUR"},
                    "corner": {"type": "tuple", "items": {"type": "float"}},
                    "extra": {"type": "any"},
                    "stops": {"type": "array", "items": {"type": "dict", "properties": {"type": {"type": "String"}}}},
                },
                "required": ["budget"],
            },
            "required": None,
        }
    )
    assert found["type"] == "object" and found["properties"] == {
        "budget": {"type": "number", "description": "EUR"},
        "corner": {"type": "array", "items": {"type": "number"}},
        "extra": {},
        "stops": {"type": "array", "items": {"type": "object", "properties": {"type": {"type": "string"}}}},
    }
    assert (
        argument_violation({"budget": 2, "corner": [1.0, 2], "extra": None, "stops": [{"type": "x"}]}, found) is None
    )


@pytest.mark.parametrize("key", ["parameters", "input_schema", "inputSchema"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_as_function_names_of_the_schema_are_read(key: str, wrapped: bool) -> None:
    function = {"name": "f", "description": "d", key: {"type": "object", "properties": {"a": {"type": "string"}}}}
    tool = {"type": "function", "function": function} if wrapped else function
    assert parameters(tool) == {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.mark.parametrize("none", [None, {}, "", [], {"type": "object"}, "{}", {"type": "object", "properties": None}])
def test_as_function_without_parameters_takes_none(none: Any) -> None:
    assert parameters({"name": "f", "parameters": none}) == {"type": "object", "properties": {}}


def test_as_function_flags_of_properties_become_the_list_of_required_ones() -> None:
    given = {"type": "object", "properties": {"a": {"type": "string", "required": True}, "b": {"required": False}}}
    assert parameters({"name": "f", "parameters": given}) == {
        "type": "object", "properties": {"a": {"type": "string"}, "b": {}}, "required": ["a"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tool", "reason"),
    [
        ({"name": " "}, "tool_without_name"),
        ("f", "tool_without_name"),
        ({"name": "f", "parameters": "none"}, "tool_parameters_not_a_schema"),
        ({"name": "f", "parameters": {"type": "string"}}, "tool_parameters_not_a_schema"),
        ({"name": "f", "parameters": {"a": {"type": "np.ndarray"}}}, "tool_type_unknown"),
        ({"name": "f", "parameters": {"a": {"type": "Callable[[float], float]"}}}, "tool_type_unknown"),
        (
            {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": {"x": 1}}}}},
            "tool_type_unknown",
        ),
        ({"name": "f", "parameters": {"type": "object", "properties": {"a": {"enum": 1}}}}, "tool_schema_invalid"),
        ({"name": "f", "parameters": {"properties": {"a": {"$ref": "http://x/y"}}}}, "tool_schema_reference_outside"),
    ],
)
def test_as_function_what_is_no_function_is_a_reason(tool: Any, reason: str) -> None:
    with pytest.raises(RowRejected, match=f"^{reason}$"):
        as_function(tool)


VALUES: list[Any] = [
    None, True, 0, 1, -2, 1.5, "", "x", [], [1], ["x"], [1, 2], [1.5, 2.0], [[1, 2]], [None], {}, {"a": 1}, {"a": "x"},
    {"a": [1.5]}, [{"a": 1}],
]  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    [
        "str", "int", "float", "bool", "list", "dict", "List[int]", "Dict[str, int]", "Optional[str]", "List[List[int]]",
        "Union[int, str]", "List[Union[int, str]]", "Tuple[float, float]", "Tuple[int, ...]", "Any", "str | None",
        "Optional[List[str]]", "Dict[str, Any]", "Dict[str, List[float]]", "List[Dict[str, int]]", "Literal['x', 'y']",
    ],
)  # fmt: skip
def test_json_schema_of_a_python_type_takes_what_pydantic_takes(kind: str) -> None:
    """Pydantic reads the type itself and writes it as JSON Schema; both schemas have to agree on every value."""
    adapter = TypeAdapter(eval(kind, vars(typing) | {"list": list, "dict": dict}))
    peer = adapter.json_schema()
    for value in VALUES:
        assert (violation(value, json_schema({"type": kind})) is None) == (violation(value, peer) is None), value
