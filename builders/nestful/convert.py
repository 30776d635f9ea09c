"""NESTFUL's own records as definitions and rows, and what is wrong with them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...environments.signatures import TYPES

KEPT = ("description", "enum", "default", "format", "minimum", "maximum")
REFERENCE = re.compile(r"\$var(\d+)(?:\.([^$]*))?\$")  # $var1$, $var1.field$, $var1.list[0].field$
RESULT = "var_result"  # what the whole answer is made of; no function


def definition(record: Mapping[str, Any]) -> dict[str, Any]:
    """A specification as `{"name", "description", "parameters", "responses"}`, both of these JSON Schema."""
    needed = [key for key, field in record["query_parameters"].items() if field.get("required") is True]
    return {
        "name": record["name"],
        "description": record["description"],
        "parameters": _object(record["query_parameters"]) | {"required": needed},
        "responses": _object(record["output_parameters"]),
    }


def _object(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {key: schema(field) for key, field in fields.items()}}


def schema(field: Any) -> dict[str, Any]:
    """A field's description as JSON Schema. A bare word is a type, Python's mapped; any other word is text."""
    if not isinstance(field, Mapping):
        field = {"type": field}
    result: dict[str, Any] = {}
    if "type" in field:
        result["type"] = TYPES.get(str(field["type"]).lower(), "string")
    result |= {key: field[key] for key in KEPT if key in field}
    if field.get("allowed_values"):
        result["enum"] = list(field["allowed_values"])
    if "default_value" in field:
        result["default"] = field["default_value"]
    if "example" in field:
        result["examples"] = [field["example"]]
    if isinstance(field.get("properties"), Mapping):
        result["properties"] = {key: schema(inner) for key, inner in field["properties"].items()}
        if isinstance(field.get("required"), list):
            result["required"] = field["required"]
    if field.get("items"):
        result["items"] = schema(field["items"])
    return result


def references(value: Any) -> list[tuple[int, str]]:
    """(number of the call, path of the field or "") of the results that an argument names."""
    if isinstance(value, str):
        return [(int(number), path) for number, path in REFERENCE.findall(value)]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [reference for part in inner for reference in references(part)]


def faults(calls: Sequence[Mapping[str, Any]], tools: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """(kind, where) of what does not fit in a row's calls.

    unknown_tool, unknown_parameter, missing_parameter: against the definitions. label: a call is not named by its
    number. later_result: an argument names a result that is not there yet. unknown_field: one that its function's
    results lack.
    """
    for number, call in enumerate(calls, 1):
        name, arguments = call["name"], call["arguments"]
        if call.get("label") != f"var{number}":
            yield "label", f"{name} is {call.get('label')} instead of var{number}"
        for key, value in arguments.items():
            for named, path in references(value):
                if not 1 <= named < number:
                    yield "later_result", f"{name}.{key}"
                    continue
                giver = tools.get(calls[named - 1]["name"])
                field = re.split(r"[.\[]", path)[0]
                if giver is not None and field and field not in giver["responses"]["properties"]:
                    yield "unknown_field", f"{name}.{key}: {giver['name']}.{field}"
        if name not in tools:
            yield "unknown_tool", name
            continue
        parameters = tools[name]["parameters"]
        yield from (("unknown_parameter", f"{name}.{key}") for key in arguments if key not in parameters["properties"])
        yield from (("missing_parameter", f"{name}.{key}") for key in parameters["required"] if key not in arguments)
