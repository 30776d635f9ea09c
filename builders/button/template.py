"""BUTTONInstruct's textual form (BUTTON, arXiv 2410.12952), read into OpenAI's and written from it.

There a conversation is text alone: the system turn lists the functions in `<tool>`, an assistant turn is prose and
then `<call>[{"name", "arguments"}, ...]</call>` or `<final>...</final>`, and a tool turn is a JSON list of `{"name",
"arguments", "results"}` in the order of the calls. A definition has a flat map of `parameters` and one of `responses`
where JSON Schema has an object.

    parts = from_button(record)          # messages, tools, parallel; RowRejected where it is no such record
    record = to_button(row)              # the very text of an imported row, or our own template

The rows have no place for the system turn's wording, the prose before a final answer or the spacing of JSON. An
imported row keeps its line in `original`, and `to_button` gives that back as long as the row still says the same.
Text of our own template needs none: it is read and written again byte for byte.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from ...hub_sync.errors import RowRejected
from ...hub_sync.json_columns import unstorable
from .._lib.conversation_rows import SWITCH, Messages, call, results_of, system_turn, without_switch
from .._lib.sources import load_json

PREAMBLE = "You complete tasks by calling functions. These are the functions that you have, as a JSON list:\n<tool>\n"
RULES = (
    "\n</tool>\nBegin every reply with what you observe and what you intend. End it in one of two ways: with the "
    'calls to be made now, <call>[{"name": "...", "arguments": {...}}]</call>, each to a function of the list with '
    "arguments that fit its definition; or, when nothing is left to call, with <final>your answer</final>.\n"
)
ALIASES = {
    "str": "string", "text": "string", "int": "integer", "float": "number", "double": "number", "bool": "boolean",
    "list": "array", "dict": "object", "map": "object", "none": "null",
}  # fmt: skip
NO_TYPES = ("enum", "anyOf", "any")  # BUTTON's names for what JSON Schema says by a keyword, or not at all
DEEPEST, LARGEST = 50, 2**63  # levels of JSON, and the integers that Arrow's Json columns hold
_TOOL = re.compile(r"<tool>(.*?)</tool>", re.DOTALL)
_TAG = re.compile(r"<(?=/?(?:tool|call|final)>)")
_OFF = re.compile(r"at a time|wait for|one call|not\b[^.]*\bparallel", re.IGNORECASE)


def to_button(row: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a row: {"messages": [{"role", "content": str}]}, roles system, user, assistant and tool."""
    original = row.get("original")
    if original:
        record: dict[str, Any] = load_json(original)
        parts = from_button(record)
        if all(parts[name] == row[name] for name in parts):
            return record
    definitions = json.dumps([flat_of(tool["function"]) for tool in row["tools"]], ensure_ascii=False)
    system = PREAMBLE + _TAG.sub(r"\\u003c", definitions) + RULES + SWITCH[row["parallel"] is not False]
    messages = list(row["messages"])
    if messages and messages[0]["role"] == "system":
        before = without_switch(messages.pop(0)["content"])
        system = f"{before}\n\n{system}" if before else system
    return {"messages": [{"role": "system", "content": system}, *_turns(messages)]}


def _turns(messages: Messages) -> list[dict[str, str]]:
    results = results_of(messages)
    turns: list[dict[str, str]] = []
    for message in messages:
        if message["role"] == "tool":
            continue  # written with its call
        text, calls = message["content"], message.get("tool_calls") or ()
        if calls:
            plain_calls = [{name: one["function"][name] for name in ("name", "arguments")} for one in calls]
            written = _TAG.sub(r"\\u003c", json.dumps(plain_calls, ensure_ascii=False))
            turns.append({"role": "assistant", "content": f"{text}<call>{written}</call>"})
            answered = [
                plain_call | {"results": results[one["id"]]}
                for plain_call, one in zip(plain_calls, calls, strict=True)
                if one["id"] in results
            ]
            if answered:
                turns.append({"role": "tool", "content": json.dumps(answered, ensure_ascii=False)})
        elif message["role"] == "assistant":
            turns.append({"role": "assistant", "content": f"<final>{text}</final>"})
        else:
            turns.append({"role": message["role"], "content": text})
    return turns


def from_button(record: Any) -> dict[str, Any]:
    """`messages`, `tools` and `parallel` of a record; the last is None if nothing tells it.

    Of the system turn the messages have what stands before our own template, and whether calls may stand side by side,
    in our words. A final turn's content is the answer alone. Whether calls fit their functions is left to the checks.
    Raises RowRejected.
    """
    turns = record.get("messages") if isinstance(record, dict) else None
    if not isinstance(turns, list) or not turns:
        raise RowRejected("no_messages")
    for turn in turns:
        if not isinstance(turn, dict) or not isinstance(turn.get("role"), str):
            raise RowRejected("turn_without_role")
        if not isinstance(turn.get("content"), str):
            raise RowRejected("turn_without_text")
    if turns[0]["role"] not in ("system", "systems"):  # the second by a slip in the authors' own example
        raise RowRejected("no_system_turn")
    system = turns[0]["content"]
    before, own_template, _ = system.partition(PREAMBLE)
    tools = read_tools(system.removeprefix(before) if own_template else system)
    before = before.removesuffix("\n\n") if own_template else ""
    messages = _read_turns(turns[1:])
    parallel = _switch(system, any(len(message.get("tool_calls", ())) > 1 for message in messages))
    if parallel is not None:
        messages.insert(0, system_turn(parallel, before))
    elif before:
        messages.insert(0, {"role": "system", "content": before})
    if why := unstorable([messages, tools]):
        raise RowRejected(why)
    return {"messages": messages, "tools": tools, "parallel": parallel}


def _switch(system: str, several: bool) -> bool | None:
    for value, sentence in SWITCH.items():
        if system.endswith(RULES + sentence):
            return value
    rules = system.rpartition("</tool>")[2]
    if several:
        return True
    if _OFF.search(rules):
        return False
    return True if "parallel" in rules.lower() else None


def _read_turns(turns: list[dict[str, str]]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    pending: list[dict[str, Any]] = []
    n_calls, may_speak = 0, "user"
    for turn in turns:
        role, text = turn["role"], turn["content"]
        if role != may_speak:
            raise RowRejected("turns_out_of_order")
        if role == "user":
            messages.append({"role": "user", "content": text})
            may_speak = "assistant"
        elif role == "tool":
            messages += _read_results(text, pending)
            may_speak = "assistant"
        else:
            prose, calls = _read_reply(text)
            pending = [call(n_calls + n, one["name"], one["arguments"]) for n, one in enumerate(calls)]
            n_calls += len(pending)
            messages.append({"role": "assistant", "content": prose} | ({"tool_calls": pending} if pending else {}))
            may_speak = "tool" if pending else "user"
    if not messages or may_speak != "user":
        raise RowRejected("does_not_end_with_final")
    return messages


def _read_reply(text: str) -> tuple[str, list[dict[str, Any]]]:
    """(prose, calls) of a turn that ends in a call, else (the final answer, [])."""
    body = text.rstrip()
    if body.endswith("</call>") and "<call>" in body:
        prose, _, written = body.removesuffix("</call>").rpartition("<call>")
        calls = _load(written, "call_not_json")
        if not isinstance(calls, list) or not calls:
            raise RowRejected("call_not_a_list")
        for one in calls:
            if not isinstance(one, dict) or not isinstance(one.get("name"), str):
                raise RowRejected("call_without_name")
            if not isinstance(one.setdefault("arguments", {}), dict):
                raise RowRejected("arguments_not_an_object")
        return prose, calls
    if body.endswith("</final>") and "<final>" in body:
        return body.removesuffix("</final>").partition("<final>")[2], []
    raise RowRejected("neither_call_nor_final")


def _read_results(text: str, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    results = _load(text, "results_not_json")
    if not isinstance(results, list) or len(results) != len(calls):
        raise RowRejected("results_do_not_match_calls")
    messages = []
    for result, one in zip(results, calls, strict=True):
        if not isinstance(result, dict) or "results" not in result or result.get("name") != one["function"]["name"]:
            raise RowRejected("results_do_not_match_calls")
        content = json.dumps(result["results"], ensure_ascii=False)
        messages.append({"role": "tool", "tool_call_id": one["id"], "content": content})
    return messages


def read_tools(system: str) -> list[dict[str, Any]]:
    """The functions in a system turn's `<tool>` blocks, lists of definitions or definitions one behind the other, in
    OpenAI's form. Raises RowRejected."""
    definitions: list[Any] = []
    for block in _TOOL.findall(system):
        rest = block.strip()
        while rest:
            try:
                value, end = json.JSONDecoder().raw_decode(rest)
            except (ValueError, RecursionError) as error:
                raise RowRejected("tools_not_json") from error
            definitions += value if isinstance(value, list) else [value]
            rest = rest[end:].lstrip(", \t\r\n")
    if not definitions:
        raise RowRejected("no_tool_list")
    tools: list[dict[str, Any]] = [{"type": "function", "function": definition_of(one)} for one in definitions]
    if len({tool["function"]["name"] for tool in tools}) < len(tools):
        raise RowRejected("tool_names_not_unique")
    return tools


def definition_of(value: Any) -> dict[str, Any]:
    """A definition as `environments.definition` has it from one of BUTTON's, or from one with JSON Schemas already.

    Raises RowRejected if it cannot be read; whether it is a good one, `environments.definition.fault` tells.
    """
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not value["name"]:
        raise RowRejected("tool_without_name")
    description = value.get("description")
    definition: dict[str, Any] = {
        "name": value["name"],
        "description": description if isinstance(description, str) else "",
    }
    definition["parameters"] = _object(value.get("parameters") or {}, value.get("required"))
    if value.get("responses") is not None:
        definition["responses"] = _object(value["responses"], None)
    return definition


def _object(part: Any, required: Any) -> dict[str, Any]:
    """The schema of a flat map of parameters, or of what is an object's schema already."""
    if not isinstance(part, dict):
        raise RowRejected("parameters_not_a_map")
    if isinstance(part.get("type"), str) and isinstance(part.get("properties"), dict):
        return _schema(part) | ({"required": required} if required and "required" not in part else {})
    if isinstance(part.get("required"), list):  # among the parameters, as some write it
        required = part["required"]
        part = {name: field for name, field in part.items() if name != "required"}
    properties, needed = {}, list(required) if isinstance(required, list) else []
    for name, field in part.items():
        if isinstance(field, str) and (field in ALIASES or field in ALIASES.values()):
            field = {"type": field}
        if not isinstance(field, dict):
            raise RowRejected("parameters_not_a_map")
        properties[name] = _schema(field)
        if isinstance(field.get("required"), bool):  # a mark at the parameter, as some write it
            del properties[name]["required"]
            needed += [name] if field["required"] and name not in needed else []
    return {"type": "object", "properties": properties, "required": needed}


def _schema(part: Any, depth: int = 0) -> Any:
    """JSON Schema of one parameter in BUTTON's words."""
    if depth > DEEPEST:
        raise RowRejected("nested_too_deeply")
    if not isinstance(part, dict):
        return part
    schema: dict[str, Any] = {}
    for key, value in part.items():
        if key == "type" and isinstance(value, str):
            if value not in NO_TYPES:
                schema[key] = ALIASES.get(value, value)
        elif key == "properties" and isinstance(value, dict):
            schema[key] = {name: _schema(inner, depth + 1) for name, inner in value.items()}
        elif key in ("anyOf", "oneOf") and isinstance(value, list):
            schema[key] = [_schema(inner, depth + 1) for inner in value]
        else:
            schema[key] = _schema(value, depth + 1) if key in ("items", "additionalProperties") else value
    return schema


def flat_of(definition: Mapping[str, Any]) -> dict[str, Any]:
    """A definition in BUTTON's form; a schema that says more than a flat map can stays as it is."""
    flat: dict[str, Any] = {"name": definition["name"], "description": definition["description"]}
    for part in ("parameters", "responses"):
        schema = definition.get(part)
        if schema is None:
            continue
        properties = schema.get("properties", {})
        plain = schema.get("type") == "object" and set(schema) <= {"type", "properties", "required"}
        plain = plain and all(isinstance(inner, dict) for inner in properties.values())
        if plain and (part == "parameters" or not schema.get("required")):
            flat[part] = properties
            flat |= {"required": schema.get("required", [])} if part == "parameters" else {}
        else:
            flat[part] = dict(schema)
    return flat


def _load(text: str, reason: str) -> Any:
    try:
        return load_json(text)
    except (ValueError, RecursionError) as error:
        raise RowRejected(reason) from error
