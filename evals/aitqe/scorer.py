"""Figures of scores of image-text pairs, for many resamples at once.

Every function takes `weights`, (R, n): how often each of the n rows is in each of R resamples (ones for the data
themselves), and returns (R,). Figures that are not defined (one class alone, no row) are NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...inference.media.pair_scores import HIGH, LOW

Array = np.ndarray[Any, np.dtype[np.float64]]


def resamples(clusters: Any, count: int, seed: int) -> Array:
    """Weights of `count` draws of whole clusters with replacement, such as all texts of an image.

    Args:
        clusters: (n,) label of each row's cluster.

    Returns (count, n).
    """
    _, places = np.unique(np.asarray(clusters), return_inverse=True)
    size = int(places.max()) + 1 if len(places) else 0
    if not size:
        return np.zeros((count, 0))
    drawn = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=count)
    return drawn[:, places].astype(np.float64)


def mean(values: Any, weights: Array) -> Array:
    """Weighted mean of (n,) values.

    >>> mean([1.0, 4.0], np.array([[1.0, 1.0], [2.0, 1.0]])).tolist()
    [2.5, 2.0]
    """
    return _ratio(weights @ np.asarray(values, np.float64), weights.sum(axis=1))


def absolute_error(scores: Any, targets: Any, weights: Array) -> Array:
    """Mean absolute error in points of the scale."""
    return mean(np.abs(np.asarray(scores, np.float64) - np.asarray(targets, np.float64)), weights)


def calibration_error(scores: Any, targets: Any, weights: Array, bins: int = 10) -> Array:
    """Mean over rows of |mean score - mean target| within their bin, in points; bins of equal width over the scale.

    >>> calibration_error([9.0, 9.0], [8.0, 10.0], np.ones((1, 2))).tolist()
    [0.0]
    """
    scores, targets = np.asarray(scores, np.float64), np.asarray(targets, np.float64)
    places = np.clip(((scores - LOW) / (HIGH - LOW) * bins).astype(int), 0, bins - 1)
    gaps = sum(np.abs(weights[:, places == n] @ (scores - targets)[places == n]) for n in range(bins))
    return _ratio(np.asarray(gaps), weights.sum(axis=1))


def quadratic_kappa(scores: Any, targets: Any, weights: Array) -> Array:
    """Cohen's kappa with quadratic weights of the scores, rounded to whole points within the scale."""
    size = HIGH - LOW + 1
    one, other = (
        np.clip(np.rint(np.asarray(values, np.float64)), LOW, HIGH).astype(int) - LOW for values in (scores, targets)
    )
    cells = np.zeros((len(one), size * size))
    cells[np.arange(len(one)), one * size + other] = 1.0
    table = (weights @ cells).reshape(-1, size, size)
    cost = np.subtract.outer(np.arange(size), np.arange(size)) ** 2.0
    expected = table.sum(axis=2)[:, :, None] * table.sum(axis=1)[:, None, :]
    total = weights.sum(axis=1)
    return 1 - _ratio((table * cost).sum(axis=(1, 2)) * total, (expected * cost).sum(axis=(1, 2)))


def ranks(values: Any, weights: Array) -> Array:
    """Mid-ranks (R, n) of (n,) values among the rows of each resample.

    >>> ranks([3.0, 1.0, 3.0], np.array([[1.0, 2.0, 1.0]])).tolist()
    [[3.5, 1.5, 3.5]]
    """
    _, places = np.unique(np.asarray(values, np.float64), return_inverse=True)
    order = np.argsort(places, kind="stable")
    starts = np.flatnonzero(np.diff(places[order], prepend=-1))
    ties = np.add.reduceat(weights[:, order], starts, axis=1)  # weight of each distinct value
    below = np.cumsum(ties, axis=1) - ties
    return np.asarray((below + (ties + 1) / 2)[:, places])


def spearman(scores: Any, targets: Any, weights: Array) -> Array:
    """Spearman's rank correlation with mid-ranks for ties."""
    if not weights.shape[1]:
        return np.full(len(weights), np.nan)
    one, other = ranks(scores, weights), ranks(targets, weights)
    total = weights.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        one = one - (weights * one).sum(axis=1, keepdims=True) / total
        other = other - (weights * other).sum(axis=1, keepdims=True) / total
    spread = np.sqrt((weights * one**2).sum(axis=1) * (weights * other**2).sum(axis=1))
    return _ratio((weights * one * other).sum(axis=1), spread)


def auroc(scores: Any, good: Any, weights: Array) -> Array:
    """Probability that a good row has a higher score than a bad one, ties counted half.

    >>> auroc([0.9, 0.2, 0.2], [True, False, True], np.ones((1, 3))).tolist()
    [0.75]
    """
    good = np.asarray(good, bool)
    if not weights.shape[1]:
        return np.full(len(weights), np.nan)
    positive = weights[:, good].sum(axis=1)
    negative = weights[:, ~good].sum(axis=1)
    above = (weights * ranks(scores, weights))[:, good].sum(axis=1) - positive * (positive + 1) / 2
    return _ratio(above, positive * negative)


def twin_accuracy(good: Any, bad: Any, weights: Array) -> Array:
    """Share of twins whose good one has the higher score; ties count half, a twin without a score (NaN) not at all.

    >>> twin_accuracy([9.0, 5.0, 7.0], [2.0, 5.0, np.nan], np.ones((1, 3))).tolist()
    [0.5]
    """
    good, bad = np.asarray(good, np.float64), np.asarray(bad, np.float64)
    return mean((good > bad) + 0.5 * (good == bad), weights)


def _ratio(top: Any, bottom: Any) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bottom > 0, np.asarray(top, np.float64) / bottom, np.nan)
