"""Corrupted rows: one fault each, of the kinds that an unverified pipeline stores: for ablations and for tests.

    before: get_status(flight="HW12")    after `made_up_argument`: get_status(flight="HW83")

Each function corrupts a valid row in place; conversation_checks finds every fault. Our choice.
"""

import copy
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from .._lib.conversation_checks import is_error, leaves
from .._lib.conversation_rows import Row, call, calls_of, identity, results_of


class NotApplicable(Exception):
    """The row has nothing that can be corrupted in this way."""


def _choice(options: Sequence[Any], rng: random.Random) -> Any:
    if not options:
        raise NotApplicable
    return rng.choice(options)


def made_up_argument(row: Row, rng: random.Random) -> None:
    """A text argument becomes another that nobody gave: its digits, or else its letters, are changed."""
    places = [
        (one["function"]["arguments"], key)
        for one in calls_of(row["messages"])
        for key, value in one["function"]["arguments"].items()
        if isinstance(value, str) and len(value) > 3
    ]
    arguments, key = _choice(places, rng)
    value = arguments[key]
    digits = [n for n, letter in enumerate(value) if letter.isdigit()]
    while arguments[key] == value:
        if digits:
            arguments[key] = "".join(str(rng.randrange(10)) if n in digits else c for n, c in enumerate(value))
        else:
            arguments[key] = "".join(chr(ord("a") + rng.randrange(26)) if c.isalpha() else c for c in value)


def function_not_offered(row: Row, rng: random.Random) -> None:
    """A function that is called is taken out of the list."""
    called = sorted({one["function"]["name"] for one in calls_of(row["messages"])})
    gone = _choice(called, rng)
    row["tools"] = [tool for tool in row["tools"] if tool["function"]["name"] != gone]


def argument_left_out(row: Row, rng: random.Random) -> None:
    """A call without one of its required arguments."""
    required = {t["function"]["name"]: t["function"]["parameters"].get("required", []) for t in row["tools"]}
    calls = [one["function"] for one in calls_of(row["messages"]) if required.get(one["function"]["name"])]
    chosen = _choice(calls, rng)
    del chosen["arguments"][rng.choice(required[chosen["name"]])]


def call_twice(row: Row, rng: random.Random) -> None:
    """A call is made again, with the same result."""
    results = results_of(row["messages"])
    places = [
        n
        for n, message in enumerate(row["messages"])
        if message.get("tool_calls") and not is_error(results.get(message["tool_calls"][-1]["id"]))
    ]
    place = _choice(places, rng)
    one = rng.choice([o for o in row["messages"][place]["tool_calls"] if not is_error(results.get(o["id"]))])
    number = row["n_calls"]
    again = call(number, one["function"]["name"], one["function"]["arguments"])
    message = next(m for m in row["messages"] if m.get("tool_call_id") == one["id"])
    after = place + 1 + len(row["messages"][place]["tool_calls"])
    row["messages"][after:after] = [
        {"role": "assistant", "content": "", "tool_calls": [again]}, message | {"tool_call_id": again["id"]},
    ]  # fmt: skip
    row["n_calls"] = number + 1


def answer_without_results(row: Row, rng: random.Random) -> None:
    """The last answer tells nothing of what was found."""
    results = results_of(row["messages"])
    if not results or not any(list(leaves(result)) for result in results.values()):
        raise NotApplicable
    row["messages"][-1]["content"] = rng.choice(("All of that is done.", "I have taken care of everything you asked."))


def result_is_text(row: Row, rng: random.Random) -> None:
    """A result is written as a sentence instead of JSON."""
    places = [m for m in row["messages"] if m["role"] == "tool"]
    chosen = _choice(places, rng)
    values = ", ".join(str(value) for _, value in leaves(json.loads(chosen["content"])))
    chosen["content"] = f"The function returned {values}."


FAULTS: dict[str, tuple[Callable[[Row, random.Random], None], str]] = {
    "made_up_argument": (made_up_argument, "provenance"),
    "function_not_offered": (function_not_offered, "calls"),
    "argument_left_out": (argument_left_out, "calls"),
    "call_twice": (call_twice, "needless"),
    "answer_without_results": (answer_without_results, "answer"),
    "result_is_text": (result_is_text, "results"),
}  # name -> (what it does, the check that finds it)


def corrupt(row: Row, rng: random.Random, fault: str | None = None) -> Row:
    """A copy of a row with one fault, `fault` or any that fits. Raises NotApplicable if none does."""
    names: list[Any] = [fault] if fault else rng.sample(sorted(FAULTS), len(FAULTS))
    for name in names:
        copied = copy.deepcopy(row)
        try:
            FAULTS[name][0](copied, rng)
        except NotApplicable:
            continue
        return copied | {"id": identity(copied["messages"], copied["tools"])}
    raise NotApplicable
