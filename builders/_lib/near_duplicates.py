"""Near duplicates by the Jaccard similarity of two texts' shingles (n-grams of words).

`MinHashIndex` estimates, keeps 32 numbers of each text, and takes one text after another; `NearSet` does so on disk,
for any number of texts; `near_index.NearIndex` is exact and compares with a fixed set of texts.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...hub_sync.context import StepContext
from ...hub_sync.text import utf8
from .decontamination import decontamination_inputs, requests
from .disk_set import DiskSet

if TYPE_CHECKING:
    from datasketch import MinHash

NEAR = 0.5  # similarity from which two conversations count as near duplicates when shingles of 5 words are compared
# 32 hashes in 8 bands of 4: texts of similarity 0.8 meet in some band with probability 0.985. Our choice.
HASHES, BANDS = 32, 8

_DIGIT = re.compile(r"\d")
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+")


def words(text: str, fold_digits: bool = True) -> list[str]:
    """Lower-case words, and Chinese characters one by one; every digit becomes 0 unless told otherwise.

    >>> words("Train TR5521 leaves at 9.")
    ['train', 'tr0000', 'leaves', 'at', '0']
    """
    text = text.casefold()
    return _WORD.findall(_DIGIT.sub("0", text) if fold_digits else text)


def shingles(text: str, size: int = 5, fold_digits: bool = True) -> set[str]:
    """The n-grams of `size` words of a text; of a shorter text, all of it.

    >>> sorted(shingles("a b c d", size=3))
    ['a b c', 'b c d']
    """
    tokens = words(text, fold_digits)
    return {" ".join(tokens[n : n + size]) for n in range(max(1, len(tokens) - size + 1))}


class MinHashIndex:
    """Texts by their MinHash signatures (datasketch's), banded, so that a search does not visit all of them.

        >>> index = MinHashIndex(0.8)
        >>> index.add("Please book the train to Rome for two", "row 1")
        >>> index.nearest("please book the train to Rome for two!")
        '1.00 like row 1'

    Args:
        threshold: estimated Jaccard similarity of shingles of 3 words from which two texts are near duplicates.
    """

    def __init__(self, threshold: float = 0.8) -> None:
        from datasketch import MinHash, MinHashLSH

        self.threshold = threshold
        self._empty = MinHash(num_perm=HASHES, seed=7, scheme="affine32")
        self._bands = MinHashLSH(num_perm=HASHES, params=(BANDS, HASHES // BANDS))
        self._signatures: list[np.ndarray] = []
        self._names: list[str] = []

    def add(self, text: str, name: str) -> None:
        """Index a text under a name."""
        signature = self._signature(text)
        self._bands.insert(len(self._names), signature)
        self._signatures.append(signature.hashvalues)
        self._names.append(name)

    def nearest(self, text: str) -> str:
        """The estimated similarity and the name of the nearest text, in one line; "" if none reaches the threshold."""
        signature = self._signature(text)
        values, near = signature.hashvalues, self._bands.query(signature)
        scores = ((float(np.mean(self._signatures[n] == values)), -n) for n in near)
        score, number = max(scores, default=(0.0, 0))
        return f"{score:.2f} like {self._names[-number]}" if score >= self.threshold else ""

    def _signature(self, text: str) -> MinHash:
        signature = self._empty.copy()
        signature.update_batch([utf8(shingle) for shingle in shingles(text, 3, fold_digits=False)])
        return signature


class NearSet:
    """Texts that are no near duplicates of one another, by the bands of their MinHash signatures, on disk.

        >>> texts = NearSet(context.workdir / "near")
        >>> texts.add("Please book the train to Rome for two"), texts.add("please book the train to Rome for two!")
        (True, False)

    datatrove's settings: shingles of 5 words, 14 bands of 8 hashes. Two texts that share 90 % of their shingles (of
    both together) meet in some band with probability 0.9996, at 80 % with 0.92, at 70 % with 0.56, at 50 % with 0.05.

    Args:
        path: the file; that of an earlier run is replaced. 0.5 to 1 kB per text.
    """

    bands, hashes = 14, 8

    def __init__(self, path: Path) -> None:
        from datasketch import MinHash

        self._empty = MinHash(num_perm=self.bands * self.hashes, seed=7, scheme="affine32")
        self._seen = DiskSet(path)

    def add(self, text: str) -> bool:
        """Add a text, unless it is a near duplicate of one that was added; whether it was added."""
        signature = self._empty.copy()
        signature.update_batch([utf8(shingle) for shingle in shingles(text, fold_digits=False)])
        rows = signature.hashvalues.reshape(self.bands, self.hashes)
        keys = [f"{band}:{row.tobytes().hex()}" for band, row in enumerate(rows)]
        if any(key in self._seen for key in keys):
            return False
        for key in keys:
            self._seen.add(key)
        return True


def read_test_requests(context: StepContext, near: float = 0.8, *roles: str) -> MinHashIndex | None:
    """The requests of a step's `decontamination_inputs`; None if there are none.

    Raises DataError as `requests` does.
    """
    tests = MinHashIndex(near)
    sources = decontamination_inputs(context, *roles)
    for source in sources:
        for text, name in requests(source.path, str(source.ref)):
            tests.add(text, name)
    return tests if sources else None
