"""Images behind foreign URLs, fetched within limits: one deadline for all that a URL takes, no private address.

    async with Fetcher(FetchLimits(deadline=20)) as fetcher:
        answer = await fetcher.fetch("https://example.org/cat.jpg")
    answer.content, answer.reason            # (b"...", "") or (None, "HTTP 404")

A failure is an answer of this moment: nothing here remembers it.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from .addresses import AddressRefused, Lookup, PublicResolver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp
    from yarl import URL

_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 522, 524})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TYPES = ("image/", "application/octet-stream", "binary/octet-stream", "application/x-octet-stream")
_FORBIDS = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})  # of the header X-Robots-Tag
_CHUNK = 1 << 16
_LONGEST_URL = 8000  # characters; our choice


@dataclass(frozen=True)
class FetchLimits:
    """What a URL may cost. All are our choice.

    Attributes:
        deadline: seconds for a URL in all: names, redirects, retries and the whole body.
        max_bytes: of the body, unpacked.
        redirects: that are followed, each checked like the first address.
        attempts: requests for a URL whose failure may pass.
        concurrency: URLs at once.
        per_host: URLs of one host at once.
        private_hosts: hosts, or HOST:PORT, that may have a private address.
        robots_tag: whether an X-Robots-Tag that forbids indexing or training is respected.
    """

    deadline: float = 30.0
    max_bytes: int = 20_000_000
    redirects: int = 5
    attempts: int = 3
    concurrency: int = 64
    per_host: int = 4
    private_hosts: tuple[str, ...] = ()
    robots_tag: bool = True


class Fetched(NamedTuple):
    """What came of a URL: its content, or None and the reason in words that can be counted, with a detail."""

    content: bytes | None
    reason: str = ""
    detail: str = ""


class _Failure(Exception):
    """Why a URL gives nothing; `passes`: whether asking again may help, after `wait` seconds at least."""

    def __init__(self, reason: str, detail: str = "", passes: bool = False, wait: float = 0.0) -> None:
        self.reason, self.detail, self.passes, self.wait = reason, detail, passes, wait
        super().__init__(reason)


class Fetcher:
    """Connections for many URLs, in one event loop.

    Args:
        limits: of every URL.
        lookup: see `PublicResolver`.
    """

    def __init__(self, limits: FetchLimits, lookup: Lookup | None = None) -> None:
        self.limits = limits
        self._resolver = PublicResolver(limits.private_hosts, lookup)
        self._places = asyncio.Semaphore(limits.concurrency)
        self._hosts: dict[str, tuple[asyncio.Semaphore, int]] = {}

    async def __aenter__(self) -> Fetcher:
        import aiohttp

        # A name that nobody answers for holds a thread for long; the loop's own pool has a handful.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(self.limits.concurrency))
        connector = aiohttp.TCPConnector(
            resolver=self._resolver, use_dns_cache=False, limit=0, force_close=False, enable_cleanup_closed=True
        )
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.limits.deadline),
            headers={"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "hubwright"},
        )  # fmt: skip
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def fetch(self, url: str) -> Fetched:
        """The body behind a URL, within the limits. Waiting for a place does not count towards the deadline."""
        try:
            start = self._parsed(url)
        except _Failure as failure:
            return Fetched(None, failure.reason, failure.detail)
        async with self._place(start.host or ""):
            try:
                async with asyncio.timeout(self.limits.deadline):
                    return Fetched(await self._tries(start))
            except TimeoutError:
                return Fetched(None, "deadline", f"{self.limits.deadline:g} s")
            except _Failure as failure:
                return Fetched(None, failure.reason, failure.detail)

    @asynccontextmanager
    async def _place(self, host: str) -> AsyncIterator[None]:
        """One of the host's places, then one of all; many URLs of one host do not hold the places of others."""
        own, users = self._hosts.get(host, (asyncio.Semaphore(self.limits.per_host), 0))
        self._hosts[host] = own, users + 1
        try:
            async with own, self._places:
                yield
        finally:
            own, users = self._hosts.pop(host)
            if users > 1:
                self._hosts[host] = own, users - 1

    async def _tries(self, url: URL) -> bytes:
        for attempt in range(self.limits.attempts):
            try:
                return await self._follow(url)
            except _Failure as failure:
                if not failure.passes or attempt + 1 == self.limits.attempts:
                    raise
                pause = 0.5 * 2**attempt * (1 + random.random() / 2)  # noqa: S311
                await asyncio.sleep(max(failure.wait, pause))
        raise AssertionError("no attempt")

    async def _follow(self, url: URL) -> bytes:
        """The body at the end of the redirects."""
        for _ in range(self.limits.redirects + 1):
            answer = await self._get(url)
            if isinstance(answer, bytes):
                return answer
            url = answer
        raise _Failure("more redirects than followed", str(self.limits.redirects))

    async def _get(self, url: URL) -> bytes | URL:
        """The body, or the address that it has moved to."""
        import aiohttp

        try:
            self._resolver.check(url.host or "", url.port or 0)
            async with self._session.get(url, allow_redirects=False) as answer:
                if answer.status in _REDIRECTS and (location := answer.headers.get("Location")):
                    return self._parsed(location, url)
                self._check(answer)
                return await self._body(answer)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failure(error) from error

    def _check(self, answer: aiohttp.ClientResponse) -> None:
        """Raise _Failure for an answer that is no image by its head."""
        if answer.status != 200:
            wait = answer.headers.get("Retry-After", "")
            seconds = float(wait) if wait.isdigit() else 0.0
            raise _Failure(f"HTTP {answer.status}", "", answer.status in _RETRIED, seconds)
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind and not kind.startswith(_TYPES):
            raise _Failure("content type of no image", kind[:80])
        if self.limits.robots_tag:
            tags = " ".join(answer.headers.getall("X-Robots-Tag", [])).lower().replace(",", " ").split()
            if forbidden := _FORBIDS.intersection(tags):
                raise _Failure("forbidden by X-Robots-Tag", min(forbidden))
        if answer.content_length is not None and answer.content_length > self.limits.max_bytes:
            raise _Failure("body above the limit of bytes", f"{answer.content_length} bytes")

    async def _body(self, answer: aiohttp.ClientResponse) -> bytes:
        """The body, unpacked. It is never larger than the limit, whatever it is packed from."""
        packing = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if packing not in ("identity", "", "gzip", "x-gzip", "deflate"):
            raise _Failure("content encoding that was not asked for", packing[:80])
        unpack = None if packing in ("identity", "") else zlib.decompressobj(47 if "gzip" in packing else 15)
        most, body = self.limits.max_bytes, bytearray()
        async for chunk in answer.content.iter_chunked(_CHUNK):
            if unpack is None:
                body += chunk
            else:
                try:
                    body += unpack.decompress(chunk, most + 1 - len(body))
                except zlib.error as error:
                    raise _Failure("body that cannot be unpacked", str(error)) from error
            if len(body) > most:
                raise _Failure("body above the limit of bytes", f"more than {most} bytes")
        if unpack is not None and not unpack.eof:
            raise _Failure("body that cannot be unpacked", "it ends early")
        return bytes(body)

    def _parsed(self, text: str, base: URL | None = None) -> URL:
        """A URL, or one that is relative to `base`. Raises _Failure."""
        from yarl import URL

        try:
            url = URL(text.strip())
            url = base.join(url) if base is not None else url
            port = url.port
        except (ValueError, TypeError) as error:
            raise _Failure("not an http(s) URL", str(error)[:80]) from error
        if url.scheme not in ("http", "https") or not url.host or not port or len(text) > _LONGEST_URL:
            raise _Failure("not an http(s) URL", text[:80])
        if url.user is not None or url.password is not None:
            raise _Failure("URL with a user name or password")
        return url


def _failure(error: BaseException) -> _Failure:
    """What a client's error means."""
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__ or at.__context__
    if refused := next((one for one in chain if isinstance(one, AddressRefused)), None):
        return _Failure("private address", str(refused))
    detail = " ".join(str(error).split())[:120] or type(error).__name__
    if any(isinstance(one, ssl.SSLError) for one in chain) or "certificate" in detail.lower():
        return _Failure("TLS that cannot be trusted", detail)
    if type(error).__name__ == "ClientConnectorDNSError":
        return _Failure("host that has no address", detail, passes=True)
    if type(error).__name__ in ("InvalidURL", "NonHttpUrlClientError"):
        return _Failure("not an http(s) URL", detail)
    return _Failure("connection that failed", detail, passes=True)
