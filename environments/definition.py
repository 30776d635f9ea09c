"""What a model is told of a tool: OpenAI's form, from a Python function or from somebody's JSON, and never a bomb.

A definition is `{"name", "description", "parameters": JSON Schema, "responses": JSON Schema}`; `responses` is left out
of what a model sees (`as_openai`).
"""

import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

# Bounds of a definition: our choice.
MOST_BYTES, MOST_DEPTH, MOST_NODES = 32_768, 12, 500
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
JSON_TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")
KEYWORDS = {
    "type", "description", "properties", "required", "items", "enum", "const", "anyOf", "oneOf", "minimum", "maximum",
    "additionalProperties", "default", "format", "title", "examples", "minItems", "maxItems", "minLength",
    "maxLength", "kind",
}  # fmt: skip
_PLAIN: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
_ARGUMENT = re.compile(r"^ {4}(\w+)(?: \([^)]*\))?: (.+(?:\n {5,}.+)*)", re.MULTILINE)


def from_function(function: Callable[..., Any]) -> dict[str, Any]:
    """A typed, documented function's definition.

    Types: str, int, float, bool, None, list[...], dict, Literal, unions, TypedDict; `Annotated[str, "city"]` adds the
    kind of thing a value is, by which calls can be chained. The description is the docstring's first paragraph, those
    of the arguments stand under "Args:". Raises ValueError, naming function and argument, if a type is missing or
    has no JSON form.
    """
    name = function.__name__
    text = inspect.getdoc(function) or ""
    if not text:
        raise ValueError(f"{name} has no docstring: a model would not know what it is for")
    head, _, rest = text.partition("\n\n")
    _, _, arguments = rest.partition("Args:\n")
    descriptions = {key: " ".join(value.split()) for key, value in _ARGUMENT.findall(arguments.partition("\n\n")[0])}
    hints = typing.get_type_hints(function, include_extras=True)
    properties, required = {}, []
    for key, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ValueError(f"{name}: {key} cannot be given by name")
        if key not in hints:
            raise ValueError(f"{name}: {key} has no type")
        properties[key] = _schema(hints[key], f"{name}: {key}") | (
            {"description": descriptions[key]} if key in descriptions else {}
        )
        if parameter.default is parameter.empty:
            required.append(key)
        elif parameter.default is not None:
            properties[key]["default"] = parameter.default
    if "return" not in hints:
        raise ValueError(f"{name} does not say what it returns")
    return {
        "name": name,
        "description": " ".join(head.split()),
        "parameters": {"type": "object", "properties": properties, "required": required},
        "responses": _schema(hints["return"], f"{name}: its result"),
    }


def as_openai(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The form of `tools=`: `{"type": "function", "function": {name, description, parameters}}`, without kinds."""
    shown = {key: _without_kind(definition[key]) for key in ("name", "description", "parameters")}
    return {"type": "function", "function": shown}


def fault(definition: Any) -> str:
    """ "" for a definition that can be used, else one line. What it costs is bounded, whatever comes."""
    if not isinstance(definition, dict):
        return "a definition is an object"
    name = definition.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return f"name {name!r:.80} is no function's name"
    if not isinstance(definition.get("description"), str) or not definition["description"].strip():
        return f"{name} has no description"
    parameters = definition.get("parameters")
    if not isinstance(parameters, dict) or parameters.get("type") != "object":
        return f"{name}: parameters is no JSON Schema of type object"
    for part in ("parameters", "responses"):
        if part in definition:
            budget = [MOST_NODES]
            if reason := _schema_fault(definition[part], budget, 0):
                return f"{name}: {part}: {reason}"
    try:
        size = len(json.dumps(definition))
    except (TypeError, ValueError):
        return f"{name} is no JSON"
    return f"{name} has {size:,} bytes, {MOST_BYTES:,} are allowed" if size > MOST_BYTES else ""


def _schema_fault(schema: Any, budget: list[int], depth: int) -> str:
    budget[0] -= 1
    if budget[0] < 0 or depth > MOST_DEPTH:
        return f"more than {MOST_NODES} parts or {MOST_DEPTH} levels"
    if isinstance(schema, bool):
        return ""
    if not isinstance(schema, dict):
        return f"{schema!r:.60} is no schema"
    for keyword in schema:
        if keyword not in KEYWORDS:  # $ref and pattern among them: what they cost is not bounded
            return f"keyword {keyword!r:.40} is not supported"
    named = schema.get("type", [])
    for kind in named if isinstance(named, list) else [named]:
        if kind not in JSON_TYPES:
            return f"type {kind!r:.40} is none of {', '.join(JSON_TYPES)}"
    properties = schema.get("properties", {})
    required = schema.get("required", [])
    if not isinstance(properties, dict) or not isinstance(required, list):
        return "properties is no object or required no list"
    for key in required:
        if not isinstance(key, str) or key not in properties:
            return f"required {key!r:.40} is no property"
    if "enum" in schema and (not isinstance(schema["enum"], list) or not schema["enum"]):
        return "enum is no list of values"
    alternatives = [schema.get(keyword, []) for keyword in ("anyOf", "oneOf")]
    if not all(isinstance(options, list) for options in alternatives):
        return "anyOf or oneOf is no list"
    inner = [*properties.values(), *alternatives[0], *alternatives[1]]
    inner += [schema[keyword] for keyword in ("items", "additionalProperties") if keyword in schema]
    return next((reason for part in inner if (reason := _schema_fault(part, budget, depth + 1))), "")


def _schema(hint: Any, where: str) -> dict[str, Any]:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        kinds = [extra for extra in parts[1:] if isinstance(extra, str)]
        return _schema(parts[0], where) | ({"kind": kinds[0]} if kinds else {})
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if origin is list:
        return {"type": "array", "items": _schema(parts[0], where)}
    if origin is typing.Literal:
        return {"type": _PLAIN[type(parts[0])], "enum": list(parts)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(part, where) for part in parts]}
    if hint is dict or origin is dict:
        return {"type": "object"}
    if typing.is_typeddict(hint):
        fields = typing.get_type_hints(hint, include_extras=True)
        properties = {key: _schema(value, f"{where}.{key}") for key, value in fields.items()}
        return {"type": "object", "properties": properties, "required": sorted(hint.__required_keys__)}
    raise ValueError(f"{where} has the type {hint!r}, which has no JSON form")


def _without_kind(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_kind(item) for key, item in value.items() if key != "kind" or not isinstance(item, str)}
    return [_without_kind(item) for item in value] if isinstance(value, list) else value
