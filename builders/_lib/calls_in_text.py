"""Calls and results that stand in texts: `<tool_call>`, `<functioncall>`, `[f(a=1)]`, `<tool_response>`."""

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from ...environments.calls import python_calls
from ...hub_sync.errors import RowRejected
from ...inference.blocks import unfenced
from .sources import load_json

NAME_OF_CALLS = "tool_calls"
ARGUMENTS = ("arguments", "parameters", "args", "input")
_OPEN = re.compile(r"</?tool_call>|</?functioncall>")
_QUOTED = re.compile(r"(\"(?:arguments|parameters)\"\s*:\s*)'(.*)'(\s*\}\s*)\Z", re.DOTALL)


def blocks(text: str, opening: str, *closing: str, to_end: bool = False, mark: str = "") -> tuple[list[str], str]:
    """(what stands between the tags, the text without it), in time that is linear in the text, unlike `.*?`.

    Args:
        closing: any of these ends a block.
        to_end: the end of the text does as well.
        mark: stands in the text in place of a block.
    """
    inside_tags, rest, place = [], [], 0
    while (start := text.find(opening, place)) >= 0:
        inside = start + len(opening)
        ends = [(at, at + len(tag)) for tag in closing if (at := text.find(tag, inside)) >= 0]
        if not ends and not to_end:
            break
        end, after = min(ends, default=(len(text), len(text)))
        inside_tags.append(text[inside:end])
        rest += [text[place:start], mark]
        place = after
    return inside_tags, "".join([*rest, text[place:]])


def read_json(text: str) -> Any:
    """JSON, also in a fence, with `"arguments": '{...}'` as glaive writes it, or as a Python literal as Hermes does.

    Raises RowRejected.
    """
    text = unfenced(text)
    try:
        return load_json(text)
    except (ValueError, RecursionError):
        pass
    if quoted := _QUOTED.search(text) if len(text) < 20_000 else None:
        inner = quoted[2].replace("\\'", "'")
        try:
            return load_json(text[: quoted.start()] + quoted[1] + json.dumps(inner) + quoted[3])
        except (ValueError, RecursionError):
            raise RowRejected("call_not_json") from None
    try:
        value = ast.literal_eval(text) if len(text) < 100_000 else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = None
    if not isinstance(value, dict | list):
        raise RowRejected("call_not_json")
    return value


def as_calls(value: Any) -> list[dict[str, Any]]:
    """Calls as people write them, `{"name", "arguments"}` or `{"function": {...}}`, with arguments as objects.

    `parameters`, `args` and `input` are other names of the arguments. Raises RowRejected.
    """
    calls = value if isinstance(value, list) else [value]
    return [_as_call(one) for one in calls]


def _as_call(call: Any) -> dict[str, Any]:
    inner = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise RowRejected("call_without_name")
    sets = {key: inner[key] for key in ARGUMENTS if inner.get(key) is not None}
    if len(sets) > 1:
        raise RowRejected("call_with_two_sets_of_arguments")
    if not sets and not inner.keys() <= {"name", "id", "type", "index", *ARGUMENTS}:
        raise RowRejected("call_without_arguments")
    arguments: Any = next(iter(sets.values()), {})
    if isinstance(arguments, str):
        try:
            arguments = load_json(arguments) if arguments.strip() else {}
        except (ValueError, RecursionError):
            raise RowRejected("arguments_not_json") from None
    named = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return named | {"type": "function", "function": {"name": inner["name"], "arguments": arguments}}


def calls_in(text: str, names: set[str]) -> tuple[str, list[Any]]:
    """(the words around the calls, the calls as they stand) of an assistant's text; no calls: ([text], []).

    Calls are what stands in tags, a text that is nothing but calls of offered functions in Python's form, and one that
    is nothing but a JSON object with such a name and arguments.

    Raises RowRejected for a tag that is not closed or holds no JSON.
    """
    for bodies, rest in (
        blocks(text, "<tool_call>", "</tool_call>"),
        blocks(text, "<functioncall>", "</functioncall>", "<|endoftext|>", to_end=True),
    ):
        if bodies:
            if _OPEN.search(rest):
                raise RowRejected("call_not_closed")
            return rest.strip(), [call for block in bodies for call in as_calls(read_json(block))]
    if _OPEN.search(text):
        raise RowRejected("call_not_closed")
    return (text, []) if not (calls := _bare(text.strip(), names)) else ("", calls)


def _bare(text: str, names: set[str]) -> list[Any]:
    if names and text.startswith("[") and text.endswith(")]"):
        return _python(text, names)
    if text[:1] in "[{" and text:
        try:
            value = load_json(text)
        except (ValueError, RecursionError):
            return []
        calls = value if isinstance(value, list) else [value]
        if calls and all(isinstance(one, dict) and _is_call(one, names) for one in calls):
            return as_calls(calls)
    return []


def _is_call(value: dict[str, Any], names: set[str]) -> bool:
    keys = value.keys() - {"name"}
    return isinstance(value.get("name"), str) and value["name"] in names and len(keys) == 1 and keys <= set(ARGUMENTS)


def _python(text: str, names: set[str]) -> list[Any]:
    """`[f(a=1), Get Trend(b="x")]`: names of offered functions may be any text. Not a list of calls: []."""
    stands: dict[str, str] = {}
    for number, name in enumerate(sorted(names, key=len, reverse=True)):
        stands[f"hw_function_{number}"] = name
        text = re.sub(rf"(?<=[\[,])(\s*){re.escape(name)}(?=\s*\()", rf"\g<1>hw_function_{number}", text)
    try:
        calls = python_calls(text)
    except ValueError:
        raise RowRejected("call_not_readable") from None
    if any(call.name not in stands for call in calls):
        raise RowRejected("unknown_function")
    if any(call.positional for call in calls):
        raise RowRejected("arguments_without_names")
    plain_calls = [{"name": stands[call.name], "arguments": _listed(call.arguments)} for call in calls]
    if "hw_function_" in json.dumps(plain_calls, default=str):
        raise RowRejected("call_not_readable")  # a text that looks like a call within an argument
    return as_calls(plain_calls)


def _listed(value: Any) -> Any:
    """Tuples as JSON has them."""
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def result_texts(text: str, expected: int = 1) -> list[str]:
    """The results in a turn: one for each `<tool_response>`; the items of a JSON list if so many are `expected`, as in
    ToolACE; else the text. Raises RowRejected for words beside the tags.
    """
    bodies, rest = blocks(text, "<tool_response>", "</tool_response>")
    if bodies and rest.strip():
        raise RowRejected("words_beside_results")
    if not bodies and expected > 1:
        try:
            value = load_json(text)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, list) and len(value) == expected:
            return [json.dumps(one, ensure_ascii=False) for one in value]
    return [block.strip() for block in bodies] or [text]
