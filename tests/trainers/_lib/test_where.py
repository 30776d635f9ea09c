"""`where`: rows to train on by their values, in columns of numbers, texts and lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from trainer_parts import context

from hubwright.hub_sync.errors import DataError
from hubwright.trainers._lib.config import BaseTrainingConfig, StreamingConfig
from hubwright.trainers._lib.loop import load_splits


def rows_by(where: dict[str, Any], folder: Path, **more: Any) -> tuple[list[int], list[int]]:
    """Numbers of the rows to train on, and to evaluate on."""
    from datasets import Dataset

    table = {
        "number": list(range(6)), "fold": [0, 1, None, 0, 1, 2], "bucket": ["known", "known", "unknown", None, "", "a"],
        "subsets": [["known"], [], ["mixed", "known"], ["mixed"], None, ["random"]],
    }  # fmt: skip
    (folder / "rows" / "data").mkdir(parents=True)
    for split in ("train", "test"):
        Dataset.from_dict(table).to_parquet(str(folder / "rows" / "data" / f"{split}-00000-of-00001.parquet"))
    step = context(folder, {"dataset": folder / "rows"})
    config = BaseTrainingConfig.model_validate({"where": where, "eval_split": "test", **more})
    splits = load_splits(config, step)
    if where:
        assert step.report.counts == {"train_rows_by_where": len(splits["train"])}
    return splits["train"]["number"][:], splits["eval"]["number"][:]


@pytest.mark.parametrize(("where", "numbers"), [
    ({}, [0, 1, 2, 3, 4, 5]),
    ({"fold": [1, 2]}, [1, 4, 5]),
    ({"bucket": ["known"]}, [0, 1]),
    ({"subsets": ["known"]}, [0, 2]),
    ({"subsets": ["known", "mixed"], "fold": [0]}, [0, 3]),
])  # fmt: skip
def test_rows_of_where(where: dict[str, Any], numbers: list[int], tmp_path: Path) -> None:
    assert rows_by(where, tmp_path) == (numbers, [0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize(("where", "message"), [
    ({"group": ["a"]}, "has no column 'group' of where; it has number, fold"),
    ({"fold": ["1"]}, r"no row is left by where fold: \['1'\]; values there are 0, 1, 2"),
    ({"subsets": ["Known"]}, "values there are known, mixed, random"),
    ({"fold": [2], "bucket": ["known"]}, "no row is left by where bucket"),
])  # fmt: skip
def test_where_that_leaves_nothing(where: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        rows_by(where, tmp_path)


def test_where_needs_rows_that_are_there() -> None:
    with pytest.raises(ValueError, match="where chooses among rows that are all there"):
        StreamingConfig(where={"fold": (1,)}, streaming=True, max_steps=1)
