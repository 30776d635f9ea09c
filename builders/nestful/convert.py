"""NESTFUL's own records as definitions and rows, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...environments.signatures import TYPES

KEPT = ("description", "enum", "default", "format", "minimum", "maximum")
REFERENCE = re.compile(r"\$var(\d+)(?:\.([^$]*))?\$")  # $var1$, $var1.field$, $var1.list[0].field$
RESULT = "var_result"  # what the whole answer is made of; no function


def definition(record: Mapping[str, Any]) -> dict[str, Any]:
    """A specification as `{"name", "description", "parameters", "responses"}`, both of these JSON Schema."""
    needed = [key for key, said in record["query_parameters"].items() if said.get("required") is True]
    return {
        "name": record["name"],
        "description": record["description"],
        "parameters": _object(record["query_parameters"]) | {"required": needed},
        "responses": _object(record["output_parameters"]),
    }


def _object(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {key: schema(said) for key, said in fields.items()}}


def schema(said: Any) -> dict[str, Any]:
    """A field's description as JSON Schema. A bare word is a type, Python's mapped; any other word is text."""
    if not isinstance(said, Mapping):
        said = {"type": said}
    found: dict[str, Any] = {}
    if "type" in said:
        found["type"] = TYPES.get(str(said["type"]).lower(), "string")
    found |= {key: said[key] for key in KEPT if key in said}
    if said.get("allowed_values"):
        found["enum"] = list(said["allowed_values"])
    if "default_value" in said:
        found["default"] = said["default_value"]
    if "example" in said:
        found["examples"] = [said["example"]]
    if isinstance(said.get("properties"), Mapping):
        found["properties"] = {key: schema(inner) for key, inner in said["properties"].items()}
        if isinstance(said.get("required"), list):
            found["required"] = said["required"]
    if said.get("items"):
        found["items"] = schema(said["items"])
    return found


def references(value: Any) -> list[tuple[int, str]]:
    """(number of the call, path of the field or "") of the results that an argument names."""
    if isinstance(value, str):
        return [(int(number), path) for number, path in REFERENCE.findall(value)]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for part in inner for found in references(part)]


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
        known = tools[name]["parameters"]
        yield from (("unknown_parameter", f"{name}.{key}") for key in arguments if key not in known["properties"])
        yield from (("missing_parameter", f"{name}.{key}") for key in known["required"] if key not in arguments)
