"""The teacher's replies, read without running anything: forgiving about what stands around, exact about what is used.

Every function raises ValueError; what stands before its first colon is counted as the reason.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...environments.definition import fault
from ...environments.schema import violation
from ...hub_sync.errors import RowRejected
from ...hub_sync.json_columns import unstorable
from .._lib.conversation_rows import ASSISTANT
from .._lib.sources import load_json
from .template import definition_of

Definitions = Mapping[str, Mapping[str, Any]]
_LABEL = re.compile(r"^(?:[-*#>\s]+|\d+[.)]\s+|(?:new |the )?(?:scenario|situation|phrase|task|reply):\s*)+", re.I)
_ANSWER = re.compile(r"<answer>\s*(yes|no)\b|\A\W*(yes|no)\b", re.IGNORECASE)
_ACT = re.compile(r"<(call|final)>")
_TAGS = re.compile(r"</?[a-z_]+>")
_WORD = re.compile(r"[\w%€$£]+")
_DECODER = json.JSONDecoder()


def line(text: str, most: int) -> str:
    """The first line that says something, without list marks, labels and quotes; at most `most` words."""
    for candidate in text.splitlines():
        phrase = _LABEL.sub("", candidate.strip()).strip("\"'*`“” ")
        if phrase:
            if len(phrase.split()) > most:
                raise ValueError(f"more than {most} words")
            return phrase
    raise ValueError("no text")


def json_object(text: str) -> dict[str, Any]:
    """The JSON object that the reply holds, whatever stands around it."""
    start = text.find("{")
    try:
        value, _ = _DECODER.raw_decode(text, max(start, 0))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    if why := unstorable(value):
        raise ValueError(why)
    return value


def text_of(reply: Mapping[str, Any], key: str) -> str:
    """A field that is text."""
    value = reply.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"no text under {key}")
    return value.strip()


def texts_of(reply: Mapping[str, Any], key: str) -> list[str]:
    """A field that is a list of texts or numbers, at least one, as texts."""
    value = reply.get(key)
    if not isinstance(value, list) or not value:
        raise ValueError(f"no list under {key}")
    if not all(isinstance(one, str | int | float) and str(one).strip() for one in value):
        raise ValueError(f"not only texts under {key}")
    return [str(one).strip() for one in value]


def holds(task: str, value: str) -> bool:
    """Is the value in the task? Small or great letters and what stands between the words make no difference."""
    words, task_words = (" ".join(_WORD.findall(text.casefold())) for text in (value, task))
    return bool(words) and re.search(rf"(?<![0-9a-z]){re.escape(words)}(?![0-9a-z])", task_words) is not None


def says_yes(text: str) -> bool:
    """The last verdict in the reply, tagged or its first word; no verdict is no."""
    verdicts = ["".join(pair).lower() for pair in _ANSWER.findall(text)]
    return bool(verdicts) and verdicts[-1] == "yes"


def definitions(value: Any, there: Sequence[str] = ()) -> list[dict[str, Any]]:
    """A list of sound definitions with a name each. One of a function that is there already is passed over: it is the
    function that is meant."""
    if not isinstance(value, list):
        raise ValueError("no list under functions")
    accepted: list[dict[str, Any]] = []
    for one in value:
        try:
            definition = definition_of(one)
        except RowRejected as error:
            raise ValueError(f"definition unusable: {error}") from error
        if reason := fault(definition):
            raise ValueError(f"definition unusable: {reason}")
        if definition["name"] in {other["name"] for other in accepted}:
            raise ValueError(f"function defined twice: {definition['name']}")
        if definition["name"] not in there:
            accepted.append(definition)
    return accepted


def spoken(text: str, names: Sequence[str]) -> str:
    """The user agent's message; it may name no function, nor offer help itself."""
    message = _TAGS.sub("", text).strip().strip('"').strip()
    if not message:
        raise ValueError("no text")
    if ASSISTANT.search(message):
        raise ValueError("the user speaks as the assistant")
    for name in names:
        if "_" in name and name in message:
            raise ValueError(f"the user names a function: {name}")
    return message


@dataclass(frozen=True)
class Action:
    """What the assistant does in one turn: it calls (`calls` holds {name, arguments}), or it answers (`final`).

    `text` is the reply itself, as the assistant agent is shown it later.
    """

    thought: str
    calls: tuple[dict[str, Any], ...] = ()
    final: str = ""
    text: str = ""

    def decision(self) -> str:
        """What candidates are compared by: the calls, in whatever order, or that it answers."""
        return json.dumps(sorted(json.dumps(one, sort_keys=True) for one in self.calls)) if self.calls else "final"


def action(text: str, tools: Definitions, parallel: bool) -> Action:
    """The first call list or final answer of a reply and the prose before it; what follows is passed over."""
    tag = _ACT.search(text)
    if tag is None:
        raise ValueError("neither call nor final answer")
    thought = "\n".join(part.strip() for part in _TAGS.split(text[: tag.start()]) if part.strip())
    if not thought:
        raise ValueError("no thought")
    # The closing tag is where generation stops, and then is not part of the reply.
    body = text[tag.end() :].partition(f"</{tag.group(1)}>")[0].strip()
    if tag.group(1) == "final":
        if not body:
            raise ValueError("an empty answer")
        return Action(thought, final=body)
    try:
        value = load_json(body)
    except (ValueError, RecursionError):
        raise ValueError("calls are not valid JSON") from None
    if why := unstorable(value):
        raise ValueError(why)
    reply = f"{text[: tag.end()].strip()}{body}</call>"
    return Action(thought, calls(value, tools, parallel), text=reply)


def calls(value: Any, tools: Definitions, parallel: bool) -> tuple[dict[str, Any], ...]:
    """The calls of one turn, each to a known function with arguments that fit."""
    listed = value if isinstance(value, list) else [value]
    if not listed:
        raise ValueError("an empty list of calls")
    if len(listed) > 1 and not parallel:
        raise ValueError("several calls where one is allowed")
    accepted = []
    for one in listed:
        name = one.get("name") if isinstance(one, dict) else None
        if not isinstance(name, str) or name not in tools:
            raise ValueError(f"unknown function: {name!r:.60}")
        arguments = one.get("arguments", {})
        if reason := violation(arguments, tools[name]["parameters"]):
            raise ValueError(f"arguments do not fit: {name}, {reason}")
        accepted.append({"name": name, "arguments": arguments})
    return tuple(accepted)


def result(value: Any, definition: Mapping[str, Any]) -> dict[str, Any]:
    """What a function returns, as its definition says."""
    if not isinstance(value, dict) or not value:
        raise ValueError("a result is not a JSON object")
    if reason := violation(value, definition.get("responses")):
        raise ValueError(f"result does not fit: {definition['name']}, {reason}")
    return value
