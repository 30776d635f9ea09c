"""Interleaved timing: A B A B ..., so that a machine that slows down slows both sides."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """Medians in seconds, and the median and quartiles of the ratio ours / peer taken pair by pair."""

    peer: str
    ours: float
    theirs: float
    median: float
    low: float
    high: float


def interleave(ours: Callable[[], object], peers: Mapping[str, Callable[[], object]], rounds: int) -> list[Ratio]:
    """Run everything once to warm up, then `rounds` times in turn."""
    sides = {"ours": ours, **peers}
    for call in sides.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, call in sides.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    result = []
    for name in peers:
        pairs = [a / b for a, b in zip(seconds["ours"], seconds[name], strict=True)]
        low, _, high = statistics.quantiles(pairs, n=4) if len(pairs) > 1 else (pairs[0],) * 3
        medians = statistics.median(seconds["ours"]), statistics.median(seconds[name])
        result.append(Ratio(name, *medians, statistics.median(pairs), low, high))
    return result


def show(title: str, ratios: list[Ratio]) -> None:
    """Print a Markdown table."""
    print(f"\n### {title}\n\n| peer | ours, s | peer, s | ratio ours/peer (quartiles) |\n|---|---:|---:|---:|")
    for r in ratios:
        print(f"| {r.peer} | {r.ours:.3f} | {r.theirs:.3f} | {r.median:.2f} ({r.low:.2f} to {r.high:.2f}) |")
