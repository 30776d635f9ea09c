"""Recipe step `fbbench_judge`: answers to FB-Bench before a model judge, scored as published."""

from collections.abc import Sequence

from ...hub_sync.context import StepContext
from .._lib.judging.benchmark import Figures
from .._lib.judging.cases import Row
from .._lib.judging.step import JudgeStepConfig, run_judge
from .._lib.judging.verdicts import group_rows
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
    dataset = context.inputs.get("dataset")
    cases = FBBENCH.read_answers(context.inputs["answers"].path, dataset.path if dataset else None)

    def figures(rows: Sequence[Row]) -> Figures:
        report = FBBENCH.score(
            group_rows(list(enumerate(rows, 1)), "verdicts"),
            resamples=config.bootstrap,
            seed=config.seed,
            max_failed=config.max_failed,
        )
        return FBBENCH.figures(report, rows)

    run_judge(config, context, cases, FBBENCH.name, figures, LABELS)
