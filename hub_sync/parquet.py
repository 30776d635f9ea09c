"""Rows as Parquet shards that stream and shuffle well: files of bounded size, small row groups."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset

SHARD_MB = 500
# A reader decodes a whole row group for its first row. `datasets` aims at 100 MB.
ROW_GROUP_BYTES = 16_000_000


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


def _rows_per_group(rows: Dataset) -> int:
    """The largest number of rows of which no consecutive group has more bytes than allowed; at least 1."""
    arrow, size = rows.with_format("arrow"), max(1, len(rows))
    while size > 1:
        largest = max(arrow[start : start + size].nbytes for start in range(0, len(rows), size))
        if largest <= ROW_GROUP_BYTES:
            break
        size = max(1, min(size - 1, int(size * ROW_GROUP_BYTES / largest)))
    return size
