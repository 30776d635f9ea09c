"""Figures of many questions with intervals that draw whole landmarks, and the comparison of two models.

Questions about one landmark are no independent draws, so that intervals of single questions would be too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .._lib.statistics import bootstrap_sums, interval

FEW = 20
"""Clusters below which an interval describes these landmarks and promises nothing of others; our choice."""


class Figure(NamedTuple):
    """A mean, its 95 % interval (NaN without one), and the numbers of values and of clusters."""

    value: float
    low: float
    high: float
    number: int
    clusters: int

    @property
    def is_descriptive(self) -> bool:
        """Whether there are too few clusters for the interval to say something of other landmarks."""
        return self.clusters < FEW


def clustered_mean(values: Any, clusters: Sequence[str], resamples: int, seed: int) -> Figure:
    """The mean of (n,) values, NaN left out, with the percentile interval of draws of whole clusters.

    >>> clustered_mean([1.0, 0.0, 1.0, 1.0], ["a", "a", "b", "b"], 0, 0).value
    0.75
    """
    values = np.asarray(values, np.float64)
    known = np.isfinite(values)
    values, clusters = values[known], [one for one, is_known in zip(clusters, known, strict=True) if is_known]
    if not len(values):
        return Figure(math.nan, math.nan, math.nan, 0, 0)
    _, places = np.unique(np.asarray(clusters), return_inverse=True)
    table = np.stack([np.bincount(places, weights=values), np.bincount(places)], axis=1)
    low, high = math.nan, math.nan
    if resamples and len(table) > 1:
        sums = bootstrap_sums(table, resamples, seed)
        low, high = interval(sums[:, 0] / sums[:, 1])
    return Figure(float(values.mean()), low, high, len(values), len(table))


class McNemar(NamedTuple):
    """Questions that both, one or none of two models answered rightly, and the exact two-sided p."""

    both: int
    first: int
    second: int
    neither: int
    p: float


def mcnemar(first: Any, second: Any) -> McNemar:
    """McNemar's exact test (1947): under the null hypothesis each question that one model alone answers rightly is
    either's with probability 1/2.

        >>> mcnemar([1, 1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0, 0])
        McNemar(both=0, first=6, second=0, neither=1, p=0.03125)

    It takes questions as independent, which those of one landmark are not: with few landmarks p is too small.

    Args:
        first, second: (n,) of 0 and 1, of the same questions.
    """
    from scipy.stats import binomtest

    one, other = np.asarray(first, bool), np.asarray(second, bool)
    only, alone = int((one & ~other).sum()), int((~one & other).sum())
    p = float(binomtest(only, only + alone, 0.5).pvalue) if only + alone else 1.0
    return McNemar(int((one & other).sum()), only, alone, int((~one & ~other).sum()), p)
