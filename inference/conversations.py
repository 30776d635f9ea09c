"""Conversations in the forms of people's data sets, read into the one form of chat templates.

In: OpenAI's messages, ShareGPT's `from` and `value`, or JSON text of either, with content as text or as parts, and
arguments as an object or as JSON text. Out: turns with text content and calls with arguments as objects. What cannot
be read without a guess is refused with a reason that is counted.

Arrow structs give every row the keys of all rows, absent ones as null. In a column of structs null keys are therefore
padding: `padding.padded` tells whether a column is one.

    >>> read_messages('[{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]', [])
    [{'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Hello'}]

Sources: OpenAI's fine-tuning format (`weight`, content parts, arguments as JSON text), `trl.data_utils` (from and
value, implicit prompts), transformers' chat templates (arguments as objects, text parts joined without a separator).
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..hub_sync.errors import RowRejected
from .padding import ARGUMENTS, has_null_key, schema_parts, unpadded

ROLES = {
    "system": "system", "developer": "developer", "human": "user", "user": "user", "gpt": "assistant",
    "chatgpt": "assistant", "bot": "assistant", "model": "assistant", "assistant": "assistant", "tool": "tool",
    "function": "tool", "function_response": "tool", "observation": "tool", "ipython": "tool", "tool_response": "tool",
    "function_call": "assistant", "tool_call": "assistant",
}  # fmt: skip
"""The role by the names that formats give it. Another role is the template's to render or to refuse."""
_TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text"}
_CALL_ROLES = ("function_call", "tool_call")  # of LLaMA-Factory and ms-swift: the content is the call
_BESIDE = {"name", "id", "call_id", "type", "index"}  # what a call without arguments may say
_LEARNT = ("train", "training", "loss")  # of axolotl and ms-swift
_WEIGHTS = frozenset(("weight", *_LEARNT, "train_detail", "training_detail"))
THOUGHT = ("reasoning_content", "reasoning", "thinking")
_SURROGATE = re.compile("[\ud800-\udfff]")

Turn = dict[str, Any]
Changes = Counter[str]


def read_tools(value: Any, is_padded: bool = False, changes: Changes | None = None) -> list[dict[str, Any]]:
    """The functions that a row offers; [] for null. Raises RowRejected.

    Args:
        value: a list of objects, or JSON text of one, or a list of JSON texts.
        is_padded: the column is one of structs: null keys are dropped.
    """
    if value is None or value == "":
        return []
    if isinstance(value, str):
        value, is_padded = _parse(value, "tools are not JSON"), False
    if not isinstance(value, list):
        raise RowRejected("tools are not a list", value)
    tools: list[dict[str, Any]] = []
    for tool in value:
        if isinstance(tool, str):
            tool = _parse(tool, "tools are not JSON")
        if not isinstance(tool, dict):
            raise RowRejected("a tool is not an object", tool)
        if is_padded:
            tool = _without_null_keys(tool)
        function = tool.get("function", tool)
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise RowRejected("a tool has no name", tool)
        if isinstance(function.get("parameters"), str):
            function = function | {"parameters": _parse(function["parameters"], "parameters of a tool are not JSON")}
            tool = tool | {"function": function} if "function" in tool else function
            note(changes, "JSON text read")
        tools.append(tool)
    return tools


def _without_null_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_null_keys(item) for key, item in value.items() if item is not None}
    return [_without_null_keys(item) for item in value] if isinstance(value, list) else value


def read_messages(
    value: Any,
    tools: Sequence[Mapping[str, Any]],
    *,
    is_padded: bool = False,
    empty_answers: bool = False,
    changes: Changes | None = None,
) -> list[Turn]:
    """The turns of a conversation: `role`, `content` (text), perhaps `tool_calls`, `weight: 0` and other keys.

    Args:
        value: a list of turns, or JSON text of one.
        tools: of the row, from `read_tools`: their schemas say which null arguments are padding.
        is_padded: arguments lie in an Arrow struct.
        empty_answers: an assistant's turn may be empty text, as in a rejected response.
        changes: gets the number of changes by kind.
    """
    if isinstance(value, str):
        value, is_padded = _parse(value, "turns are text that is not JSON"), False
        note(changes, "JSON text read")
    if value is None:
        raise RowRejected("null in place of turns")
    if isinstance(value, dict):
        value = value.get("messages", [value])
    if not isinstance(value, list) or not value:
        raise RowRejected("turns are not a list with something in it", value)
    schemas = {str(f.get("name")): f.get("parameters") for f in (tool.get("function", tool) for tool in tools)}
    turns: list[Turn] = []
    for turn in value:
        read = _turn(turn, schemas, is_padded, empty_answers, changes)
        if (
            _is_call(turn)
            and turns
            and turns[-1]["role"] == "assistant"
            and turns[-1].get("weight") == read.get("weight")
        ):
            turns[-1] = turns[-1] | {"tool_calls": [*turns[-1].get("tool_calls", []), *read["tool_calls"]]}
        else:
            turns.append(read)
    return turns


def with_system(turns: list[Turn], system: Any, changes: Changes | None = None) -> list[Turn]:
    """Turns that begin with the system text of a column of its own (text or None). Raises RowRejected."""
    if system is None or (turns[0]["role"] == "system" and turns[0]["content"] == system):
        return turns
    if not isinstance(system, str) or turns[0]["role"] == "system":
        raise RowRejected("the column system is not text, or says other than the system turn", system)
    note(changes, "system text put first")
    return [{"role": "system", "content": system}, *turns]


def is_turns(value: Any) -> bool:
    """True for a list of turns, one turn, and JSON text of a list of turns; false for other text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return False
        return isinstance(value, list) and bool(value) and _looks_like_turn(value[0])
    return isinstance(value, list) or _looks_like_turn(value)


def _looks_like_turn(value: Any) -> bool:
    return isinstance(value, dict) and ("role" in value or "from" in value)


def _is_call(turn: Mapping[str, Any]) -> bool:
    return str(turn.get("role") or turn.get("from")).lower() in _CALL_ROLES


def _turn(
    turn: Any, schemas: Mapping[str, Any], is_padded: bool, empty_answers: bool, changes: Changes | None
) -> Turn:
    if not isinstance(turn, dict):
        raise RowRejected("a turn is not an object", turn)
    # At the level of a turn null says nothing in any of the formats, except of the content.
    fields = {key: item for key, item in turn.items() if item is not None}
    if "role" not in fields and "from" in fields:
        fields = {"role": fields.pop("from"), "content": fields.pop("value", None), **fields}
        note(changes, "from and value read as role and content")
    named = fields.get("role")
    if not isinstance(named, str) or not named.strip():
        raise RowRejected("a turn has no role", turn.get("role", turn.get("from")))
    role = ROLES.get(named.lower())
    if role is None:
        role = named
        note(changes, "a role of its own left to the chat template")
    if _is_call(fields):
        if fields.get("tool_calls") or fields.get("function_call"):
            raise RowRejected("a turn that is a call holds further calls", named)
        content = fields.pop("content", None)
        if isinstance(content, list) and content and all(isinstance(p, dict) and "type" in p for p in content):
            content = content if "name" in content[0] or "function" in content[0] else text_of(content, changes)
        if not isinstance(content, dict | list):
            content = _parse(str(content or ""), f"a turn of role {named} is not the JSON of a call")
        fields["tool_calls"] = content if isinstance(content, list) else [content]
        if not all(isinstance(call, dict) for call in fields["tool_calls"]) or not content:
            raise RowRejected(f"a turn of role {named} is not the JSON of a call", content)
        note(changes, "turns that are calls read as tool_calls")
    read: Turn = {**fields, "role": role, "content": text_of(fields.get("content"), changes)}
    if isinstance(fields.get("function_call"), dict):  # OpenAI's earlier form of one call
        read["tool_calls"] = [{"type": "function", "function": read.pop("function_call")}]
    calls = read.pop("tool_calls", None)
    if calls := _calls(calls, schemas, is_padded, changes):
        read["tool_calls"] = calls
    if not _WEIGHTS.isdisjoint(read):
        _set_weight(read, role)
    thought = _thought(read)
    if read["content"] is None and not calls and not thought:
        raise RowRejected(f"a turn of role {role} has null in place of content")
    read["content"] = read["content"] or ""
    spoken = read["content"].strip() or calls or thought
    if role == "assistant" and not spoken and not empty_answers and read.get("weight") != 0:
        raise RowRejected("an assistant turn is empty, which would teach to end at once")
    return read


def _thought(turn: Turn) -> bool:
    """True if a turn holds a thought. Raises RowRejected for one that is not text; true and false are flags."""
    thoughts = [turn[key] for key in THOUGHT if key in turn and not isinstance(turn[key], bool | None)]
    if odd := [thought for thought in thoughts if not isinstance(thought, str)]:
        raise RowRejected("a thought of a turn is not text", odd[0])
    return any(thought.strip() for thought in thoughts)


def text_of(content: Any, changes: Changes | None = None) -> str | None:
    """Content as text; parts are joined without a separator, as multimodal chat templates do. Raises RowRejected."""
    if isinstance(content, list):
        texts = []
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            text = part if isinstance(part, str) else part.get(_TEXT_PARTS.get(str(kind), "")) if kind else None
            if not isinstance(text, str):
                raise RowRejected("a content part is not text", kind or part)
            texts.append(text)
        note(changes, "content parts joined")
        content = "".join(texts)
    if content is not None and not isinstance(content, str):
        raise RowRejected("content is neither text nor a list of parts", content)
    if content and _SURROGATE.search(content):
        raise RowRejected("half a surrogate pair, which is not text")
    return content


def _set_weight(turn: Turn, role: str) -> None:
    """`weight: 0` if a turn is not to be learnt; no `weight` otherwise. OpenAI's `weight` is 0 or 1, `train` and
    `training` of axolotl and `loss` of ms-swift are true or false."""
    weights = set()
    for key in ("weight", *_LEARNT):
        weight = turn.pop(key, None)
        if weight is None:
            continue
        if isinstance(weight, str) or weight not in (0, 1):
            allowed = "0 and 1" if key == "weight" else "true and false"
            raise RowRejected(f"a turn has a {key} other than {allowed}", weight)
        weights.add(int(weight))
    if len(weights) > 1:
        raise RowRejected(f"weight, {', '.join(_LEARNT)} of a turn contradict one another")
    if turn.get("train_detail") or turn.get("training_detail"):
        raise RowRejected("a turn marks parts of its text to be learnt, and turns are learnt whole")
    if role == "assistant" and weights == {0}:
        turn["weight"] = 0


def unlearnt(messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """Which assistant turns have `weight: 0`, by their number among the assistant turns, from 0."""
    spoken = [turn for turn in messages if turn["role"] == "assistant"]
    return [number for number, turn in enumerate(spoken) if turn.get("weight") == 0]


def _calls(value: Any, schemas: Mapping[str, Any], is_padded: bool, changes: Changes | None) -> list[Turn]:
    if isinstance(value, str):
        value, is_padded = _parse(value, "tool calls are not JSON"), False
    if not value:
        return []
    if not isinstance(value, list):
        raise RowRejected("tool calls are not a list", value)
    calls = []
    for call in value:
        if call is None:
            continue
        if not isinstance(call, dict):
            raise RowRejected("a tool call is not an object", call)
        call = {key: item for key, item in call.items() if item is not None}
        function = call.get("function", call)
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise RowRejected("a tool call has no name", call)
        arguments = _arguments(function, call.keys(), schemas, is_padded, changes)
        read = {key: item for key, item in function.items() if item is not None and key not in ARGUMENTS}
        read["arguments"] = arguments
        calls.append(call | {"function": read} if "function" in call else read)
    return calls


def _arguments(
    function: Mapping[str, Any],
    around: Collection[str],
    schemas: Mapping[str, Any],
    is_padded: bool,
    changes: Changes | None,
) -> dict[str, Any]:
    """The arguments of a call. Raises RowRejected for a call without any whose function may need some.

    Args:
        around: keys of the call that holds the function.
    """
    arguments = {key: function[key] for key in ARGUMENTS if function.get(key) is not None}
    name = function["name"]
    if len(arguments) > 1 and arguments["arguments"] != arguments["parameters"]:
        raise RowRejected("a call has arguments and parameters that differ", name)
    value = next(iter(arguments.values()), None)
    if "arguments" not in arguments and arguments:
        if isinstance(value, dict) and isinstance(value.get("properties"), dict):
            raise RowRejected("parameters of a call are a JSON Schema, which belongs to the tools", name)
        note(changes, "parameters of a call read as arguments")
    if value is None or value == "":
        says = {key for key in function if function[key] is not None} | set(around) - {"function"}
        if further := sorted(says - _BESIDE - set(ARGUMENTS)):
            raise RowRejected("a call has no arguments, and keys that no chat template reads", further[0])
        required = _required(schemas.get(name))
        if required or (value is None and name not in schemas):
            raise RowRejected("a call has no arguments, and no schema says that its function needs none", name)
        return {}
    if isinstance(value, str):
        value, is_padded = _parse(value, "arguments of a call are not JSON"), False
        note(changes, "JSON text read")
    if not isinstance(value, dict):
        raise RowRejected("arguments of a call are not an object", value)
    if not is_padded or not has_null_key(value):
        return value
    schema = schemas.get(name)
    if not isinstance(schema, dict) or not _is_schema(schema):
        raise RowRejected(
            "arguments in a struct column have null keys, and no JSON Schema of the tool says which are padding", name
        )
    return unpadded(value, schema, schema, changes)


def _required(schema: Any) -> bool:
    """True if a schema requires an argument, or does not say which."""
    if not schema:
        return False
    if not isinstance(schema, dict) or not _is_schema(schema):
        return True
    return any(part.get("required") for part in schema_parts(schema, schema))


def _is_schema(value: dict[str, Any]) -> bool:
    """False for the flat tables of parameters that some data sets call a schema: they do not say what is required."""
    return (
        not value or isinstance(value.get("type"), str | list) or bool({"properties", "$ref", "anyOf"} & value.keys())
    )


def _parse(text: str, reason: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RowRejected(reason, text) from error


def note(changes: Changes | None, what: str) -> None:
    """Count a change of a row under what was done."""
    if changes is not None:
        changes[what] += 1
