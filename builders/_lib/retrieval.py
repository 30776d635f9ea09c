"""Functions nearest to a request by TF-IDF, to be offered beside those that it needs."""

import hashlib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from ...hub_sync.text import utf8

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def words(text: str) -> list[str]:
    """Lower-case words; `getFilmInfo` has three."""
    return [word.lower() for word in _WORD.findall(text)]


class TfidfRetriever:
    """Texts ranked by the cosine of their TF-IDF vectors (scikit-learn's) with a query's.

        >>> retriever = TfidfRetriever({"getFilm": "look a film up", "cook": "prepare a meal"})
        >>> retriever.rank(["Which film?"], 1)
        [['getFilm']]

    Args:
        texts: name -> text.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._names = sorted(texts)
        ordered = [texts[name] for name in self._names]
        self._vectorizer = TfidfVectorizer(analyzer=words, smooth_idf=False).fit(ordered)
        self._vectorizer.idf_ = self._vectorizer.idf_ - 1  # ln(texts / texts with the word), without scikit-learn's 1
        self._columns = self._vectorizer.transform(ordered).T.tocsr()  # (words, texts)

    def rank(self, queries: Sequence[str], most: int) -> list[list[str]]:
        """For each query the names of the `most` nearest texts, nearest first, equally near ones by name."""
        scores = self._vectorizer.transform(queries) @ self._columns
        return [[self._names[n] for n in np.argsort(-row.toarray()[0], kind="stable")[:most]] for row in scores]


def offer(needed: Sequence[str], ranked: Sequence[str], total: int, seed: str) -> list[str]:
    """The needed functions and the first of `ranked`, `total` together, in an order that follows from `seed`."""
    others = [name for name in ranked if name not in needed]
    offered = [*needed, *others[: max(total - len(needed), 0)]]
    return sorted(offered, key=lambda name: hashlib.sha256(utf8(f"{seed}:{name}")).digest())
