"""Recipe step `fbbench_judge`: answers to FB-Bench before a model judge, scored as published."""

from ...hub_sync.context import StepContext
from .._lib.judging.step import JudgeStepConfig, judge_benchmark
from .benchmark import FBBENCH

LABELS = {
    "deficiencies": "deficiencies of the first answer; empty in Response Maintenance",
    "feedback": "kinds of the feedback",
}


def judge(config: JudgeStepConfig, context: StepContext) -> None:
    """Judge `context.inputs["answers"]`, in any form that `answers.read_answers` reads; see `_lib.judging.step`.

    Raises UsageError for a judge that cannot be served; DataError for unreadable answers or more failures than
    `max_failed`.
    """
    judge_benchmark(config, context, FBBENCH, LABELS)
