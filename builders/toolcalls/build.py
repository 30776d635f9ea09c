"""Build a function-calling data set: files of public formats in, validated conversations with tools out.

    config = ToolCallsConfig(sources=[Source(source="glaive_toolcall_en_demo.json")], license="apache-2.0")
    splits = build(config, context)        # DatasetDict with train and test

`messages` and `tools` are columns of datasets' Json type. With plain Arrow structs the arguments of different
functions would be merged into one struct, and a model trained on `"arguments": {"a": 1, "city": null}`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError
from ...hub_sync.json_columns import make_dataset
from ...hub_sync.licence_ids import LicenceId
from ...hub_sync.text import utf8
from .._lib.cards import add_sources, add_table, describe
from .._lib.context import local_context
from .._lib.language import UNKNOWN
from .._lib.near_duplicates import NEAR, highest_similarity, shingles, words
from .._lib.rejections import Rejections, max_rejected_share
from .._lib.sources import Source, read_records
from .._lib.splits import groups, is_test
from .._lib.tool_rows import convert

if TYPE_CHECKING:
    from datasets import DatasetDict, Features

Row = dict[str, Any]


class ToolCallsConfig(BaseModel):
    """Where the conversations come from, and how they are chosen and split. Defaults are our choice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: tuple[Source, ...] = Field(min_length=1, description="Files, read in this order.")
    language: str | None = Field(
        None,
        pattern=r"^[a-z]{2,3}$",
        description="Language (ISO 639 code such as en) of conversations whose script does not tell it; null: und.",
    )
    license: LicenceId = Field(
        min_length=1, description="Licence of the sources (Hub identifier); the data set inherits it."
    )
    derived_from: tuple[str, ...] = Field(
        (), description="Hub ids of the data sets that the sources were made from, for the card."
    )
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
    timeout: float = Field(60.0, gt=0, description="Seconds to wait for an http(s) source.")


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
    rows: list[Row] = []
    rejections = Rejections()
    changes: Counter[str] = Counter()
    origins = []
    for name, records, origin in read_records(config.sources, config.timeout, context.workdir / "sources"):
        origins.append(origin)
        accepted = rejections.convert(name, records, lambda record: convert(record, config.language, changes))
        rows += [row | {"source": name} for row in accepted]
    rejections.check(config.max_rejected_share)
    rows, dropped = choose(rows, config)
    splits, near = split(rows, config)
    dropped["near_duplicates_of_train_left_out_of_test"] = near
    if not splits["train"]:
        raise DataError(
            f"no row is left for the train split of {rejections.read.total()} records: lower test_fraction or "
            "add sources"
        )
    _report(config, context, splits, origins, rejections, dropped, changes)
    return DatasetDict({name: make_dataset(part, features()) for name, part in splits.items() if part})


def choose(rows: list[Row], config: ToolCallsConfig) -> tuple[list[Row], dict[str, int]]:
    """Drop duplicates and what the settings leave out. Returns the rows and counts by reason."""
    dropped: Counter[str] = Counter()
    rows_left: list[Row] = []
    used_keys: set[str] = set()
    for row in rows:
        if not config.keep_without_tools and not row["tools"]:
            dropped["without_tools"] += 1
            continue
        requests = [" ".join(words(m["content"], False)) for m in row["messages"] if m["role"] == "user"]
        keys = {row["id"]} | ({"\n".join(requests)} if config.dedup else set())
        if keys & used_keys:
            dropped["duplicates"] += 1
            continue
        used_keys |= keys
        rows_left.append(row)
    if config.max_rows is not None and len(rows_left) > config.max_rows:
        # The choice is a hash of the content: it does not depend on the order of the sources.
        ranked = sorted(rows_left, key=lambda r: hashlib.sha256(utf8(f"{config.seed}:{r['id']}")).digest())
        chosen = {r["id"] for r in ranked[: config.max_rows]}
        dropped["above_max_rows"] = len(rows_left) - config.max_rows
        rows_left = [r for r in rows_left if r["id"] in chosen]
    return rows_left, dict(dropped)


def split(rows: list[Row], config: ToolCallsConfig) -> tuple[dict[str, list[Row]], int]:
    """Whole groups to train or test; returns the splits and how many near-duplicates were left out of test."""
    sides: dict[str, list[Row]] = {"train": [], "test": []}
    for row, group in zip(rows, groups(rows), strict=True):
        sides["test" if is_test(group, config.test_fraction, config.seed) else "train"].append(row)
    test, train = ([shingles(_text(row)) for row in sides[name]] for name in ("test", "train"))
    nearest = highest_similarity(test, train)
    apart = [r for r, similarity in zip(sides["test"], nearest, strict=True) if similarity < NEAR]
    near = len(sides["test"]) - len(apart)
    return {"train": sides["train"], "test": apart}, near


def _text(row: Row) -> str:
    return " ".join(message["content"] for message in row["messages"])


def _report(
    config: ToolCallsConfig,
    context: StepContext,
    splits: dict[str, list[Row]],
    origins: list[str],
    rejections: Rejections,
    dropped: dict[str, int],
    changes: Counter[str],
) -> None:
    report = context.report
    rows = [row for part in splits.values() for row in part]
    describe(report, __file__)
    report.card |= {
        "language": sorted({row["language"] for row in rows} - {UNKNOWN}),
        "license": config.license,
        "source_datasets": list(config.derived_from) or ["original"],
    }
    add_sources(report, origins)
    report.counts |= {name: count for name, count in sorted(dropped.items()) if count}
    report.counts |= {f"{name}_rows": len(part) for name, part in splits.items()}
    names = {name: {t["function"]["name"] for row in part for t in row["tools"]} for name, part in splits.items()}
    shared = sorted(names["train"] & names["test"])
    add_table(
        report,
        "What is in it",
        ["", *splits],
        [[title, *(int(measure(part)) for part in splits.values())] for title, measure in _MEASURES]
        + [
            [f"in language {code}", *(sum(r["language"] == code for r in part) for part in splits.values())]
            for code in sorted({row["language"] for row in rows})
        ]
        + [["different functions", *(len(names[name]) for name in splits)]],
        f"{len(shared)} function names occur in both splits, next to others.",
    )
    rejections.describe(report)
    if changes:
        add_table(
            report,
            "What was changed to read the records",
            ["change", "records"],
            [[what, count] for what, count in changes.most_common()],
        )


_MEASURES: tuple[tuple[str, Any], ...] = (
    ("conversations", len),
    ("... that offer functions", lambda part: sum(bool(r["tools"]) for r in part)),
    ("... with a call", lambda part: sum(r["n_calls"] > 0 for r in part)),
    ("calls", lambda part: sum(r["n_calls"] for r in part)),
    ("turns", lambda part: sum(len(r["messages"]) for r in part)),
    ("characters of JSON", lambda part: sum(len(json.dumps(r["messages"], ensure_ascii=False)) for r in part)),
)
