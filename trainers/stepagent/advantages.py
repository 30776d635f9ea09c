"""GiGPO's advantages of episodes and of steps (arXiv:2505.10978), from groups of episodes of one task and seed.

With rewards r_t of episode i in a group, discount gamma and weight omega:

    R_i  = sum_t r_t                         A_E(i)    = (R_i - mean over the group's episodes) / std
    G_it = sum_{k >= t} gamma^(k - t) r_k    A_S(i, t) = (G_it - mean over the group's steps in the same state) / std
    A(i, t) = A_E(i) + omega A_S(i, t)

A step whose state no other step of the group has, and a group whose values are all equal, get 0. Our choices: the
standard deviation is that of the group itself (divided by n), and 1 with `scale: none`; states are equal if their
texts are.
"""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
EQUAL = 1e-9  # relative: values that differ by less are equal, so that rounding is not scaled to 1


def discounted(rewards: Values | Sequence[float], gamma: float) -> Values:
    """The discounted return from every step on, (steps,).

    >>> discounted([0.0, 0.0, 1.0], 0.5).tolist()
    [0.25, 0.5, 1.0]
    """
    result = np.zeros(len(rewards))
    future = 0.0
    for t in range(len(rewards) - 1, -1, -1):
        result[t] = future = rewards[t] + gamma * future
    return result


def normalised(values: Values, groups: NDArray[np.int64], scale: str = "std") -> Values:
    """Each value less its group's mean, divided by the group's standard deviation.

    >>> normalised(np.array([1.0, 3.0, 5.0, 5.0, 7.0]), np.array([0, 0, 1, 1, 2])).tolist()
    [-1.0, 1.0, 0.0, 0.0, 0.0]

    Args:
        values: (n,).
        groups: (n,), numbers from 0.
        scale: "std", or "none" for no division.
    """
    sizes = np.maximum(np.bincount(groups), 1)
    centred = values - (np.bincount(groups, values) / sizes)[groups]
    std = np.sqrt(np.bincount(groups, centred**2) / sizes)
    most = np.zeros(len(sizes))
    np.maximum.at(most, groups, np.abs(values))
    differ = std > EQUAL * most
    divisor = np.where(differ, std if scale == "std" else 1.0, np.inf)
    return centred / divisor[groups]


def advantages(
    groups: Sequence[Hashable], rewards: Sequence[Values | Sequence[float]], states: Sequence[Sequence[Hashable]],
    gamma: float = 0.95, omega: float = 1.0, scale: str = "std",
) -> tuple[list[Values], list[NDArray[np.int64]]]:  # fmt: skip
    """(advantage of each step, number of steps in its state's group), both (steps,) per episode.

    Two episodes of one task begin in "a"; the first wins at once, the second goes to "b" and loses:

    >>> values, sizes = advantages(["t", "t"], [[1.0], [0.0, 0.0]], [["a"], ["a", "b"]])
    >>> [v.tolist() for v in values], [n.tolist() for n in sizes]
    ([[2.0], [-2.0, -1.0]], [[2], [2, 1]])

    Args:
        groups: of the episodes.
        rewards, states: of each episode's steps; the state is the one in which the action was chosen.
    """
    lengths = [len(one) for one in rewards]
    episode_groups = _numbers(groups)
    returns = np.array([float(sum(one)) for one in rewards])
    of_episodes = np.repeat(normalised(returns, episode_groups, scale), lengths)
    state_groups = _numbers((group, state) for group, one in zip(groups, states, strict=True) for state in one)
    later = np.concatenate([discounted(one, gamma) for one in rewards]) if lengths else np.zeros(0)
    total = of_episodes + omega * normalised(later, state_groups, scale)
    sizes = np.bincount(state_groups)[state_groups]
    ends = np.cumsum(lengths)[:-1]
    return np.split(total, ends), np.split(sizes, ends)


def _numbers(keys: Iterable[Hashable]) -> NDArray[np.int64]:
    numbers: dict[Hashable, int] = {}
    return np.fromiter((numbers.setdefault(key, len(numbers)) for key in keys), np.int64)
