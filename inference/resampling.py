"""The bootstrap of means and sums, for intervals of builders' and evaluations' figures."""

import math
from typing import Any

import numpy as np

DRAWN = 2**22  # counts of drawn rows in memory at once, 16 bytes each


def bootstrap_sums(values: np.ndarray, resamples: int, seed: int | np.random.Generator) -> np.ndarray:
    """Column sums of `resamples` draws of the rows with replacement, as products of two matrices.

    Args:
        values: (n, k). What belongs together, such as the items of one answer, is one row.

    Returns (resamples, k).
    """
    size, rng = len(values), np.random.default_rng(seed)
    shares, block = np.full(size, 1 / size), max(1, DRAWN // size)
    parts = [min(block, resamples - start) for start in range(0, max(1, resamples), block)]
    return np.concatenate([rng.multinomial(size, shares, size=part).astype(np.float64) @ values for part in parts])


def interval(draws: Any, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of a figure's finite draws; NaN without any."""
    draws = np.asarray(draws, dtype=np.float64)
    draws = draws[np.isfinite(draws)]
    if not draws.size:
        return math.nan, math.nan
    tail = (1 - level) / 2 * 100
    low, high = np.percentile(draws, [tail, 100 - tail])
    return float(low), float(high)
