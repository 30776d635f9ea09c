"""Feedback drills as an lm-eval task."""

from collections.abc import Sequence
from typing import Any

from .._lib.chat import RuleScoredTask
from .._lib.data import TaskData
from .scorer import METRICS, score


class FeedbackDrillsTask(RuleScoredTask):
    """Three turns in, the second response out, its last `Answer: VALUE` compared with the answer."""

    DATA = TaskData("feedback_drills")
    TARGET = "{answer}"
    METRICS = METRICS
    INTERVALS = METRICS
    LOWER_IS_BETTER = ("no_answer", "repeats_first_answer")

    def conversation(self, doc: dict[str, Any]) -> list[dict[str, str]]:
        return [dict(turn) for turn in doc["prompt"]]

    def scores(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, float]:
        return score(doc, results[0])
