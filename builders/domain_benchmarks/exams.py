"""Build FinEval and FinanceIQ: Chinese multiple-choice questions on finance, from the benchmarks' own CSV files.

    build(FinEvalConfig(source="FinEval.zip"), context)
    build(FinanceIQConfig(source="FinanceIQ/data/test"), context)

Out: one split, `test`. FinEval's own test split has no answers upstream: these are the questions of its `val` folder.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected
from ...hub_sync.json_columns import make_dataset
from .._lib.choices import choice_row
from .._lib.context import local_context
from .._lib.data_files import read_yaml
from .._lib.rejections import Rejections
from .._lib.sources import decode
from .common import BenchmarkFiles, finish, read_files

if TYPE_CHECKING:
    import datasets

COLUMNS = ("question", "a", "b", "c", "d", "answer")


class FinEvalConfig(BenchmarkFiles):
    """Where FinEval's files `SUBJECT_val.csv` are: a folder, or FinEval.zip."""

    NAME: ClassVar[str] = "fineval"


class FinanceIQConfig(BenchmarkFiles):
    """Where FinanceIQ's files `EXAMINATION.csv` are: the folder `data/test`, or an archive."""

    NAME: ClassVar[str] = "financeiq"


def build(config: FinEvalConfig | FinanceIQConfig, context: StepContext | None = None) -> datasets.DatasetDict:
    """Read and check the questions; tell `context.report` about them.

    Columns: id (subject and place in the file), subject, question, choices (four), answer (the right one's letter).

    Raises as `read_files` does; DataError for a file that is not such a table or of which too much is rejected.
    """
    import datasets

    context = context or local_context()
    origins: list[str] = []
    rejections, subjects = Rejections(), Counter[str]()
    rows: list[dict[str, Any]] = []
    for name, content in read_files(config, read_yaml(__file__, f"{config.NAME}.yaml")["files"], origins):
        subject = PurePosixPath(name).stem.removesuffix("_val")
        before = len(rows)
        rows += rejections.convert(name, _records(name, content), partial(_row, subject))
        subjects[subject] = len(rows) - before
    rejections.check(config.max_rejected_share)
    report = context.report
    different = {(row["question"], *row["choices"]) for row in rows}
    report.counts |= {"test_rows": len(rows), "repeated questions": len(rows) - len(different)}
    report.table("Questions by subject", ["subject", "questions"], [list(pair) for pair in subjects.items()])
    made = datasets.DatasetDict({"test": make_dataset(rows)})
    finish(config, context, rejections, origins, config.NAME, [made], rows=len(rows), subjects=len(subjects))
    return made


def _records(name: str, content: bytes) -> list[tuple[int, dict[str, Any]]]:
    """(number from 0, cells by column in lower case) of a table's rows."""
    lines = csv.reader(io.StringIO(decode(name, content), newline=""), strict=True)
    try:
        head = [cell.strip().lower() for cell in next(lines, [])]
        rows = [(n, dict(zip(head, cells, strict=False))) for n, cells in enumerate(filter(None, lines))]
    except csv.Error as error:
        raise DataError(f"{name}: line {lines.line_num} is not CSV ({error}); fetch the file again") from error
    if missing := next((column for column in COLUMNS if column not in head), None):
        raise DataError(f"{name}: has no column {missing!r}, only {', '.join(head) or 'none'}; give the original file")
    if not rows:
        raise DataError(f"{name}: has no questions; fetch the file again")
    return rows


def _row(subject: str, numbered: tuple[int, dict[str, Any]]) -> dict[str, Any]:
    number, cells = numbered
    try:
        question, *choices, answer = (cells[name] for name in COLUMNS)
    except KeyError as error:
        raise RowRejected("cells are missing", f"row {number} has no {error}") from error
    return {"id": f"{subject}-{number}", "subject": subject, **choice_row(question, choices, answer.strip())}
