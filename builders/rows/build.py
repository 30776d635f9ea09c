"""Builder `rows`: rows that one already has, as a data set to train on.

    config = RowsConfig(source="tickets.csv", format="messages", license="mit", columns={"prompt": "question"})
    splits = build(config)                 # DatasetDict with train
    splits["train"][0]["messages"]         # [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]

Memory holds a batch of rows, however many there are. On disk are the rows, and 32 to 64 bytes for each (0.5 to 1 kB
to find near duplicates).
"""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, UsageError, did_you_mean
from ...hub_sync.licence_ids import LicenceId
from ...hub_sync.settings import SPEED, Settings
from ...hub_sync.step import Preview
from .._lib.context import local_context
from .._lib.disk_set import DiskSet
from .._lib.near_duplicates import NearSet
from .._lib.rejections import Rejections, max_rejected_share
from .._lib.row_writer import RowWriter
from .._lib.splits import unit_hash
from .._lib.tables import undecoded
from .columns import COLUMNS, targets
from .convert import SPLIT, Converter, Row, is_plain_turns
from .read import read_tables
from .report import describe_rows

if TYPE_CHECKING:
    from datasets import DatasetDict

HEAD, IMAGES_HEAD = 1000, 20  # records that tell a table's columns and types
MOST_SPLITS = 20

Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]


class RowsConfig(Settings):
    """Where the rows are, what they become, and which are kept. Defaults are our choice."""

    source: str | None = Field(
        None,
        min_length=1,
        description="A file (CSV, JSON, JSON Lines, Parquet; packed with gzip, bzip2 or xz), a folder, an archive "
        "(.zip), an http(s) URL, or a Hub data set `org/name@revision` with `files`; null: the input `dataset`.",
    )
    files: str | None = Field(
        None,
        description="Which files of a folder, archive or Hub data set, as a pattern such as `*.csv` in which `*` "
        "stands for any characters, slashes too; null: all of a folder that can be read.",
    )
    expect_sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the file or archive, 64 hex digits; null: any."
    )
    config: str | None = Field(None, description="Config of the input `dataset`; null: its default one.")
    split: str | None = Field(None, description="Split of the input `dataset`; null: all of them.")
    format: Literal["messages", "prompt_completion", "preference", "text", "images", "questions"] = Field(
        description="messages: conversations, or prompts with completions as two turns. prompt_completion, preference "
        "(prompt, chosen, rejected): text or turns. text: documents. images: images, perhaps with a text. "
        "questions: prompts, or conversations without their last reply, for a model to answer."
    )
    columns: dict[str, Name | None] = Field(
        default_factory=dict,
        description="Column by what it holds: messages, system, tools; prompt, input, completion, history; chosen, "
        "rejected; text; image. A path such as `meta.text` leads into an object; null: no column. Those that are not "
        "named are known by usual names.",
    )
    role_key: str | None = Field(None, description="Key of a turn with its role; null: `role` or `from`.")
    content_key: str | None = Field(None, description="Key of a turn with its text; null: `content` or `value`.")
    roles: dict[str, Literal["system", "user", "assistant", "tool"]] = Field(
        default_factory=dict, description="Role by the name that the turns give it, such as `customer: user`."
    )
    keep: tuple[Name, ...] = Field((), description="Further columns that are kept as they are.")
    splits: dict[str, Share] = Field(
        default_factory=dict,
        description="Share of the rows by split, such as `{train: 0.9, test: 0.1}`, by a hash of the prompt; empty: "
        "the source's own splits (of a folder: by file names such as test.csv), else train.",
    )
    split_column: str | None = Field(None, description="Column that names the split of a row.")
    seed: int = Field(0, ge=0, description="Seed of `splits`.")
    deduplicate: Literal["exact", "near"] | None = Field(
        "exact",
        description="exact: of rows with the same content the first is kept. near: of rows that share about four "
        "fifths of their runs of five words, too. null: all are.",
    )
    license: LicenceId | None = Field(
        None, description="Licence of the rows (Hub identifier); null: that of the input `dataset`."
    )
    license_column: str | None = Field(None, description="Column with the licence of a row, checked and kept.")
    language: tuple[str, ...] = Field((), description="Languages of the rows (ISO 639), for the card.")
    max_rows: int | None = Field(None, ge=1, description="Stop after so many rows; null: all.")
    max_rejected_share: float = max_rejected_share(0.25)
    delimiter: str | None = Field(
        None, min_length=1, max_length=1, description="Delimiter of CSV; null: comma, semicolon, tab or bar, as found."
    )
    max_image_mb: float = Field(20.0, gt=0, description="Largest image file in MB.")
    max_image_pixels: int = Field(50_000_000, ge=1, description="Largest image in pixels.")
    timeout: float = Field(60.0, gt=0, json_schema_extra=SPEED, description="Seconds to wait for an http(s) source.")

    @model_validator(mode="after")
    def _settings_apply(self) -> Self:
        known = targets(self.format)
        if unknown := next((name for name in self.columns if name not in known), None):
            raise ValueError(f"columns: format {self.format} has no {unknown!r}{did_you_mean(unknown, known)}")
        if self.source and "://" not in self.source and "*" in self.source:
            folder, _, pattern = self.source.rpartition("/")
            raise ValueError(f"source {self.source!r}: write source: {folder or '.'} and files: {pattern!r}")
        if self.splits and self.split_column:
            raise ValueError("splits and split_column both say a row's split; leave one out")
        if self.splits and abs(sum(self.splits.values()) - 1) > 1e-6:
            raise ValueError(f"splits: the shares sum to {sum(self.splits.values()):g}; make them sum to 1")
        if odd := next((name for name in self.splits if not re.fullmatch(SPLIT, name) or name == "all"), None):
            raise ValueError(f"splits: {odd!r} is not the name of a split; use letters, digits and _, such as train")
        made = {*COLUMNS[self.format], *(["license"] if self.license_column else [])}
        if taken := next((name for name in self.keep if name in made), None):
            raise ValueError(f"keep: the column {taken!r} is one that format {self.format} makes; leave it out")
        if self.source is None and (self.files or self.expect_sha256):
            raise ValueError("files and expect_sha256 are of a `source`; leave them out or name it")
        if self.source is not None and (self.config or self.split):
            raise ValueError("config and split are of the input `dataset`; leave them or `source` out")
        if self.source is not None and self.license is None:
            raise ValueError("license is missing; write that of the rows, such as mit, or other for your own terms")
        if self.format == "images" and self.deduplicate == "near":
            raise ValueError("deduplicate: near compares texts; write exact for images")
        return self

    def preview(self, inputs: Mapping[str, Preview]) -> Preview:
        """The data set that will be published. Every format has a column of tools, which are seldom there."""
        columns = COLUMNS[self.format]
        return Preview(columns=columns if "tools" in self.columns else tuple(c for c in columns if c != "tools"))

    def check_inputs(self, names: Iterable[str]) -> None:
        """Raises ValueError in one line if rows come from nowhere, or from two places."""
        if ("dataset" in names) == (self.source is not None):
            more = "drop one of them" if self.source else "add one of them"
            raise ValueError(f"rows come from `source` or from the input `dataset`: {more}")


def build(config: RowsConfig, context: StepContext | None = None) -> DatasetDict:
    """Read, convert, deduplicate and split; tell `context.report` what was left out and why.

    Returns the splits with the columns id, those of the format, source, license (with `license_column`) and `keep`.

    Raises:
        UsageError: no source or two, or it is not there.
        HubError: a URL or the hub does not give it.
        DataError: a file cannot be read or lacks a column, too many records are rejected, or a split has no rows.
    """
    context = context or local_context()
    try:
        config.check_inputs(context.inputs)
    except ValueError as error:
        raise UsageError(f"step {context.step}: {error}") from error
    origins: list[str] = []
    converter, rejections = Converter(config), Rejections()
    writer = _Writer(context.workdir / "rows", converter.extra)
    seen = DiskSet(context.workdir / "ids")
    near = NearSet(context.workdir / "near") if config.deduplicate == "near" else None
    mapping: dict[str, dict[str, str]] = {}
    for table in read_tables(config, context, origins):
        head = list(itertools.islice(table.records, IMAGES_HEAD if config.format == "images" else HEAD))
        if not head:
            raise DataError(f"{table.name}: has no records")
        mapping.setdefault(table.name, converter.begin(table, head))
        for row in rejections.convert(table.name, itertools.chain(head, table.records), converter):
            if config.deduplicate and not seen.add(row.key):
                rejections.leave_out(table.name, "duplicate")
            elif near is not None and not near.add(row.text):
                rejections.leave_out(table.name, "near duplicate")
            else:
                writer.write(_split(row, config), row.columns)
            if writer.total == config.max_rows:
                break
        if writer.total == config.max_rows:
            break
    rejections.check(config.max_rejected_share)
    splits = writer.finish()
    if not splits:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in rejections.by_reason().most_common(3))
        raise DataError(f"no row is left of {rejections.read.total()} records ({reasons}): look at the file")
    if lacking := next((name for name in config.splits if name not in splits), None):
        raise DataError(
            f"no row is left for split {lacking!r} of {writer.total} rows: raise its share "
            f"{config.splits[lacking]:g}, or give more rows"
        )
    describe_rows(config, context, splits, mapping, origins, converter, rejections)
    return splits


def _split(row: Row, config: RowsConfig) -> str:
    """The split of a row: by a hash of its prompt and the seed, else the one that its source says."""
    if not config.splits:
        return row.split or "train"
    place = unit_hash(f"{config.seed}:{row.prompt}")
    names, shares = zip(*sorted(config.splits.items()), strict=True)
    ends = itertools.accumulate(shares)
    return next((name for name, end in zip(names, ends, strict=True) if place < end), names[-1])


class _Writer:
    """Rows on disk under the narrowest types that hold them: text, turns of role and content, turns of any JSON.

    The first row that needs a wider type has the earlier ones written again, so that the types follow from all rows.
    """

    def __init__(self, folder: Path, extra: Mapping[str, Any]) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.total = 0
        self._folder, self._extra, self._versions = folder, extra, 0
        self._kinds: dict[str, int] = {}
        self._rows: RowWriter | None = None

    def write(self, split: str, row: Mapping[str, Any]) -> None:
        kinds = dict(self._kinds)
        for name, value in row.items():
            kinds[name] = TEXT if name in self._extra else max(_kind(value), kinds.get(name, TEXT))
        if self._rows is None or kinds != self._kinds:
            self._rows = self._widened(kinds)
        if split not in self._rows.counts and len(self._rows.counts) == MOST_SPLITS:
            raise DataError(
                f"more than {MOST_SPLITS} splits, the last is {split!r}; set split_column to another column"
            )
        self._rows.write(split, row)
        self.total += 1

    def finish(self) -> DatasetDict | dict[str, Any]:
        """The splits; {} if there are no rows."""
        return self._rows.finish() if self._rows else {}

    def _widened(self, kinds: dict[str, int]) -> RowWriter:
        from datasets import Features

        types = {name: self._extra.get(name) or _feature(kind) for name, kind in kinds.items()}
        rows = RowWriter(self._folder / str(self._versions), Features(types))
        for split, earlier in self.finish().items():
            for row in undecoded(earlier):
                rows.write(split, row)
        if self._rows is not None:
            shutil.rmtree(self._folder / str(self._versions - 1))
        self._kinds, self._versions = kinds, self._versions + 1
        return rows


TEXT, TURNS, JSON, IMAGE = range(4)


def _kind(value: Any) -> int:
    if isinstance(value, list):
        return TURNS if is_plain_turns(value) else JSON
    return IMAGE if isinstance(value, dict) else TEXT


def _feature(kind: int) -> Any:
    from datasets import Image, Json, List, Value

    text = Value("string")
    return (text, List({"role": text, "content": text}), List(Json()), Image())[kind]
