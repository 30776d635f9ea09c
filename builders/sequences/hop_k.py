"""The k-hop induction task: go back to the last time this word stood here, take the next word, k times.

Sanford, Hsu and Telgarsky, "Transformers, parallel computation, and logarithmic depth" (arXiv:2402.09268); toy
experiment (d) of KV shifting attention (arXiv:2411.19574). With words X[0..n-1]:

    find_1(i) = the greatest j with 1 <= j <= i and X[j-1] == X[i]; none where there is no such j
    find_k(i) = find_1(find_{k-1}(i))
    hop_k(X)[i] = X[find_k(i)]

A row begins with the word `k=K`, and every position with a hop is scored: the target is no next word, it is looked up.
Four letters, length 100 and neighbours that differ are those of the paper's public experiments
(chsanford/hop-induction-heads, conf/runs/width4-depth5.yaml and src/tasks.py), which take k from 0 to 16 and score
"there is none" as a word of its own; the list of k, and leaving such positions out, are our choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from ...hub_sync.context import StepContext
from .._lib.context import local_context
from .common import (
    Draws,
    Row,
    SequencesConfig,
    draw_rows,
    fill_report,
    most_frequent,
    scored_row,
    uniform_accuracy,
    word,
)

if TYPE_CHECKING:
    from datasets import DatasetDict

MORE = {"hops": "int32"}


class HopKConfig(SequencesConfig):
    """How many sequences with how many hops."""

    hops: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1, 2, 4, 8, 16), min_length=1, description="Numbers of hops k, in equal parts (our choice)."
    )
    vocabulary: int = Field(4, ge=3, description="Different letters (arXiv:2402.09268, public experiments: 4).")
    length: int = Field(
        100, ge=4, description="Words a row, the first one `k=K` (arXiv:2402.09268, public experiments: 100)."
    )

    @model_validator(mode="after")
    def _hops_differ(self) -> HopKConfig:
        twice = next((k for k in self.hops if self.hops.count(k) > 1), None)
        if twice is not None:
            raise ValueError(f"hops names {twice} twice; name each number once")
        return self


def find_once(words: Sequence[int]) -> list[int | None]:
    """find_1 of every position: the place behind the last earlier occurrence of the same word, or None."""
    last: dict[int, int] = {}
    places: list[int | None] = []
    for i, w in enumerate(words):
        places.append(last[w] + 1 if w in last else None)
        last[w] = i
    return places


def hop(words: Sequence[int], k: int) -> list[int | None]:
    """hop_k of every position, or None if one of the k hops finds nothing."""
    once = find_once(words)
    places: list[int | None] = list(range(len(words)))
    for _ in range(k):
        places = [None if place is None else once[place] for place in places]
    return [None if place is None else words[place] for place in places]


def make_row(config: HopKConfig, draws: Draws, number: int) -> Row | None:
    """One sequence; the numbers of hops take turns by the row's number. None if no position has a hop."""
    k = config.hops[number % len(config.hops)]
    letters: list[int] = []
    while len(letters) < config.length - 1:
        letter = draws.below(config.vocabulary - 1 if letters else config.vocabulary)
        # Neighbours differ: skip the letter before by counting past it.
        letters.append(letter + (1 if letters and letter >= letters[-1] else 0))
    targets = ["", *("" if letter is None else word(letter) for letter in hop(letters, k))]
    positions = [i for i, target in enumerate(targets) if target]
    if not positions:
        return None
    return scored_row([f"k={k}", *map(word, letters)], targets, draws.choice(positions), hops=k)


def floors(rows: Iterable[Row], hops: Sequence[int]) -> dict[str, float]:
    """Accuracy of guesses that follow no hop, for each k; small k fall into the last two all too often."""
    guesses: dict[str, Callable[[list[str], int], list[str]]] = {
        "the most frequent letter so far": lambda words, i: most_frequent(words[1 : i + 1]),
        "the current letter": lambda words, i: [words[i]],
        "the letter before": lambda words, i: [words[i - 1]],
    }
    found = {row["hops"] for row in rows}
    return {
        f"k={k}: {name}": uniform_accuracy((row for row in rows if row["hops"] == k), guess)
        for k in sorted(found.intersection(hops))
        for name, guess in guesses.items()
    }


def build(config: HopKConfig, context: StepContext | None = None) -> DatasetDict:
    """Build the train and test splits.

    Raises UsageError if a row of the given length has no position with so many hops.
    """
    context = context or local_context()
    splits = draw_rows("hop_k", config, context, MORE, lambda draws, number, _: make_row(config, draws, number))
    hops = ", ".join(map(str, config.hops))
    accuracy = floors(splits["test"], config.hops)
    fill_report(context, splits, accuracy, "hop_k", hops=hops, letters=config.length - 1, vocabulary=config.vocabulary)
    for name, rows in splits.items():
        found = Counter(rows["hops"])
        context.report.counts |= {f"{name}_rows_k={k}": found[k] for k in config.hops}
    return splits
