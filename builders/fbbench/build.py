"""Build the FB-Bench data set: the official JSON (or our own sample) in, validated typed rows out.

    config = FBBenchConfig(source="fb_bench_dataset_v3.json", expect_rows=591)
    rows = build(config, context)["test"]

Upstream states no licence for its data, so hubwright ships none of it: `source` names the user's own copy. What is
shipped is `sample.json`, 32 rows written by us in the same schema (both scenarios x eight tasks, Chinese and English).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected
from ...hub_sync.settings import Settings
from .._lib.cards import describe_columns
from .._lib.context import local_context
from .._lib.rejections import Rejections, max_rejected_share
from .._lib.sources import Source, Timeout, parse_records, read_source
from .report import fill_report
from .schema import features, to_row

if TYPE_CHECKING:
    import datasets

SAMPLE = Path(__file__).with_name("sample.json")
OFFICIAL_FILE = "fb_bench_dataset_v3.json"


class FBBenchConfig(Settings):
    """Where the official JSON is and what it must be."""

    source: str = Field(
        "sample",
        min_length=1,
        description='"sample" (our own 32 rows), a local path, an http(s) URL, or a Hub data set `org/name@revision` '
        "that holds the official JSON; a revision is resolved to a commit before it is read.",
    )
    file: str = Field(
        OFFICIAL_FILE,
        min_length=1,
        description="Path of the JSON inside a Hub data set or a local folder; default: upstream's file name.",
    )
    split: str = Field("test", pattern=r"^\w+$", description="Name of the only split; default: our choice.")
    expect_rows: int | None = Field(
        None, gt=0, description="Rows the source must have (official v3: 591); null: any number."
    )
    expect_sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the JSON file, 64 hex digits; null: any."
    )
    max_rejected_share: float = max_rejected_share(0.0)
    timeout: Timeout = 60.0


def build(config: FBBenchConfig, context: StepContext | None = None) -> datasets.DatasetDict:
    """Read, check and type the rows, in the order of the source; tell `context.report` about them.

    Returns one split of rows as in `schema.features()`: id, bench_type, task_type, sub_task_type, messages (three
    turns), error_types, feedback_types, checklist (index, text, weight or null), any_of, reference_response or null.

    Raises:
        UsageError: the source is neither a file, a URL nor a reference.
        HubError: the URL or the hub does not give it.
        DataError: the file is not the expected one, or rows break a rule: one line with the number of bad rows, and
            the first of them.
    """
    import datasets

    context = context or local_context()
    sample = config.source == "sample"
    source = str(SAMPLE) if sample else config.source
    one = Source(source=source, file=config.file, expect_sha256=config.expect_sha256)
    name, data, origin = read_source(one, config.timeout)
    if sample:
        origin = origin.replace("a local copy of `sample.json`", "hubwright's own sample")
    records = parse_records(data, name)
    if config.expect_rows and len(records) != config.expect_rows:
        raise DataError(
            f"{name}: {len(records)} rows, expected {config.expect_rows}; fetch that file or change expect_rows"
        )
    rejections = Rejections()
    rows: dict[str, dict[str, Any]] = {}
    for row in rejections.convert(name, records, to_row):
        if row["id"] in rows:
            rejections.reject(name, RowRejected("user_query", "user_query is that of an earlier record"))
        rows.setdefault(row["id"], row)
    rejections.check(config.max_rejected_share)
    fill_report(context.report, list(rows.values()), origin=origin, sample=sample)
    rejections.describe(context.report)
    split = datasets.Dataset.from_list(list(rows.values()), features=features())
    describe_columns(context.report, __file__, [{config.split: split}])
    return datasets.DatasetDict({config.split: split})
