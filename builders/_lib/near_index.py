"""Near duplicates of a fixed set of texts, exactly, in time that grows linearly with the other texts.

Two texts whose sets of shingles have a Jaccard similarity of at least t share a shingle among the rarest
n - ceil(t n) + 1 of each (the prefix filter of Bayardo et al., 2007). Only those are looked up,
so an ending that thousands of texts have costs nothing.
"""

import hashlib
import math
from array import array
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...hub_sync.text import utf8
from .near_duplicates import words

MOST = 1000
_FACTOR = 0x9E3779B97F4A7C15
Hashes = np.ndarray


def shingle_hashes(text: str, size: int = 5, fold_digits: bool = True) -> Hashes:
    """Sorted 64-bit hashes (uint64) of the shingles of `size` words of a text; of a shorter text, one of all of it."""
    found = np.array([_word_hash(word) for word in words(text, fold_digits)], np.uint64)
    width = min(size, max(1, len(found)))
    end = max(0, len(found) - width) + 1
    total = found[:end] + np.uint64(width * _FACTOR % 2**64) if len(found) else np.ones(1, np.uint64)
    for place in range(1, min(width, len(found))):  # a polynomial modulo 2**64
        total = total * np.uint64(_FACTOR) + found[place : end + place]
    total.sort()
    return total[np.concatenate(([True], total[1:] != total[:-1]))]


@lru_cache(1 << 16)
def _word_hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(utf8(word), digest_size=8).digest())


class HashFile:
    """Hashes of one text after another in a file; in memory are 8 bytes per text.

    Args:
        path: the file; that of an earlier run is replaced.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._path, self._file, self._ends = path, path.open("wb"), array("Q", [0])
        self._map: Hashes | None = None

    def add(self, hashes: Hashes) -> None:
        """Append the hashes of the next text."""
        self._file.write(hashes.tobytes())
        self._ends.append(self._ends[-1] + len(hashes))

    def __getitem__(self, number: int) -> Hashes:
        if self._map is None or len(self._map) < self._ends[-1]:
            self._file.flush()
            self._map = np.memmap(self._path, np.uint64, "r")
        return np.asarray(self._map[self._ends[number] : self._ends[number + 1]])


class NearIndex:
    """Texts that others are compared with, each given as its `shingle_hashes`.

        >>> texts = ["please book the train to Rome for two", "cancel it"]
        >>> index = NearIndex(map(shingle_hashes, texts), threshold=0.5)
        >>> index.matches(shingle_hashes("Please book the train to Rome for two people"))
        array([0])

    Every pair at or above the threshold is found, unless all that the two share within their rarest shingles are
    shingles that more than `most` of the indexed texts have.

    Args:
        texts: the fixed side; in memory are about 40 bytes per shingle.
        threshold: Jaccard similarity of shingles of five words, digits alike, in (0, 1].
        most: texts with a shingle from which on it is not looked up.
    """

    def __init__(self, texts: Iterable[Hashes], threshold: float, most: int = MOST) -> None:
        self.threshold, self._most = threshold, most
        parts = list(texts)
        self._sizes = np.array([len(part) for part in parts], np.int64)
        self._ends = np.cumsum(self._sizes)
        self._all = np.concatenate(parts) if parts else np.empty(0, np.uint64)
        self._values, counts = np.unique(self._all, return_counts=True)
        self._counts = counts.astype(np.int64)
        places, owners = [], []
        for number, part in enumerate(parts):
            chosen = self._prefix(*self._look_up(part))
            places.append(chosen)
            owners.append(np.full(len(chosen), number))
        place = np.concatenate(places) if places else np.empty(0, np.int64)
        order = np.argsort(place, kind="stable")
        self._owners = np.concatenate(owners)[order] if owners else np.empty(0, np.int64)
        self._starts = np.searchsorted(place[order], np.arange(len(self._values) + 1))

    def matches(self, hashes: Hashes) -> np.ndarray:
        """Numbers of the indexed texts that a text is a near duplicate of, in rising order."""
        chosen = self._prefix(*self._look_up(hashes))
        found = [self._owners[self._starts[c] : self._starts[c + 1]] for c in chosen]
        candidates = np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)
        return candidates[[self._similarity(number, hashes) >= self.threshold for number in candidates]]

    def _look_up(self, hashes: Hashes) -> tuple[np.ndarray, np.ndarray]:
        """(places in `_values`, -1 for unknown ones; numbers of texts that have them)."""
        if not len(self._values):
            return np.full(len(hashes), -1), np.zeros(len(hashes), np.int64)
        place = np.minimum(np.searchsorted(self._values, hashes), len(self._values) - 1)
        known = self._values[place] == hashes
        return np.where(known, place, -1), np.where(known, self._counts[place], 0)

    def _prefix(self, place: np.ndarray, count: np.ndarray) -> np.ndarray:
        """Places of the rarest shingles that have to be looked up, of equal ones the least hash first."""
        length = len(place) - math.ceil(self.threshold * len(place) - 1e-9) + 1
        rarest = np.argsort(count, kind="stable")[:length]
        return place[rarest][(place[rarest] >= 0) & (count[rarest] <= self._most)]

    def _similarity(self, number: int, hashes: Hashes) -> float:
        end = self._ends[number]
        other = self._all[end - self._sizes[number] : end]
        shared = np.isin(other, hashes, assume_unique=True).sum()
        return float(shared / (len(hashes) + len(other) - shared))
