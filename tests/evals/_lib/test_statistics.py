"""Kappa, intervals and the bootstrap against published examples, scikit-learn and theory."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hubwright.evals._lib import statistics
from hubwright.evals._lib.statistics import bootstrap_sums, interval, kappa, wilson


@pytest.mark.parametrize(
    ("table", "value"),
    [
        ((20, 5, 10, 15), 0.4),  # the worked example of the Wikipedia article on Cohen's kappa
        ((45, 15, 25, 15), 0.1304),  # the same article, two raters with equal agreement but different shares
        ((25, 35, 5, 35), 0.2593),
        ((10, 0, 0, 10), 1.0),
        ((0, 10, 10, 0), -1.0),
    ],
)
def test_kappa_of_published_examples(table: tuple[int, ...], value: float) -> None:
    assert float(kappa(np.array(table))) == pytest.approx(value, abs=5e-5)


def test_wilson_interval() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_bootstrap_sums_spread_is_that_of_theory_and_seeded() -> None:
    """Of n Bernoulli rows the standard error of the mean is sqrt(p (1 - p) / n)."""
    values = np.array([[1.0, 2.0]] * 30 + [[0.0, 0.0]] * 70)
    sums = bootstrap_sums(values, 4000, 7)
    assert sums.shape == (4000, 2) and (sums[:, 1] == 2 * sums[:, 0]).all()
    assert (sums == bootstrap_sums(values, 4000, 7)).all() and (sums != bootstrap_sums(values, 4000, 8)).any()
    assert (sums[:, 0] / 100).std() == pytest.approx(math.sqrt(0.3 * 0.7 / 100), rel=0.05)


def test_bootstrap_sums_in_blocks_draws_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, 5, (40, 3)).astype(np.float64)
    sums = bootstrap_sums(values, 100, 7)
    monkeypatch.setattr(statistics, "DRAWN", 300)  # seven resamples at a time
    assert (bootstrap_sums(values, 100, 7) == sums).all() and bootstrap_sums(values, 0, 7).shape == (0, 3)


def test_interval_undefined_draws_are_left_out() -> None:
    assert interval([*range(101), math.nan]) == pytest.approx((2.5, 97.5))
    assert all(map(math.isnan, interval([])))
