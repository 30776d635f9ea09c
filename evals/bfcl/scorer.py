"""The score of one single-turn reply. Needs neither lm-eval nor torch."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ...environments.calls import Call
from ...inference.reasoning import answer_of
from .matcher import Gold, matches
from .reader import bfcl_calls

METRICS = ("acc", "readable", "function")


def score(
    reply: str, gold: Sequence[Gold] | None, functions: Sequence[dict[str, Any]], category: str
) -> dict[str, float]:
    """Metrics of one reply.

    acc: the calls are the gold ones (`matcher.py`); without a gold answer, nothing readable is called (irrelevance),
    or something is (relevance). readable: the reply is a list of at least one call. function: the functions called are
    gold's.
    """
    return score_calls(read_calls(reply), gold, functions, category)


def read_calls(reply: str) -> list[Call]:
    """The calls of a reply behind its thought; none where the reply is no list of calls."""
    try:
        return bfcl_calls(answer_of(reply))
    except ValueError:
        return []


def score_calls(
    calls: Sequence[Call], gold: Sequence[Gold] | None, functions: Sequence[dict[str, Any]], category: str
) -> dict[str, float]:
    """The same of calls that have been read, none where the reply could not be."""
    if gold is None:
        return {"acc": float(bool(calls) != category.endswith("irrelevance"))}
    named, expected = Counter(call.name for call in calls), Counter(next(iter(answer)) for answer in gold)
    return {
        "acc": float(bool(calls) and not matches(calls, gold, functions, category)),
        "readable": float(bool(calls)),
        "function": float(named == expected),
    }
