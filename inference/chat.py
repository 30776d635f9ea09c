"""A chat client for any OpenAI-compatible endpoint: the `openai` SDK on its aiohttp transport.

Retries, back-off, `Retry-After` and time-outs are the SDK's. What is added: a limit on requests in flight, and the
rule that one request's failure is a value (`Reply.error`), never an exception that stops the others. Only what dooms
every request raises: an endpoint that cannot be reached at all, a refused key, an unknown model.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from ..hub_sync.errors import UsageError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Outcome = Literal["ok", "refused", "failed"]


@dataclass(frozen=True)
class Endpoint:
    """Where a model is served.

    Attributes:
        model: the name the server knows it by.
        base_url: with the version path, e.g. http://127.0.0.1:8000/v1; None: OPENAI_BASE_URL or the provider's own.
        api_key_env: environment variable of the key; never needed on the loopback.
        concurrency: requests in flight at once (our choice).
        timeout: seconds without a byte before a try is given up (our choice; the SDK's own is 600). A request with all
            its retries is given up after `timeout * (max_retries + 1)`, however slowly bytes trickle in.
        max_retries: further tries after a lost connection, a time-out, 408, 409, 429 or 5xx.
    """

    model: str
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 16
    timeout: float = 120.0
    max_retries: int = 6

    @property
    def where(self) -> str:
        """The endpoint for messages: its URL without any credentials."""
        parts = urlsplit(self.base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1")
        return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"

    def key(self) -> str:
        """The key from the environment; "none" on the loopback. Raises UsageError where one is needed and absent."""
        key = os.environ.get(self.api_key_env)
        if key:
            return key
        if urlsplit(self.where).hostname in {"127.0.0.1", "localhost", "::1"}:
            return "none"
        raise UsageError(f"{self.where} needs a key: set {self.api_key_env}")


@dataclass(frozen=True)
class Reply:
    """What came of one request.

    Attributes:
        text: the assistant's text; "" unless `outcome` is "ok".
        outcome: "ok"; "refused" (the provider or model would not answer); "failed" (no reply after all retries).
        error: one line about what went wrong; "" where nothing did.
        finish_reason: as the server gave it ("stop", "length", ...).
        prompt_tokens, completion_tokens: as the server counted them; 0 where it did not.
    """

    text: str = ""
    outcome: Outcome = "ok"
    error: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class ChatClient:
    """`async with ChatClient(endpoint) as client: reply = await client.complete(messages, temperature=0)`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.requests = 0
        self._answered = False
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        self._client: AsyncOpenAI | None = None

    async def __aenter__(self) -> ChatClient:
        from openai import AsyncOpenAI, DefaultAioHttpClient

        endpoint = self.endpoint
        self._client = AsyncOpenAI(
            api_key=endpoint.key(),
            base_url=endpoint.base_url,
            timeout=endpoint.timeout,
            max_retries=endpoint.max_retries,
            http_client=DefaultAioHttpClient(timeout=endpoint.timeout),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def complete(self, messages: list[dict[str, Any]], **params: Any) -> Reply:
        """One chat completion; `params` as in the chat completions API (temperature, max_tokens, ...).

        Raises UsageError for what no request can get past: unreachable endpoint, refused key, unknown model.
        """
        import openai

        assert self._client is not None, "use `async with`"
        endpoint = self.endpoint
        async with self._slots:
            self.requests += 1
            try:
                async with asyncio.timeout(endpoint.timeout * (endpoint.max_retries + 1)):
                    # The SDK's own low-level call: its retries and errors without building typed objects of request
                    # and reply, which takes longer than all the rest and which foreign servers do not fit anyway.
                    body = await self._client.post(
                        "/chat/completions",
                        cast_to=object,
                        body={"model": endpoint.model, "messages": messages, **params},
                    )
            except TimeoutError:
                return Reply(outcome="failed", error="timed out")
            except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
                raise UsageError(
                    f"{endpoint.where} refused the key ({error.status_code}); check {endpoint.api_key_env}"
                ) from error
            except openai.NotFoundError as error:
                raise UsageError(
                    f"{endpoint.where} has no model {endpoint.model!r} or no chat completions (404); check the URL "
                    "(does it end in /v1?) and the model's name"
                ) from error
            except openai.APIStatusError as error:
                self._answered = True
                refused = _error_code(error) == "content_filter"
                said = " ".join(str(error.message).split())[:200]
                return Reply(outcome="refused" if refused else "failed", error=f"HTTP {error.status_code}: {said}")
            except openai.APIConnectionError as error:  # time-outs are one kind of it
                cause = error.__cause__ or error
                # The aiohttp transport reports a refused connection as ConnectTimeout.
                if not self._answered and type(cause).__name__ in ("ConnectError", "ConnectTimeout"):
                    raise UsageError(
                        f"{endpoint.where} cannot be reached ({cause}); is the server running?"
                    ) from error
                timed_out = isinstance(error, openai.APITimeoutError)
                return Reply(outcome="failed", error="timed out" if timed_out else f"connection lost: {cause}")
            except (openai.APIError, ValueError) as error:  # a body that is not a chat completion
                self._answered = True
                return Reply(outcome="failed", error=f"unusable reply: {' '.join(str(error).split())[:200]}")
        self._answered = True
        return _read(body)


def _error_code(error: Any) -> str | None:
    body = error.body if isinstance(error.body, dict) else {}
    return body.get("code") or error.code


def _read(body: Any) -> Reply:
    """A Reply from the decoded body. Servers leave fields out, so nothing is taken for granted."""
    choices = body.get("choices") if isinstance(body, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return Reply(outcome="failed", error="the reply holds no choice")
    reason = str(choice.get("finish_reason") or "")
    refusal = message.get("refusal")
    if refusal or reason == "content_filter":
        return Reply(outcome="refused", error=" ".join(str(refusal or reason).split())[:200], finish_reason=reason)
    text = message.get("content")
    if not isinstance(text, str) or not text:
        return Reply(outcome="failed", error="the reply is empty", finish_reason=reason)
    usage = body.get("usage")
    tokens = usage if isinstance(usage, dict) else {}
    return Reply(
        text=text,
        finish_reason=reason,
        prompt_tokens=_count(tokens.get("prompt_tokens")),
        completion_tokens=_count(tokens.get("completion_tokens")),
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0
