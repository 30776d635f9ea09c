"""Where a model is served, and how its server wants to be asked."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..hub_sync.errors import UsageError
from ..hub_sync.hub import LOOPBACK
from .reasoning import TAGS


@dataclass(frozen=True)
class Endpoint:
    """Where a model is served.

    Attributes:
        model: the name that the server knows it by.
        base_url: with the version path, e.g. http://127.0.0.1:8000/v1; None: OPENAI_BASE_URL or the provider's own.
        api_key_env: environment variable of the key; not needed on the loopback.
        revision: of the weights: COMMIT or COMMIT#FILE of an embedded model, "" where a server does not tell it; part
            of the key under which answers are recorded.
        concurrency: most requests in flight at once (our choice).
        timeout: seconds for one try, from sending to the last byte (our choice).
        max_retries: further tries after a lost connection, a time-out, 408, 409, 429 or 5xx without Retry-After.
        token_limit: the server's name for the limit of new tokens.
        send_temperature: False for servers that refuse a temperature, as OpenAI's reasoning models do.
        reasoning_tags: opening tags of thoughts in replies, see `reasoning.reasoning_tags`.
        total_timeout: seconds for a request with all its tries and waits; None: timeout * (max_retries + 1).
    """

    model: str
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    revision: str = ""
    concurrency: int = 16
    timeout: float = 120.0
    max_retries: int = 6
    total_timeout: float | None = None
    token_limit: str = "max_tokens"  # noqa: S105
    send_temperature: bool = True
    reasoning_tags: tuple[str, ...] = TAGS

    @property
    def cited(self) -> str:
        """The model and its revision, as Markdown."""
        return f"`{self.model}`" + (f" at `{self.revision}`" if self.revision else "")

    @property
    def made_by(self) -> str:
        """The same as `MODEL@REVISION`, for a column of rows."""
        return f"{self.model}@{self.revision}" if self.revision else self.model

    @property
    def where(self) -> str:
        """The endpoint for messages: its URL without any credentials."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"

    @property
    def url(self) -> str:
        return (self.base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1").rstrip("/")

    def key(self) -> str:
        """The key from the environment; "none" on the loopback. Raises UsageError if one is needed and absent."""
        key = os.environ.get(self.api_key_env)
        if key:
            return key
        if urlsplit(self.where).hostname in LOOPBACK:
            return "none"
        raise UsageError(f"{self.where} needs a key: set {self.api_key_env}")

    def manner(self) -> dict[str, Any]:
        """The settings that change requests or the reading of replies, if not default: part of a shard's identity."""
        names = ("token_limit", "send_temperature", "reasoning_tags")
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value != getattr(type(self), name)}

    def request(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A request, without its model, as this server takes it."""
        renamed = {self.token_limit if name == "max_tokens" else name: value for name, value in body.items()}
        if not self.send_temperature:
            renamed.pop("temperature", None)
        return renamed

    def remedy(self, param: str, message: str) -> str:
        """The setting that helps if a server refuses a parameter of our requests, or ""."""
        words, name = f"{param} {message}".lower(), "max_completion_tokens"
        if name in words and self.token_limit != name:
            return f"set token_limit: {name}"
        if self.send_temperature and (param == "temperature" or ("temperature" in words and "support" in words)):
            return "set send_temperature: false"
        return ""
