"""What is asked and what comes back: requests in the chat completions form, replies, and how replies are read.

Requests are plain mappings in the form every OpenAI-compatible server takes (`messages`, `tools`, `response_format`,
`logprobs`, ...), so that nothing a server can do is out of reach.
"""

from __future__ import annotations

import base64
import email.utils
import hashlib
import json
import mimetypes
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..hub_sync.errors import DataError

if TYPE_CHECKING:
    from pydantic import BaseModel

Outcome = Literal["ok", "refused", "truncated", "invalid", "failed"]
Message = Mapping[str, Any]
Parse = Callable[["Reply"], Any]
RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504, 520, 522, 524, 529})
"""HTTP statuses after which the same request may fare better."""


@dataclass(frozen=True)
class Reply:
    """What came of one request.

    Attributes:
        text: the assistant's text; "" where there is none.
        outcome: ok; refused (provider or model would not answer); truncated (cut at the token limit); invalid (an
            answer that is empty, or that the caller's `parse` refused); failed (no answer after all retries).
        error: one line about what went wrong; "" where nothing did.
        value: what `parse` made of the reply; None without `parse`.
        tool_calls: as the server gave them: [{"id", "type", "function": {"name", "arguments"}}].
        logprobs: one entry per generated token, as the server gave them: {"token", "logprob", "top_logprobs": [...]},
            natural logarithm.
        finish_reason: as the server gave it ("stop", "length", "tool_calls", ...).
        prompt_tokens, completion_tokens: as the server counted them; 0 where it did not.
        status: HTTP status of a request that was answered with an error; 0 otherwise.
        attempts: whole answers asked for, this one included (`attempts` of `ChatClient.complete`).
        seconds: wall time from sending to the last byte, retries included; 0 for a recorded reply.
        recorded: True where it came from the store and not from the network.
    """

    text: str = ""
    outcome: Outcome = "ok"
    error: str = ""
    value: Any = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    logprobs: tuple[dict[str, Any], ...] = ()
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    status: int = 0
    attempts: int = 1
    seconds: float = field(default=0.0, compare=False)
    recorded: bool = field(default=False, compare=False)

    @property
    def ok(self) -> bool:
        """True where there is an answer that may be used."""
        return self.outcome == "ok"

    @property
    def final(self) -> bool:
        """True for a failure that is the request's own: refused, or an HTTP status such as 400 that a retry keeps."""
        return self.outcome == "refused" or (self.status != 0 and self.status not in RETRIED)


def request_key(model: str, revision: str, body: Mapping[str, Any], draw: int = 0) -> str:
    """SHA-256 in hex of (model, its revision, request, number of the draw): the address of an answer.

    Args:
        body: the request without its model.
        draw: 0 for the first answer to this request, 1 for a second one that is wanted besides it, and so on.
    """
    # As canonical_json of hub_sync, but for lone surrogates: models write them, and a dialogue sends them back.
    said = json.dumps([model, revision, body, draw], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()


def read_reply(body: Any, *, allow_truncated: bool = False) -> Reply:
    """A Reply from a decoded chat completion. Servers leave fields out, so nothing is taken for granted."""
    choices = body.get("choices") if isinstance(body, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return Reply(outcome="invalid", error="the reply holds no choice")
    usage = body.get("usage")
    tokens = usage if isinstance(usage, dict) else {}
    found: dict[str, Any] = {
        "finish_reason": str(choice.get("finish_reason") or ""),
        "prompt_tokens": _count(tokens.get("prompt_tokens")),
        "completion_tokens": _count(tokens.get("completion_tokens")),
    }
    refusal = message.get("refusal")
    if refusal or found["finish_reason"] == "content_filter":
        return Reply(outcome="refused", error=one_line(refusal or found["finish_reason"]), **found)
    text, calls = message.get("content"), message.get("tool_calls")
    found["text"] = text if isinstance(text, str) else ""
    found["tool_calls"] = tuple(calls) if isinstance(calls, list) else ()
    scores = choice.get("logprobs")
    entries = scores.get("content") if isinstance(scores, dict) else None
    found["logprobs"] = tuple(entries) if isinstance(entries, list) else ()
    if found["finish_reason"] == "length" and not allow_truncated:
        return Reply(outcome="truncated", error="cut off at the token limit", **found)
    if not found["text"] and not found["tool_calls"]:
        return Reply(outcome="invalid", error="the reply is empty", **found)
    return Reply(**found)


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0


def one_line(said: Any, limit: int = 200) -> str:
    """Any text as one short line."""
    return " ".join(str(said).split())[:limit]


def decoded(raw: bytes) -> Any:
    """The JSON of a body, or None."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def read_error(raw: bytes) -> tuple[str, str]:
    """(code, message) of an error body in any of the forms in use."""
    body = decoded(raw)
    if body is None:
        return "", one_line(raw.decode("utf-8", "replace"))
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, Mapping):
        return str(error.get("code") or ""), one_line(error.get("message") or error)
    return "", one_line(error)


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as the server asks for in Retry-After-Ms or Retry-After (seconds or a date); None: not said."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        said = headers.get(name)
        if said is None:
            continue
        try:
            seconds = float(said) * unit
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(said).timestamp() - time.time()
            except ValueError:
                continue
        if seconds == seconds:  # not NaN
            # A little more than asked for, and not all at the same moment.
            return max(0.0, seconds) + random.uniform(0.0, 0.1)  # noqa: S311
    return None


def json_schema(model: type[BaseModel], name: str = "answer") -> dict[str, Any]:
    """A `response_format` that makes the server answer in the form of a pydantic model."""
    return {"type": "json_schema", "json_schema": {"name": name, "schema": model.model_json_schema(), "strict": True}}


def as_model(model: type[BaseModel]) -> Parse:
    """A `parse` that validates the reply's JSON into the pydantic model; use it together with `json_schema`."""
    return lambda reply: model.model_validate_json(reply.text)


def image_part(image: Path | bytes, media_type: str = "") -> dict[str, Any]:
    """An image as a part of a message's content, inlined as a data URI.

    Raises DataError for a file that cannot be read or whose kind its name does not tell.
    """
    if isinstance(image, Path):
        media_type = media_type or mimetypes.guess_type(image.name)[0] or ""
        path = image
        try:
            image = path.read_bytes()
        except OSError as error:
            raise DataError(f"image {path}: {error.strerror or error}") from error
    if not media_type.startswith("image/"):
        raise DataError("an image needs a media type such as image/png: name the file so or give media_type")
    encoded = base64.b64encode(image).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{encoded}"}}


def without_images(value: Any) -> Any:
    """The same JSON with inlined files replaced by their SHA-256: what is kept of a request on disk."""
    if isinstance(value, str) and value.startswith("data:") and len(value) > 1024:
        return f"{value.partition(',')[0]},sha256:{hashlib.sha256(value.encode()).hexdigest()}"
    if isinstance(value, Mapping):
        return {key: without_images(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [without_images(item) for item in value]
    return value
