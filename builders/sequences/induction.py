"""The induction task: a token that recurs has the successor that it had before.

KV shifting attention (arXiv:2411.19574), toy experiment (a): a pool of tokens is drawn for each sequence, and once a
token recurs, its successor is the one recorded at its first visit; only such positions are scored. Followed to the
letter the walk ends in a cycle: a forced successor has been seen as well, so its own successor is forced, and so on
forever. Our choice, so that the walk is free again after each forced step: half of the pool are keys, half are
successors. A sequence is key, successor, key, successor, ...; each key is drawn at random, its first visit records
the successor, each later visit repeats it. A key never stands for a successor within a sequence, so what follows a
key that was seen is certain, and which tokens are keys is drawn again for every sequence.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

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

MORE = {"repeats": "int32"}


class InductionConfig(SequencesConfig):
    """How many sequences of which kind. The paper: 8,000 tokens, length 512; the defaults fit a CPU."""

    vocabulary: int = Field(128, ge=4, description="Different tokens over all sequences (the paper: 8,000).")
    length: int = Field(48, ge=4, description="Words a sequence (the paper: 512).")
    pool: int = Field(
        32, ge=4, multiple_of=2, description="Tokens drawn for each sequence, half of them keys (our choice)."
    )

    @model_validator(mode="after")
    def _pool_fits(self) -> InductionConfig:
        if self.pool > self.vocabulary:
            raise ValueError(f"pool {self.pool} is above vocabulary {self.vocabulary}; set pool to at most that")
        return self


def make_row(config: InductionConfig, draws: Draws) -> Row | None:
    """One sequence of `config.length` words; None if no key recurred."""
    tokens = draws.sample(range(config.vocabulary), config.pool)
    keys, free = tokens[: config.pool // 2], tokens[config.pool // 2 :]
    successor: dict[int, int] = {}
    words: list[int] = []
    targets: list[str] = []
    while len(words) < config.length:
        key = draws.choice(keys)
        repeats = key in successor
        if not repeats:
            successor[key] = free.pop()
        words += [key, successor[key]]
        targets += [word(successor[key]) if repeats else "", ""]
    words, targets = words[: config.length], targets[: config.length]
    if config.length % 2:
        targets[-1] = ""  # its successor is cut off
    positions = [i for i, target in enumerate(targets) if target]
    if not positions:
        return None
    return scored_row([word(w) for w in words], targets, draws.choice(positions), repeats=len(positions))


def floors(rows: Iterable[Row]) -> dict[str, float]:
    """Accuracy of guesses that count tokens and never look at which one stood before which."""
    return {
        "a word seen so far, at random": uniform_accuracy(rows, lambda words, i: sorted(set(words[: i + 1]))),
        "the most frequent word so far": uniform_accuracy(rows, lambda words, i: most_frequent(words[: i + 1])),
        "a successor seen so far, at random": uniform_accuracy(rows, lambda words, i: sorted(set(words[1:i:2]))),
        "the most frequent successor so far": uniform_accuracy(rows, lambda words, i: most_frequent(words[1:i:2])),
        "the latest successor": uniform_accuracy(rows, lambda words, i: [words[i - 1]]),
    }


def build(config: InductionConfig, context: StepContext | None = None) -> DatasetDict:
    """Build the train and test splits.

    Raises UsageError if the settings leave no sequence with a repetition.
    """
    context = context or local_context()
    splits = draw_rows("induction", config, context, MORE, lambda draws, *_: make_row(config, draws))
    accuracy, keys = floors(splits["test"]), config.pool // 2
    fill_report(context, splits, accuracy, "induction", vocabulary=config.vocabulary, length=config.length, keys=keys)
    return splits
