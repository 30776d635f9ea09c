"""FollowBench as lm-eval tasks: all rows with a judge, and those that rules decide without one.

Settings are those of `_lib.judging.task`.
"""

from typing import Any

from .._lib.data import TaskData
from .._lib.judging.cases import Case
from .._lib.judging.criteria import read_rows
from .._lib.judging.task import JudgedTask
from .benchmark import FOLLOWBENCH
from .items import row_case
from .rules import has_rule
from .scorer import FIGURES


class FollowBenchTask(JudgedTask):
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

    def rows(self) -> list[dict[str, Any]]:
        rows = read_rows(self.DATA.locate(self.config.metadata)[0])
        for row in rows:
            row_case(row, f"row {row['id']}", "")
        return rows

    def case(self, doc: dict[str, Any], answer: Any) -> Case:
        return row_case(doc, f"row {doc['id']}", answer)

    def doc_to_target(self, doc: dict[str, Any], doc_to_target: Any = None) -> str:
        return doc["target"]


class FollowBenchRulesTask(FollowBenchTask):
    """The rows that rules decide; no judge is asked."""

    NEEDS_JUDGE = False

    def rows(self) -> list[dict[str, Any]]:
        return [row for row in super().rows() if has_rule(row)]
