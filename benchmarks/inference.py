"""The chat client at 256 in flight against a server with 200 ms latency: share of the ideal, and ratios to peers.

Ours records every exchange in the recording store, as it does in a run. Peers need an environment of their own:

    python3.11 -m venv .venv-peers
    .venv-peers/bin/pip install distilabel "openai[aiohttp]" requests datatrove aiofiles orjson
    HUBWRIGHT_BENCH_PEERS=.venv-peers/bin/python python -m benchmarks inference

The ideal is the number of rounds times the latency. Everything runs in turn, so that other load meets all alike.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .timing import interleave

REQUESTS, IN_FLIGHT, LATENCY, ROUNDS = 2560, 256, 0.2, 5
FLOOR = 0.75  # share of the ideal; quality target
QUESTION = "Which of the two answers is better, and why? " * 20


def main() -> None:
    """Measure at 200 ms and at 0 ms."""
    for latency in (LATENCY, 0.0):
        server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("chat_echo.py")), str(latency)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert server.stdin and server.stdout
        try:
            _measure(server.stdout.readline().strip(), latency)
        finally:
            server.stdin.close()
            server.wait(10)


def _measure(url: str, latency: float) -> None:
    ours, mine = _timed(lambda: _ours(url))
    python = os.environ.get("HUBWRIGHT_BENCH_PEERS")
    peers, theirs = {}, {}
    for name in ("openai", "distilabel", "datatrove") if python else ():
        peers[name], theirs[name] = _timed(lambda name=name: _peer(python, name, url))
    interleave(ours, peers or {"nothing": lambda: None}, rounds=ROUNDS)
    print(f"\n### Chat client, {REQUESTS} requests, {IN_FLIGHT} in flight, {latency * 1000:.0f} ms\n")
    ideal = -(-REQUESTS // IN_FLIGHT) * latency
    print("| client | s, median | requests/s | share of the ideal | ours / peer (range) |\n|---|---:|---:|---:|---:|")
    for name, seconds in {"hubwright": mine, **theirs}.items():
        median = statistics.median(seconds[1:])  # the first is the warm-up
        ratios = sorted(a / b for a, b in zip(mine[1:], seconds[1:], strict=True))
        share = f"{ideal / median:.2f}" if latency else "–"
        against = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})" if name in theirs else ""
        print(f"| {name} | {median:.2f} | {REQUESTS / median:.0f} | {share} | {against} |")
    if latency:
        share = ideal / statistics.median(mine[1:])
        print(f"\n{share:.2f} of the ideal, floor {FLOOR}: {'met' if share >= FLOOR else 'NOT MET'}")
    if not python:
        print("\n(no peers: HUBWRIGHT_BENCH_PEERS names no interpreter)")


def _timed(call: Callable[[], float]) -> tuple[Callable[[], None], list[float]]:
    """The call for interleaving, and the list of seconds it reports about itself."""
    seconds: list[float] = []
    return lambda: seconds.append(call()), seconds


def _ours(url: str) -> float:
    from hubwright.inference.client import ChatClient, Endpoint, run_blocking
    from hubwright.inference.store import RecordingStore

    async def work(store: RecordingStore) -> float:
        async with ChatClient(Endpoint("local", url, concurrency=IN_FLIGHT), store=store) as chat:
            started = time.perf_counter()
            asked = (
                chat.complete([{"role": "user", "content": f"{QUESTION}{n}"}], temperature=0.0)
                for n in range(REQUESTS)
            )
            replies = await asyncio.gather(*asked)
            assert all(reply.ok for reply in replies)
            return time.perf_counter() - started

    with tempfile.TemporaryDirectory() as folder, RecordingStore(Path(folder)) as store:
        return run_blocking(work(store))


def _peer(python: str, name: str, url: str) -> float:
    script = str(Path(__file__).with_name("chat_peers.py"))
    command = [python, "-W", "ignore", script, name, url, str(REQUESTS), str(IN_FLIGHT)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])
