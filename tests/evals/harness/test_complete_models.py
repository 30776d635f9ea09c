"""Evaluation refuses a checkpoint that lacks weights: its answers would be those of random ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_model import save_tiny_model

from hubwright.evals.harness.step import HarnessConfig, evaluate
from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import DataError
from hubwright.hub_sync.refs import ArtifactRef


@pytest.fixture
def headless(tmp_path: Path) -> Path:
    """A model without its output head, by a config that says it has one of its own."""
    from safetensors.torch import load_file, save_file

    folder = save_tiny_model(tmp_path / "model")
    held = load_file(folder / "model.safetensors")
    held.pop("lm_head.weight", None)
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(said | {"tie_word_embeddings": False}))
    return folder


def test_lm_eval_step_without_output_head_is_refused(tmp_path: Path, headless: Path) -> None:
    given = {"model": Input(ArtifactRef("model", "org/model", "a" * 40), headless)}
    step = StepContext("scores", tmp_path / "work", tmp_path / "out", given)
    with pytest.raises(DataError, match=r"org/model@a+: lm_head.weight is not in its files") as caught:
        evaluate(HarnessConfig(tasks=["fbbench_sample"], limit=1), step)
    assert "\n" not in str(caught.value)


def test_eval_command_without_output_head_is_refused(hubwright_in_process: Any, headless: Path) -> None:
    done = hubwright_in_process(
        *("eval", "fbbench_sample", "--model", "hf", "--model_args", f"pretrained={headless}", "--device", "cpu"),
        *("--limit", "1", "--predict_only", "--output_path", "out"),
    )
    assert done.returncode == 3, done.stderr
    assert "lm_head.weight is not in its files" in done.stderr


@pytest.mark.parametrize("stderr", [None, 0.1])
def test_results_table_without_interval_has_no_column_for_one(tmp_path: Path, stderr: float | None) -> None:
    from hubwright.evals.harness.samples import report_results

    given = {"model": Input(ArtifactRef("model", "org/model", "a" * 40), tmp_path)}
    step = StepContext("scores", tmp_path / "work", tmp_path / "out", given)
    metric = {"value": 0.5, "stderr": stderr, "higher_is_better": True}
    task = {"metrics": {"score": metric}, "n": 3, "n_available": 3, "version": 1, "task_hash": "b" * 64}
    summary = {"tasks": {"drills": task}, "packages": {"lm_eval": "0"}, "config": {}}
    report_results(step, summary, 3, predict_only=False, limit=None)
    expected = ["metric", "value"] if stderr is None else ["metric", "value", "standard error"]
    assert step.report.tables[0]["columns"] == expected
    assert all(len(row) == len(expected) for row in step.report.tables[0]["rows"])


def test_chance_baseline_is_the_mean_of_one_by_choices_and_stands_in_the_table(tmp_path: Path) -> None:
    from hubwright.evals.harness.samples import chance, report_results

    def sample(choices: int, target: object = 0) -> dict[str, Any]:
        return {"arguments": [("prompt", f" {n}") for n in range(choices)], "target": target}

    figures = {"acc,none": 0.5, "acc_norm,none": 0.5, "other,none": 1.0}
    samples = {
        "choice": [sample(4), sample(2)], "mutual": [sample(8)], "several": [sample(4, [0, 1])], "free": [sample(1)],
        "empty": [],
    }  # fmt: skip
    results = {
        "samples": samples,
        "results": dict.fromkeys(samples, figures) | {"mutual": {"acc,none": 0.5, "acc_mutual_info,none": 0.5}},
        "configs": {name: {"output_type": "multiple_choice"} for name in samples}
        | {"free": {"output_type": "generate_until"}},
    }
    baselines = chance(results)
    assert baselines == {"choice/acc": 0.375, "choice/acc_norm": 0.375, "mutual/acc": 0.25}
    given = {"model": Input(ArtifactRef("model", "org/model", "a" * 40), tmp_path)}
    step = StepContext("scores", tmp_path / "work", tmp_path / "out", given)
    step.report.chance = baselines
    metrics = {name: {"value": 0.5, "stderr": None, "higher_is_better": True} for name in ("acc", "other")}
    task = {"metrics": metrics, "n": 2, "n_available": 2, "version": 1, "task_hash": "b" * 64}
    report_results(
        step,
        {"tasks": {"choice": task}, "packages": {"lm_eval": "0"}, "config": {}},
        2,
        predict_only=False,
        limit=None,
    )
    (table,) = step.report.tables
    assert table["columns"] == ["metric", "value", "chance baseline"]
    assert table["rows"] == [["acc", 0.5, 0.375], ["other", 0.5, None]]
