"""Exact figures about tensors that are read in blocks: the same whatever the size of the blocks.

Sums are made over tiles that depend on the tensor's shape alone, in float64, and added without rounding error
(`math.fsum`); the k-th largest magnitude is found by counting, in two passes over the bits of the float32 numbers.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .numbers import Array

TILE = 1 << 16  # elements, about, in a tile
_LOW = 16  # bits of a magnitude that the second pass counts


def tile_rows(shape: tuple[int, ...]) -> int:
    """Rows of a tile: as many as have about TILE elements, at least one."""
    width = math.prod(shape[1:])
    return max(1, TILE // max(1, width))


class Sum:
    """A sum over blocks, each of whole tiles."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.tile = tile_rows(shape) * max(1, math.prod(shape[1:]))
        self.parts: list[float] = []

    def add(self, left: Array, right: Array | float = 1.0) -> None:
        """Adds the sum of the products of two blocks' elements: each product of two float32 is exact in float64."""
        products = np.multiply(left, right, dtype=np.float64).reshape(-1)
        # numpy's pairwise sum is the same on every machine, as BLAS' dot product is not.
        self.parts.extend(float(products[n : n + self.tile].sum()) for n in range(0, len(products), self.tile))

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


def kth_magnitudes(blocks: Callable[[], Iterable[Sequence[Array]]], ks: Sequence[int]) -> list[Rank]:
    """The k-th largest absolute value of each of several tensors of one shape.

    Args:
        blocks: gives the tensors' blocks, side by side, float32 and finite, as often as it is called.
        ks: one a tensor, from 1.
    """

    def counted(bits: Callable[[int, NDArray[np.int32]], NDArray[np.int32]], size: int) -> NDArray[np.int64]:
        total = np.zeros((len(ks), size), np.int64)
        for tensors in blocks():
            for number, block in enumerate(tensors):
                # The bits of a float without its sign are in the order of its size.
                counted_bits = bits(number, np.abs(block).reshape(-1).view(np.int32))
                total[number] += np.bincount(counted_bits, minlength=size)
        return total

    mask = (1 << _LOW) - 1
    counts = counted(lambda _, size: size >> _LOW, 1 << (31 - _LOW))
    reached = [_reach(of, k) for of, k in zip(counts, ks, strict=True)]
    highs, aboves = [high for high, _, _ in reached], [above for _, above, _ in reached]
    counts = counted(lambda number, size: size[(size >> _LOW) == highs[number]] & mask, 1 << _LOW)
    ranks = []
    for of, k, high, above in zip(counts, ks, highs, aboves, strict=True):
        low, more, equal = _reach(of, k - above)
        value = np.array([high << _LOW | low], np.int32).view(np.float32)[0]
        ranks.append(Rank(float(value), above + more, equal))
    return ranks


def _reach(counts: NDArray[np.int64], k: int) -> tuple[int, int, int]:
    """The bin of the k-th largest, how many are in higher bins, and how many in it."""
    from_top = np.cumsum(counts[::-1])
    place = int(np.searchsorted(from_top, k))
    if place == len(counts):
        raise ValueError("k is larger than the number of elements")
    here = int(counts[-1 - place])
    return len(counts) - 1 - place, int(from_top[place]) - here, here
