"""Do a call's arguments fit the function's JSON Schema? The part of the schema language that tool signatures use.

Checked: type (also a list of types), enum, const, required, properties, additionalProperties, items, anyOf, oneOf,
minimum, maximum. Other keywords are passed over, as a validator does with formats it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# bool is an int in Python but not in JSON.
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int, float),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def _is(value: Any, name: str) -> bool:
    expected = _TYPES.get(name)
    if expected is None:
        return True  # an unknown type name says nothing
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()  # 3.0 is an integer in JSON Schema
    return isinstance(value, expected)


def violation(value: Any, schema: Any, depth: int = 0) -> str | None:
    """The first rule that `value` breaks, as one of the words below; None where it fits.

    wrong_type, not_in_enum, missing_required, unexpected_property, out_of_range, no_alternative, too_deep.
    """
    if depth > 50:
        return "too_deep"
    if not isinstance(schema, Mapping):
        return None  # true, or a signature without a schema
    named = schema.get("type")
    if named is not None:
        names = named if isinstance(named, list) else [named]
        if not any(_is(value, n) for n in names if isinstance(n, str)):
            return "wrong_type"
    choices = schema.get("enum")
    if isinstance(choices, list) and value not in choices:
        return "not_in_enum"
    if "const" in schema and value != schema["const"]:
        return "not_in_enum"
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = schema.get("minimum"), schema.get("maximum")
        if (isinstance(low, int | float) and value < low) or (isinstance(high, int | float) and value > high):
            return "out_of_range"
    for keyword in ("anyOf", "oneOf"):
        options = schema.get(keyword)
        if isinstance(options, list) and options:
            fits = sum(violation(value, option, depth + 1) is None for option in options)
            if fits == 0 or (keyword == "oneOf" and fits > 1):
                return "no_alternative"
    if isinstance(value, dict):
        return _object_violation(value, schema, depth)
    if isinstance(value, list) and "items" in schema:
        for item in value:
            if fault := violation(item, schema["items"], depth + 1):
                return fault
    return None


def _object_violation(value: dict[str, Any], schema: Mapping[str, Any], depth: int) -> str | None:
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    required = schema.get("required")
    if isinstance(required, list) and any(name not in value for name in required):
        return "missing_required"
    extra = schema.get("additionalProperties")
    for name, item in value.items():
        if name in properties:
            fault = violation(item, properties[name], depth + 1)
        elif extra is False or (extra is None and properties):
            # JSON Schema allows unknown properties; a function does not take unknown arguments.
            fault = "unexpected_property"
        else:
            fault = violation(item, extra, depth + 1)
        if fault:
            return fault
    return None
