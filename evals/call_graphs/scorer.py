"""The calls of a turn, made in the worlds as they are before it. Needs neither lm-eval nor torch."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ...environments.sandbox import Sandbox
from .._lib.tool_calls import canonical


def calls_made(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The calls of a conversation that gave a result; one that failed changed nothing."""
    calls: dict[str, dict[str, Any]] = {}
    for message in messages:
        for call in message.get("tool_calls") or ():
            calls[call["id"]] = call["function"]
        if message["role"] == "tool" and set(json.loads(message["content"])) == {"error"}:
            calls.pop(message["tool_call_id"])
    return list(calls.values())


def replay(box: Sandbox, document: Mapping[str, Any], calls: Iterable[Mapping[str, Any]]) -> list[str] | None:
    """What the calls give, sorted, in the worlds as they are before a turn; None where one fails or is not offered."""
    offered = {tool["function"]["name"] for tool in json.loads(document["tools"])}
    box.call("begin", {"seed": document["seed"]})
    for call in json.loads(document["before"]):
        box.call(call["name"], call["arguments"])
    result = []
    for call in calls:
        if call["name"] not in offered:
            return None
        outcome = box.call(call["name"], dict(call["arguments"]))
        if not outcome.ok:
            return None
        result.append(canonical(outcome.value))
    return sorted(result)
