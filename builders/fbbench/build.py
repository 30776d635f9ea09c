"""Build the FB-Bench data set: the official JSON (or our own sample) in, validated typed rows out.

    config = FBBenchConfig(source="fb_bench_dataset_v3.json", expect_rows=591)
    rows = build(config, context)["test"]

Upstream states no licence for its data, so hubwright ships none of it: `source` names the user's own copy. What is
shipped is `sample.json`, 32 rows written by us in the same schema (both scenarios x eight tasks, Chinese and English).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError
from .._lib.context import local_context
from .._lib.sources import Source, read_source
from .report import describe
from .schema import Problem, check_records, features, to_row

if TYPE_CHECKING:
    import datasets

SAMPLE = Path(__file__).with_name("sample.json")
OFFICIAL_FILE = "fb_bench_dataset_v3.json"


class FBBenchConfig(BaseModel):
    """Where the official JSON is and what it must be."""

    model_config = ConfigDict(extra="forbid")

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
    timeout: float = Field(60.0, gt=0, description="Seconds to wait for an http(s) source; our choice.")


def build(config: FBBenchConfig, context: StepContext | None = None) -> datasets.DatasetDict:
    """Read, check and type the rows, in the order of the source; tell `context.report` about them.

    Returns one split of rows as in `schema.features()`: id, bench_type, task_type, sub_task_type, messages (three
    turns), error_types, feedback_types, checklist (index, text, weight or null), any_of, reference_response or null.

    Raises:
        UsageError: the source is neither a file, a URL nor a reference.
        HubError: the URL or the hub does not give it.
        DataError: the file is not the expected one, or rows break a rule: one line with the number of bad rows, and
            the first of them; all are listed in `problems.txt` below `context.workdir`.
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
    problems = check_records(records)
    if problems:
        context.workdir.mkdir(parents=True, exist_ok=True)
        listing = "".join(f"{problem}\n" for problem in problems)
        (context.workdir / "problems.txt").write_text(listing, encoding="utf-8")
        raise DataError(_first_line(name, len(records), problems))
    if config.expect_rows and len(records) != config.expect_rows:
        raise DataError(
            f"{name}: {len(records)} rows, expected {config.expect_rows}; fetch that file or change expect_rows"
        )
    rows = [to_row(record) for record in records]
    describe(context.report, rows, origin=origin, sample=sample)
    split = datasets.Dataset.from_list(rows, features=features())
    return datasets.DatasetDict({config.split: split})


def parse_records(data: bytes, name: str) -> list[Any]:
    """The list in the file. Raises DataError in one line for what is not UTF-8, not JSON or not a list."""
    try:
        records = json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{name}: line {error.lineno} column {error.colno} is not JSON ({error.msg}); fetch the file again"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: is not plain JSON ({error}); fetch the file again") from error
    if not isinstance(records, list) or not records:
        raise DataError(f"{name}: holds {type(records).__name__}, not a list of rows; use the official data set file")
    return records


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _first_line(name: str, rows: int, problems: list[Problem]) -> str:
    bad = len({problem.row for problem in problems})
    more = f" ({len(problems)} problems, all in the work folder's problems.txt)" if len(problems) > 1 else ""
    return f"{name}: {bad} of {rows} rows {'is' if bad == 1 else 'are'} invalid{more}; first: {problems[0]}"
