"""Recipe step `judge`: the answers of any data set before a model judge, by the questions of a rubric."""

from collections import Counter
from collections.abc import Iterator, Sequence

from pydantic import Field

from ...hub_sync.context import Input, StepContext
from ...hub_sync.errors import DataError
from ...inference.reasoning import answer_of
from .._lib.data import read_split
from .._lib.judging.benchmark import Figures
from .._lib.judging.cases import Case, CaseFile, Row, answer_state, outcome_state, with_calls
from .._lib.judging.rubric import outcomes, rubric_metrics
from .._lib.judging.step import JudgeStepConfig, run_judge


class RubricJudgeConfig(JudgeStepConfig):
    """Who judges by which questions, and what is published."""

    rubric: list[str] = Field(min_length=1, description="Questions that the judge answers for every row, yes or no.")
    split: str = Field("train", description="Split of the answers' data set; that of an `answers` step is found.")


def judge(config: RubricJudgeConfig, context: StepContext) -> None:
    """Judge `context.inputs["answers"]`, a data set with `messages` and `answer`; see `_lib.judging.step`.

    Raises UsageError for a judge that cannot be served; DataError for unreadable answers or more failures than
    `max_failed`.
    """

    def figures(rows: Sequence[Row]) -> Figures:
        counts = outcomes(rows)
        total = sum(counts.values())
        if counts["failed"] > config.max_failed * total:
            reasons = Counter(row["reason"] for row in rows if row["verdict"] == "unparsable" and row["reason"])
            why = f" ({reasons.most_common(1)[0][0]})" if reasons else ""
            raise DataError(
                f"{counts['failed']} of {total} answers failed{why}, more than max_failed {config.max_failed:.1%}: "
                "run the step again to ask for them again, or raise it"
            )
        return rubric_metrics(rows, config.bootstrap, config.seed)

    cases = CaseFile(context.workdir, _cases(config, context.inputs["answers"]))
    run_judge(config, context, cases, "rubric", figures)


def _cases(config: RubricJudgeConfig, source: Input) -> Iterator[Case]:
    from_step = any(source.path.glob("data/answers-*.parquet"))  # by an `answers` step, whose split has that name
    split = "answers" if from_step and "split" not in config.model_fields_set else config.split
    items = tuple(config.rubric)
    for number, row in enumerate(read_split(source.path, split)):
        missing = [name for name in ("messages", "answer") if name not in row]
        if missing:
            raise DataError(f"{source.ref}: has no column {missing[0]!r}; a rubric judges `messages` and `answer`")
        messages = tuple({"role": turn["role"], "content": turn["content"]} for turn in row["messages"])
        text = answer_of(row["answer"]) if isinstance(row["answer"], str) else row["answer"]
        text = with_calls(text, row.get("tool_calls"))
        state = outcome_state(row.get("outcome")) or answer_state(text)
        name = str(row.get("id", number))
        yield Case(name, messages, text, items, (1 / len(items),) * len(items), {"scenario": "", "task": ""}, state)
