"""Keep, rewrite or drop: the rule, and where its threshold comes from.

With S the score of the raw text r, S' that of a second scorer, c a new caption, and thresholds t_k (keep), t_d (drop):

    keep r        if S(r) >= t_k
    take c        else if S'(c) >= S'(r) + d, c holds at least rho of r's names and numbers, and has at most L words
    drop          else if S(r) < t_d
    keep r        else

The paper's model decides by itself whether it rewrites, and names no threshold: the rule is our choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from ...hub_sync.errors import DataError
from ...inference.cuts import best_cut
from ...inference.entities import retention

Decision = Literal["keep", "rewrite", "drop"]


@dataclass(frozen=True)
class Rule:
    """The settings of the rule.

    Attributes:
        delta: d, points by which the second scorer has to prefer the new caption.
        retention: rho, of 0 to 1.
        max_words: L.
        drop_below: t_d; None: nothing is dropped.
    """

    delta: float
    retention: float
    max_words: int
    drop_below: float | None


class Outcome(NamedTuple):
    """What is done with a pair, and why."""

    decision: Decision
    reason: str
    retention: float | None = None


def decide(
    rule: Rule, raw: str, score: float, is_low: bool, recaption: str | None, before: float | None, after: float | None,
    fault: str = "no new caption",
) -> Outcome:  # fmt: skip
    """The outcome for a pair.

        >>> rule = Rule(delta=0.5, retention=0.5, max_words=50, drop_below=2.0)
        >>> decide(rule, "Rome, 2019", 1.2, True, "A red bus", 1.0, 8.0)
        Outcome(decision='drop', reason='the new caption loses names or numbers', retention=0.0)
        >>> decide(rule, "IMG_1.jpg", 1.2, True, "A red bus", 1.0, 8.0).decision
        'rewrite'

    Args:
        score: S of the raw text.
        is_low: S(r) < t_k.
        recaption: the new caption; None if there is none.
        before, after: S' of the raw text and of the new caption; None if they could not be scored.
        fault: why there is no new caption.
    """
    if not is_low:
        return Outcome("keep", "score")
    share = retention(raw, recaption) if recaption else None
    reason = _fault(rule, raw, recaption, share, before, after) if recaption else fault
    if reason is None:
        return Outcome("rewrite", "the second scorer prefers the new caption", share)
    dropped = rule.drop_below is not None and score < rule.drop_below
    return Outcome("drop" if dropped else "keep", reason, share)


def _fault(
    rule: Rule, raw: str, recaption: str, share: float | None, before: float | None, after: float | None
) -> str | None:
    """Why a new caption is not taken; None if it is."""
    if recaption.split() == raw.split():
        return "the new caption is the old text"
    if len(recaption.split()) > rule.max_words:
        return "the new caption is too long"
    if share is not None and share < rule.retention:
        return "the new caption loses names or numbers"
    if before is None or after is None:
        return "the second scorer could not score it"
    return None if after >= before + rule.delta else "the second scorer does not prefer the new caption"


def youden(scores: Sequence[float], good: Sequence[bool]) -> tuple[float, float]:
    """(threshold, J): where the share of good pairs at or above it, less that of bad ones, is largest.

        >>> youden([1.0, 2.0, 8.0, 9.0], [False, False, True, True])
        (5.0, 1.0)

    The threshold lies in the middle between two scores. Raises DataError if one of the kinds is not there.
    """
    labels = np.asarray(good, bool)
    if not labels.any() or labels.all():
        raise DataError("the development samples are all of one kind: give good and bad ones")
    best = best_cut(scores, labels)
    if best is None:
        raise DataError("the scorer gives all development samples the same score: no threshold tells them apart")
    if best[1] <= 0:
        raise DataError(
            "the scorer gives bad development samples the higher scores: no threshold separates them; train it "
            "longer, or set keep_from"
        )
    return best


def lowest(scores: np.ndarray[Any, Any], sources: Iterable[str], rate: float) -> np.ndarray[Any, Any]:
    """Which pairs are the share `rate` of their source with the lowest scores; of equal ones the first.

        >>> lowest(np.array([1.0, 1.0, 3.0, np.nan]), ["a"] * 4, 0.3).tolist()
        [True, False, False, False]

    Sources too small for one pair of that share are taken together. Pairs without a score are not counted.

    Args:
        scores: (pairs,), NaN without a score.
    """
    numbers: dict[str, int] = {}
    codes = np.fromiter((numbers.setdefault(name, len(numbers)) for name in sources), np.int32, len(scores))
    known = np.isfinite(scores)
    sizes = np.bincount(codes[known], minlength=len(numbers))
    small = np.rint(rate * sizes) < 1
    codes = np.where(small[codes], len(numbers), codes)
    counts = np.rint(rate * np.bincount(codes[known], minlength=len(numbers) + 1)).astype(int)
    order = np.lexsort((np.where(known, scores, np.inf), codes))
    starts = np.searchsorted(codes[order], np.arange(len(numbers) + 1))
    places = np.empty(len(scores), np.int64)
    places[order] = np.arange(len(scores)) - starts[codes[order]]
    return np.asarray(known & (places < counts[codes]))
