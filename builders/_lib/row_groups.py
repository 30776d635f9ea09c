"""Groups of rows that share keys, directly or through others, for any number of rows."""

import hashlib
import mmap
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...hub_sync.text import utf8


class RowGroups:
    """Connected components of rows and keys. The keys lie in a file; in memory are 20 bytes per key.

        >>> groups = RowGroups(context.workdir / "keys")
        >>> for keys in (["a", "x"], ["b"], ["c", "x"]):
        ...     groups.add(keys)
        >>> list(groups.names())
        ['a', 'b', 'a']

    Args:
        path: the file; that of an earlier run is replaced.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._file = path.open("wb+")
        self._file.write(b"\0")  # an empty file cannot be mapped
        self._hashes, self._ends, self._firsts = array("Q"), array("Q", [1]), array("Q")

    def add(self, keys: Sequence[str]) -> None:
        """Add the next row's keys, one at least."""
        self._firsts.append(len(self._hashes))
        for key in keys:
            text = utf8(key)
            self._file.write(text)
            self._hashes.append(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()))
            self._ends.append(self._ends[-1] + len(text))

    def names(self, chosen: np.ndarray | None = None) -> Iterator[str]:
        """The group of each row, in the rows' order: the least key that the row is tied to.

        Args:
            chosen: (rows,) bool; the others tie nothing, and their names are of no use.
        """
        if not self._firsts:
            return
        firsts = np.frombuffer(self._firsts, np.uint64).astype(np.int64)
        lengths = np.diff(np.append(firsts, len(self._hashes)))
        component = self._components(firsts, lengths, chosen)
        counts = np.repeat(np.ones(len(firsts), bool) if chosen is None else chosen, lengths)
        self._file.flush()
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as text:

            def key(number: int) -> bytes:
                return text[self._ends[number] : self._ends[number + 1]]

            least = np.full(int(component.max()) + 1, -1, np.int64)
            for number, (group, counted) in enumerate(zip(component.tolist(), counts.tolist(), strict=True)):
                if not counted:
                    continue
                best = int(least[group])
                if best < 0 or key(number) < key(best):  # UTF-8 sorts as code points do
                    least[group] = number
            for first in self._firsts:
                best = int(least[component[first]])
                yield key(best if best >= 0 else first).decode("utf-8", "surrogatepass")

    def _components(self, firsts: np.ndarray, lengths: np.ndarray, chosen: np.ndarray | None) -> np.ndarray:
        """The number of each key's component, in the order in which keys were added."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        _, same = np.unique(np.frombuffer(self._hashes, np.uint64), return_inverse=True)
        ones, others = same[np.repeat(firsts, lengths)], same  # each key with its row's first
        if chosen is not None:
            ones, others = (part[np.repeat(chosen, lengths)] for part in (ones, others))
        size = int(same.max()) + 1
        graph = coo_matrix((np.ones(len(ones), np.bool_), (ones, others)), (size, size))
        _, labels = connected_components(graph, directed=False)
        return labels[same]
