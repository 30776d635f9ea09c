"""Near duplicates of a fixed set of texts, exactly, in time that grows linearly with the other texts.

Two texts whose sets of shingles have a Jaccard similarity of at least t share a shingle among the rarest
n - ceil(t n) + 1 of each (the prefix filter of Bayardo et al., 2007). Only those are looked up,
so an ending that thousands of texts have costs nothing.
"""

import hashlib
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...hub_sync.memory import give_back
from ...hub_sync.text import utf8
from .near_duplicates import words

SIZE, MOST = 5, 1000
BATCH = 1 << 14  # texts, and hashes of texts, that are looked up together
_CHARS = 200_000  # of texts that are hashed together
_FACTOR = 0x9E3779B97F4A7C15
Hashes = np.ndarray


def shingle_hashes(texts: Sequence[str]) -> tuple[Hashes, np.ndarray]:
    """(64-bit hashes of the shingles of five words of one text after another, (texts,) how many each has).

    Those of a text are sorted and different, digits alike; a text with fewer words has one hash of all of them.
    """
    tokens = [words(text) for text in texts]
    sizes = np.fromiter(map(len, tokens), np.int64, len(tokens))
    found = np.fromiter(map(_word_hash, itertools.chain.from_iterable(tokens)), np.uint64, int(sizes.sum()))
    widths = np.minimum(sizes, SIZE)
    counts = sizes - widths + 1
    owners = np.repeat(np.arange(len(texts)), counts)
    places = np.arange(len(owners)) + np.repeat(np.cumsum(sizes) - sizes - np.cumsum(counts) + counts, counts)
    found, wide = np.append(found, np.zeros(SIZE, np.uint64)), widths[owners]
    # A polynomial modulo 2**64 over the words of each shingle.
    total = np.where(wide > 0, found[places] + wide.astype(np.uint64) * np.uint64(_FACTOR), np.uint64(1))
    for n in range(1, SIZE):
        total = np.where(n < wide, total * np.uint64(_FACTOR) + found[places + n], total)
    total = total[np.lexsort((total, owners))]
    new = np.append(True, (total[1:] != total[:-1]) | (owners[1:] != owners[:-1]))[: len(total)]
    return total[new], np.bincount(owners[new], minlength=len(texts))


def text_hash(text: str) -> int:
    """64 bits of a text's BLAKE2b."""
    return int.from_bytes(hashlib.blake2b(utf8(text), digest_size=8).digest())


_word_hash = lru_cache(1 << 16)(text_hash)


class HashFile:
    """Hashes of one text's shingles after another in a file, and beside it where each text's end.

    Args:
        path: the file; that of an earlier run is replaced.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.folder, self._paths = path.parent, (path, path.with_suffix(".ends"))
        for one in self._paths:
            one.unlink(missing_ok=True)
        self._hashes, self._ends = (one.open("wb") for one in self._paths)
        self._end, self._maps = 0, (np.empty(0, np.uint64), np.empty(0, np.int64))
        self._ends.write(self._end.to_bytes(8, "little"))
        self._texts: list[str] = []
        self._chars = 0

    def add(self, text: str) -> None:
        """Append the next text, which is hashed together with others."""
        self._texts.append(text)
        self._chars += len(text)
        if self._chars > _CHARS:
            self._write()

    def _write(self) -> None:
        hashes, counts = shingle_hashes(self._texts)
        self._hashes.write(hashes.tobytes())
        self._ends.write((self._end + np.cumsum(counts)).astype("<i8").tobytes())
        self._end += len(hashes)
        self._texts, self._chars = [], 0

    def __getitem__(self, number: int) -> Hashes:
        hashes, ends = self._mapped()
        return hashes[ends[number] : ends[number + 1]]

    def sizes(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers of hashes of these texts."""
        ends = self._mapped()[1]
        return np.asarray(ends[numbers + 1] - ends[numbers])

    def _mapped(self) -> tuple[Hashes, np.ndarray]:
        if self._texts:
            self._write()
        if len(self._maps[0]) < self._end:
            self._hashes.flush()
            self._ends.flush()
            hashes, ends = self._paths  # as plain arrays: a slice of a memmap costs four times as much
            self._maps = np.asarray(np.memmap(hashes, np.uint64, "r")), np.asarray(np.memmap(ends, "<i8", "r"))
        return self._maps


class NearIndex:
    """Some texts of a file of hashes, with which others of it are compared.

        >>> hashes = HashFile(context.workdir / "hashes")
        >>> for text in ("please book the train to Rome for two", "cancel it", "Please book the train to Rome"):
        ...     hashes.add(text)
        >>> index = NearIndex(hashes, np.array([0, 1]), threshold=0.5)
        >>> list(index.matches(np.array([2])))
        [(2, array([0]))]

    Every pair at or above the threshold is found, unless all that the two share within their rarest shingles are
    shingles that more than `most` of the indexed texts have.

    Args:
        numbers: the indexed texts; in a file are 8 bytes for each of their rarest shingles, about half of all.
        threshold: Jaccard similarity of shingles of five words, digits alike, in (0, 1].
        most: texts with a shingle from which on it is not looked up.
    """

    def __init__(self, hashes: HashFile, numbers: np.ndarray, threshold: float, most: int = MOST) -> None:
        give_back()  # the counts below are the most that a build holds at once
        self.threshold, self._most, self._hashes, self._numbers = threshold, most, hashes, numbers
        self._sizes = hashes.sizes(numbers)
        # How rare a shingle is, is the count of its hash's last bits. Any order would do, if it is one for all texts.
        last_bits = min(22, int(self._sizes.sum()).bit_length() + 4)
        self._last, self._counts = np.uint64((1 << last_bits) - 1), np.zeros(1 << last_bits, np.uint32)
        for _, _, found in self._batches(numbers):
            np.add.at(self._counts, found & self._last, 1)
        # The first bits of a shingle's hash, and the text's place in `numbers` as the others: in order, lists.
        self._places = np.uint64((1 << max(1, len(numbers).bit_length())) - 1)
        # In a file: memory that the system may take back.
        size = int(self._prefix(self._sizes).sum())
        with tempfile.TemporaryFile(dir=hashes.folder) as file:
            self._lists = np.memmap(file, np.uint64, "w+", shape=max(1, size))[:size]
        filled = 0
        for start, owners, rare in self._rarest(numbers):
            self._lists[filled : filled + len(rare)] = (rare & ~self._places) | (owners + start).astype(np.uint64)
            filled += len(rare)
        self._lists.sort()

    def matches(self, numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """(text, places in the indexed `numbers` in rising order) of the given texts that are near duplicates."""
        for start, owners, rare in self._rarest(numbers):
            low = np.searchsorted(self._lists, rare & ~self._places)
            count = np.searchsorted(self._lists, rare | self._places, side="right") - low
            chosen = (count > 0) & (count <= self._most)
            low, count, owners = low[chosen], count[chosen], owners[chosen]
            within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            places = (self._lists[np.repeat(low, count) + within] & self._places).astype(np.int64)
            pairs = np.unique(np.repeat(owners, count) * len(self._numbers) + places)
            owners, places = np.divmod(pairs, max(1, len(self._numbers)))
            for owner in np.unique(owners):
                number = int(numbers[start + owner])
                candidates = places[owners == owner]
                hashes = self._hashes[number]
                near = candidates[[self._similarity(place, hashes) >= self.threshold for place in candidates]]
                if len(near):
                    yield number, near

    def _batches(self, numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray, Hashes]]:
        """(place of the first text, numbers of hashes, hashes) of some texts at a time, one at least."""
        for first in range(0, len(numbers), BATCH):
            part = numbers[first : first + BATCH]
            sizes = self._hashes.sizes(part)
            batch = np.cumsum(sizes) // BATCH
            for start, stop in itertools.pairwise([*np.flatnonzero(np.diff(batch, prepend=-1)), len(part)]):
                hashes = [self._hashes[number] for number in part[start:stop]]
                yield first + start, sizes[start:stop], np.concatenate(hashes)

    def _rarest(self, numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray, Hashes]]:
        """(place of the first text, whose from there, hash) of the shingles that have to be looked up, by batch.

        They are each text's rarest, of equally rare ones the least hash first.
        """
        for start, sizes, found in self._batches(numbers):
            owners = np.repeat(np.arange(len(sizes)), sizes)
            order = np.lexsort((self._counts[found & self._last], owners))
            rank = np.arange(len(found)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            chosen = rank < np.repeat(self._prefix(sizes), sizes)
            yield start, owners[chosen], found[order][chosen]

    def _prefix(self, sizes: np.ndarray) -> np.ndarray:
        return sizes - np.ceil(self.threshold * sizes - 1e-9).astype(np.int64) + 1

    def _similarity(self, place: int, hashes: Hashes) -> float:
        other = self._hashes[self._numbers[place]]
        shared = np.isin(other, hashes, assume_unique=True).sum()
        return float(shared / (len(hashes) + len(other) - shared))
