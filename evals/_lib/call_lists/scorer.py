"""The score of one reply that lists calls. Needs neither lm-eval nor torch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..tool_calls import canonical, parse
from .micro import Tally, tally

Calls = Sequence[Mapping[str, Any]]


def text_of(value: Any) -> str:
    """An argument as compared text: 5, 5.0 and "5" are equal, since some gold calls give numbers as text."""
    return value if isinstance(value, str) else canonical(value)


def score(gold: Calls, reply: str) -> tuple[dict[str, float], dict[str, Tally]]:
    """(values to average, tallies to add up) of one reply.

    Averaged: `format_acc`, the reply has calls and all are readable; `call_exact`, and they are the gold ones, in any
    order. Added up: `tool`, names of functions; `param`, (function, parameter, value), of all that is readable.

    Args:
        gold: `{"name", "arguments"}` of each call.
        reply: what the model wrote; read by `tool_calls.parse`.
    """
    result = parse(reply)
    tools = tally((call["name"] for call in result.calls), (call["name"] for call in gold))
    params = tally(_parameters(result.calls), _parameters(gold))
    exact = result.valid and sorted(map(whole, result.calls)) == sorted(map(whole, gold))
    return {"format_acc": float(result.valid), "call_exact": float(exact)}, {"tool": tools, "param": params}


def _parameters(calls: Calls) -> Iterator[tuple[str, str, str]]:
    return ((call["name"], key, text_of(value)) for call in calls for key, value in call["arguments"].items())


def whole(call: Mapping[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    """A call as a value that is equal for equal calls."""
    return call["name"], sorted((key, text_of(value)) for key, value in call["arguments"].items())
