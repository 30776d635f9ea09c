"""The chat client against servers that push back, hang or are slow: seconds beside those of a perfect client.

    python -m benchmarks inference_limits

Every figure is a share of an ideal that is computed for the same server, printed with its floor. Nothing is asserted:
another load on the machine takes from all of them.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from hubwright.inference.client import ChatClient, Endpoint
from hubwright.inference.requests import Reply

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "inference"))
from raw_server import RawServer, perfect_wall
from stage_work import numbered, stage


def main() -> None:
    """Measure each in turn."""
    print("| what | measured | ideal | share of the ideal | floor |\n|---|---:|---:|---:|---:|")
    with RawServer("bucket", delay=0.2, rate=100, burst=20) as server:
        seconds = _timed(server.url, 2000, 64)
        log = server.stats()["log"]
    later = [status for _, status in log[len(log) // 2 :]]
    _show("2,000 requests to a bucket of 100/s", seconds, 20.0, 0.8)
    with RawServer("echo", delay=0.2) as server:
        _timed(server.url, 100, 256)  # warm-up
        _show("5,000 requests of 200 ms, 256 in flight", _timed(server.url, 5000, 256), 4.0, 0.75)
    with RawServer("busy", delay=0.2, share=0.3, wait=1) as server:
        seconds = _stage(server.url, 3000)
        ideal = perfect_wall(server.stats()["refused"], 64, 3000, 0.2, 1.0)
    _show("3,000 rows, 30 % of tries refused for 1 s", seconds, ideal, 1 / 1.5)
    for behaviour in ("never", "loris"):
        with RawServer(behaviour) as server:
            endpoint = {"concurrency": 16, "timeout": 4.0, "max_retries": 2}
            _show(f"a server that never ends ({behaviour})", _stage(server.url, 16, endpoint=endpoint), 12.0, 1 / 1.1)
    print(f"\nrefused in the second half of the bucket: {later.count(429) / len(later):.0%}, at most 30 %")


def _show(what: str, seconds: float, ideal: float, floor: float) -> None:
    share = ideal / seconds
    met = "met" if share >= floor else "NOT MET"
    print(f"| {what} | {seconds:.1f} s | {ideal:.1f} s | {share:.2f} | {floor:.2f} {met} |", flush=True)


def _timed(url: str, count: int, in_flight: int) -> float:
    async def work() -> list[Reply]:
        async with ChatClient(Endpoint("local", url, concurrency=in_flight)) as chat:
            turns = ([{"role": "user", "content": str(number)}] for number in range(count))
            return list(await asyncio.gather(*(chat.complete(turn) for turn in turns)))

    began = time.perf_counter()
    assert all(reply.ok for reply in asyncio.run(work()))
    return time.perf_counter() - began


def _stage(url: str, rows: int, **settings: object) -> float:
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        stage(url, Path(folder), numbered(rows), max_failed=1.0, **settings)
        return time.perf_counter() - began
