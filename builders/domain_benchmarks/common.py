"""What the benchmarks' builders share: their files, perhaps in a zip archive, and the end of their reports."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError
from ...hub_sync.licence_ids import LicenceId
from .._lib.archives import LARGEST
from .._lib.cards import add_sources, describe, describe_columns
from .._lib.rejections import Rejections, max_rejected_share
from .._lib.sources import FolderSource, Source, read_source

if TYPE_CHECKING:
    from datasets import Dataset

UNSTATED = "other"
"""Licence on the card of a benchmark that states none: publishing in public is then refused."""


class BenchmarkFiles(FolderSource):
    """Where a benchmark's own files are; a `source` or `folder` that ends in .zip is read without unpacking it."""

    files: tuple[str, ...] = Field((), description="File names to read; empty: all that the benchmark has.")
    license: LicenceId | None = Field(
        None, min_length=1, description="Licence of the data (Hub identifier); null: upstream's, if it states one."
    )
    max_rejected_share: float = max_rejected_share(0.05)


def read_files(config: BenchmarkFiles, names: Sequence[str], origins: list[str]) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each file of `config.files`, or else of `names`; what they are goes into `origins`.

    Raises UsageError and HubError as `read_source` does, DataError for an archive that does not hold a file once.
    """
    archived = config.folder if config.folder.endswith(".zip") else config.source
    if not archived.endswith(".zip"):
        for name in config.files or names:
            yield name, config.read(name, origins)[1]
        return
    expected = config.expect_sha256.get(PurePosixPath(archived).name)
    whole = Source(source=config.source, file=config.folder or None, expect_sha256=expected)
    archive_name, content, origin = read_source(whole, config.timeout)
    origins.append(origin)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [m for m in archive.infolist() if not m.filename.startswith("__MACOSX/")]
            for name in config.files or names:
                inner = [m for m in members if PurePosixPath(m.filename).name == name and m.file_size <= LARGEST]
                if len(inner) != 1:
                    raise DataError(
                        f"{archive_name}: holds {len(inner)} files {name} of at most {LARGEST >> 20} MiB instead of "
                        "one; give the benchmark's own archive, or name its files in `files`"
                    )
                yield name, archive.read(inner[0])
    except zipfile.BadZipFile as error:
        raise DataError(f"{archive_name}: is not a zip archive ({error}); fetch the file again") from error


def finish(
    config: Any, context: StepContext, rejections: Rejections, origins: Sequence[str], card: str,
    configs: Iterable[Mapping[str, Dataset]], **values: object,
) -> None:  # fmt: skip
    """Fill the report: the card's text, columns, licence, counts and sources.

    Args:
        configs: split -> rows of each.
    """
    describe(context.report, __file__, card, **values)
    describe_columns(context.report, __file__, configs)
    if config.license:
        context.report.card["license"] = config.license
    if context.report.card["license"] == UNSTATED:
        context.report.summary += "\n\nNo licence is stated upstream, so this is not for publication."
    rejections.describe(context.report)
    add_sources(context.report, origins)
