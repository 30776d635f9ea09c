"""Build the FB-Bench data set: the official JSON (or our own sample) in, validated typed rows out.

    config = FBBenchConfig(source="fb_bench_dataset_v3.json", expect_rows=591)
    rows = build(config, context)["test"]

Upstream states no licence for its data, so hubwright ships none of it: `source` names the user's own copy. What is
shipped is `sample.json`, 32 rows written by us in the same schema (both scenarios x eight tasks, Chinese and English).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, HubError, UsageError
from ...hub_sync.refs import ArtifactRef
from .._lib.sources import refuse_credentials
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


def build(config: FBBenchConfig, context: StepContext) -> datasets.DatasetDict:
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

    name, data, origin = _fetch(config)
    digest = hashlib.sha256(data).hexdigest()
    if config.expect_sha256 and digest != config.expect_sha256:
        raise DataError(
            f"{name}: sha256 is {digest}, expected {config.expect_sha256}; fetch that file or change expect_sha256"
        )
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
    describe(context.report, rows, origin=f"{origin}, sha256 `{digest}`", sample=config.source == "sample")
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


def _fetch(config: FBBenchConfig) -> tuple[str, bytes, str]:
    """(name for errors, content, origin for the card). The origin never holds a path of this machine."""
    source = config.source
    if source == "sample":
        return "sample.json", SAMPLE.read_bytes(), "hubwright's own sample"
    if source.startswith(("http://", "https://")):
        return source, _download(source, config.timeout), f"<{source}>"
    path = Path(source).expanduser()
    if path.is_dir():
        path = path / config.file
    if path.is_file():
        return path.name, path.read_bytes(), f"a local copy of `{path.name}`"
    try:
        ref = ArtifactRef.parse(source, "dataset")
    except UsageError as error:
        raise UsageError(
            f'source {source!r}: no such file, and not "sample", a URL or a Hub data set org/name@revision'
        ) from error
    from ...hub_sync.pull import pull

    ref = ref.resolve()
    found = pull(ref) / config.file
    if not found.is_file():
        raise HubError(f"dataset {ref}: has no file {config.file}; set `file` to the path of the official JSON")
    return f"{ref}/{config.file}", found.read_bytes(), f"`{config.file}` of data set `{ref}`"


def _download(url: str, timeout: float) -> bytes:
    from huggingface_hub.utils import httpx

    refuse_credentials(url)
    try:
        reply = httpx.get(url, timeout=timeout, follow_redirects=True)
        reply.raise_for_status()
    except httpx.HTTPStatusError as error:
        raise HubError(f"{url}: the server answered {error.response.status_code}; check the URL") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise HubError(f"{url}: cannot be fetched ({type(error).__name__}); check the URL") from error
    return reply.content
