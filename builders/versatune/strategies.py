"""Weights of domains by static rules, and bounds on them; every figure is looked up by the domain's name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from ...hub_sync.errors import UsageError, did_you_mean

Weights = dict[str, float]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
LEAST = 1e-12  # what a weight of 0 counts for where bounds leave the others too little


def uniform(domains: Sequence[str]) -> Weights:
    """The same weight for all."""
    return dict.fromkeys(domains, 1 / len(domains))


def normalized(values: Mapping[str, float], what: str) -> Weights:
    """Values over their sum. Raises UsageError for one that is negative or not finite, and for a sum of 0."""
    for name, value in values.items():
        if not math.isfinite(value) or value < 0:
            raise UsageError(f"{what} of {name} is {value}: give a finite number, 0 or more")
    total = math.fsum(values.values())
    if total <= 0:
        raise UsageError(f"{what}: all of {', '.join(values)} are 0: give one of them a positive number")
    return {name: value / total for name, value in values.items()}


def inverse(shares: Weights) -> Weights:
    """(1 - P_j) / sum_i (1 - P_i).

    >>> inverse({"code": 0.75, "law": 0.25})
    {'code': 0.25, 'law': 0.75}
    """
    if len(shares) == 1:
        return dict(shares)
    return normalized({name: 1 - share for name, share in shares.items()}, "1 - share")


def tempered(shares: Weights, temperature: float) -> Weights:
    """p_j^(1/T) / sum_i p_i^(1/T): T = 1 changes nothing, a large T is uniform over the domains that have something.

    >>> tempered({"code": 0.8, "law": 0.2}, 2.0)["code"].__round__(3)
    0.667
    """
    top = max(shares.values())
    return normalized({name: (share / top) ** (1 / temperature) for name, share in shares.items()}, "share")


def check_names(names: Iterable[str], domains: Iterable[str], where: str) -> None:
    """Raises UsageError for a name that is no domain."""
    known = sorted(domains)
    if unknown := sorted(set(names) - set(known)):
        raise UsageError(f"{where}: no domain is called {unknown[0]!r}{did_you_mean(unknown[0], known)}")


def bounds(
    domains: Sequence[str], floors: Mapping[str, float], caps: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """((domains,) least, (domains,) most) weights. Raises UsageError if no weights that sum to 1 lie between."""
    check_names(floors, domains, "floors")
    check_names(caps, domains, "caps")
    low = np.array([floors.get(name, 0.0) for name in domains])
    high = np.array([caps.get(name, 1.0) for name in domains])
    for name, least, most in zip(domains, low, high, strict=True):
        if least > most:
            raise UsageError(
                f"the floor of {name} is {least:g} and its cap {most:g}: lower the floor or raise the cap"
            )
    if low.sum() > 1 + 1e-9:
        raise UsageError(f"floors sum to {low.sum():.4g}, more than 1: lower them")
    if high.sum() < 1 - 1e-9:
        raise UsageError(f"caps of all {len(domains)} domains sum to {high.sum():.4g}, less than 1: raise them")
    return low, high


def bounded(weights: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The weights as they are within the bounds, else s * w_j cut to them, with the one s that gives the sum 1.

        >>> bounded(np.array([0.6, 0.3, 0.1]), np.zeros(3), np.array([0.4, 1, 1])).round(3).tolist()
        [0.4, 0.45, 0.15]

    Args:
        weights: (domains,), sum 1.
        low, high: (domains,), from `bounds`.
    """
    if ((weights >= low) & (weights <= high)).all():
        return weights
    w = np.maximum(weights, LEAST)
    small, large = -30.0, 30.0  # of log s: every weight at its floor, every weight at its cap
    for _ in range(200):
        middle = (small + large) / 2
        if np.clip(math.exp(middle) * w, low, high).sum() < 1:
            small = middle
        else:
            large = middle
    result = np.clip(math.exp(large) * w, low, high)
    return np.asarray(result / result.sum())
