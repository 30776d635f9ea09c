"""One record of a public format to one row in OpenAI's and TRL's conversational form, or the reason why not.

Out: `messages` with `tool_calls` and `role: tool`, `tools` as JSON Schemas. `formats.py` says what is read.
"""

import hashlib
import json
from collections import Counter
from functools import lru_cache
from typing import Any

import orjson

from ...environments.schema import argument_violation, schema_fault
from ...environments.signatures import as_function
from ...hub_sync.errors import RowRejected
from ...hub_sync.json_columns import unstorable
from ...hub_sync.text import utf8
from .language import language_of
from .tool_formats import read_record

FOLLOWS = {
    "system": ("",), "developer": ("",), "user": ("", "system", "developer", "assistant"),
    "assistant": ("user", "tool"), "tool": ("assistant", "tool"),
}  # fmt: skip

_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, check_circular=False).encode
_TYPES = {"string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,)}
_PLAIN = {"type", "description", "title"}


def convert(record: Any, language: str | None = None, changes: Counter[str] | None = None) -> dict[str, Any]:
    """A record's row: id, messages, tools, n_tools, n_calls, language. Raises RowRejected with a countable reason.

    Args:
        language: of texts whose script does not tell it; None: "und".
        changes: gets what was done to the row, by kind, if it is not rejected.
    """
    done: Counter[str] = Counter()
    turns, offered = read_record(record, done)
    tools = read_tools(offered)
    if any(map(_is_mapped, offered, tools)):
        done["types of parameters mapped to JSON Schema"] += 1
    messages = read_messages(turns, tools)
    if why := unstorable([messages, tools]):
        raise RowRejected(f"text_{why}" if why == "not_unicode" else f"value_{why}")
    spoken = "".join(m["content"] for m in messages if m["role"] in ("user", "assistant"))
    canonical = _CANONICAL([messages, tools])
    if changes is not None:
        changes.update(dict.fromkeys(done, 1))
    return {
        "id": hashlib.sha256(utf8(canonical)).hexdigest()[:16],
        "messages": messages,
        "tools": tools,
        "n_tools": len(tools),
        "n_calls": sum(len(m.get("tool_calls", ())) for m in messages),
        "language": language_of(spoken, language),
    }


def _is_mapped(signature: dict[str, Any], read: dict[str, Any]) -> bool:
    """Did the signature's parameters change?"""
    parameters = (signature.get("function") or signature).get("parameters")
    return bool(parameters) and parameters != read["function"]["parameters"]


def read_tools(offered: list[Any]) -> list[dict[str, Any]]:
    """Signatures as `{"type": "function", "function": {name, description, parameters}}`; RowRejected if malformed."""
    read = [as_function(tool) for tool in offered]
    if len({t["function"]["name"] for t in read}) < len(read):
        raise RowRejected("tool_names_not_unique")
    return read


def read_messages(turns: list[dict[str, Any]], tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The turns in TRL's form. RowRejected if roles, order, names or arguments are wrong.

    Results are in the order of their calls, as ids are left out. A conversation may end with calls.
    """
    messages: list[dict[str, Any]] = []
    pending: list[tuple[str, str]] = []  # (id, name) of calls whose results are still to come
    for turn in turns:
        role, text = turn["role"], turn["content"]
        last = messages[-1]["role"] if messages else ""
        if role not in FOLLOWS:
            raise RowRejected("unknown_role")
        if role == "tool":
            if not pending:
                raise RowRejected("result_without_call")
            place = _place(turn, pending)
            messages.append({"role": "tool", "name": pending.pop(place)[1], "content": text})
            continue
        if pending:
            raise RowRejected("call_without_result")
        calls = turn.get("tool_calls") or ()
        if last not in FOLLOWS[role]:
            raise RowRejected("call_out_of_order" if calls else "turns_out_of_order")
        if not text.strip() and not calls:
            raise RowRejected("empty_turn")
        message: dict[str, Any] = {"role": role, "content": text}
        if turn.get("reasoning_content"):
            message["reasoning_content"] = turn["reasoning_content"]
        if turn.get("weight") == 0:
            message["weight"] = 0
        if calls:
            message["tool_calls"] = [read_call(call, tools) for call in calls]
            names = [call["function"]["name"] for call in message["tool_calls"]]
            pending = [(str(call.get("id") or ""), name) for call, name in zip(calls, names, strict=True)]
        messages.append(message)
    if not messages or messages[-1]["role"] != "assistant":
        raise RowRejected("does_not_end_with_assistant")
    return messages


def _place(turn: dict[str, Any], pending: list[tuple[str, str]]) -> int:
    """Index of the pending call that a result belongs to: by id, else the next one. Raises RowRejected."""
    call_id = turn.get("tool_call_id")
    if call_id and any(one for one, _ in pending):
        place = next((n for n, (one, _) in enumerate(pending) if one == call_id), None)
        if place is None:
            raise RowRejected("result_of_an_unknown_call")
        if place:
            raise RowRejected("results_out_of_order")
    return 0


def read_call(call: Any, tools: list[dict[str, Any]]) -> dict[str, Any]:
    """One call, validated against the signatures."""
    schemas = {t["function"]["name"]: t["function"]["parameters"] for t in tools}
    inner = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        raise RowRejected("call_without_name")
    name, arguments = inner["name"], inner.get("arguments", {})
    if not isinstance(arguments, dict):
        raise RowRejected("arguments_not_an_object")
    if name not in schemas:
        raise RowRejected("unknown_function")
    if not _fits(arguments, schemas[name]) and (fault := argument_violation(arguments, schemas[name])):
        raise RowRejected(f"arguments_{fault}")
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def _fits(arguments: dict[str, Any], schema: Any) -> bool:
    """True for small arguments that fit a plain schema; false says nothing. A fraction of a validator's time."""
    try:
        small = len(orjson.dumps(arguments)) < 10_000
        types, required = _plain(orjson.dumps(schema))
    except TypeError:
        return False
    known = all(type(value) in types.get(key, ()) for key, value in arguments.items())
    return small and known and required <= arguments.keys()


@lru_cache(1024)
def _plain(schema: bytes) -> tuple[dict[str, tuple[type, ...]], set[str]]:
    """(types by parameter, required parameters) of a schema that says no more; of any other nothing fits."""
    read = orjson.loads(schema)
    try:
        fields = read["properties"]
        plain = {name: _TYPES[field["type"]] for name, field in fields.items() if field.keys() <= _PLAIN}
        object_alone = read.get("type") == "object" and read.keys() <= {"properties", "required", *_PLAIN}
        if object_alone and not schema_fault(read):
            return plain, set(read.get("required", ()))
    except (KeyError, TypeError, AttributeError):
        pass
    return {}, {""}
