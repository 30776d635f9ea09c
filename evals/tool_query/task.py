"""Tool-query as an interactive lm-eval task: requests about a to-do list, served with tools.

    hubwright eval tool_query --model interactive --model_args model=hf,pretrained=... --apply_chat_template \\
        --metadata '{"dataset": "org/tool-query@v1.0.0"}'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._lib.data import TaskData
from .._lib.interactive.task import InteractiveTask
from .episode import ToolQueryEpisode
from .scorer import score

COLUMNS = ("id", "goal", "today", "board", "answer", "changes")


class ToolQueryTask(InteractiveTask):
    """A document is a request; the model looks things up, changes them and finishes with an answer."""

    PLAYER = ToolQueryEpisode
    METRICS = ("success", "progress", "grounding", "steps", "stopped")
    INTERVALS = ("success",)
    LOWER_IS_BETTER = ("steps", "stopped")

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Read the rows. Raises as `TaskData.rows` does."""
        split = str(self.config.test_split)
        self.dataset = {split: TaskData("tool_query").rows(self.config.metadata, split, columns=COLUMNS)}

    def doc_to_text(self, doc: dict[str, Any], doc_to_text: Any = None) -> str:
        """The request; the episode has the whole conversation."""
        return str(doc["goal"])

    def doc_to_target(self, doc: dict[str, Any], doc_to_target: Any = None) -> str:
        """The answer and the changes that are wanted, as JSON."""
        return f'{{"answer": {doc["answer"]}, "changes": {doc["changes"]}}}'

    def scores(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, float]:
        """Metrics of a transcript."""
        return score(results[0])
