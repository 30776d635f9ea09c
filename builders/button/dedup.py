"""Scenarios that say nearly the same: the first of them is kept.

BUTTON (arXiv 2410.12952) compares embeddings; its model and threshold are not known to us. `tfidf` needs no model and
compares runs of three characters instead, which finds the same words but not the same meaning: our choice.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...hub_sync.errors import UsageError
from ...hub_sync.text import utf8

if TYPE_CHECKING:
    import numpy as np

BUCKETS = 4096  # for runs of three characters


def first_of_each(vectors: np.ndarray, threshold: float) -> list[int]:
    """Indices of the rows of (n, width) unit vectors that no kept row before is as near to as `threshold` (cosine)."""
    kept: list[int] = []
    for index, vector in enumerate(vectors):
        if not kept or float((vectors[kept] @ vector).max()) < threshold:
            kept.append(index)
    return kept


def tfidf(texts: Sequence[str]) -> np.ndarray:
    """(len(texts), BUCKETS) float32 unit vectors of runs of three characters, those in fewer texts weighing more."""
    import numpy as np

    counted = []
    for text in texts:
        plain = f" {' '.join(text.casefold().split())} "
        runs = Counter(plain[i : i + 3] for i in range(len(plain) - 2))
        counted.append(Counter({zlib.crc32(utf8(run)) % BUCKETS: n for run, n in runs.items()}))
    spread = Counter(bucket for counts in counted for bucket in counts)
    vectors = np.zeros((len(texts), BUCKETS), np.float32)
    for vector, counts in zip(vectors, counted, strict=True):
        for bucket, n in counts.items():
            vector[bucket] = n * (1 + math.log((1 + len(texts)) / (1 + spread[bucket])))
        vector /= max(float(np.linalg.norm(vector)), 1e-9)
    return vectors


def embeddings(texts: Sequence[str], model: Path) -> np.ndarray:
    """(len(texts), width) float32 unit vectors of a sentence-transformers model in a local folder.

    Raises UsageError where the package is not installed.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UsageError(
            "dedup: embeddings needs sentence-transformers: pip install sentence-transformers, or use dedup: tfidf"
        ) from error
    import numpy as np

    found = SentenceTransformer(str(model), device="cpu").encode(list(texts), show_progress_bar=False)
    vectors = np.asarray(found, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
