"""The row of all multi-turn function calling, whoever made it.

`messages` and `tools` are OpenAI's and TRL's: an assistant turn has `content` and perhaps `tool_calls`, each `{"id",
"type": "function", "function": {"name", "arguments": object}}`; a turn of role tool has `tool_call_id` and `content`,
a JSON text. Chat templates and TRL's trainers take them as they are. The first turn is the system's and says whether
calls may stand side by side (`parallel`), where that is known.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...hub_sync.text import utf8

if TYPE_CHECKING:
    from datasets import Features

Row = dict[str, Any]
Messages = Sequence[Mapping[str, Any]]

# Checks in the order in which they are made and counted (checks.py says what each means). A column of each holds ""
# where it passed, else the reason in one line.
CHECKS = ("definitions", "calls", "results", "provenance", "graph", "needless", "answer", "duplicate", "contamination")
COLUMNS = {
    "id": "16 hex digits of the SHA-256 of messages and tools",
    "messages": "turns with role and content, and tool_calls or tool_call_id; arguments are objects, results JSON",
    "tools": "functions on offer: {type: function, function: {name, description, parameters, perhaps responses}}",
    "parallel": "whether several calls may stand in one turn; null if not known",
    "composition": "shape of the calls, such as single, parallel or parallel_then_sequential; empty if not known",
    "variant": "`plain`, or what is changed: distractors, irrelevant, missing_parameter, missing_function, tool_error "
    "or noisy_output",
    "scenario": "where the task is set: names of worlds, or a phrase; empty if not known",
    "task": "the task in one text",
    "sub_tasks": "parts of the task in order, each a text; empty if not known",
    "plan": "typed graph of the calls (JSON); empty if there is none",
    "n_calls": "calls made",
    "n_user_turns": "turns of the user",
    "made_by": "who wrote the words: `templates`, or a model",
} | {
    f"check_{name}": f"empty if {meaning}, else the reason"
    for name, meaning in zip(
        CHECKS,
        (
            "each function on offer has a valid definition and a name of its own",
            "each call names a function on offer and its arguments fit the schema",
            "each call has an id of its own and one result, JSON that fits the schema where there is one",
            "each value of an argument was stated by the user, returned by an earlier call or declared",
            "the calls use one another's results as planned",
            "no call is repeated, except after an error, and each result is used",
            "each turn of the user is answered, and results that no call used are quoted",
            "no earlier row has nearly the same request",
            "no row of a test set has nearly the same request",
        ),
        strict=True,
    )
}
"""What the columns of `features` hold."""

# How an assistant begins, at any sentence, and how it asks back.
ASSISTANT = re.compile(
    r"^(sure|certainly|of course|absolutely|okay|ok|understood|i understand|i would be happy|i am seeking|"
    r"would you like|here is|here's|to (find|determine|get|check|look)\b)|(?:^|[.!?] )(i can|i will|i'll|i'd be)\b|"
    r"you would need|provide me with the necessary|please provide|provide the",
    re.IGNORECASE,
)

# A switch, in our words. Without it, of two rows that ask the same one would call side by side and one not.
SWITCH = {
    True: "Calls that do not need one another's results may stand side by side in one reply.",
    False: "Make one call in a reply, and wait for its result before the next.",
}


def system_turn(parallel: bool, before: str = "") -> dict[str, str]:
    """The system turn that says whether calls may stand side by side, after other words if there are some."""
    return {"role": "system", "content": f"{before}\n\n{SWITCH[parallel]}" if before else SWITCH[parallel]}


def without_switch(text: str) -> str:
    """What else a system turn says, "" for nothing."""
    for sentence in SWITCH.values():
        if text.endswith(sentence):
            return text.removesuffix(sentence).removesuffix("\n\n")
    return text


def features() -> Features:
    """Arrow features of every config."""
    from datasets import Features, Json, List, Value

    text, number = Value("string"), Value("int32")
    columns: dict[str, Any] = {
        "id": text,
        "messages": List(Json()),
        "tools": List(Json()),
        "parallel": Value("bool"),  # whether several calls may stand in one turn
        "composition": text,  # single, parallel, sequential, parallel_then_sequential, ...
        "variant": text,  # see variants.py
        "scenario": text,
        "task": text,  # the whole task in one text
        "sub_tasks": List(text),
        "plan": text,  # JSON: the typed graph of calls, "" if there is none
        "n_calls": number,
        "n_user_turns": number,
        "made_by": text,  # "templates", or the model with its revision
    }
    return Features(columns | {f"check_{name}": text for name in CHECKS})


def call(number: int, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A call of an assistant turn; `number` counts the calls of a conversation from 0."""
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": dict(arguments)}}


def calls_of(messages: Messages) -> list[dict[str, Any]]:
    """All calls of a conversation in order."""
    return [one for message in messages for one in message.get("tool_calls") or ()]


def results_of(messages: Messages) -> dict[str, Any]:
    """Result by call id, as parsed JSON, or as text where it is none."""
    results = {}
    for message in messages:
        if message["role"] == "tool":
            name = message.get("tool_call_id", "")
            try:
                results[name] = json.loads(message["content"])
            except (ValueError, RecursionError):
                results[name] = message["content"]
    return results


def identity(messages: Messages, tools: Sequence[Any]) -> str:
    """A row's id: 16 hexadecimal digits of its content's SHA-256."""
    text = json.dumps([list(messages), list(tools)], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(utf8(text)).hexdigest()[:16]
