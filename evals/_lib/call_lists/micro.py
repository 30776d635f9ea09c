"""Precision, recall and F1 over all documents together, with bootstrap intervals; aggregations for lm-eval.

A document gives (shared, predicted, gold) counts. What is empty on both sides is right: 1.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

Tally = tuple[int, int, int]


def tally(predicted: Iterable[Any], gold: Iterable[Any]) -> Tally:
    """The counts of two collections of hashable things; a thing counts as often as it is there."""
    a, b = Counter(predicted), Counter(gold)
    return (a & b).total(), a.total(), b.total()


def precision(tallies: Sequence[Tally]) -> float:
    shared, predicted, gold = map(sum, zip(*tallies, strict=True))
    return shared / predicted if predicted else float(not gold)


def recall(tallies: Sequence[Tally]) -> float:
    shared, predicted, gold = map(sum, zip(*tallies, strict=True))
    return shared / gold if gold else float(not predicted)


def f1(tallies: Sequence[Tally]) -> float:
    """Harmonic mean of precision and recall."""
    shared, predicted, gold = map(sum, zip(*tallies, strict=True))
    return 2 * shared / (predicted + gold) if predicted + gold else 1.0


def f1_bound(tallies: Sequence[Tally], percent: float, resamples: int) -> float:
    """A percentile of the F1s of documents drawn with replacement; seeded, so that the same answers give the same."""
    if not resamples:
        return f1(tallies)
    import numpy as np

    from ..statistics import bootstrap_sums

    shared, predicted, gold = bootstrap_sums(np.asarray(tallies, dtype=np.float64), resamples, 0).T
    size = predicted + gold
    return float(np.percentile(np.where(size > 0, 2 * shared / np.maximum(size, 1), 1.0), percent))


def aggregations(name: str, resamples: int) -> dict[str, Callable[[Sequence[Tally]], float]]:
    """`NAME_precision`, `_recall`, `_f1` and the ends of the 95 % interval of the last."""
    return {
        f"{name}_precision": precision,
        f"{name}_recall": recall,
        f"{name}_f1": f1,
        f"{name}_f1_ci_low": partial(f1_bound, percent=2.5, resamples=resamples),
        f"{name}_f1_ci_high": partial(f1_bound, percent=97.5, resamples=resamples),
    }
