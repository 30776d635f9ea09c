"""One data set with a config for each way of making rows, through recipes on the embedded hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
import yaml
from column_parts import check_columns

from hubwright.builders._lib.conversation_rows import features
from hubwright.builders.button.collect import ButtonDatasetConfig, build
from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.refs import ArtifactRef


def step(uses: str, publish: str, inputs: dict[str, str] | None = None, **settings: Any) -> dict[str, Any]:
    return {"uses": uses, "inputs": inputs or {}, "with": settings, "publish": {"dataset": publish}}


def test_configs_of_one_repository_have_the_same_columns(
    hubwright_in_process: Any, namespace: str, tmp_path: Path
) -> None:
    steps = {
        "executed": step("call_graphs", "executed", train_rows=6, test_rows=2),
        # Stands for rows of a teacher: made otherwise, without a test split.
        "other": step("call_graphs", "other", train_rows=4, seed=7, variants=["plain"], test_rows=2),
        "all": step("button_dataset", "button", {"executed": "steps.executed", "verified": "steps.other"}),
    }
    recipe = {"name": "small", "namespace": namespace, "steps": steps}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(recipe))
    done = hubwright_in_process("run", "small.yaml")
    assert done.returncode == 0, done.stderr
    from huggingface_hub import snapshot_download

    folders = {name: snapshot_download(f"{namespace}/{name}", repo_type="dataset") for name in ("executed", "button")}
    check_columns("button_dataset", Path(folders["button"]))
    check_columns("call_graphs", Path(folders["executed"]))
    cache = str(tmp_path / "cache")
    for config, split, rows in (("executed", "train", 6), ("executed", "test", 2), ("verified", "train", 4)):
        found = datasets.load_dataset(folders["button"], config, split=split, cache_dir=cache)
        assert len(found) == rows and found.features == features()
    # executed is the default, and nothing is changed
    own, same = (datasets.load_dataset(folder, split="train", cache_dir=cache) for folder in folders.values())
    assert own.to_list() == same.to_list()
    card = Path(folders["button"], "README.md").read_text()
    assert card.count("<summary>Columns of ") == 1 and "Columns of executed, verified" in card
    assert "| executed | train | 6 | 6 |" in card and "executed: What became of the draws" in card


def written(folder: Path, plans: dict[str, list[list[str]]], drop: str = "") -> Input:
    """A data set of BUTTON's columns whose rows use these functions."""
    columns = features()
    for split, sets in plans.items():
        rows = [
            {name: [] if name in ("messages", "tools", "sub_tasks") else "" for name in columns}
            | {"parallel": True, "n_calls": 1, "n_user_turns": 1}
            | {"plan": json.dumps({"nodes": [{"tool": tool} for tool in tools]})}
            for tools in sets
        ]
        (folder / "data").mkdir(parents=True, exist_ok=True)
        made = datasets.Dataset.from_list(rows, features=columns)
        made = made.remove_columns(drop) if drop else made
        made.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))
    return Input(ArtifactRef("dataset", f"me/{folder.name}", "a" * 40), folder)


def test_a_train_row_with_the_functions_of_a_test_row_is_refused(tmp_path: Path) -> None:
    given = {
        "executed": written(tmp_path / "executed", {"train": [["a"]], "test": [["b", "a"]]}),
        "verified": written(tmp_path / "verified", {"train": [["a"], ["a", "b"]]}),
    }
    with pytest.raises(DataError, match="config verified: train rows use the functions a, b, which a test row uses"):
        build(ButtonDatasetConfig(), StepContext("all", tmp_path / "work", tmp_path / "out", given))


def test_what_is_no_row_of_button_is_refused(tmp_path: Path) -> None:
    given = {"faithful": written(tmp_path / "faithful", {"train": [["a"]]}, drop="check_graph")}
    with pytest.raises(DataError, match=r"me/faithful@a+: has no column 'check_graph'; give data of call_graphs"):
        build(ButtonDatasetConfig(), StepContext("all", tmp_path / "work", tmp_path / "out", given))
    with pytest.raises(UsageError, match="give at least one of the inputs executed, stubs, verified, faithful"):
        build(ButtonDatasetConfig(), StepContext("all", tmp_path / "work", tmp_path / "out", {}))


def rewritten(source: Input, column: str, values: list[Any]) -> Input:
    (path,) = source.path.rglob("*.parquet")
    rows = datasets.Dataset.from_parquet(str(path), cache_dir=str(source.path.parent / "cache"))
    made = rows.remove_columns(column).add_column(column, values).select(range(len(values)))
    made.to_parquet(str(path))
    return source


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("n_calls", "many", r"me/x@a+: split 'train' has columns of other types \(.*; build it again"),
        ("plan", "[1", r"config executed: row 0: `plan` or `tools` cannot be read \(JSONDecodeError"),
        (
            "plan",
            '{"nodes": [{}]}',
            r"config executed: row 0: `plan` or `tools` cannot be read \(KeyError\('tool'\)\)",
        ),
    ],
)
def test_columns_that_hold_something_else_are_one_line(tmp_path: Path, column: str, value: Any, said: str) -> None:
    given = {"executed": rewritten(written(tmp_path / "x", {"train": [["a"]]}), column, [value])}
    with pytest.raises(DataError, match=said) as caught:
        build(ButtonDatasetConfig(), StepContext("all", tmp_path / "work", tmp_path / "out", given))
    assert "\n" not in str(caught.value)


def test_an_input_that_cannot_be_read_or_is_empty_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    none = Input(ArtifactRef("dataset", "me/none", "a" * 40), tmp_path / "none")
    with pytest.raises(DataError, match=r"me/none@a+: cannot be read") as caught:
        build(ButtonDatasetConfig(), StepContext("all", tmp_path / "work", tmp_path / "out", {"executed": none}))
    assert str(tmp_path) not in str(caught.value)
    empty = written(tmp_path / "empty", {"train": [["a"]], "test": [["b"]]})
    path = empty.path / "data" / "test-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(DataError, match=r"me/empty@a+: cannot be read \(DatasetGenerationError"):
        build(ButtonDatasetConfig(), StepContext("all", tmp_path / "work", tmp_path / "out", {"executed": empty}))
