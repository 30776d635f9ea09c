"""Thresholds against scikit-learn's ROC curve."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from hubwright.inference.cuts import best_cut, cut_curves, shares_from


@pytest.mark.parametrize("seed", range(5))
def test_curves_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    good = rng.random(60) < 0.4
    scores = np.round(rng.normal(5 + good, 2), 1)  # with ties
    false, true, cuts = roc_curve(good, scores, drop_intermediate=False)
    curves = cut_curves(scores, good, cuts[1:])
    assert [y for _, y in curves["good"]] == pytest.approx(true[1:])
    assert [y for _, y in curves["bad"]] == pytest.approx(false[1:])
    assert [y for _, y in curves["all"]] == pytest.approx([(scores >= cut).mean() for cut in cuts[1:]])
    best = best_cut(scores, good)
    assert best is not None and best[1] == pytest.approx(np.max(true[:-1] - false[:-1]))


def test_what_no_cut_parts_has_none() -> None:
    assert best_cut([1.0, 2.0], [True, True]) is None and best_cut([3.0, 3.0], [True, False]) is None
    assert best_cut([], []) is None and np.isnan(shares_from([], [1.0])).all()
    assert cut_curves([1.0], [True], [1.0]) == {"all": [[1.0, 1.0]], "good": [[1.0, 1.0]]}
