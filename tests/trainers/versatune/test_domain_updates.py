"""Rules for weights of domains: equations by hand, bounds, and weights that nobody can mean."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest

from hubwright.hub_sync.errors import UsageError
from hubwright.trainers.versatune import VersatunePretrainConfig, schedule, updates
from hubwright.trainers.versatune.trainer import decide
from hubwright.trainers.versatune.updates import bounded, check_losses, check_weights, excess, expansion, odm

EVEN = np.full(4, 0.25)
NOTHING = np.zeros(4)


@pytest.mark.parametrize("module", [updates, schedule])
def test_examples_of_docstrings_give_what_they_print(module: Any) -> None:
    done = doctest.testmod(module, extraglobs={"np": np})
    assert done.attempted > 3 and not done.failed


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"code": float("nan"), "law": 1}, "weights: code is nan: give a finite number, 0 or more"),
        ({"code": float("inf"), "law": 1}, "weights: code is inf"),
        ({"code": -0.1, "law": 1.1}, "weights: code is -0.1"),
        ({"code": 0, "law": 0}, "weights: the sum of code, law is 0.0: raise at least one above 0"),
        ({"code": 0.5}, "weights: no weight for law: give one for every domain, 0 to leave it out"),
        ({"cod": 0.5, "law": 0.5}, "weights: there is no domain 'cod'; did you mean 'code'"),
        ({"code": "0.5", "law": 0.5}, "weights: code is '0.5'"),
        ({"code": True, "law": 0.5}, "weights: code is True"),
        ({"code": 1e308, "law": 1e308}, "weights: the sum of code, law is inf"),
        ({}, "weights: no weight for code, law"),
    ],
)  # fmt: skip
def test_weights_that_are_no_distribution_are_refused_in_one_line(weights: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}") as caught, np.errstate(over="ignore"):
        check_weights(weights, ["code", "law"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 0.0, -1.0])
def test_loss_that_is_no_number_above_zero_is_refused_by_domain(loss: float) -> None:
    with pytest.raises(UsageError, match=r"held-out loss of domain law is .* at step 3: lower learning_rate"):
        check_losses([1.0, loss], ["code", "law"], "at step 3: lower learning_rate")


def test_bounded_weights_keep_sum_floor_and_order() -> None:
    draw = np.random.default_rng(0)
    for _ in range(200):
        weights = draw.dirichlet(np.full(6, 0.2))
        result = bounded(weights, floor=0.05, smoothing=draw.choice([0.0, 0.1]))
        assert result.sum() == pytest.approx(1) and result.min() >= 0.05 - 1e-12
        assert (np.diff(result[np.argsort(weights)]) >= -1e-12).all()
    with pytest.raises(UsageError, match=r"floor 0.3 is too much for 4 domains: set it to 0.25 or less"):
        bounded(EVEN, floor=0.3)


def test_excess_by_either_normaliser_ranks_domains_differently() -> None:
    losses, references, tokens = np.array([3.0, 2.5]), np.array([2.0, 2.0]), np.array([100.0, 900.0])
    assert excess(losses, references, tokens).argmax() == 0
    assert excess(losses, references, tokens, "all").argmax() == 1
    assert excess(references, losses, tokens).tolist() == [0.0, 0.0]


def test_target_grows_by_the_stride_until_others_forget_or_are_at_the_floor() -> None:
    gamma = np.array([0.3, 0.1, 0.1, 0.1])
    weights = expansion(EVEN, 0, gamma, NOTHING)
    assert weights[0] == pytest.approx(0.3) and weights[1:] == pytest.approx(np.full(3, 0.7 / 3))
    held = expansion(EVEN, 0, gamma, np.array([9.0, 0.5, 0.4, 0.3]))  # the target's own forgetting does not count
    assert held == pytest.approx(EVEN)
    assert expansion(EVEN, 0, gamma, np.array([0.0, 0.5, 0.4, 0.3]), epsilon=0.5)[0] == pytest.approx(0.3)
    assert expansion(EVEN, 0, NOTHING, NOTHING)[0] == pytest.approx(0.25)  # nothing left to learn
    for _ in range(30):
        weights = expansion(weights, 0, gamma, NOTHING, floor=0.02)
    assert weights == pytest.approx([0.94, 0.02, 0.02, 0.02])
    spread = expansion(np.array([0.4, 0.4, 0.2, 0.0]), 0, np.array([0.3, 0.0, 1.0, 0.0]), NOTHING, sigma=1.0)
    assert spread == pytest.approx([0.45, 0.55 / 2, 0.55 / 2, 0.0])


def test_odm_explores_less_and_leans_to_the_largest_reward() -> None:
    weights, estimates = EVEN, NOTHING
    for turn in range(1, 2000):
        weights, estimates = odm(weights, np.array([9.0, 1.0, 1.0, 1.0]), estimates, turn)
        assert weights.sum() == pytest.approx(1) and weights.min() >= updates.exploration(4, turn) - 1e-12
    assert weights.argmax() == 0 and weights[0] > 0.26


@pytest.mark.parametrize("strategy", ["static", "versatune", "exponentiated", "doremi", "odm"])
@pytest.mark.parametrize("size", [1e-3, 3.0, 2000.0])
def test_every_strategy_leaves_weight_zero_at_zero_and_the_sum_at_one(strategy: str, size: float) -> None:
    config = VersatunePretrainConfig(strategy=strategy)  # type: ignore[arg-type]
    weights = np.array([0.6, 0.39, 0.01, 0.0])
    losses = size * np.array([1.0, 2.0, 0.5, 3.0])
    arguments = losses, losses * 1.1, losses * [0.5, 0.9, 0.2, 0.1], np.full(4, 100.0), NOTHING
    after, _ = decide(config, list("abcd"), weights, *arguments, 3)
    assert after.sum() == pytest.approx(1) and after[3] == 0 and (after[:3] >= 0.01 - 1e-12).all()
    assert (after == weights).all() == (strategy == "static")


def test_rules_of_the_paper_and_of_its_repository_differ_as_written() -> None:
    losses, reference = np.array([4.0, 2.0]), np.array([2.0, 2.0])
    arguments = np.array([0.5, 0.5]), losses, losses, reference, np.ones(2), np.zeros(2), 1
    paper, _ = decide(VersatunePretrainConfig(floor=0.0), ["a", "b"], *arguments)
    assert paper == pytest.approx([1.25 / 2.25, 1 / 2.25])  # gamma 0.5 and 0, sigma 0.5
    repository, _ = decide(VersatunePretrainConfig(strategy="exponentiated", floor=0.0), ["a", "b"], *arguments)
    assert repository == pytest.approx([1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))])  # raw losses
