"""Builder `image_text`: images and texts that belong together, one row for each pair, wherever they come from.

    config = ImageTextConfig(source="photos", format="folder", license="cc-by-4.0", image_license="cc-by-4.0")
    rows = build(config)["train"]
    rows[0]["text"], rows[0]["image"].size

Memory holds a batch of rows; beside that are 17 bytes for each row while splits are made, and about 40 for each
different perceptual hash.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected, UsageError, did_you_mean
from ...hub_sync.licence_ids import LicenceId
from ...hub_sync.pace import Pace
from ...hub_sync.step import Preview
from .._lib.context import local_context
from .._lib.disk_set import DiskSet
from .._lib.image_checks import LeftOut
from .._lib.image_fetching import FetchLog, with_images
from .._lib.image_pairs import Pair, Part
from .._lib.image_settings import Name, PixelSettings, Share
from .._lib.rejections import Rejections, max_rejected_share
from .._lib.row_writer import RowWriter, divide
from .._lib.source_files import read_files
from .._lib.sources import Timeout
from . import cc12m, coco, folder, table, webdataset
from .convert import Converter, Row
from .report import describe_rows
from .sides import Sides

if TYPE_CHECKING:
    from datasets import DatasetDict, Features


ADAPTERS = {
    "folder": folder.parts, "coco": coco.parts, "cc12m": cc12m.parts, "table": table.parts,
    "webdataset": webdataset.parts,
}  # fmt: skip
TARGETS = tuple(table.NAMES)
COLUMNS = (
    "id", "image", "url", "text", "source", "image_id", "license", "attribution", "width", "height", "sha256", "phash",
)  # fmt: skip


class ImageTextConfig(PixelSettings):
    """Where images and texts are, and what of them is published. Defaults are our choice."""

    source: str | None = Field(
        None,
        min_length=1,
        description="A file, a folder, an archive (.zip), an http(s) URL or a Hub data set `org/name@revision` of "
        "files; null: the input `dataset`, one with a column of images or URLs.",
    )
    format: Literal["folder", "coco", "cc12m", "table", "webdataset"] | None = Field(
        None,
        description="folder: images with a .txt beside each, or with metadata.csv or .jsonl (file_name, text). coco: "
        "COCO's JSON and images in folders or tar files. cc12m: lines of URL, tab, text. table: Parquet, CSV or JSON "
        "with url or image and text, such as COYO, DataComp, PD12M. webdataset: tar files of samples.",
    )
    files: str | None = Field(
        None,
        description="Which tables, annotations, text or tar files of the source are read, as a pattern in which `*` "
        "stands for any characters, slashes too; null: all. Images are taken from all files; of a Hub data set in "
        "the formats folder and coco alone.",
    )
    expect_sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the file or archive, 64 hex digits; null: any."
    )
    config: str | None = Field(None, description="Config of the input `dataset`; null: its default one.")
    split: str | None = Field(None, description="Split of the input `dataset`; null: all of them.")
    columns: dict[str, Name | None] = Field(
        default_factory=dict,
        description="Column by what it holds: text, url, image, image_id, license, attribution, width, height, phash, "
        "sha256, split; null: none. Those that are not named are known by usual names (columns.yaml). A list of texts "
        "makes a row each.",
    )
    keep: tuple[Name, ...] = Field((), description="Further columns of tables, kept as JSON in the column `meta`.")
    caption_lines: bool = Field(False, description="Every line of a text file is a text of its own (format folder).")
    license: LicenceId | None = Field(
        None, description="Licence of the texts and the table (Hub identifier); null: that of the input `dataset`."
    )
    require_image: bool = Field(False, description="Leave out rows whose image is not at hand.")
    deduplicate: Literal["exact", "near"] | None = Field(
        "exact",
        description="exact: of rows with the same image and text the first is kept. near: of images that look the "
        "same, all but the first are left out, too. null: all are kept.",
    )
    phash_distance: int = Field(
        3, ge=0, le=8, description="Bits of 64 in which perceptual hashes of images that look the same may differ."
    )
    splits: dict[str, Share] = Field(
        default_factory=dict,
        description="Share of the images by split, such as `{train: 0.9, test: 0.1}`, by a hash: all texts of an "
        "image, and images that look the same, are in one split; empty: the source's own splits, else train.",
    )
    seed: int = Field(0, ge=0, description="Seed of `splits`.")
    language: tuple[str, ...] = Field((), description="Languages of the texts (ISO 639), for the card.")
    max_rows: int | None = Field(None, ge=1, description="Stop after so many rows; null: all.")
    max_rejected_share: float = max_rejected_share(0.25)
    delimiter: str | None = Field(
        None, min_length=1, max_length=1, description="Delimiter of CSV; null: comma, semicolon, tab or bar, as found."
    )
    timeout: Timeout = 60.0

    @model_validator(mode="after")
    def _settings_apply(self) -> Self:
        if unknown := next((name for name in self.columns if name not in TARGETS), None):
            raise ValueError(f"columns: {unknown!r} is unknown{did_you_mean(unknown, TARGETS)}")
        if (self.source is None) != (self.format is None):
            absent = "format is missing: folder, coco, cc12m, table or webdataset"
            raise ValueError(absent if self.source else "format is of a `source`; leave it out or name the source")
        if self.source is None and (self.files or self.expect_sha256):
            raise ValueError("files and expect_sha256 are of a `source`; leave them out or name it")
        if self.source is not None and (self.config or self.split):
            raise ValueError("config and split are of the input `dataset`; leave them or `source` out")
        if self.source is not None and self.license is None:
            raise ValueError("license is missing; write that of the texts, such as cc-by-4.0, or other for your own")
        if self.splits and abs(sum(self.splits.values()) - 1) > 1e-6:
            raise ValueError(f"splits: the shares sum to {sum(self.splits.values()):g}; make them sum to 1")
        if odd := next((name for name in self.splits if not re.fullmatch(r"\w+", name) or name == "all"), None):
            raise ValueError(f"splits: {odd!r} is not the name of a split; use letters, digits and _, such as train")
        if self.splits and self.columns.get("split"):
            raise ValueError("splits and columns: {split: ...} both say a row's split; leave one out")
        if self.caption_lines and self.format != "folder":
            raise ValueError("caption_lines is of format folder; leave it out")
        if self.format in ("coco", "cc12m") and (self.columns or self.keep):
            raise ValueError(f"columns and keep are of tables; format {self.format} has none: leave them out")
        if self.delimiter and self.format not in ("folder", "table"):
            raise ValueError("delimiter is of CSV; leave it out")
        return self

    @property
    def result_license(self) -> str | None:
        """Licence of the data set as far as the settings tell: with pixels of any licence, none is stated."""
        return "other" if self.unlicensed_pixels == "local" else self.license

    def check_inputs(self, names: Iterable[str]) -> None:
        """Raises ValueError in one line if rows come from nowhere, or from two places."""
        if ("dataset" in names) == (self.source is not None):
            more = "drop one of them" if self.source else "add one of them"
            raise ValueError(f"rows come from `source` or from the input `dataset`: {more}")

    def lacks(self) -> str:
        """The package that is not installed, with the remedy; "" if there is none."""
        needed = ("PIL", "imagehash", *(["aiohttp"] if self.fetch else []))
        absent = next((name for name in needed if find_spec(name) is None), None)
        return f"images need {absent}: pip install 'hubwright[vision]'" if absent else ""

    def preview(self, inputs: Mapping[str, Preview]) -> Preview:
        """The data set that will be published."""
        warnings = []
        if self.image_license is None and self.source is not None and self.unlicensed_pixels == "drop":
            warnings = [
                "pixels are published only of images whose row states a licence; set image_license if you know"
            ]
        return Preview(columns=COLUMNS + (("meta",) if self.keep else ()), warnings=tuple(warnings))


def features(config: ImageTextConfig) -> Features:
    """Columns and types of the rows."""
    from datasets import Features, Image, Json, Value

    types: dict[str, Any] = dict.fromkeys(COLUMNS, Value("string"))
    types |= {"image": Image(), "width": Value("int32"), "height": Value("int32")}
    return Features(types | ({"meta": Json()} if config.keep else {}))


def build(config: ImageTextConfig, context: StepContext | None = None) -> DatasetDict:
    """Read, fetch, check, deduplicate and split; tell `context.report` what was left out and why.

    Returns the splits with the columns of `features`.

    Raises:
        UsageError: no source or two, it is not there, or it is of another format.
        HubError: a URL or the hub does not give it.
        DataError: a file cannot be read or lacks a column, too many pairs are rejected, or a split has no rows.
        StorageError: the disk is full.
    """
    context = context or local_context()
    try:
        config.check_inputs(context.inputs)
    except ValueError as error:
        raise UsageError(f"step {context.step}: {error}") from error
    origins: list[str] = []
    converter, rejections = Converter(config), Rejections()
    writer = RowWriter(context.workdir / "rows", features(config))
    pair_keys, sides = DiskSet(context.workdir / "ids"), Sides(context.workdir, config)
    limits, pixels = config.fetch_limits(), Counter[tuple[str, str]]()
    log = FetchLog(context.workdir / "fetched.log") if limits else None
    for part in _parts(config, context, origins):
        pairs = with_images(part.pairs, limits, config.image_limits(), log) if limits and log else part.pairs
        with closing(pairs):  # what is in flight ends with the last row
            for row in _rows(part, pairs, converter, rejections):
                if config.deduplicate and not pair_keys.add(f"{row.image_key}\n{row.columns['text']}"):
                    rejections.leave_out(part.name, "duplicate")
                    continue
                writer.write("rows", row.columns)
                sides.add(row, part.split)
                pixels.update([row.pixels] if row.pixels else [])
                if len(sides) == config.max_rows:
                    break
        if len(sides) == config.max_rows:
            break
    rejections.check(config.max_rejected_share)
    if not len(sides):
        reasons = ", ".join(f"{reason}: {count}" for reason, count in rejections.by_reason().most_common(3))
        raise DataError(f"no row is left of {rejections.read.total()} pairs ({reasons}): look at the source")
    masks = sides.masks()
    rejections.reasons.update(sides.left_out)
    if lacking := next((name for name in config.splits if name not in masks), None):
        raise DataError(
            f"no row is left for split {lacking!r} of {len(sides)} rows: raise its share {config.splits[lacking]:g}, "
            "or give more images"
        )
    splits = divide(writer.finish()["rows"], context.workdir / "splits", masks)
    shutil.rmtree(context.workdir / "rows")
    if log:
        log.close()
        (context.workdir / "fetched.log").unlink()
    describe_rows(config, context, splits, origins, pixels, converter.survival, rejections, sides)
    return splits


def _parts(config: ImageTextConfig, context: StepContext, origins: list[str]) -> Iterator[Part]:
    """The pairs of the source, file by file; `origins` gets what was read."""
    if config.source is None or config.format is None:
        origins.append(f"`{context.inputs['dataset'].ref}`")
        return table.input_parts(config, context)
    source = config.source
    pattern = _pattern(config, source)
    files, origin = read_files(source, pattern, config.expect_sha256, config.timeout, context.workdir / "sources")
    origins.append(origin)
    chosen = [file for file in files if config.files is None or fnmatchcase(file.name, config.files)]
    name = source.rstrip("/").rpartition("/")[2]
    if not chosen:
        raise UsageError(f"source {name}: no file fits files {config.files!r}; change the pattern")
    return ADAPTERS[config.format](config, files, chosen, name)


def _pattern(config: ImageTextConfig, source: str) -> str | None:
    """Which files of the source are read; None: it is one file.

    Of a data set on the Hub only those that are named are pulled, unless the images are beside them.
    """
    path = Path(source).expanduser()
    if source.startswith(("http://", "https://")) or (path.is_file() and path.suffix not in (".zip", ".whl")):
        return None
    return "*" if path.exists() or config.format in ("folder", "coco") else config.files or "*"


def _rows(
    part: Part, pairs: Iterable[Pair | RowRejected], converter: Converter, rejections: Rejections
) -> Iterator[Row]:
    """The rows of a part; what makes none is counted."""
    for pair in Pace(part.name, "pairs").over(pairs):
        rejections.read[part.name] += 1
        try:
            yield converter(pair, part.name)
        except LeftOut as error:
            rejections.leave_out(part.name, error.reason)
        except RowRejected as error:
            rejections.reject(part.name, error)
