"""The adaptive limit in flight, against servers that push back with cause and without, and what the queue costs."""

from __future__ import annotations

import asyncio
from typing import Any

import psutil
import pytest
from raw_server import RawServer

from hubwright.inference.client import ChatClient, Endpoint
from hubwright.inference.limit import AdaptiveLimit
from hubwright.inference.requests import Reply


def ask(url: str, count: int, **settings: Any) -> tuple[list[Reply], AdaptiveLimit]:
    """`count` requests at once, and the limit afterwards."""

    async def work() -> tuple[list[Reply], AdaptiveLimit]:
        async with ChatClient(Endpoint("local", url, **{"concurrency": 64, **settings})) as chat:
            turns = ([{"role": "user", "content": str(number)}] for number in range(count))
            return list(await asyncio.gather(*(chat.complete(turn) for turn in turns))), chat.limit

    return asyncio.run(work())


def test_refusals_that_no_load_explains_do_not_collapse_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []
    adapt = AdaptiveLimit._adapt

    def recorded(self: AdaptiveLimit) -> None:
        adapt(self)
        limits.append(self.limit)

    monkeypatch.setattr(AdaptiveLimit, "_adapt", recorded)
    with RawServer("busy", delay=0.02, share=0.3, wait=0.05) as server:
        replies, _ = ask(server.url, 3000)
    assert all(reply.ok for reply in replies)
    assert sum(limits) / len(limits) >= 40 and max(limits[len(limits) // 2 :]) == 64, limits


def test_a_limit_that_helps_is_kept() -> None:
    """Simulated time: a server of 10 places that refuses the eleventh request."""
    now = 0.0
    limit = AdaptiveLimit(64, clock=lambda: now)

    async def work() -> tuple[int, int]:
        nonlocal now
        refused = good = 0
        for step in range(400):
            taken = 0
            while limit.running < limit.limit:
                await limit.acquire()
                taken += 1
            for place in range(taken):
                now += 0.1 / taken
                limit.release(good=place < 10, pushed_back=place >= 10)
                if step >= 200:
                    good, refused = good + (place < 10), refused + (place >= 10)
        return good, refused

    good, refused = asyncio.run(work())
    assert limit.limit <= 16
    assert refused < 0.15 * good and good > 0.8 * 200 * 10


def test_without_push_back_the_limit_stays() -> None:
    with RawServer("echo") as server:
        _, limit = ask(server.url, 300)
    assert limit.lowest == limit.limit == 64


def test_waiting_for_a_place_is_no_time_out() -> None:
    with RawServer("echo", delay=0.05) as server:
        replies, _ = ask(server.url, 60, concurrency=1, timeout=2.0, max_retries=0)  # 3 seconds for all
    assert all(reply.ok for reply in replies)


def test_a_cancelled_waiter_takes_no_place() -> None:
    async def work() -> int:
        limit = AdaptiveLimit(1)
        await limit.acquire()
        waiters = [asyncio.create_task(limit.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        waiters[0].cancel()
        limit.release(good=True, pushed_back=False)
        waiters[1].cancel()  # its place is given to it already
        await asyncio.gather(*waiters[:2], return_exceptions=True)
        await waiters[2]
        return limit.running

    assert asyncio.run(work()) == 1


@pytest.mark.slow
def test_queued_requests_take_little_memory() -> None:
    """Acceptance: 10 MB for 1,000 queued requests."""
    process = psutil.Process()
    with RawServer("echo", hold=1) as server:

        async def work() -> float:
            async with ChatClient(Endpoint("local", server.url, concurrency=16)) as chat:
                await chat.complete([{"role": "user", "content": "first"}])
                before = process.memory_info().rss
                turns = [[{"role": "user", "content": f"{n} " * 300}] for n in range(2000)]
                tasks = [asyncio.create_task(chat.complete(turn)) for turn in turns]
                while chat.limit.running < 16 or len(chat._asking) < 2000:
                    await asyncio.sleep(0.01)
                grown = (process.memory_info().rss - before) / 2 / 1e6
                for task in tasks:
                    task.cancel()
                server.hold()
                return grown

        assert asyncio.run(work()) <= 10
