"""Recipe step `sysbench_judge`: answers to SysBench before a model judge, and its figures."""

from ...hub_sync.context import StepContext
from .._lib.judging.step import JudgeStepConfig, judge_benchmark
from .benchmark import SYSBENCH
from .workbook import LABELS


def judge(config: JudgeStepConfig, context: StepContext) -> None:
    """Judge `context.inputs["answers"]`; see `_lib.judging.step`.

    Raises UsageError for a judge that cannot be served; DataError for unreadable answers or more failures than
    `max_failed`.
    """
    judge_benchmark(config, context, SYSBENCH, LABELS)
