"""The bootstrap against theory."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hubwright.inference import resampling
from hubwright.inference.resampling import bootstrap_sums, interval


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
    monkeypatch.setattr(resampling, "DRAWN", 300)  # seven resamples at a time
    assert (bootstrap_sums(values, 100, 7) == sums).all() and bootstrap_sums(values, 0, 7).shape == (0, 3)


def test_interval_undefined_draws_are_left_out() -> None:
    assert interval([*range(101), math.nan]) == pytest.approx((2.5, 97.5))
    assert all(map(math.isnan, interval([])))
