"""Intervals and agreement: the bootstrap, Wilson's interval of a proportion, Cohen's kappa."""

import math
from collections.abc import Sequence
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


def kappa(table: Any) -> np.ndarray:
    """Cohen's kappa (1960): (p_o - p_e) / (1 - p_e), p_e from the two judges' own shares of "yes".

    Args:
        table: counts (..., 4) in the order yes/yes, yes/no, no/yes, no/no.

    Returns (...), NaN if one word was all. Example: [20, 5, 10, 15] gives 0.4.
    """
    table = np.asarray(table, dtype=np.float64)
    n = table.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = (table[..., 0] + table[..., 3]) / n
        a_yes, b_yes = (table[..., 0] + table[..., 1]) / n, (table[..., 0] + table[..., 2]) / n
        expected = a_yes * b_yes + (1 - a_yes) * (1 - b_yes)
        return np.where(expected < 1, (observed - expected) / (1 - expected), np.nan)


def wilson(hits: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a proportion (1927), 95 % by default; (0, 1) if nothing was counted."""
    if n == 0:
        return 0.0, 1.0
    p, shift = hits / n, z * z / n
    centre = (p + shift / 2) / (1 + shift)
    half = z * math.sqrt(p * (1 - p) / n + shift / (4 * n)) / (1 + shift)
    return max(0.0, centre - half), min(1.0, centre + half)


def wilson_end(values: Sequence[float], *, end: int) -> float:
    """Lower (0) or upper (1) end of the 95 % interval of the mean of 0/1 values; an lm-eval aggregation."""
    return wilson(sum(values), len(values))[end]
