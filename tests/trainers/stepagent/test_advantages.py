"""GiGPO's advantages: by hand, and what holds for any episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hubwright.trainers.stepagent.advantages import advantages, discounted, normalised

Episodes = tuple[list[str], list[list[float]], list[list[str]]]


def drawn(seed: int, episodes: int = 12) -> Episodes:
    """Episodes of 1 to 6 steps in 3 groups; few states, so that some repeat."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 7, episodes)
    groups = [str(random.integers(3)) for _ in range(episodes)]
    return (
        groups,
        [list(random.normal(size=n)) for n in lengths],
        [list(map(str, random.integers(9, size=n))) for n in lengths],
    )


def test_discounted_returns_are_those_by_hand() -> None:
    assert discounted([1.0, 2.0, 4.0], 0.5).tolist() == [3.0, 4.0, 4.0]
    assert discounted([-1.0, -1.0, 20.0], 1.0).tolist() == [18.0, 19.0, 20.0]


def test_advantages_of_three_episodes_are_those_by_hand() -> None:
    groups, rewards = ["t", "t", "u"], [[0.0, 1.0], [0.0, 0.0], [5.0]]
    values, sizes = advantages(groups, rewards, [["a", "b"], ["a", "a"], ["a"]], gamma=0.5, omega=2.0, scale="none")
    # Returns 1 and 0; in "a" of the first group the discounted returns are 0.5, 0 and 0.
    third = 0.5 / 3
    assert np.allclose(values[0], [0.5 + 2 * (0.5 - third), 0.5])
    assert np.allclose(values[1], [-0.5 - 2 * third] * 2)
    assert values[2].tolist() == [0.0]
    assert [one.tolist() for one in sizes] == [[3, 1], [3, 3], [1]]


def test_advantages_with_omega_zero_are_those_of_episodes() -> None:
    groups, rewards, states = drawn(0)
    values, _ = advantages(groups, rewards, states, omega=0.0)
    returns = np.array([sum(one) for one in rewards])
    for group in set(groups):
        members = [n for n, one in enumerate(groups) if one == group]
        wanted = (returns[members] - returns[members].mean()) / returns[members].std()
        for n, value in zip(members, wanted, strict=True):
            assert np.allclose(values[n], value)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", ["std", "none"])
def test_advantages_of_permuted_episodes_are_permuted(seed: int, scale: str) -> None:
    groups, rewards, states = drawn(seed)
    order = np.random.default_rng(seed).permutation(len(groups)).tolist()
    values, sizes = advantages(groups, rewards, states, scale=scale)
    again: Any = advantages(*([one[n] for n in order] for one in (groups, rewards, states)), scale=scale)
    for place, n in enumerate(order):
        assert np.allclose(again[0][place], values[n], atol=1e-12)
        assert again[1][place].tolist() == sizes[n].tolist()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", ["std", "none"])
def test_step_advantages_sum_to_zero_in_every_state_and_are_zero_alone(seed: int, scale: str) -> None:
    groups, rewards, states = drawn(seed)
    with_steps, sizes = advantages(groups, rewards, states, scale=scale)
    without, _ = advantages(groups, rewards, states, scale=scale, omega=0.0)
    sums: dict[tuple[str, str], list[float]] = {}
    for group, one, more, less in zip(groups, states, with_steps, without, strict=True):
        for state, value in zip(one, more - less, strict=True):
            sums.setdefault((group, state), []).append(value)
    assert max(map(len, sums.values())) > 1 == min(map(len, sums.values()))
    for one in sums.values():
        assert sum(one) == pytest.approx(0, abs=1e-9)
    alone = [v for more, less, n in zip(with_steps, without, sizes, strict=True) for v in (more - less)[n == 1]]
    assert alone and not any(alone)


def test_normalised_values_have_unit_deviation_and_equal_ones_are_zero() -> None:
    groups = np.array([0] * 5 + [1] * 3 + [2])
    values = np.array([1.0, 2.0, 4.0, 8.0, 9.0, 0.1 + 0.2, 0.3, 0.3, 7.0])  # rounding tells 0.1 + 0.2 from 0.3
    result = normalised(values, groups)
    assert result[:5].std() == pytest.approx(1) and result[:5].mean() == pytest.approx(0)
    assert result[5:].tolist() == [0.0] * 4


def test_state_of_another_group_is_another_state() -> None:
    values, sizes = advantages(["t", "u"], [[1.0], [0.0]], [["a"], ["a"]])
    assert [one.tolist() for one in (*values, *sizes)] == [[0.0], [0.0], [1], [1]]


def test_example_of_the_docstring_holds() -> None:
    values, sizes = advantages(["t", "t"], [[1.0], [0.0, 0.0]], [["a"], ["a", "b"]])
    assert [one.tolist() for one in values] == [[2.0], [-2.0, -1.0]]
    assert [one.tolist() for one in sizes] == [[2], [2, 1]]
