"""Groups of rows that share keys, directly or through others, for any number of rows."""

import hashlib
import itertools
import mmap
from array import array
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from ...hub_sync.text import utf8

_PART = 1 << 16  # keys that are looked at together


class RowGroups:
    """Connected components of rows and keys. What there is of the keys lies in files, a few bytes per row in memory.

        >>> groups = RowGroups(context.workdir / "keys")
        >>> for keys in (["a", "x"], ["b"], ["c", "x"]):
        ...     groups.add(keys)
        >>> list(groups.names())
        ['a', 'b', 'a']

    Args:
        path: the file of their texts, beside one of their hashes; those of an earlier run are replaced.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._places = path.with_suffix(".places")
        for file in (path, self._places):
            file.unlink(missing_ok=True)
        self._text, self._table = path.open("wb+"), self._places.open("wb")
        self._end, self._sizes = 0, array("I")

    def add(self, keys: Sequence[str]) -> None:
        """Add the next row's keys, one at least."""
        self._sizes.append(len(keys))
        for key in keys:
            text = utf8(key)
            self._end += self._text.write(text)
            self._table.write(hashlib.blake2b(text, digest_size=8).digest() + self._end.to_bytes(8, "little"))

    def names(self, chosen: np.ndarray | None = None) -> Iterator[str]:
        """The group of each row, in the rows' order: the least key that the row is tied to.

        Args:
            chosen: (rows,) bool; the others tie nothing, and their names are of no use.
        """
        if not self._sizes:
            return
        self._text.flush()
        self._table.flush()
        keys = np.asarray(np.memmap(self._places, np.dtype([("hash", "<u8"), ("end", "<u8")]), "r"))
        ends, sizes = keys["end"], np.frombuffer(self._sizes, np.uint32)
        counted = np.repeat(np.ones(len(sizes), bool) if chosen is None else chosen, sizes)
        component = self._components(keys["hash"], sizes, counted)
        size = max(1, self._end)  # an empty file cannot be mapped
        with mmap.mmap(self._text.fileno(), size, access=mmap.ACCESS_READ) if self._end else nullcontext(b"") as text:

            def key(number: int) -> bytes:
                return text[ends[number - 1] if number else 0 : ends[number]]

            least = np.full(int(component.max()) + 1, -1, np.int32)
            for number in itertools.compress(range(len(counted)), counted):
                best = least[component[number]]
                if best < 0 or key(number) < key(best):  # UTF-8 sorts as code points do
                    least[component[number]] = number
            first = 0
            for size in self._sizes:
                best = least[component[first]]
                yield key(best if best >= 0 else first).decode("utf-8", "surrogatepass")
                first += size

    def _components(self, hashes: np.ndarray, sizes: np.ndarray, counted: np.ndarray) -> np.ndarray:
        """(keys,) int32: a number that the keys of one component share, by the rows that count.

        Each round hooks every component to its least neighbour and follows the hooks, so that few are needed. All of
        it is done a part at a time: at a million rows a sort of all hashes would be the build's highest memory.
        """
        same, labels = _numbered(hashes)
        starts = np.cumsum(sizes, dtype=np.int32)
        starts -= sizes.astype(np.int32)
        tied = np.ones(len(hashes), bool)
        tied[starts] = False  # a key that is not its row's first is tied to that one
        firsts = np.repeat(starts, sizes - 1)[counted[tied]]
        del starts
        later = _places(tied & counted)
        moved = True
        while moved:
            moved = False
            for start in range(0, len(later), _PART):
                one, other = (labels[same[part[start : start + _PART]]] for part in (firsts, later))
                if (one != other).any():
                    moved = True
                    for part in (one, other):
                        np.minimum.at(labels, part, np.minimum(one, other))
            while moved and (labels != (further := labels[labels])).any():
                labels = further
        del firsts, later
        for start in range(0, len(same), _PART):
            same[start : start + _PART] = labels[same[start : start + _PART]]
        return same


def _places(chosen: np.ndarray) -> np.ndarray:
    """The places that are true, int32; `flatnonzero` takes twice as much."""
    places, filled = np.empty(np.count_nonzero(chosen), np.int32), 0
    for start in range(0, len(chosen), _PART):
        found = np.flatnonzero(chosen[start : start + _PART]) + start
        places[filled : filled + len(found)] = found
        filled += len(found)
    return places


def _numbered(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(keys,) int32, equal for equal hashes, from 0 without gaps; and the numbers themselves."""
    same, count = np.empty(len(hashes), np.int32), 0
    buckets = np.empty(len(hashes), np.uint8)
    for start in range(0, len(hashes), _PART):
        buckets[start : start + _PART] = hashes[start : start + _PART] >> np.uint64(60)
    for bucket in range(16):
        places = np.flatnonzero(buckets == bucket)
        different, numbers = np.unique(hashes[places], return_inverse=True)
        same[places] = numbers + count
        count += len(different)
    return same, np.arange(count, dtype=np.int32)
