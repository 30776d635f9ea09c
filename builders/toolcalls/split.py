"""Which conversations are used, and on which side: decided by hashes, whatever the number of rows.

Conversations that offer the same set of functions, or that open with the same question (digits aside), are one group;
a group goes to one side as a whole. Test rows that are near duplicates of train rows are left out.
"""

import hashlib
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ...hub_sync.text import utf8
from .._lib.disk_set import DiskSet
from .._lib.near_duplicates import NEAR, words
from .._lib.near_index import HashFile, NearIndex
from .._lib.row_groups import RowGroups
from .._lib.splits import group_keys, is_test

LEFT_OUT, TRAIN, TEST = 0, 1, 2
Row = dict[str, Any]


class Splitter:
    """Rows are added one by one; `sides` decides when all are there.

    Args:
        folder: for hashes and keys of the rows; in memory are a few bytes per row.
        dedup: rows with equal user turns (case and marks aside) are duplicates, as rows with one id are.
        keep_without_tools: use rows that offer no function.
        max_rows: of both sides at most, chosen by a hash; None: all.
    """

    def __init__(
        self, folder: Path, *, seed: int, dedup: bool, keep_without_tools: bool, max_rows: int | None = None
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self._seed, self._dedup, self._keep_without_tools, self._max_rows = seed, dedup, keep_without_tools, max_rows
        self._keys = DiskSet(folder / "row_keys")
        self._groups = RowGroups(folder / "group_keys")
        self._hashes = HashFile(folder / "shingles")
        self._rows, self._ranks = 0, array("Q")

    def add(self, row: Row) -> bool:
        """Take a row up; False, and counted in `dropped`, if it is not to be used."""
        if not self._keep_without_tools and not row["tools"]:
            self.dropped["without_tools"] += 1
            return False
        key = row["id"]
        if self._dedup:  # rows with one id have the same turns
            key = "\n".join(" ".join(words(m["content"], False)) for m in row["messages"] if m["role"] == "user")
        if not self._keys.add(key):
            self.dropped["duplicates"] += 1
            return False
        self._groups.add(group_keys(row))
        self._hashes.add(" ".join(message["content"] for message in row["messages"]))
        self._rows += 1
        if self._max_rows is not None:
            self._ranks.append(int.from_bytes(hashlib.sha256(utf8(f"{self._seed}:{row['id']}")).digest()[:8]))
        return True

    def sides(self, test_fraction: float) -> np.ndarray:
        """(rows,) int8 in the order of `add`: LEFT_OUT, TRAIN or TEST. What is left out is counted in `dropped`."""
        chosen, max_rows = np.ones(self._rows, bool), self._max_rows
        if max_rows is not None and max_rows < len(chosen):
            # The choice is a hash of the content: it does not depend on the order of the sources.
            ranks = np.frombuffer(self._ranks, np.uint64)
            chosen = ranks <= np.partition(ranks, max_rows - 1)[max_rows - 1]
            self.dropped["above_max_rows"] = int((~chosen).sum())
        # Not by a name of its own: fromiter leaves the generator at its last row, with all that it holds.
        held_out = np.fromiter(
            (is_test(name, test_fraction, self._seed) for name in self._groups.names(chosen)), bool, len(chosen)
        )
        sides = np.where(chosen, np.where(held_out, TEST, TRAIN), LEFT_OUT).astype(np.int8)
        test, train = (np.flatnonzero(sides == side).astype(np.int32) for side in (TEST, TRAIN))
        near = self._near_train(test, train)
        sides[test[near]] = LEFT_OUT
        self.dropped["near_duplicates_of_train_left_out_of_test"] = int(near.sum())
        return sides

    def _near_train(self, test: np.ndarray, train: np.ndarray) -> np.ndarray:
        """(test rows,) bool: the row is a near duplicate of a train row."""
        near = np.zeros(len(test), bool)
        for _, places in NearIndex(self._hashes, test, NEAR).matches(train):
            near[places] = True
        return near
