"""Public formats of function calling as turns with calls as objects, before anything is checked.

| format | what is in a row |
|---|---|
| OpenAI | `messages` with `tool_calls`, `tools` |
| ShareGPT (LLaMA-Factory, APIGen-MT) | `conversations` (from function_call, observation), `tools`, `system` |
| Hermes | the same, with `<tools>` in the system turn and `<tool_call>`, `<tool_response>` in the others |
| ToolACE | `system` with a JSON list of functions, calls as `[f(a=1)]` |
| xLAM | `query`, `tools`, `answers` as JSON text |
| glaive v2 | `system` and `chat`, or one text: `USER:`, `ASSISTANT: <functioncall>`, `FUNCTION RESPONSE:` |

Told apart by what is in a row, not by a setting. What cannot be read is RowRejected with a reason.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from ...hub_sync.errors import RowRejected
from ...inference.conversations import read_messages, read_tools, with_system
from ...inference.reasoning import split_reasoning
from .calls_in_text import NAME_OF_CALLS, as_calls, blocks, calls_in, read_json, result_texts
from .sources import load_json

Turn = dict[str, Any]
CALLING = ("function_call", "tool_call", "function-call")
# What prompts of these formats begin with when they say how to call functions; chat templates say it in their own way.
_KNOWN = re.compile(
    r"(?:You are a function calling AI model\b|You are an expert in composing functions\b|# Tools\s|"
    r"You are a helpful assistant,? with access to the following functions\b).*",
    re.DOTALL,
)
_ABOUT_CALLS = re.compile(r"<tools>|tool_call|function.?call", re.IGNORECASE)
_STARTS = 2000  # places of a system turn at which a function may begin
_SPEAKER = re.compile(r"^[ \t]*(SYSTEM|USER|ASSISTANT|FUNCTION RESPONSE):", re.MULTILINE)
_SPEAKERS = {"SYSTEM": "system", "USER": "user", "ASSISTANT": "assistant", "FUNCTION RESPONSE": "tool"}
_END = re.compile(r"\s*<\|endoftext\|>\s*")


def read_record(record: Any, changes: Counter[str]) -> tuple[list[Turn], list[Any]]:
    """(turns in OpenAI's form, functions offered as they stand in the record). Raises RowRejected.

    Args:
        changes: gets what was done to rows, by kind.
    """
    if not isinstance(record, Mapping):
        raise RowRejected("no_conversation")
    try:
        tools = read_tools(_json_or(record.get("tools"), "tools_not_json"))
        turns = _raw_turns(record)
        raw = [_with_calls(turn) for turn in turns]
        messages = read_messages(raw, [], empty_answers=True, changes=changes)
        if "system" in record and not _is_glaive(record):
            messages = with_system(messages, record["system"] or None, changes)
    except RowRejected as error:
        raise RowRejected(_word(error.reason)) from error
    messages, own = _system_tools(messages, changes)
    tools = tools or own
    names = {_name(tool) for tool in tools}
    return _texts_read(messages, names, changes), tools


_WORDS = {
    "tools are not JSON": "tools_not_json", "tools are not a list": "tools_not_a_list",
    "a tool is not an object": "tool_without_name", "a tool has no name": "tool_without_name",
    "parameters of a tool are not JSON": "tool_parameters_not_a_schema",
    "turns are not a list with something in it": "no_conversation", "a turn is not an object": "turn_without_text",
    "a turn has no role": "unknown_role",
    "arguments of a call are not an object": "arguments_not_an_object",
    "half a surrogate pair, which is not text": "text_not_unicode",
}  # fmt: skip


def _word(reason: str) -> str:
    """A reason of the shared reader as a name that counts can have."""
    if reason.endswith("has null in place of content"):
        return "turn_without_text"
    return _WORDS.get(reason) or re.sub(r"\W+", "_", reason).strip("_").lower()


def _raw_turns(record: Mapping[str, Any]) -> list[Any]:
    if _is_glaive(record):
        return _glaive(record)
    for key in ("messages", "conversations", "conversation"):
        turns = _json_or(record.get(key), "no_conversation")
        if isinstance(turns, list):
            return turns
    if isinstance(record.get("query"), str) and "answers" in record:
        calls = _json_or(record["answers"], "call_not_json")
        return [{"role": "user", "content": record["query"]}, {"role": "function_call", "content": calls}]
    raise RowRejected("no_conversation")


def _json_or(value: Any, reason: str) -> Any:
    """The value, parsed if it is text."""
    if not isinstance(value, str) or not value.strip():
        return value or None
    try:
        return load_json(value)
    except (ValueError, RecursionError):
        raise RowRejected(reason) from None


def _with_calls(turn: Any) -> Any:
    """A turn whose role says that it is a call, as an assistant's turn with calls."""
    if not isinstance(turn, Mapping):
        return turn
    if turn.get(NAME_OF_CALLS) and not isinstance(turn[NAME_OF_CALLS], str):
        return {**turn, NAME_OF_CALLS: as_calls(turn[NAME_OF_CALLS])}
    role = turn.get("role", turn.get("from"))
    value = turn.get("content") if "role" in turn else turn.get("value")
    if not isinstance(role, str) or role.lower() not in CALLING:
        return dict(turn)
    if isinstance(value, str):
        value = read_json(value)
    if value in (None, []):
        raise RowRejected("no_call")
    return {"role": "assistant", "content": "", NAME_OF_CALLS: as_calls(value)}


def _is_glaive(record: Mapping[str, Any]) -> bool:
    text = next((record[key] for key in ("chat", "sample", "text") if isinstance(record.get(key), str)), "")
    return not record.get("messages") and not record.get("conversations") and bool(_SPEAKER.search(text))


def _glaive(record: Mapping[str, Any]) -> list[Turn]:
    text = next(record[key] for key in ("chat", "sample", "text") if isinstance(record.get(key), str))
    if isinstance(record.get("system"), str):
        system = record["system"]
        text = (system if system.lstrip().startswith("SYSTEM:") else f"SYSTEM: {system}") + "\n" + text
    pieces = _SPEAKER.split(text)
    if pieces[0].strip():
        raise RowRejected("text_before_the_first_speaker")
    turns = []
    for speaker, text_of_turn in zip(pieces[1::2], pieces[2::2], strict=True):
        parts = [part.strip() for part in _END.split(text_of_turn) if part.strip()]
        turns += [{"role": _SPEAKERS[speaker], "content": part} for part in parts or [""]]
    return [turn for turn in turns if turn["content"] or turn["role"] != "system"]


def _system_tools(messages: list[Turn], changes: Counter[str]) -> tuple[list[Turn], list[Any]]:
    """The turns without the functions that the system turn lists, and these; its other words stay."""
    if not messages or messages[0]["role"] != "system":
        return messages, []
    system = messages[0]["content"]
    tagged, around = blocks(system, "<tools>", "</tools>", mark="<tools>")
    tagged = [block for block in tagged if block.strip()]
    preamble = _KNOWN.search(system)
    tools: list[Any] = []
    if tagged:
        tools = _listed(tagged[-1], whole=True)
        words = system[: preamble.start()] if preamble else _outside(around)
    elif preamble:
        tools = _listed(preamble[0], whole=False)
        words = system[: preamble.start()]
    elif _listed(system, whole=False):
        raise RowRejected("system_text_lists_tools_in_an_unknown_form")
    else:
        words = system
    if tools:
        changes["tools read out of the system turn"] += 1
    words = words.strip()
    rest = messages[1:]
    return ([{**messages[0], "content": words}, *rest] if words else rest), tools


def _outside(around: str) -> str:
    """The paragraphs in which no functions stood and that do not tell the form of calls."""
    paragraphs = [part for part in re.split(r"\n[ \t]*\n", around) if part.strip() and not _ABOUT_CALLS.search(part)]
    return "\n\n".join(paragraphs)


def _listed(text: str, whole: bool) -> list[Any]:
    """Functions as one JSON list, or as objects one after another, in a text that may say more unless `whole`."""
    decoder, functions, place = json.JSONDecoder(), [], 0
    for _ in range(_STARTS):
        start = min((at for mark in "[{" if (at := text.find(mark, place)) >= 0), default=-1)
        if start < 0:
            break
        try:
            value, place = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            place = start + 1
            if whole:
                raise RowRejected("tools_not_json") from None
            continue
        values = value if isinstance(value, list) else [value]
        functions += [one for one in values if isinstance(one, dict) and _name(one)]
    return functions


def _name(tool: Mapping[str, Any]) -> str:
    function = tool.get("function", tool)
    name = function.get("name") if isinstance(function, Mapping) else None
    described = isinstance(function, Mapping) and not function.keys().isdisjoint(("parameters", "description"))
    return name if isinstance(name, str) and described else ""


def _texts_read(messages: list[Turn], names: set[str], changes: Counter[str]) -> list[Turn]:
    """Thoughts, calls and results that stand in texts, each in its own place."""
    read: list[Turn] = []
    for message, after in zip_longest(messages, messages[1:]):
        if message["role"] == "user" and message["content"].lstrip().startswith("<tool_response>"):
            message = {**message, "role": "tool"}  # Qwen's template writes results as the user's
        if message["role"] == "assistant":
            split = split_reasoning(message["content"])
            if not split.closed:
                raise RowRejected("thought_not_closed")
            if split.reasoning:
                message = message | {"content": split.answer, "reasoning_content": split.reasoning}
                changes["thoughts put in reasoning_content"] += 1
            if not message.get(NAME_OF_CALLS):
                words, calls = calls_in(message["content"], names)
                if calls:
                    message = message | {"content": words, NAME_OF_CALLS: calls}
                    changes["calls read out of texts"] += 1
        elif message["role"] == "tool":
            alone = bool(read) and read[-1]["role"] == "assistant" and (after is None or after["role"] != "tool")
            expected = len(read[-1].get(NAME_OF_CALLS) or ()) if alone else 1
            read += [message | {"content": text} for text in result_texts(message["content"], expected)]
            continue
        read.append(message)
    return read
