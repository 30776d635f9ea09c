"""Rules that move the weights of domains: VersaTune's two (arXiv 2411.11266), and those that it is compared with.

With weights P_j (k domains, sum 1), held-out losses l_j of the model and l_ref_j of a reference, in nats per token:

    gamma_j = max((l_j - l_ref_j) / l_j, 0)                        learnable potential
    phi_j   = max((l_j(t) - l_j(t-1)) / l_j(t-1), 0)               forgetting degree
    multiplicative   P_j <- P_j (1 + sigma gamma_j) / Z
    expansion        P_e <- P_e + delta while the mean phi of the others < epsilon, else P_e; the others share the rest
                     in proportion to P_j (1 + sigma gamma_j)
    exponentiated    P_j <- P_j exp(eta excess_j) / Z
    odm              R_j <- a R_j + (1 - a) l_j;  P_j <- (1 - k eps_t) softmax(eps_(t-1) R)_j + eps_t

Arrays are float64 of shape (k,), all in one order of the domains. A domain of weight 0 keeps it under every rule.
gamma and phi are read in the paper's figure; the product with 1 + sigma gamma and the expansion are recalled. Our
choices: sigma 0.5, delta 0.05, epsilon = gamma_e, and the floor.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...hub_sync.errors import UsageError, did_you_mean

Array = NDArray[np.float64]
ALARM = 0.9
"""A weight above this is told: the run is close to training on one domain alone."""
_SLACK = 1e-12


def check_weights(weights: Mapping[str, float], domains: Sequence[str], setting: str = "weights") -> Array:
    """The weights in the order of `domains`, divided by their sum.

    >>> check_weights({"law": 1, "code": 3}, ["code", "law"]).tolist()
    [0.75, 0.25]

    Raises UsageError for a domain that is missing or unknown, a weight that is negative or not finite, and a sum of 0.
    """
    for name, weight in weights.items():
        if name not in domains:
            raise UsageError(f"{setting}: there is no domain {name!r}{did_you_mean(name, domains)}")
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not (number and np.isfinite(weight) and weight >= 0):
            raise UsageError(f"{setting}: {name} is {weight!r}: give a finite number, 0 or more")
    if missing := [name for name in domains if name not in weights]:
        raise UsageError(
            f"{setting}: no weight for {', '.join(missing)}: give one for every domain, 0 to leave it out"
        )
    array = np.array([weights[name] for name in domains], dtype=np.float64)
    if not (array.sum() > 0 and np.isfinite(array.sum())):
        raise UsageError(f"{setting}: the sum of {', '.join(domains)} is {array.sum()}: raise at least one above 0")
    return array / array.sum()


def check_losses(losses: Iterable[float], domains: Sequence[str], when: str) -> Array:
    """The losses as an array. Raises UsageError for one that is not a finite number above 0.

    Args:
        when: end of the message: which losses, and the remedy.
    """
    array = np.array(list(losses), dtype=np.float64)
    for name, loss in zip(domains, array, strict=True):
        if not (np.isfinite(loss) and loss > 0):
            raise UsageError(f"the held-out loss of domain {name} is {loss:g} {when}")
    return array


def potential(losses: Array, references: Array) -> Array:
    """Learnable potential gamma: the share of each loss that the reference shows can still go.

    >>> potential(np.array([4.0, 2.0]), np.array([3.0, 2.5])).tolist()
    [0.25, 0.0]
    """
    return np.maximum((losses - references) / losses, 0.0)


def forgetting(losses: Array, before: Array) -> Array:
    """Forgetting degree phi: the share by which each loss has risen since the update before.

    >>> forgetting(np.array([3.0, 2.0]), np.array([2.0, 2.5])).tolist()
    [0.5, 0.0]
    """
    return np.maximum((losses - before) / before, 0.0)


def bounded(
    weights: Array, floor: float = 0.0, smoothing: float = 0.0, alive: NDArray[np.bool_] | None = None
) -> Array:
    """Weights with sum 1, mixed with the uniform distribution, then none below the floor.

    >>> bounded(np.array([0.98, 0.02, 0.0]), floor=0.1).round(3).tolist()
    [0.9, 0.1, 0.0]
    >>> bounded(np.array([1.0, 3.0]), smoothing=0.2).round(3).tolist()
    [0.3, 0.7]

    Args:
        floor: least weight of a domain; what it takes is taken from those above it, in proportion.
        smoothing: share of the uniform distribution.
        alive: (k,), the domains that take part; None: those with a weight above 0.

    Raises UsageError if the floors alone are more than 1.
    """
    alive = weights > 0 if alive is None else alive
    count = int(alive.sum())
    if floor * count > 1 + _SLACK:
        raise UsageError(f"floor {floor:g} is too much for {count} domains: set it to {1 / count:.4g} or less")
    result = np.where(alive, weights, 0.0)
    result = (1 - smoothing) * result / result.sum() + smoothing * alive / count
    low = np.zeros_like(alive)
    while (fresh := alive & ~low & (result < floor - _SLACK)).any():
        low |= fresh
        rest = alive & ~low
        scale = (1 - floor * low.sum()) / result[rest].sum() if rest.any() else 0.0
        result = np.where(low, floor, result * scale)
    return result / result.sum()


def multiplicative(weights: Array, gamma: Array, sigma: float = 0.5) -> Array:
    """The paper's rule, as recalled: each weight times 1 + sigma gamma, over their sum.

    >>> multiplicative(np.array([0.5, 0.5]), np.array([1.0, 0.0])).tolist()
    [0.6, 0.4]
    """
    raised = weights * (1 + sigma * gamma)
    return raised / raised.sum()


def expansion(
    weights: Array, target: int, gamma: Array, phi: Array, *, sigma: float = 0.5, delta: float = 0.05,
    epsilon: float | None = None, floor: float = 0.0, smoothing: float = 0.0,
) -> Array:  # fmt: skip
    """The paper's rule for a target domain, as recalled: its weight grows by a stride while the others forget little.

    >>> even, none = np.array([0.4, 0.3, 0.3]), np.zeros(3)
    >>> expansion(even, 0, np.array([0.2, 0.0, 0.0]), none).round(3).tolist()
    [0.45, 0.275, 0.275]
    >>> expansion(even, 0, np.array([0.2, 0.0, 0.0]), np.array([0.0, 0.5, 0.1])).round(3).tolist()
    [0.4, 0.3, 0.3]

    Args:
        target: its place in the order of the domains.
        delta: stride. The weight is capped where the others are at the floor.
        epsilon: threshold of the mean forgetting of the others; None: the target's own potential.
        floor, smoothing: of the others, as of `bounded`.
    """
    others = np.arange(len(weights)) != target
    alive = others & (weights > 0)
    if not alive.any():
        return weights / weights.sum()
    threshold = gamma[target] if epsilon is None else epsilon
    own = weights[target]
    if phi[alive].mean() < threshold:
        own = max(own, min(own + delta, 1 - max(floor, _SLACK) * alive.sum()))
    raised = np.where(others, multiplicative(weights, gamma, sigma), 0.0)
    rest = 1 - own
    result = rest * bounded(raised, min(floor / rest, 1 / alive.sum()), smoothing, alive)
    result[target] = own
    return result


def excess(losses: Array, references: Array, tokens: Array, normaliser: str = "domain") -> Array:
    """DoReMi's excess loss, clipped at 0: per domain over its own tokens, or over the tokens of all domains.

    >>> args = np.array([3.0, 3.0]), np.array([2.0, 2.0]), np.array([100.0, 300.0])
    >>> excess(*args).tolist(), excess(*args, "all").tolist()
    ([1.0, 1.0], [0.25, 0.75])

    DoReMi's paper divides by the domain's tokens and its code by all of them, which ranks large domains first. It
    clips each token's excess; here the domain's mean is clipped, because references are given as means.

    Args:
        tokens: scored tokens that each loss is the mean of.
        normaliser: "domain" or "all".
    """
    own = np.maximum(losses - references, 0.0)
    return own if normaliser == "domain" else own * tokens / tokens.sum()


def exponentiated(weights: Array, scores: Array, eta: float = 1.0) -> Array:
    """Weights times exp(eta score), over their sum: DoReMi's step, and with the raw losses as scores the step that the
    authors' public repository takes.

    >>> exponentiated(np.array([0.5, 0.5]), np.array([np.log(3), 0.0])).round(3).tolist()
    [0.75, 0.25]
    """
    raised = weights * np.exp(eta * np.minimum(scores - scores[weights > 0].max(), 0.0))
    return raised / raised.sum()


def exploration(count: int, turn: int) -> float:
    """Least probability of each of `count` domains after `turn` updates: min(1/k, sqrt(ln k / (k turn))).

    >>> exploration(4, 0), round(exploration(4, 100), 4)
    (0.25, 0.0589)
    """
    return min(1 / count, float(np.sqrt(np.log(count) / (count * turn)))) if turn else 1 / count


def odm(weights: Array, rewards: Array, estimates: Array, turn: int, decay: float = 0.5) -> tuple[Array, Array]:
    """Online data mixing: EXP3 over domains, with exploration that fades. Returns the weights and the new estimates.

    >>> odm(np.array([0.5, 0.5]), np.array([2.0, 1.0]), np.zeros(2), 1, 0.0)[0].round(3).tolist()
    [0.5, 0.5]
    >>> odm(np.array([0.5, 0.5]), np.array([2.0, 1.0]), np.zeros(2), 9, 0.0)[0].round(3).tolist()
    [0.531, 0.469]

    A bandit sees the reward of the drawn domain alone and divides it by its probability; here every reward is known,
    so the estimate takes the reward itself, which is the mean of the bandit's.

    Args:
        rewards: losses, nats per token: what is learnt badly is worth more.
        estimates: moving averages of the rewards; zeros at first.
        turn: number of the update, from 1.
        decay: share of the old estimate that stays.
    """
    alive = weights > 0
    count = int(alive.sum())
    estimates = decay * estimates + (1 - decay) * rewards
    now, before = exploration(count, turn), exploration(count, turn - 1)
    chosen = exponentiated(alive / count, estimates, before)
    return np.where(alive, (1 - count * now) * chosen + now, 0.0), estimates
