"""Intervals and agreement: the bootstrap, Wilson's interval of a proportion, Cohen's kappa."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...inference.resampling import bootstrap_sums, interval

__all__ = ["bootstrap_sums", "interval", "kappa", "wilson", "wilson_end"]


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
