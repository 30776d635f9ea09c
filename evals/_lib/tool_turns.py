"""Conversations with tools as plain turns, so that every chat template can render them.

lm-eval hands a chat template messages and never tools. Signatures are therefore written into the system turn, calls
and results into the turns' text, in the words of our published `chatml_tools` template.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

INTRODUCTION = "You may call functions to help the user. Their signatures are given as JSON within <tools></tools>:"
INSTRUCTION = (
    "To call one, write its name and arguments as JSON:\n"
    '<tool_call>\n{"name": "...", "arguments": {...}}\n</tool_call>'
)


dumps = partial(json.dumps, ensure_ascii=False)  # as transformers' `tojson`: blanks after comma and colon


def system_turn(tools: Sequence[Any], system: str | None = None) -> str:
    """The system turn that offers `tools`, behind an own system message where there is one."""
    listed = "".join(dumps(tool) + "\n" for tool in tools)
    head = f"{system}\n\n" if system is not None else ""
    return f"{head}{INTRODUCTION}\n<tools>\n{listed}</tools>\n{INSTRUCTION}"


def call_text(calls: Sequence[Mapping[str, Any]]) -> str:
    blocks = []
    for call in calls:
        function = call.get("function") or call
        arguments = function["arguments"]
        written = arguments if isinstance(arguments, str) else dumps(arguments)
        blocks.append(f'<tool_call>\n{{"name": {dumps(function["name"])}, "arguments": {written}}}\n</tool_call>')
    return "\n".join(blocks)


def plain_turns(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any]) -> list[dict[str, str]]:
    """The conversation as system, user and assistant turns of text; results become user turns."""
    turns: list[dict[str, str]] = []
    rest = list(messages)
    system = None
    if rest and rest[0]["role"] == "system":
        system = str(rest.pop(0)["content"] or "")
    if tools:
        turns.append({"role": "system", "content": system_turn(tools, system)})
    elif system is not None:
        turns.append({"role": "system", "content": system})
    previous = ""
    for message in rest:
        role, content = message["role"], message.get("content") or ""
        if role == "assistant" and message.get("tool_calls"):
            content = "\n".join(filter(None, (content, call_text(message["tool_calls"]))))
        elif role == "tool":
            content = f"\n<tool_response>\n{content}\n</tool_response>"
            if previous == "tool":
                turns[-1]["content"] += content
                continue
            content = content.removeprefix("\n")
        turns.append({"role": "user" if role == "tool" else role, "content": content})
        previous = role
    return turns
