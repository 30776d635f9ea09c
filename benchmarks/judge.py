"""FB-Bench's judge stage against a server with 200 ms latency, 64 requests in flight: 591 verdicts, stored.

The ideal is the latency times the number of rounds; the server runs in a process of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

SAMPLES, IN_FLIGHT, LATENCY = 591, 64, 0.2


def _serve(ready: Any, stop: Any) -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from chat_server import ChatServer, all_yes

    with ChatServer(all_yes, delay=LATENCY) as server:
        ready.put(server.url)
        stop.wait()


def main() -> None:
    """Judge five times, each into a fresh file, and print median and best."""
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Queue(), context.Event()
    process = context.Process(target=_serve, args=(ready, stop))
    process.start()
    try:
        _measure(ready.get(timeout=60))
    finally:
        stop.set()
        process.join()


def _measure(url: str) -> None:
    from hubwright.evals._lib.judging.judge import JudgeConfig, judge_answers
    from hubwright.evals.fbbench.answers import read_rows
    from hubwright.evals.fbbench.samples import from_row

    os.environ.setdefault("OPENAI_API_KEY", "none")
    path = Path(__file__).parent.parent / "evals" / "fbbench" / "sample.jsonl"
    rows = [from_row(row) for row in read_rows(path, "sample")]
    answers = [
        replace(rows[i % len(rows)], id=f"s{i:04}").case(f"An answer of some length, number {i}. " * 8)
        for i in range(SAMPLES)
    ]
    config = JudgeConfig(judge=f"openai:local@{url}", concurrency=IN_FLIGHT)
    seconds = []
    for i in range(5):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            judged = judge_answers(answers, config, out=Path(folder) / f"v{i}.jsonl")
            seconds.append(time.perf_counter() - started)
            assert {row["answers"] for row in judged} == {SAMPLES}
    seconds.sort()
    ideal = -(-SAMPLES // IN_FLIGHT) * LATENCY
    print(f"\n### Judge stage\n\n{SAMPLES} verdicts at {LATENCY * 1000:.0f} ms, {IN_FLIGHT} in flight, stored:")
    print(f"median {seconds[2]:.2f} s, best {seconds[0]:.2f} s, ideal {ideal:.2f} s")
