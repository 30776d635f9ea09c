"""CFBench as an lm-eval task: a prompt in, an answer out, judged criterion by criterion in one batch.

Settings are those of `_lib.judging.task`.
"""

from typing import Any

from .._lib.data import TaskData
from .._lib.judging.cases import Case
from .._lib.judging.criteria import read_rows
from .._lib.judging.task import JudgedTask
from .benchmark import CFBENCH
from .items import SPLITS, row_case
from .scorer import FIGURES


class CFBenchTask(JudgedTask):
    """The benchmark on a data set built by the step `constraints`."""

    BENCHMARK = CFBENCH
    DATA = TaskData("cfbench", "hubwright/cfbench", title="CFBench")
    METRICS = (
        *FIGURES,
        *(f"{name}_{split}" for split in SPLITS for name in FIGURES),
        *(f"{name}_ci_{end}" for name in FIGURES for end in ("low", "high")),
    )

    def rows(self) -> list[dict[str, Any]]:
        rows = read_rows(self.DATA.locate(self.config.metadata)[0])
        for row in rows:
            row_case(row, f"row {row['id']}", None)
        return rows

    def case(self, doc: dict[str, Any], answer: Any) -> Case:
        return row_case(doc, f"row {doc['id']}", answer)

    def doc_to_target(self, doc: dict[str, Any], doc_to_target: Any = None) -> str:
        return doc["reference"] or ""
