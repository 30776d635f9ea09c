"""What is left of a model's change to a tensor: its largest elements, its middle ones, or some at random.

Each function looks at all models' changes and returns a `keep(number, change)` for methods.py, which is called on the
blocks in order. `densities` are the shares of elements that stay, one a model, from 0 to 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from .measure import Rank, Sum, kth_magnitude, tile_rows

if TYPE_CHECKING:
    import torch

    from .methods import Blocks, Keep

Rescale = Literal["none", "expected", "l1"]


def keep_all(number: int, change: torch.Tensor) -> torch.Tensor:
    """The change as it is."""
    return change


def trim(blocks: Blocks, elements: int, densities: Sequence[float]) -> Keep:
    """The largest magnitudes of each change, at least one (TIES' first step, arXiv 2306.01708). Of equal ones those
    that come first in the tensor."""
    chosen: list[tuple[_Cut, int] | bool] = []
    for number, density in enumerate(densities):
        if density >= 1 or density <= 0:
            chosen.append(density >= 1)
            continue
        k = max(1, int(density * elements))
        rank = kth_magnitude(_changes(blocks, number), k)
        chosen.append((_Cut(rank), k - rank.above))

    def keep(number: int, change: torch.Tensor) -> torch.Tensor:
        how = chosen[number]
        if isinstance(how, bool):
            return change if how else change.zero_()
        cut, first = how
        size = change.abs()
        return change.mul_(cut.mark(size > cut.value, cut.equal(size, 0, first)))

    return keep


def middle(blocks: Blocks, elements: int, densities: Sequence[float], gammas: Sequence[float]) -> Keep:
    """Neither the largest `gamma` of each change nor its smallest (Model Breadcrumbs, arXiv 2312.06795): `density` of
    the elements in between. Where both cannot be had, fewer of the largest are left out."""
    chosen: list[tuple[_Cut, int, _Cut, int] | bool] = []
    for number, (density, gamma) in enumerate(zip(densities, gammas, strict=True)):
        target = int(density * elements)
        if density >= 1 or not target:
            chosen.append(density >= 1)
            continue
        # Places of the magnitudes in rising order, of equal ones the first in the tensor first.
        begin = max(0, elements - target - int(gamma * elements))
        low = kth_magnitude(_changes(blocks, number), elements - begin)
        high = kth_magnitude(_changes(blocks, number), elements - (begin + target - 1))
        below = [elements - rank.above - rank.equal for rank in (low, high)]
        chosen.append((_Cut(low), begin - below[0], _Cut(high), begin + target - below[1]))

    def keep(number: int, change: torch.Tensor) -> torch.Tensor:
        how = chosen[number]
        if isinstance(how, bool):
            return change if how else change.zero_()
        low, skipped, high, first = how
        size = change.abs()
        enough = low.mark(size > low.value, low.equal(size, skipped, elements))
        return change.mul_(enough & high.mark(size < high.value, high.equal(size, 0, first)))

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
        return lambda number, change: change.mul_(draws[number].mask(change))

    factors = [1.0] * len(densities)
    for number, density in enumerate(densities):
        if rescale == "expected" and 0 < density < 1:
            factors[number] = 1 / density
        elif rescale == "l1" and 0 < density < 1:
            keep, before, after = masked(), Sum(shape), Sum(shape)
            for change in _changes(blocks, number)():
                before.add(change.abs(), change.new_ones(()).expand_as(change))
                left = keep(number, change)
                after.add(left.abs(), left.new_ones(()).expand_as(left))
            if before.value >= 1e-7 and after.value >= 1e-7:
                factors[number] = before.value / after.value
    final = masked()
    return lambda number, change: final(number, change).mul_(factors[number])


def _changes(blocks: Blocks, number: int) -> Callable[[], Iterable[torch.Tensor]]:
    return lambda: (models[number] - base for base, models in blocks())


class _Cut:
    """A magnitude that blocks are compared with in order."""

    def __init__(self, rank: Rank) -> None:
        self.value, self.seen = rank.value, 0

    def equal(self, size: torch.Tensor, begin: int, end: int) -> torch.Tensor:
        """Places in this block of the elements of exactly this magnitude, from the tensor's `begin`-th to before its
        `end`-th such element."""
        found = (size == self.value).reshape(-1).nonzero()[:, 0]
        self.seen += len(found)
        before = self.seen - len(found)
        return found[max(0, begin - before) : max(0, end - before)]

    @staticmethod
    def mark(mask: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """The mask, true at these places as well."""
        mask.reshape(-1)[places] = True
        return mask


class _Draw:
    """Which elements of a tensor stay, tile by tile."""

    def __init__(self, shape: tuple[int, ...], density: float, seed: str) -> None:
        self.rows, self.density, self.tile = tile_rows(shape), density, 0
        self.key = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")

    def mask(self, change: torch.Tensor) -> torch.Tensor:
        """For the next block of the tensor: 1 or 0 in its shape."""
        import numpy as np
        import torch

        found = torch.empty_like(change)
        for start in range(0, len(change), self.rows):
            part = found[start : start + self.rows]
            stream = np.random.Philox(key=np.array([self.key, self.tile], dtype=np.uint64))
            part.copy_(torch.from_numpy(np.random.Generator(stream).random(part.shape) < self.density))
            self.tile += 1
        return found
