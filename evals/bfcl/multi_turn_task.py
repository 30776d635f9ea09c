r"""BFCL's multi-turn categories as lm-eval tasks, one document per turn, from the gold state before it.

Prompts and rules are the package's (`bfcl-eval` 2026.3.23, prompting mode); that every turn starts from the gold
history and is answered in one reply is ours (`steps.py`), so the figures are not the leaderboard's.
"""

import json
from collections.abc import Sequence
from typing import Any

import datasets

from .._lib.chat import RuleScoredTask
from .steps import METRICS, Referee, Sources, referee
from .task import DATA

COLUMNS = ("id", "turns", "later_prompt", "gold", "classes", "config", "prompt")


def world_sources(metadata: Any) -> Sources:
    """The sources of the worlds in the data set that a task's metadata names. Raises as `TaskData.rows` does."""
    return tuple(sorted((row["name"], row["source"]) for row in DATA.rows(metadata, "python", config="worlds")))


class BFCLMultiTurnTask(RuleScoredTask):
    """One category: a conversation with its calls and results in, the calls of the next turn out."""

    DATA = DATA
    SUBSET = "multi_turn"
    COLUMNS = COLUMNS
    METRICS = METRICS
    INTERVALS = ("turn_acc", "call_acc")

    _referee: Referee

    def documents(self, rows: datasets.Dataset) -> datasets.Dataset:
        """The rows' turns, from gold calls played in the worlds. Raises DataError for worlds that cannot be loaded."""
        self._referee = referee(world_sources(self.config.metadata))
        return datasets.Dataset.from_list([document for row in rows for document in self._referee.documents(row)])

    def conversation(self, doc: dict[str, Any]) -> list[dict[str, str]]:
        """The package's prompt, the turns before as gold played them, and what the user says now."""
        turns: list[dict[str, str]] = json.loads(doc["messages"])
        return turns

    def scores(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, float]:
        return self._referee.score(doc, results[0])
