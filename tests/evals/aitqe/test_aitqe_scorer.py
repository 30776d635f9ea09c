"""Figures of scores beside scipy and scikit-learn, on rows that are repeated as often as their weights say."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from hubwright.evals.aitqe import scorer


@pytest.mark.parametrize("seed", range(5))
def test_figures_of_resamples_equal_those_of_repeated_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, targets = rng.integers(1, 11, 40) + rng.choice([0.0, 0.5], 40), rng.integers(1, 11, 40)
    good = rng.random(40) < 0.4
    weights = scorer.resamples(rng.integers(0, 12, 40), 6, seed)
    for number, repeats in enumerate(weights.astype(int)):
        s, t, g = (np.repeat(values, repeats) for values in (scores, targets, good))
        row = weights[number : number + 1]
        assert scorer.spearman(scores, targets, row)[0] == pytest.approx(spearmanr(s, t).statistic)
        assert scorer.auroc(scores, good, row)[0] == pytest.approx(roc_auc_score(g, s))
        kappa = cohen_kappa_score(np.rint(s), t, labels=list(range(1, 11)), weights="quadratic")
        assert scorer.quadratic_kappa(scores, targets, row)[0] == pytest.approx(kappa)
        assert scorer.absolute_error(scores, targets, row)[0] == pytest.approx(np.abs(s - t).mean())


def test_resamples_draw_whole_clusters() -> None:
    clusters = ["a", "b", "a", "c"]
    weights = scorer.resamples(clusters, 50, 0)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert scorer.resamples([], 4, 0).shape == (4, 0)


def test_what_is_not_defined_is_nan() -> None:
    ones = np.ones((1, 2))
    assert np.isnan(scorer.auroc([1.0, 2.0], [True, True], ones)[0])
    assert np.isnan(scorer.spearman([1.0, 1.0], [1.0, 2.0], ones)[0])
    assert np.isnan(scorer.mean([], np.ones((1, 0)))[0])
    assert np.isnan(scorer.auroc([], [], np.ones((1, 0)))[0])


def test_calibration_error_is_of_the_bin_and_not_of_the_row() -> None:
    ones = np.ones((1, 4))
    assert scorer.calibration_error([2, 2, 9, 9], [1, 3, 7, 7], ones)[0] == pytest.approx(1.0)
    assert scorer.calibration_error([10, 10, 1, 1], [10, 10, 1, 1], ones)[0] == 0


def test_twins_without_a_score_are_lost() -> None:
    assert scorer.twin_accuracy([np.nan, 3.0], [1.0, np.nan], np.ones((1, 2)))[0] == 0
