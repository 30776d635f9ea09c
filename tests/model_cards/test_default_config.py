"""Which config `load_dataset` takes where none is named: the one that the step chose, else the first."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from hubwright.model_cards.card import _header
from hubwright.model_cards.parquet import default_config


def record(*configs: str, **card: Any) -> dict[str, Any]:
    split = {"train": {"rows": 1, "path": "x/train-*.parquet", "columns": []}}
    return {
        "parquet": dict.fromkeys(configs, split),
        "report": {"card": card},
        "license": {"id": "cc0-1.0", "name": None},
        "target": {"type": "dataset", "repo_id": "me/data"},
        "inputs": [],
    }


@pytest.mark.parametrize(
    ("chosen", "wanted"),
    [({"default_config": "gold"}, "gold"), ({}, "faithful"), ({"default_config": "no"}, "faithful")],
)
def test_the_steps_choice_is_marked(chosen: dict[str, str], wanted: str) -> None:
    making = record("faithful", "gold", **chosen)
    assert default_config(making["parquet"], chosen.get("default_config")) == wanted
    header = yaml.safe_load(_header([making]))
    assert [one["config_name"] for one in header["configs"] if one.get("default")] == [wanted]
    assert "default_config" not in header


def test_one_config_needs_no_mark() -> None:
    assert all("default" not in one for one in yaml.safe_load(_header([record("gold")]))["configs"])
    assert default_config({}, None) is None
