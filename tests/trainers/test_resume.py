"""Killed at any point and run again, a training ends with the same bytes as one that nobody touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from trainer_parts import make_model, save_drills

KILLS = {
    "before_the_first_checkpoint": ["step:2"],
    "half_an_optimizer": ["torch_save:6"],
    "before_the_manifest": ["seal:2"],
    "after_the_manifest": ["sealed:2"],
    "between_checkpoints": ["step:6"],
    "while_publishing": ["publish:1"],
    "three_times": ["step:4", "seal:1", "torch_save:2"],
    "sigterm": ["sigterm:3"],
}
CASES = [{"name": f"{method}-whole", "method": method, "points": [], "extra": {}} for method in ("sft", "dpo")]
CASES += [{"name": f"sft-{name}", "method": "sft", "points": points, "extra": {}} for name, points in KILLS.items()]
CASES += [
    {"name": f"dpo-{name}", "method": "dpo", "points": KILLS[name], "extra": {}}
    for name in ("half_an_optimizer", "between_checkpoints", "sigterm")
]
LORA = {"lora": {"r": 4, "dropout": 0.1}}
CASES += [
    {"name": "lora-whole", "method": "sft", "points": [], "extra": LORA},
    {"name": "lora-between_checkpoints", "method": "sft", "points": ["step:6"], "extra": LORA},
    {"name": "packed-whole", "method": "sft", "points": [], "extra": {"packing": True, "max_length": 400}},
    {"name": "packed-killed", "method": "sft", "points": ["step:6"], "extra": {"packing": True, "max_length": 400}},
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("resume")
    inputs = {"model": str(make_model(folder / "model")), "dataset": str(save_drills(folder / "data"))}
    job = folder / "job.json"
    job.write_text(json.dumps({"folder": str(folder), "inputs": inputs, "cases": CASES}))
    driver = Path(__file__).with_name("kill_driver.py")
    done = subprocess.run(
        [sys.executable, str(driver), str(job)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    results = {case["name"]: case for case in map(json.loads, done.stdout.splitlines())}
    for case in results.values():
        assert case["codes"][-1] == 0, (case, done.stderr[-4000:])
    return results


@pytest.mark.parametrize("name", [case["name"] for case in CASES if case["points"]])
def test_final_weights_are_those_of_an_uninterrupted_run(outcomes: dict[str, dict], name: str) -> None:
    case, whole = outcomes[name], outcomes[name.split("-")[0] + "-whole"]
    assert case["digest"] == whole["digest"] != ""
    for point, code in zip(case["points"], case["codes"], strict=False):
        assert code == (130 if point.startswith("sigterm") else -9)


def test_half_written_checkpoints_are_set_aside_and_an_older_one_is_used(outcomes: dict[str, dict]) -> None:
    assert outcomes["sft-before_the_manifest"]["quarantine"] == ["checkpoint-4.0"]
    assert outcomes["sft-half_an_optimizer"]["quarantine"] == ["checkpoint-4.0"]
    assert outcomes["sft-after_the_manifest"]["quarantine"] == []
    assert outcomes["sft-whole"]["quarantine"] == []


def test_sigterm_leaves_a_checkpoint_of_that_step(outcomes: dict[str, dict]) -> None:
    assert "checkpoint-3" in outcomes["sft-sigterm"]["checkpoints"] or outcomes["sft-sigterm"]["codes"] == [130, 0]
    assert outcomes["sft-sigterm"]["quarantine"] == []


def test_at_most_two_checkpoints_are_kept(outcomes: dict[str, dict]) -> None:
    assert outcomes["sft-whole"]["checkpoints"] == ["checkpoint-4", "checkpoint-6"]
