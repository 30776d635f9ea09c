"""Nothing of the tests in what is trained on: not the question, not nearly it, not a translation of it."""

from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .._lib.disk_array import DiskArray
from .._lib.near_duplicates import words
from .._lib.near_index import HashFile, NearIndex, text_hash

SAME = "same question"
NEAR = "nearly the same"
TRANSLATION = "translation"
SIBLING = "translation of one left out"
RULES = (SAME, NEAR, TRANSLATION, SIBLING)
SPLITS = ("train", "validation", "test")
_PART = 1 << 16  # rows that are looked up together


class Questions:
    """Rows' questions, added one by one; `left_out` decides when all are there. In memory are some bytes per row.

    Args:
        path: a file for hashes, beside which others are written.
        near: Jaccard similarity of shingles of five words from which two questions are nearly the same; None: not
            looked for.
    """

    def __init__(self, path: Path, near: float | None) -> None:
        self._near, self._hashes, self._splits = near, HashFile(path), array("B")
        self._same, self._groups = (DiskArray(path.with_suffix(f".{name}")) for name in ("same", "groups"))

    def add(self, split: str, question: str, choices: Sequence[str], group: str) -> None:
        """Add the next row.

        Args:
            group: what it and its translations share; "" if there are none.
        """
        self._splits.append(SPLITS.index(split))
        self._same.append(text_hash(same_words(question)))
        self._groups.append(text_hash(group) if group else 0)
        if self._near is not None:
            # Choices count, in an order of their own: some questions ("Which of these is true?") differ in them alone.
            self._hashes.add(" ".join((question, *sorted(choices))))

    def left_out(self) -> np.ndarray:
        """(rows,) int8: 0 for a row that stays, n for one that the n-th of `RULES` leaves out.

        Train rows are held against the test and validation rows of any config, validation rows against the test's.
        In this order: SAME, a question with the same words; NEAR, question and choices with a similarity of at least
        `near`, digits alike; TRANSLATION, one of a question that is held out; SIBLING, one of a row that the first
        two left out.
        """
        splits, rules = np.frombuffer(self._splits, np.uint8), np.zeros(len(self._splits), np.int8)
        for split in ("validation", "train"):
            number = SPLITS.index(split)
            # A test that is not taken holds nothing out; a test question that is the same as another holds out as one.
            rows, against = (np.flatnonzero(chosen) for chosen in (splits == number, (splits > number) & (rules == 0)))
            self._leave_out(rows.astype(np.int32), against.astype(np.int32), rules)
        return rules

    def _leave_out(self, rows: np.ndarray, against: np.ndarray, rules: np.ndarray) -> None:
        same, groups = self._same.values(), self._groups.values()
        rules[rows[_are_among(same, rows, same[against])]] = 1 + RULES.index(SAME)
        if self._near is not None:
            others = rows[rules[rows] == 0]
            for number, _ in NearIndex(self._hashes, against, self._near).matches(others):
                rules[number] = 1 + RULES.index(NEAR)
        gone = groups[rows[rules[rows] > 0]]
        rest = rows[(rules[rows] == 0) & (groups[rows] > 0)]
        # The first of these rules has the last word.
        for others, rule in ((gone, SIBLING), (groups[against], TRANSLATION)):
            rules[rest[_are_among(groups, rest, others)]] = 1 + RULES.index(rule)


def _are_among(hashes: np.ndarray, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(rows,) bool: the row's hash is one of the others. `np.isin` takes four copies of all of them."""
    others, found = np.sort(others), np.zeros(len(rows), bool)
    for start in range(0, len(rows) if len(others) else 0, _PART):
        part = hashes[rows[start : start + _PART]]
        found[start : start + _PART] = others[np.searchsorted(others, part).clip(max=len(others) - 1)] == part
    return found


def same_words(question: str) -> str:
    """A question's letters and digits, so that case, blanks, gaps to fill and marks make no difference; of one that
    has none, all of it."""
    return "".join(words(question, fold_digits=False)).replace("_", "") or question
