"""BFCL's multi-turn categories as interactive lm-eval tasks: a document is a row, played to its end.

As the package does it (`bfcl-eval` 2026.3.23, prompting mode); `live.py` says how a row is played.
"""

import json
from collections.abc import Sequence
from typing import Any

import datasets

from .._lib.interactive.task import InteractiveTask
from .live import episode, offer
from .multi_turn_task import COLUMNS, world_sources
from .task import DATA


class BFCLAgentTask(InteractiveTask):
    """One category: the model's calls are made, and it goes on from their results."""

    PLAYER = staticmethod(episode)
    DATA = DATA
    SUBSET = "multi_turn"
    COLUMNS = COLUMNS
    METRICS = ("acc", "turns_passed", "steps", "needless", "stopped")
    INTERVALS = ("acc",)
    LOWER_IS_BETTER = ("steps", "needless", "stopped")

    def documents(self, rows: datasets.Dataset) -> datasets.Dataset:
        worlds = offer(world_sources(self.config.metadata))
        return rows.select_columns(list(COLUMNS)).add_column("worlds", [worlds] * len(rows))

    def doc_to_text(self, doc: dict[str, Any], doc_to_text: Any = None) -> str:
        return str(json.loads(doc["turns"])[0][0]["content"])

    def scores(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, float]:
        """Metrics of a transcript, see `BFCLEpisode`; `turns_passed` as a share."""
        (transcript,) = results
        return {
            "acc": float(transcript["passed"]),
            "turns_passed": transcript["turns_passed"] / transcript["turns"],
            "steps": float(transcript["steps"]),
            "needless": float(transcript["needless"]),
            "stopped": float(transcript["stopped"]),
        }
