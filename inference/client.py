"""A chat client for any OpenAI-compatible endpoint: aiohttp, recorded requests, retries, adaptive concurrency.

One POST needs no SDK: at hundreds in flight `openai` does more work on the same transport (`python -m benchmarks
inference`). A request's failure is a value (`Reply.outcome`). Only what stops every request raises: an unreachable
endpoint, a refused key, an unknown model, a spent budget.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from ..hub_sync.errors import DataError, UsageError
from ..hub_sync.hub import LOOPBACK
from ..hub_sync.text import utf8, well_formed
from .budget import Budget, Usage, check_budget
from .endpoint import Endpoint
from .limit import AdaptiveLimit
from .replies import ServerError, asked_wait, decoded, error_within, read_error, read_reply, settle
from .requests import RETRIED, Message, Parse, Reply, one_line, request_key
from .store import RecordingStore

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")
Read = Callable[[Reply], Reply]
BUSY = frozenset({429, 503, 529})  # the server says that it has too much to do
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds before the first retry and the most before any (our choice)
GRACE = 10.0  # seconds in which answers under way may still come in when the work stops (our choice)


class ChatClient:
    """`async with ChatClient(endpoint, store=store) as chat: reply = await chat.complete(messages, temperature=0)`.

    Args:
        store: where every exchange is recorded and looked up first.
        replay: answer from the store alone; a request that is not recorded raises DataError.
        budget: hard caps, checked before every request.
        pool: of several clients that share the caps: (own use, own requests in flight) -> those of all.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        store: RecordingStore | None = None,
        replay: bool = False,
        budget: Budget | None = None,
        pool: Callable[[Usage, int], tuple[Usage, int]] | None = None,
    ) -> None:
        if replay and store is None:
            raise UsageError("a replay needs a recording")
        self.endpoint = endpoint
        self.store = store
        self.replay = replay
        self.budget = budget
        self.pool = pool
        self.usage = Usage()
        self.limit = AdaptiveLimit(endpoint.concurrency)
        self._answered = self._succeeded = False
        self._asking: dict[str, asyncio.Task[Reply]] = {}
        self._in_flight: set[asyncio.Task[Any] | None] = set()
        self._closing = False
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> ChatClient:
        if not self.replay:
            import aiohttp

            from .transport import AnswerIds, CleanConnector

            self._ids = AnswerIds()
            self._connector = CleanConnector(limit=0)  # the limit in flight is ours
            headers = {"Authorization": f"Bearer {self.endpoint.key()}", "Content-Type": "application/json"}
            self._session = aiohttp.ClientSession(
                connector=self._connector,
                timeout=aiohttp.ClientTimeout(total=self.endpoint.timeout),
                headers=headers,
                trust_env=urlsplit(self.endpoint.url).hostname not in LOOPBACK,  # HTTPS_PROXY, as other clients
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        # Whoever asked may be gone, through an error elsewhere or a spent budget. What is in flight is paid for, so it
        # is awaited and recorded; what waits for its turn is not.
        self._closing = True
        for task in self._asking.values():
            if task not in self._in_flight:
                task.cancel()
        asking = list(self._asking.values())
        if asking:
            for task in (await asyncio.wait(asking, timeout=GRACE))[1]:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        parse: Parse | None = None,
        attempts: int = 1,
        draw: int = 0,
        allow_truncated: bool = False,
        settled: bool = False,
        tags: tuple[str, ...] | None = None,
        **params: Any,
    ) -> Reply:
        """One chat completion.

        Args:
            parse: makes `Reply.value` of a reply; a ValueError from it makes the reply invalid.
            attempts: whole answers to ask for until one is usable or refused, each recorded as a draw of its own.
            draw: number of the answer to the same request, for several different ones.
            allow_truncated: an answer cut off at `max_tokens` is an answer.
            settled: a recorded answer that `parse` cannot use is not asked for again.
            tags: opening tags of thoughts, in place of the endpoint's.
            params: as in the chat completions API (temperature, max_tokens, tools, response_format, ...).

        Raises UsageError for an unreachable endpoint, a refused key, an unknown model or a spent budget; DataError for
        a replay of a request that is not recorded; StorageError if the answer cannot be recorded.
        """
        body = self.endpoint.request({"messages": [dict(message) for message in messages], **params})
        tags = self.endpoint.reasoning_tags if tags is None else tags

        def read(reply: Reply) -> Reply:
            return _parsed(settle(reply, tags), parse)

        reply = Reply()
        for attempt in range(attempts):
            reply = await self._once(body, draw * attempts + attempt, read, allow_truncated, settled)
            reply = replace(reply, attempts=attempt + 1)
            if reply.outcome in ("ok", "refused") or reply.final:
                break
        self.usage.outcomes[reply.outcome] = self.usage.outcomes.get(reply.outcome, 0) + 1
        return reply

    async def continue_text(self, prompt: str, *, draw: int = 0, **params: Any) -> Reply:
        """A continuation of a text, by the server's route `completions`: no chat template, and no thought is cut out.

        Args:
            prompt: as the server reads it; most add the model's start token to it themselves.
            draw: as in `complete`.
            params: as in `complete`.

        An answer cut off at `max_tokens` is an answer; an empty one is recorded as such. Raises as `complete` does.
        """
        body = self.endpoint.request({"prompt": prompt, **params})
        reply = await self._once(body, draw, lambda reply: settle(reply, ()), True, True)
        self.usage.outcomes[reply.outcome] = self.usage.outcomes.get(reply.outcome, 0) + 1
        return reply

    async def _once(self, body: dict[str, Any], draw: int, read: Read, allow_truncated: bool, settled: bool) -> Reply:
        """The recorded answer, or one from the network; a request that is being asked is not asked twice."""
        key = request_key(self.endpoint.model, self.endpoint.revision, body, draw)
        if key not in self._asking:
            recorded = None
            if self.store is not None:  # the truth of a store is its length, for which it sorts its index
                recorded = self.store.find(key, any_outcome=self.replay or settled)
            if recorded is not None and (self.replay or recorded.ok):
                self.usage.recorded += 1
                return read(recorded)
            if self.replay:
                raise DataError(
                    f"replay: the request {key[:12]} to {self.endpoint.model} is not in the recording; "
                    "record it with a run that has the endpoint"
                )

            def forget(task: asyncio.Task[Reply]) -> None:
                del self._asking[key]
                if not task.cancelled():
                    task.exception()  # nobody may be left to wait for it

            # A task of its own, so that the answer is recorded even if who asked is cancelled.
            self._asking[key] = asyncio.create_task(self._ask(key, body, draw, read, allow_truncated))
            self._asking[key].add_done_callback(forget)
        return read(await asyncio.shield(self._asking[key]))

    async def _ask(self, key: str, body: dict[str, Any], draw: int, read: Read, allow_truncated: bool) -> Reply:
        """Ask and record; the record has the text as it came and the outcome of the answer in it."""
        reply = await self._send(body, allow_truncated)
        if self.store is not None:
            answer = read(reply)
            outcome = reply if answer.outcome == "invalid" else answer
            self.store.append(
                key,
                replace(reply, outcome=outcome.outcome, error=outcome.error),
                model=self.endpoint.model,
                revision=self.endpoint.revision,
                draw=draw,
                request=body,
                usable=answer.ok,
            )
        return reply

    async def _send(self, body: dict[str, Any], allow_truncated: bool) -> Reply:
        """All tries of one request."""
        endpoint = self.endpoint
        route = "completions" if "prompt" in body else "chat/completions"
        content = utf8(well_formed(json.dumps({"model": endpoint.model, **body}, ensure_ascii=False)))
        total = endpoint.total_timeout or endpoint.timeout * (endpoint.max_retries + 1)
        started = 0.0
        retries = 0
        reply = Reply(outcome="failed", error="timed out")
        try:
            async with asyncio.timeout(None) as clock:
                while True:
                    await self.limit.acquire(ahead=started > 0)
                    if not started:  # a long queue is no time-out
                        started = time.monotonic()
                        clock.reschedule(asyncio.get_running_loop().time() + total)
                    reply, wait = await self._try(route, content, allow_truncated)
                    if reply.outcome != "failed" or reply.final or self._closing:
                        break
                    if wait is None:
                        if retries == endpoint.max_retries:
                            break
                        # Full jitter, so that many requests that failed together do not come back together.
                        wait = random.uniform(0.5, 1.0) * min(LONGEST_WAIT, FIRST_WAIT * 2**retries)  # noqa: S311
                        retries += 1
                    self.usage.retries += 1
                    await asyncio.sleep(wait)
        except TimeoutError:
            reply = Reply(outcome="failed", error=reply.error or "timed out")
        reply = replace(reply, seconds=time.monotonic() - started if started else 0.0)
        self.usage.requests += 1
        self.usage.prompt_tokens += reply.prompt_tokens
        self.usage.completion_tokens += reply.completion_tokens
        self.usage.latencies.append(reply.seconds)
        return reply

    async def _try(self, route: str, content: bytes, allow_truncated: bool) -> tuple[Reply, float | None]:
        """(reply, seconds the server asks to wait before the next) of one try; frees its place in flight."""
        import aiohttp

        assert self._session is not None, "use `async with`"
        good = pushed_back = False
        task = asyncio.current_task()
        try:
            if self.budget:
                used, in_flight = self.usage, self.limit.running - 1
                check_budget(self.budget, *(self.pool(used, in_flight) if self.pool else (used, in_flight)))
            self._in_flight.add(task)
            async with self._session.post(f"{self.endpoint.url}/{route}", data=content) as answer:
                raw = await answer.read()
                status, headers = answer.status, answer.headers
                body = decoded(raw)
                if self._ids.strayed(body, raw, content):
                    self._connector.drop()  # what follows on it is shifted as well
                    return Reply(outcome="failed", error="connection lost: it gave another request's answer"), None
            self._answered = True
            error = error_within(body) if status == 200 else read_error(status, raw)
            if error is not None:  # one within HTTP 200 is what its code would be as a status
                pushed_back = error.status in BUSY
                wait = asked_wait(headers) if error.wait is None else error.wait
                return self._refused(error, route, within=status == 200), wait if error.status in RETRIED else None
            good = True
            if body is None and raw.strip() != b"null":
                return Reply(outcome="failed", error=f"unusable reply: not JSON ({len(raw)} bytes)"), None
            reply = read_reply(body, allow_truncated=allow_truncated)
            self._succeeded |= reply.outcome != "failed"
            return reply, None
        except TimeoutError:
            pushed_back = True
            return Reply(outcome="failed", error="timed out"), None
        except aiohttp.ClientConnectorError as error:
            if not self._answered:
                reason = one_line(error.strerror or error)
                raise UsageError(
                    f"{self.endpoint.where} cannot be reached ({reason}); is the server running?"
                ) from error
            return Reply(outcome="failed", error=f"connection refused: {one_line(error)}"), None
        except aiohttp.InvalidURL as error:
            raise UsageError(f"{self.endpoint.where} is no URL; write http://HOST:PORT/v1") from error
        except (aiohttp.ClientError, OSError) as error:
            return Reply(outcome="failed", error=f"connection lost: {one_line(error) or type(error).__name__}"), None
        finally:
            self._in_flight.discard(task)
            self.limit.release(good=good, pushed_back=pushed_back)

    def _refused(self, error: ServerError, route: str, within: bool) -> Reply:
        """The reply for an error; `within` HTTP 200. Raises UsageError if no other request would fare better."""
        endpoint, status = self.endpoint, error.status
        # After a success the key, the URL and the model are right, so it is this one request that is refused.
        if status in (401, 403) and not self._succeeded:
            raise UsageError(f"{endpoint.where} refused the key ({status}); check {endpoint.api_key_env}")
        if status == 404 and not self._succeeded:
            raise UsageError(
                f"{endpoint.where} has no model {endpoint.model!r} or no {route.replace('/', ' ')} (404); check the "
                "URL (does it end in /v1?) and the model's name"
            )
        if status in (400, 422) and not self._succeeded and (remedy := endpoint.remedy(error.param, error.message)):
            raise UsageError(f"{endpoint.where} refused the request ({error.message}); {remedy}")
        name = f"HTTP {status}" if status else f"error {error.code}".rstrip()
        message = f"{name}{' within HTTP 200' if within else ''}: {error.message}"
        return Reply(outcome="refused" if error.code == "content_filter" else "failed", error=message, status=status)


def _parsed(reply: Reply, parse: Parse | None) -> Reply:
    """The reply with what `parse` makes of it."""
    if parse is None or not reply.ok:
        return reply
    try:
        return replace(reply, value=parse(reply))
    except ValueError as error:
        return replace(reply, outcome="invalid", error=one_line(error))


def run_blocking(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, on uvloop where that is installed, also from a thread that runs a loop already."""

    def run() -> T:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(work)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run()
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
