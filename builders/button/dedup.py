"""Scenarios that say nearly the same: the first of them is kept.

BUTTON (arXiv 2410.12952) compares embeddings; its model and threshold are not known to us. `tfidf` needs no model and
compares n-grams of three characters instead, which finds the same words but not the same meaning: our choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...hub_sync.errors import UsageError

NO_EMBEDDINGS = (
    "dedup: embeddings needs sentence-transformers: pip install 'hubwright[embeddings]', or use dedup: tfidf"
)

if TYPE_CHECKING:
    import numpy as np


def first_of_each(vectors: np.ndarray, threshold: float) -> list[int]:
    """Indices of the rows of (n, width) unit vectors that no kept row before is as near to as `threshold` (cosine)."""
    indices: list[int] = []
    for index, vector in enumerate(vectors):
        if not indices or float((vectors[indices] @ vector).max()) < threshold:
            indices.append(index)
    return indices


def tfidf(texts: Sequence[str]) -> np.ndarray:
    """(len(texts), n-grams) unit vectors of n-grams of three characters, those in fewer texts weighing more."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    padded = [f" {' '.join(text.casefold().split())} " for text in texts]
    vectors: np.ndarray = TfidfVectorizer(analyzer="char", ngram_range=(3, 3)).fit_transform(padded).toarray()
    return vectors


def embeddings(texts: Sequence[str], model: Path) -> np.ndarray:
    """(len(texts), width) float32 unit vectors of a sentence-transformers model in a local folder.

    Raises UsageError if the package is not installed.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UsageError(NO_EMBEDDINGS) from error
    import numpy as np

    encoded = SentenceTransformer(str(model), device="cpu").encode(list(texts), show_progress_bar=False)
    vectors = np.asarray(encoded, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
