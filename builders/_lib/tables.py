"""Tables of any form: CSV, JSON, JSON Lines and Parquet files, and the splits of a data set, a record at a time."""

from __future__ import annotations

import csv
import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, Any

from ...hub_sync.context import Input, StepContext
from ...hub_sync.errors import DataError, RowRejected, first_line
from . import record_stream
from .source_files import File
from .sources import UNPACKING, holds_media, read_rows

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


def dataset_splits(
    source: Input, context: StepContext, config: str | None, split: str | None
) -> Iterator[tuple[str, Any]]:
    """(name, rows with images as bytes) of the splits of a pulled data set's `config` (None: its default one), or of
    one of them. Raises DataError.
    """
    names = [split] if split else _split_names(str(source.path), config, str(source.ref))
    for name in names:
        yield name, undecoded(read_rows(source, context, name, config))


def dataset_tables(source: Input, context: StepContext, config: str | None, split: str | None) -> Iterator[Table]:
    """The same as tables."""
    for name, rows in dataset_splits(source, context, config, split):
        types = rows.features.copy()
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


def check_images(kind: Any, source_name: str) -> None:
    """Raises DataError for a column that holds no image per row."""
    from datasets import Image, Value

    one = isinstance(kind, Image) or kind in (Value("binary"), Value("large_binary"))
    if not one and not (isinstance(kind, dict) and "bytes" in kind):
        raise DataError(
            f"{source_name}: column `image` holds {getattr(kind, 'dtype', kind)!s:.60}, and no image per row: make a "
            "data set with an Image column of it, as `uses: image_text` does"
        )


def _split_names(folder: str, config: str | None, ref: str) -> list[str]:
    import datasets

    try:
        return [str(name) for name in datasets.get_dataset_split_names(folder, config)]
    except Exception as error:  # datasets raises everything from ValueError to its own errors
        raise DataError(f"{ref}: cannot be read ({first_line(error).replace(folder, '')}); set `config`") from error


def split_of(name: str) -> str | None:
    """The split that a file's path names, by the words that datasets looks for, or None.

    >>> split_of("data/my-test-1.csv"), split_of("dev/rows.jsonl"), split_of("latest.csv")
    ('test', 'validation', None)
    """
    from datasets.data_files import SPLIT_KEYWORDS

    words = re.split(r"[-._ /0-9]+", name)
    return next((str(split) for split, keys in SPLIT_KEYWORDS.items() if not set(keys).isdisjoint(words)), None)


def read_table(
    file: File, stream: IO[bytes], split: str | None, delimiter: str | None, pictures: Mapping[str, File]
) -> Table:
    """The table in a file that is open. Raises DataError for one that cannot be read.

    Args:
        split: of its records.
        delimiter: of CSV; None: as it shows.
        pictures: the source's other files by path.
    """
    name, folder = file.name, PurePosixPath(file.name).parent.as_posix()
    read = READERS.get(suffix_of(name)) or _reader_by_content(stream, name)
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


def suffix_of(name: str) -> str:
    """The suffix that tells the form, in lower case, without that of a packing and the query of an address."""
    path = PurePosixPath(name.partition("?")[0].lower())
    return path.with_suffix("").suffix if path.suffix in PACKED else path.suffix


def sha256_of(file: File) -> str:
    """SHA-256 of a file's content, unpacked where it lies in an archive."""
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


READERS: dict[str, Callable[..., tuple[Iterator[Any], dict[str, Any]]]] = {
    **dict.fromkeys(JSON_SUFFIXES, _json), **dict.fromkeys(CSV_SUFFIXES, _csv),
    **dict.fromkeys(PARQUET_SUFFIXES, _parquet),
}  # fmt: skip
