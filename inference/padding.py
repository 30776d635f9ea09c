"""Arrow's padding: structs give every row the keys of all rows, absent ones as null."""

from __future__ import annotations

from typing import Any

ARGUMENTS = ("arguments", "parameters")
"""Keys of the arguments of a call."""


def padded(feature: Any, *path: str) -> bool:
    """True if the value at `path` below a column's feature lies in an Arrow struct, which pads absent keys with null.

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
