"""Reading a server's answer: chat completions in the forms in use, errors within them, the state of an answer.

Five states: ok (calls alone are an answer), empty, truncated, refused, failed. What a caller's own `parse` refuses
comes on top (invalid).
"""

import email.utils
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ..hub_sync.text import well_formed
from .reasoning import TAGS, split_reasoning
from .requests import Reply, one_line

_WORDS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
ENDED, CUT, DECLINED = (frozenset(_WORDS[name]) for name in ("ended", "cut", "declined"))
_STATUS = {code: status for status, codes in _WORDS["status"].items() for code in codes}


@dataclass(frozen=True)
class ServerError:
    """An error as a server words it: `status` (HTTP, or the one that the code of an error within HTTP 200 stands for,
    or 0), `code` or type, `message` of one line, `param` at fault, `wait` in seconds by the error's metadata.
    """

    status: int
    code: str = ""
    message: str = ""
    param: str = ""
    wait: float | None = None


def decoded(raw: bytes) -> Any:
    """The JSON of a body, or None."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def read_error(status: int, raw: bytes) -> ServerError:
    """The error in the body of an answer other than 200, in any of the forms in use."""
    body = decoded(raw)
    if body is None:
        return ServerError(status, message=one_line(raw.decode("utf-8", "replace")))
    if isinstance(body, list) and body and isinstance(body[0], dict):  # Gemini's gateway
        body = body[0]
    return replace(_error(body.get("error") or body if isinstance(body, dict) else body), status=status)


def error_within(body: Any) -> ServerError | None:
    """The error object within an answer of HTTP 200, at its top or in its choice, or None.

    OpenRouter and other gateways have sent the status already when the model's provider fails; vLLM and SGLang also
    write the error as the whole body.
    """
    if not isinstance(body, dict):
        return None
    choice = _choice(body)
    error = body.get("error") or (body if body.get("object") == "error" else None) or (choice or {}).get("error")
    return _error(error) if error else None


def _error(error: Any) -> ServerError:
    if not isinstance(error, Mapping):
        return ServerError(0, message=one_line(error))
    words = [str(error[key]) for key in ("code", "type") if error.get(key) not in (None, "")]
    inner = error.get("innererror")
    if isinstance(inner, Mapping) and inner.get("code") == "ResponsibleAIPolicyViolation":  # Azure's content filter
        words.insert(0, "content_filter")
    metadata = error.get("metadata")
    headers = metadata.get("headers") if isinstance(metadata, Mapping) else None
    waits = {str(k).lower(): str(v) for k, v in headers.items()} if isinstance(headers, Mapping) else {}
    return ServerError(
        status=next(filter(None, map(_status, words)), 0),
        code=words[0] if words else "",
        message=one_line(error.get("message") or dict(error)),
        param=str(error.get("param") or ""),
        wait=asked_wait(waits),
    )


def _status(code: str) -> int:
    if code.isascii() and code.isdigit():
        return int(code) if 400 <= int(code[:4]) < 600 else 0
    return _STATUS.get(code.lower(), 0)


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as the server asks for in Retry-After-Ms or Retry-After (seconds or a date); None: not said."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
            except ValueError:
                continue
        if seconds == seconds:  # not NaN
            # A little more than asked for, and not all at the same moment.
            return max(0.0, seconds) + random.uniform(0.0, 0.1)  # noqa: S311
    return None


def _choice(body: Any) -> dict[str, Any] | None:
    choices = body.get("choices") if isinstance(body, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    return choice if isinstance(choice, dict) else None


def read_reply(body: Any, *, allow_truncated: bool = False) -> Reply:
    """A Reply from a decoded completion, as it is recorded: the text with any thought in it (`settle` cuts it).

    Nothing is taken for granted: content as text or as a list of parts; a thought in `reasoning_content` (DeepSeek,
    llama.cpp, SGLang), `reasoning` (OpenRouter, vLLM) or a part of type `thinking` (Mistral); a call as
    `function_call`.
    """
    choice = _choice(body)
    message = choice.get("message") if choice else None
    if choice and message is None and isinstance(choice.get("text"), str):  # of the route `completions`
        message = {"content": choice["text"]}
    if choice is None or not isinstance(message, dict):
        return Reply(outcome="failed", error="the reply holds no choice")
    usage = body.get("usage")
    tokens = usage if isinstance(usage, dict) else {}
    reason = choice.get("finish_reason")
    fields: dict[str, Any] = {
        "finish_reason": str((reason.get("type") if isinstance(reason, dict) else reason) or ""),
        "prompt_tokens": _count(tokens.get("prompt_tokens")),
        "completion_tokens": _count(tokens.get("completion_tokens")),
    }
    content = _content(message.get("content"))
    refusal = message.get("refusal") or content["refusal"]
    ending = ending_of(fields["finish_reason"])
    if refusal or ending in DECLINED:
        return Reply(outcome="refused", error=one_line(refusal or fields["finish_reason"]), **fields)
    if ending not in ENDED | CUT:
        return Reply(outcome="failed", error=f"the server ended the reply with {fields['finish_reason']!r}", **fields)
    thoughts = (message.get(name) for name in ("reasoning_content", "reasoning"))
    fields["text"] = content["text"]
    fields["reasoning"] = next((f for f in thoughts if isinstance(f, str) and f), content["thinking"])
    calls, call = message.get("tool_calls"), message.get("function_call")
    if not calls and isinstance(call, dict):
        calls = [{"type": "function", "function": call}]
    fields["tool_calls"] = tuple(calls) if isinstance(calls, list) else ()
    scores = choice.get("logprobs")
    entries = scores.get("content") if isinstance(scores, dict) else None
    fields["logprobs"] = tuple(entries) if isinstance(entries, list) else ()
    if ending in CUT and not allow_truncated:
        return Reply(outcome="truncated", error="cut off at the token limit", **fields)
    return Reply(**fields)


def is_cut(finish_reason: str) -> bool:
    return ending_of(finish_reason) in CUT


def ending_of(finish_reason: str) -> str:
    """The word of a finish_reason: `content_filter: PROHIBITED_CONTENT` and `MAX_TOKENS` as the others write them."""
    return finish_reason.partition(":")[0].strip().lower().replace("-", "_").replace(" ", "_")


def settle(reply: Reply, tags: tuple[str, ...] = TAGS) -> Reply:
    """The reply with answer and thought apart; empty or truncated if no answer is left."""
    if reply.outcome not in ("ok", "truncated", "empty"):
        return reply
    split = split_reasoning(well_formed(reply.text), tags)
    thoughts = (well_formed(reply.reasoning).strip(), split.reasoning)
    calls = well_formed(reply.tool_calls)
    settled = replace(reply, text=split.answer, reasoning="\n\n".join(filter(None, thoughts)), tool_calls=calls)
    if settled.outcome != "ok" or settled.text.strip() or calls:
        return settled
    what = "a thought and no answer" if settled.reasoning else ""
    what = what if split.closed else "the thought is never closed"
    if is_cut(reply.finish_reason):
        return replace(settled, outcome="truncated", error=f"cut off at the token limit{what and ': '}{what}")
    return replace(settled, outcome="empty", error=what or "the reply is empty")


def _content(value: Any) -> dict[str, str]:
    """Text, thought and refusal of a message's content, which is text or a list of parts."""
    texts = {"text": "", "thinking": "", "refusal": ""}
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, str):
            texts["text"] += part
        elif isinstance(part, dict):
            kind = str(part.get("type") or "text")
            name = {"thinking": "thinking", "reasoning": "thinking", "refusal": "refusal"}.get(kind, "text")
            if name != "text" or kind in ("text", "output_text"):  # Mistral's thinking part holds parts itself
                texts[name] += _content(part.get(kind, part.get("text")))["text"]
    return texts


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0
