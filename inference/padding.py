"""Arrow's padding: structs give every row the keys of all rows, absent ones as null."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..hub_sync.errors import RowRejected

ARGUMENTS = ("arguments", "parameters")
"""Keys of the arguments of a call."""


def padded(feature: Any, *path: str) -> bool:
    """True if the value at `path` below a column's feature lies in an Arrow struct.

    Args:
        feature: a `datasets` feature; lists on the way are passed through.
        path: keys, such as "tool_calls", "function", "arguments".
    """
    for key in (*path, None):
        while not isinstance(feature, dict) and (inner := _element(feature)) is not None:
            feature = inner
        if key is None or not isinstance(feature, dict):
            break
        feature = feature.get(key)
    return isinstance(feature, dict)


def pads_arguments(feature: Any) -> bool:
    """True if the arguments of calls in a column of turns lie in an Arrow struct."""
    at = (("tool_calls", "function"), ("tool_calls",), ("function_call",))
    return any(padded(feature, *path, key) for path in at for key in ARGUMENTS)


def _element(feature: Any) -> Any:
    if isinstance(feature, list):
        return feature[0] if feature else None
    return getattr(feature, "feature", None)


def has_null_key(value: Any) -> bool:
    if isinstance(value, dict):
        return any(item is None or has_null_key(item) for item in value.values())
    return isinstance(value, list) and any(map(has_null_key, value))


def unpadded(value: Any, schema: Any, root: Mapping[str, Any], changes: Counter[str] | None) -> Any:
    """A value without the null keys that its schema does not require. Raises RowRejected for a required one."""
    parts = list(schema_parts(schema, root))
    if isinstance(value, list):
        items: Any = next((part["items"] for part in parts if "items" in part), {})
        return [unpadded(item, items, root, changes) for item in value]
    if not isinstance(value, dict):
        return value
    read = {}
    for key, item in value.items():
        own: Any = next((p["properties"][key] for p in parts if key in (p.get("properties") or {})), {})
        if item is None:
            if not any(key in (part.get("required") or ()) for part in parts):
                if changes is not None:
                    changes["null arguments dropped"] += 1
                continue
            if not any(_takes_null(part) for part in schema_parts(own, root)):
                raise RowRejected("a required argument is null", key)
        read[key] = unpadded(item, own, root, changes)
    return read


def schema_parts(schema: Any, root: Mapping[str, Any], depth: int = 0) -> Any:
    """A schema and the ones it is put together from: local references, anyOf, oneOf and allOf."""
    if not isinstance(schema, dict) or depth > 16:
        return
    yield schema
    if isinstance(reference := schema.get("$ref"), str) and reference.startswith("#"):
        target: Any = root
        for key in reference.removeprefix("#").strip("/").split("/"):
            target = target.get(key) if key and isinstance(target, dict) else target
        yield from schema_parts(target, root, depth + 1)
    for word in ("anyOf", "oneOf", "allOf"):
        for one in schema.get(word) or ():
            yield from schema_parts(one, root, depth + 1)


def _takes_null(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    return "null" in (kind if isinstance(kind, list) else [kind]) or None in (schema.get("enum") or ())
