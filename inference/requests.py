"""What is asked and what comes back: requests in the chat completions form, and replies (`replies` reads them).

Requests are plain mappings in the form every OpenAI-compatible server takes (`messages`, `tools`, `response_format`,
`logprobs`, ...), so that nothing a server can do is out of reach.
"""

from __future__ import annotations

import base64
import hashlib
import json
import mimetypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..hub_sync.errors import DataError
from ..hub_sync.text import utf8
from .blocks import json_text

if TYPE_CHECKING:
    from pydantic import BaseModel

Outcome = Literal["ok", "empty", "truncated", "refused", "failed", "invalid"]
Message = Mapping[str, Any]
Parse = Callable[["Reply"], Any]
RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504, 520, 522, 524, 529})
"""HTTP statuses after which the same request may fare better."""


@dataclass(frozen=True)
class Reply:
    """What came of one request.

    Attributes:
        text: the assistant's answer, without its thought; "" where there is none.
        outcome: ok (answered; calls alone are an answer); empty (no text and no call, a thought at most); truncated
            (cut at the token limit); refused (provider or model would not answer); failed (no answer after all
            retries); invalid (an answer that the caller's `parse` refused).
        error: one line about what went wrong; "" where nothing did.
        value: what `parse` made of the reply; None without `parse`.
        reasoning: what the model thought before and between; "" where it did not, or the server keeps it.
        tool_calls: as the server gave them: [{"id", "type", "function": {"name", "arguments"}}].
        logprobs: one entry per generated token, as the server gave them: {"token", "logprob", "top_logprobs": [...]},
            natural logarithm.
        finish_reason: as the server gave it ("stop", "length", "tool_calls", ...).
        prompt_tokens, completion_tokens: as the server counted them; 0 where it did not.
        status: HTTP status of a request that was answered with an error, or the one that an error within HTTP 200
            stands for; 0 otherwise.
        attempts: whole answers asked for, this one included (`attempts` of `ChatClient.complete`).
        seconds: wall time from sending to the last byte, retries included; 0 for a recorded reply.
        recorded: True where it came from the store and not from the network.
    """

    text: str = ""
    outcome: Outcome = "ok"
    error: str = ""
    value: Any = None
    reasoning: str = ""
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
    said = json.dumps([model, revision, body, draw], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(utf8(said)).hexdigest()


def one_line(said: Any, limit: int = 200) -> str:
    """Any text as one short line."""
    return " ".join(str(said).split())[:limit]


def json_schema(model: type[BaseModel], name: str = "answer") -> dict[str, Any]:
    """A `response_format` that makes the server answer in the form of a pydantic model."""
    return {"type": "json_schema", "json_schema": {"name": name, "schema": model.model_json_schema(), "strict": True}}


def as_model(model: type[BaseModel]) -> Parse:
    """A `parse` that validates the JSON in the reply into the pydantic model; use it together with `json_schema`."""
    return lambda reply: model.model_validate_json(json_text(reply.text))


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
        return f"{value.partition(',')[0]},sha256:{hashlib.sha256(utf8(value)).hexdigest()}"
    if isinstance(value, Mapping):
        return {key: without_images(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [without_images(item) for item in value]
    return value
