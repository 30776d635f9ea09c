"""FollowBench as lm-eval tasks: all rows with a judge, and those that rules decide without one.

Settings are those of `_lib.judging.task`.
"""

from typing import Any

from .._lib.data import TaskData
from .._lib.judging.task import CriteriaTask
from .benchmark import FOLLOWBENCH
from .items import row_case
from .rules import has_rule
from .scorer import FIGURES


class FollowBenchTask(CriteriaTask):
    """The benchmark on a data set built by the step `constraints`."""

    BENCHMARK = FOLLOWBENCH
    DATA = TaskData("followbench", "hubwright/followbench", title="FollowBench")
    METRICS = (
        *FIGURES,
        *(f"{name}_{level}" for name in ("hsr", "ssr") for level in range(1, 6)),
        "hsr_rules",
        "csl_rules",
        *(f"{name}_ci_{end}" for name in FIGURES for end in ("low", "high")),
    )
    TARGET = "{target}"
    row_case = staticmethod(row_case)


class FollowBenchRulesTask(FollowBenchTask):
    """The rows that rules decide; no judge is asked."""

    NEEDS_JUDGE = False

    def rows(self) -> list[dict[str, Any]]:
        return [row for row in super().rows() if has_rule(row)]
