"""What the synthetic sequence sets share: drawing rows by seed, the columns, the report.

A row is a text of words with a blank between them, and for each word the word to predict after it, empty if that
is not scored. Row i of a split depends on the seed, the split and i alone: more rows leave the earlier ones as they
are, and no process, platform or hash seed plays a part. All of this is our choice.
"""

from __future__ import annotations

import hashlib
import random
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import UsageError
from ...hub_sync.pace import Pace
from ...hub_sync.settings import Settings
from ...hub_sync.text import utf8
from .._lib.cards import describe, describe_columns
from .._lib.near_index import text_hash
from .._lib.row_writer import RowWriter
from .._lib.splits import unit_hash

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

TEST_SHARE = 0.2  # share of all rows that belong to the test side, by the hash of what they ask
TRIES_PER_ROW = 1000

Row = dict[str, Any]
T = TypeVar("T")


class SequencesConfig(Settings):
    """What every set has: how many rows, from which seed."""

    train_rows: int = Field(20_000, ge=1, description="Rows of the train split (our choice).")
    test_rows: int = Field(1_000, ge=1, description="Rows of the test split (our choice).")
    seed: int = Field(0, ge=0, description="Seed of the generator; equal seeds give equal rows.")

    def counts(self) -> dict[str, int]:
        """Split -> rows."""
        return {"train": self.train_rows, "test": self.test_rows}


class Draws:
    """Random draws that come from `random.Random.random` alone.

    Python promises the same sequence of `random()` for a seed in every version and on every platform; of `sample`,
    `shuffle` and `randrange` it does not.
    """

    def __init__(self, *parts: object) -> None:
        digest = hashlib.sha256(utf8(":".join(map(str, parts)))).digest()
        self.random = random.Random(int.from_bytes(digest, "big")).random  # noqa: S311 - not for secrets

    def below(self, n: int) -> int:
        """A whole number from 0 to n-1."""
        return int(self.random() * n)

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[int(self.random() * len(items))]

    def sample(self, items: Sequence[T], n: int) -> list[T]:
        """`n` different items in random order (Fisher and Yates, cut short)."""
        pool = list(items)
        for i in range(n):
            j = i + self.below(len(pool) - i)
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:n]


def word(number: int) -> str:
    """The word of a token id: `t0`, `t1`, ..."""
    return f"t{number}"


def scored_row(words: Sequence[str], targets: Sequence[str], position: int, **more: Any) -> Row:
    """A row with the columns of every set; `position` is the word after which an evaluation asks for its target."""
    return {
        "text": " ".join(words),
        "targets": list(targets),
        "context": " ".join(words[: position + 1]),
        "target": targets[position],
        **more,
    }


def is_test(key: str) -> bool:
    """Side of a row: a function of what it asks, so no seed, split or number of rows can move it across."""
    return unit_hash(key) < TEST_SHARE


def draw_rows(
    name: str,
    config: SequencesConfig,
    context: StepContext,
    more: Mapping[str, str],
    make: Callable[[Draws, int, str], Row | None],
    key: Callable[[Row], str] = lambda row: str(row["text"]),
) -> DatasetDict:
    """The rows of every split, written as they are drawn: the common columns, then the set's own.

    Args:
        name: the set; with the seed, the split and the row's number it seeds the draws.
        config: says the splits, `train` or a name that begins with `test`, and their rows.
        more: own column -> dtype.
        make: (draws, number of the row, split) -> a row, or None if the draw gave none that can be scored.
        key: what decides a row's side; two rows with one key are on the same side.

    A row that is drawn for the other side is drawn again. Raises UsageError if the settings leave no row.
    """
    from datasets import Features, List, Value

    text = Value("string")
    columns: dict[str, Any] = {"text": text, "targets": List(text), "context": text, "target": text}
    features = Features(columns | {column: Value(dtype) for column, dtype in more.items()})
    writer = RowWriter(context.workdir / "rows", features)
    for split, count in config.counts().items():
        for number in Pace(f"{name}, {split}", "rows", total=count).over(range(count)):
            writer.write(split, _draw_row(name, config.seed, split, number, make, key))
    return writer.finish(list(config.counts()))


def _draw_row(
    name: str,
    seed: int,
    split: str,
    number: int,
    make: Callable[[Draws, int, str], Row | None],
    key: Callable[[Row], str],
) -> Row:
    for attempt in range(TRIES_PER_ROW):
        row = make(Draws(name, seed, split, number, attempt), number, split)
        if row is not None and is_test(key(row)) == split.startswith("test"):
            return row
    raise UsageError(
        f"{name}: {TRIES_PER_ROW} draws gave no {split} row that can be scored: set a greater length or vocabulary"
    )


def scored(row: Row) -> list[tuple[int, str]]:
    """(position, target) of every scored position of a row."""
    return [(i, target) for i, target in enumerate(row["targets"]) if target]


def uniform_accuracy(rows: Iterable[Row], guesses: Callable[[list[str], int], Sequence[str]]) -> float:
    """Expected accuracy of a guess at random among `guesses(words, position)`, over all scored positions."""
    total, count = 0.0, 0
    for row in rows:
        words = row["text"].split(" ")
        for i, target in scored(row):
            candidates = guesses(words, i)
            total += candidates.count(target) / len(candidates) if candidates else 0.0
            count += 1
    return total / count if count else 0.0


def most_frequent(words: Sequence[str]) -> list[str]:
    """The word that occurs most often, the latest of them where several do; empty for no words."""
    counts = Counter(words)
    best = max(counts.values(), default=0)
    return next(([w] for w in reversed(words) if counts[w] == best), [])


def constant_accuracy(train: Iterable[Row], test: Iterable[Row], group: Callable[[list[str], int], str]) -> float:
    """Accuracy on `test` of the most frequent target of `train` for the same `group(words, position)`."""
    targets: dict[str, Counter[str]] = {}
    for row in train:
        words = row["text"].split(" ")
        for i, target in scored(row):
            targets.setdefault(group(words, i), Counter())[target] += 1
    best = {name: max(sorted(counts), key=counts.__getitem__) for name, counts in targets.items()}
    hits = [
        best.get(group(words, i)) == target
        for row in test
        for words in [row["text"].split(" ")]
        for i, target in scored(row)
    ]
    return sum(hits) / len(hits) if hits else 0.0


def fill_report(
    context: StepContext,
    splits: DatasetDict,
    floors: Mapping[str, float],
    name: str,
    floors_at: str = "all scored positions",
    **values: object,
) -> None:
    """Card, counts, what is in it, and the accuracy of a policy that has not learnt the task.

    Args:
        floors: guess -> its accuracy (0 to 1).
        name: the YAML file beside this module with the card's texts.
        values: for the places of the summary.
    """
    report = context.report
    describe(report, __file__, name, **values)
    describe_columns(report, __file__, [splits])
    report.counts |= {f"{name}_rows": len(rows) for name, rows in splits.items()}
    report.table(
        "What is in it",
        ["", *splits],
        [list(line) for line in zip(_MEASURES, *map(_measure, splits.values()), strict=True)],
    )
    report.table(
        f"Chance baseline (test split, {floors_at})",
        ["guess", "accuracy"],
        [[name, round(value, 4)] for name, value in floors.items()],
        "A model has learnt something only where it is clearly above these.",
    )


_MEASURES = ("rows", "duplicate rows", "mean words per row", "mean scored positions per row", "different words")


def _measure(rows: Dataset) -> list[int | float]:
    """What `_MEASURES` names, in one pass."""
    texts, words, targets, places = array("Q"), set[str](), 0, 0
    for row in rows.select_columns(["text", "targets"]):
        texts.append(text_hash(row["text"]))
        words.update(row["text"].split(" "))
        targets += len(row["targets"])
        places += len(scored(row))
    duplicates = len(rows) - len(np.unique(np.frombuffer(texts, np.uint64)))
    return [len(rows), duplicates, round(targets / len(rows), 1), round(places / len(rows), 1), len(words)]
