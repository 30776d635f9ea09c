"""Routes on the raw, still percent-encoded path, and what a handler receives.

A revision is one segment whose slashes are percent-encoded (`refs%2Fpr%2F1`), so a path must be split before it is
decoded; frameworks do it the other way round.

Templates: `{T}` models, datasets or spaces; `{P}` the optional page prefix `datasets/` or `spaces/`; `{repo}` the
two segments of a repository id; `{x}` one segment; `{x*}` the rest, slashes included.
"""

import asyncio
import json
import re
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from . import problems, repos
from .auth import ANONYMOUS, Principal
from .repos import Repo
from .state import HubState

JSON_MAX_BYTES = 16 << 20
STREAM_BYTES = 1 << 20
_T = TypeVar("_T")

_SPECIAL = {
    "T": r"(?P<T>models|datasets|spaces)",
    "P": r"(?:(?P<T>datasets|spaces)/)?",
    "repo": r"(?P<namespace>(?!api/|_)[^/]+)/(?P<name>[^/]+)",
}


def _regex(template: str) -> re.Pattern[str]:
    def group(match: re.Match[str]) -> str:
        word = match[1]
        if word in _SPECIAL:
            return _SPECIAL[word]
        return f"(?P<{word[:-1]}>.*)" if word.endswith("*") else f"(?P<{word}>[^/]+)"

    parts = re.split(r"(\{[A-Za-z]+\*?\})", template)
    return re.compile(
        "".join(re.sub(r"\{([A-Za-z]+\*?)\}", group, p) if p.startswith("{") else re.escape(p) for p in parts)
    )


@dataclass
class Call:
    """One request on its way through a handler. `body` is read already, except for streaming handlers."""

    hub: HubState
    request: Request
    params: dict[str, str]
    who: Principal = ANONYMOUS
    body: bytes = b""

    @property
    def query(self) -> QueryParams:
        return self.request.query_params

    @property
    def base_url(self) -> str:
        """Scheme and host as the client sees them, without a trailing slash."""
        return str(self.request.base_url).rstrip("/")

    @property
    def repo_type(self) -> str:
        return (self.params.get("T") or "models").rstrip("s")

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; an empty body is an empty object. Raises Problem 400."""
        if not self.body.strip():
            return {}
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            raise problems.bad_request("The request body is not valid JSON") from None
        if not isinstance(value, dict):
            raise problems.bad_request("The request body must be a JSON object")
        return value

    def readable(self) -> Repo:
        return repos.readable(self.hub.store, self.who, self.repo_type, self.params["namespace"], self.params["name"])

    def writable(self) -> Repo:
        return repos.writable(self.hub.store, self.who, self.repo_type, self.params["namespace"], self.params["name"])

    def int_query(self, key: str, default: int, least: int, most: int) -> int:
        """A whole number from the query, kept between `least` and `most`. Raises Problem 400."""
        text = self.query.get(key)
        if text is None:
            return default
        if not re.fullmatch(r"-?\d{1,9}", text):
            raise problems.bad_request(f"{key} must be a number, not {text[:40]!r}")
        return max(least, min(most, int(text)))

    def flag(self, key: str) -> bool:
        return (self.query.get(key) or "").lower() in ("1", "true", "yes")


@dataclass(frozen=True)
class Route:
    """`handler` runs in a worker thread and returns a response; a coroutine (`streams`) reads the body itself."""

    method: str
    template: str
    handler: Callable[[Call], Response] | Callable[[Call], Awaitable[Response]]
    streams: bool = False
    regex: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "regex", _regex(self.template))


ROUTES: list[Route] = []


def route(method: str, template: str, streams: bool = False) -> Callable[[_T], _T]:
    """Decorator of a handler: adds its route, behind those that were added before."""

    def add(handler: _T) -> _T:
        ROUTES.append(Route(method, template, handler, streams))  # type: ignore[arg-type]
        return handler

    return add


def match(method: str, raw_path: str) -> tuple[Route, dict[str, str]] | list[str]:
    """The first route whose template matches, and its decoded parameters; or the methods that the path would allow."""
    allowed: list[str] = []
    for one in ROUTES:
        groups = one.regex.fullmatch(raw_path)
        if not groups:
            continue
        if one.method == method or (method == "HEAD" and one.method == "GET"):
            try:
                return one, {k: unquote(v, errors="strict") for k, v in groups.groupdict().items() if v is not None}
            except UnicodeDecodeError:
                raise problems.bad_request("The path is not valid UTF-8") from None
        allowed.append(one.method)
    return allowed


class ClientGone(Exception):
    """The client left before its request was done."""


async def run_while_connected(request: Request, work: Callable[[threading.Event], _T]) -> _T:
    """`work` in a worker thread; its event is set once the client has left. The body must have been read. `work`
    raises ClientGone when it finds the event set; whoever awaits this sees ClientDisconnect."""
    gone = threading.Event()

    async def watch() -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(0.2)
        gone.set()

    watcher = asyncio.create_task(watch())
    try:
        return await run_in_threadpool(work, gone)
    except ClientGone:
        raise ClientDisconnect from None
    finally:
        watcher.cancel()


async def read_body(request: Request, limit: int = JSON_MAX_BYTES) -> bytes:
    """The whole body in memory. Raises Problem 413 beyond `limit` bytes."""
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise problems.too_large(f"The request body is larger than {limit} bytes")
        pieces.append(piece)
    return b"".join(pieces)


async def stream_to(request: Request, write: Callable[[bytes], Any]) -> None:
    """Feed the body to `write` in a worker thread, in pieces of about 1 MiB; one is written while the next arrives."""
    pending: asyncio.Task[Any] | None = None
    buffer = bytearray()
    try:
        async for piece in request.stream():
            buffer += piece
            if len(buffer) >= STREAM_BYTES:
                if pending:
                    await pending
                pending = asyncio.create_task(run_in_threadpool(write, bytes(buffer)))
                buffer.clear()
        if pending:
            await pending
            pending = None
        if buffer:
            await run_in_threadpool(write, bytes(buffer))
    finally:
        if pending:
            await asyncio.wait([pending])
            pending.exception()
