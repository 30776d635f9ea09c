"""SysBench as an lm-eval task, in the mode of true history: each turn follows on the reference answers before it.

Settings are those of `_lib.judging.task`.
"""

from typing import Any

from .._lib.data import TaskData
from .._lib.judging.cases import Case
from .._lib.judging.criteria import read_rows
from .._lib.judging.task import JudgedTask
from .benchmark import SYSBENCH
from .items import row_case
from .scorer import FIGURES
from .workbook import KINDS


class SysBenchTask(JudgedTask):
    """The benchmark on a data set built by the step `constraints`."""

    BENCHMARK = SYSBENCH
    DATA = TaskData("sysbench", "hubwright/sysbench", title="SysBench")
    METRICS = (
        *FIGURES,
        *(f"csr_{kind}" for kind in KINDS.values()),
        *(f"{name}_{part}" for part in ("aligned", "misaligned") for name in ("csr", "isr")),
        *(f"{name}_{part}" for part in ("related", "parallel") for name in FIGURES),
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
