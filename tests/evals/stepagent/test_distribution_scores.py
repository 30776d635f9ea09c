"""Divergences of one state, by hand and by scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hubwright.evals.stepagent.scorer import contraction, distribution_scores, episode_scores

rng = np.random.default_rng(0)


def test_expert_itself_has_no_distance() -> None:
    scores = distribution_scores([math.log(0.25), math.log(0.75)], [0.25, 0.75], smoothing=0)
    assert scores["agreement"] == 1
    assert [scores[name] for name in ("kl", "reverse_kl", "jsd", "tv", "inadmissible_mass")] == pytest.approx([0] * 5)


def test_figures_of_a_deterministic_expert_by_hand() -> None:
    scores = distribution_scores([math.log(0.2), math.log(0.6)], [1.0, 0.0])
    assert scores["agreement"] == 0 and scores["inadmissible_mass"] == pytest.approx(0.2)
    assert scores["kl"] == pytest.approx(math.log(4)) and scores["tv"] == pytest.approx(0.75)
    assert scores["expert_nll"] == pytest.approx(-math.log(0.2))
    assert scores["reverse_kl"] == pytest.approx(0.25 * math.log(0.25 / 0.995) + 0.75 * math.log(0.75 / 0.005))


@pytest.mark.parametrize("seed", range(5))
def test_divergences_are_those_of_scipy(seed: int) -> None:
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import entropy

    draw = np.random.default_rng(seed)
    expert, policy = draw.dirichlet(np.ones(6)), draw.dirichlet(np.ones(7))
    scores = distribution_scores(list(np.log(policy[:6])), list(expert))
    inner = policy[:6] / policy[:6].sum()
    assert scores["kl"] == pytest.approx(entropy(expert, inner))
    assert scores["reverse_kl"] == pytest.approx(entropy(inner, 0.99 * expert + 0.01 / 6))
    assert scores["jsd"] == pytest.approx(jensenshannon(expert, inner) ** 2)
    assert scores["inadmissible_mass"] == pytest.approx(policy[6])


def test_underflowing_log_probabilities_still_compare() -> None:
    scores = distribution_scores([-2000.0, -2001.0], [1.0, 0.0])
    assert scores["kl"] == pytest.approx(math.log(1 + math.exp(-1))) and scores["inadmissible_mass"] == 1


def test_wrong_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 log-probabilities of 1 actions"):
        distribution_scores([-1.0, -1.0], [1.0])


@pytest.mark.parametrize("factor", [-0.5, 0.0, 0.8])
def test_contraction_is_the_factor_that_was_put_in(factor: float) -> None:
    expert = [list(row) for row in rng.dirichlet(np.ones(4), 10)] + [[1.0, 0.0, 0.0, 0.0]]
    errors = rng.normal(size=(11, 4))
    before = [[math.log(max(e, 1e-9)) - d for e, d in zip(row, error, strict=True)]
              for row, error in zip(expert, errors, strict=True)]  # fmt: skip
    after = [[math.log(max(e, 1e-9)) - factor * d + 0.3 for e, d in zip(row, error, strict=True)]
             for row, error in zip(expert, errors, strict=True)]  # fmt: skip
    assert contraction(expert, before, after) == pytest.approx(factor, abs=1e-9)
    assert contraction([[1.0, 0.0]], [[0.0, 0.0]], [[0.0, 0.0]]) is None


def test_episode_without_steps_and_a_crash_are_scored() -> None:
    empty = {"success": False, "score": 0.0, "steps": 0, "invalid": 0, "end": "crashed: no answer"}
    assert episode_scores(empty) == {"success": 0, "score": 0, "steps": 0, "invalid": 0, "failed": 1}
