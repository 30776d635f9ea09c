"""Weights of domains over the draws of a training: constant from one switch point to the next."""

import hashlib
from collections.abc import Iterator, Sequence
from math import ceil

from ...hub_sync.text import utf8
from .updates import Array


class Schedule:
    """Weights by draw. Draws are numbered from 0 over the whole training, all processes together.

    >>> schedule = Schedule(["code", "law"])
    >>> schedule.add(0, np.array([0.5, 0.5]))
    >>> schedule.add(96, np.array([0.8, 0.2]))
    >>> [(first, stop, weights.tolist()) for first, stop, weights in schedule.segments(90, 100)]
    [(90, 96, [0.5, 0.5]), (96, 100, [0.8, 0.2])]
    """

    def __init__(self, domains: Sequence[str]) -> None:
        self.domains = tuple(domains)
        self.starts: list[int] = []
        self.weights: list[Array] = []

    def add(self, from_draw: int, weights: Array) -> None:
        """Weights for every draw from `from_draw` on, which comes after all earlier switch points."""
        assert from_draw > self.starts[-1] if self.starts else from_draw == 0
        self.starts.append(from_draw)
        self.weights.append(weights)

    def segments(self, start: int, stop: int) -> Iterator[tuple[int, int, Array]]:
        """(first draw, draw after the last, weights) of each stretch of constant weights in [start, stop)."""
        for first, after, weights in zip(self.starts, [*self.starts[1:], stop], self.weights, strict=True):
            if max(first, start) < min(after, stop):
                yield max(first, start), min(after, stop), weights

    def digest(self) -> int:
        """63 bits of a hash of switch points and weights, to compare processes by."""
        sha = hashlib.sha256(utf8(repr((self.domains, self.starts))))
        for weights in self.weights:
            sha.update(weights.tobytes())
        return int.from_bytes(sha.digest()[:8], "big") >> 1


def lag(accumulation: int, workers: int = 0, prefetch: int = 2) -> int:
    """Optimiser steps between the last one that was trained and the first whose rows nobody has drawn yet.

    accelerate's loader is one batch ahead, and each worker process has `prefetch` batches in its queue.

    >>> lag(1), lag(8), lag(4, workers=3)
    (1, 1, 2)

    Args:
        accumulation: batches per optimiser step and process.
    """
    return ceil((1 + workers * prefetch) / accumulation)


def switch(step: int, steps_ahead: int, rows_per_step: int) -> tuple[int, int]:
    """(draw, step) from which weights can act that are decided after `step` optimiser steps: the next step counts from
    `step`, and the loader has drawn rows of `steps_ahead` steps more.

    >>> switch(10, 1, 32)
    (352, 11)
    """
    return (step + steps_ahead) * rows_per_step, step + steps_ahead
