"""Have we seen this text, or nearly? MinHash over runs of words, with bands, so that it costs little per text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from ...hub_sync.context import StepContext
from ...hub_sync.text import utf8
from .decontamination import inputs_against, requests
from .splits import words

# 32 hashes in 8 bands of 4: texts of similarity 0.8 meet in some band with probability 0.985. Our choice.
HASHES, BANDS, RUN = 32, 8, 3
_MIX = np.random.default_rng(7).integers(1, 2**63, size=(HASHES, 2), dtype=np.uint64) | np.uint64(1)


class MinHashIndex:
    """Texts that came before; 256 bytes of hashes and an id are kept of each, never the text.

    Args:
        threshold: estimated Jaccard similarity of word runs from which two texts count as nearly the same.
    """

    def __init__(self, threshold: float = 0.8) -> None:
        self.threshold = threshold
        self._bands: list[dict[bytes, list[int]]] = [{} for _ in range(BANDS)]
        self._signatures: list[np.ndarray] = []
        self._names: list[str] = []

    def add(self, text: str, name: str) -> None:
        """Remember a text under a name."""
        signature = sign(text)
        for band, key in zip(self._bands, _keys(signature), strict=True):
            band.setdefault(key, []).append(len(self._names))
        self._signatures.append(signature)
        self._names.append(name)

    def add_all(self, texts: Iterable[tuple[str, str]]) -> None:
        """Remember (text, name) pairs."""
        for text, name in texts:
            self.add(text, name)

    def nearest(self, text: str) -> str:
        """ "" where nothing is near enough, else the similarity and the name of what is, in one line."""
        signature = sign(text)
        near = {n for band, key in zip(self._bands, _keys(signature), strict=True) for n in band.get(key, ())}
        best = max(((float(np.mean(self._signatures[n] == signature)), -n) for n in near), default=(0.0, 0))
        return f"{best[0]:.2f} like {self._names[-best[1]]}" if best[0] >= self.threshold else ""


def read_against(context: StepContext, near: float = 0.8, *roles: str) -> MinHashIndex | None:
    """The requests of a step's inputs `against`, `against_NAME` and of `roles`; None where there are none.

    Raises DataError as `requests` does.
    """
    tests = MinHashIndex(near)
    given = inputs_against(context, *roles)
    for source in given:
        tests.add_all(requests(source.path, str(source.ref)))
    return tests if given else None


def sign(text: str) -> np.ndarray:
    """(HASHES,) uint64: the least of each hash over the text's runs of words."""
    found = words(text, fold_digits=False)
    runs = {" ".join(found[i : i + RUN]) for i in range(max(1, len(found) - RUN + 1))}
    marks = np.array(
        [int.from_bytes(hashlib.blake2b(utf8(run), digest_size=8).digest(), "big") for run in sorted(runs)],
        dtype=np.uint64,
    )
    return (_MIX[:, :1] * marks + _MIX[:, 1:]).min(axis=1)


def _keys(signature: np.ndarray) -> list[bytes]:
    return [part.tobytes() for part in np.split(signature, BANDS)]
