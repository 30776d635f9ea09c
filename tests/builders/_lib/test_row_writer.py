"""Rows written as they come read back equal, whatever their size, and memory stays flat."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Features, Json, List, Value

from hubwright.builders._lib.row_writer import RowWriter, divide
from hubwright.hub_sync.errors import DataError
from hubwright.hub_sync.json_columns import make_dataset

FEATURES = Features({"id": Value("string"), "n": Value("int32"), "messages": List(Json()), "tools": List(Json())})


def row(number: int, size: int = 10) -> dict[str, Any]:
    turns = [
        {"role": "user", "content": "x" * size},
        {"role": "assistant", "tool_calls": [{"arguments": {"a": 1e-12}}]},
    ]
    return {"id": str(number), "n": number, "messages": turns, "tools": [] if number % 2 else [{"name": "f"}]}


def test_splits_hold_their_rows_in_order_as_make_dataset_does(tmp_path: Path) -> None:
    writer, rng = RowWriter(tmp_path, FEATURES), random.Random(0)
    sides: dict[str, list[dict[str, Any]]] = {"test": [], "train": []}
    for number in range(1300):
        split = "test" if rng.random() < 0.2 else "train"
        sides[split].append(row(number))
        writer.write(split, sides[split][-1])
    splits = writer.finish()
    assert list(splits) == ["train", "test"] and writer.counts == {name: len(rows) for name, rows in sides.items()}
    for name, rows in sides.items():
        expected = make_dataset(rows, FEATURES)
        assert splits[name].features == expected.features
        assert splits[name].to_list() == expected.to_list() == rows
        for kind, data in (("a", splits[name]), ("b", expected)):
            data.to_parquet(str(tmp_path / f"{kind}.parquet"))
        assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_second_run_in_the_folder_starts_empty(tmp_path: Path) -> None:
    for count in (3, 2):
        writer = RowWriter(tmp_path, FEATURES)
        for number in range(count):
            writer.write("train", row(number))
        assert len(writer.finish()["train"]) == count


def test_a_split_without_rows_is_absent(tmp_path: Path) -> None:
    assert list(RowWriter(tmp_path, FEATURES).finish()) == []


def test_a_value_that_would_read_back_differently_is_refused(tmp_path: Path) -> None:
    writer = RowWriter(tmp_path, FEATURES)
    writer.write("train", row(0))
    with pytest.raises(DataError, match=r"row 1, column tools.*number_out_of_range"):
        writer.write("train", row(1) | {"tools": [{"a": float("nan")}]})


def test_memory_is_bounded_for_many_rows_and_for_large_ones(tmp_path: Path) -> None:
    def peak(rows: int, size: int) -> int:
        writer = RowWriter(tmp_path / f"{rows}-{size}", FEATURES)
        tracemalloc.start()
        for number in range(rows):
            writer.write("train", row(number, size))
        assert len(writer.finish()["train"]) == rows
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    peak(10, 10)  # imports
    assert peak(8_000, 100) < 1.5 * peak(2_800, 100) < 20_000_000
    assert peak(6, 4_100_000) < 1.2 * peak(2, 4_100_000)


def test_divide_puts_each_part_in_a_file_of_its_own_in_order(tmp_path: Path) -> None:
    writer = RowWriter(tmp_path / "rows", Features({"n": Value("int64"), "values": List(Json())}))
    for number in range(1200):
        writer.write("rows", {"n": number, "values": [{"a": number}]})
    even = np.arange(1200) % 2 == 0
    rows = writer.finish()["rows"]
    parts = divide(rows, tmp_path / "parts", {"even": even, "odd": ~even, "none": np.zeros(1200, bool)})
    assert parts["even"].to_list() == [row for row in rows if row["n"] % 2 == 0]
    assert parts["odd"]["n"][:] == list(range(1, 1200, 2))
    assert len(parts["none"]) == 0 and parts["none"].features == rows.features
