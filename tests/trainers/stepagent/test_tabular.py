"""Convergence of the cycles, exact: factors per cycle, fixed points, and GAIL on Taxi up to the expert's return."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from hubwright.trainers.stepagent import tabular

rng = np.random.default_rng(0)
EXPERT = tabular.normalized(rng.normal(size=(20, 6)))
START = tabular.normalized(0.6 * rng.normal(size=(20, 6)))


def divergences(beta: float, number: int, mode: tabular.ReferenceMode = "cycle_start", **more: int) -> list[float]:
    return [tabular.kl(EXPERT, policy) for policy in tabular.cycles(EXPERT, START, beta, number, mode, **more)]


@pytest.mark.parametrize("beta", [0.6, 2.0, 5.0])
def test_cycle_start_reference_multiplies_the_error_by_the_factor_and_converges(beta: float) -> None:
    policies = tabular.cycles(EXPERT, START, beta, 3)
    for before, after in pairwise(policies):
        assert tabular.contraction(EXPERT, before, after) == pytest.approx(1 - 1 / beta, abs=1e-9)
    kls = divergences(beta, 40)
    assert kls[-1] < 1e-6
    assert kls[1:4] == sorted(kls[1:4], reverse=True)


def test_beta_one_reaches_the_expert_in_one_cycle() -> None:
    assert divergences(1.0, 1)[1] == pytest.approx(0, abs=1e-12)


def test_beta_one_half_alternates_for_ever() -> None:
    kls = divergences(0.5, 8)
    assert kls[2::2] == pytest.approx([kls[0]] * 4) and kls[3::2] == pytest.approx([kls[1]] * 3)


def test_beta_below_one_half_diverges_at_the_optimum_and_converges_after_few_gradient_steps() -> None:
    optimal = divergences(0.1, 3)
    assert optimal[1] > 5 and optimal[2] > 100
    few = divergences(0.1, 8, steps=5)
    assert few == sorted(few, reverse=True) and few[8] < 0.01
    assert divergences(0.1, 4, steps=500)[1] > 3


@pytest.mark.parametrize("beta", [0.6, 1.0, 2.0, 5.0])
def test_gradient_descent_ends_at_the_optimum(beta: float) -> None:
    found = tabular.descend(EXPERT, START, START, beta, steps=20_000)
    assert found == pytest.approx(tabular.optimum(EXPERT, START, START, beta), abs=2e-3)


def test_gradient_of_the_loss_is_that_of_finite_differences() -> None:
    """An independent loss: the expectation over all pairs, by logits."""

    def loss(logits: np.ndarray) -> float:
        implicit = 0.7 * (logits - np.log(START))
        margins = implicit[:, :, None] - implicit[:, None, :]
        return float((EXPERT[:, :, None] * START[:, None, :] * np.log1p(np.exp(-margins))).sum())

    logits = np.log(START) + 0.1
    before = np.log(tabular.descend(EXPERT, START, START, 0.7, steps=0))
    step = np.log(tabular.descend(EXPERT, START, START, 0.7, steps=1, rate=1e-3)) - before
    step -= step.mean(axis=1, keepdims=True)
    for state, action in ((0, 0), (3, 5), (19, 2)):
        nudge = np.zeros_like(logits)
        nudge[state, action] = 1e-6
        slope = (loss(np.log(START) + nudge) - loss(np.log(START) - nudge)) / 2e-6
        assert step[state, action] == pytest.approx(-1e-3 * slope / 0.7, abs=1e-9)


@pytest.mark.parametrize("beta", [1.5, 2.0])
def test_fixed_reference_ends_beside_the_expert(beta: float) -> None:
    last = tabular.cycles(EXPERT, START, beta, 80, "fixed")[-1]
    assert last == pytest.approx(tabular.fixed_point(EXPERT, START, beta), abs=1e-6)
    assert tabular.kl(EXPERT, last) > 0.1


def test_fixed_reference_never_settles_for_beta_one_and_diverges_below() -> None:
    kls = divergences(1.0, 7, "fixed")
    assert kls[1::2] == pytest.approx([0] * 4, abs=1e-9) and kls[2::2] == pytest.approx([kls[0]] * 3)
    below = divergences(0.5, 4, "fixed")
    assert below[4] > below[2] > below[0]


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_moving_average_reference_converges(beta: float) -> None:
    assert divergences(beta, 60, "ema")[-1] < 1e-6


def test_deterministic_expert_gains_every_cycle_for_any_beta() -> None:
    expert = np.eye(6)[rng.integers(6, size=20)]
    for beta in (0.1, 0.5, 1.0, 5.0):
        kls = [tabular.kl(expert, p) for p in tabular.cycles(expert, START, beta, 6, steps=20)]
        assert kls == sorted(kls, reverse=True) and kls[-1] < kls[0] / 2


def test_ties_carry_no_gradient() -> None:
    kept = tabular.descend(EXPERT, START, START, 1.0, steps=1, rate=1e-3)
    dropped = tabular.descend(EXPERT, START, START, 1.0, steps=1, rate=1e-3, ties=False)
    moved, more = np.log(kept) - np.log(START), np.log(dropped) - np.log(START)
    moved, more = (m - m.mean(axis=1, keepdims=True) for m in (moved, more))
    ties = (EXPERT * START).sum(axis=1, keepdims=True)
    assert more * (1 - ties) == pytest.approx(moved, abs=1e-8)


@pytest.fixture(scope="module")
def taxi() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(transitions, rewards, first states) of Taxi as Gymnasium's own table has them."""
    import gymnasium

    env = gymnasium.make("Taxi-v4").unwrapped
    moves, rewards = np.zeros((500, 6, 500)), np.zeros((500, 6))
    for state, actions in env.P.items():
        for action, outcomes in actions.items():
            for probability, after, reward, done in outcomes:
                rewards[state, action] += probability * reward
                moves[state, action, after] += 0 if done else probability
    return moves, rewards, np.asarray(env.initial_state_distrib)


def expected_return(policy: np.ndarray, taxi: tuple[np.ndarray, np.ndarray, np.ndarray]) -> float:
    moves, rewards, first = taxi
    return float(first @ (policy * tabular.action_values(policy, moves, rewards, 0.95)).sum(axis=1))


@pytest.mark.parametrize(("teacher_forced", "beta"), [(True, 2.0), (False, 4.0)])
def test_adversarial_imitation_on_taxi_reaches_the_return_of_the_expert(
    taxi: tuple[np.ndarray, np.ndarray, np.ndarray], teacher_forced: bool, beta: float
) -> None:
    moves, rewards, first = taxi
    expert = tabular.soft_optimal(moves, rewards, 0.95, 1.0)
    assert expected_return(expert, taxi) == pytest.approx(-12.09, abs=0.005)  # measured before by another program
    start = np.full((500, 6), 1 / 6)
    policies = tabular.adversarial(expert, start, moves, first, 0.95, 32, beta, teacher_forced)
    visits = tabular.occupancy(expert, moves, first, 0.95).sum(axis=1)
    kls = [tabular.kl(expert, policies[n], visits) for n in (0, 8, 32)]
    assert kls[0] > 0.4 and kls[1] < 0.01 and kls[2] < 0.001
    assert expected_return(start, taxi) < -75
    assert expected_return(policies[32], taxi) == pytest.approx(-12.09, abs=0.02)


def test_both_reflections_have_the_same_update(taxi: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    moves, rewards, first = taxi
    expert, start = tabular.soft_optimal(moves, rewards, 0.95, 1.0), np.full((500, 6), 1 / 6)
    inverse = tabular.adversarial(expert, start, moves, first, 0.95, 2, 3.0, teacher_forced=True)[2]
    assert inverse == pytest.approx(tabular.cycles(expert, start, 3.0, 2)[2], abs=1e-9)


PAGE = {  # docs/papers/stepagent.md
    0.1: ([0.409, 5.95, 172], [0.409, 0.143, 0.060, 0.030, 0.018]),
    0.5: ([0.409, 0.250, 0.409, 0.250, 0.409], [0.409, 0.162, 0.070, 0.035, 0.021]),
    0.6: ([0.409, 0.120, 0.071, 0.026, 0.013], [0.409, 0.167, 0.073, 0.037, 0.021]),
    2.0: ([0.409, 0.092, 0.022, 0.005, 0.001], [0.409, 0.220, 0.117, 0.064, 0.037]),
    5.0: ([0.409, 0.252, 0.156, 0.097, 0.060], [0.409, 0.285, 0.196, 0.134, 0.092]),
}


@pytest.mark.parametrize("beta", PAGE)
def test_divergences_of_the_papers_page_are_computed(beta: float) -> None:
    optimal, few = PAGE[beta]
    assert divergences(beta, len(optimal) - 1) == pytest.approx(optimal, rel=2e-3, abs=6e-4)
    assert divergences(beta, len(few) - 1, steps=5) == pytest.approx(few, abs=6e-4)
