"""Seal-Tools' own records as definitions and rows, and what is wrong with them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ...hub_sync.errors import DataError

TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object"}
PYTHON: dict[str, Any] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict,
}  # fmt: skip
# What a few parameters have beyond a type and a description, and JSON Schema's word for it.
EXTRAS = {
    "default": "default", "choices": "enum", "example": "examples", "examples": "examples",
    "example_values": "examples",
}  # fmt: skip
RESULT = re.compile(r"API_call_(\d+)")


def definition(record: Mapping[str, Any]) -> dict[str, Any]:
    """A tool's record as `{"name", "description", "parameters", "responses"}`, both of these JSON Schema.

    Raises DataError for a type that is none of Seal-Tools'.
    """
    name = record["api_name"]
    return {
        "name": name,
        "description": record["api_description"],
        "parameters": _object(name, record["parameters"]) | {"required": list(record["required"])},
        "responses": _object(name, record["responses"]),
    }


def _object(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {key: _field(f"{name}.{key}", field) for key, field in fields.items()}}


def _field(where: str, field: Mapping[str, Any]) -> dict[str, Any]:
    if field["type"] not in TYPES:
        raise DataError(f"{where}: type {field['type']!r} is none of {', '.join(TYPES)}")
    description = field["description"] + (f" (unit: {field['unit']})" if "unit" in field else "")
    schema = {"type": TYPES[field["type"]], "description": description}
    for key, keyword in EXTRAS.items():
        if key in field:
            one = keyword == "default" or isinstance(field[key], list)
            schema[keyword] = field[key] if one else [field[key]]
    return schema


def references(value: Any) -> list[int]:
    """Numbers of the results that an argument names, wherever in it they stand."""
    if isinstance(value, str):
        return [int(number) for number in RESULT.findall(value)]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [number for part in inner for number in references(part)]


def faults(calling: list[dict[str, Any]], tools: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """(kind, where) of what does not fit in an instance's calls.

    unknown_tool, unknown_parameter, missing_parameter: against the definitions. other_type: a value that neither has
    the defined type nor names a result. results: a call's results are not numbered on from the call before, one for
    each of the function's responses. later_result: an argument names a result that is not there yet.
    """
    n_results = 0
    for call in calling:
        name, arguments = call["api"], call["parameters"]
        for key, value in arguments.items():
            if any(number >= n_results for number in references(value)):
                yield "later_result", f"{name}.{key}"
        tool = tools.get(name)
        expected = len(call["responses"] if tool is None else tool["responses"]["properties"])
        if call["responses"] != [f"API_call_{n_results + number}" for number in range(expected)]:
            yield "results", name
        n_results += len(call["responses"])
        if tool is None:
            yield "unknown_tool", name
            continue
        properties = tool["parameters"]["properties"]
        for key, value in arguments.items():
            if key not in properties:
                yield "unknown_parameter", f"{name}.{key}"
            elif not references(value) and not _has_type(value, properties[key]["type"]):
                yield "other_type", f"{name}.{key}"
        for key in tool["parameters"]["required"]:
            if key not in arguments:
                yield "missing_parameter", f"{name}.{key}"


def _has_type(value: Any, named: str) -> bool:
    return isinstance(value, PYTHON[named]) and (named == "boolean" or not isinstance(value, bool))
