"""Generation throughput: a phase of `button` against distilabel's pipeline, one request a row.

    python3.11 -m venv .venv-peers && .venv-peers/bin/pip install distilabel openai
    HUBWRIGHT_BENCH_PEERS=.venv-peers/bin/python python -m benchmarks.button_throughput

Both ask the same endpoint (a server that answers after 200 ms) the same number of questions with the same number in
flight, in turn. Whole runs are timed, with what each does to be safe: ours probes 20 rows for its estimate, records
every exchange and writes shards; distilabel starts processes and writes its batches. From two sizes follows the rate
without the start. Without HUBWRIGHT_BENCH_PEERS ours alone is shown.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hubwright.builders._lib.teacher import PhaseClient, phase

from .button_peers import QUESTION

SIZES, IN_FLIGHT, LATENCY, ROUNDS = (512, 2048), 64, 0.2, 3


async def _ask(row: Mapping[str, Any], config: Mapping[str, Any], client: PhaseClient) -> dict[str, Any]:
    return {"text": await client.ask([{"role": "user", "content": f"{QUESTION}{row['n']}"}], str.strip)}


ask = phase(_ask)


def ours(url: str, rows: int) -> float:
    """Seconds of a stage in a fresh folder."""
    from hubwright.inference.client import Endpoint
    from hubwright.inference.stage import run_stage

    config = {"seed": 0, "temperature": 0.0, "max_tokens": 256, "attempts": 1, "json_mode": False}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        result = run_stage(
            "benchmarks.button_throughput:ask",
            [{"n": n} for n in range(rows)], config, endpoint=Endpoint("local", url, concurrency=IN_FLIGHT),
            folder=Path(folder) / "stage", recording=Path(folder) / "recording",
        )  # fmt: skip
        seconds = time.perf_counter() - started
    assert len(result.rows) == rows and all(row["text"] for row in result.rows)
    return seconds


def peer(python: str, url: str, rows: int) -> float:
    """Seconds of distilabel's pipeline."""
    script = str(Path(__file__).with_name("button_peers.py"))
    done = subprocess.run(
        [python, "-W", "ignore", script, url, str(rows), str(IN_FLIGHT)], check=True, capture_output=True, text=True
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measure in turn and print."""
    python = os.environ.get("HUBWRIGHT_BENCH_PEERS")
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("chat_echo.py")), str(LATENCY)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdin and server.stdout
    try:
        url = server.stdout.readline().strip()
        mine: dict[int, list[float]] = {size: [] for size in SIZES}
        theirs: dict[int, list[float]] = {size: [] for size in SIZES}
        ours(url, 64)  # imports
        for _ in range(ROUNDS):
            for size in SIZES:
                mine[size].append(ours(url, size))
                if python:
                    theirs[size].append(peer(python, url, size))
    finally:
        server.stdin.close()
        server.wait(10)
    print(f"\n### {IN_FLIGHT} in flight, {LATENCY * 1000:.0f} ms, {ROUNDS} rounds in turn\n")
    print("| requests | ours, s | distilabel, s | ours / distilabel (range) | ideal, s |\n|---:|---:|---:|---:|---:|")
    for size in SIZES:
        ratios = sorted(a / b for a, b in zip(mine[size], theirs[size], strict=False))
        against = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})" if ratios else "–"
        other = f"{statistics.median(theirs[size]):.2f}" if ratios else "–"
        ideal = -(-size // IN_FLIGHT) * LATENCY
        print(f"| {size} | {statistics.median(mine[size]):.2f} | {other} | {against} | {ideal:.2f} |")
    more = SIZES[1] - SIZES[0]
    for name, seconds in (("ours", mine), ("distilabel", theirs)):
        if seconds[SIZES[0]]:
            rate = statistics.median(more / (b - a) for a, b in zip(seconds[SIZES[0]], seconds[SIZES[1]], strict=True))
            print(f"\n{name}, without the start: {rate:.0f} requests/s")


if __name__ == "__main__":
    main()
