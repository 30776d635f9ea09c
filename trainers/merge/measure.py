"""Exact figures about tensors that are read in blocks: the same whatever the size of the blocks.

Sums are made over tiles that depend on the tensor's shape alone, in float64, and added without rounding error
(`math.fsum`); the k-th largest magnitude is found by counting, in two passes over the bits of the float32 numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

TILE = 1 << 16  # elements, about, in a tile
_LOW = 16  # bits of a magnitude that the second pass counts


def tile_rows(shape: tuple[int, ...]) -> int:
    """Rows of a tile: as many as have about TILE elements, at least one."""
    width = math.prod(shape[1:])
    return max(1, TILE // max(1, width))


class Sum:
    """A sum over blocks, each of whole tiles."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.rows = tile_rows(shape)
        self.parts: list[float] = []

    def add(self, left: torch.Tensor, right: torch.Tensor) -> None:
        """Adds the sum of the products of two blocks' elements."""
        import torch

        for start in range(0, len(left), self.rows):
            a, b = (one[start : start + self.rows].reshape(-1).to(torch.float64) for one in (left, right))
            self.parts.append(float(torch.dot(a, b)))

    @property
    def value(self) -> float:
        """The sum so far."""
        return math.fsum(self.parts)


@dataclass(frozen=True)
class Rank:
    """Where the k-th largest magnitude stands.

    Attributes:
        value: the magnitude.
        above, equal: how many elements are larger, and how many have exactly this magnitude.
    """

    value: float
    above: int
    equal: int


def kth_magnitude(blocks: Callable[[], Iterable[torch.Tensor]], k: int) -> Rank:
    """The k-th largest absolute value, k from 1.

    Args:
        blocks: gives the tensor's blocks, float32 and finite, as often as it is called.
    """
    import torch

    def counted(bits: Callable[[torch.Tensor], torch.Tensor], size: int) -> list[int]:
        total = torch.zeros(size, dtype=torch.int64)
        for block in blocks():
            # The bits of a float without its sign are in the order of its size.
            total += torch.bincount(bits(block.abs().reshape(-1).view(torch.int32)), minlength=size)
        return [int(count) for count in total]

    mask = (1 << _LOW) - 1
    high, above, _ = _reach(counted(lambda bits: bits >> _LOW, 1 << (31 - _LOW)), k)
    low, more, equal = _reach(counted(lambda bits: bits[(bits >> _LOW) == high] & mask, 1 << _LOW), k - above)
    value = torch.tensor([high << _LOW | low], dtype=torch.int32).view(torch.float32)
    return Rank(float(value), above + more, equal)


def _reach(counts: list[int], k: int) -> tuple[int, int, int]:
    """The bin of the k-th largest, how many are in higher bins, and how many in it."""
    above = 0
    for place in range(len(counts) - 1, -1, -1):
        if above + counts[place] >= k:
            return place, above, counts[place]
        above += counts[place]
    raise ValueError("k is larger than the number of elements")
