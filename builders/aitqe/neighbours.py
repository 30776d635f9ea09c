"""Captions of other images: any, or the one that says the most alike."""

from __future__ import annotations

import random
from collections.abc import Sequence

from .generators import Damaged, NotApplicable, same

CANDIDATES = 20  # nearest texts that are looked at for one of another image; our choice


class Neighbours:
    """The captions of some images, among which another image's is looked for.

        >>> captions = Neighbours(["A red bus.", "A blue bus.", "Two cats."], [0, 1, 2])
        >>> captions.nearest(0, others=[]).text
        'A blue bus.'

    Args:
        texts: captions.
        images: number of the image of each; equal ones are of the same image, or of one that looks the same.
    """

    def __init__(self, texts: Sequence[str], images: Sequence[int]) -> None:
        self._texts, self._images = texts, images
        self._vectors: object = None

    def random(self, place: int, rng: random.Random, others: Sequence[str]) -> Damaged:
        """A caption of any other image. Raises NotApplicable if there is none that says something else."""
        for _ in range(CANDIDATES):
            other = rng.randrange(len(self._texts))
            if self._fits(place, other, others):
                return Damaged(self._texts[other], "")
        raise NotApplicable("no caption of another image")

    def nearest(self, place: int, others: Sequence[str]) -> Damaged:
        """The caption of another image whose TF-IDF vector has the highest cosine with this one's.

        Raises NotApplicable if no caption of another image shares a word, or none that says something else.
        """
        import numpy as np

        vectors = self._fitted()
        scores = (vectors[place] @ vectors.T).toarray()[0]  # type: ignore[index,attr-defined]
        best = np.argsort(-scores, kind="stable")[: CANDIDATES + len(others)]
        for other in best.tolist():
            if scores[other] > 0 and self._fits(place, other, others):
                return Damaged(self._texts[other], f"cosine {scores[other]:.2f}")
        raise NotApplicable("no caption of another image is alike")

    def _fitted(self) -> object:
        from sklearn.feature_extraction.text import TfidfVectorizer

        if self._vectors is None:
            try:
                self._vectors = TfidfVectorizer(sublinear_tf=True).fit_transform(self._texts)
            except ValueError as error:  # no text has a word
                raise NotApplicable("no words") from error
        return self._vectors

    def _fits(self, place: int, other: int, others: Sequence[str]) -> bool:
        if self._images[other] == self._images[place]:
            return False
        return not same(self._texts[other], [self._texts[place], *others])
