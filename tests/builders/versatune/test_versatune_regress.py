"""The law of losses over mixtures, and weights by static rules: known truths, RegMix's public runs."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from hubwright.builders.versatune.regress import Law, best_mixture, fit, rank_correlation, read_runs
from hubwright.builders.versatune.strategies import bounded, inverse, normalized, tempered, uniform
from hubwright.hub_sync.errors import DataError, UsageError


def _table(folder: Path, name: str) -> tuple[list[str], np.ndarray]:
    with (folder / name).open() as stream:
        head, *rows = csv.reader(stream)
    return head[1:], np.array(rows, dtype=np.float64)[:, 1:]


def _runs(folder: Path, split: str, size: str) -> tuple[np.ndarray, np.ndarray]:
    """(runs, 17) weights and (runs,) losses on Pile-CC."""
    _, weights = _table(folder, f"{split}_mixture_{size}.csv")
    head, losses = _table(folder, f"{split}_pile_loss_{size}.csv")
    column = next(n for n, name in enumerate(head) if "pile_cc" in name)
    return weights / weights.sum(axis=1, keepdims=True), losses[:, column]


@pytest.mark.parametrize("runs", [68, pytest.param(512, marks=pytest.mark.slow)])
def test_regress_with_small_runs_ranks_the_large_ones(runs: int, shared_data: Path) -> None:
    """Spearman x 100 with the 64 real runs of 1 B parameters: 98.9 with 68 runs of 1 M, 98.5 with 512."""
    folder = shared_data / "sail-sg" / "regmix" / "data"
    if not folder.is_dir():
        pytest.skip("RegMix is not here")
    weights, losses = _runs(folder, "train", "1m")
    large, real = _runs(folder, "test", "1B")
    law = fit(weights[:runs], losses[:runs])
    assert 100 * rank_correlation(law.predict(large), real) >= 98


def test_fit_with_an_outlier_recovers_the_law() -> None:
    rng = np.random.default_rng(1)
    weights, t = rng.dirichlet(np.ones(4), 60), np.array([-2.0, -1.0, 0.5, 0.0])
    losses = 2.5 + np.exp(0.3 + weights @ t)
    losses[7] += 3
    law = fit(weights, losses)
    fresh = rng.dirichlet(np.ones(4), 200)
    assert np.abs(law.predict(fresh) - 2.5 - np.exp(0.3 + fresh @ t)).max() < 0.01


def test_fit_with_too_few_runs_is_refused() -> None:
    with pytest.raises(DataError, match="5 runs cannot fit the 6 parameters"):
        fit(np.full((5, 4), 0.25), np.ones(5))


def test_best_mixture_of_two_losses_is_the_least_on_a_grid() -> None:
    laws = [Law(1.0, 0.2, np.array([-3.0, 0.0, 0.4])), Law(2.0, 0.5, np.array([0.0, -2.0, 0.1]))]
    low, high, prior = np.zeros(3), np.array([0.6, 1.0, 1.0]), np.full(3, 1 / 3)
    best = best_mixture(laws, prior, low, high, kl=0.05)
    grid = np.array(
        [(a, b, 1 - a - b) for a in np.linspace(0, 0.6, 121) for b in np.linspace(0, 1, 201) if a + b <= 1]
    )

    def cost(w: np.ndarray) -> np.ndarray:
        kl = np.sum(np.where(w > 1e-9, w * np.log(np.maximum(w, 1e-12) / prior), 0), axis=-1)
        return np.mean([law.predict(w) for law in laws], axis=0) + 0.05 * kl

    assert best.sum() == pytest.approx(1) and cost(best) <= cost(grid).min() + 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight_b": [0.5, 0.9]}, "row 1: weights sum to 1.4, the least is 0.5"),
        ({"weight_b": [0.5, -0.5], "weight_a": [0.5, 1.5]}, "row 1: weights sum to 1, the least is -0.5"),
        ({"weight_a": [None, 0.5]}, "row 0: weight_a is None, not a finite number"),
        ({"loss_a": [math.inf, 1.0]}, "row 0: loss_a is inf"),
        ({"loss_a": ["3.1", "3"]}, "row 0: loss_a is 3.1, not a finite number"),
    ],
)
def test_a_run_table_that_is_none_is_one_line(change: dict[str, list[object]], message: str) -> None:
    columns: dict[str, list[object]] = {"weight_a": [0.5, 0.5], "weight_b": [0.5, 0.5], "loss_a": [3.0, 3.1]}
    with pytest.raises(DataError, match=message):
        read_runs(columns | change, "runs x")
    with pytest.raises(DataError, match="no columns weight_DOMAIN and loss_DOMAIN"):
        read_runs({"run": [1]}, "runs x")


def test_strategies_sum_to_one_and_follow_their_formula() -> None:
    shares = {"a": 0.7, "b": 0.2, "c": 0.1}
    assert inverse(shares) == pytest.approx({"a": 0.15, "b": 0.4, "c": 0.45})
    assert tempered(shares, 1) == pytest.approx(shares) and tempered(shares, 1e9) == pytest.approx(uniform("abc"))
    assert tempered({"a": 1.0, "b": 0.0}, 2) == {"a": 1.0, "b": 0.0}
    assert normalized({"a": 3, "b": 1}, "rows") == {"a": 0.75, "b": 0.25}
    for bad in (math.nan, -1.0, math.inf):
        with pytest.raises(UsageError, match=f"weight of b is {bad}: give a finite number"):
            normalized({"a": 1, "b": bad}, "weight")


def test_bounded_weights_keep_ratios_between_the_bounds() -> None:
    weights, low, high = np.array([0.6, 0.3, 0.1, 0.0]), np.array([0, 0, 0, 0.05]), np.array([0.4, 1, 1, 1])
    result = bounded(weights, low, high)
    assert result.tolist() == pytest.approx([0.4, 0.4125, 0.1375, 0.05]) and result.sum() == pytest.approx(1)
    zero = bounded(np.array([1.0, 0, 0]), np.zeros(3), np.array([0.5, 1, 1]))
    assert zero.tolist() == pytest.approx([0.5, 0.25, 0.25])
    assert bounded(weights, np.zeros(4), np.ones(4)) is weights
