"""Exact scoring of tool calls, without lm-eval and torch.

A call is a JSON object with `name` and `arguments`, within `<tool_call></tool_call>`, in a code block or as the whole
answer; not in a thought. Names and arguments are compared as JSON values: 3 equals 3.0, true is not 1, the order of
keys and of parallel calls does not count.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...environments.schema import canonical
from ...inference.blocks import fences, unfenced
from ...inference.reasoning import answer_of
from .call_lists.micro import f1, tally

METRICS = ("call_exact", "call_name", "call_valid", "call_argument_f1", "call_missing", "no_call", "empty")

_BLOCK = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_TAGGED = ("tool_call", "tool_calls")  # labels of a fence that say what `<tool_call>` does
_LABELS = ("", "json")
# Fields of a call in the forms that models and servers write.
_KEYS = set("name arguments parameters id call_id tool_call_id type function index thought".split())


@dataclass(frozen=True)
class Prediction:
    """The readable `calls` of a response, whether it `attempted` any, and whether all are `valid`."""

    calls: tuple[dict[str, Any], ...]
    attempted: bool
    valid: bool


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _read(text: str) -> list[dict[str, Any]] | None:
    """The calls in a JSON text, None where it is not JSON or not a call."""
    try:
        value = json.loads(text.strip(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    calls = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict) and isinstance(item.get("function"), dict):
            item = item["function"]
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            return None
        arguments = item.get("arguments", item.get("parameters", {}))
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments, parse_constant=_refuse)
            except (ValueError, RecursionError):
                return None
        if not isinstance(arguments, dict):
            return None
        calls.append({"name": item["name"], "arguments": arguments})
    return calls or None


def parse(response: str) -> Prediction:
    """The calls of a response.

    Everything within a tag, or a fence labelled as one, is a call, readable or not. JSON elsewhere is calls only if
    each object has nothing but a call's fields, and among words only with `arguments`: a record with a `name` is none,
    nor is a tool's definition.
    """
    text = answer_of(response)
    fenced = fences(text)
    blocks = [unfenced(block) for block in _BLOCK.findall(text)] or [f.body for f in fenced if f.label in _TAGGED]
    if blocks:
        read = [_read(block) for block in blocks]
        calls = tuple(call for part in read if part for call in part)
        return Prediction(calls, True, all(part is not None for part in read))
    parts = _read(unfenced(text)) if _calls_only(unfenced(text), bare=True) else None
    if not parts:
        bodies = [fence.body for fence in fenced if fence.label in _LABELS]
        parts = [call for body in bodies if _calls_only(body, bare=False) for call in _read(body) or ()]
    return Prediction(tuple(parts), bool(parts), bool(parts))


def _calls_only(text: str, *, bare: bool) -> bool:
    """True for a JSON text that is nothing but calls. Definitions of tools are none.

    Args:
        bare: the text is the whole answer: a name alone is a call, and a call may have further fields beside
            `arguments`.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    items = value if isinstance(value, list) else [value]
    return bool(items) and all(isinstance(item, dict) and _is_call(item, bare=bare) for item in items)


def _is_call(item: Mapping[str, Any], *, bare: bool) -> bool:
    wrapped = isinstance(item.get("function"), dict)
    call = item["function"] if wrapped else item
    schema = call["parameters"] if isinstance(call.get("parameters"), dict) else {}
    if schema.get("type") in ("object", "dict") and isinstance(schema.get("properties"), dict):
        return False  # a function's definition
    has_arguments = wrapped or "arguments" in call or "parameters" in call
    return (item.keys() <= _KEYS and (bare or has_arguments)) or (bare and "arguments" in call)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, value) of every leaf; empty objects and lists are leaves too."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _leaves(part, f"{path}/{key}")
    elif isinstance(value, list) and value:
        for number, part in enumerate(value):
            yield from _leaves(part, f"{path}/{number}")
    else:
        yield path, canonical(value)


def argument_f1(predicted: Sequence[Mapping[str, Any]], gold: Sequence[Mapping[str, Any]]) -> float:
    """F1, 0 to 1, of the leaves (function name, path, value) over all calls of a turn; a name alone is a leaf."""

    def leaves(calls: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
        return ((c["name"], path, value) for c in calls for path, value in _leaves(c["arguments"]))

    return f1([tally(leaves(predicted), leaves(gold))])


def score(gold: Sequence[Mapping[str, Any]], response: str) -> dict[str, float]:
    """Metrics of one response; each 0 or 1 but `call_argument_f1`.

    Args:
        gold: `{"name", "arguments"}` of the calls that are right here; empty where an answer in words is right.
        response: what the model wrote.

    Where calls are right: `call_exact` (same names and arguments), `call_name` (same names), `call_valid` (readable
    JSON), `call_argument_f1`, `call_missing` (none attempted). Where words are right: `no_call`. Always: `empty`.
    """
    prediction = parse(response)
    has_text = bool(answer_of(response).strip())
    empty = {"empty": float(not has_text)}
    if not gold:
        # Silence is no restraint: an empty answer, or a thought alone, does not count as a good answer in words.
        return {"no_call": float(not prediction.attempted and has_text)} | empty
    right = [{"name": c["name"], "arguments": c["arguments"]} for c in gold]
    names = Counter(c["name"] for c in prediction.calls) == Counter(c["name"] for c in right)
    same = Counter(map(canonical, prediction.calls)) == Counter(map(canonical, right))
    return {
        "call_exact": float(prediction.valid and same),
        "call_name": float(names),
        "call_valid": float(prediction.valid),
        "call_argument_f1": argument_f1(prediction.calls, gold),
        "call_missing": float(not prediction.attempted),
    } | empty
