"""The n-gram task: fixed rules "after these words comes that word" in random sequences.

KV shifting attention (arXiv:2411.19574), toy experiment (c): about 200 random rules (x1, x2) -> x3. A sequence is
random words, but whenever its last words are the left side of a rule, the next word is the rule's right side; exactly
these positions are scored. The rules are the same in all rows, so a model must learn them by heart. Our choice: the
size of the vocabulary, at which a rule applies at about one position in five of random text and the last word alone
tells little; and no chain of rules runs in a circle, which would make the rest of a sequence certain.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from ...hub_sync.context import StepContext
from ...hub_sync.errors import UsageError
from .._lib.context import local_context
from .common import (
    TRIES_PER_ROW,
    Draws,
    Row,
    SequencesConfig,
    constant_accuracy,
    draw_rows,
    fill_report,
    most_frequent,
    scored_row,
    uniform_accuracy,
    word,
)

if TYPE_CHECKING:
    from datasets import DatasetDict

MORE = {"matches": "int32"}

Rules = dict[tuple[int, ...], int]


class NgramConfig(SequencesConfig):
    """How many sequences under how many rules."""

    vocabulary: int = Field(32, ge=2, description="Different words (our choice).")
    length: int = Field(48, ge=4, description="Words a sequence (our choice).")
    rules: int = Field(200, ge=1, description="Rules, the same for all rows (the paper: about 200).")
    order: int = Field(3, ge=2, le=8, description="Words of a rule: order-1 on the left, one on the right (paper: 3).")

    @model_validator(mode="after")
    def _rules_fit(self) -> NgramConfig:
        most = self.vocabulary ** (self.order - 1) // 2
        if self.rules > most:
            raise ValueError(
                f"rules {self.rules} is above {most}, half of all left sides; lower rules or raise vocabulary"
            )
        if self.length <= self.order:
            raise ValueError(f"length {self.length} leaves no room for order {self.order}; raise length")
        return self


def make_rules(config: NgramConfig) -> Rules:
    """left side -> right side, a function of the seed and the config's sizes.

    Raises UsageError if so many rules cannot be had without a circle.
    """
    draws = Draws("ngram", config.seed, "rules", config.vocabulary, config.order, config.rules)
    rules: Rules = {}
    misses = 0
    while len(rules) < config.rules:
        left = tuple(draws.below(config.vocabulary) for _ in range(config.order - 1))
        right = draws.below(config.vocabulary)
        if left in rules or _closes_a_circle(rules, left, right):
            misses += 1
            if misses > TRIES_PER_ROW * config.rules:
                raise UsageError(
                    f"ngram: only {len(rules)} of {config.rules} rules were found without a circle: "
                    "lower rules or raise vocabulary"
                )
            continue
        rules[left] = right
    return rules


def _closes_a_circle(rules: Rules, left: tuple[int, ...], right: int) -> bool:
    here = (*left[1:], right)
    while here != left and here in rules:
        here = (*here[1:], rules[here])
    return here == left


def make_row(config: NgramConfig, rules: Rules, draws: Draws) -> Row | None:
    """One sequence of `config.length` words; None if no rule applied."""
    sides = config.order - 1
    words: list[int] = []
    positions = []
    for i in range(config.length):
        forced = rules.get(tuple(words[-sides:])) if i >= sides else None
        if forced is not None:
            positions.append(i - 1)
        words.append(draws.below(config.vocabulary) if forced is None else forced)
    if not positions:
        return None
    text = [word(w) for w in words]
    targets = [""] * config.length
    for i in positions:
        targets[i] = text[i + 1]
    return scored_row(text, targets, draws.choice(positions), matches=len(positions))


def floors(train: Iterable[Row], test: Collection[Row]) -> dict[str, float]:
    """Accuracy of guesses from less than a rule's whole left side."""
    return {
        "the most frequent word so far": uniform_accuracy(test, lambda words, i: most_frequent(words[: i + 1])),
        "the most frequent target": constant_accuracy(train, test, lambda words, i: ""),
        "the most frequent target after the last word": constant_accuracy(train, test, lambda words, i: words[i]),
    }


def build(config: NgramConfig, context: StepContext | None = None) -> DatasetDict:
    """Build the train and test splits, which share the rules.

    Raises UsageError if the rules cannot be had or never apply.
    """
    context = context or local_context()
    rules = make_rules(config)
    splits = draw_rows("ngram", config, context, MORE, lambda draws, *_: make_row(config, rules, draws))
    sizes: dict[str, Any] = {
        "length": config.length,
        "vocabulary": config.vocabulary,
        "rules": len(rules),
        "left": config.order - 1,
    }
    fill_report(context, splits, floors(splits["train"], splits["test"]), "ngram", **sizes)
    context.report.counts["rules"] = len(rules)
    return splits
