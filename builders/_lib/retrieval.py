"""Which functions sound most like a request, to be offered beside those that it needs? Words weighted by their rarity,
nothing learned."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ...hub_sync.text import utf8

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def words(text: str) -> list[str]:
    """Lower-case words; `getFilmInfo` has three."""
    return [word.lower() for word in _WORD.findall(text)]


class TfidfRetriever:
    """Texts by name, ranked by the cosine of their TF-IDF vectors with a query's.

    Args:
        texts: name -> text.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._names = sorted(texts)
        counted = [Counter(words(texts[name])) for name in self._names]
        seen = Counter(word for counts in counted for word in counts)
        self._rarity = {word: math.log(len(texts) / number) for word, number in seen.items()}
        columns: dict[str, list[tuple[int, float]]] = {word: [] for word in seen}
        for index, counts in enumerate(counted):
            weights = {word: number * self._rarity[word] for word, number in counts.items()}
            length = math.hypot(*weights.values()) or 1.0
            for word, weight in weights.items():
                columns[word].append((index, weight / length))
        self._columns = {
            word: (np.array([i for i, _ in column]), np.array([weight for _, weight in column]))
            for word, column in columns.items()
        }

    def rank(self, query: str, most: int) -> list[str]:
        """The names of so many texts, nearest first, equally near ones by name."""
        scores = np.zeros(len(self._names))
        for word, number in Counter(words(query)).items():
            if word in self._columns:
                rows, weights = self._columns[word]
                scores[rows] += number * self._rarity[word] * weights
        return [self._names[index] for index in np.argsort(-scores, kind="stable")[:most]]


def offer(needed: Sequence[str], retriever: TfidfRetriever, query: str, total: int, seed: str) -> list[str]:
    """The functions that are needed and the nearest others, `total` or as many as are needed, in an order drawn from
    `seed`, the same on every machine."""
    others = [name for name in retriever.rank(query, total) if name not in needed]
    offered = [*needed, *others[: max(total - len(needed), 0)]]
    return sorted(offered, key=lambda name: hashlib.sha256(utf8(f"{seed}:{name}")).digest())
