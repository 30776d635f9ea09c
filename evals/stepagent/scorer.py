"""Figures of one episode, and of one state's distribution over actions beside the expert's; plain functions."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

SMOOTHING = 0.01  # share of the expert's probability that reverse KL spreads over all actions; our choice


def episode_scores(transcript: Mapping[str, Any]) -> dict[str, float]:
    """Figures of one episode.

    >>> episode_scores({"success": True, "score": 1.0, "steps": 4, "invalid": 1, "end": "done"})
    {'success': 1.0, 'score': 1.0, 'steps': 4.0, 'invalid': 0.25, 'failed': 0.0}

    Args:
        transcript: success, score (0 to 1), steps, invalid (replies that were not an action of their state) and end;
            one that begins with "crashed" is the environment's failure.
    """
    steps = int(transcript["steps"])
    return {
        "success": float(transcript["success"]),
        "score": float(transcript["score"]),
        "steps": float(steps),
        "invalid": transcript["invalid"] / steps if steps else 0.0,
        "failed": float(str(transcript["end"]).startswith(("crashed", "context full"))),
    }


def distribution_scores(
    logps: Sequence[float], expert: Sequence[float], smoothing: float = SMOOTHING
) -> dict[str, float]:
    """How far the policy pi is from the expert E in one state. Divergences are in nats, over the admissible actions.

    >>> distribution_scores([math.log(0.6), math.log(0.2)], [1.0, 0.0])["inadmissible_mass"].__round__(6)
    0.2

    Args:
        logps: log-probability of each admissible action as the whole answer, its end of turn included.
        expert: the expert's probabilities of the same actions.
        smoothing: epsilon of KL(pi || E_eps), where E_eps = (1 - epsilon) E + epsilon / actions. A deterministic
            expert would make it infinite.

    Returns:
        agreement: 1 if the policy's most probable action is one that the expert may take; the first of equal ones.
        kl: KL(E || pi), with pi made to sum to 1 over the admissible actions.
        reverse_kl: KL(pi || E_eps). jsd: Jensen-Shannon divergence, at most log 2. tv: total variation, at most 1.
        expert_nll: - sum E log pi, of pi as it is; inadmissible_mass: what pi gives to all other texts.
    """
    if len(logps) != len(expert) or not logps:
        raise ValueError(f"{len(logps)} log-probabilities of {len(expert)} actions")
    total, mass = math.fsum(expert), math.fsum(math.exp(value) for value in logps)
    gold = [value / total for value in expert]
    highest = max(logps)
    shares = [math.exp(value - highest) for value in logps]
    policy = [share / math.fsum(shares) for share in shares]
    spread = [(1 - smoothing) * value + smoothing / len(gold) for value in gold]
    middle = [(a + b) / 2 for a, b in zip(gold, policy, strict=True)]
    return {
        "agreement": float(gold[max(range(len(logps)), key=lambda n: (logps[n], -n))] > 0),
        "kl": _kl(gold, policy),
        "reverse_kl": _kl(policy, spread),
        "jsd": (_kl(gold, middle) + _kl(policy, middle)) / 2,
        "tv": math.fsum(abs(a - b) for a, b in zip(gold, policy, strict=True)) / 2,
        "expert_nll": -math.fsum(a * value for a, value in zip(gold, logps, strict=True) if a > 0),
        "inadmissible_mass": max(0.0, 1 - mass),
    }


def _kl(p: Sequence[float], q: Sequence[float]) -> float:
    return math.fsum(a * (math.log(a) - math.log(b)) if b > 0 else math.inf
                     for a, b in zip(p, q, strict=True) if a > 0)  # fmt: skip


def contraction(expert: Sequence[Sequence[float]], before: Sequence[Sequence[float]],
                after: Sequence[Sequence[float]]) -> float | None:  # fmt: skip
    """The factor by which log E - log pi, centred in each state, was multiplied between two policies: least squares
    over states in which the expert takes more than one action; None without such states.

    Args:
        expert: probabilities by state and action; before, after: log-probabilities.
    """
    products = squares = 0.0
    for gold, old, new in zip(expert, before, after, strict=True):
        taken = [n for n, value in enumerate(gold) if value > 0]
        if len(taken) < 2:
            continue
        first, second = (_centred([math.log(gold[n]) - logps[n] for n in taken]) for logps in (old, new))
        products += math.fsum(a * b for a, b in zip(first, second, strict=True))
        squares += math.fsum(a * a for a in first)
    return products / squares if squares > 0 else None


def _centred(values: Sequence[float]) -> list[float]:
    mean = math.fsum(values) / len(values)
    return [value - mean for value in values]
