"""Build HumanEval or MBPP from its own file, with the columns and splits of the official data set on the Hub.

    build(CodeProblemsConfig(kind="humaneval", source="human-eval/data/HumanEval.jsonl.gz"), context)

Nothing of a problem is run here; the tasks `versatune_humaneval` and `versatune_mbpp` run it in a sandbox.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected
from ...hub_sync.json_columns import make_dataset
from ...hub_sync.licence_ids import LicenceId
from .._lib.choices import text_cell
from .._lib.context import local_context
from .._lib.rejections import Rejections, max_rejected_share
from .._lib.sources import Source, Timeout, read_records
from .common import finish

if TYPE_CHECKING:
    import datasets

# MBPP's splits by task_id, as its authors number them.
MBPP_SPLITS = {"prompt": (1, 10), "test": (11, 510), "validation": (511, 600), "train": (601, 974)}
TEXT = {"humaneval": ("prompt", "canonical_solution", "test", "entry_point"), "mbpp": ("text", "code")}


class CodeProblemsConfig(Source):
    """Which problems, and where their file is."""

    kind: Literal["humaneval", "mbpp"] = Field(description="humaneval: HumanEval.jsonl.gz; mbpp: mbpp.jsonl.")
    license: LicenceId | None = Field(
        None, min_length=1, description="Licence of the data; null: MIT (HumanEval) or CC BY 4.0 (MBPP), as upstream."
    )
    max_rejected_share: float = max_rejected_share(0.0)
    timeout: Timeout = 60.0


def build(config: CodeProblemsConfig, context: StepContext | None = None) -> datasets.DatasetDict:
    """Read and check the problems; tell `context.report` about them.

    Columns of HumanEval (split test): task_id, prompt, canonical_solution, test, entry_point. Of MBPP (splits prompt,
    test, validation, train): task_id, text, code, test_list, test_setup_code, challenge_test_list.

    Raises as `read_records` does; DataError for another file.
    """
    import datasets

    context = context or local_context()
    rejections, origins = Rejections(), []
    rows: dict[str, list[dict[str, Any]]] = {}
    seen: set[Any] = set()
    with tempfile.TemporaryDirectory(prefix="hubwright-source-") as folder:
        for name, records, origin in read_records([config], config.timeout, Path(folder)):
            origins.append(origin)
            for row in rejections.convert(name, records, lambda record: _row(config.kind, record)):
                if row["task_id"] in seen:
                    raise DataError(f"{name}: task_id {row['task_id']!r} is there twice; fetch the file again")
                seen.add(row["task_id"])
                rows.setdefault(row.pop("split"), []).append(row)
    rejections.check(config.max_rejected_share)
    splits = [split for split in MBPP_SPLITS if split in rows]
    context.report.counts |= {f"{split}_rows": len(rows[split]) for split in splits}
    lists = {name: datasets.List(datasets.Value("string")) for name in ("test_list", "challenge_test_list")}
    types = {"task_id": datasets.Value("int32")} | lists if config.kind == "mbpp" else {}
    made = datasets.DatasetDict({split: make_dataset(rows[split], datasets.Features(types)) for split in splits})
    finish(config, context, rejections, origins, config.kind, [made])
    return made


def _row(kind: str, record: Any) -> dict[str, Any]:
    """The record's own columns, unchanged, and its split."""
    try:
        row = {name: record[name] for name in ("task_id", *TEXT[kind])}
        for name in TEXT[kind]:
            text_cell(row[name], name)
        if kind == "humaneval":
            return row | {"task_id": text_cell(row["task_id"], "task_id"), "split": "test"}
        number = row["task_id"]
        split = next((name for name, (low, high) in MBPP_SPLITS.items() if low <= number <= high), None)
        if split is None:
            raise RowRejected("task_id is not one of MBPP's", f"task_id is {number}, not 1 to 974")
        tests = {name: list(record[name]) for name in ("test_list", "challenge_test_list")}
        for test in (*tests["test_list"], *tests["challenge_test_list"]):
            text_cell(test, "a test")
        if not tests["test_list"]:
            raise RowRejected("has no tests", f"test_list of {number} is empty")
        return row | tests | {"test_setup_code": str(record["test_setup_code"]), "split": split}
    except (KeyError, TypeError) as error:
        raise RowRejected("not in the form of its source", f"{kind}: it has {error!r}") from error
