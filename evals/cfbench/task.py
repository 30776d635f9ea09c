"""CFBench as an lm-eval task: a prompt in, an answer out, judged criterion by criterion in one batch.

Settings are those of `_lib.judging.task`.
"""

from .._lib.data import TaskData
from .._lib.judging.task import CriteriaTask
from .benchmark import CFBENCH
from .items import SPLITS, row_case
from .scorer import FIGURES


class CFBenchTask(CriteriaTask):
    """The benchmark on a data set built by the step `constraints`."""

    BENCHMARK = CFBENCH
    DATA = TaskData("cfbench", "hubwright/cfbench", title="CFBench")
    METRICS = (
        *FIGURES,
        *(f"{name}_{split}" for split in SPLITS for name in FIGURES),
        *(f"{name}_ci_{end}" for name in FIGURES for end in ("low", "high")),
    )
    row_case = staticmethod(row_case)
