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
    TEXT, TARGET = "{goal}", '{{"answer": {answer}, "changes": {changes}}}'

    def scores(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, float]:
        return score(results[0])
