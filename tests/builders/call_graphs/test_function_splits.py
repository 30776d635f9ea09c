"""What the test splits of executed call graphs hold out, recounted over the built rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from hubwright.builders.button.collect import ButtonDatasetConfig
from hubwright.builders.button.collect import build as collect
from hubwright.builders.call_graphs.build import CallGraphsConfig, build
from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.refs import ArtifactRef


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, StepContext]:
    folder = tmp_path_factory.mktemp("splits")
    context = StepContext("executed", folder, folder)
    return build(CallGraphsConfig(train_rows=120, test_rows=40, function_test_rows=40), context), context


def planned(row: dict[str, Any]) -> frozenset[str]:
    return frozenset(node["tool"] for node in json.loads(row["plan"])["nodes"])


def offered(row: dict[str, Any]) -> frozenset[str]:
    return frozenset(tool["function"]["name"] for tool in row["tools"])


def test_function_split_recounted_over_the_rows_shares_no_function(built: Any) -> None:
    splits, _ = built
    used = {split: set().union(*(planned(row) | offered(row) for row in rows)) for split, rows in splits.items()}
    assert len(splits["test_functions"]) == 40 and len(used["test_functions"]) > 5
    assert not used["test_functions"] & (used["train"] | used["test"])
    # The other test split is of functions that training has.
    assert used["test"] <= used["train"]


def test_set_split_recounted_over_the_rows_shares_no_planned_and_no_offered_set(built: Any) -> None:
    splits, _ = built
    sets = {
        split: {used for row in rows for used in (planned(row), offered(row)) if used}
        for split, rows in splits.items()
    }
    assert len(splits["test"]) == 40 and len(sets["test"]) > 20
    assert not sets["test"] & sets["train"] and not sets["test_functions"] & sets["train"]
    variants = {row["variant"] for row in splits["test"]}
    assert variants & {"distractors", "irrelevant", "missing_function"}, (
        "rows whose offered set is not the planned one"
    )


def test_card_of_the_splits_says_what_a_recount_says(built: Any) -> None:
    splits, context = built
    (table,) = [table for table in context.report.tables if table["title"] == "Held-out functions"]
    trained = set().union(*(planned(row) | offered(row) for row in splits["train"]))
    for split, functions, in_train, _, sets_in_train in table["rows"]:
        used = set().union(*(planned(row) | offered(row) for row in splits[split]))
        assert (functions, in_train) == (len(used), len(used & trained))
        assert sets_in_train == 0 or split == "train"
    assert "no row of another split plans or offers" in table["note"]


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_function_split_of_too_few_functions_is_refused_before_any_row(tmp_path: Path, share: float) -> None:
    config = CallGraphsConfig(function_test_rows=5, function_share=share)
    with pytest.raises(UsageError, match=r"function_test_rows: of 50 functions \d+ are left to the split") as caught:
        build(config, StepContext("executed", tmp_path, tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("split", "rows", "said"),
    [
        ("test_functions", [0], "which a test_functions row uses as well"),
        ("test", [0], "which a test row uses as well"),
    ],
)
def test_collection_trained_on_a_held_out_row_is_refused(
    built: Any, tmp_path: Path, split: str, rows: list[int], said: str
) -> None:
    """Also for what is offered alone: the plan of the wrong row is that of a train row."""
    splits, _ = built
    wrong = [dict(splits["train"][0]) | {"tools": row["tools"]} for row in splits[split].select(rows).to_list()]
    parts = {
        "executed": dict(splits),
        "verified": {"train": datasets.Dataset.from_list(wrong, features=splits["train"].features)},
    }
    inputs = {}
    for name, part in parts.items():
        (tmp_path / name / "data").mkdir(parents=True)
        for key, value in part.items():
            value.to_parquet(str(tmp_path / name / "data" / f"{key}-00000-of-00001.parquet"))
        inputs[name] = Input(ArtifactRef("dataset", f"me/{name}", "a" * 40), tmp_path / name)
    with pytest.raises(DataError, match=f"config verified: .*{said}"):
        collect(ButtonDatasetConfig(), StepContext("all", tmp_path / "work", tmp_path / "out", inputs))
