"""The tables of a source: CSV, JSON, JSON Lines and Parquet files, folders of images, the splits of a data set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ...hub_sync.context import StepContext
from ...hub_sync.errors import UsageError
from .._lib.source_files import read_files
from .._lib.tables import IMAGE_SUFFIXES, READERS, Table, dataset_tables, read_table, sha256_of, split_of, suffix_of

if TYPE_CHECKING:
    from .build import RowsConfig


def read_tables(config: RowsConfig, context: StepContext, origins: list[str]) -> Iterator[Table]:
    """The tables of the `source`, or of the input `dataset`, in the order in which rows are written.

    Args:
        origins: gets what was read, with SHA-256 or commit, and what was passed over.

    Raises as `read_files` does, and DataError in one line for what cannot be read.
    """
    if config.source is not None:
        return _files(config, context, origins)
    source = context.inputs["dataset"]
    origins.append(f"`{source.ref}`")
    return dataset_tables(source, context, config.config, config.split)


def _files(config: RowsConfig, context: StepContext, origins: list[str]) -> Iterator[Table]:
    """The tables of a file, or of those files of a folder, archive or data set that can be read, by name."""
    source = str(config.source)
    pattern = "*" if config.files is None and Path(source).expanduser().is_dir() else config.files
    folder = context.workdir / "sources"
    members, origin = read_files(source, pattern, config.expect_sha256, config.timeout, folder)
    origins.append(origin)
    images, shown = config.format == "images", source.rstrip("/").rpartition("/")[2]
    single = len(members) == 1 and members[0].name == PurePosixPath(members[0].name).name
    visible = [file for file in members if not any(part.startswith(".") for part in PurePosixPath(file.name).parts)]
    readable = visible if single else [file for file in visible if suffix_of(file.name) in READERS]
    pictures = {file.name: file for file in visible if suffix_of(file.name) in IMAGE_SUFFIXES}
    if images and pictures and not readable:
        yield Table(shown, None, ({"file_name": name} for name in pictures), ("file_name",), files=pictures)
        return
    if not readable:
        names = ", ".join(file.name for file in visible[:3])
        raise UsageError(
            f"source {shown}: no file of it is CSV, JSON, JSON Lines or Parquet ({names}); texts "
            "are read by `uses: corpus`, images by `format: images`"
        )
    if len(members) > 1:
        origins += [f"`{file.name}`, sha256 `{sha256_of(file)}`" for file in readable]
    rest = len(members) - len(readable) - (len(pictures) if images else 0)
    if rest:
        origins.append(f"passed over, since they are no tables: {rest} of {len(members)} files")
    splits = {file.name: None if len(members) == 1 else split_of(file.name) for file in readable}
    for file in readable:
        split = (splits[file.name] or "train") if any(splits.values()) else None
        with file.open() as stream:
            yield read_table(file, stream, split, config.delimiter, pictures)
