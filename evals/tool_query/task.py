"""Tool-query as an interactive lm-eval task: requests about a to-do list, served with tools.

    hubwright eval tool_query --model interactive --model_args model=hf,pretrained=... --apply_chat_template \\
        --metadata '{"dataset": "org/tool-query@v1.0.0"}'
"""

from __future__ import annotations

from typing import Any

from ...hub_sync.errors import DataError
from .._lib.data import load_rows
from .._lib.interactive.task import InteractiveTask
from .episode import ToolQueryEpisode

COLUMNS = ("id", "goal", "today", "board", "answer", "changes")


class ToolQueryTask(InteractiveTask):
    """A document is a request; the model looks things up, changes them and finishes with an answer."""

    PLAYER = ToolQueryEpisode
    METRICS = ("success", "progress", "grounding", "steps", "stopped")
    INTERVALS = ("success",)
    LOWER_IS_BETTER = ("steps", "stopped")

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Read the rows from `--metadata` or HUBWRIGHT_TOOL_QUERY. Raises as `load_rows` does."""
        split = str(self.config.test_split)
        rows = load_rows(
            self.config.metadata,
            "HUBWRIGHT_TOOL_QUERY",
            "hubwright/tool-query",
            split,
            hint="build it with `hubwright run tool_query --set namespace=YOU`",
        )
        missing = [name for name in COLUMNS if name not in rows.column_names]
        if missing:
            raise DataError(
                f"{self.config.task}: the data set has no column {missing[0]!r}; give one of `uses: tool_query`"
            )
        self.dataset = {split: rows}

    def doc_to_text(self, doc: dict[str, Any], doc_to_text: Any = None) -> str:
        """The request; the episode has the whole conversation."""
        return str(doc["goal"])

    def doc_to_target(self, doc: dict[str, Any], doc_to_target: Any = None) -> str:
        """The answer and the changes that are wanted, as JSON."""
        return f'{{"answer": {doc["answer"]}, "changes": {doc["changes"]}}}'

    def scores(self, doc: dict[str, Any], transcript: dict[str, Any]) -> dict[str, float]:
        """success and progress: as the episode says. grounding: share of the actions that could be made. steps:
        replies. stopped: it never finished.
        """
        return {
            "success": float(transcript["success"]),
            "progress": transcript["progress"],
            "grounding": transcript["executable"] / transcript["actions"] if transcript["actions"] else 0.0,
            "steps": float(transcript["steps"]),
            "stopped": float(transcript["stopped"]),
        }
