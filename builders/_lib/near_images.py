"""Images that look the same: their perceptual hashes, and the groups of those that differ in few of 64 bits.

The groups take time that grows with the number of hashes and not with its square. The 64 bits are cut into
`distance` + 2 blocks; two hashes that differ in at most `distance` bits agree in two blocks at least, so that only
hashes with two equal blocks are compared (Manku et al., 2007).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

MOST = 256  # neighbours with the same two blocks that a hash is compared with; our choice
FLAT = 4.0  # standard deviation of grey values below which a hash would be of noise alone; our choice
_ONES = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)


def perceptual_hash(image: Image) -> int:
    """64 bits of the image's low frequencies (imagehash.phash); 0 for an image without structure, such as one colour.

    Args:
        image: RGB.
    """
    import imagehash

    small = image.convert("L").resize((32, 32))
    if float(np.asarray(small, np.float32).std()) < FLAT:
        return 0
    return int(str(imagehash.phash(image)), 16)


def bits(values: np.ndarray) -> np.ndarray:
    """How many bits of each 64-bit number are set, (n,) uint8."""
    total = np.zeros(len(values), np.uint8)
    for shift in (0, 16, 32, 48):
        total += _ONES[(values >> np.uint64(shift)).astype(np.int64) & 0xFFFF]
    return total


def near_groups(hashes: np.ndarray, distance: int) -> np.ndarray:
    """The least hash of the group that each hash belongs to, directly or through others; 0 stays 0.

        >>> near_groups(np.array([0b1000, 0b1001, 1 << 60, 0], np.uint64), 2)
        array([8, 8, 1152921504606846976, 0], dtype=uint64)

    Memory is about 40 bytes for each different hash. Where more than 256 hashes have two equal blocks, some near ones
    may stay in two groups.

    Args:
        hashes: (n,) uint64.
        distance: bits in which two of a group may differ, 0 to 8.
    """
    different = np.unique(hashes[hashes != 0])
    if not len(different):
        return np.zeros(len(hashes), np.uint64)
    least = different if distance == 0 else different[_components(different, distance)]
    groups = np.zeros(len(hashes), np.uint64)
    there = hashes != 0
    groups[there] = least[np.searchsorted(different, hashes[there])]
    return groups


def _components(values: np.ndarray, distance: int) -> np.ndarray:
    """(n,) the place of the least value of each value's component; values rise."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = [pair for key in _keys(values, distance) for pair in _pairs(values, key, distance)]
    ones, others = (np.concatenate([pair[side] for pair in pairs] or [np.empty(0, np.int64)]) for side in (0, 1))
    graph = coo_array((np.ones(len(ones), bool), (ones, others)), shape=(len(values), len(values)))
    count, labels = connected_components(graph, directed=False)
    first = np.full(count, len(values), np.int64)
    np.minimum.at(first, labels, np.arange(len(values)))
    return first[labels]


def _keys(values: np.ndarray, distance: int) -> Iterator[np.ndarray]:
    """For every choice of two blocks the bits of both, (n,) uint64."""
    ends = np.linspace(0, 64, distance + 3).astype(int)
    masks = [np.uint64(((1 << int(stop)) - 1) ^ ((1 << int(start)) - 1)) for start, stop in itertools.pairwise(ends)]
    return (values & (one | other) for one, other in itertools.combinations(masks, 2))


def _pairs(values: np.ndarray, key: np.ndarray, distance: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(places, places) of values with the same key that differ in few bits."""
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    pairs, places = [], np.flatnonzero(ordered[1:] == ordered[:-1])
    for step in range(1, MOST + 1):
        if not len(places):
            break
        one, other = order[places], order[places + step]
        near = bits(values[one] ^ values[other]) <= distance
        if near.any():
            pairs.append((one[near], other[near]))
        places = places[places + step + 1 < len(ordered)]
        places = places[ordered[places] == ordered[places + step + 1]]
    return pairs
