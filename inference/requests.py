"""Requests in the chat completions form (plain mappings), their keys, and replies (`replies` reads them)."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..hub_sync.text import utf8

Outcome = Literal["ok", "empty", "truncated", "refused", "failed", "invalid"]
Message = Mapping[str, Any]
Parse = Callable[["Reply"], Any]
RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504, 520, 522, 524, 529})
"""HTTP statuses after which the same request may fare better."""


@dataclass(frozen=True)
class Reply:
    """What came of one request.

    Attributes:
        text: the assistant's answer without its thought, or "".
        outcome: ok (calls alone are an answer); empty (no text and no call); truncated (cut at the token limit);
            refused (by provider or model); failed (no answer after all retries); invalid (refused by `parse`).
        error: one line about what went wrong, or "".
        value: what `parse` made of the reply.
        reasoning: the thought, or "".
        tool_calls: as the server gave them: [{"id", "type", "function": {"name", "arguments"}}].
        logprobs: per generated token {"token", "logprob", "top_logprobs": [...]}, natural logarithm.
        finish_reason: as the server gave it ("stop", "length", "tool_calls", ...).
        prompt_tokens, completion_tokens: as the server counted them, or 0.
        status: HTTP status of an error, also of one within HTTP 200; else 0.
        attempts: whole answers asked for, this one included.
        seconds: wall time from sending to the last byte, retries included; 0 for a recorded reply.
        recorded: True if it came from the store.
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
        return self.outcome == "ok"

    @property
    def final(self) -> bool:
        """True for a failure that is the request's own: refused, or an HTTP status such as 400 that a retry keeps."""
        return self.outcome == "refused" or (self.status != 0 and self.status not in RETRIED)


def request_key(model: str, revision: str, body: Mapping[str, Any], draw: int = 0) -> str:
    """SHA-256 in hex of (model, revision, request, draw): the address of an answer.

    Args:
        body: the request without its model.
        draw: 0 for the first answer to this request, 1 for a second one, and so on.
    """
    text = json.dumps([model, revision, body, draw], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(utf8(text)).hexdigest()


def one_line(value: Any, limit: int = 200) -> str:
    return " ".join(str(value).split())[:limit]
