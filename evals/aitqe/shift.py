"""How far the texts of a data set moved from the raw ones: row by row, and as a distribution.

`Shift` is fed with rows and holds counts alone, so its memory does not grow with them. The paper gives no formula: all
of these are our choice.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...hub_sync.text import utf8
from ...inference.entities import retention

_WORD = re.compile(r"\w+|[^\w\s]")
_TEMPLATE = re.compile(
    r"((the|this|an?)\s+)?(image|picture|photo|photograph|figure)\s+(of|shows?|depicts?|features?)\b", re.IGNORECASE
)
BIGRAMS = 2**22
"""Hash buckets in which distinct pairs of words are counted; a few million distinct ones are counted low."""


def words(text: str) -> list[str]:
    """Words and signs in lower case.

    >>> words("A red bus, 2nd!")
    ['a', 'red', 'bus', ',', '2nd', '!']
    """
    return _WORD.findall(text.lower())


def edit_share(before: str, after: str) -> float:
    """Levenshtein distance in characters over the longer length: 0 for the same text, 1 for nothing in common."""
    from rapidfuzz.distance import Levenshtein

    return float(Levenshtein.normalized_distance(before, after))


def jensen_shannon(one: Mapping[Any, float], other: Mapping[Any, float]) -> float:
    """Jensen-Shannon divergence of two counts in bits: 0 for the same distribution, 1 for disjoint ones.

    >>> jensen_shannon({"a": 1, "b": 1}, {"a": 2, "b": 2}), jensen_shannon({"a": 1}, {"b": 1})
    (0.0, 1.0)
    """
    total, sums = 0.0, (sum(one.values()), sum(other.values()))
    if not all(sums):
        return math.nan
    for key in one.keys() | other.keys():
        p, q = one.get(key, 0) / sums[0], other.get(key, 0) / sums[1]
        middle = (p + q) / 2
        total += sum(x * math.log2(x / middle) for x in (p, q) if x) / 2
    return max(0.0, total)


def frechet_distance(one: Any, other: Any) -> float:
    """Squared Fréchet distance of the normal distributions fitted to two sets of vectors.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))

    Args:
        one, other: (n, d), (m, d) float. With fewer rows than dimensions the estimate is biased upwards.
    """
    means = [np.asarray(vectors, np.float64).mean(axis=0) for vectors in (one, other)]
    first, second = (np.cov(np.asarray(vectors, np.float64), rowvar=False, ddof=0) for vectors in (one, other))
    values, basis = np.linalg.eigh(np.atleast_2d(first))
    root = (basis * np.sqrt(np.clip(values, 0, None))) @ basis.T
    cross = np.linalg.eigvalsh(root @ np.atleast_2d(second) @ root)
    traces = np.trace(np.atleast_2d(first)) + np.trace(np.atleast_2d(second))
    return float(((means[0] - means[1]) ** 2).sum() + traces - 2 * np.sqrt(np.clip(cross, 0, None)).sum())


class Texts:
    """Counts of the texts of one corpus."""

    def __init__(self) -> None:
        self.rows = 0
        self.lengths: Counter[int] = Counter()
        self.unigrams: Counter[str] = Counter()
        self._templates = self._pairs = 0
        self._bigrams = np.zeros(BIGRAMS, bool)

    def add(self, text: str) -> None:
        """Count a text."""
        tokens = words(text)
        self.rows += 1
        self.lengths[len(tokens)] += 1
        self.unigrams.update(tokens)
        self._templates += _TEMPLATE.match(text.strip()) is not None
        self._pairs += max(0, len(tokens) - 1)
        for pair in itertools.pairwise(tokens):
            digest = hashlib.blake2b(utf8(" ".join(pair)), digest_size=8).digest()
            self._bigrams[int.from_bytes(digest) % BIGRAMS] = True

    def figures(self) -> dict[str, float]:
        """Mean words per text, distinct words and pairs of words per word and pair, share that begin as a caption."""
        tokens = sum(self.unigrams.values())
        return {
            "mean_words": tokens / self.rows if self.rows else math.nan,
            "distinct_1": len(self.unigrams) / tokens if tokens else math.nan,
            "distinct_2": int(self._bigrams.sum()) / self._pairs if self._pairs else math.nan,
            "template_rate": self._templates / self.rows if self.rows else math.nan,
        }


class Shift:
    """An output beside its raw texts, fed row by row."""

    def __init__(self) -> None:
        self.raw, self.output = Texts(), Texts()
        self._equal = self._rows = self._named = 0
        self._edits = self._retained = 0.0

    def add(self, before: str, after: str | None) -> None:
        """Count a row; `after` None: the output does not have it."""
        self.raw.add(before)
        if after is None:
            return
        self.output.add(after)
        self._rows += 1
        self._equal += before == after
        if before == after:
            return
        self._edits += edit_share(before, after)
        share = retention(before, after)
        if share is not None:
            self._named += 1
            self._retained += share

    def figures(self) -> dict[str, float]:
        """The measures by name: shares of rows, mean edits over all rows of the output, entities over changed ones."""
        rows = self._rows
        return {
            "present": rows / self.raw.rows if self.raw.rows else math.nan,
            "keep_rate": self._equal / rows if rows else math.nan,
            "edit_distance": self._edits / rows if rows else math.nan,
            "entity_retention": self._retained / self._named if self._named else math.nan,
            "length_jsd": jensen_shannon(self.raw.lengths, self.output.lengths),
            "unigram_jsd": jensen_shannon(self.raw.unigrams, self.output.unigrams),
            **self.output.figures(),
        }
