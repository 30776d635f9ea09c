"""Build a function-calling data set: files of public formats in, validated conversations with tools out.

    config = ToolCallsConfig(sources=[Source(source="glaive_toolcall_en_demo.json")], license="apache-2.0")
    splits = build(config, context)        # DatasetDict with train and test

`messages` and `tools` are columns of datasets' Json type. With plain Arrow structs the arguments of different
functions would be merged into one struct, and a model trained on `"arguments": {"a": 1, "city": null}`.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError
from ...hub_sync.settings import Settings
from .._lib.cards import add_sources, describe
from .._lib.context import local_context
from .._lib.language import UNKNOWN
from .._lib.rejections import Rejections, max_rejected_share
from .._lib.row_writer import RowWriter, divide
from .._lib.sources import DerivedFrom, Source, SourceLicence, Timeout, read_records
from .._lib.tool_rows import convert
from .split import TEST, TRAIN, Splitter

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, Features


class ToolCallsConfig(Settings):
    """Where the conversations come from, and how they are chosen and split. Defaults are our choice."""

    sources: tuple[Source, ...] = Field(min_length=1, description="Files, read in this order.")
    language: str | None = Field(
        None,
        pattern=r"^[a-z]{2,3}$",
        description="Language (ISO 639 code such as en) of conversations whose script does not tell it; null: und.",
    )
    license: SourceLicence
    derived_from: DerivedFrom = ()
    test_fraction: float = Field(
        0.2, ge=0, lt=1, description="Share of the groups of related conversations that are held out."
    )
    seed: int = Field(0, ge=0, description="Seed of the split and of the choice of max_rows.")
    max_rows: int | None = Field(None, ge=1, description="Keep at most so many rows; null: all.")
    dedup: bool = Field(
        True, description="Keep one of the conversations whose user turns are equal, case and marks aside."
    )
    keep_without_tools: bool = Field(True, description="Keep conversations that offer no function.")
    max_rejected_share: float = max_rejected_share(0.25)
    timeout: Timeout = 60.0


def features() -> Features:
    """Arrow features of both splits."""
    from datasets import Features, Json, List, Value

    text, number = Value("string"), Value("int32")
    lists, numbers = dict.fromkeys(("messages", "tools"), List(Json())), dict.fromkeys(("n_tools", "n_calls"), number)
    return Features({"id": text} | lists | numbers | {"language": text, "source": text})


def build(config: ToolCallsConfig, context: StepContext | None = None) -> DatasetDict:
    """Read, validate, deduplicate and split; tell `context.report` what was refused and why.

    Returns `train` and `test` (the latter only where test_fraction is above 0) with the columns of `features()`, in
    the order of the sources.

    Raises:
        UsageError: a source is neither a file, a URL nor a reference.
        HubError: a URL or the hub does not give it.
        DataError: a file is not the expected one or cannot be parsed, or too many records are rejected.
    """
    from datasets import DatasetDict

    context = context or local_context()
    writer = RowWriter(context.workdir / "rows", features())
    options = {name: getattr(config, name) for name in ("seed", "dedup", "keep_without_tools", "max_rows")}
    splitter = Splitter(context.workdir, **options)
    rejections = Rejections()
    changes: Counter[str] = Counter()
    origins = []
    for name, records, origin in read_records(config.sources, config.timeout, context.workdir / "sources"):
        origins.append(origin)
        for row in rejections.convert(name, records, lambda record: convert(record, config.language, changes)):
            if splitter.add(row):
                writer.write("rows", row | {"source": name})
    rejections.check(config.max_rejected_share)
    sides = splitter.sides(config.test_fraction)
    if not (sides == TRAIN).any():
        raise DataError(
            f"no row is left for the train split of {rejections.read.total()} records: lower test_fraction or "
            "add sources"
        )
    parts = {"train": sides == TRAIN, "test": sides == TEST}
    splits = divide(writer.finish()["rows"], context.workdir / "splits", parts)
    shutil.rmtree(context.workdir / "rows")
    _report(config, context, splits, origins, rejections, splitter.dropped, changes)
    return DatasetDict({name: part for name, part in splits.items() if len(part)})


def _report(
    config: ToolCallsConfig,
    context: StepContext,
    splits: Mapping[str, Dataset],
    origins: list[str],
    rejections: Rejections,
    dropped: Counter[str],
    changes: Counter[str],
) -> None:
    report = context.report
    found = {name: _measure(part) for name, part in splits.items()}
    languages = sorted({code for figures, _ in found.values() for code in figures if len(code) < 4})
    describe(report, __file__)
    report.card |= {
        "language": [code for code in languages if code != UNKNOWN],
        "license": config.license,
        "source_datasets": list(config.derived_from) or ["original"],
    }
    add_sources(report, origins)
    report.counts |= {name: count for name, count in sorted(dropped.items()) if count}
    report.counts |= {f"{name}_rows": len(part) for name, part in splits.items()}
    titles = {name: name for name in _FIGURES} | {code: f"in language {code}" for code in languages}
    table = [[title, *(figures[name] for figures, _ in found.values())] for name, title in titles.items()]
    table.append(["different functions", *(len(names) for _, names in found.values())])
    shared = found["train"][1] & found["test"][1]
    note = f"{len(shared)} function names occur in both splits, next to others."
    report.table("What is in it", ["", *splits], table, note)
    rejections.describe(report)
    if changes:
        rows = [[what, count] for what, count in changes.most_common()]
        report.table("What was changed to read the records", ["change", "records"], rows)


_FIGURES = (
    "conversations", "... that offer functions", "... with a call", "calls", "turns", "characters of JSON",
)  # fmt: skip


def _measure(rows: Dataset) -> tuple[Counter[str], set[str]]:
    """(counts by the names of `_FIGURES` and by language, names of functions) of a split, a batch at a time."""
    import pyarrow.compute as pc

    figures: Counter[str] = Counter()
    names: set[str] = set()

    @lru_cache(1 << 14)
    def name_of(tool: str) -> str:
        return str(json.loads(tool)["function"]["name"])

    for batch in rows.with_format("arrow").iter(1000):
        turns, tools = (pc.list_flatten(batch[name]).cast("string") for name in ("messages", "tools"))
        figures["conversations"] += batch.num_rows
        figures["... that offer functions"] += pc.sum(pc.greater(batch["n_tools"], 0)).as_py()
        figures["... with a call"] += pc.sum(pc.greater(batch["n_calls"], 0)).as_py()
        figures["calls"] += pc.sum(batch["n_calls"]).as_py()
        figures["turns"] += len(turns)
        # As json.dumps writes the list: brackets, and ", " between turns.
        figures["characters of JSON"] += (pc.sum(pc.utf8_length(turns)).as_py() or 0) + 2 * len(turns)
        figures.update(batch["language"].to_pylist())
        names.update(map(name_of, tools.unique().to_pylist()))
    return figures, names
