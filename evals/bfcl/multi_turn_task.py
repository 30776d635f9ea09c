"""BFCL's multi-turn categories as lm-eval tasks, a document a turn, from the gold state before it.

    lm_eval run --model hf --model_args pretrained=... --apply_chat_template --tasks button_bfcl_multi_turn \\
        --metadata '{"dataset": "org/bfcl-v4@v1.0.0"}'

What is asked and what passes is the package's (`bfcl-eval` 2026.3.23, prompting mode); that every turn starts from the
gold history, and is answered in one reply, is ours (`steps.py`). The figures are not the leaderboard's, where a model
goes on from its own calls, in up to 20 steps a turn, and a row counts only whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .._lib.chat import RuleScoredTask
from .steps import METRICS, Referee, referee
from .task import DATA

COLUMNS = ("id", "turns", "later_prompt", "gold", "classes", "config", "prompt")


def category(config: Any) -> tuple[Any, tuple[tuple[str, str], ...]]:
    """Rows of the category that a task's `test_split` names, and the sources of the worlds, by name.

    Raises as `TaskData.rows` does.
    """
    rows = DATA.rows(config.metadata, str(config.test_split), config="multi_turn", columns=COLUMNS)
    worlds = DATA.rows(config.metadata, "python", config="worlds")
    return rows, tuple(sorted((row["name"], row["source"]) for row in worlds))


class BFCLMultiTurnTask(RuleScoredTask):
    """One category: a conversation with its calls and results in, the calls of the next turn out."""

    METRICS = METRICS
    INTERVALS = ("turn_acc", "call_acc")

    _referee: Referee

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Read the category's rows and the worlds, and play the gold calls.

        Raises as `category` does, and DataError for worlds that cannot be loaded.
        """
        import datasets

        rows, sources = category(self.config)
        self._referee = referee(sources)
        documents = [document for row in rows for document in self._referee.documents(row)]
        self.dataset = {str(self.config.test_split): datasets.Dataset.from_list(documents)}

    def conversation(self, doc: dict[str, Any]) -> list[dict[str, str]]:
        """The package's prompt, the turns before as gold played them, and what the user says now."""
        turns: list[dict[str, str]] = json.loads(doc["messages"])
        return turns

    def scores(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, float]:
        """Metrics of one reply."""
        return self._referee.score(doc, results[0])
