"""Tool-query as an interactive lm-eval task: requests about a to-do list, served with tools."""

from collections.abc import Sequence
from typing import Any

from .._lib.data import TaskData
from .._lib.interactive.task import InteractiveTask
from .episode import ToolQueryEpisode
from .scorer import score


class ToolQueryTask(InteractiveTask):
    """A document is a request; the model looks things up, changes them and finishes with an answer."""

    PLAYER = ToolQueryEpisode
    DATA = TaskData("tool_query")
    COLUMNS = ("id", "goal", "today", "board", "answer", "changes")
    METRICS = ("success", "progress", "grounding", "steps", "stopped")
    INTERVALS = ("success",)
    LOWER_IS_BETTER = ("steps", "stopped")

    def doc_to_text(self, doc: dict[str, Any], doc_to_text: Any = None) -> str:
        return str(doc["goal"])

    def doc_to_target(self, doc: dict[str, Any], doc_to_target: Any = None) -> str:
        return f'{{"answer": {doc["answer"]}, "changes": {doc["changes"]}}}'

    def scores(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, float]:
        return score(results[0])
