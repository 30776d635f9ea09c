"""Functions as public data sets describe them, in OpenAI's form with JSON Schema.

Read: OpenAI's `{"type": "function", "function": {...}}`, the bare function (glaive, ToolACE), `input_schema` or
`inputSchema` (Anthropic, MCP), and xLAM's parameters without a schema around them, `{"city": {"type": "str, optional",
"description": ...}}`. Types of Python and of others are mapped: `str`, `dict`, `float`, `tuple`, `any`, `List[int]`,
`Optional[str]`, `Union[int, str]`, `STRING`.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from ..hub_sync.errors import RowRejected
from .definition import JSON_TYPES
from .schema import MOST_DEPTH, schema_fault

TYPES = {name: name for name in JSON_TYPES} | {
    "str": "string", "text": "string", "char": "string", "int": "integer", "long": "integer", "float": "number",
    "double": "number", "bool": "boolean", "list": "array", "tuple": "array", "set": "array", "sequence": "array",
    "arraylist": "array", "dict": "object", "dictionary": "object", "map": "object", "hashmap": "object",
    "none": "null", "nonetype": "null",
}  # fmt: skip
ANY = ("any", "enum")  # says nothing; what an enumeration allows stands in `enum`

# Keywords by what they hold: one schema, a list of schemas, schemas by name.
_ONE = ("items", "additionalProperties", "not", "contains", "if", "then", "else", "propertyNames")
_MANY = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_SUFFIX = re.compile(r"\s*[,(]\s*(optional|required|default\b.*?)\s*\)?\s*$", re.IGNORECASE)


def as_function(tool: Any) -> dict[str, Any]:
    """`{"type": "function", "function": {name, description, parameters}}`, `parameters` a JSON Schema of an object.

    Raises RowRejected: tool_without_name, tool_parameters_not_a_schema, tool_type_unknown, and "tool_" with a word of
    `schema_fault`.
    """
    function = tool.get("function") or tool if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"].strip():
        raise RowRejected("tool_without_name")
    schema: Any = next(
        (function[key] for key in ("parameters", "input_schema", "inputSchema") if function.get(key)), {}
    )
    parameters = _parameters(schema)
    required = function.get("required")
    if isinstance(required, list) and required and "required" not in parameters:  # beside the parameters in ToolACE
        parameters = _checked(parameters | {"required": required})
    description = function.get("description") or ""
    return {
        "type": "function",
        "function": {
            "name": function["name"],
            "description": description if isinstance(description, str) else json.dumps(description),
            "parameters": parameters,
        },
    }


def _checked(parameters: dict[str, Any]) -> dict[str, Any]:
    if fault := schema_fault(parameters):
        raise RowRejected(f"tool_{fault}")
    return parameters


def _parameters(schema: Any) -> dict[str, Any]:
    """A schema, or its JSON text, as a checked JSON Schema of an object; of equal ones the same object."""
    try:
        text = schema if isinstance(schema, str) else orjson.dumps(schema, option=orjson.OPT_PASSTHROUGH_SUBCLASS)
    except TypeError:
        text = b""
    # NaN becomes null as well, and what is large is not worth its memory.
    odd = isinstance(text, bytes) and (not text or b"null" in text)
    return _read(schema) if odd or len(text) > 10_000 else _remembered(text)


@lru_cache(1024)
def _remembered(text: str | bytes) -> dict[str, Any]:
    return _read(text)


def _read(schema: Any) -> dict[str, Any]:
    return _checked(_schema_of(_parsed(schema)))


def _parsed(value: Any) -> Mapping[str, Any]:
    if isinstance(value, str | bytes):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RowRejected("tool_parameters_not_a_schema") from None
    if not isinstance(value, Mapping):
        raise RowRejected("tool_parameters_not_a_schema")
    return value


def _schema_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    if schema and all(_is_field(value) for value in schema.values()):
        schema = {
            "type": "object",
            "properties": schema,
            "required": [k for k, v in schema.items() if not _optional(v)],
        }
    result = json_schema(schema)
    if result.setdefault("type", "object") != "object":
        raise RowRejected("tool_parameters_not_a_schema")
    if not any(key in result for key in (*_NAMED, *_MANY, "$ref")):
        result["properties"] = {}
    return result


def _is_field(value: Any) -> bool:
    """Is it a parameter's description, not a keyword's value?"""
    return isinstance(value, Mapping) and any(isinstance(value.get(key), str) for key in ("type", "description"))


def _optional(field: Mapping[str, Any]) -> bool:
    kind = field.get("type")
    text = str(kind).lower() if isinstance(kind, str) else ""
    return "default" in field or "optional" in text or "default" in text or field.get("required") is False


def json_schema(schema: Any, depth: int = 0) -> Any:
    """A schema with JSON Schema's types at any depth; a property that is called `type` stays one.

    Keywords that are null are left out (Arrow's structs fill them in), and a property's own `required: true` becomes
    an entry of the list around it. Raises RowRejected("tool_type_unknown").
    """
    if not isinstance(schema, Mapping):
        return schema
    if depth > MOST_DEPTH:
        raise RowRejected("tool_schema_too_deep")
    result = {key: value for key, value in schema.items() if value is not None or key in ("default", "const")}
    properties = result.get("properties")
    if isinstance(properties, Mapping):
        result |= _required(result.get("required"), properties)
        named = {k: _without_flag(v) for k, v in properties.items() if v is not None}
        result["properties"] = named
    for key in _ONE:
        if key in result:
            result[key] = json_schema(result[key], depth + 1)
    for key in _MANY:
        if isinstance(result.get(key), list):
            result[key] = [json_schema(one, depth + 1) for one in result[key]]
    for key in _NAMED:
        if isinstance(result.get(key), Mapping):
            result[key] = {name: json_schema(one, depth + 1) for name, one in result[key].items()}
    kind = result.pop("type", None)
    if isinstance(kind, list):
        return _either([_type(one, 0) for one in kind]) | result
    return (_type(kind, 0) if kind is not None else {}) | result


def _required(required: Any, properties: Mapping[str, Any]) -> dict[str, Any]:
    flagged = [k for k, v in properties.items() if isinstance(v, Mapping) and v.get("required") is True]
    if not flagged or not isinstance(required, list | None):
        return {}
    return {"required": [*(required or ()), *(name for name in flagged if name not in (required or ()))]}


def _without_flag(value: Any) -> Any:
    if isinstance(value, Mapping) and isinstance(value.get("required"), bool):
        return {key: item for key, item in value.items() if key != "required"}
    return value


def _type(text: Any, depth: int) -> dict[str, Any]:
    """The schema that a type's name says: `int`, `List[str]`, `Optional[int]`, `str | None`, `int, optional`."""
    if not isinstance(text, str) or depth > 8 or len(text) > 500:
        raise RowRejected("tool_type_unknown")
    while (shorter := _SUFFIX.sub("", text)) != text:
        text = shorter
    text = text.strip()
    if len(parts := _split(text, "|")) > 1 or (len(parts := re.split(r"\s+or\s+", text)) > 1 and "[" not in text):
        return _either([_type(part, depth + 1) for part in parts])
    name, bracket, inside = text.partition("[")
    name = name.strip().lower().removeprefix("typing.")
    if not bracket:
        if name in ANY or not name:
            return {}
        if name not in TYPES:
            raise RowRejected("tool_type_unknown")
        return {"type": TYPES[name]}
    if not inside.endswith("]"):
        raise RowRejected("tool_type_unknown")
    if name == "literal":
        return {"enum": _literals(inside[:-1])}
    inner = _split(inside[:-1], ",")
    if name in ("optional", "union"):
        return _either([_type(part, depth + 1) for part in inner] + [{"type": "null"}] * (name == "optional"))
    kind = TYPES.get(name)
    if kind == "array" and (len(inner) == 1 or inner[1:] == ["..."]):
        return {"type": "array", "items": _type(inner[0], depth + 1)}
    if kind == "array" and name == "tuple":
        return {
            "type": "array",
            "prefixItems": [_type(part, depth + 1) for part in inner],
            "minItems": len(inner),
            "maxItems": len(inner),
        }
    if kind == "object" and len(inner) == 2:
        return {"type": "object", "additionalProperties": _type(inner[1], depth + 1)}
    raise RowRejected("tool_type_unknown")


def _either(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """One schema that allows what any of them allows."""
    if {} in schemas:
        return {}
    if all(list(one) == ["type"] and isinstance(one["type"], str) for one in schemas):
        return {"type": list(dict.fromkeys(one["type"] for one in schemas))}
    return {"anyOf": schemas}


def _split(text: str, mark: str) -> list[str]:
    """The parts between marks that stand in no brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[(") - (character in "])")
        if character == mark and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _literals(text: str) -> list[Any]:
    try:
        values = json.loads("[" + text.replace("'", '"') + "]")
    except ValueError:
        raise RowRejected("tool_type_unknown") from None
    return list(values)
