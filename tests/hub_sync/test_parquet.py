"""Shards: files and row groups of bounded size, the same rows, whatever reads them."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import Dataset, load_dataset

from hubwright.hub_sync.parquet import ROW_GROUP_BYTES, write_shards


@pytest.fixture(scope="module")
def rows() -> Dataset:
    """60 MB, rows of 20 to 40 kB, and in the middle one of 30 MB."""
    sizes = [20_000 + 7 * (n % 3000) for n in range(1000)]
    sizes[500] = 30_000_000
    return Dataset.from_list([{"id": n, "text": chr(97 + n % 26) * size} for n, size in enumerate(sizes)])


def test_shards_hold_the_rows_in_order_in_small_groups(rows: Dataset, tmp_path: Path) -> None:
    paths = write_shards(rows, tmp_path / "data", "train", shard_mb=10)
    assert [path.name for path in paths] == [f"train-{n:05d}-of-{len(paths):05d}.parquet" for n in range(len(paths))]
    assert len(paths) == 6
    for path in paths:
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            assert table.nbytes <= ROW_GROUP_BYTES or table.num_rows == 1
    read = load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    assert read.features == rows.features
    assert all(a == b for a, b in zip(read, rows, strict=True))


def test_a_small_split_is_one_file_with_the_bytes_of_datasets(tmp_path: Path) -> None:
    small = Dataset.from_dict({"a": list(range(5000))})
    (path,) = write_shards(small, tmp_path, "test")
    small.to_parquet(str(tmp_path / "plain.parquet"))
    assert path.read_bytes() == (tmp_path / "plain.parquet").read_bytes()


def test_selected_and_shuffled_rows_are_counted_as_they_are(rows: Dataset, tmp_path: Path) -> None:
    picked = rows.shuffle(seed=1).select(range(100))
    paths = write_shards(picked, tmp_path, "train", shard_mb=2)
    assert len(paths) == 3 or len(paths) == 4
    assert [row["id"] for path in paths for row in pq.read_table(path, columns=["id"]).to_pylist()] == picked["id"][:]


def test_never_more_shards_than_rows(tmp_path: Path) -> None:
    two = Dataset.from_dict({"text": ["x" * 3_000_000, "y" * 3_000_000]})
    assert len(write_shards(two, tmp_path, "train", shard_mb=1)) == 2
