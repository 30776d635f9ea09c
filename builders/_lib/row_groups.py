"""Groups of rows that share keys, directly or through others, for any number of rows."""

import hashlib
import mmap
from array import array
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from ...hub_sync.text import utf8


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

            least = np.full(int(component.max()) + 1, -1, np.int64)
            for number in map(int, np.flatnonzero(counted)):
                best = least[component[number]]
                if best < 0 or key(number) < key(best):  # UTF-8 sorts as code points do
                    least[component[number]] = number
            first = 0
            for size in self._sizes:
                best = least[component[first]]
                yield key(best if best >= 0 else first).decode("utf-8", "surrogatepass")
                first += size

    def _components(self, hashes: np.ndarray, sizes: np.ndarray, counted: np.ndarray) -> np.ndarray:
        """(keys,) int32: the least number of a key of the same component, among those that count.

        Each round hooks every component to its least neighbour and follows the hooks, so that few are needed.
        """
        order = np.argsort(hashes)
        found = hashes[order]
        new = np.append(False, found[1:] != found[:-1])
        del found
        same = np.empty(len(order), np.int32)
        same[order] = np.cumsum(new, dtype=np.int32)  # equal keys have one number
        del order
        firsts = np.repeat(np.cumsum(sizes, dtype=np.int32) - sizes.astype(np.int32), sizes)
        ones, others = same[firsts[counted]], same[counted]  # each key with its row's first
        del firsts
        labels = np.arange(int(same.max()) + 1, dtype=np.int32)
        while (labels[ones] != labels[others]).any():
            for part in (ones, others):
                np.minimum.at(labels, labels[part], np.minimum(labels[ones], labels[others]))
            while (labels != (further := labels[labels])).any():
                labels = further
        return labels[same]
