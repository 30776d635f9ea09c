"""Which row of which domain every draw of a training takes.

Draw n decides by (seed, n) alone: a counter-based generator (Philox) gives its uniform number, and the schedule's
weights at n turn that into a domain, by the inverse of the cumulative distribution, as `numpy.random.Generator.choice`
does. The c-th draw of a domain takes place c mod size of a permutation that follows from (seed, domain, c div size):
every row once per pass, in another order in each. So all processes draw the same, and a resumed training draws again
what it had drawn.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from ...hub_sync.text import utf8
from .schedule import Schedule
from .updates import Array

BLOCK = 4096


def generator(seed: int, stream: str, number: int) -> np.random.Generator:
    """The generator of one block or pass: independent streams by name, exact for any number below 2**64."""
    key = hashlib.sha256(utf8(f"{seed}/{stream}")).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "big"), counter=[0, 0, 0, number]))


def uniforms(seed: int, block: int) -> Array:
    """Uniform numbers of the draws [block * BLOCK, (block + 1) * BLOCK)."""
    return generator(seed, "draws", block).random(BLOCK)


class DomainSampler(Sampler[int]):
    """Indices into the domains' rows, one domain after another, for one epoch of a training.

    Args:
        sizes: rows by domain, in the order in which they lie.
        schedule: of the weights; looked up at every draw, so that it may grow while this iterates.
        seed: of domains and orders.
        length: draws per epoch.
        begin: -> the first draw of the epoch that begins now.
        row_size: (k,), mean samples or tokens in a domain's row, of which weights are shares; None: shares of rows.

    Attributes:
        drawn: draws that were handed out, the number of the last one plus 1.
    """

    def __init__(
        self, sizes: Mapping[str, int], schedule: Schedule, seed: int, length: int, begin: Callable[[], int],
        row_size: Array | None = None,
    ) -> None:  # fmt: skip
        self.sizes, self.schedule, self.seed, self.length = dict(sizes), schedule, seed, length
        self._begin, self._row_size = begin, row_size
        self._edges = [0, *np.cumsum(list(sizes.values())).tolist()]
        self._orders: dict[int, tuple[int, NDArray[np.int64]]] = {}
        self.drawn = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        start = self._begin()
        cursors, places, sizes = self.counts(start).tolist(), self.schedule, list(self.sizes.values())
        numbers: list[float] = []
        entry, cumulative = -1, [1.0]
        for draw in range(start, start + self.length):
            if not numbers or draw % BLOCK == 0:
                numbers = uniforms(self.seed, draw // BLOCK).tolist()
            while entry + 1 < len(places.starts) and places.starts[entry + 1] <= draw:
                entry += 1
                cumulative = self._cumulative(places.weights[entry]).tolist()
            domain = bisect_right(cumulative, numbers[draw % BLOCK])
            turn, place = divmod(cursors[domain], sizes[domain])
            cursors[domain] += 1
            self.drawn = max(self.drawn, draw + 1)
            yield self._edges[domain] + int(self._order(domain, turn)[place])

    def counts(self, stop: int) -> NDArray[np.int64]:
        """Draws of each domain in [0, stop), (k,)."""
        total = np.zeros(len(self.sizes), dtype=np.int64)
        for first, after, weights in self.schedule.segments(0, stop):
            cumulative = self._cumulative(weights)
            for block in range(first // BLOCK, -(-after // BLOCK)):
                begin = block * BLOCK
                numbers = uniforms(self.seed, block)[max(first - begin, 0) : after - begin]
                domains = np.searchsorted(cumulative, numbers, side="right")
                total += np.bincount(domains, minlength=len(total))
        return total

    def totals(self, stop: int, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Samples or tokens of each domain in the draws [0, stop), (k,).

        Args:
            lengths: samples or tokens of every row, in the order in which they lie.
        """
        total = []
        for domain, (count, (first, after)) in enumerate(zip(self.counts(stop), pairwise(self._edges), strict=True)):
            turns, rest = divmod(int(count), after - first)
            own = lengths[first:after]
            total.append(turns * own.sum() + own[self._order(domain, turns)[:rest]].sum())
        return np.array(total, dtype=np.int64)

    def _cumulative(self, weights: Array) -> Array:
        rows = weights if self._row_size is None else weights / self._row_size
        sums = rows.cumsum()
        return sums / sums[-1]

    def _order(self, domain: int, turn: int) -> NDArray[np.int64]:
        if self._orders.get(domain, (-1,))[0] != turn:
            name = self.schedule.domains[domain]
            size = self._edges[domain + 1] - self._edges[domain]
            self._orders[domain] = turn, generator(self.seed, f"rows/{name}", turn).permutation(size)
        return self._orders[domain][1]
