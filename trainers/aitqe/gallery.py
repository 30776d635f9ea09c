"""Contact sheets of scored and of rewritten pairs, for the card."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...hub_sync.context import StepContext
from ...hub_sync.errors import RowRejected
from ...inference.media.pair_scores import OVERALL

if TYPE_CHECKING:
    from datasets import Dataset

    from .rating import Pairs

BY_SCORE, REWRITTEN = "by_score.png", "rewritten.png"


def spread(scores: Sequence[float | None] | Any, count: int) -> list[int]:
    """Places of `count` scores from the lowest to the highest, evenly spaced among all of them; of equal ones the
    first comes first.

        >>> spread([5.0, None, 1.0, 9.0], 3)
        [2, 0, 3]

    Args:
        scores: None or NaN without a score; such places are left out.
    """
    values = np.array([np.nan if score is None else score for score in scores], np.float64)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    if not count or not len(order):
        return []
    picks = np.rint(np.linspace(0, len(order) - 1, min(count, len(order)))).astype(int)
    return [int(place) for place in order[picks]]


def by_score(context: StepContext, pairs: Pairs, ratings: Dataset, count: int) -> None:
    """A sheet of pairs from the lowest to the highest score."""
    scores = ratings[OVERALL]
    items = ((n, [f"{scores[n]:.1f}: {text}"]) for n in spread(scores, count) for text in _text(pairs, n))
    body = f"From the lowest score to the highest, evenly spaced among all. Credits are in `{pairs.source_name}`."
    _add(context, pairs, items, BY_SCORE, "Pairs by score", body)


def rewritten(context: StepContext, pairs: Pairs, decisions: Dataset, count: int) -> None:
    """A sheet of the first rewritten pairs."""
    lines = (
        (n, [f"{row['score']:.1f}: {row['raw_text']}", f"now: {row['text']}"])
        for n, row in enumerate(decisions)
        if row["decision"] == "rewrite"
    )
    _add(context, pairs, lines, REWRITTEN, "Rewritten pairs", "Score and raw text, then the new one.", count)


def _add(
    context: StepContext,
    pairs: Pairs,
    items: Iterable[tuple[int, list[str]]],
    name: str,
    title: str,
    body: str,
    count: int | None = None,
) -> None:
    from itertools import islice

    from ...inference.media.contact_sheet import contact_sheet

    def shown() -> Iterator[tuple[Any, list[str]]]:
        for number, lines in items:
            try:
                yield pairs.pixels(number), lines
            except RowRejected:
                continue

    if contact_sheet(islice(shown(), count), context.output / name):
        context.report.section(title, f"{body}\n\n![{title}]({name})")


def _text(pairs: Pairs, number: int) -> list[str]:
    try:
        return [pairs.of(number)[1]]
    except RowRejected:
        return []
