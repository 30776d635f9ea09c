"""Rows as Parquet shards that stream and shuffle well: bounded size, small row groups; and a split read from them."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .text import utf8

if TYPE_CHECKING:
    from datasets import Dataset, Features
    from pyarrow import RecordBatch

SHARD_MB = 500
# A reader decodes a whole row group for its first row. `datasets` aims at 100 MB.
ROW_GROUP_BYTES = 16_000_000
BATCH = 1000  # rows in memory while a split is read
# In memory while rows are written, in Python and in Arrow: each batch of a file costs 3 to 9 kB as long as it is open.
WRITTEN, WRITTEN_BYTES, JOINED_BYTES = 8000, 4_000_000, 16_000_000


def write_shards(rows: Dataset, folder: Path, split: str, shard_mb: int = SHARD_MB) -> list[Path]:
    """The files `SPLIT-00000-of-0000N.parquet` below `folder`, rows in order, in as few shards as the limit allows.

    Args:
        shard_mb: MB of a shard, uncompressed as `datasets` counts its `max_shard_size`. A larger single row passes.
    """
    # Bytes in Arrow; of rows that were selected from a table, their share of it.
    size = math.ceil(rows.data.nbytes * len(rows) / max(1, rows.data.num_rows))
    count = max(1, min(len(rows), math.ceil(size / (shard_mb * 1e6))))
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{split}-{index:05d}-of-{count:05d}.parquet" for index in range(count)]
    for index, path in enumerate(paths):
        shard = rows.shard(count, index, contiguous=True)
        shard.to_parquet(str(path), batch_size=_rows_per_group(shard))
    return paths


def arrow_rows(rows: Iterable[Mapping[str, Any]], features: Mapping[str, Any], path: Path) -> Dataset:
    """Rows written to an Arrow file and mapped into memory, which does not grow with them.

    Args:
        features: of all columns.
        path: of the file, which has to stay while the rows are in use.

    Raises DataError for a value that would not be read back equal.
    """
    import datasets
    from datasets.arrow_writer import ArrowWriter

    from .json_columns import row_encoder

    types, numbered = datasets.Features(features), enumerate(rows)
    encode = row_encoder(types)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # an earlier run may still have it mapped
    # Of columns of images datasets would write 100 rows at a time.
    writer = ArrowWriter(features=types, path=str(path), writer_batch_size=WRITTEN)
    batch: list[Mapping[str, Any]] = []
    size = 0
    for number, row in numbered:
        batch.append(encode(dict(row), number))
        size += sum(map(size_of, batch[-1].values()))
        if len(batch) == WRITTEN or size >= WRITTEN_BYTES:
            writer.write_batch({name: [one[name] for one in batch] for name in types})
            batch, size = [], 0
    if batch:
        writer.write_batch({name: [one[name] for one in batch] for name in types})
    writer.finalize()
    return datasets.Dataset.from_file(str(path))


def size_of(value: Any) -> int:
    """About the size of an encoded value: characters of texts, bytes of images, and 8 for a number.

    >>> size_of({"bytes": b"abc", "path": None}), size_of(["ab", "c"])
    (11, 3)
    """
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(size_of, value.values()))
    return sum(map(size_of, value)) if isinstance(value, list) else 8


def load_split(folder: Path, config: str | None, split: str, cache_dir: Path | None = None) -> Dataset:
    """The split that `datasets.load_dataset` gives; of local Parquet files in memory that does not grow with them.

    datasets' own reader has up to sixteen row groups in flight and converts the other splits too. Raises what datasets
    raises.

    Args:
        config: of the folder; None for the default one.
        cache_dir: of the Arrow file that is mapped into memory; None for that of datasets.
    """
    import datasets
    import pyarrow.parquet as pq

    cache = None if cache_dir is None else str(cache_dir)
    builder = datasets.load_dataset_builder(str(folder), config, cache_dir=cache)
    files = (builder.config.data_files or {}).get(split, [])
    if builder.name != "parquet" or not files or not all(Path(file).is_file() for file in files):
        return datasets.load_dataset(str(folder), config, split=split, cache_dir=cache)
    # datasets' own folder is the same for all folders of one name with the same card, whatever their files hold.
    stats = [(os.path.realpath(file), Path(file).stat()) for file in files]
    identity = repr([(real, stat.st_size, stat.st_mtime_ns) for real, stat in stats])
    path = Path(f"{builder.cache_dir}-{hashlib.sha256(utf8(identity)).hexdigest()[:16]}-{split}.arrow")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.incomplete")
        try:
            first = next(iter(builder.config.data_files.values()))[0]
            features = builder.info.features or datasets.Features.from_arrow_schema(pq.read_schema(first))
            count = _write_arrow(files, features, partial)
            stated = (builder.info.splits or {}).get(split)
            if stated and stated.num_examples not in (None, count):
                raise ValueError(f"its files have {count} rows, its card states {stated.num_examples}")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return datasets.Dataset.from_file(str(path), split=datasets.NamedSplit(split))


def _write_arrow(files: Sequence[str], features: Features, path: Path) -> int:
    """The number of rows that were written, their columns cast to `features`, in few large batches."""
    import pyarrow as pa
    from datasets.table import table_cast

    schema, count, size = features.arrow_schema, 0, 0
    waiting: list[pa.Table] = []
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as stream:

        def write() -> None:
            if waiting:
                stream.write_table(pa.concat_tables(waiting).combine_chunks())
                waiting.clear()

        for batch in _batches(files):
            table = table_cast(pa.Table.from_batches([batch]), schema)
            if size + table.nbytes > JOINED_BYTES:
                write()
                size = 0
            waiting.append(table)
            size, count = size + table.nbytes, count + len(table)
        write()
    return count


def _batches(files: Sequence[str]) -> Iterator[RecordBatch]:
    import pyarrow.parquet as pq

    for file in files:
        with pq.ParquetFile(file) as reader:
            for group in range(reader.num_row_groups):
                yield from reader.iter_batches(BATCH, [group], use_threads=False)


def _rows_per_group(rows: Dataset) -> int:
    """The largest number of rows of which no consecutive group has more bytes than allowed; at least 1."""
    arrow, size = rows.with_format("arrow"), max(1, len(rows))
    while size > 1:
        largest = max(arrow[start : start + size].nbytes for start in range(0, len(rows), size))
        if largest <= ROW_GROUP_BYTES:
            break
        size = max(1, min(size - 1, int(size * ROW_GROUP_BYTES / largest)))
    return size
