"""What is left of a model's change to a tensor: its largest elements, its middle ones, or some at random.

Each function looks at all models' changes and returns a `keep(number, change)` for methods.py, which is called on the
blocks in order. `densities` are the shares of elements that stay, one a model, from 0 to 1.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .measure import Rank, Sum, kth_magnitudes, tile_rows
from .methods import Blocks, Keep
from .numbers import Array

Rescale = Literal["none", "expected", "l1"]


def keep_all(number: int, change: Array) -> Array:
    """The change as it is."""
    return change


def trim(blocks: Blocks, elements: int, densities: Sequence[float]) -> Keep:
    """The largest magnitudes of each change, at least one (TIES' first step, arXiv 2306.01708). Of equal ones those
    that come first in the tensor."""
    partial = [number for number, density in enumerate(densities) if 0 < density < 1 and elements]
    counts = {number: max(1, int(densities[number] * elements)) for number in partial}
    cuts = {number: (_Cut(rank), counts[number] - rank.above) for number, rank in _ranks(blocks, counts).items()}

    def keep(number: int, change: Array) -> Array:
        if number not in cuts:
            return _all_or_none(change, densities[number])
        cut, first = cuts[number]
        size = abs(change)
        change *= cut.mark(size > cut.value, cut.equal(size, 0, first))
        return change

    return keep


def middle(blocks: Blocks, elements: int, densities: Sequence[float], gammas: Sequence[float]) -> Keep:
    """Neither the largest `gamma` of each change nor its smallest (Model Breadcrumbs, arXiv 2312.06795): `density` of
    the elements in between. Where both cannot be had, fewer of the largest are left out."""
    # Places of the magnitudes in rising order, of equal ones the first in the tensor first: from the first to before
    # the second.
    places: dict[int, tuple[int, int]] = {}
    for number, (density, gamma) in enumerate(zip(densities, gammas, strict=True)):
        target = int(density * elements)
        if target and density < 1:
            begin = max(0, elements - target - int(gamma * elements))
            places[number] = begin, begin + target
    lows = _ranks(blocks, {number: elements - begin for number, (begin, _) in places.items()})
    highs = _ranks(blocks, {number: elements - end + 1 for number, (_, end) in places.items()})
    cuts = {}
    for number, (begin, end) in places.items():
        low, high = lows[number], highs[number]
        below = [elements - rank.above - rank.equal for rank in (low, high)]
        cuts[number] = _Cut(low), begin - below[0], _Cut(high), end - below[1]

    def keep(number: int, change: Array) -> Array:
        if number not in cuts:
            return _all_or_none(change, densities[number])
        low, skipped, high, first = cuts[number]
        size = abs(change)
        enough = low.mark(size > low.value, low.equal(size, skipped, elements))
        enough &= high.mark(size < high.value, high.equal(size, 0, first))
        change *= enough
        return change

    return keep


def dare(
    blocks: Blocks, shape: tuple[int, ...], densities: Sequence[float], rescale: Rescale, seeds: Sequence[str]
) -> Keep:
    """Each element with probability `density`, and the rest made larger for it (DARE, arXiv 2311.03099).

    Args:
        rescale: "expected": divided by the density, as the paper has it; "l1": so that the sum of magnitudes stays.
        seeds: one a model, any text. An element is drawn by seed and place (Philox), whatever the blocks.
    """

    def masked() -> Keep:
        draws = [_Draw(shape, density, seed) for density, seed in zip(densities, seeds, strict=True)]
        return lambda number, change: draws[number].drop(change)

    factors = [1 / density if rescale == "expected" and 0 < density < 1 else 1.0 for density in densities]
    if rescale == "l1":
        keep = masked()
        before, after = ([Sum(shape) for _ in densities] for _ in range(2))
        for base, models in blocks():
            for number, change in enumerate(models):
                change -= base
                before[number].add(abs(change))
                after[number].add(abs(keep(number, change)))
        for number, (whole, left) in enumerate(zip(before, after, strict=True)):
            if whole.value >= 1e-7 and left.value >= 1e-7:
                factors[number] = whole.value / left.value
    final = masked()

    def keep_some(number: int, change: Array) -> Array:
        left = final(number, change)
        left *= factors[number]
        return left

    return keep_some


def _all_or_none(change: Array, density: float) -> Array:
    if density < 1:
        change.fill(0)
    return change


def _ranks(blocks: Blocks, ks: Mapping[int, int]) -> dict[int, Rank]:
    """Number of a model -> the k-th largest magnitude of its change, for those that have a k."""
    if not ks:
        return {}
    ranks = kth_magnitudes(lambda: ([models[n] - base for n in ks] for base, models in blocks()), list(ks.values()))
    return dict(zip(ks, ranks, strict=True))


class _Cut:
    """A magnitude that blocks are compared with in order."""

    def __init__(self, rank: Rank) -> None:
        self.value, self.passed = rank.value, 0

    def equal(self, size: Array, begin: int, end: int) -> NDArray[np.intp]:
        """Places in this block of the elements of exactly this magnitude, from the tensor's `begin`-th to before its
        `end`-th such element."""
        places = (size == self.value).reshape(-1).nonzero()[0]
        before, self.passed = self.passed, self.passed + len(places)
        return places[max(0, begin - before) : max(0, end - before)]

    @staticmethod
    def mark(mask: NDArray[np.bool_], places: NDArray[np.intp]) -> NDArray[np.bool_]:
        """The mask, true at these places as well."""
        mask.reshape(-1)[places] = True
        return mask


class _Draw:
    """Which elements of a tensor stay, tile by tile."""

    def __init__(self, shape: tuple[int, ...], density: float, seed: str) -> None:
        self.rows, self.density, self.tile = tile_rows(shape), density, 0
        self.key = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")

    def drop(self, change: Array) -> Array:
        """The tensor's next block, 0 where an element does not stay."""
        if self.density >= 1:
            return change
        for start in range(0, len(change), self.rows):
            part = change[start : start + self.rows]
            stream = np.random.Philox(key=np.array([self.key, self.tile], dtype=np.uint64))
            part *= np.random.Generator(stream).random(part.shape) < self.density
            self.tile += 1
        return change
