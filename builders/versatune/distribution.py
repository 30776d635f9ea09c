"""Shares of domains from the labels of samples, with intervals, and how far judges agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...inference.resampling import bootstrap_sums, interval
from .._lib.near_duplicates import words

RUN = 3  # words of an n-gram by which repetition is measured


def drop_reason(text: str, min_words: int, min_distinct: float) -> str | None:
    """Why a sample tells no domain: "empty", "too_short" or "repetitive"; None if it may.

        >>> drop_reason("so on and so on and so on and so on and so on and so on and", 5, 0.4)
        'repetitive'

    Args:
        min_distinct: least share of different ones among the 3-grams of words.
    """
    if not text.strip():
        return "empty"
    tokens = words(text, fold_digits=False)
    if len(tokens) < min_words:
        return "too_short"
    runs = [tuple(tokens[n : n + RUN]) for n in range(len(tokens) - RUN + 1)]
    return "repetitive" if runs and len(set(runs)) < min_distinct * len(runs) else None


def probabilities(logp: Sequence[float | None]) -> tuple[list[float] | None, float]:
    """(softmax over the labels, or None if no label has a probability; the probability of all labels together).

    >>> p, mass = probabilities([math.log(0.3), math.log(0.1), None])
    >>> [round(one, 2) for one in p], round(mass, 2)
    ([0.75, 0.25, 0.0], 0.4)
    """
    values = np.array([-math.inf if one is None else one for one in logp], dtype=np.float64)
    top = values.max()
    if top == -math.inf:
        return None, 0.0
    held = np.exp(values - top)
    return (held / held.sum()).tolist(), min(1.0, float(math.exp(top) * held.sum()))


def shares(rows: np.ndarray, domains: Sequence[str], *, resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    """Mean of the rows by domain, with the bootstrap interval of 95 %; None without rows.

    Args:
        rows: (samples, domains), each of sum 1: probabilities, or 1 for the label and 0 for the others.
    """
    if not len(rows):
        return {name: {"share": None, "ci_low": None, "ci_high": None} for name in domains}
    draws = bootstrap_sums(rows, resamples, seed) / len(rows)
    ends = [interval(draws[:, n]) for n in range(len(domains))]
    return {
        name: {"share": float(mean), "ci_low": low, "ci_high": high}
        for name, mean, (low, high) in zip(domains, rows.mean(axis=0), ends, strict=True)
    }


def one_hot(labels: Sequence[str], domains: Sequence[str]) -> np.ndarray:
    """(labels, domains) of 0 and 1."""
    return np.array([[float(label == name) for name in domains] for label in labels]).reshape(-1, len(domains))


def agreement(one: Sequence[str | None], other: Sequence[str | None]) -> dict[str, Any]:
    """Share of equal labels and Cohen's kappa of the samples that both labelled; None where it is undefined.

    >>> agreement(["a", "a", "b", "b"], ["a", "b", "b", None])
    {'n': 3, 'equal': 0.6666666666666666, 'kappa': 0.3999999999999999}
    """
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    if not pairs:
        return {"n": 0, "equal": None, "kappa": None}
    first, second = np.array(pairs).T
    equal = float((first == second).mean())
    chance = sum(float((first == name).mean() * (second == name).mean()) for name in {*first, *second})
    return {"n": len(pairs), "equal": equal, "kappa": (equal - chance) / (1 - chance) if chance < 1 else None}


def distance(one: Sequence[list[float] | None], other: Sequence[list[float] | None]) -> float | None:
    """Mean total variation distance of two judges' probabilities, 0 to 1."""
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    if not pairs:
        return None
    a, b = (np.array(part) for part in zip(*pairs, strict=True))
    return float(np.abs(a - b).sum(axis=1).mean() / 2)
