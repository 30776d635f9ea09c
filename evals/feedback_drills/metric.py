"""Exact scoring of feedback drills, for `evaluate.load`. Needs `pip install hubwright`."""

from typing import Any

from hubwright.evals._lib import metric_module
from hubwright.evals.feedback_drills import scorer

NAME = "feedback_drills"  # of the Space, and so of this file there
TITLE = "Feedback drills accuracy"
SUMMARY = "exact answers after feedback: the last `Answer: VALUE` of a response"
EXAMPLE = """\
evaluate.load("ORG/feedback_drills").compute(predictions=["Answer: 7"], references=["7"])
"""


class FeedbackDrills(metric_module.ScorerMetric):
    """Accuracy of the last `Answer: VALUE` of each response, and the share of responses without one.

    Args:
        predictions: what the model wrote, one text per dialogue.
        references: the right values.
    Returns:
        acc and no_answer, both 0 to 1.
    """

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        right = [scorer.is_correct(response, answer) for response, answer in zip(predictions, references, strict=True)]
        silent = [scorer.extract_answer(response) is None for response in predictions]
        return {"acc": sum(right) / len(right), "no_answer": sum(silent) / len(silent)}
