"""Shards: files and row groups of bounded size, the same rows, whatever reads them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, load_dataset

from hubwright.hub_sync.json_columns import make_dataset
from hubwright.hub_sync.parquet import JOINED_BYTES, ROW_GROUP_BYTES, load_split, write_shards


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


def test_split_read_is_what_datasets_reads(rows: Dataset, tmp_path: Path) -> None:
    write_shards(rows, tmp_path / "set" / "data", "train", shard_mb=10)
    write_shards(rows.select(range(3)), tmp_path / "set" / "data", "test")
    read = load_split(tmp_path / "set", None, "train", tmp_path / "own")
    peer = load_dataset(str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache"))
    assert read.features == peer.features and read.split == peer.split and len(read) == len(peer)
    assert all(a == b for a, b in zip(read, peer, strict=True))
    assert [path.name[-12:] for path in (tmp_path / "own").rglob("*.arrow")] == ["-train.arrow"]  # no other split
    again = load_split(tmp_path / "set", None, "train", tmp_path / "own")
    assert again.cache_files == read.cache_files


def test_split_is_mapped_in_few_large_batches_that_are_not_larger_than_allowed(tmp_path: Path) -> None:
    wide = Dataset.from_list([{"id": n, "text": str(n % 10) * 100} for n in range(300_000)])  # 34 MB
    write_shards(wide, tmp_path / "set" / "data", "train", shard_mb=10)
    read = load_split(tmp_path / "set", None, "train", tmp_path / "own")
    sizes = [batch.nbytes for batch in read.data.to_batches()]
    assert len(sizes) == 3 and max(sizes) <= JOINED_BYTES
    assert read["id"][:] == list(range(300_000)) and read[299_999] == {"id": 299_999, "text": "9" * 100}


def test_split_of_a_folder_of_the_same_name_is_that_of_the_folder(tmp_path: Path) -> None:
    card = "---\nconfigs:\n- config_name: code\n  data_files:\n  - {split: train, path: code/train-*}\n---\n"
    for name in ("a", "b", "b"):  # other rows at the same place, too
        text = f"{name}{len(list(tmp_path.rglob('*.parquet')))}"
        write_shards(Dataset.from_dict({"text": [text]}), tmp_path / name / "set" / "code", "train")
        (tmp_path / name / "set" / "README.md").write_text(card)
        assert load_split(tmp_path / name / "set", "code", "train", tmp_path / "own")["text"][:] == [text]


def test_split_of_json_columns_and_part_of_a_split_are_read(tmp_path: Path) -> None:
    calls = make_dataset([{"calls": [{"name": "f", "arguments": {"a": n or "x"}}]} for n in range(5)])
    write_shards(calls, tmp_path / "set" / "data", "train")
    read = load_split(tmp_path / "set", None, "train", tmp_path / "own")
    assert read["calls"][:] == calls["calls"][:] and read.features == calls.features
    assert len(load_split(tmp_path / "set", None, "train[1:3]", tmp_path / "own")) == 2


def test_split_of_json_lines_is_read(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    assert load_split(tmp_path / "set", None, "train", tmp_path / "own")["a"][:] == [1, 2]


def test_split_with_other_rows_than_its_card_states_is_refused(tmp_path: Path) -> None:
    write_shards(Dataset.from_dict({"a": [1, 2]}), tmp_path / "set" / "data", "train")
    size = "dataset_info:\n  splits:\n  - name: train\n    num_bytes: 1\n    num_examples: 3\n"
    (tmp_path / "set" / "README.md").write_text(f"---\n{size}---\n")
    with pytest.raises(ValueError, match="have 2 rows, its card states 3"):
        load_split(tmp_path / "set", None, "train", tmp_path / "own")
    assert not [path for path in (tmp_path / "own").rglob("*") if path.suffix in (".arrow", ".incomplete")]


def test_damaged_file_leaves_nothing_in_the_cache(rows: Dataset, tmp_path: Path) -> None:
    (path, *_) = write_shards(rows, tmp_path / "set" / "data", "train")
    data = bytearray(path.read_bytes())
    data[1000:5000] = bytes(4000)
    path.write_bytes(data)
    with pytest.raises((OSError, pa.ArrowException)):
        load_split(tmp_path / "set", None, "train", tmp_path / "own")
    assert not [path for path in (tmp_path / "own").rglob("*") if path.suffix in (".arrow", ".incomplete")]


def test_files_with_other_columns_are_refused(tmp_path: Path) -> None:
    Dataset.from_dict({"a": [1]}).to_parquet(str(tmp_path / "set" / "data" / "train-00000-of-00002.parquet"))
    Dataset.from_dict({"b": ["x"]}).to_parquet(str(tmp_path / "set" / "data" / "train-00001-of-00002.parquet"))
    with pytest.raises(ValueError, match="b"):
        load_split(tmp_path / "set", None, "train", tmp_path / "own")
