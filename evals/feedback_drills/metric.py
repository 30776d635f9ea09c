"""Exact scoring of feedback drills, for `evaluate.load`. Needs `pip install hubwright`."""

from typing import Any

import datasets
import evaluate

from hubwright.evals.feedback_drills import scorer

NAME = "feedback_drills"  # of the Space, and so of this file there
TITLE = "Feedback drills accuracy"
SUMMARY = "exact answers after feedback: the last `Answer: VALUE` of a response"
EXAMPLE = """\
evaluate.load("ORG/feedback_drills").compute(predictions=["Answer: 7"], references=["7"])
"""
_DESCRIPTION = """Accuracy of the last `Answer: VALUE` of each response, and the share of responses without one."""
_INPUTS = """
Args:
    predictions: what the model wrote, one text per dialogue.
    references: the right values.
Returns:
    acc and no_answer, both 0 to 1.
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class FeedbackDrills(evaluate.Metric):
    """The scorer of the lm-eval task `feedback_drills`."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": text, "references": text}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        right = [scorer.is_correct(response, answer) for response, answer in zip(predictions, references, strict=True)]
        silent = [scorer.extract_answer(response) is None for response in predictions]
        return {"acc": sum(right) / len(right), "no_answer": sum(silent) / len(silent)}
