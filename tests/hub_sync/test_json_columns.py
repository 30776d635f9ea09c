"""Columns of any form read back equal: through Parquet, and the reader of datasets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubwright.hub_sync.errors import DataError
from hubwright.hub_sync.json_columns import make_dataset, unstorable

# What breaks in Arrow's inferred types, or in datasets' own encoder of Json columns.
ARGUMENTS: list[Any] = [
    {"a": 1}, {"a": "x"}, {"b": None}, {"a": {"c": [1, "2", None, {"d": 2.5}]}}, {}, {"a": [1, 2]}, {"a": ["x", 1]},
    {"a": "5"}, {"a": "null"}, {"a": 1e-12}, {"a": 3.141592653589793}, {"a": -(2**63)}, {"a": 2**64 - 1},
    {"a": "</script> \u2028 \U0001f600 \\"}, {"a": True}, {"a": [[]]}, {"": ""},
]  # fmt: skip


def stored(rows: list[dict[str, Any]], folder: Path, features: Any = None) -> Any:
    from datasets import Dataset

    path = folder / "rows.parquet"
    make_dataset(rows, features).to_parquet(path)
    return Dataset.from_parquet(str(path), cache_dir=str(folder / "cache"))


def test_make_dataset_arguments_of_other_types_in_every_row_read_back_equal(tmp_path: Path) -> None:
    rows = [
        {
            "id": str(number),
            "messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": value}}]}],
            "tools": [{"name": "f", "parameters": {"properties": value}}],
            "value": value.get("a"),
            "extra": value,
        }
        for number, value in enumerate(ARGUMENTS)
    ]
    assert list(stored(rows, tmp_path)) == rows


# Rows of plain columns, or of JSON text; every other maker of rows goes through make_dataset or encode_row.
PLAIN = {
    "builders/bfcl/build.py", "builders/fbbench/build.py",
    "builders/feedback_drills/build.py", "builders/nestful/build.py",
    "builders/seal_tools/build.py", "builders/tool_query/build.py",
    "evals/bfcl/multi_turn_task.py", "evals/call_graphs/task.py", "evals/_lib/judging/task.py", "evals/kv_shifting/task.py",
    "evals/maet/task.py", "evals/toolcall/task.py", "trainers/_lib/chat.py", "trainers/maet/locate.py",
}  # fmt: skip


def test_make_dataset_is_the_one_place_for_rows_with_calls() -> None:
    root = Path(__file__).parents[2]
    makers = {
        path.relative_to(root).as_posix()
        for package in (
            "builders",
            "evals",
            "hub_sync",
            "inference",
            "trainers",
            "environments",
            "model_cards",
            "hubwright",
        )
        for path in (root / package).rglob("*.py")
        if re.search(r"Dataset\.from_(list|dict)\(", path.read_text())
    }
    assert makers - PLAIN == {"hub_sync/json_columns.py"}
    assert makers >= PLAIN


def exact(text: str) -> Any:
    return json.loads(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(["5", "null", "true", '{"a": 1}', '"']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=60)
@given(st.lists(JSON, min_size=1, max_size=4))
def test_make_dataset_any_json_is_stored_as_its_text(values: list[Any]) -> None:
    """Python's json reads what is stored, without the digits that datasets' reader may lose."""
    from datasets import Features, Json, List

    rows = make_dataset([{"v": value, "l": [value]} for value in values], Features({"v": Json(), "l": List(Json())}))
    table = rows.data.table
    for value, one, many in zip(values, table["v"].to_pylist(), table["l"].to_pylist(), strict=True):
        assert (None if one is None else exact(one)) == value
        assert [None if part is None else exact(part) for part in many] == [value]


def test_make_dataset_plain_columns_keep_arrows_types_and_the_rows_order() -> None:
    from datasets import List, Value

    rows = make_dataset([{"b": 1, "a": "x", "c": None, "d": ["x"]}, {"b": 2, "a": None, "d": []}])
    assert dict(rows.features) == {
        "b": Value("int64"), "a": Value("string"), "c": Value("null"), "d": List(Value("string")),
    }  # fmt: skip
    assert list(rows.features) == ["b", "a", "c", "d"]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (2**64, "number_out_of_range"),
        (-(2**63) - 1, "number_out_of_range"),
        (float("nan"), "number_out_of_range"),
        (float("inf"), "number_out_of_range"),
        ("\ud800", "text_not_unicode"),
        ({"\ud800": 1}, "text_not_unicode"),
        ({1: 2}, "not_json"),
        ({1, 2}, "not_json"),
        (b"x", "not_json"),
    ],
)
def test_make_dataset_what_would_not_read_back_equal_is_one_line(value: Any, why: str) -> None:
    assert unstorable({"a": [value]}) == why
    with pytest.raises(DataError, match=rf"row 1, column x: .* cannot be stored \({why}\)"):
        make_dataset([{"x": {"a": 1}}, {"x": {"a": value}}])
    deep: Any = []
    for _ in range(200):
        deep = [deep]
    assert unstorable(deep) == "nested_too_deeply"
