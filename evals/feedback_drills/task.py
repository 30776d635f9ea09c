"""Feedback drills as an lm-eval task.

    lm_eval run --model hf --model_args pretrained=... --apply_chat_template --tasks feedback_drills \\
        --metadata '{"dataset": "org/feedback-drills@v1.0.0"}'
"""

from __future__ import annotations

from typing import Any

from .._lib.chat import RuleScoredTask
from .._lib.data import TaskData
from .scorer import METRICS, score


class FeedbackDrillsTask(RuleScoredTask):
    """Three turns in, the second response out, its last `Answer: VALUE` compared with the answer."""

    METRICS = METRICS
    INTERVALS = METRICS
    LOWER_IS_BETTER = ("no_answer", "repeats_first_answer")

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Read the test split. Raises as `TaskData.rows` does."""
        self.dataset = {"test": TaskData("feedback_drills").rows(self.config.metadata)}

    def conversation(self, doc: dict[str, Any]) -> list[dict[str, str]]:
        """Question, first response and feedback."""
        return [dict(turn) for turn in doc["prompt"]]

    def doc_to_target(self, doc: dict[str, Any], doc_to_target: Any = None) -> str:
        """The exact answer."""
        return str(doc["answer"])

    def process_results(self, doc: dict[str, Any], results: list[str]) -> dict[str, float]:
        """Score one response."""
        if self.bypassed:
            return {"bypass": 0.0}
        return self.with_intervals(score(doc, results[0]))
