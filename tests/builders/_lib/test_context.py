"""Builders outside a recipe: without a context, and with one whose report is read."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from hubwright.builders import local_context
from hubwright.builders.mix import MixConfig
from hubwright.builders.mix import build as build_mix
from hubwright.hub_sync.errors import UsageError

TURNS = [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Green."}]


def example(name: str, folder: Path) -> dict[str, Any]:
    """Settings of a builder that make a few rows."""
    records = folder / "records.json"
    records.write_text(json.dumps([{"messages": TURNS}]))
    (folder / "plays.txt").write_text("Enter Hamlet.\n\nExit Hamlet.")
    (folder / "gsm8k").mkdir(exist_ok=True)
    for split, number in (("train", 2), ("test", 3)):
        record = {"question": f"How many is one and {number}?", "answer": f"#### {number + 1}"}
        (folder / "gsm8k" / f"{split}.jsonl").write_text(json.dumps(record))
    sequences = {"train_rows": 4, "test_rows": 2}
    return {
        "fbbench": {},
        "feedback_drills": sequences,
        "induction": sequences, "ngram": sequences, "hop_k": sequences, "arithmetic": sequences,
        "call_graphs": {"train_rows": 2, "compositions": ("single",), "variants": ("plain",)},
        "toolcalls": {"sources": [{"source": str(records)}], "license": "mit", "test_fraction": 0},
        "rows": {"source": str(records), "format": "messages", "license": "mit"},
        "corpus": {
            "sources": [{"source": str(folder / "plays.txt"), "format": "text", "name": "plays", "license": "mit"}],
            "min_chars": 1, "valid_share": 0, "test_share": 0,
        },
        "ability": {
            "sources": [{"kind": "gsm8k", "source": str(folder / "gsm8k"), "name": "GSM8K", "license": "mit"}],
            "near": None,
        },
    }[name]  # fmt: skip


NAMES = ("fbbench", "feedback_drills", "induction", "ngram", "hop_k", "arithmetic", "call_graphs", "toolcalls",
         "rows", "corpus", "ability")  # fmt: skip


def loaded(path: str) -> Any:
    module, _, name = path.partition(":")
    importlib.import_module(module)
    return getattr(sys.modules[module], name)


@pytest.mark.parametrize("name", NAMES)
def test_build_without_context_gives_the_rows_and_with_one_the_report_too(name: str, tmp_path: Path) -> None:
    from hubwright.builders.steps import STEPS

    config = loaded(STEPS[name].config)(**example(name, tmp_path))
    build = loaded(STEPS[name].run)
    context = local_context()
    first = build(config)
    second = build(config, context)
    assert {k: str(v) for k, v in first.items()} == {k: str(v) for k, v in second.items()}
    assert context.report.counts and context.report.summary


def test_local_context_inputs_are_folders_of_data_sets(tmp_path: Path) -> None:
    import datasets

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        datasets.Dataset.from_list([{"messages": TURNS}] * 2).to_parquet(tmp_path / name / "train.parquet")
    context = local_context(part_a=tmp_path / "a", part_b=str(tmp_path / "b"))
    assert len(build_mix(MixConfig(), context)["train"]) == 4
    assert context.report.counts == {"a_rows": 2, "b_rows": 2}
    with pytest.raises(UsageError, match="needs two inputs or more"):
        build_mix(MixConfig())
    with pytest.raises(UsageError, match="is not an artifact reference"):
        local_context(part_a=tmp_path / "absent")
