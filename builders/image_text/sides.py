"""Which rows are used, and in which split: all texts of an image, and images that look the same, on one side."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...hub_sync.errors import DataError
from ...hub_sync.text import utf8
from .._lib.disk_array import DiskArray
from .._lib.near_images import near_groups
from .._lib.splits import unit_hash
from .convert import Row

if TYPE_CHECKING:
    from .build import ImageTextConfig

MOST_SPLITS = 20
_PART = 1 << 16


class Sides:
    """Rows are added one by one; `masks` decides when all are there.

    Args:
        folder: for two numbers of each row; in memory are two bytes.

    Attributes:
        left_out: (source, reason) -> rows, after `masks`.
        looks: images that look like another one, after `masks`; `across`, those in two splits.
    """

    def __init__(self, folder: Path, config: ImageTextConfig) -> None:
        self._config = config
        self._keys, self._hashes = DiskArray(folder / "image_keys"), DiskArray(folder / "phashes")
        self._names: dict[tuple[str, str], int] = {}
        self._own = array("H")  # number of (source, split) of each row
        self.left_out: Counter[tuple[str, str]] = Counter()
        self.looks = self.across = 0

    def __len__(self) -> int:
        return len(self._own)

    def add(self, row: Row, split: str | None) -> None:
        """Take up the next row; `split` is the one of its file. Raises DataError for too many splits."""
        name = row.columns["source"], row.split or split or "train"
        number = self._names.setdefault(name, len(self._names))
        if number == len(self._names) - 1 and len({split for _, split in self._names}) > MOST_SPLITS:
            raise DataError(f"more than {MOST_SPLITS} splits, the last is {name[1]!r}; name another column of splits")
        self._own.append(number)
        self._keys.append(int.from_bytes(hashlib.blake2b(utf8(row.image_key), digest_size=8).digest()))
        self._hashes.append(row.phash)

    def masks(self) -> dict[str, np.ndarray]:
        """Split -> (rows,) bool, of the splits that have rows."""
        keys, hashes = self._keys.values(), self._hashes.values()
        groups = near_groups(hashes, self._config.phash_distance)
        own = np.frombuffer(self._own, np.uint16)
        used = np.ones(len(own), bool)
        self.looks = _like_another(groups, keys)
        if self._config.deduplicate == "near":
            used = _first_images(groups, keys)
            for (source, _), number in self._names.items():
                if count := int((~used & (own == number)).sum()):
                    self.left_out[source, "looks like another image"] += count
        if self._config.splits:  # a group is on one side
            sides, names = self._drawn(groups, keys), list(self._config.splits)
        else:
            names = list(dict.fromkeys(split for _, split in self._names))
            sides = np.array([names.index(split) for _, split in self._names], np.uint8)[own]
            self.across = _across(np.where(groups, groups, keys)[used], sides[used])
        masks = {name: used & (sides == number) for number, name in enumerate(names)}
        order = ("train", "validation", "test")
        chosen = sorted(masks, key=lambda name: (order.index(name) if name in order else len(order), name))
        return {name: masks[name] for name in chosen if masks[name].any()}

    def _drawn(self, groups: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """(rows,) uint8, place of the split in the settings: by a hash of the image's group, or of the image."""
        seed, ends = self._config.seed, list(accumulate(self._config.splits.values()))
        sides = np.empty(len(keys), np.uint8)
        for start in range(0, len(keys), _PART):
            part = np.where(groups[start : start + _PART], groups[start : start + _PART], keys[start : start + _PART])
            places = np.fromiter((unit_hash(f"{seed}:{group:016x}") for group in part.tolist()), float, len(part))
            sides[start : start + _PART] = np.minimum(np.searchsorted(ends, places, side="right"), len(ends) - 1)
        return sides


def _first_images(groups: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """(rows,) bool: rows of the first image of each group, and rows without a group."""
    there = np.flatnonzero(groups)
    _, first, number = np.unique(groups[there], return_index=True, return_inverse=True)
    used = np.ones(len(groups), bool)
    used[there] = keys[there] == keys[there][first][number]
    return used


def _like_another(groups: np.ndarray, keys: np.ndarray) -> int:
    """Images less their groups: how many look like another."""
    there = groups != 0
    return len(np.unique(keys[there])) - len(np.unique(groups[there]))


def _across(groups: np.ndarray, sides: np.ndarray) -> int:
    """Groups with rows in several splits."""
    own = [np.unique(groups[sides == side]) for side in np.unique(sides)]
    _, counts = np.unique(np.concatenate(own), return_counts=True)
    return int((counts > 1).sum())
