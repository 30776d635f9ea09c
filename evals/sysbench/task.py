"""SysBench as an lm-eval task, in the mode of true history: each turn follows on the reference answers before it.

Settings are those of `_lib.judging.task`.
"""

from .._lib.data import TaskData
from .._lib.judging.task import CriteriaTask
from .benchmark import SYSBENCH
from .items import row_case
from .scorer import FIGURES
from .workbook import KINDS


class SysBenchTask(CriteriaTask):
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
    row_case = staticmethod(row_case)
