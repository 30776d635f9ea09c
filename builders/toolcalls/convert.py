"""One ShareGPT record with tools to one row in OpenAI's and TRL's conversational form, or the reason why not.

In: `{"conversations": [{"from": "human" | "gpt" | "function_call" | "observation" | "system", "value": str}, ...],
"tools": JSON text or list}`, the form in which LLaMA-Factory and others ship glaive-function-calling-v2.
Out: `messages` with `tool_calls` and `role: tool`, `tools` as JSON Schemas.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from ...hub_sync.text import is_well_formed, utf8
from ...tools.schema import argument_violation
from ...tools.signatures import Unreadable, as_function
from ..sources import load_json

ROLES = {"human": "user", "gpt": "assistant", "system": "system"}
_CJK = re.compile(r"[\u3400-\u9fff]")


class Rejected(ValueError):
    """A record that does not become a row; the text is a reason that is counted."""


def convert(record: Any) -> dict[str, Any]:
    """A record's row: id, messages, tools, n_tools, n_calls, language. Raises Rejected with a countable reason."""
    if not isinstance(record, dict) or not isinstance(record.get("conversations"), list):
        raise Rejected("no_conversation")
    tools = read_tools(record.get("tools"))
    messages = read_messages(record["conversations"], tools)
    text = "".join(m["content"] for m in messages if m["role"] != "system")
    canonical = json.dumps([messages, tools], sort_keys=True, ensure_ascii=False)
    if not is_well_formed(canonical):
        raise Rejected("text_not_unicode")
    return {
        "id": hashlib.sha256(utf8(canonical)).hexdigest()[:16],
        "messages": messages,
        "tools": tools,
        "n_tools": len(tools),
        "n_calls": sum(len(m.get("tool_calls", ())) for m in messages),
        "language": "zh" if len(_CJK.findall(text)) > 0.1 * len(text) else "en",
    }


def read_tools(value: Any) -> list[dict[str, Any]]:
    """Signatures as `{"type": "function", "function": {name, description, parameters}}`; Rejected if malformed."""
    try:
        tools = load_json(value) if isinstance(value, str) and value.strip() else (value or [])
    except (ValueError, RecursionError) as error:
        raise Rejected("tools_not_json") from error
    if not isinstance(tools, list):
        raise Rejected("tools_not_a_list")
    try:
        read = [as_function(tool) for tool in tools]
    except Unreadable as reason:
        raise Rejected(str(reason)) from reason
    if len({t["function"]["name"] for t in read}) < len(read):
        raise Rejected("tool_names_not_unique")
    return read


def read_messages(turns: list[Any], tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The turns in TRL's form. Rejected where roles, order, names or arguments are wrong."""
    messages: list[dict[str, Any]] = []
    pending: list[str] = []  # names of calls whose results are still to come
    for turn in turns:
        role, value = (turn.get("from"), turn.get("value")) if isinstance(turn, dict) else (None, None)
        if not isinstance(value, str):
            raise Rejected("turn_without_text")
        last = messages[-1]["role"] if messages else ""
        if pending and role != "observation":
            raise Rejected("call_without_result")
        if role == "function_call":
            if last not in ("user", "tool"):
                raise Rejected("call_out_of_order")
            calls = read_calls(value, tools)
            pending = [call["function"]["name"] for call in calls]
            messages.append({"role": "assistant", "content": "", "tool_calls": calls})
        elif role == "observation":
            if not pending:
                raise Rejected("result_without_call")
            messages.append({"role": "tool", "name": pending.pop(0), "content": value})
        elif role in ROLES:
            mapped = ROLES[role]
            follows = {"user": ("", "system", "assistant"), "assistant": ("user", "tool"), "system": ("",)}
            if last not in follows[mapped]:
                raise Rejected("turns_out_of_order")
            if not value.strip():
                raise Rejected("empty_turn")
            messages.append({"role": mapped, "content": value})
        else:
            raise Rejected("unknown_role")
    if not messages or messages[-1]["role"] != "assistant":
        raise Rejected("does_not_end_with_assistant")
    if "tool_calls" in messages[-1]:
        raise Rejected("call_without_result")
    return messages


def read_calls(text: str, tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The call or list of calls in a `function_call` turn, validated against the signatures."""
    try:
        value = load_json(text)
    except (ValueError, RecursionError) as error:
        raise Rejected("call_not_json") from error
    calls = value if isinstance(value, list) else [value]
    if not calls:
        raise Rejected("call_not_json")
    schemas = {t["function"]["name"]: t["function"]["parameters"] for t in tools}
    read = []
    for call in calls:
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            raise Rejected("call_without_name")
        name, arguments = call["name"], call.get("arguments", {})
        if isinstance(arguments, str):
            try:
                arguments = load_json(arguments)
            except (ValueError, RecursionError) as error:
                raise Rejected("arguments_not_json") from error
        if not isinstance(arguments, dict):
            raise Rejected("arguments_not_an_object")
        if name not in schemas:
            raise Rejected("unknown_function")
        if fault := argument_violation(arguments, schemas[name]):
            raise Rejected(f"arguments_{fault}")
        read.append({"type": "function", "function": {"name": name, "arguments": arguments}})
    return read
