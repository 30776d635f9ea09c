"""The step `constraints`: a published benchmark's own files in, a row for each answer that a model is to give out.

    {"id": "cf-7", "messages": [{"role": "user", "content": "..."}], "criteria": [{"text": "...", "kind": "format",
     "priority": "primary"}], "reference": null, ...}

The authors' files are read from the user's own copy; none is shipped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected, UsageError
from ...hub_sync.json_columns import make_dataset
from ...hub_sync.settings import Settings
from ...hub_sync.text import well_formed
from ...inference.workbooks import read_sheet
from .._lib.cards import describe, describe_columns
from .._lib.context import local_context
from .._lib.rejections import Rejections, max_rejected_share
from .._lib.sources import Source, Timeout, fetch_source, parse_records
from . import cfbench, followbench, sysbench

if TYPE_CHECKING:
    from datasets import DatasetDict

Benchmark = Literal["cfbench", "sysbench", "followbench"]


class ConstraintsConfig(Settings):
    """Which benchmark, and where its files are."""

    benchmark: Benchmark = Field(description="Whose files they are.")
    source: str = Field(
        min_length=1,
        description="cfbench: cfbench_data.json. sysbench: a published workbook of judgements (.xlsx), from which the "
        "dialogues are rebuilt. Both as a path, a URL or a Hub data set. followbench: a folder with data/, data_zh/.",
    )
    file: str | None = Field(None, description="Path of the file inside a Hub data set or a local folder.")
    split: str = Field("test", pattern=r"^\w+$", description="Name of the only split.")
    expect_rows: int | None = Field(
        None, gt=0, description="Rows there must be (cfbench: 999, sysbench: 2500, followbench: 1610); null: any."
    )
    max_rejected_share: float = max_rejected_share(0.001)  # CFBench has one row without a prompt
    timeout: Timeout = 60.0


def build(config: ConstraintsConfig, context: StepContext | None = None) -> DatasetDict:
    """Read, check and type the rows, in the order of the source.

    Raises UsageError, HubError and DataError as every builder does: one line, with the first record that is wrong.
    """
    from datasets import DatasetDict

    context = context or local_context()
    rejections = Rejections()
    folder = context.workdir / "source"
    folder.mkdir(parents=True, exist_ok=True)
    module = {"cfbench": cfbench, "sysbench": sysbench, "followbench": followbench}[config.benchmark]
    rows: dict[str, dict[str, Any]] = {}
    origins = []
    for name, records, origin in _records(config, folder):
        origins.append(origin)
        for row in module.rows(name, records, rejections):
            if row["id"] in rows:
                rejections.reject(name, RowRejected("twice", f"id {row['id']} occurs twice"))
            rows.setdefault(row["id"], row)
    rejections.check(config.max_rejected_share)
    if not rows or config.expect_rows not in (None, len(rows)):
        raise DataError(
            f"{config.source}: {len(rows)} rows, expected {config.expect_rows or 'some'}: look at the files"
        )
    split = make_dataset([well_formed(row) for row in rows.values()], module.features())
    report = context.report
    describe(report, __file__, f"{config.benchmark}_card", rows=len(rows))
    report.section("Source", "\n".join(f"- built from {origin}; order and texts as there" for origin in origins))
    report.counts |= {"rows": len(rows), "criteria": sum(len(row["criteria"]) for row in rows.values())}
    kinds = Counter(one["kind"] for row in rows.values() for one in row["criteria"])
    if kinds:
        report.table("Criteria by kind", ["kind", "criteria"], [list(one) for one in kinds.most_common()])
    for name in module.LABELS:
        counts = Counter(str(row[name]) for row in rows.values())
        report.table(f"Rows by {name}", [name, "rows"], [list(one) for one in sorted(counts.items())])
    rejections.describe(report)
    describe_columns(report, __file__, [{config.split: split}])
    return DatasetDict({config.split: split})


def _records(config: ConstraintsConfig, folder: Path) -> Iterator[tuple[str, list[Any], str]]:
    """(name, records, origin) of each file."""
    if config.benchmark == "followbench":
        path = Path(config.source).expanduser()
        files = sorted(path.glob("data*/*_constraints.json"))
        if not files:
            raise UsageError(f"source {config.source!r}: no folder with data/*_constraints.json or data_zh/ in it")
        for file in files:
            name = f"{file.parent.name}/{file.name}"
            yield name, parse_records(file.read_bytes(), name), f"a local copy of `{name}`"
        return
    name, path, origin = fetch_source(
        Source(source=config.source, file=config.file, expect_sha256=None), config.timeout, folder
    )
    if config.benchmark == "sysbench":
        yield name, [row for _, row in read_sheet(path, name)], origin
    else:
        yield name, parse_records(path.read_bytes(), name), origin
