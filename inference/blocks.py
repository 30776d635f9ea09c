"""Code fences and JSON in a model's answer, whatever words stand around them."""

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

_FENCE = re.compile(r"```[ \t]*([\w+-]*)[ \t]*(?=\s|[\[{])(.*?)(?:```|\Z)", re.DOTALL)
_DECODER = json.JSONDecoder()
_MOST = 1000  # braces of one reply at which an object is looked for


@dataclass(frozen=True)
class Fence:
    """A fenced block: its label in lower case (json, tool_call, ...; "" for none) and what stands in it."""

    label: str
    body: str


def fences(text: str) -> list[Fence]:
    """The fenced blocks of a text in their order; the last may lack its end."""
    return [Fence(label.lower(), body.strip()) for label, body in _FENCE.findall(text)]


def unfenced(text: str) -> str:
    """The inside of a fence that is the whole text; another text without the blanks around it."""
    text = text.strip()
    whole = _FENCE.fullmatch(text)
    return whole[2].strip() if whole else text


def json_text(text: str) -> str:
    """The JSON in an answer: the whole text, else the last fenced block that is JSON, else the last object in words.

    The text itself if it holds none, for the reader's own message. Before the answer may stand drafts and repeated
    forms.
    """
    for candidate in (text.strip(), *(fence.body for fence in reversed(fences(text)))):
        with suppress(ValueError, RecursionError):
            json.loads(candidate)
            return candidate
    last, place = text, text.find("{")
    for _ in range(_MOST):
        if place < 0:
            break
        try:
            _, end = _DECODER.raw_decode(text, place)
        except json.JSONDecodeError as error:
            if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
                return text  # cut off: an object within it is not what was asked for
            end = place + 1
        except RecursionError:
            return text
        else:
            last = text[place:end]
        place = text.find("{", end)
    return last


def json_object(text: str) -> dict[str, Any]:
    """The JSON object in an answer, see `json_text`. Raises ValueError in one line if there is none."""
    try:
        value = json.loads(json_text(text))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the reply is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"the reply is {type(value).__name__}, not an object")
    return value
