"""BUTTONInstruct's own file (BUTTON, arXiv 2410.12952) as rows of the shared form, with every line kept as it is.

    config = ImportConfig(source="button_instruct.jsonl")
    splits = build(config, context)        # DatasetDict with train: rows.features() and `original`

Only what cannot be read is refused, with its reason counted. Whether definitions, calls and results are any good is
for the checks, whose columns every row has.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected
from ...hub_sync.json_columns import make_dataset
from ...hub_sync.licence_ids import LicenceId
from .._lib.cards import add_sources, describe
from .._lib.context import local_context
from .._lib.conversation_checks import check_all, faults_table
from .._lib.conversation_rows import COLUMNS, Row, calls_of, features, identity
from .._lib.rejections import Rejections, max_rejected_share
from .._lib.sources import Source, Timeout, load_json, read_source
from .template import from_button, to_button

if TYPE_CHECKING:
    from datasets import DatasetDict


class ImportConfig(Source):
    """Where the file is, and what is said of it. Defaults are our choice."""

    license: LicenceId = Field("cc-by-4.0", min_length=1, description="Licence of the file (Hub identifier).")
    made_by: str = Field(
        "gpt-4o-2024-05-13",
        min_length=1,
        description="Generator to name in every row; the file does not tell it, and the default is second-hand.",
    )
    max_rows: int | None = Field(None, ge=1, description="Read at most so many records; null: all.")
    max_rejected_share: float = max_rejected_share(0.25)
    timeout: Timeout = 60.0


def build(config: ImportConfig, context: StepContext | None = None) -> DatasetDict:
    """Read every line into a row; tell `context.report` what was refused and why. Returns split `train`, in order.

    Raises:
        UsageError: the source is neither a file, a URL nor a reference.
        HubError: a URL or the hub does not give it.
        DataError: another file than expected, no records, or too many that are rejected.
    """
    from datasets import DatasetDict, Features, Value

    context = context or local_context()
    name, data, origin = read_source(config, config.timeout)
    # Not splitlines: a string in JSON may hold U+2028 and others that it takes for the end of a line.
    lines = [line for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()][: config.max_rows]
    if not lines:
        raise DataError(f"{name}: has no records")
    rejections = Rejections()
    rows = check_all(list(rejections.convert(name, lines, lambda line: import_line(line, config.made_by))))
    rejections.check(config.max_rejected_share)
    if not rows:
        raise DataError(f"{name}: no row is left of {len(lines)} records: look at the file")
    _report(config, context, rows, origin, rejections)
    columns = Features(features() | {"original": Value("string")})
    return DatasetDict({"train": make_dataset(rows, columns).select_columns(list(columns))})


def import_line(line: bytes, made_by: str) -> Row:
    """The unchecked row of one line, kept in `original` byte for byte. Raises RowRejected with a countable reason."""
    try:
        text = line.decode("utf-8")
        record = load_json(text)
    except UnicodeDecodeError as error:
        raise RowRejected("not_utf8") from error
    except (ValueError, RecursionError) as error:
        raise RowRejected("not_json") from error
    parts = from_button(record)
    requests = [message["content"] for message in parts["messages"] if message["role"] == "user"]
    return parts | {
        "id": identity(parts["messages"], parts["tools"]),
        "composition": "",  # the file tells neither the shape nor the sub-tasks
        "variant": "plain",
        "scenario": "",
        "task": requests[0],
        "sub_tasks": [],
        "plan": "",
        "n_calls": len(calls_of(parts["messages"])),
        "n_user_turns": len(requests),
        "made_by": made_by,
        "original": text,
    }


def _report(config: ImportConfig, context: StepContext, rows: list[Row], origin: str, rejections: Rejections) -> None:
    report = context.report
    describe(report, __file__, "importer")
    report.columns |= COLUMNS
    report.card["license"] = config.license
    add_sources(report, [origin], "Source")
    # Rows whose messages follow from the row alone, without its `original`.
    own_words = sum(
        to_button(row | {"original": ""})["messages"] == json.loads(row["original"])["messages"] for row in rows
    )
    report.counts["train_rows"] = len(rows)
    switches = Counter(row["parallel"] for row in rows)
    report.table(
        "What is in it",
        ["", "train"],
        [
            ["conversations", len(rows)],
            ["different rows", len({row["id"] for row in rows})],
            ["functions offered", sum(len(row["tools"]) for row in rows)],
            ["calls", sum(row["n_calls"] for row in rows)],
            ["parallel calls allowed", switches[True]],
            ["one call at a time", switches[False]],
            ["not told which", switches[None]],
            ["written in our own template", own_words],
        ],
    )
    report.tables.append(faults_table(rows))
    rejections.describe(report)
