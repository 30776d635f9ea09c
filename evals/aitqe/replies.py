"""Scores in the replies of any model that sees, and the figures of a whole set of them.

>>> score_of('{"overall": 3, "recaption": "A red bus"}'), score_of("I rate it 8/10."), score_of("good")
(3, 8, None)
>>> figures = FIGURES["mae"], FIGURES["twin_accuracy"]
>>> [one([(9, 9, True, "a", "b"), (4, 2, False, "b", "a")]) for one in figures]
[1.0, 1.0]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...inference.media.pair_scores import ASPECTS, HIGH, LOW, read
from . import scorer

Answer = tuple[int | None, int, bool, str, str]
"""Score of a reply or None, target, whether the text is good, id, and the twin's id."""
_FIRST = re.compile(r"(?<![\d.])(-?\d+)(?!\d)(?!\.\d)")
_NUMBER = re.compile(r"\d")


def score_of(reply: str) -> int | None:
    """The overall score in a reply, a whole number from 1 to 10; None if there is none.

        >>> score_of('{"overall": 7.5.5.5.5'), score_of("11"), score_of("-3 of 10"), score_of('{"rating": "6"}')
        (None, None, None, 6)

    That of the JSON, if it has one; else the first number in the reply, whatever comes after it. A first number that
    is not on the scale, has decimals or runs on is not passed over for a later one.
    """
    if f'"{ASPECTS[0]}"' in reply:
        return read(reply).scores.get(ASPECTS[0]) or _overall(reply)
    digit = _NUMBER.search(reply)
    if digit is None:
        return None
    match = _FIRST.match(reply, digit.start() - (reply[: digit.start()].endswith("-")))
    return int(match[1]) if match and len(match[1]) <= 2 and LOW <= int(match[1]) <= HIGH else None


def _overall(reply: str) -> int | None:
    """The overall score of a JSON whose further aspects cannot be read."""
    start = reply.find("{")
    end = reply.find(",", reply.find(f'"{ASPECTS[0]}"'))
    return read(reply[max(start, 0) : end if end > 0 else None]).scores.get(ASPECTS[0]) if start >= 0 else None


def _scored(answers: Sequence[Answer]) -> tuple[Any, Any, Any, Any]:
    """Scores, targets, whether good, and weights of the answers that have a score."""
    rows = [one for one in answers if one[0] is not None]
    scores, targets, good = (np.array([one[place] for one in rows], np.float64) for place in range(3))
    return scores, targets, good.astype(bool), np.ones((1, len(rows)))


def _or(value: Any, fallback: float) -> float:
    return float(value[0]) if np.isfinite(value[0]) else fallback


def mae(answers: Sequence[Answer]) -> float:
    """Mean error in points; an answer without a score has the largest one, 9."""
    return float(np.mean([abs(one[0] - one[1]) if one[0] is not None else HIGH - LOW for one in answers]))


def spearman(answers: Sequence[Answer]) -> float:
    """Rank correlation of scores and targets, of answers with a score; 0 where it is not defined."""
    scores, targets, _, ones = _scored(answers)
    return _or(scorer.spearman(scores, targets, ones), 0.0)


def qwk(answers: Sequence[Answer]) -> float:
    """Cohen's kappa with quadratic weights, of answers with a score; 0 where it is not defined."""
    scores, targets, _, ones = _scored(answers)
    return _or(scorer.quadratic_kappa(scores, targets, ones), 0.0) if len(scores) else 0.0


def aurocs(answers: Sequence[Answer], weights: Any) -> Any:
    """Good against bad texts, of answers with a score, by row of the weights (rows, answers)."""
    known = [one[0] is not None for one in answers]
    scores, _, good, _ = _scored(answers)
    return scorer.auroc(scores, good, weights[:, known])


def twin_accuracies(answers: Sequence[Answer], weights: Any) -> Any:
    """Share of twins whose good text has the higher score, by row of the weights (rows, answers).

    Ties count half, twins without both scores are lost, and a text whose twin is not there is in no pair.
    """
    places = {one[3]: place for place, one in enumerate(answers)}
    bad = [
        place for place, one in enumerate(answers) if not one[2] and one[4] in places and answers[places[one[4]]][2]
    ]
    values = np.array([np.nan if one[0] is None else one[0] for one in answers], np.float64)
    good = [places[answers[place][4]] for place in bad]
    return scorer.twin_accuracy(values[good], values[bad], weights[:, bad])


SHARES: dict[str, Callable[[Sequence[Answer], Any], Any]] = {"twin_accuracy": twin_accuracies, "auroc": aurocs}


def share(answers: Sequence[Answer], name: str) -> float:
    """One of `SHARES`; 0.5 where it is not defined, as without twins or without two kinds that have scores."""
    return _or(SHARES[name](answers, np.ones((1, len(answers)))), 0.5)


def bound(answers: Sequence[Answer], name: str, percent: float, resamples: int) -> float:
    """A percentile of one of `SHARES` over draws of whole pairs of twins with replacement; seeded."""
    weights = scorer.resamples([min(one[3], one[4] or one[3]) for one in answers], resamples, 0)
    values = SHARES[name](answers, weights)
    known = values[np.isfinite(values)]
    return float(np.percentile(known, percent)) if len(known) else share(answers, name)


FIGURES: dict[str, Callable[[Sequence[Answer]], float]] = {
    "mae": mae,
    "spearman": spearman,
    "qwk": qwk,
    "twin_accuracy": partial(share, name="twin_accuracy"),
    "auroc": partial(share, name="auroc"),
}


def aggregations(resamples: int) -> dict[str, Callable[[Sequence[Answer]], float]]:
    """Every figure, and the ends of the 95 % intervals of `SHARES`."""
    table = dict(FIGURES)
    for name in SHARES:
        for side, percent in (("low", 2.5), ("high", 97.5)):
            table[f"{name}_ci_{side}"] = partial(bound, name=name, percent=percent, resamples=resamples)
    return table
