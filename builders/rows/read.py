"""The tables of a source: CSV, JSON, JSON Lines and Parquet files, folders of images, the splits of a data set."""

from __future__ import annotations

import csv
import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected, UsageError, first_line
from .._lib import record_stream
from .._lib.source_files import File, read_files
from .._lib.sources import UNPACKING, holds_media, read_rows

if TYPE_CHECKING:
    from .build import RowsConfig

JSON_SUFFIXES, CSV_SUFFIXES, PARQUET_SUFFIXES = (".json", ".jsonl", ".ndjson"), (".csv", ".tsv"), (".parquet",)
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
PACKED = (".gz", ".bz2", ".xz")
LARGEST_CELL = 64 << 20  # characters of a CSV cell: more is a quote that nobody closed; our choice
BATCH, MEDIA_BATCH = 200, 10  # rows of Parquet in memory, without and with images


@dataclass(frozen=True)
class Table:
    """The records of one file, or of one split of a data set.

    Attributes:
        name: for errors and the column `source`.
        split: the source's own, None if it has none.
        records: objects by column, read once; a RowRejected in place of one that cannot be read.
        columns: names, of a form that declares them; None: each record has its own.
        types: `datasets` features by column, of Parquet and data sets; {}: the values tell.
        is_text: all values are text, as in CSV, and an empty one is null.
        files: the source's other files by path, and `folder` of this one among them, for images.
    """

    name: str
    split: str | None
    records: Iterator[Any]
    columns: tuple[str, ...] | None = None
    types: Mapping[str, Any] = field(default_factory=dict)
    is_text: bool = False
    files: Mapping[str, File] = field(default_factory=dict)
    folder: str = ""


def read_tables(config: RowsConfig, context: StepContext, origins: list[str]) -> Iterator[Table]:
    """The tables of the `source`, or of the input `dataset`, in the order in which rows are written.

    Args:
        origins: gets what was read, with SHA-256 or commit, and what was passed over.

    Raises as `read_files` does, and DataError in one line for what cannot be read.
    """
    return _dataset_tables(config, context, origins) if config.source is None else _files(config, context, origins)


def _dataset_tables(config: RowsConfig, context: StepContext, origins: list[str]) -> Iterator[Table]:
    """The splits of the input `dataset`, or one of them."""
    source = context.inputs["dataset"]
    origins.append(f"`{source.ref}`")
    names = [config.split] if config.split else _split_names(str(source.path), config.config, str(source.ref))
    for name in names:
        rows = read_rows(source, context, name, config.config)
        types, rows = rows.features.copy(), undecoded(rows)
        size = _batch(types)
        tables = (rows.with_format("arrow")[n : n + size] for n in range(0, len(rows), size))
        records = iter(rows) if has_json(rows.features) else (row for part in tables for row in part.to_pylist())
        yield Table(source.ref.repo_id, name, records, tuple(types), types)


def undecoded(rows: Any) -> Any:
    """A data set whose images are read as their bytes."""
    from datasets import Image

    for column, feature in rows.features.items():
        if isinstance(feature, Image):
            rows = rows.cast_column(column, Image(decode=False))
    return rows


def _split_names(folder: str, config: str | None, ref: str) -> list[str]:
    import datasets

    try:
        return [str(name) for name in datasets.get_dataset_split_names(folder, config)]
    except Exception as error:  # datasets raises everything from ValueError to its own errors
        raise DataError(f"{ref}: cannot be read ({first_line(error).replace(folder, '')}); set `config`") from error


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
    readable = visible if single else [file for file in visible if _suffix(file.name) in _READERS]
    pictures = {file.name: file for file in visible if _suffix(file.name) in IMAGE_SUFFIXES}
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
        origins += [f"`{file.name}`, sha256 `{_sha256(file)}`" for file in readable]
    rest = len(members) - len(readable) - (len(pictures) if images else 0)
    if rest:
        origins.append(f"passed over, since they are no tables: {rest} of {len(members)} files")
    splits = {file.name: None if len(members) == 1 else split_of(file.name) for file in readable}
    for file in readable:
        split = (splits[file.name] or "train") if any(splits.values()) else None
        with file.open() as stream:
            yield _table(file, stream, split, config.delimiter, pictures)


def split_of(name: str) -> str | None:
    """The split that a file's path names, by the words that datasets looks for, or None.

    >>> split_of("data/my-test-1.csv"), split_of("dev/rows.jsonl"), split_of("latest.csv")
    ('test', 'validation', None)
    """
    from datasets.data_files import SPLIT_KEYWORDS

    words = re.split(r"[-._ /0-9]+", name)
    return next((str(split) for split, keys in SPLIT_KEYWORDS.items() if not set(keys).isdisjoint(words)), None)


def _table(
    file: File, stream: IO[bytes], split: str | None, delimiter: str | None, pictures: Mapping[str, File]
) -> Table:
    name, folder = file.name, PurePosixPath(file.name).parent.as_posix()
    read = _READERS.get(_suffix(name)) or _reader_by_content(stream, name)
    stream.seek(0)
    try:
        records, more = read(stream, name, delimiter)
    except UNPACKING as error:
        raise _damaged(name, error) from error
    return Table(name, split, _guarded(records, name), files=pictures, folder=folder, **more)


def _reader_by_content(stream: IO[bytes], name: str) -> Any:
    """The reader of a file whose name does not tell its form. Raises DataError."""
    try:
        if stream.read(4) == b"PAR1":
            return _parquet
        if record_stream.first_character(stream) in ("[", "{"):
            return _json
    except UNPACKING as error:
        raise _damaged(name, error) from error
    raise DataError(
        f"{name}: is neither JSON nor Parquet, and not called .csv or .tsv; rename it, or read texts by `uses: corpus`"
    )


def _damaged(name: str, error: Exception) -> DataError:
    return DataError(f"{name}: cannot be unpacked ({first_line(error)}); fetch the file again")


def _guarded(records: Iterable[Any], name: str) -> Iterator[Any]:
    try:
        yield from records
    except UNPACKING as error:
        raise _damaged(name, error) from error


def _suffix(name: str) -> str:
    """The suffix that tells the form, in lower case, without that of a packing and the query of an address."""
    path = PurePosixPath(name.partition("?")[0].lower())
    return path.with_suffix("").suffix if path.suffix in PACKED else path.suffix


def _sha256(file: File) -> str:
    with file.path.open("rb") if file.path else file.open() as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]


def _json(stream: IO[bytes], name: str, _: str | None) -> tuple[Iterator[Any], dict[str, Any]]:
    """Items of a list, or a record per line; NaN is left to the column that holds it."""
    if record_stream.first_character(stream) == "[":
        return record_stream.list_items(stream, name, strict=False), {}
    return (value for _, value in record_stream.json_lines(stream, name, strict=False)), {}


def _parquet(stream: IO[bytes], name: str, _: str | None) -> tuple[Iterator[Any], dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Dataset, Features

    def rows(file: pq.ParquetFile) -> Iterator[Any]:
        with _one_line(name):
            for batch in file.iter_batches(batch_size=_batch(types)):
                yield from Dataset(pa.Table.from_batches([batch])) if has_json(types) else batch.to_pylist()

    with _one_line(name):
        file = pq.ParquetFile(stream)
        types = Features.from_arrow_schema(file.schema_arrow)
    return rows(file), {"columns": tuple(types), "types": types}


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Turns what pyarrow raises for a damaged file into a DataError."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{name}: cannot be read as Parquet ({first_line(error)}); fetch the file again") from error


def _batch(types: Mapping[str, Any]) -> int:
    return MEDIA_BATCH if any(map(holds_media, types.values())) else BATCH


def has_json(features: Any) -> bool:
    """Whether a column holds JSON text that `datasets` decodes."""
    if isinstance(features, Mapping):
        return any(map(has_json, features.values()))
    return type(features).__name__ == "Json" or has_json(getattr(features, "feature", {}))


def _csv(stream: IO[bytes], name: str, delimiter: str | None) -> tuple[Iterator[Any], dict[str, Any]]:
    """Records of a file whose first line names the columns. Values are text; an empty cell is null."""
    csv.field_size_limit(LARGEST_CELL)
    lines = (line + "\n" for line in record_stream.text_lines(stream, name))
    sample = list(itertools.islice(lines, 100))
    if not any(map(str.strip, sample)):
        raise DataError(f"{name}: is empty; a CSV file begins with the names of its columns")
    if sample[0].lstrip().lower().startswith(("<!doctype", "<html")):
        raise DataError(f"{name}: is a page of HTML; download the file itself")
    mark = delimiter or sniff(sample, name)
    # `a, "b, c"`: a quote after a blank begins a cell all the same.
    blanks = any(f'{mark} "' in line for line in sample)
    cells = csv.reader(itertools.chain(sample, lines), delimiter=mark, strict=True, skipinitialspace=blanks)

    def filled() -> Iterator[list[str]]:
        try:
            yield from (row for row in cells if row)
        except csv.Error as error:
            raise DataError(
                f"{name}: line {cells.line_num} is not CSV ({error}); a cell with quotes, delimiters or line ends "
                'stands in "quotes", and a quote inside it is doubled'
            ) from error

    rows = filled()
    header = [cell.strip() for cell in next(rows, [])]
    twice = next((cell for cell, count in Counter(header).items() if count > 1), None)
    if twice is not None:
        raise DataError(f"{name}: the first line names the column {twice!r} twice; rename one of them")

    def records() -> Iterator[Any]:
        for row in rows:
            if len(row) != len(header):
                yield RowRejected("a line has more or fewer cells than the first", f"{len(row)} for {len(header)}")
            else:
                yield {column: cell or None for column, cell in zip(header, row, strict=True)}

    return records(), {"columns": tuple(header), "is_text": True}


def sniff(lines: list[str], name: str) -> str:
    """The delimiter of lines of CSV: the one by which most have as many cells as the first, and that more than one.

    `csv.Sniffer` takes letters and blanks of texts for delimiters. Raises DataError where two fit equally well.
    """
    scores = {}
    for mark in ",;\t|":
        try:
            widths = [len(row) for row in csv.reader(lines, delimiter=mark) if row]
        except csv.Error:
            continue
        if widths and widths[0] > 1:
            whole = widths[:-1] or widths  # the last may be cut off within quotes
            scores[mark] = sum(width == widths[0] for width in whole) / len(whole), widths[0]
    best = [mark for mark, score in scores.items() if score == max(scores.values())]
    if len(best) > 1:
        raise DataError(f"{name}: {best[0]!r} and {best[1]!r} may both be its delimiter; set `delimiter`")
    return best[0] if best else ","


_READERS: dict[str, Callable[..., tuple[Iterator[Any], dict[str, Any]]]] = {
    **dict.fromkeys(JSON_SUFFIXES, _json), **dict.fromkeys(CSV_SUFFIXES, _csv),
    **dict.fromkeys(PARQUET_SUFFIXES, _parquet),
}  # fmt: skip
